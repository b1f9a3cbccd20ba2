"""The `dataset` commands: what they print, and exit status 2 with one line on mistakes."""

import json
import shutil

import click
import pytest
from click.testing import CliRunner
from PIL import Image

from dataset_tool.check import check_dataset
from dataset_tool.dataset import open_dataset
from tests.dataset_tool.shapes import write_dataset, write_folder
from tetragan.dataset import dataset
from torch_utils.errors import UserError


def invoke(*arguments, status=0):
    """Run `tetragan dataset …`; UserError counts as status 2, as the program's entry makes it."""
    result = CliRunner().invoke(dataset, [str(argument) for argument in arguments])
    if isinstance(result.exception, UserError | click.ClickException):
        assert status == 2, result.exception
        assert "\n" not in str(result.exception)
        return result.output + str(result.exception)
    assert result.exit_code == status, result.output
    return result.output


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("command") / "data", count=6)


@pytest.fixture
def copy(data, tmp_path):
    return shutil.copytree(data, tmp_path / "data")


def test_render_check_info_sheet(tmp_path):
    source = write_folder(tmp_path / "source", 3)
    (source / "broken.obj").write_text("v 0 0 0\n")
    out = tmp_path / "data"
    options = ("--resolution", 32, "--views", 2, "--camera", "car", "--workers", 1)
    text = invoke("render", source, "--out", out, *options)
    assert "failed: broken: " in text
    assert f"3 shapes rendered to {out}, 1 failed" in text
    assert "2 shapes train, 0 validate, 1 test" in text and text.count("Few shapes: ") == 1
    text = invoke("render", source, "--out", out, *options)
    assert f"0 shapes rendered to {out}, 3 were there, 1 failed" in text
    assert "3 shapes: 0 errors" in invoke("check", out)
    text = invoke("info", out)
    assert "category  object" in text, "cameras say nothing about shapes"
    assert "2 of 32 px, png" in text
    assert "elevation_deg {'uniform': [0.0, 30.0]}" in text
    for name in ("sheet.png", "sheet.html"):
        invoke("sheet", out, "--out", tmp_path / name, "--views", 2, "--side", 16)
    with Image.open(tmp_path / "sheet.png") as image:
        assert image.size == (32, 48)
    invoke("sheet", out, "--out", tmp_path / "wide.png", "--views", 2, "--side", 16, "--columns", 2)
    with Image.open(tmp_path / "wide.png") as wide, Image.open(tmp_path / "sheet.png") as tall:
        assert wide.size == (64, 32), "two shapes of two views in a row; one shape and blanks in the second"
        assert wide.crop((32, 0, 64, 16)).tobytes() == tall.crop((0, 16, 32, 32)).tobytes()
        assert set(wide.crop((32, 16, 64, 32)).tobytes()) == {235}
    page = (tmp_path / "sheet.html").read_text()
    assert page.count("data:image/png;base64,") == 6
    assert "http" not in page, "the page must need nothing from elsewhere"


@pytest.mark.parametrize("ending", ["png", "html"])
def test_damaged_views_are_red_squares_of_a_sheet(tmp_path, ending):
    out = tmp_path / "data"
    write_dataset(out)
    first, second, *_ = sorted(path for path in (out / "shapes").iterdir())
    (first / "000.png").write_bytes(b"")
    (second / "transforms.json").write_text("{")
    (second / "meta.json").write_text("{")
    text = invoke("sheet", out, "--out", tmp_path / f"sheet.{ending}", "--side", 16)
    assert f"note: {first / '000.png'}: " in text and "transforms.json: cannot be read as JSON" in text
    if ending == "png":
        with Image.open(tmp_path / "sheet.png") as image:
            colors = {color: count for count, color in image.convert("RGB").getcolors(10**6)}
        assert colors[(200, 60, 50)] == 2 * 16 * 16


def test_procedural_leads_to_render(tmp_path):
    text = invoke("procedural", "--count", 2, "--out", tmp_path / "meshes", "--workers", 1, "--quiet")
    assert "2 chair meshes written" in text
    text = invoke("render", tmp_path / "meshes", "--out", tmp_path / "data", "--views", 1, "--workers", 1, "--quiet")
    assert "2 shapes rendered" in text
    assert open_dataset(tmp_path / "data").category == "chair"
    meta = open_dataset(tmp_path / "data").meta(open_dataset(tmp_path / "data").shape_ids()[0])
    assert meta["caption"]
    assert meta["colored"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("render", "nothing", "--out", "x"), "nothing: no such file or folder"),
        (("render", "SOURCE", "--out", "x", "--camera", "boat"), "--camera: expected one of car, chair"),
        (("render", "SOURCE", "--out", "x", "--resolution", "9"), "9 is not in the range"),
        (("render", "SOURCE", "--out", "x", "--shard", "3/2"), "expected i/n with 0 <= i < n"),
        (("render", "SOURCE", "--out", "x", "--up", "W"), "axis 'W'"),
        (("render", "SOURCE", "--out", "x", "--scale", "-1"), "-1.0 is not in the range 0<x<=1"),
        (("check", "nothing"), "nothing: no such dataset"),
        (("sheet", "DATA", "--out", "x.gif"), "expected a name ending in .html or .png"),
        (("procedural", "--count", "1", "--out", "x", "--category", "dragon"), "--category dragon: expected one of"),
    ],
)
def test_mistakes_are_one_line(arguments, message, data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    places = {"SOURCE": write_folder(tmp_path / "source", 1), "DATA": data}
    text = invoke(*[places.get(argument, argument) for argument in arguments], status=2)
    assert message in text


def finding_kinds(folder):
    return {(finding.level, finding.kind) for finding in check_dataset(open_dataset(folder))}


def edit(path, change):
    values = json.loads(path.read_text())
    change(values)
    path.write_text(json.dumps(values))


def test_check_is_content_with_a_whole_dataset(data):
    assert finding_kinds(data) == set()


def blank(folder):
    Image.new("RGBA", (16, 16)).save(folder / "shapes/s0/001.png")


def clipped(folder):
    Image.new("RGBA", (16, 16), (1, 2, 3, 255)).crop((0, 0, 16, 16)).save(folder / "shapes/s0/001.png")
    with Image.open(folder / "shapes/s0/001.png") as image:
        image.putpixel((5, 5), (0, 0, 0, 0))
        image.save(folder / "shapes/s0/001.png")


def truncated(folder):
    path = folder / "shapes/s0/000.png"
    path.write_bytes(path.read_bytes()[:40])


def leak(folder):
    for name in ("train", "test"):
        shape_id = open_dataset(folder).splits[name][0]
        edit(folder / f"shapes/{shape_id}/meta.json", lambda meta: meta.update(geometry_sha256="same"))


def twin(folder):
    for shape_id in open_dataset(folder).splits["train"][:2]:
        edit(folder / f"shapes/{shape_id}/meta.json", lambda meta: meta.update(geometry_sha256="same"))


@pytest.mark.parametrize(
    ("spoil", "found"),
    [
        (truncated, ("error", "image")),
        (blank, ("error", "blank views")),
        (blank, ("error", "changed file")),
        (clipped, ("warning", "object cut by the frame")),
        (leak, ("warning", "same geometry in two splits")),
        (leak, ("error", "content hash")),
        (twin, ("warning", "same geometry twice")),
        (lambda d: shutil.rmtree(d / "shapes/s0"), ("error", "shape is missing")),
        (lambda d: (d / "shapes/s0/transforms.json").unlink(), ("error", "cameras")),
        (lambda d: (d / "shapes/s0/points.npz").unlink(), ("warning", "no surface points")),
        (lambda d: (d / "shapes/s0/meta.json").unlink(), ("warning", "no meta.json")),
        (
            lambda d: edit(d / "dataset.json", lambda h: h["splits"]["test"].append(h["splits"]["train"][0])),
            ("error", "shape in two splits"),
        ),
        (lambda d: edit(d / "dataset.json", lambda h: h["splits"].update(val=[])), ("warning", "empty split")),
        (
            lambda d: edit(d / "dataset.json", lambda h: h["splits"].update(train=h["splits"]["train"][1:])),
            ("warning", "shapes in no split"),
        ),
        (lambda d: edit(d / "dataset.json", lambda h: h.update(views=7)), ("warning", "number of views")),
        (
            lambda d: edit(
                d / "dataset.json", lambda h: h["camera_distribution"].update(elevation_deg={"uniform": [20, 30]})
            ),
            ("warning", "cameras outside the camera distribution"),
        ),
        (
            lambda d: edit(d / "shapes/s0/meta.json", lambda m: m.update(warnings=["texture 'a.png' is missing"])),
            ("warning", "source"),
        ),
    ],
)
def test_check_finds(spoil, found, copy):
    spoil(copy)
    assert found in finding_kinds(copy)


@pytest.mark.parametrize("warnings", [None, 3])
def test_a_meta_json_of_another_program_ends_neither_check_nor_sheet(copy, tmp_path, warnings):
    edit(copy / "shapes/s0/meta.json", lambda meta: meta.update(warnings=warnings))
    edit(copy / "dataset.json", lambda header: header.update(content=""))
    assert "0 errors" in invoke("check", copy)
    invoke("sheet", copy, "--out", tmp_path / "sheet.html")


def test_check_exits_with_2_on_errors_and_with_strict_on_warnings(copy):
    (copy / "shapes/s0/points.npz").unlink()
    edit(copy / "shapes/s0/meta.json", lambda meta: meta["files"].pop("points.npz"))
    edit(copy / "dataset.json", lambda header: header.update(content=""))
    text = invoke("check", copy)
    assert "warning  no surface points" in text
    invoke("check", copy, "--strict", status=2)
    truncated(copy)
    text = invoke("check", copy, status=2)
    assert "error    image" in text
    assert "000.png" in text


def test_ranks_of_torchrun_divide_the_shapes(tmp_path, monkeypatch):
    source = write_folder(tmp_path / "source", 3)
    options = ("--resolution", 16, "--views", 1, "--workers", 1, "--quiet")
    invoke("render", source, "--out", tmp_path / "alone", *options)
    monkeypatch.setenv("WORLD_SIZE", "2")
    for rank, count in ((0, "2 shapes"), (1, "1 shape")):
        monkeypatch.setenv("RANK", str(rank))
        assert f"{count} rendered" in invoke("render", source, "--out", tmp_path / "ranks", *options)
    assert open_dataset(tmp_path / "ranks").hash() == open_dataset(tmp_path / "alone").hash()


def test_split_shares(tmp_path):
    source = write_folder(tmp_path / "source", 4)
    options = ("--resolution", 16, "--views", 1, "--workers", 1, "--quiet")
    text = invoke("render", source, "--out", tmp_path / "data", "--split", "100/0/0", *options)
    assert "4 shapes train, 0 validate, 0 test" in text
    text = invoke("render", source, "--out", tmp_path / "data", *options)
    assert "4 shapes train, 0 validate, 0 test" in text, "a finished dataset keeps its splits"
    assert "4 shapes (train 2, val 1, test 1)" in invoke("split", tmp_path / "data", "--split", "50/25/25")
    text = invoke("render", source, "--out", tmp_path / "data", "--split", "75/0/25", *options)
    assert "3 shapes train, 0 validate, 1 test" in text
    assert "sum to 100" in invoke("split", tmp_path / "data", "--split", "50/25", status=2)
    lists = ("--split-lists", tmp_path, "--split", "50/25/25")
    assert "--split and --split-lists" in invoke("render", source, "--out", tmp_path / "x", *lists, status=2)


def test_the_category_is_what_the_shapes_are(tmp_path):
    def category(*options):
        invoke("render", tmp_path / "source", "--out", out, "--resolution", 16, "--views", 1, "--workers", 1, *options)
        return open_dataset(out).category

    out = tmp_path / "one"
    write_folder(tmp_path / "source" / "teapot", 2)
    assert category("--camera", "chair") == "teapot"
    out = tmp_path / "said"
    assert category("--camera", "chair", "--category", "pot") == "pot"
    assert category("--camera", "chair") == "pot", "a dataset that is continued keeps its category"
    write_folder(tmp_path / "source" / "mug", 1)
    out = tmp_path / "two"
    assert category("--camera", "chair") == "object"
