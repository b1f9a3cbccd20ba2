"""Finding shapes: ShapeNet trees, folders, manifests and split lists."""

import gzip
import json
import os
import time
from pathlib import Path

import pytest

from dataset_tool.sources.find_shapes import (
    ShapeFile,
    apply_splits,
    clean_id,
    common_class,
    find_shapes,
)
from dataset_tool.sources.manifest import read_manifest
from dataset_tool.sources.split_lists import read_split_lists
from dataset_tool.sources.synsets import SYNSETS, synset_name
from torch_utils.errors import UserError

ID = "1a2b3c4d5e6f708192a3b4c5d6e7f80"  # 31 characters, as some of ShapeNet's are


def touch(path, text=""):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def ids(shapes):
    return [shape.id for shape in shapes]


@pytest.fixture
def shapenet(tmp_path):
    for name in (ID, "b" * 32, "a" * 32):
        touch(tmp_path / "sn" / "03001627" / name / "models" / "model_normalized.obj")
        touch(tmp_path / "sn" / "03001627" / name / "images" / "texture0.obj.jpg")
    touch(tmp_path / "sn" / "02958343" / ("c" * 32) / "models" / "model_normalized.obj")
    (tmp_path / "sn" / "03001627" / "empty" / "models").mkdir(parents=True)
    touch(tmp_path / "sn" / "taxonomy.json", "[]")
    return tmp_path / "sn"


def test_shapenet_v2(shapenet):
    shapes = find_shapes(shapenet)
    assert ids(shapes) == sorted([ID, "a" * 32, "b" * 32, "c" * 32])
    first = shapes[0]
    assert (first.layout, first.synset, first.class_name, first.up, first.front) == (
        "shapenet-v2", "03001627", "chair", "+Y", "-Z",
    )  # fmt: skip
    assert first.root == shapenet and first.path.name == "model_normalized.obj"
    assert {shape.class_name for shape in shapes} == {"chair", "car"}
    one = find_shapes(shapenet / "03001627")
    assert len(one) == 3 and one[0].class_name == "chair"


@pytest.mark.parametrize("place", ["model.obj", "models/model.obj"])
def test_shapenet_v1_faces_the_other_way(tmp_path, place):
    touch(tmp_path / "03790512" / ID / place)
    shape = find_shapes(tmp_path)[0]
    assert (shape.layout, shape.front, shape.class_name) == ("shapenet-v1", "+X", "motorbike")


def test_meta_beside_a_shapenet_model(shapenet):
    meta = {"caption": "an oak chair", "attributes": {"material": "oak"}, "class": "armchair", "front": "+X", "up": "z"}
    touch(shapenet / "03001627" / ID / "meta.json", json.dumps(meta))
    shape = find_shapes(shapenet)[0]
    assert (shape.caption, shape.attributes, shape.class_name) == ("an oak chair", {"material": "oak"}, "armchair")
    assert (shape.front, shape.up) == ("+X", "+Z")
    touch(shapenet / "03001627" / ID / "meta.json", "{")
    notes = []
    assert len(find_shapes(shapenet, note=notes.append)) == 4
    assert "meta.json: cannot be read as JSON" in notes[0] and notes[0].endswith("it is passed over")


def test_folder_of_meshes(tmp_path):
    names = ["b.glb", "sub dir/Ünïcode name.OBJ", "sub dir/deep/c.stl", "a.ply", "a.off", "A.usdz"]
    for name in [*names, "a.txt", "a.mtl", ".hidden.obj", ".git/x.obj", "__MACOSX/b.glb", "x.bin"]:
        touch(tmp_path / name)
    shapes = find_shapes(tmp_path)
    assert ids(shapes) == ["A_usdz", "a_off", "a_ply", "b", "sub_dir__n_code_name", "sub_dir_deep_c"]
    assert len({shape.id.lower() for shape in shapes}) == len(names)
    assert [shape.class_name for shape in shapes][3:] == ["", "sub dir", "sub dir"]
    assert all(shape.up is None and shape.front is None and shape.root == tmp_path for shape in shapes)


def test_ids_do_not_depend_on_other_files(tmp_path):
    for name in ("x y.glb", "x_y.glb", "z.glb"):
        touch(tmp_path / name)
    before = {shape.path.name: shape.id for shape in find_shapes(tmp_path)}
    touch(tmp_path / "0.glb")
    after = {shape.path.name: shape.id for shape in find_shapes(tmp_path)}
    assert before == {name: after[name] for name in before} and len(set(after.values())) == 4


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("../../etc/x", "_.._etc_x"),
        ("...", "shape"),
        ("a b", "a_b"),
        ("", "shape"),
        ("x" * 500, "x" * 120),
        ("a.", "a"),
    ],
)
def test_clean_ids(text, clean):
    assert clean_id(text) == clean


def test_one_file(tmp_path):
    touch(tmp_path / "chair.glb")
    shapes = find_shapes(tmp_path / "chair.glb")
    assert ids(shapes) == ["chair"] and shapes[0].root == tmp_path


def test_csv_manifest(tmp_path):
    for name in ("a.glb", "sub/b.obj", "c.glb"):
        touch(tmp_path / name)
    text = (
        'path,id,caption,class,up,front,color\nsub/b.obj,second,"a red, old chair",chair,+Z,-Y,red\n\na.glb,,,,,90,\n'
    )
    manifest = touch(tmp_path / "list.csv", text)
    shapes = find_shapes(tmp_path, manifest=manifest)
    assert ids(shapes) == ["a", "second"]
    first, second = shapes
    assert (second.caption, second.class_name, second.up, second.front) == ("a red, old chair", "chair", "+Z", "-Y")
    assert second.attributes == {"color": "red"} and second.layout == "manifest"
    assert (first.front, first.up, first.caption) == (90.0, None, "")
    assert find_shapes(manifest) == shapes  # the manifest itself as the source
    touch(tmp_path / "list.csv", text.replace(",", ";").replace("a red; old", "a red, old"))
    assert find_shapes(tmp_path, manifest=manifest) == shapes


def test_json_manifests(tmp_path):
    for name in ("a.glb", "glbs/uid1.glb"):
        touch(tmp_path / name)
    wrapped = {"category": "seating", "models": [{"file": "a.glb", "path": "upstream/x", "yaw_to_front_deg": 180}]}
    shape = find_shapes(tmp_path, manifest=touch(tmp_path / "m.json", json.dumps(wrapped)))[0]
    assert (shape.id, shape.front, shape.class_name) == ("a", 180.0, "seating")
    annotations = {"uid1": {"name": "Old chair", "categories": "x"}, "a": "a caption"}
    with gzip.open(tmp_path / "m.json.gz", "wt") as stream:
        json.dump(annotations, stream)
    shapes = find_shapes(tmp_path, manifest=tmp_path / "m.json.gz")
    assert [(shape.id, shape.caption) for shape in shapes] == [("a", "a caption"), ("uid1", "Old chair")]
    paths = touch(tmp_path / "paths.json", json.dumps({"first": "glbs/uid1.glb"}))
    assert ids(find_shapes(tmp_path, manifest=paths)) == ["first"]
    touch(tmp_path / "b.usda")
    paths = touch(tmp_path / "paths.json", json.dumps({"second": "b.usda"}))
    assert ids(find_shapes(tmp_path, manifest=paths)) == ["second"]


def test_a_manifest_in_the_folder_describes_without_choosing(tmp_path):
    for name in ("a.glb", "glbs/uid1.glb"):
        touch(tmp_path / name)
    touch(tmp_path / "metadata.json", json.dumps({"uid1": {"name": "Old chair"}, "absent": {"name": "x"}}))
    shapes = find_shapes(tmp_path)
    assert [(shape.id, shape.caption) for shape in shapes] == [("a", ""), ("uid1", "Old chair")]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("m.csv", "path\ngone.glb\n", r"line 2: gone\.glb: no such file"),
        ("m.csv", "id\nnobody\n", "no mesh with id 'nobody'"),
        ("m.csv", "caption\nx\n", "neither path nor id"),
        ("m.csv", "path,up\na.glb,north\n", "line 2: axis 'north'"),
        ("m.csv", "path,split\na.glb,dev\n", "split 'dev', expected train, val, test"),
        ("m.csv", "path,id\na.glb,x\nb.glb,x\n", "id 'x' is given to more than one shape"),
        ("m.csv", "path\nm.csv\n", "no mesh format that is read"),
        ("m.csv", "path\n../outside.glb\n", "lies outside"),
        ("m.csv", "path\n", "has no entries"),
        ("m.json", "{", "cannot be read as a CSV or JSON manifest"),
        ("m.json", "3", "expected a list of shapes"),
        ("m.json", "[3]", "entry 0: expected an object"),
        ("m.json", '{"a": 3}', "entry 'a': expected an object"),
        ("m.json.gz", "not gzip", "cannot be read"),
    ],
)
def test_broken_manifests(tmp_path, name, text, message):
    for mesh in ("src/a.glb", "src/b.glb", "outside.glb"):
        touch(tmp_path / mesh)
    with pytest.raises(UserError, match=message) as caught:
        find_shapes(tmp_path / "src", manifest=touch(tmp_path / "src" / name, text))
    assert name in str(caught.value) and "\n" not in str(caught.value)


def test_split_lists(shapenet, tmp_path):
    touch(tmp_path / "lists" / "train.txt", f"{'a' * 32}\r\n{ID}\n{ID}\n# comment\n\n")
    touch(tmp_path / "lists" / "test.txt", f"03001627/{'b' * 32}\n{'f' * 32}\n")
    notes: list[str] = []
    shapes = find_shapes(shapenet, split_lists=tmp_path / "lists", note=notes.append)
    assert f"{tmp_path / 'lists'}: 1 of its ids are not among the shapes, e.g. {'f' * 32}" in notes
    assert {shape.id: shape.split for shape in shapes} == {"a" * 32: "train", ID: "train", "b" * 32: "test"}
    kept, missing = apply_splits(find_shapes(shapenet), read_split_lists(tmp_path / "lists"))
    assert len(kept) == 3 and missing == {"train": [], "test": ["f" * 32]}
    one = find_shapes(shapenet, split_lists=touch(tmp_path / "some.txt", ID))
    assert [(shape.id, shape.split) for shape in one] == [(ID, "train")]


def test_broken_split_lists(shapenet, tmp_path):
    with pytest.raises(UserError, match="no such split list"):
        find_shapes(shapenet, split_lists=tmp_path / "gone")
    (tmp_path / "none").mkdir()
    with pytest.raises(UserError, match=r"no train\.txt"):
        find_shapes(shapenet, split_lists=tmp_path / "none")
    touch(tmp_path / "lists" / "train.txt", f"{ID}\n")
    touch(tmp_path / "lists" / "val.txt", f"{ID}\n")
    with pytest.raises(UserError, match=f"id {ID} is in both train and val"):
        find_shapes(shapenet, split_lists=tmp_path / "lists")
    with pytest.raises(UserError, match=r"none of their 1 ids \(e\.g\. nobody\)"):
        find_shapes(shapenet, split_lists=touch(tmp_path / "x.txt", "nobody"))


def test_options_override_everything(shapenet):
    shapes = find_shapes(shapenet, up="z", front="45", class_name="seat")
    assert {(shape.up, shape.front, shape.class_name) for shape in shapes} == {("+Z", 45.0, "seat")}
    with pytest.raises(UserError, match="axis 'north'"):
        find_shapes(shapenet, up="north")


def test_nothing_there(tmp_path):
    with pytest.raises(UserError, match="no such file or folder"):
        find_shapes(tmp_path / "gone")
    with pytest.raises(UserError, match=r"no meshes in it; expected files ending in \.glb"):
        find_shapes(tmp_path)


def test_same_id_in_two_synsets(tmp_path):
    for synset in ("03001627", "04379243"):
        touch(tmp_path / synset / ID / "models" / "model_normalized.obj")
    assert ids(find_shapes(tmp_path)) == [f"03001627_{ID}", f"04379243_{ID}"]


def test_thousands_of_shapes_start_at_once(tmp_path):
    for number in range(2000):
        folder = tmp_path / "03001627" / f"{number:032x}" / "models"
        folder.mkdir(parents=True)
        (folder / "model_normalized.obj").touch()
    start = time.process_time()
    assert len(find_shapes(tmp_path)) == 2000
    assert time.process_time() - start < 2  # 5,000 within 5 s


def test_synsets():
    assert len(SYNSETS) == 55 and len(set(SYNSETS.values())) == 55
    assert synset_name("02958343") == "car" and synset_name("99999999") == "99999999"


def test_real_collections(shared_data):
    shapes = find_shapes(shared_data / "seating", manifest=shared_data / "seating" / "SOURCES.json")
    assert len(shapes) == 62 and {shape.class_name for shape in shapes} == {"seating"}
    assert next(shape for shape in shapes if shape.id == "kenney_chair").front == 180.0
    layout = shared_data / "shapenet_layout"
    assert len(find_shapes(layout)) == 57 and {shape.front for shape in find_shapes(layout)} == {"-Z"}
    chairs = find_shapes(layout, split_lists=layout / "splits" / "shapenet_chair")
    assert {shape.class_name for shape in chairs} == {"chair"} and {shape.split for shape in chairs} >= {
        "train",
        "test",
    }
    assert len(read_manifest(shared_data / "animal" / "SOURCES.json")) == 38


def test_textures_of_a_tree_are_read_from_its_root(shapenet):
    from mesh_io.read import read_mesh
    from tests.mesh_io.build import obj_square, save_image

    shape = find_shapes(shapenet)[0]
    obj_square(shape.path, "newmtl paint\nmap_Kd ../images/texture0.png\n")
    save_image(shape.path.parent.parent / "images" / "texture0.png")
    assert read_mesh(shape.path, root=shape.root).parts[0].material.image is not None


def found(root, **options):
    """Ids and fronts of the shapes, and the notes."""
    notes = []
    return [(shape.id, shape.front) for shape in find_shapes(root, note=notes.append, **options)], notes


def test_model_obj_alone_is_no_shapenet(tmp_path):
    for name in ("lamp.obj", "desk/desk.obj", "sofa/model.obj"):
        touch(tmp_path / name)
    shapes, notes = found(tmp_path)
    assert shapes == [("desk_desk", None), ("lamp", None), ("sofa_model", None)]
    assert len(notes) == 1 and "model.obj is the name of 1 of 3 meshes" in notes[0]
    assert "front +Z is assumed (--layout shapenet-v1: front +X)" in notes[0]
    shapes, notes = found(tmp_path, layout="shapenet-v1")
    assert shapes == [("desk_desk", None), ("lamp", None), ("sofa", "+X")] and notes == []
    with pytest.raises(UserError, match=r"--layout shapenet-v2: no ID/models/model_normalized\.obj"):
        find_shapes(tmp_path, layout="shapenet-v2")


def test_a_layout_that_is_recognized_is_said_and_can_be_overridden(shapenet):
    touch(shapenet / "03001627" / ID / "models" / "watertight.ply")
    touch(shapenet / "extra" / "lamp.glb")
    shapes, notes = found(shapenet)
    assert len(shapes) == 5 and dict(shapes)["extra_lamp"] is None and dict(shapes)[ID] == "-Z"
    assert "taken for shapenet-v2, front -Z: 4 of 5 meshes (--layout folder, or --front, if they are not)" in notes[0]
    assert "1 further mesh files in the folders of ShapeNet's shapes are not read, e.g. 03001627/" in notes[1]
    shapes, notes = found(shapenet, layout="folder")
    assert len(shapes) == 6 and {front for _, front in shapes} == {None} and notes == []


def test_ids_like_shapenets_are_evidence(tmp_path):
    touch(tmp_path / "cars" / ID / "model.obj")
    assert found(tmp_path / "cars")[0] == [(ID, "+X")]
    assert found(tmp_path)[0] == [(f"cars_{ID}_model", None)]  # cars is no synset: a plain folder


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("metadata.json", '{"name": "my models", "version": 1.0, "license": "CC0"}'),
        ("annotations.json", "[1, 2, 3]"),
        ("manifest.json", '{"icons": [{"src": "a.png"}]}'),
        ("manifest.json", "{"),
        ("manifest.json", "[" * 100_000),
        ("manifest.csv", "width,height\n1,2\n"),
        ("metadata.csv", "path,up\na.obj,north\n"),
        ("annotations.json.gz", "not gzip"),
    ],
)
def test_files_that_nobody_named_do_not_stop_a_job(tmp_path, name, text):
    touch(tmp_path / "a.obj")
    touch(tmp_path / name, text)
    shapes, notes = found(tmp_path)
    assert shapes == [("a", None)] and len(notes) == 1
    assert notes[0].startswith(str(tmp_path / name)) and "passed over" in notes[0]
    with pytest.raises(UserError):  # a file that is named must be read
        find_shapes(tmp_path, manifest=tmp_path / name)


def test_a_found_manifest_that_describes_shapes_is_said(tmp_path):
    for name in ("a.obj", "b.obj"):
        touch(tmp_path / name)
    touch(tmp_path / "manifest.json", '{"name": "a web page"}')
    touch(tmp_path / "metadata.csv", "file_name,caption\na.obj,an oak chair\n")
    notes = []
    shapes = find_shapes(tmp_path, note=notes.append)
    assert [shape.caption for shape in shapes] == ["an oak chair", ""]
    assert "describes none of the meshes and is passed over" in notes[0]
    assert "metadata.csv: describes 1 of 2 shapes" in notes[1]


def test_links_and_undecodable_names(tmp_path):
    touch(tmp_path / "in" / "near.obj")
    touch(tmp_path / "elsewhere" / "far.obj")
    (tmp_path / "in" / "more").symlink_to("../elsewhere")
    touch(tmp_path / "in" / os.fsdecode(b"caf\xe9.obj"))
    assert [shape for shape, _ in found(tmp_path / "in")[0]] == ["caf_", "more_far", "near"]


def test_armchairs_and_stools_are_chairs():
    """Shapes of several classes have the ShapeNet category that they share."""

    def shape(class_name, synset=""):
        return ShapeFile(id=class_name, path=Path("a.obj"), root=Path(), class_name=class_name, synset=synset)

    assert common_class([shape("armchair", "03001627"), shape("stool", "03001627")]) == "chair"
    assert common_class([shape("armchair", "03001627"), shape("desk", "04379243")]) == ""
    assert common_class([shape("armchair"), shape("stool")]) == ""
    assert common_class([shape("robot", "99"), shape("arm", "99")]) == "", "no category of ShapeNet"
    assert common_class([shape("stool"), shape("stool", "03001627")]) == "stool"
