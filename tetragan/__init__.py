"""TetraGAN's Python API, imported on first use: `import tetragan` alone imports no torch.

g = tetragan.load("chair-128")
g.sample(seed=3).export("chair.glb")
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sampling.samples import Sample, Samples
    from sampling.trained_generator import TrainedGenerator, from_pretrained, load

__all__ = ["Sample", "Samples", "TrainedGenerator", "from_pretrained", "load"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'tetragan' has no attribute {name!r}")
    from sampling import trained_generator

    return getattr(trained_generator, name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
