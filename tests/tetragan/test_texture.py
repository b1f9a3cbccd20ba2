"""`tetragan texture` from the command line."""

import shutil
from pathlib import Path
from unittest import mock

import torch

from mesh_io.read import read_mesh
from tests.command_line import assert_refused, run
from tests.guidance.tiny_priors import tiny_unet, write_prior
from tests.mesh_io.gltf_geometry import geometry_bytes
from tests.training.test_mesh_texture import rendered, textured_box
from tests.training.test_photos import disc, write_photos
from training.mesh_texture import write
from training.photos import learn


def test_a_mesh_gets_textures_from_images(tmp_path) -> None:
    path = textured_box(tmp_path / "box.glb")
    folder, out = rendered(path, tmp_path / "views", views=3, side=32), tmp_path / "out.glb"
    call = ["texture", str(path), "--images", str(folder), "--out", str(out), "--size", "64"]
    outcome = run(*call, "--steps", "2")
    assert outcome.status == 0, outcome.stderr
    assert "dB against the images" in outcome.stdout
    assert geometry_bytes(out) == geometry_bytes(path)
    assert_refused(run(*call), "exists", "--overwrite")
    assert_refused(run(*call, "--project", "--steps", "2", "--overwrite"), "--project fits nothing")
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
    call = ("texture", path, "--prompt", "a red chair", "--out", out, "--overwrite", "--size", 64, "--steps", 1)
    assert_refused(run(*call, "--source", "a  red chair"), "are the same to this prior")
    assert_refused(run(*call, "--seed", 2**63), "--seed")


def write_controlnet(path: Path, **options: object) -> Path:
    """A ControlNet of random weights for a tiny UNet, of images as large as those of a prior with the tiny VAE."""
    from diffusers import ControlNetModel

    net = ControlNetModel.from_unet(tiny_unet(**options), conditioning_embedding_out_channels=(4, 4, 8))
    torch.manual_seed(0)
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    net.save_pretrained(path)
    return path


def test_photos_of_another_object_paint_a_mesh(tmp_path) -> None:
    path, prior = textured_box(tmp_path / "box.glb"), write_prior(tmp_path / "prior", "unet")
    photos = write_photos(tmp_path / "photos", [disc((200, 30, 20))] * 2)
    control = write_controlnet(tmp_path / "control")

    def call(name: str, *more: object) -> list[object]:
        few = ("--steps", 2, "--photo-steps", 2, "--size", 64, "--parameterization", "maps")
        given = ("--prior", prior, "--photos", photos, "--prompt", "a chair")
        return ["texture", path, *given, "--out", tmp_path / name, *few, *more]

    for name, more in (("plain.glb", ()), ("control.glb", ("--method", "pgsd", "--controlnet", control))):
        outcome = run(*call(name, *more))
        assert outcome.status == 0, outcome.stderr
        assert "like the photos of" in outcome.stdout and "holds 2 of the 3 to 5 images" in outcome.stderr
        assert geometry_bytes(tmp_path / name) == geometry_bytes(path)
    first, second = (read_mesh(tmp_path / name).parts[0].material.image for name in ("plain.glb", "control.glb"))
    assert first is not None and second is not None and (first != second).any()
    wide = write_controlnet(tmp_path / "wide", channels=8)
    assert_refused(run(*call("no.glb", "--controlnet", wide)), f"--controlnet {wide}", "does not fit the prior")
    assert_refused(run(*call("no.glb", "--controlnet", tmp_path / "none")), "none", "no such folder")
    shutil.rmtree(photos)
    assert_refused(run(*call("no.glb")), "--photos", "no such folder")


def test_photos_are_learned_once(tmp_path, monkeypatch) -> None:
    """Ctrl-C while the texture is made: the second run of the command does not learn the photos again."""
    path, prior = textured_box(tmp_path / "box.glb"), write_prior(tmp_path / "prior", "pixel_unet")
    photos = write_photos(tmp_path / "photos", [disc((200, 30, 20))] * 3)
    few = ("--steps", 1, "--photo-steps", 2, "--size", 64, "--parameterization", "maps")
    call = ("texture", path, "--prior", prior, "--photos", photos, "--prompt", "a chair", *few)
    with monkeypatch.context() as patch:
        patch.setattr(write, "synthesize_textures", mock.Mock(side_effect=KeyboardInterrupt))
        assert run(*call, "--out", tmp_path / "out.glb").status == 130
    assert run(*call, "--out", tmp_path / "whole.glb").status == 0
    monkeypatch.setattr(learn, "train_dreambooth", mock.Mock(side_effect=AssertionError("it learned again")))
    outcome = run(*call, "--out", tmp_path / "out.glb")
    assert outcome.status == 0, outcome.stderr
    assert "out.adapter.safetensors: the prior has learned these photos before" in outcome.stderr
    assert (tmp_path / "out.glb").read_bytes() == (tmp_path / "whole.glb").read_bytes()


def test_options_of_photos_that_do_not_go_together(tmp_path) -> None:
    call = ("texture", "box.glb", "--out", tmp_path / "out.glb", "--photos", "photos")
    assert_refused(run(*call), "--photos needs --prompt")
    assert_refused(run(*call, "--prompt", "a chair", "--images", "views"), "one of --images", "and --photos")
    assert_refused(
        run(*call, "--prompt", "a chair", "--method", "pgsd", "--source", "a box"), "--source is for --method dds"
    )
    words = ("texture", "box.glb", "--out", tmp_path / "out.glb")
    assert_refused(run(*words, "--prompt", "red", "--method", "pgsd"), "for --photos")
    assert_refused(run(*words, "--prompt", "red", "--photo-steps", 3), "for --photos")
    assert_refused(run(*words, "--images", "views", "--controlnet", "c"), "for --prompt")
