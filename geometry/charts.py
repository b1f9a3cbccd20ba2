"""Cutting a surface into charts, each a parallel projection that folds nowhere.

Faces are labeled with the axis direction that they face most, and smoothed labels keep the borders short. A chart is a
connected set of faces of one label, projected along its own mean normal. The generator's surfaces are charted ten times
faster than by growing charts and flattening them, and since a projection maps every point of space, the full surface
can be drawn into the atlas of the simplified one.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from torch_utils.ops.connected_vertices import connected_vertices
from torch_utils.ops.rasterize import rasterize

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

DIRECTIONS = np.concatenate([np.eye(3), -np.eye(3)])
# A face may join a chart up to this cosine between its normal and the chart's direction.
SMOOTHING_COSINE, MERGING_COSINE = 0.35, 0.05
# What a face gains, in units of the cosine, from a label that all its neighbors have.
SMOOTHNESS = 0.6
SMOOTHING_ROUNDS, MERGING_ROUNDS, SPLITTING_ROUNDS = 8, 4, 3
# A chart of a smaller share of the area joins a neighbor if it can.
SMALL_SHARE = 0.004
# Raster on which each chart is checked for overlaps, px.
CHECK_SIDE = 64
ANGLES = 16
# A chart that fills its box so well is not cut; a cut must raise the fill by so much.
GOOD_FILL, CUT_GAIN = 0.8, 0.02
# A piece of so few faces is joined with another after the cuts.
SCRAP_FACES = 8
# Faces of a smaller share of the area may lie under others: a few texels.
HIDDEN_SHARE = 1e-5


@dataclass(frozen=True)
class Charts:
    """labels [F]: the chart of each face. axes [K, 2, 3]: unit vectors along u and v of each chart, v downward."""

    labels: Ints
    axes: Floats

    def flat(self, points: Floats, charts: Ints) -> Floats:
        """Coordinates [P, 2] of points [P, 3] on their charts [P], units of the points."""
        return np.einsum("pij,pj->pi", self.axes[charts], points)


def cut_into_charts(vertices: Floats, faces: Ints, margin: float) -> Charts:
    """Charts of one mesh. vertices [V, 3] in a box of side about 1, faces [F, 3].

    margin: that the charts will be packed with, in the units of the vertices; wider gaps are worth fewer cuts. Faces
    without area join any neighbor.
    """
    crossed = np.cross(vertices[faces[:, 1]] - vertices[faces[:, 0]], vertices[faces[:, 2]] - vertices[faces[:, 0]])
    length = np.linalg.norm(crossed, axis=1)
    defined = length > 1e-12 * max(float(length.max(initial=0)), 1e-300)
    normals = np.where(defined[:, None], crossed / np.where(length > 0, length, 1)[:, None], 0)
    pairs, edges = adjacent_faces(faces, len(vertices))
    lengths = np.linalg.norm(vertices[edges[:, 0]] - vertices[edges[:, 1]], axis=1)
    cosines = normals @ DIRECTIONS.T
    cosines[~defined] = 1
    directions = _smooth(cosines, pairs, lengths)
    directions = _merge_small(directions, cosines, length, pairs, lengths)
    labels = _connected(directions, pairs)
    for _ in range(SPLITTING_ROUNDS):
        axes = _axes(labels, directions, normals * length[:, None], normals, defined)
        charts = Charts(labels, axes[:, :2])
        hidden = _hidden_faces(charts, vertices, faces)
        if not hidden.any():
            break
        labels = _connected(labels * 2 + hidden, pairs)
    labels = _cut_sparse(charts, vertices, faces, pairs, margin)
    axes = _axes(labels, directions, normals * length[:, None], normals, defined)
    return Charts(labels, _upright(labels, axes, vertices, faces))


def _cut_sparse(charts: Charts, vertices: Floats, faces: Ints, pairs: Ints, margin: float) -> Ints:
    """Labels [F] after cutting charts that fill little of their bounding boxes, such as frames, by straight lines.

    The aim is Σ area² / box over the pieces, with margins in the boxes: how well the average point's box is filled.
    Cutting a bar off a frame raises it, although the boxes together stay as large.
    """
    flat = charts.flat(vertices[faces].reshape(-1, 3), np.repeat(charts.labels, 3)).reshape(-1, 3, 2)
    a, b = flat[:, 1] - flat[:, 0], flat[:, 2] - flat[:, 0]
    areas = np.abs(a[:, 0] * b[:, 1] - a[:, 1] * b[:, 0]) / 2
    low, high, middle = flat.min(1), flat.max(1), flat.mean(1)
    labels = charts.labels.copy()
    queue = np.split(np.argsort(labels, kind="stable"), np.cumsum(np.bincount(labels))[:-1])
    count = len(queue)
    while queue:
        rows = queue.pop()
        beyond = _best_cut(low[rows], high[rows], middle[rows], areas[rows], 2 * margin)
        if beyond is None:
            continue
        labels[rows[beyond]] = count
        count += 1
        queue += [rows[~beyond], rows[beyond]]
    return _without_scraps(_connected(labels, pairs), charts.labels, pairs)


def _without_scraps(labels: Ints, before: Ints, pairs: Ints) -> Ints:
    """Labels [F] whose pieces of few faces, which a cut between jagged faces leaves, are back in a neighboring piece.

    before: the charts that were cut; only pieces of one chart, which share a projection, are joined.
    """
    same = pairs[before[pairs[:, 0]] == before[pairs[:, 1]]]
    for _ in range(MERGING_ROUNDS):
        sizes = np.bincount(labels)
        borders = same[labels[same[:, 0]] != labels[same[:, 1]]]
        borders = np.concatenate([borders, borders[:, ::-1]])
        small, large = labels[borders[:, 0]], labels[borders[:, 1]]
        joins = (sizes[small] <= SCRAP_FACES) & (sizes[large] > sizes[small])
        if not joins.any():
            break
        target = np.arange(len(sizes))
        target[small[joins]] = large[joins]
        labels = np.unique(target[labels], return_inverse=True)[1].reshape(-1)
    return labels


def _best_cut(low: Floats, high: Floats, middle: Floats, areas: Floats, gap: float) -> NDArray[np.bool_] | None:
    """Which faces [F] lie beyond the best line; None where no cut pays."""
    total = float(areas.sum())
    whole = float(np.prod(high.max(0) - low.min(0) + gap))
    if len(low) < 8 or total > GOOD_FILL * whole:
        return None
    best, most = None, total**2 / whole + CUT_GAIN * total
    for axis in (0, 1):
        order = np.argsort(middle[:, axis], kind="stable")
        lows, highs = low[order], high[order]
        before = (np.maximum.accumulate(highs) - np.minimum.accumulate(lows) + gap).prod(1)
        after = (np.maximum.accumulate(highs[::-1]) - np.minimum.accumulate(lows[::-1]) + gap).prod(1)[::-1]
        share = np.cumsum(areas[order])
        gained = share[:-1] ** 2 / before[:-1] + (total - share[:-1]) ** 2 / after[1:]
        at = int(gained.argmax())
        if gained[at] > most:
            most = float(gained[at])
            best = np.zeros(len(low), bool)
            best[order[at + 1 :]] = True
    return best


def adjacent_faces(faces: Ints, vertices: int) -> tuple[Ints, Ints]:
    """Pairs of faces [E, 2] that share an edge, and the edge's vertices [E, 2]."""
    ends = np.sort(np.concatenate([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]]), axis=1)
    keys = ends[:, 0] * vertices + ends[:, 1]
    order = np.argsort(keys, kind="stable")
    same = np.flatnonzero(keys[order][1:] == keys[order][:-1])
    first, second = order[same], order[same + 1]
    return np.stack([first, second], 1) % len(faces), ends[first]


def _smooth(cosines: Floats, pairs: Ints, lengths: Floats) -> Ints:
    """The direction of each face [F]: one that it faces and that its neighbors have."""
    count, ways = cosines.shape
    allowed = (cosines > SMOOTHING_COSINE) | (cosines == cosines.max(1, keepdims=True))
    labels = cosines.argmax(1)
    both = np.concatenate([pairs, pairs[:, ::-1]])
    twice = np.concatenate([lengths, lengths])
    perimeter = np.maximum(np.bincount(both[:, 0], twice, count), 1e-300)[:, None]
    for _ in range(SMOOTHING_ROUNDS):
        votes = np.bincount(both[:, 0] * ways + labels[both[:, 1]], twice, count * ways).reshape(count, ways)
        changed = np.where(allowed, cosines + SMOOTHNESS * votes / perimeter, -np.inf).argmax(1)
        if np.array_equal(changed, labels):
            break
        labels = changed
    return labels


def _merge_small(directions: Ints, cosines: Floats, areas: Floats, pairs: Ints, lengths: Floats) -> Ints:
    """Give small charts the direction of the neighbors that share most border with them, where they face that way."""
    ways = cosines.shape[1]
    for _ in range(MERGING_ROUNDS):
        labels = _connected(directions, pairs)
        count = int(labels.max()) + 1
        small = np.bincount(labels, areas, count) < SMALL_SHARE * areas.sum()
        if not small.any():
            break
        worst = np.full((count, ways), np.inf)
        np.minimum.at(worst, labels, cosines)
        apart = labels[pairs[:, 0]] != labels[pairs[:, 1]]
        border = np.zeros(count * ways)
        for own, other in ((0, 1), (1, 0)):
            mine, theirs = pairs[apart, own], pairs[apart, other]
            border += np.bincount(labels[mine] * ways + directions[theirs], lengths[apart], count * ways)
        border = np.where(worst > MERGING_COSINE, border.reshape(count, ways), 0)
        movable = small & (border.max(1) > 0)
        if not movable.any():
            break
        directions = np.where(movable[labels], border.argmax(1)[labels], directions)
    return directions


def _connected(values: Ints, pairs: Ints) -> Ints:
    """Numbers [F] of the connected sets of faces that have one value."""
    same = pairs[values[pairs[:, 0]] == values[pairs[:, 1]]]
    links = torch.from_numpy(same[:, [0, 1, 1]].astype(np.int32))  # to the op, triangles whose corners are faces
    return np.unique(connected_vertices(links, len(values)).numpy(), return_inverse=True)[1]


def _axes(labels: Ints, directions: Ints, weighted: Floats, normals: Floats, defined: NDArray[np.bool_]) -> Floats:
    """Right-handed axes [K, 3, 3] of each chart; the last is its mean normal, or its direction if that would fold."""
    count = int(labels.max()) + 1
    mean = np.stack([np.bincount(labels, weighted[:, axis], count) for axis in range(3)], 1)
    main = np.zeros(count, np.int64)
    main[labels] = directions
    size = np.linalg.norm(mean, axis=1, keepdims=True)
    mean = np.where(size > 0, mean / np.where(size > 0, size, 1), DIRECTIONS[main])
    least = np.ones(count)
    np.minimum.at(least, labels[defined], np.einsum("fi,fi->f", normals, mean[labels])[defined])
    normal = np.where(least[:, None] > MERGING_COSINE, mean, DIRECTIONS[main])
    # v runs downward in the image and along −Y on walls.
    up = np.where(np.abs(normal[:, 1:2]) > 0.8, [[0.0, 0.0, -1.0]], [[0.0, 1.0, 0.0]])
    right = np.cross(up, normal)
    right /= np.linalg.norm(right, axis=1, keepdims=True)
    return np.stack([right, -np.cross(normal, right), normal], 1)


def _upright(labels: Ints, axes: Floats, vertices: Floats, faces: Ints) -> Floats:
    """The first two axes [K, 2, 3] turned so that the chart's bounding box is smallest, and not wider than high."""
    corners, charts = vertices[faces].reshape(-1, 3), np.repeat(labels, 3)
    flat = np.einsum("pij,pj->pi", axes[charts, :2], corners)
    angles = np.arange(ANGLES) * (np.pi / 2 / ANGLES)
    cosine, sine = np.cos(angles), np.sin(angles)
    along = flat[:, :1] * cosine + flat[:, 1:] * sine
    across = flat[:, 1:] * cosine - flat[:, :1] * sine
    order = np.argsort(charts, kind="stable")
    starts = np.flatnonzero(np.concatenate([[True], np.diff(charts[order]) != 0]))

    def extent(values: Floats) -> Floats:
        return np.maximum.reduceat(values[order], starts) - np.minimum.reduceat(values[order], starts)

    width, height = extent(along), extent(across)
    # A turned box must be clearly smaller: walls stay upright.
    best = (width * height * np.where(angles > 0, 1.02, 1.0)).argmin(1)
    rows = np.arange(len(axes))
    c, s = cosine[best], sine[best]
    wide = width[rows, best] > height[rows, best]
    c, s = np.where(wide, -s, c), np.where(wide, c, s)
    u, v = axes[:, 0], axes[:, 1]
    return np.stack([c[:, None] * u + s[:, None] * v, c[:, None] * v - s[:, None] * u], 1)


def _hidden_faces(charts: Charts, vertices: Floats, faces: Ints) -> NDArray[np.bool_]:
    """Faces [F] that lie under others of their own chart: parts of a surface that winds like a staircase."""
    order = np.argsort(charts.labels, kind="stable")
    corner_charts = np.repeat(charts.labels[order], 3)
    flat = charts.flat(vertices[faces[order]].reshape(-1, 3), corner_charts)
    count = len(charts.axes)
    low, high = np.full((count, 2), np.inf), np.full((count, 2), -np.inf)
    np.minimum.at(low, corner_charts, flat)
    np.maximum.at(high, corner_charts, flat)
    unit = (flat - low[corner_charts]) / np.maximum(high - low, 1e-12)[corner_charts]
    clip = np.zeros((len(unit), 4), np.float32)
    clip[:, :2], clip[:, 3] = unit * 2 - 1, 1
    offsets = torch.from_numpy(np.concatenate([[0], np.cumsum(np.bincount(charts.labels))]))
    triangles = torch.arange(len(clip), dtype=torch.int32).view(-1, 3)
    rast, _ = rasterize(torch.from_numpy(clip), triangles, offsets, (CHECK_SIDE, CHECK_SIDE))
    seen = np.bincount(rast[..., 3].reshape(-1).long().numpy(), minlength=len(faces) + 1)[1:]
    a, b, c = (unit.reshape(-1, 3, 2)[:, k] for k in range(3))
    area = np.abs((b - a)[:, 0] * (c - a)[:, 1] - (b - a)[:, 1] * (c - a)[:, 0]) / 2 * CHECK_SIDE**2
    side_a, side_b = vertices[faces[:, 1]] - vertices[faces[:, 0]], vertices[faces[:, 2]] - vertices[faces[:, 0]]
    true_area = np.linalg.norm(np.cross(side_a, side_b), axis=1)[order]
    hidden = np.zeros(len(faces), bool)
    hidden[order] = (area > 2) & (seen < 0.3 * area) & (true_area > HIDDEN_SHARE * true_area.sum())
    return hidden
