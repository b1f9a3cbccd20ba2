"""`tetragan texture` from the command line."""

from mesh_io.read import read_mesh
from tests.command_line import assert_refused, run
from tests.mesh_io.gltf_geometry import geometry_bytes
from tests.training.test_mesh_texture import rendered, textured_box


def test_a_mesh_gets_textures_from_images(tmp_path) -> None:
    path = textured_box(tmp_path / "box.glb")
    folder, out = rendered(path, tmp_path / "views", views=3, side=32), tmp_path / "out.glb"
    call = ["texture", str(path), "--images", str(folder), "--out", str(out), "--size", "64"]
    outcome = run(*call, "--steps", "2")
    assert outcome.status == 0, outcome.stderr
    assert "dB against the images" in outcome.stdout
    assert geometry_bytes(out) == geometry_bytes(path)
    assert_refused(run(*call), "exists", "--overwrite")
    projected = run(*call, "--project", "--overwrite")
    assert projected.status == 0, projected.stderr
    lit = run(*call, "--light", "studio", "--steps", "2", "--overwrite")
    assert lit.status == 0, lit.stderr
    assert_refused(run(*call, "--light", "room.hdr", "--overwrite"), "room.hdr", "no such file")
    assert_refused(run(*call, "--prompt", "red"), "one of --images and --prompt")
    assert_refused(run(*call, "--prior", "pixel"), "--prior", "for --prompt")
    assert_refused(run(*call[:-4], "--out", str(tmp_path / "out.obj")), ".glb")
    for size in (63, 4097):
        assert_refused(run(*call[:-1], str(size), "--overwrite"), "--size", "64<=x<=4096")
    odd = run(*call[:-1], "101", "--steps", "2", "--overwrite")
    assert odd.status == 0, odd.stderr
    image = read_mesh(out).parts[0].material.image
    assert image is not None and image.shape == (101, 101, 3)


def test_the_included_prior_paints_a_mesh_without_further_options(tmp_path) -> None:
    path, out = textured_box(tmp_path / "box.glb"), tmp_path / "red.glb"
    outcome = run("texture", str(path), "--prompt", "a red chair", "--out", str(out), "--size", "64", "--steps", "2")
    assert outcome.status == 0, outcome.stderr
    assert "textures of 64 px for 'a red chair'" in outcome.stdout and geometry_bytes(out) == geometry_bytes(path)
