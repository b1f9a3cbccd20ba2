"""The report in words: the verdict, warnings, the meaning of every score, and the page that shows them."""

import re
from pathlib import Path

import pytest
import torch
import yaml

from metrics.report import words
from metrics.report.galleries import _histogram
from metrics.report.html import report_html
from metrics.report.markdown import report_markdown
from metrics.report.report_schema import (
    BEST_TRAINING_SHAPE,
    TRAIN_TEST_REFERENCE,
    Baseline,
    EvaluationRun,
    GalleryItem,
    Histogram,
    Interval,
    Metric,
    Report,
)

ROOT = Path(__file__).parents[2]
REFERENCE = {"mmd_cd": 1.0, "cov_cd": 50.0, "one_nna_cd": 50.0}


def report(
    mmd: float = 1.5, cov: float = 40.0, nna: float = 62.0, count: int = 200, reference: dict | None = REFERENCE, **more
) -> Report:
    metrics = [
        Metric(name="mmd_cd", title="MMD-CD", value=mmd, unit="×10⁻³"),
        Metric(name="cov_cd", title="COV-CD", value=cov, unit="%", direction="higher"),
        Metric(name="one_nna_cd", title="1-NNA-CD", value=nna, unit="%", direction="target", target=50.0),
    ]
    rows = [Baseline(name=BEST_TRAINING_SHAPE, values={"mmd_cd": 4.0, "cov_cd": 1.0}, comparable=True)]
    if reference:
        rows.append(Baseline(name=TRAIN_TEST_REFERENCE, values=reference, comparable=True))
    run = EvaluationRun(
        generated="chairs", references="test", num_generated=count, num_references=count, num_training=count,
        network="net", network_sha256="ab" * 32, dataset_hash="cd" * 32, commit="ef01",
    )  # fmt: skip
    protocol = {"name": "quick", "version": 3, "description": "CD"}
    return Report(run=run, protocol=protocol, metrics=metrics, baselines=rows).model_copy(update=more)


@pytest.mark.parametrize(
    ("scores", "sentence"),
    [
        (
            (1.1, 49, 52),
            "The 200 samples resemble real shapes as closely as training shapes do and are as varied, and a "
            "nearest-neighbor test cannot tell them apart.",
        ),
        (
            (1.6, 37.5, 82),
            "The 200 samples come close to real shapes and are nearly as varied, but a nearest-neighbor test easily "
            "tells them apart.",
        ),
        (
            (2.9, 26, 70),
            "The 200 samples keep some distance from real shapes and are less varied, and a nearest-neighbor test "
            "often tells them apart.",
        ),
        (
            (2.9, 26, 52),
            "The 200 samples keep some distance from real shapes and are less varied, but a nearest-neighbor test "
            "cannot tell them apart.",
        ),
        (
            (1.1, 10, 70),
            "The 200 samples resemble real shapes as closely as training shapes do but are much less varied, and a "
            "nearest-neighbor test often tells them apart.",
        ),
        (
            (3.5, 10, 30),
            "The 200 samples are far from real shapes and are much less varied, and a nearest-neighbor test finds them "
            "crowded around single references, as copies are.",
        ),
        (
            (4.0, 45, 60),
            "The 200 samples are no nearer to real shapes than one training shape repeated but are as varied, and a "
            "nearest-neighbor test hardly tells them apart.",
        ),
        (
            (4.0, 45, 90),
            "The 200 samples are no nearer to real shapes than one training shape repeated but are as varied; a "
            "nearest-neighbor test easily tells them apart.",
        ),
    ],
)
def test_the_verdict_puts_the_scores_into_words(scores: tuple[float, float, float], sentence: str) -> None:
    assert words.report_verdict(report(*scores)) == sentence


def test_findings_say_what_the_verdict_rests_on() -> None:
    assert words.findings(report()) == [
        ("Likeness", "MMD-CD 1.5 ×10⁻³; training shapes 1; the best single training shape, repeated, 4."),
        ("Variety", "COV-CD 40 %; training shapes 50."),
        ("Told apart", "1-NNA-CD 62 %; training shapes 50; 50 would be ideal."),
    ]


def test_without_a_reference_the_verdict_leaves_out_what_needs_one() -> None:
    bare = report(reference=None)
    assert words.report_verdict(bare) == (
        "The 200 samples cover 40 % of the references, and a nearest-neighbor test hardly tells them apart."
    )
    assert any("no training set" in line for line in words.warnings(bare))
    assert "have no verdict" in words.report_verdict(report(metrics=[]))


def test_few_shapes_and_few_images_are_warned_of() -> None:
    assert words.warnings(report()) == []
    few = report(count=25)
    assert words.warnings(few) == [
        "Few shapes: 25 samples and 25 references. A share such as COV or 1-NNA is uncertain by about ±20 percentage "
        "points, so smaller differences mean nothing."
    ]
    images = [Metric(name="fd", title="FD (Tiny)", value=0.0, n=300)]
    assert [line.split(".")[0] for line in words.warnings(report(metrics=images))] == ["Few images: 300"]
    lost = report(failures=[GalleryItem(id="seed 3", caption="empty surface")])
    assert words.warnings(lost)[0].startswith("1 of 200 samples has no usable surface.")
    for shown in (report_markdown(few), report_html(few, Path())):
        assert words.warnings(few)[0] in shown and words.report_verdict(few) in shown


@pytest.mark.parametrize(
    ("metric", "reference", "word"),
    [
        (Metric(name="a", title="", value=1.0), 2.0, "better"),
        (Metric(name="a", title="", value=3.0), 2.0, "worse"),
        (Metric(name="a", title="", value=2.03), 2.0, "even"),
        (Metric(name="a", title="", value=3.0, interval=Interval(low=1.9, high=4, method="")), 2.0, "even"),
        (Metric(name="a", title="", value=3.0, direction="higher"), 2.0, "better"),
        (Metric(name="a", title="", value=44.0, direction="target", target=50), 60.0, "better"),
        (Metric(name="a", title="", value=62.0, direction="target", target=50), 60.0, "worse"),
        (Metric(name="a", title="", value=1.0), None, ""),
    ],
)
def test_each_score_is_better_even_or_worse_than_its_reference(
    metric: Metric, reference: float | None, word: str
) -> None:
    assert words.standing(metric, reference) == word


def _documented_names() -> list[str]:
    """Every name of a score in the tables of docs/evaluation.md, for one distance, level and attribute."""
    text = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    rows = [line.split("|")[1] for line in text.splitlines() if line.startswith("| `") and line.count("|") >= 4]
    names = [name for row in rows for name in re.findall(r"`([a-z0-9_…]+)`", row)]
    known = re.compile(
        "(mmd|cov|one_nna|jsd|f_score|auth|nearest|mesh|fid|fd|kid|kd|cmmd|swd|clip_|r_prec|share|absent)"
    )
    return [name.replace("…", "cd") for name in names if known.match(name) and not name.endswith("_")]


def test_every_documented_score_has_a_meaning_and_a_table() -> None:
    names = [*_documented_names(), "precision", "recall", "density", "coverage", "vendi", "color_scatter"]
    names += ["effective_hues", "flat_roughness", "fd_masks", "precision_normals", "accuracy_type"]
    names = [name for name in names if name not in ("mesh_cd", "nearest_training_cd")]
    assert len(names) > 40
    assert [name for name in names if not words.meaning(name)] == []
    metrics = [Metric(name=name, title=name, value=1.0) for name in names]
    groups = words.grouped_scores(report(metrics=metrics))
    assert "Other scores" not in [group.title for group in groups]
    assert sum(len(group.metrics) for group in groups) == len(names)


def test_meanings_are_sentences_of_the_document() -> None:
    text = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8")
    text = " ".join(text.replace("**", "").split())
    entries = yaml.safe_load(words.FILE.read_text(encoding="utf-8"))["scores"]
    assert [entry["says"] for entry in entries if entry["says"] not in text] == []


def test_the_bounds_of_the_verdict_are_those_of_the_document() -> None:
    rows = (ROOT / "docs" / "evaluation.md").read_text(encoding="utf-8").split("## The verdict")[1].split("\n\n")[2]
    table = dict(re.findall(r"^\| (.+?) \| (.+?) \|$", rows, re.M))
    for bounds in (words.LIKENESS, words.VARIETY, words.TOLD_APART):
        for bound, phrase, *_ in bounds:
            numbers = re.findall(r"\d+\.?\d*", table[phrase].replace("1-NNA", ""))
            assert [float(n) for n in numbers] == ([bound] if 0 < bound < float("inf") else []), phrase
    assert f"{words.CROWDED:g} points" in table["finds them crowded around single references"]


def test_the_page_opens_with_images_and_the_verdict_and_ends_with_hashes(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"png")
    items = [GalleryItem(id="seed 1", thumbnail="a.png")]
    shown = report(
        galleries={"Random samples (seeded, not picked)": items, "References, chosen at random": items},
        histograms=[Histogram(title="Faces per mesh", unit="faces", edges=[0.0, 5.0, 10.0], counts=[3, 7])],
    )
    page = report_html(shown, tmp_path)
    opening = words.report_verdict(shown)
    places = [
        page.index(text)
        for text in ("<h1>", "data:image/png", opening, "<h2>Shapes as a set", "Distributions", "ab" * 32)
    ]
    assert places == sorted(places)
    assert page.index("<h2>") > page.index(words.report_verdict(shown))
    assert page.rindex("cd" * 32) > page.rindex("<h2>Inputs and hashes")
    axes = re.findall(r"<text class=axis [^>]*>([^<]*)</text>", page)
    assert axes == ["faces", "shapes"]
    assert "@media print" in page and "prefers-color-scheme: dark" in page


def test_every_score_of_the_page_stands_beside_its_meaning_and_reference() -> None:
    page = report_html(report(), Path())
    cell = "<td data-label={}>(.*?)</td>"
    rows = re.findall(
        r"<tr><td><b>(.*?)</b><p>(.*?)</p></td>" + cell.format("value") + cell.format('"train vs test"'), page
    )
    assert [row[0] for row in rows] == ["MMD-CD", "COV-CD", "1-NNA-CD"]
    assert all(row[1] == words.meaning(name) for row, name in zip(rows, REFERENCE, strict=True))
    assert [row[3].split()[0] for row in rows] == ["1", "50", "50"]
    assert all("worse" in row[3] for row in rows)
    heads = re.findall("<th>(.*?)</th>", page[page.index("<h2>Shapes as a set") :])[:5]
    labels = re.findall('<td data-label="?(.*?)"?>', page)
    assert labels == 3 * heads[1:]  # the phone's layout, which has no heading row


def test_long_names_are_cut_in_captions_and_a_histogram_of_one_value_is_left_out() -> None:
    name = "0123456789abcdef" * 2
    page = report_html(report(galleries={"Farthest": [GalleryItem(id=name, other_id="seed0001")]}), Path())
    assert f'<span title="{name}">0123456789abcde…</span> | seed0001<' in page
    assert _histogram("Components", "", torch.ones(9), whole=True) == []
    assert _histogram("Components", "", torch.tensor([1.0, 1.0, 3.0]), whole=True)[0].counts == [2, 0, 1]
