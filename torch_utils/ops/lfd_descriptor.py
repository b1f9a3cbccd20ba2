"""`lfd_descriptor`: the bytes that the light-field distance compares, from silhouettes.

    lfd_descriptor(silhouettes [L, V, S, S / 8] uint8) -> [L, V, 47] uint8

L light fields of V views; silhouettes as `silhouettes` packs them (row 0 at the bottom, bit k of byte j is column
8j + k). The 47 bytes of a view: 35 magnitudes of angular radial transform coefficients (0,1), (0,2), (1,0) … (11,2),
10 magnitudes of the contour's Fourier coefficients, circularity, eccentricity. All views of a light field share one
radius. An empty view is all zeros. S: a multiple of 64. Integers in and out, no gradient, deterministic. A byte is the
floor of a number computed in double; CUDA rounds the sines of the contour's angles in its own way, so one may differ
where that number is whole. Errors: ValueError or TypeError for shape and type.

Sources: Chen et al. 2003 (light field descriptor), Bober 2001 (MPEG-7 shape descriptors).
"""

from functools import cache

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from torch_utils.ops.checks import check_tensor
from torch_utils.ops.lfd_distance import CONTOUR, REGION, VIEW_BYTES
from torch_utils.ops.loading import use_kernel

Image = NDArray[np.bool_]
_TABLE, _CENTER, _ANGULAR, _RADIAL = 101, 50, 12, 3
# A silhouette is one component if its contour encloses more than this share of it; dilation spares the image's border.
_WHOLE_SHARE, _BORDER = 0.95, 2
# Steps (dx, dy, new direction) by direction; +y is the next row.
_STEPS = (
    ((-1, 1, 3), (0, 1, 0), (1, 1, 0)),
    ((1, 1, 0), (1, 0, 1), (1, -1, 1)),
    ((1, -1, 1), (0, -1, 2), (-1, -1, 2)),
    ((-1, -1, 2), (-1, 0, 3), (-1, 1, 3)),
)
# The ring of the eight neighbors (dx, dy) in circular order; odd places are the 4-neighbors.
_RING = ((-1, -1), (0, -1), (1, -1), (1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0))


def lfd_descriptor(silhouettes: Tensor) -> Tensor:
    """Descriptors of light fields; see the contract at the top of this file."""
    check_tensor("lfd_descriptor", "silhouettes", silhouettes, ("L", "V", "S", "S / 8"), (torch.uint8,))
    side = silhouettes.shape[2]
    if side == 0 or side % 64 or silhouettes.shape[3] * 8 != side:
        raise ValueError(
            "lfd_descriptor(): expected silhouettes [L, V, S, S / 8], S a multiple of 64, "
            f"got {list(silhouettes.shape)}"
        )
    if not use_kernel(silhouettes.device.type, "lfd_descriptor"):
        return lfd_descriptor_reference(silhouettes)
    return torch.ops.tetragan.lfd_descriptor(silhouettes.contiguous(), region_basis(silhouettes.device))


@cache
def region_basis(device: torch.device) -> Tensor:
    """The angular radial transform's functions on a square table [35, 2, 101²] float64: real and imaginary parts.

    cos(π r R / 50)·exp(i p θ), zero from R = 50 on; (p, r) = (0, 1), (0, 2), (1, 0) … (11, 2).
    """
    t = np.arange(_TABLE) - float(_CENTER)
    y, x = np.meshgrid(t, t, indexing="ij")
    radius, angle = np.hypot(x, y), np.arctan2(y, x)
    waves = [np.where(radius < _CENTER, np.cos(np.pi * r * radius / _CENTER), 0) for r in range(_RADIAL)]
    parts = [
        (waves[r] * np.cos(p * angle), waves[r] * np.sin(p * angle)) for p in range(_ANGULAR) for r in range(_RADIAL)
    ]
    return torch.from_numpy(np.stack(parts[1:]).reshape(REGION, 2, _TABLE * _TABLE)).to(device)


# ---------------------------------------------------------------------------------------------------------- reference


def lfd_descriptor_reference(silhouettes: Tensor) -> Tensor:
    """`lfd_descriptor` in NumPy on the CPU, one view at a time."""
    images = np.unpackbits(silhouettes.cpu().numpy(), axis=-1, bitorder="little").astype(bool)
    out = np.zeros((*images.shape[:2], VIEW_BYTES), np.uint8)
    for field, bytes_of_field in zip(images, out, strict=True):
        seen = [np.nonzero(image) for image in field]
        centers = [((x.min() + x.max()) / 2, (y.min() + y.max()) / 2) if len(x) else (0.0, 0.0) for y, x in seen]
        radii = [np.hypot(x - c[0], y - c[1]).max(initial=0) for (y, x), c in zip(seen, centers, strict=True)]
        for image, center, row in zip(field, centers, bytes_of_field, strict=True):
            if image.any():
                row[:] = _describe(image, center, max(radii) or 1.0)
    return torch.from_numpy(out).to(silhouettes.device)


def _describe(image: Image, center: tuple[float, float], radius: float) -> NDArray[np.uint8]:
    y, x = np.nonzero(image)
    dx, dy = x - center[0], y - center[1]
    region = np.floor(256 * _region(dx, dy, radius))
    contour = np.floor(512 * _contour(image, center))
    surrounded = ndimage.binary_erosion(image, np.ones((3, 3), bool), border_value=1)
    perimeter = float((image & ~surrounded).sum())
    circularity = 4 * np.pi * len(x) / perimeter**2 if perimeter else 0.0
    xx, yy, xy = (dx * dx).sum(), (dy * dy).sum(), (dx * dy).sum()
    eccentricity = ((xx - yy) ** 2 + 4 * xy**2) / (xx + yy) ** 2 if xx + yy > 0 else 0.0
    last = np.floor(256 * np.minimum(1, [circularity, eccentricity]))
    return np.concatenate([region, contour, last]).clip(0, 255).astype(np.uint8)


def _region(dx: NDArray, dy: NDArray, radius: float) -> NDArray[np.float64]:
    """|Σ over pixels of the basis, looked up bilinearly| / number of pixels [35]."""
    weight = np.zeros((_TABLE, _TABLE))
    u, v = (_CENTER + offset * _CENTER / radius for offset in (dx, dy))
    column, row = (np.minimum(np.floor(a).astype(int), _TABLE - 2) for a in (u, v))
    s, t = u - column, v - row
    for i, j, share in ((0, 0, (1 - s) * (1 - t)), (0, 1, s * (1 - t)), (1, 0, (1 - s) * t), (1, 1, s * t)):
        np.add.at(weight, (row + i, column + j), share)
    sums = region_basis(torch.device("cpu")).numpy() @ weight.reshape(-1)
    return np.hypot(sums[:, 0], sums[:, 1]) / len(dx)


def _contour(image: Image, center: tuple[float, float]) -> NDArray[np.float64]:
    """|X_k| / |X_0| of the contour's distances to the center [10]; zeros for fewer than eight samples."""
    contour = whole_contour(image)
    if len(contour) < 8:
        return np.zeros(CONTOUR)
    spectrum = np.abs(np.fft.fft(np.hypot(contour[:, 0] - center[0], contour[:, 1] - center[1])))
    k = np.arange(1, CONTOUR + 1) % len(spectrum)
    return spectrum[k] / spectrum[0]


def trace_contour(image: Image) -> NDArray[np.int64]:
    """The contour of the component that holds the first pixel in raster order [N, 2] (x, y), its start at both ends."""
    padded = np.pad(image, 1)
    y, x = (int(n[0]) + 1 for n in np.nonzero(image))
    start, direction = (x, y), 0
    two_sided = padded[y + 1, x - 1] and not padded[y + 1, x] and (padded[y + 1, x + 1] or padded[y, x + 1])
    path = [start]
    while len(path) < 8 * image.size:
        for _ in range(4):
            step = next((s for s in _STEPS[direction] if padded[y + s[1], x + s[0]]), None)
            if step is not None:
                break
            direction = (direction + 1) % 4
        if step is None:
            break
        x, y, direction = x + step[0], y + step[1], step[2]
        path.append((x, y))
        if (x, y) == start and not (two_sided and direction == 1):
            break
    return np.array(path) - 1


def whole_contour(image: Image) -> NDArray[np.int64]:
    """The contour of the whole silhouette: components are merged by dilation (or a filled box), then thinned."""
    contour = trace_contour(image)
    if _is_whole(image, contour):
        return contour
    joined = _dilated(image, np.ones((3, 3), bool))
    if not _is_whole(joined, trace_contour(joined)):
        disc = np.ones((5, 5), bool)
        disc[[0, 0, -1, -1], [0, -1, 0, -1]] = False
        joined = _dilated(joined, disc)
        if not _is_whole(joined, trace_contour(joined)):
            y, x = np.nonzero(image)
            joined = np.zeros_like(image)
            joined[y.min() : y.max() + 1, x.min() : x.max() + 1] = True
    return trace_contour(_thinned(joined, image))


def _is_whole(image: Image, contour: NDArray[np.int64]) -> bool:
    free = np.ones(tuple(n + 2 for n in image.shape), bool)
    free[contour[:, 1] + 1, contour[:, 0] + 1] = False
    parts, _ = ndimage.label(free)
    enclosed = (parts != parts[0, 0])[1:-1, 1:-1]
    return bool((image & enclosed).sum() > _WHOLE_SHARE * image.sum())


def _dilated(image: Image, element: Image) -> Image:
    out, inner = image.copy(), (slice(_BORDER, -_BORDER),) * 2
    out[inner] |= ndimage.binary_dilation(image, element)[inner]
    return out


def _thinned(image: Image, original: Image) -> Image:
    """Thin `image` in parallel passes from −row, +row, −column, +column, keeping every pixel of `original`."""
    image = image.copy()
    changed = True
    while changed:
        changed = False
        for dx, dy in ((0, -1), (0, 1), (-1, 0), (1, 0)):
            padded = np.pad(image, 1)
            y, x = np.nonzero(image & ~original & ~padded[1 + dy :, 1 + dx :][: image.shape[0], : image.shape[1]])
            gone = [
                bool(_removable(tuple(padded[j + 1 + v, i + 1 + u] for u, v in _RING)))
                for j, i in zip(y, x, strict=True)
            ]
            image[y[gone], x[gone]] = False
            changed = changed or any(gone)
    return image


@cache
def _removable(ring: tuple[bool, ...]) -> bool:
    """Whether removing a pixel with this ring of neighbors neither cuts nor shortens a line."""
    neighbors = sum(ring)
    if neighbors == 8:
        parts = 1
    else:
        start = ring.index(False)
        turned = ring[start:] + ring[:start]
        odd = [(start + k) % 8 % 2 == 1 for k in range(8)]
        parts, touches = 0, False
        for k in [*range(1, 8), 0]:
            if turned[k]:
                touches = touches or odd[k]
            else:
                parts, touches = parts + touches, False
    return bool((parts == 1 and neighbors > 1) or (parts == 0 and neighbors != 1))


# ----------------------------------------------------------------------------------------------------------- schema

torch.library.define("tetragan::lfd_descriptor", "(Tensor silhouettes, Tensor basis) -> Tensor")


@torch.library.register_fake("tetragan::lfd_descriptor")
def _fake(silhouettes, basis):
    return silhouettes.new_empty(*silhouettes.shape[:2], REGION + CONTOUR + 2)
