"""kaolin's FlexiCubes (Apache-2.0), read from a folder outside the project."""

import importlib.util
import os
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor

from torch_utils.ops.flexicubes_cases import edge_ends

# The folder kaolin/ops/conversions/flexicubes of a checkout of kaolin: flexicubes.py and tables.py need torch alone.
PEER_FOLDER = "TETRAGAN_KAOLIN_FLEXICUBES"


def kaolin_flexicubes() -> Any | None:
    """An instance of kaolin's `FlexiCubes` on the CPU; None where it is missing."""
    folder = os.environ.get(PEER_FOLDER)
    if not folder or not (Path(folder) / "flexicubes.py").is_file():
        return None
    checks = ModuleType("kaolin.utils.testing")
    checks.check_tensor = lambda *_, **__: True  # type: ignore[attr-defined]
    names = {"kaolin": ModuleType("kaolin"), "kaolin.utils": ModuleType("kaolin.utils"), "kaolin.utils.testing": checks}
    added = {name: module for name, module in names.items() if name not in sys.modules}
    sys.modules.update(added)
    try:
        names["kaolin"].utils = names["kaolin.utils"]  # type: ignore[attr-defined]
        names["kaolin.utils"].testing = checks  # type: ignore[attr-defined]
        package = ModuleType("kaolin_flexicubes")
        package.__path__ = [folder]
        sys.modules["kaolin_flexicubes"] = package
        return importlib.import_module("kaolin_flexicubes.flexicubes").FlexiCubes("cpu")
    finally:
        for name in added:
            del sys.modules[name]


def beta_in_their_order(peer: Any, beta: Tensor) -> Tensor:
    """β [C, 12] in our order of edges, in kaolin's."""
    number = {frozenset(edge_ends(edge)): edge for edge in range(12)}
    pairs = peer.cube_edges.view(12, 2).tolist()
    return beta[:, torch.tensor([number[frozenset(pair)] for pair in pairs])]


def peer_cubes(cells: int) -> Tensor:
    """The corners of each cube of our cubic grid [C, 8], in kaolin's order, which is ours."""
    side = cells + 1
    at = torch.cartesian_prod(*[torch.arange(cells)] * 3)
    corners = torch.tensor([[k & 1, k >> 1 & 1, k >> 2 & 1] for k in range(8)])
    x, y, z = (at[:, None] + corners).unbind(-1)
    return (x * side + y) * side + z
