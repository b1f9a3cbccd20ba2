"""TetraGAN's Python API, imported on first use: `import tetragan` alone imports no torch.

g = tetragan.load("chair-128")
g.sample(seed=3).export("chair.glb")
"""

import sys
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sampling.samples import Sample, Samples
    from sampling.trained_generator import TrainedGenerator, from_pretrained, load

__all__ = ["Sample", "Samples", "TrainedGenerator", "from_pretrained", "load"]

_PACKAGES = (
    "torch_utils", "configs", "geometry", "mesh_io", "rendering", "dataset_tool", "networks", "sampling", "guidance",
    "metrics", "training", "webpage",
)  # fmt: skip


def hidden_package() -> str:
    """What hides a package of TetraGAN, such as a folder configs/ in the working directory, and what to do; or ""."""
    root = Path(__file__).resolve().parent.parent
    for name in _PACKAGES:
        spec = find_spec(name)
        places = list(spec.submodule_search_locations or [spec.origin or ""]) if spec is not None else []
        if not any(Path(place).resolve() == root / name for place in places[:1]):
            if not places:
                return f"TetraGAN's package {name!r} is missing from {root}; install TetraGAN again"
            return f"{places[0]} hides TetraGAN's package {name!r}; rename it, or work in another folder"
    return ""


# The command line says it in one line (`tetragan.__main__`); Python sets "-m" while it looks for the module.
if Path((sys.argv or [""])[0]).name not in ("-m", "tetragan") and hidden_package():
    raise ImportError(hidden_package())


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'tetragan' has no attribute {name!r}")
    from sampling import trained_generator

    return getattr(trained_generator, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
