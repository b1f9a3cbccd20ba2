"""The study's plan, resuming, table and curves, without any training."""

import math
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from click.testing import CliRunner

from configs.loader import dump_config, load_config
from studies.curves import Panel, Series, svg, ticks
from studies.learning_study import __main__ as study_module
from studies.learning_study.__main__ import Workspace, finished, results_on_disk, trained
from studies.learning_study.plan import Study, StudyRun, check_unchanged, complete, load_study, plan_runs, train_command
from studies.learning_study.scores import RunScores, Score
from studies.learning_study.table import COLUMNS, difference, seed_std, table, verdict
from torch_utils.errors import UserError

MMD = COLUMNS[0]
STUDY = Study.model_validate(
    {
        "base": "chair",
        "kimg": 2,
        "seeds": [0, 1],
        "variants": [
            {"name": "base", "question": "?"},
            {"name": "more-r1", "group": "gamma", "question": "more?", "set": ["loss.gamma=10"]},
            {"name": "third", "question": "?", "against": "more-r1", "seeds": [7]},
        ],
    }
)


def write_state(folder: Path, nimg: int, overrides: tuple[str, ...] = ()) -> None:
    """The files of a run that was stopped at `nimg`, as far as the study reads them."""
    folder.mkdir(parents=True)
    (folder / "latest.json").write_text(f'{{"state": "state-{nimg:09d}.safetensors", "nimg": {nimg}}}')
    (folder / "network.safetensors").write_bytes(b"")
    (folder / "config.yaml").write_text(dump_config(load_config("chair", overrides)))


def scores(variant: str, seed: int, mmd: float) -> RunScores:
    return RunScores(variant=variant, seed=seed, images_per_second=50, scores=[Score(nimg=2000, mmd=mmd, measured="x")])


def test_the_first_seed_of_all_comes_before_the_second_of_any(tmp_path: Path) -> None:
    names = [run.name for run in plan_runs(STUDY, tmp_path)]
    assert names == ["base-seed0", "more-r1-seed0", "third-seed7", "base-seed1", "more-r1-seed1"]
    assert [run.name for run in plan_runs(STUDY, tmp_path, ("gamma",), (1,))] == ["more-r1-seed1"]
    with pytest.raises(UserError, match="no such variant or group"):
        plan_runs(STUDY, tmp_path, ("gama",))


def test_a_run_is_started_resumed_or_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    runs = plan_runs(STUDY, tmp_path)
    done, broken, new = runs[0], runs[1], runs[2]
    write_state(done.folder, 2000)
    write_state(broken.folder, 1600)
    assert complete(done) and not complete(broken) and not complete(new)
    assert "--resume" in train_command(broken, "chair", Path("D"))
    command = train_command(new, "chair", Path("D"))
    assert "--resume" not in command
    assert command[1:8] == ["-m", "tetragan", "train", "--config", "chair", "--data", "D"]
    assert "training.seed=7" in command and "training.total_kimg=2" in command and "training.threads=1" in command
    started: list[str] = []

    def train(run: StudyRun, workspace: Workspace) -> str:
        started.append(run.name)
        return "out of memory" if run is new else ""

    monkeypatch.setattr(study_module, "train_run", train)
    monkeypatch.setattr(Workspace, "training_data", lambda self, variant: self.data)
    for jobs in (1, 2):
        started.clear()
        ended = list(trained([done, broken, new], Workspace(STUDY, Path("D"), {}, tmp_path), jobs))
        assert sorted(started) == [broken.name, new.name]
        assert {run.name: problem for run, problem in ended} == {
            done.name: "",
            broken.name: "",
            new.name: "out of memory",
        }


def test_a_measured_run_no_longer_needs_its_network(tmp_path: Path) -> None:
    measured, short, new = plan_runs(STUDY, tmp_path)[:3]
    for run, nimg in ((measured, 2000), (short, 1000)):
        run.folder.mkdir(parents=True)
        kept = scores(run.variant.name, run.seed, 3.0)
        kept.scores[0] = kept.scores[0].model_copy(update={"nimg": nimg})
        (run.folder / "scores.json").write_text(kept.model_dump_json())
    assert [finished(run) for run in (measured, short, new)] == [True, False, False]
    assert list(results_on_disk(STUDY, tmp_path)) == ["base"]


def test_scores_against_other_shapes_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study = tmp_path / "study.yaml"
    study.write_text(yaml.safe_dump({"base": "chair", "kimg": 2, "variants": [{"name": "base", "question": "?"}]}))
    run = plan_runs(load_study(study), tmp_path / "out")[0]
    run.folder.mkdir(parents=True)
    kept = scores("base", 0, 3.0)
    kept.scores[0] = kept.scores[0].model_copy(update={"measured": f"network/{'a' * 16}/200"})
    (run.folder / "scores.json").write_text(kept.model_dump_json())
    command = [str(study), "--data", "D", "--out", str(tmp_path / "out")]
    for digest, foreign in (("a" * 64, False), ("b" * 64, True)):
        monkeypatch.setattr(study_module, "open_dataset", lambda _, digest=digest: SimpleNamespace(hash=lambda: digest))
        result = CliRunner().invoke(study_module.main, command)
        assert result.exit_code == 0, result.output
        assert "base-seed0: MMD-CD 3.000" in result.output
        assert ("measured against other shapes" in result.output) is foreign


def test_a_folder_of_other_settings_is_refused(tmp_path: Path) -> None:
    run = plan_runs(STUDY, tmp_path, ("more-r1",))[0]
    write_state(run.folder, 2000, (*run.overrides, "training.total_kimg=1"))
    check_unchanged(run, "chair")  # a longer run may resume a shorter one
    (run.folder / "config.yaml").write_text(dump_config(load_config("chair", [*run.overrides, "loss.gamma=5"])))
    with pytest.raises(UserError, match=r"loss\.gamma = 5\.0"):
        check_unchanged(run, "chair")


def test_mistakes_in_a_study_show_before_anything_is_trained(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    text = "base: chair\nvariants:\n  - {name: base, question: q}\n"
    for extra, message in (
        ("  - {name: base, question: q}\n", "two variants are named base"),
        ("  - {name: b, question: q, against: c}\n", "no variant is named c"),
        ("  - {name: b, question: q, set: [loss.gama=1]}\n", "did you mean 'loss.gamma'"),
        ("  - {name: b}\n", "question"),
    ):
        path.write_text(text + extra)
        with pytest.raises(UserError, match=message):
            load_study(path)


def test_the_included_study_is_valid() -> None:
    study = load_study(Path(study_module.__file__).with_name("study.yaml"))
    assert study.kimg >= 20 and len(study.seeds) >= 2


def test_a_difference_is_measured_in_seeds(tmp_path: Path) -> None:
    results = {
        "base": [scores("base", 0, 2.0), scores("base", 1, 2.2)],
        "more-r1": [scores("more-r1", 0, 1.5), scores("more-r1", 1, 1.7)],
        "third": [scores("third", 7, 1.55)],
    }
    std = seed_std(results, MMD)
    assert std == pytest.approx(math.sqrt(0.02))  # two pairs that are 0.2 apart: variance 0.02 each
    change = difference(results["more-r1"], results["base"], MMD, std)
    assert change == pytest.approx((-0.5, std))  # √(1/2 + 1/2) = 1
    assert verdict(change, MMD.better) == "better"
    assert verdict((0.5, std), MMD.better) == "worse"
    assert verdict((0.25, std), MMD.better) == "within the seeds' spread"
    assert verdict((-0.5, None), MMD.better) == ""
    text = table(STUDY, results, {"base-seed1": "out of memory"})
    assert "| more-r1 | more? | `loss.gamma=10` | base | 2 | -0.5 ± 0.14 |" in text
    assert "| third | ? | – | more-r1 | 1 | -0.05 ± 0.17 |" in text
    assert "base-seed1: out of memory" in text


def test_without_a_second_seed_nothing_is_claimed() -> None:
    results = {"base": [scores("base", 0, 2.0)], "more-r1": [scores("more-r1", 0, 1.0)]}
    assert seed_std(results, MMD) is None
    assert "| -1 |" in table(STUDY, results, {}) and "better" not in table(STUDY, results, {})


def test_curves_are_a_well_formed_image() -> None:
    panels = [
        Panel("a < b", (Series("base", 0, ((0, 1), (2, 3))), Series("r1 & more", 1, ((0, 2),)))),
        Panel("none", ()),
    ]
    root = ElementTree.fromstring(svg(panels, "kimg"))
    lines = [item for item in root.iter() if item.tag.endswith("polyline")]
    assert [len(line.attrib["points"].split()) for line in lines] == [2, 1]
    low, high = (float(point.split(",")[1]) for point in lines[0].attrib["points"].split())
    assert low > high  # more is higher up in the image
    texts = [item.text for item in root.iter() if item.tag.endswith("text")]
    assert {"a < b", "r1 & more", "kimg"} <= set(texts)


@pytest.mark.parametrize(("low", "high", "expected"), [(0, 20, [0, 5, 10, 15, 20]), (0.9, 3.3, [1, 2, 3]), (1, 1, [1])])
def test_ticks_are_round(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high) == expected
