"""The page of a run: what it shows, and that it is well-formed."""

import json
from html.parser import HTMLParser

from tests.training.runs import lines
from training.run.report import events, write_run_report
from training.run.run_folder import RunFolder

VOID = {"meta", "img", "polyline", "circle"}


class Page(HTMLParser):
    """Checks that tags are closed in order, and collects what the page refers to."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.images: list[str] = []
        self.curves: list[list[tuple[float, float]]] = []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.images += [values["src"]] if tag == "img" else []
        if tag == "polyline":
            pairs = (pair.split(",") for pair in values["points"].split())
            self.curves.append([(float(x), float(y)) for x, y in pairs])
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert tag in VOID or self.open.pop() == tag


def test_a_finished_run_has_its_page(finished):
    text = (finished / "report.html").read_text()
    page = Page(text)
    assert page.images == ["samples-000000080.png", "samples-000000064.png", "samples-000000000.png", "reals.png"]
    assert all((finished / name).exists() for name in page.images)
    assert "http" not in text and "<script" not in text
    # No validation shapes: nine panels, of up to three curves, over all five log lines.
    assert text.count("<svg") == 9 and max(len(curve) for curve in page.curves) == len(lines(finished))
    for curve in page.curves:
        assert all(0 <= x <= 420 and 0 <= y <= 180 for x, y in curve) and curve == sorted(curve)
    loss = [line["loss/generator"] for line in lines(finished)]
    heights = page.curves[0]
    assert max(range(5), key=loss.__getitem__) == min(range(5), key=lambda i: heights[i][1]), "up is more"


def test_events_are_in_order_and_texts_are_escaped(finished, tmp_path):
    folder = RunFolder(tmp_path / "a <b> run")
    folder.path.mkdir()
    (folder.path / "stats.jsonl").write_text((finished / "stats.jsonl").read_text())
    description = {
        **json.loads((finished / "run.json").read_text()),
        "data": "<img src=x>",
        "rolled_back": [{"nimg": 48, "rate_factor": 0.5}],
        "resumed": [{"nimg": 32, "date": "today", "threads": 2}],
    }
    (folder.path / "run.json").write_text(json.dumps(description))
    write_run_report(folder)
    text = (folder.path / "report.html").read_text()
    assert Page(text).images == [] and "&lt;img src=x&gt;" in text and "a &lt;b&gt; run" in text
    assert text.index("Resumed.") < text.index("Rolled back to this state; learning rates × 0.5")
    assert "date today, threads 2" in text


def test_signs_of_failure_are_events():
    healthy = {"nimg": 4000, "skipped_steps": 0, "geometry/empty": 0.0}
    failing = [{**healthy, "nimg": 4000 + 1000 * i, "geometry/empty": 0.5} for i in range(1, 5)]
    messages = events([healthy, *failing, {**healthy, "nimg": 9000}], {})
    assert [nimg for nimg, _ in messages] == [7000, 9000]
    assert "vanishing surface" in messages[0][1] and messages[1][1] == "Recovered: vanishing surface."
