"""Directions of the styles w: principal axes, and directions along which an attribute changes.

A step of 1 along any of them is one standard deviation: as far from the average style, by the styles' own spread, as a
typical random number is from its mean.
"""

import math
import re
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
# How little a direction may change other attributes: 0 would leave them alone, much more than 1 ignores them. Values
# are correlated, so that a direction which leaves all others alone changes little of its own.
OTHERS_KEPT = 1.0
# How far a full move along a direction goes, in standard deviations, unless trials have found a better length.
FULL_STEP = 3.0


@dataclass(frozen=True)
class Directions:
    """K directions of the styles of shape and of texture.

    names [K]: "shape-1" for a principal axis, "type=armchair" for an attribute. w_geo, w_tex [K, w_dim]: what a step of
    one standard deviation adds to all slots of the styles; zeros leave shape or texture alone. shares [K]: how much of
    the styles' variance an axis has, or how much of an attribute's variance the regression explains (adjusted R²).
    full_steps [K]: how far a full move goes, standard deviations.
    """

    names: tuple[str, ...]
    w_geo: Tensor
    w_tex: Tensor
    shares: tuple[float, ...]
    full_steps: tuple[float, ...]

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

    def moves(self, texts: Iterable[str]) -> dict[str, float]:
        """Steps by name from texts such as "type=armchair:2", or "type=armchair" for a full move. UserError for other
        texts."""
        return parse_moves(
            f"{text}:{self.full_steps[self.names.index(text)]}" if text in self.names else text for text in texts
        )

    def row(self, name: str) -> int:
        """The number of a direction. UserError where there is none of that name."""
        if name not in self.names:
            raise UserError(f"no direction {name!r}; there are {', '.join(self.names)}")
        return self.names.index(name)

    def __add__(self, other: "Directions") -> "Directions":
        geo, tex = torch.cat([self.w_geo, other.w_geo]), torch.cat([self.w_tex, other.w_tex])
        shares, full_steps = self.shares + other.shares, self.full_steps + other.full_steps
        return Directions(self.names + other.names, geo, tex, shares, full_steps)

    def __getitem__(self, rows: list[int]) -> "Directions":
        names, shares = tuple(self.names[row] for row in rows), tuple(self.shares[row] for row in rows)
        full_steps = tuple(self.full_steps[row] for row in rows)
        return Directions(names, self.w_geo[rows], self.w_tex[rows], shares, full_steps)

    def sorted(self) -> "Directions":
        """The same directions, those with the largest shares first."""
        return self[sorted(range(len(self)), key=lambda row: -self.shares[row])]

    def save(self, path: Path, network: Mapping[str, Any]) -> None:
        """Write a safetensors file. network: the identity of the generator that they belong to."""
        header = {
            "kind": KIND,
            "names": self.names,
            "shares": self.shares,
            "full_steps": self.full_steps,
            "network": dict(network),
        }
        save_tensors(path, {"w_geo": self.w_geo, "w_tex": self.w_tex}, header)


def file_stems(names: Iterable[str]) -> list[str]:
    """Names of directions for files: "type-SUV-4x4" of "type=SUV/4x4". Of names that become alike, the later count."""
    stems: list[str] = []
    for name in names:
        plain = stem = re.sub(r'[=/\\:*?"<>|\0]', "-", name)
        number = 1
        while stem in stems:
            number += 1
            stem = f"{plain}-{number}"
        stems.append(stem)
    return stems


def load_directions(path: Path, generator: "TrainedGenerator") -> Directions:
    """Read a file of `Directions.save`. UserError where it is none, or of another network."""
    tensors, header = load_tensors(path, KIND)
    check_network(path, header, generator)
    names, shares = tuple(header["names"]), tuple(header["shares"])
    full_steps = tuple(header.get("full_steps", [FULL_STEP] * len(names)))
    return Directions(names, tensors["w_geo"], tensors["w_tex"], shares, full_steps)


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
    return Directions(tuple(names), *both, tuple(shares), (FULL_STEP,) * len(names))


def principal_axes(styles: Tensor) -> Tensor:
    """The principal axes of styles [N, w_dim], each one standard deviation long, the longest first [w_dim, w_dim].

    The largest entry of each is positive, so that the sign does not depend on the solver.
    """
    centered = styles.double() - styles.double().mean(0)
    values, vectors = torch.linalg.eigh(centered.T @ centered / (len(styles) - 1))
    axes = (vectors * values.clamp(min=0).sqrt()).T.flip(0)
    signs = torch.sign(axes.gather(1, axes.abs().argmax(1, keepdim=True)))
    return (axes * signs).to(styles.dtype)


def attribute_directions(
    w_geo: Tensor,
    w_tex: Tensor,
    values: Mapping[str, Tensor],
    kept: Mapping[str, Tensor] | None = None,
    others_kept: float = OTHERS_KEPT,
) -> Directions:
    """Directions along which attributes change, by linear regression of their values on the styles.

    w_geo, w_tex [N, w_dim]: styles of N samples. values: of each attribute [N], such as the log-odds of "type=stool".
    kept: values that no direction may change, such as those of the category. others_kept: how little the values of
    other attributes may change; math.inf ignores them. Of the moves that leave the kept values alone, and change other
    attributes little, the direction is the shortest, in standard deviations of the styles: it stays among likely
    styles. Attributes that do not vary with the styles are left out.
    """
    sides = [_whitened(w_geo), _whitened(w_tex)]
    width = sides[0][0].shape[1]
    scores = torch.cat([scores for scores, _ in sides], 1)
    slopes = {name: slope for name, value in values.items() if (slope := _slope(scores, value)) is not None}
    fixed = [slope for value in (kept or {}).values() if (slope := _slope(scores, value)) is not None]
    names, shares, geo, tex = [], [], [], []
    for name, slope in slopes.items():
        used, share = _explained(slope, width, len(scores))
        if not bool(used.any()):
            continue
        others = [other for key, other in slopes.items() if key.split("=")[0] != name.split("=")[0]]
        apart = _apart(slope * used, [each * used for each in fixed], [each * used for each in others], others_kept)
        direction = apart / apart.norm().clamp(min=1e-12)
        names.append(name)
        shares.append(share)
        geo.append((direction[:width] @ sides[0][1]).to(w_geo.dtype))
        tex.append((direction[width:] @ sides[1][1]).to(w_tex.dtype))
    if not names:
        return Directions((), w_geo[:0], w_tex[:0], (), ())
    return Directions(tuple(names), torch.stack(geo), torch.stack(tex), tuple(shares), (FULL_STEP,) * len(names))


def _slope(scores: Tensor, value: Tensor) -> Tensor | None:
    """Correlations [K] of a value [N] with coordinates of unit variance [N, K], which make the regression a product;
    None for a value that does not vary."""
    target = value.double() - value.double().mean()
    spread = float(target.std())
    return None if spread < 1e-6 else scores.T @ target / (len(target) - 1) / spread


def _explained(slope: Tensor, width: int, count: int) -> tuple[Tensor, float]:
    """Which coordinates [K] an attribute uses, all of shape, all of texture or both, and its adjusted R².

    width: number of the shape's coordinates. count: of samples.
    """
    of_shape = torch.arange(len(slope)) < width
    # Less what as many random numbers would explain by chance.
    explained = [
        max(float(slope[own].square().sum()) - int(own.sum()) / (count - 1), 0.0) for own in (of_shape, ~of_shape)
    ]
    used = torch.zeros(len(slope), dtype=torch.bool)
    for own, part in zip((of_shape, ~of_shape), explained, strict=True):
        used |= own & (part >= max(SMALLEST_SHARE * sum(explained), 1e-9))
    unexplained = (1 - float((slope * used).square().sum())) * (count - 1) / max(count - int(used.sum()) - 1, 1)
    return used, min(max(1 - unexplained, 0.0), 1.0)


def _apart(slope: Tensor, fixed: Sequence[Tensor], others: Sequence[Tensor], others_kept: float) -> Tensor:
    """A slope [K] without its part along the fixed ones, and with less of its part along the others."""
    others = others if math.isfinite(others_kept) else []
    if not fixed and not others:
        return slope
    basis = torch.stack([*fixed, *others], 1)
    penalty = torch.cat([torch.full((len(fixed),), 1e-6), torch.full((len(others),), others_kept)]).to(slope)
    return slope - basis @ torch.linalg.solve(basis.T @ basis + torch.diag(penalty), basis.T @ slope)


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
