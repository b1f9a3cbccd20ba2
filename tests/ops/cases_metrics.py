"""Sample inputs of the ops that evaluation uses: chamfer, chamfer_matrix, silhouettes, lfd_descriptor, lfd_distance."""

import torch
from torch import Tensor

from tests.ops.case import Arguments, BadInput, Case, edit
from torch_utils.ops.chamfer import chamfer, chamfer_matrix, chamfer_matrix_reference, chamfer_reference
from torch_utils.ops.lfd_descriptor import lfd_descriptor, lfd_descriptor_reference, region_basis
from torch_utils.ops.lfd_distance import VIEW_BYTES, lfd_distance, lfd_distance_reference, rotations_of_views
from torch_utils.ops.silhouettes import silhouettes, silhouettes_reference


def _random(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64).to(dtype)


def _clouds(batch: int, width: int, dtype: torch.dtype) -> Arguments:
    # Rounded, so that some points coincide and some distances tie.
    x, y = _random(batch, 3 * width + 2, 3, seed=0), _random(batch, width, 3, seed=1)
    y[:, : width // 2] = x[:, : width // 2]
    return {"x": x.float().to(dtype), "y": y.float().to(dtype)}


def _apart(batch: int, width: int, dtype: torch.dtype) -> Arguments:
    """No two points coincide: the squared distance of coinciding points is smooth, but its neighbors' order is not."""
    return {"x": _random(batch, width + 3, 3, seed=2, dtype=dtype), "y": _random(batch, width, 3, seed=3, dtype=dtype)}


def _soup(batch: int, width: int, dtype: torch.dtype) -> Arguments:
    center = 0.5 * _random(width, 1, 3, seed=4)
    corners = (center + 0.3 * _random(width, 3, 3, seed=5)).float()
    axes = torch.linalg.qr(_random(batch, 3, 3, seed=6)).Q[:, :2].float() if batch else torch.zeros(0, 2, 3)
    faces = torch.arange(3 * width, dtype=torch.int32).reshape(-1, 3)
    return {"vertices": corners.reshape(-1, 3).to(dtype), "faces": faces, "axes": axes.to(dtype), "side": 64}


def _packed(batch: int, width: int, dtype: torch.dtype) -> Arguments:
    """Silhouettes of one part, of several near and far ones, of single pixels, full and empty."""
    arguments = _soup(2 * batch, width, torch.float64)
    drawn = silhouettes_reference(**arguments).view(batch, 2, 64, 8)
    special = torch.zeros(batch, 4, 64, 8, dtype=torch.uint8)
    special[:, 1, 40, 3] = 1
    special[:, 2] = 255
    special[:, 3, 5:9, 1] = 12
    special[:, 3, 14, 1] = 8
    special[:, 3, 50:60, 6:8] = 255
    return {"silhouettes": torch.cat([drawn, special], 1)}


def _descriptors(batch: int, width: int, dtype: torch.dtype) -> Arguments:
    generator = torch.Generator().manual_seed(7)

    def draw(count: int) -> Tensor:
        return torch.randint(256, (count, 10, 10, VIEW_BYTES), generator=generator, dtype=torch.uint8)

    a, b = draw(batch), draw(width // 8 + 1)
    if batch:
        a[0] = 255  # so far from everything that 16 bits do not hold the distance
        b[0] = 0  # (the all-zero descriptor is that of an empty shape)
    return {"a": a, "b": b}


_CLOUD_MISTAKES = (
    BadInput("rank", edit("x", lambda x: x[0]), "(): expected x of shape [B, P, 3]"),
    BadInput("columns", edit("y", lambda y: y[..., :2]), "expected y of shape [B, Q, 3]"),
    BadInput("type", edit("x", lambda x: x.int()), "expected x of type float32", TypeError),
    BadInput("mixed", edit("y", lambda y: y.float()), "expected y of type float64", TypeError),
    BadInput("no points", edit("y", lambda y: y[:, :0]), "expected at least one point in y"),
    BadInput("device", edit("y", lambda y: y.to("meta")), "expected y on cpu, got meta"),
)

METRIC_CASES = [
    Case(
        name="chamfer",
        function=chamfer,
        reference=chamfer_reference,
        make=_apart,
        gradients=("x", "y"),
        overloads=lambda a: [(torch.ops.tetragan.chamfer.default, (a["x"], a["y"]))],
        half=("x", "y"),
        twice_differentiable=True,
        tolerance={torch.float32: 1e-6, torch.float64: 1e-14},
        bad_inputs=(
            *_CLOUD_MISTAKES,
            BadInput("batch", edit("y", lambda y: y[:1]), "expected x and y of one batch size"),
        ),
    ),
    Case(
        name="chamfer_matrix",
        function=chamfer_matrix,
        reference=chamfer_matrix_reference,
        make=_clouds,
        overloads=lambda a: [(torch.ops.tetragan.chamfer_matrix.default, (a["x"], a["y"]))],
        half=("x", "y"),
        tolerance={torch.float32: 1e-6, torch.float64: 1e-14},
        bad_inputs=_CLOUD_MISTAKES,
    ),
    Case(
        name="silhouettes",
        function=silhouettes,
        reference=silhouettes_reference,
        make=_soup,
        overloads=lambda a: [(torch.ops.tetragan.silhouettes.default, tuple(a.values()))],
        # A pixel whose center lies on an edge up to rounding; eight of them share a byte.
        edge_share=2e-4,
        bad_inputs=(
            BadInput("rank", edit("vertices", lambda v: v[None]), "silhouettes(): expected vertices of shape [V, 3]"),
            BadInput("type", edit("faces", lambda f: f.long()), "expected faces of type int32", TypeError),
            BadInput("mixed", edit("axes", lambda a: a.float()), "expected axes of type float64", TypeError),
            BadInput("index", edit("faces", lambda f: f + 10000), "expected faces in [0, "),
            BadInput("side", edit("side", lambda s: 100), "expected side a positive multiple of 64, got 100"),
        ),
    ),
    Case(
        name="lfd_descriptor",
        function=lfd_descriptor,
        reference=lfd_descriptor_reference,
        make=_packed,
        overloads=lambda a: [
            (torch.ops.tetragan.lfd_descriptor.default, (a["silhouettes"], region_basis(torch.device("cpu"))))
        ],
        bad_inputs=(
            BadInput("rank", edit("silhouettes", lambda s: s[0]), "lfd_descriptor(): expected silhouettes of shape"),
            BadInput("type", edit("silhouettes", lambda s: s.float()), "expected silhouettes of type uint8", TypeError),
            BadInput("side", edit("silhouettes", lambda s: s[:, :, :40]), "S a multiple of 64, got"),
        ),
    ),
    Case(
        name="lfd_distance",
        function=lfd_distance,
        reference=lfd_distance_reference,
        make=_descriptors,
        overloads=lambda a: [(torch.ops.tetragan.lfd_distance.default, (a["a"], a["b"], rotations_of_views()))],
        bad_inputs=(
            BadInput("rank", edit("a", lambda a: a[0]), "lfd_distance(): expected a of shape [M, 10, 10, 47]"),
            BadInput("bytes", edit("b", lambda b: b[..., :46]), "expected b of shape [N, 10, 10, 47]"),
            BadInput("type", edit("b", lambda b: b.float()), "expected b of type uint8", TypeError),
        ),
    ),
]
