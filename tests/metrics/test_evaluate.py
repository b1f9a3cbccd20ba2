"""`tetragan evaluate` as a whole: a tiny network, folders of meshes, resuming, requirements, the report's schema."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import CliRunner

from dataset_tool.format.dataset_json import Header
from dataset_tool.format.writer import ShapeRecord, content_hash, write_header, write_shape
from metrics.evaluate import Options, resolved_protocol, run_evaluation
from metrics.report.compare import comparison, parse_requirement, unmet
from metrics.report.html import report_html
from metrics.report.markdown import report_markdown
from metrics.report.report_schema import Interval, Metric, Report, load_report
from networks.generator import Generator
from rendering.camera_distribution import CAMERA_DISTRIBUTIONS
from tests.metrics.boxes import write_boxes
from tests.training.tiny import config
from tetragan import __main__ as tetragan
from torch_utils.checkpoint import save_network
from torch_utils.errors import UserError
from torch_utils.files import file_hash


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("dataset")
    rng, camera_distribution = np.random.default_rng(0), CAMERA_DISTRIBUTIONS["chair"]
    ids = [f"shape{i:02d}" for i in range(12)]
    for i, shape_id in enumerate(ids):
        images = rng.integers(0, 255, (3, 16, 16, 4), dtype=np.uint8)
        points = (rng.random((2048, 3)) - 0.5).astype(np.float32) * rng.uniform(0.3, 0.9, 3).astype(np.float32)
        write_shape(
            root,
            ShapeRecord(shape_id, images, camera_distribution.sample(i, range(3)), points, None, {"caption": "box"}),
        )
    splits = {"train": tuple(ids[:8]), "test": tuple(ids[8:])}
    content = content_hash(root, ids)
    write_header(
        root,
        Header(
            category="chair",
            camera_distribution=camera_distribution,
            resolution=16,
            views=3,
            splits=splits,
            content=content,
        ),
    )
    return root


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    settings = config()
    path = tmp_path_factory.mktemp("network") / "net.safetensors"
    save_network(path, Generator(settings), settings.model_dump(mode="json"), 4000)
    return path


@pytest.fixture(scope="module")
def evaluated(network: Path, dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Report, Path]:
    base = tmp_path_factory.mktemp("evaluation")
    options = Options(network, None, dataset, None, base / "out", cache=base / "cache", device="cpu", quiet=True)
    return run_evaluation(options), base


def test_the_report_is_complete_and_valid(evaluated: tuple[Report, Path], network: Path) -> None:
    report, base = evaluated
    assert load_report(base / "out" / "report.json") == report
    assert report.schema_version == 1
    assert report.run.network_sha256 == file_hash(network)
    assert (report.run.num_generated, report.run.num_references, report.run.num_training) == (4, 4, 8)
    for name in ("mmd_cd", "cov_cd", "one_nna_cd", "one_nna_cd_references", "one_nna_cd_generated", "mesh_empty"):
        metric = report.metric(name)
        assert metric is not None and metric.status == "ok" and metric.value is not None, name
    fid = report.metric("fid")
    assert fid is not None and (fid.status, fid.value) == ("skipped", None) and "--detector" in fid.reason
    assert [row.name for row in report.baselines][:2] == [
        "training shapes (train-vs-test reference)",
        "best single training shape, repeated",
    ]
    assert all(row.comparable for row in report.baselines[:2])
    assert len(report.baselines) == 2, "published rows belong to other protocols"
    assert report.baselines[1].values["cov_cd"] == 25


def test_the_best_single_shape_is_the_one_with_the_lowest_mmd(evaluated: tuple[Report, Path], dataset: Path) -> None:
    from dataset_tool.dataset import open_dataset
    from torch_utils.ops.chamfer import chamfer_matrix

    opened = open_dataset(dataset)
    points = {s: torch.stack([torch.from_numpy(opened.points(i)) for i in opened.splits[s]]) for s in ("train", "test")}
    each = [float(chamfer_matrix(points["test"], t[None]).mean()) for t in points["train"]]
    assert evaluated[0].baselines[1].values["mmd_cd"] == pytest.approx(1000 * min(each), rel=1e-5)
    assert opened.splits["train"][int(np.argmin(each))] in evaluated[0].baselines[1].note


def test_the_train_vs_test_reference_needs_distances_inside_its_part_of_the_training_set_alone(
    network: Path, dataset: Path, tmp_path: Path
) -> None:
    from safetensors.torch import load_file

    rows_of = []
    for memory in ("memorization", ""):
        protocol = tmp_path / f"own{memory}.yaml"
        text = f"name: own\nversion: 1\ndescription: CD\npoints: 256\nshape_metrics: [{memory}]\n"
        protocol.write_text(text, encoding="utf-8")
        options = Options(
            network, None, dataset, None, tmp_path / f"out{memory}", protocol=str(protocol), cache=tmp_path / memory,
            device="cpu", quiet=True,
        )  # fmt: skip
        rows_of.append(run_evaluation(options).baselines[:2])
    for with_memorization, without in zip(*rows_of, strict=True):
        copies = with_memorization.values.keys() - without.values.keys()
        assert copies <= {"auth_pct", "nearest_training_cd"}
        assert {k: v for k, v in with_memorization.values.items() if k not in copies} == without.values
    assert "one_nna_cd" in rows_of[0][0].values

    def squares(folder: Path) -> list[int]:
        shapes = [tuple(load_file(path)["d"].shape) for path in folder.glob("distance-*")]
        return sorted(rows for rows, columns in shapes if rows == columns)

    # Four references; all eight training shapes with memorization, otherwise as many as there are samples.
    assert squares(tmp_path / "memorization") == [4, 8]
    assert squares(tmp_path) == [4, 4]


def test_markdown_and_html_show_every_number(evaluated: tuple[Report, Path]) -> None:
    report, base = evaluated
    text = (base / "out" / "report.md").read_text(encoding="utf-8")
    page = (base / "out" / "report.html").read_text(encoding="utf-8")
    assert text == report_markdown(report) and page == report_html(report, base / "out")
    for metric in report.metrics:
        assert metric.title in text
    assert "http" not in page.replace("http-equiv", "")
    assert page.count("data:image/png;base64,") >= 4
    for item in report.galleries["Random samples (seeded, not picked)"]:
        assert (base / "out" / item.mesh).is_file() and f'href="{item.mesh}"' in page


def test_every_score_has_its_train_vs_test_reference(evaluated: tuple[Report, Path], network: Path) -> None:
    report, _ = evaluated
    row = report.baselines[0]
    lacking = [m.name for m in report.metrics if m.status == "ok" and m.name not in row.values]
    assert lacking and all(name.startswith("mesh_") for name in lacking), "the dataset was made without meshes"
    assert "no mesh scores, because the meshes of training shapes are not at hand" in row.note
    # Copies stand beside held-out shapes, of which few are nearer to a training shape than its own neighbor.
    assert row.values["nearest_training_cd"] > 0 and row.values["jsd"] > 0 and 0 < row.values["f_score"] <= 100


def test_running_again_reuses_everything(evaluated: tuple[Report, Path], network: Path, dataset: Path) -> None:
    report, base = evaluated
    before = {path: path.stat().st_mtime_ns for path in (base / "out" / "cache").iterdir()}
    options = Options(network, None, dataset, None, base / "out", cache=base / "cache", device="cpu", quiet=True)
    again = run_evaluation(options)
    assert {path: path.stat().st_mtime_ns for path in (base / "out" / "cache").iterdir()} == before
    assert [m.value for m in again.metrics] == [m.value for m in report.metrics]


def test_a_folder_against_a_folder_counts_bad_files(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    generated, references = write_boxes(tmp_path / "g", 5, 0), write_boxes(tmp_path / "r", 6, 1)
    (generated / "box9.obj").write_text("v 0 0 0\n", encoding="utf-8")
    options = Options(None, generated, None, references, tmp_path / "out", cache=tmp_path / "cache", quiet=True)
    report = run_evaluation(options)
    empty = report.metric("mesh_empty")
    assert empty is not None and empty.value == pytest.approx(100 / 6)
    assert [item.id for item in report.failures] == ["box9.obj"]
    printed = capsys.readouterr().out
    assert "note: 1 of 6 generated shapes have no usable surface and count as empty; the first: box9.obj: " in printed
    assert "box9.obj: has no faces" in printed
    watertight = report.metric("mesh_watertight")
    assert watertight is not None and watertight.value == 100
    for title, items in report.galleries.items():
        # Every image is a link to its own mesh; in pairs that is the reference's and the sample's.
        roles = ("reference", "generated") if title.startswith("References") else ("generated", "reference")
        for item in items:
            pair = ((item.id, item.mesh), (item.other_id, item.other_mesh))
            for role, (shape_id, mesh) in zip(roles, pair, strict=True):
                if shape_id:
                    assert mesh == f"gallery/{role}-{shape_id}.glb", (title, item)
                    assert (tmp_path / "out" / mesh).is_file()
    assert "box9.obj" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert report.run.notes == []


def test_mesh_files_that_are_passed_over_are_noted(tmp_path: Path) -> None:
    generated, references = write_boxes(tmp_path / "g", 5, 0), write_boxes(tmp_path / "r", 3, 1)
    (generated / "box0.obj").rename(generated / "box0.off")
    (generated / "box0.off").write_text("OFF\n3 1 0\n0 0 0\n1 0 0\n0 1 0\n3 0 1 2\n", encoding="utf-8")
    options = Options(None, generated, None, references, tmp_path / "out", cache=tmp_path / "cache", quiet=True)
    report = run_evaluation(options)
    assert report.run.num_generated == 3
    assert [note.split(";")[0] for note in report.run.notes] == [
        "g/: 3 of 5 mesh files, chosen at random (seed 0): the protocol's counts ask for no more",
        "g/: files of several formats, .obj, .off",
    ]


def test_identical_folders_score_perfectly_with_lfd_and_cd(tmp_path: Path) -> None:
    generated, references = write_boxes(tmp_path / "g", 4, 0), write_boxes(tmp_path / "r", 4, 0)
    protocol = tmp_path / "own.yaml"
    protocol.write_text("name: own\nversion: 1\ndescription: LFD\ndistances: [lfd]\n", encoding="utf-8")
    options = Options(None, generated, None, references, tmp_path / "out", protocol=str(protocol), cache=tmp_path / "c")
    report = run_evaluation(options)
    values = {m.name: m.value for m in report.metrics}
    assert (values["mmd_lfd"], values["cov_lfd"], values["one_nna_lfd"]) == (0, 100, 0)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_image_scores_with_a_detector(network: Path, dataset: Path, tmp_path: Path) -> None:
    from tests.metrics.test_detectors import Tiny

    detector = tmp_path / "tiny.pt"
    torch.jit.script(Tiny()).save(str(detector))
    protocol = tmp_path / "own.yaml"
    protocol.write_text(
        "name: own\nversion: 1\ndescription: images\npoints: 64\nimages: {count: 12}\n", encoding="utf-8"
    )
    options = Options(
        network, None, dataset, None, tmp_path / "out", protocol=str(protocol), detector=detector,
        detector_hash=file_hash(detector), cache=tmp_path / "cache", device="cpu", quiet=True,
    )  # fmt: skip
    report = run_evaluation(options)
    for name in ("fd", "kd", "precision", "coverage", "fd_infinity"):
        metric = report.metric(name)
        assert metric is not None and metric.status == "ok", name
        assert "12 real, 12 generated" in metric.reason
    assert report.metric("fd").value > 100  # type: ignore[union-attr]


def test_requirements(evaluated: tuple[Report, Path]) -> None:
    report, _ = evaluated
    assert unmet(report, [parse_requirement("cov_cd>=0"), parse_requirement("mmd_cd < 1e9")]) == []
    assert unmet(report, [parse_requirement("cov_cd>100")])[0].startswith("cov_cd>100: it is ")
    assert "not measured" in unmet(report, [parse_requirement("fid<20")])[0]
    with pytest.raises(UserError, match="did you mean 'cov_cd'"):
        unmet(report, [parse_requirement("cov_cdd>1")])
    for text in ("cov_cd", "cov_cd=4", "cov_cd>x", "cov_cd>1.2.3"):
        with pytest.raises(UserError, match="expected a metric"):
            parse_requirement(text)


def test_compare_says_what_differs(evaluated: tuple[Report, Path]) -> None:
    report, _ = evaluated
    assert "Not comparable" not in comparison(report, report, ("a", "b"))
    other = report.model_copy(update={"protocol": {**report.protocol, "name": "other"}})
    text = comparison(report, other, ("a", "b"))
    assert text.startswith("Not comparable: the protocols differ (quick v3; other v3).")
    assert "| COV-CD | ↑ |" in text and "| overlap |" in text


def test_compare_tells_detectors_apart(evaluated: tuple[Report, Path]) -> None:
    def with_detector(name: str, value: float) -> Report:
        interval = Interval(low=value - 1, high=value + 1, method="")
        metric = Metric(name="fd", title="FD", value=value, detector=name, interval=interval)
        return evaluated[0].model_copy(update={"metrics": [metric]})

    one, other = with_detector("a, 12", 5.0), with_detector("b, 34", 7.0)
    assert "| 2 | overlap |" in comparison(one, with_detector("a, 12", 7.0), ("x", "y")).replace("+2", "2")
    text = comparison(one, other, ("x", "y"))
    assert "Not comparable: the detectors differ (a, 12; b, 34)." in text
    assert "| 5 | 7 | other detector |  |" in text
    for shown in (report_markdown(one), report_html(one, evaluated[1])):
        assert "a, 12" in shown


def test_a_damaged_report_is_refused(evaluated: tuple[Report, Path], tmp_path: Path) -> None:
    values = json.loads((evaluated[1] / "out" / "report.json").read_text(encoding="utf-8"))
    values["metrics"][0]["direction"] = "sideways"
    path = tmp_path / "report.json"
    path.write_text(json.dumps(values), encoding="utf-8")
    with pytest.raises(UserError, match=r"metrics\.0\.direction"):
        load_report(path)
    with pytest.raises(UserError, match="cannot be read"):
        load_report(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "give one of --network FILE and --meshes FOLDER"),
        (["--meshes", "x"], "give --data DATASET or --reference-meshes FOLDER"),
        (["--meshes", "x", "--data", "y"], "give --out FOLDER"),
        (["--meshes", "x", "--reference-meshes", "y", "--out", "z", "--protocol", "quik"], "did you mean 'quick'"),
        (["--meshes", "nowhere", "--reference-meshes", "nowhere", "--out", "z"], "nowhere: no such folder"),
        (["--network", "none.safetensors", "--reference-meshes", "y", "--out", "z"], "none.safetensors: no such file"),
        (["--require", "fid", "--meshes", "x"], "expected a metric"),
    ],
)
def test_mistakes_are_one_line_and_status_2(
    arguments: list[str], message: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["tetragan", "evaluate", *arguments])
    with pytest.raises(SystemExit) as stop:
        tetragan.main()
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error
    assert not (tmp_path / "z" / "report.json").exists()


def test_an_unmet_requirement_sets_status_1(evaluated: tuple[Report, Path]) -> None:
    path = str(evaluated[1] / "out" / "report.json")
    command = tetragan.cli
    kept = CliRunner().invoke(command, ["evaluate", "--compare", path, path, "--require", "cov_cd>=0"])
    assert kept.exit_code == 0 and "| COV-CD |" in kept.output
    broken = CliRunner().invoke(command, ["evaluate", "--compare", path, path, "--require", "cov_cd>100"])
    assert broken.exit_code == 1 and "Requirement not met: cov_cd>100" in broken.output


def test_a_dataset_without_points_is_refused(tmp_path: Path, network: Path) -> None:
    camera_distribution = CAMERA_DISTRIBUTIONS["chair"]
    root = tmp_path / "photographs"
    image = np.zeros((1, 16, 16, 4), np.uint8)
    write_shape(root, ShapeRecord("a", image, camera_distribution.sample(0, range(1)), None, None, {}))
    content, splits = content_hash(root, ["a"]), {"test": ("a",)}
    write_header(
        root, Header(camera_distribution=camera_distribution, resolution=16, views=1, splits=splits, content=content)
    )
    options = Options(network, None, root, None, tmp_path / "out", cache=tmp_path / "c", device="cpu", quiet=True)
    with pytest.raises(UserError, match="surface points"):
        run_evaluation(options)


def test_a_changed_protocol_says_so_in_its_name(tmp_path: Path) -> None:
    def name(**changes) -> str:
        options = Options(None, None, None, None, tmp_path, protocol="quick", **changes)
        return resolved_protocol(options).name

    assert name() == "quick"
    assert name(count=50) == "quick, at most 50 references"
    assert name(count=50, truncation=0.5) == "quick, at most 50 references, ψ 0.5"
    assert name(count=5000) == "quick"
