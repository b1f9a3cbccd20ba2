"""Packing charts into a square image, with their true outlines against a horizon."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Columns of the horizon: outlines are known to this share of the image's side.
COLUMNS = 256
# The first guess for the share of the image that charts cover; the number of densities tried; a packing that uses this
# share of the side is good enough.
FILL_GUESS, PACKINGS, GOOD = 0.6, 6, 0.98
# Quarter turns of a chart.
TURNS = np.array([[[1, 0], [0, 1]], [[0, -1], [1, 0]], [[-1, 0], [0, -1]], [[0, 1], [-1, 0]]], float)


@dataclass(frozen=True)
class Packing:
    """Where charts lie in a square image: pixel = density · turns[k] @ flat + shifts[k].

    density: px per unit. turns [K, 2, 2]: rotations by quarter turns. shifts [K, 2], px.
    """

    density: float
    turns: Floats
    shifts: Floats

    def pixels(self, flat: Floats, charts: Ints) -> Floats:
        """Positions [P, 2] in the image, px, of flat coordinates [P, 2] on charts [P]."""
        return self.density * np.einsum("pij,pj->pi", self.turns[charts], flat) + self.shifts[charts]


@dataclass(frozen=True)
class _Outline:
    """A turned chart in columns: the lowest and highest row of each, from 0 on, with its margin.

    origin: where row and column 0 lie among the turned coordinates, px.
    """

    turn: int
    low: Floats
    high: Floats
    origin: Floats


def pack_charts(edges: Floats, charts: Ints, area: float, side_px: int, margin_px: float) -> Packing | None:
    """The densest of a few packings; None if none fits.

    edges [E, 2, 2]: the flat edges on the borders of charts. charts [E]: their charts, 0 to K − 1. area: of all charts.
    margin_px: empty pixels around each chart. Charts go in by size, each where it stands lowest and wastes least under
    it (Lévy et al. 2002, "Least squares conformal maps", section 5).
    """
    if not area > 0:
        return None
    density, best, failed = side_px * np.sqrt(FILL_GUESS / area), None, np.inf
    for _ in range(PACKINGS):
        packing, height = _pack_at(edges, charts, density, side_px, margin_px)
        if height > side_px:
            failed = min(failed, density)
        elif best is None or density > best.density:
            best = packing
            if height >= GOOD * side_px:
                break
        step = float(np.clip(np.sqrt(0.99 * side_px / height), 0.7, 1.2))
        density *= step
        if density >= failed or (best is not None and density <= best.density):
            density = (failed + (best.density if best else 0.9 * failed)) / 2
    return best


def _pack_at(edges: Floats, charts: Ints, density: float, side_px: int, margin_px: float) -> tuple[Packing, float]:
    """The packing of one density into an endless strip, and its height, px; four sides where a chart is too wide."""
    column_px = side_px / COLUMNS
    outlines = _outlines(edges * density, charts, column_px, margin_px)
    turns, shifts = np.zeros((len(outlines), 2, 2)), np.zeros((len(outlines), 2))
    horizon = np.zeros(COLUMNS)
    for k in sorted(range(len(outlines)), key=lambda k: -max(len(each.low) for each in outlines[k])):
        placed = _place(horizon, outlines[k])
        if placed is None:
            return Packing(density, turns, shifts), 4.0 * side_px
        outline, column, row = placed
        horizon[column : column + len(outline.low)] = row + outline.high
        turns[k] = TURNS[outline.turn]
        shifts[k] = np.array([column * column_px, row]) - outline.origin
    return Packing(density, turns, shifts), float(horizon.max())


def _place(horizon: Floats, outlines: list[_Outline]) -> tuple[_Outline, int, float] | None:
    """The turn, column and row of a chart that are best; None where no turn fits the width."""
    best, least = None, np.inf
    sums = np.concatenate([[0.0], np.cumsum(horizon)])
    for outline in outlines:
        width = len(outline.low)
        if width > len(horizon):
            continue
        rows = (_windows(horizon, width) - outline.low).max(1)
        waste = rows + outline.low.sum() / width - (sums[width:] - sums[:-width]) / width
        cost = rows + outline.high.max() + waste
        column = int(cost.argmin())
        if cost[column] < least:
            least, best = float(cost[column]), (outline, column, float(rows[column]))
    return best


def _windows(values: Floats, width: int) -> Floats:
    """All runs of `width` consecutive values [N − width + 1, width]: a view, made without numpy's checks."""
    step = values.itemsize
    return np.ndarray((len(values) - width + 1, width), values.dtype, values, 0, (step, step))


def _outlines(edges: Floats, charts: Ints, column_px: float, margin_px: float) -> list[list[_Outline]]:
    """The outlines of every chart in four turns. edges [E, 2, 2] in pixels."""
    points, owner = _border_points(edges, charts, column_px / 2)
    turned: list[list[_Outline]] = [[] for _ in range(int(owner.max()) + 1)]
    reach = int(np.ceil(margin_px / column_px))
    for turn in (0, 1):
        placed = points @ TURNS[turn].T
        lowest, highest = np.full((len(turned), 2), np.inf), np.full((len(turned), 2), -np.inf)
        np.minimum.at(lowest, owner, placed)
        np.maximum.at(highest, owner, placed)
        # All charts in one row of columns, with room for their margins.
        widths = ((highest - lowest)[:, 0] / column_px).astype(np.int64) + 1 + 2 * reach
        starts = np.concatenate([[0], np.cumsum(widths)])
        column = starts[owner] + reach + ((placed - lowest[owner])[:, 0] / column_px).astype(np.int64)
        low, high = np.full(starts[-1], np.inf), np.full(starts[-1], -np.inf)
        np.minimum.at(low, column, placed[:, 1])
        np.maximum.at(high, column, placed[:, 1])
        low, high = _widened(low, reach) - margin_px, -_widened(-high, reach) + margin_px
        for k, (first, last) in enumerate(zip(starts[:-1].tolist(), starts[1:].tolist(), strict=True)):
            bottom, top = low[first:last], high[first:last]
            base, roof = float(bottom.min()), float(top.max())
            left, right = lowest[k, 0] - reach * column_px, lowest[k, 0] + (last - first - reach) * column_px
            turned[k].append(_Outline(turn, bottom - base, top - base, np.array([left, base])))
            turned[k].append(_Outline(turn + 2, roof - top[::-1], roof - bottom[::-1], np.array([-right, -roof])))
    return turned


def _widened(low: Floats, reach: int) -> Floats:
    """The least value within `reach` columns."""
    padded = np.pad(low, reach, constant_values=np.inf)
    return _windows(padded, 2 * reach + 1).min(1)


def _border_points(edges: Floats, charts: Ints, step: float) -> tuple[Floats, Ints]:
    """Points [P, 2] on edges, at most `step` apart, and their charts [P]."""
    counts = np.ceil(np.linalg.norm(edges[:, 1] - edges[:, 0], axis=1) / step).astype(np.int64).clip(1) + 1
    edge = np.repeat(np.arange(len(counts)), counts)
    within = np.arange(len(edge)) - np.repeat(np.cumsum(counts) - counts, counts)
    t = (within / (counts[edge] - 1))[:, None]
    return edges[edge, 0] * (1 - t) + edges[edge, 1] * t, charts[edge]
