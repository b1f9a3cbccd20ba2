"""Directions of the styles w: principal axes, and directions along which an attribute changes.

A step of 1 along any of them is one standard deviation: as far from the average style, by the styles' own spread, as a
typical random number is from its mean.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from sampling.samples import Sample
from torch_utils.checkpoint import load_tensors, save_tensors
from torch_utils.errors import UserError

if TYPE_CHECKING:
    from sampling.trained_generator import TrainedGenerator

KIND = "directions"
# An attribute is regressed on the principal axes that hold this share of the variance: the rest is noise to it.
VARIANCE_KEPT = 0.98
# Shape or texture is left alone by an attribute that it explains less than this share of.
SMALLEST_SHARE = 0.1


@dataclass(frozen=True)
class Directions:
    """K directions of the styles of shape and of texture.

    names [K]: "shape-1" for a principal axis, "type=armchair" for an attribute. w_geo, w_tex [K, w_dim]: what a step of
    one standard deviation adds to all slots of the styles; zeros leave shape or texture alone. shares [K]: how much of
    the styles' variance an axis has, or how much of an attribute's variance the regression explains (adjusted R²).
    """

    names: tuple[str, ...]
    w_geo: Tensor
    w_tex: Tensor
    shares: tuple[float, ...]

    def __len__(self) -> int:
        return len(self.names)

    def moved(self, sample: Sample, steps: Mapping[str, float]) -> Sample:
        """The sample, moved by steps of standard deviations along some directions. Its seeds stay, its latents are
        unknown. UserError for a name that is not there."""
        rows, amounts = [self.row(name) for name in steps], list(steps.values())
        if not any(amounts):
            return sample
        weights = sample.w_geo.new_tensor(amounts)
        w_geo, w_tex = (
            w + weights @ axes[rows].to(w) for w, axes in ((sample.w_geo, self.w_geo), (sample.w_tex, self.w_tex))
        )
        unknown = torch.full_like(sample.z_geo, torch.nan)
        return replace(sample, w_geo=w_geo, w_tex=w_tex, z_geo=unknown, z_tex=unknown)

    def row(self, name: str) -> int:
        """The number of a direction. UserError where there is none of that name."""
        if name not in self.names:
            raise UserError(f"no direction {name!r}; there are {', '.join(self.names)}")
        return self.names.index(name)

    def __add__(self, other: "Directions") -> "Directions":
        geo, tex = torch.cat([self.w_geo, other.w_geo]), torch.cat([self.w_tex, other.w_tex])
        return Directions(self.names + other.names, geo, tex, self.shares + other.shares)

    def sorted(self) -> "Directions":
        """The same directions, those with the largest shares first."""
        order = sorted(range(len(self)), key=lambda row: -self.shares[row])
        names, shares = tuple(self.names[row] for row in order), tuple(self.shares[row] for row in order)
        return Directions(names, self.w_geo[order], self.w_tex[order], shares)

    def save(self, path: Path, network: Mapping[str, Any]) -> None:
        """Write a safetensors file. network: the identity of the generator that they belong to."""
        header = {"kind": KIND, "names": self.names, "shares": self.shares, "network": dict(network)}
        save_tensors(path, {"w_geo": self.w_geo, "w_tex": self.w_tex}, header)


def load_directions(path: Path, generator: "TrainedGenerator") -> Directions:
    """Read a file of `Directions.save`. UserError where it is none, or of another network."""
    tensors, header = load_tensors(path, KIND)
    check_network(path, header, generator)
    return Directions(tuple(header["names"]), tensors["w_geo"], tensors["w_tex"], tuple(header["shares"]))


def check_network(path: Path, header: Mapping[str, Any], generator: "TrainedGenerator") -> None:
    """UserError where a file of styles belongs to another network than this one."""
    found, wanted = header["network"], generator.identity()
    if found["sha256"] != wanted["sha256"]:
        raise UserError(
            f"{path}: is of the network {found['name']} ({str(found['sha256'])[:8]}), not of "
            f"{wanted['name']} ({str(wanted['sha256'])[:8]}); name that one with --network, or make the file again"
        )


def principal_directions(w_geo: Tensor, w_tex: Tensor, count: int) -> Directions:
    """The first principal axes of the styles of shape and of texture, `count` of each (Härkönen et al. 2020,
    "GANSpace"). w_geo, w_tex [N, w_dim]: of random latents."""
    geo, tex = principal_axes(w_geo)[:count], principal_axes(w_tex)[:count]
    names = [f"{side}-{row + 1}" for side, axes in (("shape", geo), ("texture", tex)) for row in range(len(axes))]
    shares = [
        float(axis.square().sum() / w.var(0).sum().clamp(min=1e-12))
        for axes, w in ((geo, w_geo), (tex, w_tex))
        for axis in axes
    ]
    nothing_geo, nothing_tex = torch.zeros_like(geo), torch.zeros_like(tex)
    both = torch.cat([geo, nothing_tex]), torch.cat([nothing_geo, tex])
    return Directions(tuple(names), *both, tuple(shares))


def principal_axes(styles: Tensor) -> Tensor:
    """The principal axes of styles [N, w_dim], each one standard deviation long, the longest first [w_dim, w_dim].

    The largest entry of each is positive, so that the sign does not depend on the solver.
    """
    centered = styles.double() - styles.double().mean(0)
    values, vectors = torch.linalg.eigh(centered.T @ centered / (len(styles) - 1))
    axes = (vectors * values.clamp(min=0).sqrt()).T.flip(0)
    signs = torch.sign(axes.gather(1, axes.abs().argmax(1, keepdim=True)))
    return (axes * signs).to(styles.dtype)


def attribute_directions(w_geo: Tensor, w_tex: Tensor, values: Mapping[str, Tensor]) -> Directions:
    """Directions along which attributes change, by linear regression of their values on the styles.

    w_geo, w_tex [N, w_dim]: styles of N samples. values: of each attribute [N], such as a probability. Among all moves
    that change the regressed value by some amount, that along the direction is the shortest, in standard deviations of
    the styles; so it stays among likely styles. Attributes that do not vary with the styles are left out.
    """
    sides = [_whitened(w_geo), _whitened(w_tex)]
    names, shares, geo, tex = [], [], [], []
    for name, value in values.items():
        target = value.double() - value.double().mean()
        spread = float(target.std())
        if spread < 1e-6:
            continue
        # Coordinates of unit variance make the regression a product.
        slopes = [scores.T @ target / (len(target) - 1) / spread for scores, _ in sides]
        # Less what as many random numbers would explain by chance.
        chance = [len(slope) / (len(target) - 1) for slope in slopes]
        explained = [max(float(slope.square().sum()) - each, 0.0) for slope, each in zip(slopes, chance, strict=True)]
        kept = [part >= max(SMALLEST_SHARE * sum(explained), 1e-9) for part in explained]
        if not any(kept):
            continue
        length = sum(float(slope.square().sum()) for slope, keep in zip(slopes, kept, strict=True) if keep) ** 0.5
        moves = [slope @ axes * keep / length for slope, (_, axes), keep in zip(slopes, sides, kept, strict=True)]
        names.append(name)
        axes_used = sum(scores.shape[1] for (scores, _), keep in zip(sides, kept, strict=True) if keep)
        unexplained = (1 - length**2) * (len(target) - 1) / max(len(target) - axes_used - 1, 1)
        shares.append(min(max(1 - unexplained, 0.0), 1.0))
        geo.append(moves[0].to(w_geo.dtype))
        tex.append(moves[1].to(w_tex.dtype))
    if not names:
        return Directions((), w_geo[:0], w_tex[:0], ())
    return Directions(tuple(names), torch.stack(geo), torch.stack(tex), tuple(shares))


def whitened_axes(styles: Tensor, share: float = VARIANCE_KEPT) -> tuple[Tensor, Tensor]:
    """The mean [w_dim] of styles [N, w_dim], and the first axes [K, w_dim] that hold a share of their variance."""
    axes = principal_axes(styles)
    variances = axes.square().sum(1)
    kept = int((variances.cumsum(0) < share * variances.sum()).sum()) + 1
    return styles.mean(0), axes[:kept]


def _whitened(styles: Tensor) -> tuple[Tensor, Tensor]:
    """Styles [N, w_dim] as coordinates [N, K] of unit variance along their first axes, and those axes [K, w_dim]."""
    mean, axes = whitened_axes(styles.double())
    return (styles.double() - mean) @ axes.T / axes.square().sum(1), axes


def parse_moves(texts: Iterable[str], option: str = "--move") -> dict[str, float]:
    """Steps by name from texts such as "type=armchair:2" and "shape-1:-0.5". UserError for other texts."""
    moves: dict[str, float] = {}
    for text in texts:
        name, colon, number = text.rpartition(":")
        try:
            step = float(number)
        except ValueError:
            step = torch.nan
        if not (colon and name and abs(step) <= 10):
            raise UserError(f"{option} {text}: expected a direction and a number from -10 to 10, e.g. shape-1:1.5")
        moves[name] = step
    return moves


def slider(directions: Directions, sample: Sample, name: str, steps: Sequence[float]) -> list[Sample]:
    """The sample at several steps along one direction."""
    return [directions.moved(sample, {name: step}) for step in steps]
