"""Image scores on the command line: of meshes and normals, with a detector, a CLIP and a classifier."""

import json
from pathlib import Path

import pytest
import torch
from torch import Tensor

from dataset_tool.dataset import open_dataset
from geometry.mesh import Mesh
from mesh_io.write import write_glb
from metrics.evaluate import Options, resolved_protocol
from metrics.images.attribute_scores import attribute_metrics
from metrics.images.classifier import Classifier
from metrics.images.conditions import Conditions, parse_attributes
from metrics.images.detectors import load_detector
from metrics.images.image_models import ModelChoice, load_image_models
from metrics.protocols import ImageProtocol, Protocol
from metrics.report.report_schema import TRAIN_TEST_REFERENCE, Metric, Report, load_report
from metrics.sources.description import Description
from metrics.sources.folder import FolderSource
from metrics.sources.image_settings import make_image_settings
from metrics.sources.network import NetworkSource
from networks.generator import Generator
from tests.command_line import assert_refused, run
from tests.metrics.boxes import write_box_dataset, write_boxes_and_network
from tests.metrics.model_folders import write_classifier, write_clip
from tests.metrics.test_detectors import Tiny
from torch_utils.files import file_hash

pytestmark = pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
LABELS = ("type=chair", "red=true", "type=stool", "red=false", "type=bench")
OWN = "name: own\nversion: 1\ndescription: images\npoints: 64\ndistances: []\nshape_metrics: []\n"


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of boxes, their dataset, a network, a detector, a CLIP, a classifier and a protocol of 24 images."""
    root = write_boxes_and_network(tmp_path_factory.mktemp("files"))
    torch.jit.script(Tiny()).save(str(root / "tiny.pt"))
    write_clip(root / "clip")
    write_classifier(root / "classifier", LABELS)
    (root / "own.yaml").write_text(OWN + "images: {count: 24}\n", encoding="utf-8")
    return root


def evaluate(files: Path, out: Path, *arguments: object) -> Report:
    outcome = run(
        *("evaluate", "--out", out, "--cache", out / "real", "--protocol", files / "own.yaml", "--quiet"), *arguments
    )
    assert outcome.status == 0, outcome.stderr
    return load_report(out / "report.json")


def value(report: Report, name: str) -> float:
    metric = report.metric(name)
    assert metric is not None and metric.status == "ok" and metric.value is not None, (name, metric)
    return metric.value


def test_a_folder_of_meshes_has_image_scores(files: Path, tmp_path: Path) -> None:
    detector = ("--detector", files / "tiny.pt", "--detector-hash", file_hash(files / "tiny.pt"))
    against = ("--data", files / "data", "--reference-meshes", files / "boxes", "--normals")
    near = evaluate(files, tmp_path / "near", "--meshes", files / "boxes", *against, *detector)
    assert "24 real, 24 generated images of 6 shapes, 16 px" in near.metric("fd").reason  # type: ignore[union-attr]
    for name in ("fd_infinity", "kd", "precision", "fd_view"):
        assert near.metric(name) is not None, name
    bars = tmp_path / "bars"
    bars.mkdir()
    for path in sorted((files / "boxes").glob("*.obj")):
        rows = path.read_text(encoding="utf-8").splitlines()
        thin = [f"v {float(r.split()[1]) * 0.1} {' '.join(r.split()[2:])}" if r.startswith("v ") else r for r in rows]
        (bars / path.name).write_text("\n".join(thin) + "\n", encoding="utf-8")
    far = evaluate(files, tmp_path / "far", "--meshes", bars, *against, *detector)
    for name in ("fd", "fd_normals"):
        assert value(far, name) > 3 * value(near, name) > 0, name


def test_views_of_normals_have_no_image_scores(files: Path, tmp_path: Path) -> None:
    data = write_box_dataset(tmp_path / "data", files / "boxes")
    header = json.loads((data / "dataset.json").read_text(encoding="utf-8"))
    header["renderer"]["shading"] = "normals"
    (data / "dataset.json").write_text(json.dumps(header), encoding="utf-8")
    protocol = tmp_path / "both.yaml"
    protocol.write_text((OWN + "images: {count: 24}\n").replace("distances: []", "distances: [cd]"), encoding="utf-8")
    report = evaluate(files, tmp_path / "out", "--meshes", files / "boxes", "--data", data, "--protocol", protocol)
    assert value(report, "mmd_cd") > 0
    fd = report.metric("fd")
    assert fd is None or fd.status == "skipped"
    skipped = [metric.reason for metric in report.metrics if metric.status == "skipped"]
    assert "the views of --data show normals, not colors" in skipped


def test_the_color_of_shapes_is_invisible_in_their_masks_and_normals(files: Path, tmp_path: Path) -> None:
    painted = tmp_path / "painted"
    painted.mkdir()
    colors = torch.tensor([[40, 180, 60]], dtype=torch.uint8).expand(4, 4, 3) / 255
    for path in sorted((files / "boxes").glob("*.obj")):
        shape = FolderSource(files / "boxes").shapes([int(path.stem[3:])])[0].mesh
        assert shape is not None
        write_glb(
            painted / f"{path.stem}.glb",
            Mesh.single(shape.vertices, shape.faces, uvs=torch.zeros(8, 2), textures={"base_color": colors}),
            unlit=True,
        )
    detector = ("--detector", files / "tiny.pt", "--detector-hash", file_hash(files / "tiny.pt"))
    against = ("--data", files / "data", "--reference-meshes", files / "boxes", "--normals")
    report = evaluate(files, tmp_path / "out", "--meshes", painted, *against, *detector)
    assert value(report, "fd") > 10 * max(value(report, "fd_masks"), value(report, "fd_normals")) > 0
    reference = next(b for b in report.baselines if b.name == TRAIN_TEST_REFERENCE)
    assert "only 16 training images in place of 24 generated ones" in reference.note
    for content in ("", "_masks", "_normals"):
        for name in ("fd", "kd", "precision", "recall", "density", "coverage"):
            assert value(report, name + content) is not None and name + content in reference.values
    assert reference.values["fd"] < value(report, "fd") / 10
    # The pixels say so, too: the real boxes are white, and these are of one hue and plain.
    assert value(report, "swd_16") > 3 * reference.values["swd_16"] > 0
    assert value(report, "effective_hues") == pytest.approx(1) and value(report, "color_scatter") < 1
    for name in ("report.md", "report.html"):
        text = (tmp_path / "out" / name).read_text(encoding="utf-8")
        assert "train vs test" in text and "Train vs test: only 16 training images" in text, name
        assert "FID" not in text and "FD (tiny.pt, get3d-2022), masks" in text, name


def test_pixels_are_scored_without_a_detector(files: Path, tmp_path: Path) -> None:
    network = ("--network", files / "net.safetensors", "--data", files / "data", "--device", "cpu")
    report = evaluate(files, tmp_path / "a", *network)
    assert report.metric("fid").status == "skipped"  # type: ignore[union-attr]
    reference = next(b for b in report.baselines if b.name == TRAIN_TEST_REFERENCE).values
    assert value(report, "swd_16") > 2 * reference["swd_16"] > 0
    for name in ("color_scatter", "effective_hues"):
        metric = report.metric(name)
        assert metric is not None and metric.direction == "target" and metric.target is not None and name in reference
    assert report.metric("effective_hues").target == 1  # type: ignore[union-attr]
    other = evaluate(files, tmp_path / "b", *network)
    assert value(other, "swd_16") == value(report, "swd_16")


def test_lite0_on_the_command_line(files: Path, tmp_path: Path) -> None:
    report = evaluate(
        files,
        tmp_path,
        *("--network", files / "net.safetensors", "--data", files / "data", "--device", "cpu", "--detector", "lite0"),
    )
    metric = report.metric("fd")
    assert metric is not None and metric.title == "FD (Lite0)" and metric.reason.startswith("Lite0; 24 real, 24 gener")
    reference = next(b for b in report.baselines if b.name == TRAIN_TEST_REFERENCE).values
    for name in ("fd", "fd_masks"):
        assert value(report, name) > 2 * reference[name] > 0


def test_two_folders_have_image_scores_too(files: Path, tmp_path: Path) -> None:
    detector = ("--detector", files / "tiny.pt", "--detector-hash", file_hash(files / "tiny.pt"))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "a.obj").write_text("v 0 0 0\n", encoding="utf-8")
    path = files / "small.yaml"
    path.write_text(OWN + "images: {count: 16, resolution: 32, normals: true}\n", encoding="utf-8")
    same = ("--reference-meshes", files / "boxes", "--protocol", path, *detector)
    good = evaluate(files, tmp_path / "a", "--meshes", files / "boxes", *same)
    nothing = evaluate(files, tmp_path / "b", "--meshes", tmp_path / "broken", *same)
    for name in ("fd", "fd_normals"):
        assert value(nothing, name) > 10 * value(good, name), name
    empty = nothing.metric("swd_32")
    assert empty is not None and (empty.status, empty.reason) == ("failed", "no image shows enough foreground")
    assert value(good, "swd_32") > 0 and not good.baselines


def test_normals_without_meshes_are_skipped_with_the_reason(files: Path, tmp_path: Path) -> None:
    report = evaluate(
        files,
        tmp_path,
        *("--network", files / "net.safetensors", "--data", files / "data", "--device", "cpu"),
        *("--detector", files / "clip", "--normals"),
    )
    metric = report.metric("fd_normals")
    assert metric is not None and metric.status == "skipped" and "--reference-meshes" in metric.reason
    # A CLIP as the detector: its Fréchet distance is not called FID, and CMMD and the text scores come with it.
    assert report.metric("fid") is None and value(report, "fd") > 0 and value(report, "cmmd") > 0
    assert report.metric("clip_score").status == "skipped"  # type: ignore[union-attr]
    row = next(b for b in report.baselines if b.name == "the references' own images and captions")
    assert set(row.values) == {"clip_score", "r_precision"}


def test_clip_and_classifier_of_a_network(files: Path, tmp_path: Path) -> None:
    report = evaluate(
        files,
        tmp_path,
        *("--network", files / "net.safetensors", "--data", files / "data", "--device", "cpu"),
        *("--clip", files / "clip", "--classifier", files / "classifier"),
        *("--caption", "a red box", "--attribute", "type=stool"),
    )
    assert 0 <= value(report, "r_precision") <= 100 and 0 <= value(report, "clip_score") <= 100
    # Captions of the six test shapes: red or blue, chair or stool: four, and the one of the command line.
    assert "among 5 different captions, the references' (4)" in report.metric("r_precision").reason  # type: ignore[union-attr]
    shares = [value(report, f"share_type_{kind}") for kind in ("chair", "stool", "bench")]
    assert sum(shares) == pytest.approx(100)
    assert value(report, "accuracy_type") == pytest.approx(shares[1])
    assert report.metric("share_type_chair").target == 50  # type: ignore[union-attr]
    assert report.metric("share_red_true").target == pytest.approx(100 / 3)  # type: ignore[union-attr]
    reference = next(b for b in report.baselines if b.name == TRAIN_TEST_REFERENCE).values
    assert [m.name for m in report.metrics if m.status == "ok" and m.name not in reference] == []
    assert sum(reference[f"share_type_{kind}"] for kind in ("chair", "stool", "bench")) == pytest.approx(100)
    assert reference["cmmd"] < value(report, "cmmd")
    assert report.metric("accuracy_red") is None and 0 <= value(report, "reference_accuracy_red") <= 100
    for name in ("report.md", "report.html"):
        text = (tmp_path / name).read_text(encoding="utf-8")
        assert "Attributes" in text and "type = stool" in text and "type: accuracy" in text


def probabilities(rows: list[int]) -> Tensor:
    return torch.nn.functional.one_hot(torch.tensor(rows), 3).float()


def test_shares_accuracy_and_absent_values() -> None:
    classifier = Classifier("classifier", "key", {"type": ("chair", "stool", "bench")}, lambda _: {})
    wanted = [Description("", {"type": "chair"})] * 4 + [Description("", {})]
    stated = [Description("", {"type": t}) for t in ("chair", "chair", "stool", "bench", "throne")]
    usable = torch.tensor([True, True, True, False, True])
    found = attribute_metrics(
        classifier,
        {"type": probabilities([0, 0, 1, 0, 0])},
        {"type": probabilities([0, 0, 1, 1, 1])},
        wanted,
        stated,
        stated,
        usable,
    )
    by_name: dict[str, Metric] = {metric.name: metric for metric in found}
    assert by_name["accuracy_type"].value == 50 and by_name["accuracy_type"].n == 4  # the empty one is wrong
    assert by_name["reference_accuracy_type"].value == 60
    assert [by_name[f"share_type_{v}"].value for v in ("chair", "stool", "bench")] == pytest.approx([60, 20, 0])
    assert [by_name[f"share_type_{v}"].target for v in ("chair", "stool", "bench")] == pytest.approx([40, 20, 20])
    assert by_name["shares_type"].value == pytest.approx(20)
    assert "does not know throne" in by_name["shares_type"].reason
    assert (by_name["absent_type"].value, by_name["absent_type"].reason) == (1, "bench")
    bare = attribute_metrics(
        classifier,
        {"type": probabilities([0, 0, 1, 0, 0])},
        {"type": probabilities([0, 0, 1, 1, 1])},
        [Description("", {})] * 5,
        [Description("", {})] * 5,
        [Description("", {})] * 5,
        usable,
    )
    assert {m.name: m.target for m in bare}["share_type_stool"] == 60  # nothing stated: the classifier's own reading
    assert not any(m.name.startswith(("accuracy", "reference_accuracy")) for m in bare)


def test_mistakes_are_refused_before_anything_is_measured(files: Path, tmp_path: Path) -> None:
    base = ["evaluate", "--meshes", files / "boxes", "--data", files / "data", "--out", tmp_path / "out", "--quiet"]
    for more, message in (
        (["--attribute", "type=stool"], "needs --classifier"),
        (["--caption", "a box"], "needs --clip"),
        (["--classifier", files / "classifier", "--attribute", "type"], "expected name=value"),
        (["--classifier", files / "clip"], "weights lack classifier"),
        (["--clip", files / "classifier"], "has no text tower"),
        (["--clip", files / "nothing"], "no such folder"),
        (["--detector", files / "nothing"], "no such file"),
    ):
        assert_refused(run(*base, *more), message)
    assert not (tmp_path / "out").exists()
    (files / "clip" / "tokenizer.json").rename(files / "clip" / "tokenizer.old")
    try:
        assert_refused(run(*base, "--clip", files / "clip"), "tokenizer cannot be read")
    finally:
        (files / "clip" / "tokenizer.old").rename(files / "clip" / "tokenizer.json")
    assert parse_attributes(["a=b", "c = d"]) == {"a": "b", "c": "d"}


def test_a_model_without_a_pooling_layer_gives_its_class_token(files: Path) -> None:
    from transformers import AutoModel

    detector = load_detector(files / "classifier", None)
    images = torch.randint(256, (2, 3, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    model = AutoModel.from_pretrained(files / "classifier", local_files_only=True).eval()
    with torch.no_grad():
        state = model(pixel_values=(images / 255 - 0.5) / 0.5).last_hidden_state
    torch.testing.assert_close(detector.features(images), state[:, 0], atol=1e-5, rtol=1e-4)
    models = load_image_models(ModelChoice(files / "clip"), Conditions(), None, torch.device("cpu"), files)
    assert models.clip is not None and models.clip.image_encoder.key == models.detector.key  # type: ignore[union-attr]


def test_truncation_and_normals_reach_the_images(tmp_path: Path) -> None:
    changed = resolved_protocol(Options(None, None, None, None, tmp_path, truncation=0.5, normals=True))
    assert changed.images is not None and (changed.images.truncation, changed.images.normals) == (0.5, True)
    plain = resolved_protocol(Options(None, None, None, None, tmp_path, protocol="get3d-2022"))
    assert plain.images is not None and (plain.images.truncation, plain.images.normals) == (1.0, False)


def test_several_views_of_each_sample(files: Path, tmp_path: Path) -> None:
    dataset = open_dataset(files / "data")
    source = NetworkSource(files / "net.safetensors", *_loaded(files), count=4, truncation=1.0)
    protocol = Protocol(name="p", version=1, description="", images=ImageProtocol(count=None, views_per_shape=3))
    once = make_image_settings(protocol.model_copy(update={"images": ImageProtocol(count=12)}), dataset, None)
    settings = make_image_settings(protocol, dataset, None)
    images = source.images(12, settings)
    assert list(images.shapes) == [0, 0, 0, 1, 1, 1, 2, 2, 2, 3, 3, 3]
    assert images.key != source.images(12, once).key
    drawn = images.draw(range(12))
    # Any part gives the same images, also one that begins inside a sample's views.
    assert torch.equal(images.draw(range(2, 8)), drawn[2:8])
    # View 0 of sample 0 is what the other protocol shows first; later views are of the same sample by other cameras.
    assert torch.equal(source.images(12, once).draw(range(1)), drawn[:1])
    assert not torch.equal(drawn[0], drawn[1])
    text = OWN + "images: {count: null, views_per_shape: 3, camera: ln3diff}\n"
    (tmp_path / "views.yaml").write_text(text, encoding="utf-8")
    report = evaluate(
        files, tmp_path / "out", "--network", files / "net.safetensors", "--data", files / "data", "--protocol",
        tmp_path / "views.yaml", "--detector", files / "tiny.pt", "--detector-hash", file_hash(files / "tiny.pt"),
    )  # fmt: skip
    metric = report.metric("vendi")
    assert metric is not None and metric.value is not None and 1 <= metric.value <= 3, "three features"
    assert "18 generated images of 6 shapes" in metric.reason
    assert metric.detector == f"tiny.pt, get3d-2022, {file_hash(files / 'tiny.pt')[:12]}"


def _loaded(files: Path) -> tuple[Generator]:
    from networks.pretrained import load_generator_file

    return (load_generator_file(files / "net.safetensors")[0],)
