"""Building blocks, all made as lofts of rings: closed surfaces with outward winding and UVs in meters."""

from collections.abc import Callable, Sequence

import numpy as np

from dataset_tool.procedural.outlines import inset
from dataset_tool.procedural.shape import Array, Indices, ProceduralPart

Height = Callable[[Array, Array], Array]


def unit(vectors: Array) -> Array:
    """Vectors [..., 3] scaled to length 1."""
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def _band_faces(rows: int, columns: int, wrap_rows: int, wrap_columns: int) -> Indices:
    """Two triangles per quad between consecutive rows; the ids are row · columns + column, modulo the wraps."""
    row, column = np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij")
    below, right = (row + 1) % wrap_rows, (column + 1) % wrap_columns
    a, b = row * wrap_columns + column, row * wrap_columns + right
    c, d = below * wrap_columns + right, below * wrap_columns + column
    quads = np.stack([a, b, c, a, c, d], axis=-1)
    return quads.reshape(-1, 3).astype(np.int32)


def _fan(first: int, count: int, apex: int, reverse: bool) -> Indices:
    """Triangles from `apex` to the ring of ids first … first + count − 1."""
    ids = first + np.arange(count)
    following = first + (np.arange(count) + 1) % count
    order = (following, ids) if reverse else (ids, following)
    return np.stack([np.full(count, apex), *order], axis=1).astype(np.int32)


def _strip_cap(first: int, count: int, reverse: bool) -> Indices:
    """Triangles across the ring of a bent plate: front 0 … C−1, edge, back C−1 … 0, edge (count = 2C + 2)."""
    front = count // 2 - 1
    left = np.arange(front - 1)
    across = count - 2 - left
    quads = np.stack([left, left + 1, across - 1, left, across - 1, across], axis=1).reshape(-1, 3)
    tips = np.array([[count - 1, 0, count - 2], [front - 1, front, front + 1]])
    faces = (np.concatenate([quads, tips]) + first).astype(np.int32)
    return np.ascontiguousarray(faces[:, ::-1]) if reverse else faces


def _planar(points: Array, axes: tuple[Array, Array]) -> Array:
    return np.stack([points @ axes[0], points @ axes[1]], axis=-1)


def _cap_axes(ring: Array) -> tuple[Array, Array]:
    """An orthonormal pair in the ring's plane; the second runs along its longer direction."""
    centered = ring - ring.mean(axis=0)
    _, _, directions = np.linalg.svd(centered, full_matrices=False)
    return directions[1], directions[0]


def loft(
    rings: Array,
    material: str,
    *,
    planar: tuple[int, int] = (0, 0),
    axes: tuple[Array, Array] | None = None,
    tips: tuple[Array | None, Array | None] = (None, None),
    caps: str = "fan",
    anchor: int | None = None,
    grain_around: bool = False,
    even_columns: bool = False,
) -> ProceduralPart:
    """The closed surface through rings [S, K, 3].

    planar: how many bands at the start and at the end have planar UVs along `axes` (two unit vectors [3]; None = those
    of the ring), like the caps. Other bands are unrolled around the ring (u, meters) and along the loft (v, meters).
    tips: the fan's apex at either end (None = the ring's centroid). caps: "fan", "strip" (rings made by `bent_plate`)
    or "none" (the last ring meets the first). anchor: the column where u = 0 (None = half-way around).
    grain_around: swap u and v of the unrolled bands, for grain that runs around the rings.
    even_columns: use the mean u of a column for all of it, so that grain does not spiral where rings grow fast.
    """
    rings = np.asarray(rings, float)
    num_rings, columns, _ = rings.shape
    closed = caps == "none"
    bands = num_rings if closed else num_rings - 1
    around = np.concatenate([rings, rings[:, :1]], axis=1)
    if closed:
        around = np.concatenate([around, around[:1]])
    step = np.linalg.norm(np.diff(around, axis=1), axis=2)
    u = np.concatenate([np.zeros((len(around), 1)), np.cumsum(step, axis=1)], axis=1)
    if even_columns:
        u = np.broadcast_to(u.mean(axis=0), u.shape)
    u = u - u[:, [columns // 2 if anchor is None else anchor]]
    v = np.concatenate([[0.0], np.cumsum(np.linalg.norm(np.diff(around, axis=0), axis=2).mean(axis=1))])
    unrolled = (np.broadcast_to(v[:, None], u.shape), u) if grain_around else (u, np.broadcast_to(v[:, None], u.shape))
    uvs = [np.stack(unrolled, axis=-1).reshape(-1, 2)]

    faces = [_band_faces(bands, columns, num_rings, columns)]
    uv_faces = [_band_faces(bands, columns, bands + 1, columns + 1)]
    vertices = [rings.reshape(-1, 3)]
    if not closed:
        _map_planar(rings, planar, axes, faces[0], uvs, uv_faces)
        _close_ends(rings, tips, axes, caps, vertices, faces, uvs, uv_faces)
    part = ProceduralPart(
        np.concatenate(vertices), np.concatenate(faces), np.concatenate(uvs), np.concatenate(uv_faces), material
    )
    if part.volume() >= 0:
        return part
    flip = [np.ascontiguousarray(table[:, ::-1]) for table in (part.faces, part.uv_faces)]
    return ProceduralPart(part.vertices, flip[0], part.uvs, flip[1], material)


def _map_planar(
    rings: Array,
    planar: tuple[int, int],
    axes: tuple[Array, Array] | None,
    faces: Indices,
    uvs: list[Array],
    uv_faces: list[Indices],
) -> None:
    """Give the outermost bands planar texture coordinates: append to `uvs`, edit `uv_faces`."""
    if planar == (0, 0):
        return
    num_rings, columns, _ = rings.shape
    per_band = 2 * columns
    flat_from = sum(len(block) for block in uvs)
    uvs.append(_planar(rings.reshape(-1, 3), axes or _cap_axes(rings[-1])))
    for start, stop in ((0, planar[0]), (num_rings - 1 - planar[1], num_rings - 1)):
        uv_faces[0][start * per_band : stop * per_band] = faces[start * per_band : stop * per_band] + flat_from


def _close_ends(
    rings: Array,
    tips: tuple[Array | None, Array | None],
    axes: tuple[Array, Array] | None,
    caps: str,
    vertices: list[Array],
    faces: list[Indices],
    uvs: list[Array],
    uv_faces: list[Indices],
) -> None:
    """Append the caps of the first and the last ring to the four lists."""
    num_rings, columns, _ = rings.shape
    for end, tip in enumerate(tips):
        ring = rings[-1 if end else 0]
        first = (num_rings - 1) * columns * end
        flat_from = sum(len(block) for block in uvs)
        if caps == "strip":
            faces.append(_strip_cap(first, columns, not end))
            uv_faces.append(_strip_cap(flat_from, columns, not end))
            uvs.append(_planar(ring, axes or _cap_axes(ring)))
            continue
        apex = ring.mean(axis=0) if tip is None else np.asarray(tip, float)
        faces.append(_fan(first, columns, num_rings * columns + end, not end))
        uv_faces.append(_fan(flat_from + 1, columns, flat_from, not end))
        vertices.append(apex[None])
        uvs.append(_planar(np.concatenate([apex[None], ring]), axes or _cap_axes(ring)))


def slab(
    outline: Array,
    base: float,
    thickness: float,
    material: str,
    *,
    bevel: float = 0.006,
    bottom_bevel: float | None = None,
    crown: float = 0.0,
    lift: Height | None = None,
    grain: str = "z",
) -> ProceduralPart:
    """A plate or cushion upwards from y = base, over an outline [K, 2] (x, z) that is star-shaped about its centroid.

    bevel: radius of the top edge (at most the thickness less the bottom's), meters; bottom_bevel: of the lower edge.
    crown: how far the top bulges in the middle. lift: extra height of the top at (x, z), for saddles and dishes.
    grain: the axis that the texture's v follows on top, "x" or "z".
    """
    low = min(bevel if bottom_bevel is None else bottom_bevel, thickness * 0.45)
    high = min(bevel, thickness - low)
    steps = np.linspace(0, np.pi / 2, 3 if high < 0.012 else 4)
    rings, heights, weight = [], [], []
    for angle in np.linspace(0, np.pi / 2, 2 if low < 0.012 else 3):
        rings.append(inset(outline, low * (1 - np.sin(angle))))
        heights.append(base + low * (1 - np.cos(angle)))
        weight.append(0.0)
    for angle in steps:
        rings.append(inset(outline, high * (1 - np.cos(angle))))
        heights.append(base + thickness - high * (1 - np.sin(angle)))
        weight.append(np.sin(angle) ** 2)
    rim, center = rings[-1], outline.mean(axis=0)
    inner = (0.82, 0.6, 0.32) if crown or lift else ()
    for scale in inner:
        rings.append(center + (rim - center) * scale)
        heights.append(base + thickness + crown * (1 - scale**2))
        weight.append(1.0)
    plan = np.stack(rings)
    level = np.broadcast_to(np.array(heights)[:, None], plan.shape[:2]).copy()
    tip = np.array([center[0], base + thickness + crown, center[1]])
    if lift is not None:
        level += np.array(weight)[:, None] * lift(plan[..., 0], plan[..., 1])
        tip[1] += float(lift(center[0], center[1]))
    x_axis, z_axis = np.array([1.0, 0, 0]), np.array([0, 0, 1.0])
    return loft(
        np.stack([plan[..., 0], level, plan[..., 1]], axis=-1),
        material,
        planar=(0, len(inner) + 1),
        axes=(x_axis, z_axis) if grain == "z" else (z_axis, x_axis),
        tips=(None, tip),
        grain_around=True,
    )


def path_frames(path: Array, reference: Sequence[float] | None) -> tuple[Array, Array, Array]:
    """Tangent, side and normal [P, 3] along a path. `side` stays near `reference`; None = parallel transport."""
    tangent = unit(np.gradient(path, axis=0))
    if reference is not None:
        side = np.asarray(reference, float) - (tangent @ np.asarray(reference, float))[:, None] * tangent
        side = unit(side)
        return tangent, side, np.cross(tangent, side)
    side = np.empty_like(tangent)
    start = np.eye(3)[np.argmin(np.abs(tangent[0]))]
    for i, direction in enumerate(tangent):
        start = start - (start @ direction) * direction
        start = start / np.linalg.norm(start)
        side[i] = start
    return tangent, side, np.cross(tangent, side)


def sweep(
    path: Array,
    half_sizes: Array | float | tuple[float, float],
    section: Array,
    material: str,
    *,
    reference: Sequence[float] | None = None,
    end: str = "bevel",
    bevel: float = 0.004,
) -> ProceduralPart:
    """A bar or tube along path [P, 3].

    half_sizes: a radius, the pair (half side, half normal), or those pairs [P, 2] along the path, meters.
    section: unit outline [K, 2] in (side, normal), within [−1, 1]. reference: direction kept by the section's side.
    end: "bevel" (a small chamfer inside the length) or "round" (a dome beyond it). bevel: the chamfer, meters.
    """
    path = np.asarray(path, float)
    half = np.broadcast_to(np.asarray(half_sizes, float), (len(path), 2)).astype(float)
    tangent, side, normal = path_frames(path, reference)
    rings = _section_rings(path, half, side, normal, section)
    ends = []
    for index, outward in ((0, -tangent[0]), (-1, tangent[-1])):
        size = half[index]
        if end == "round":
            angles = np.array([0.45, 0.85]) * np.pi / 2
            ends.append(
                [(path[index] + outward * size.min() * np.sin(angle), size * np.cos(angle)) for angle in angles]
            )
        else:
            ends.append([(path[index], np.maximum(size - bevel, size * 0.4))])
    if end != "round":
        rings[0] -= -tangent[0] * bevel
        rings[-1] -= tangent[-1] * bevel
    before = [_section_rings(p[None], s[None], side[:1], normal[:1], section)[0] for p, s in reversed(ends[0])]
    after = [_section_rings(p[None], s[None], side[-1:], normal[-1:], section)[0] for p, s in ends[1]]
    return loft(np.concatenate([np.stack(before), rings, np.stack(after)]), material)


def _section_rings(path: Array, half: Array, side: Array, normal: Array, section: Array) -> Array:
    across = section[None, :, :1] * half[:, None, :1] * side[:, None]
    return path[:, None] + across + section[None, :, 1:] * half[:, None, 1:] * normal[:, None]


def ring_tube(path: Array, radius: float, section: Array, material: str, reference: Sequence[float]) -> ProceduralPart:
    """A closed hoop along path [P, 3] (its last point is not repeated); `reference` is normal to its plane."""
    tangent = unit(np.roll(path, -1, axis=0) - np.roll(path, 1, axis=0))
    side = unit(np.broadcast_to(np.asarray(reference, float), tangent.shape).astype(float))
    half = np.full((len(path), 2), radius)
    return loft(_section_rings(path, half, side, np.cross(tangent, side), section), material, caps="none")


def lathe(
    profile: Sequence[tuple[float, float]] | Array,
    material: str,
    *,
    center: tuple[float, float] = (0.0, 0.0),
    segments: int = 20,
    flat_bands: tuple[int, int] = (0, 0),
) -> ProceduralPart:
    """A surface of revolution about the vertical through `center` (x, z); profile [S, 2] of (radius > 0, y).

    flat_bands: how many bands at the start and at the end have planar UVs (plates, discs).
    """
    table = np.asarray(profile, float)
    angle = np.arange(segments) * (2 * np.pi / segments)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    plan = table[:, None, :1] * circle[None] + np.asarray(center)
    height = np.broadcast_to(table[:, None, 1], plan.shape[:2])
    axes = (np.array([1.0, 0, 0]), np.array([0, 0, 1.0]))
    rings = np.stack([plan[..., 0], height, plan[..., 1]], axis=-1)
    return loft(rings, material, planar=flat_bands, axes=axes, even_columns=True)


def bent_plate(
    middle: Array, thickness: float | Array, material: str, *, end_reach: float = 0.7, flip_grain: bool = False
) -> ProceduralPart:
    """A bent plate with soft edges around a middle surface [R, C, 3]; thickness: meters, a number or [R, C].

    end_reach: how far the first and the last edge bulge, in half thicknesses (less for rounded outlines). The texture's
    v follows the direction of the rows (first index), or with flip_grain that of the columns.
    """
    middle = np.asarray(middle, float)
    right = np.gradient(middle, axis=1)
    # At rounded outlines, columns run along their rows. The mean direction of the rows does not.
    down = np.broadcast_to(np.gradient(middle.mean(axis=1), axis=0)[:, None], middle.shape)
    normal = unit(np.cross(right, down))
    half = np.broadcast_to(np.asarray(thickness, float), middle.shape[:2])[..., None] / 2
    outward = unit(right)
    reach = 0.7 * half
    first, last = middle[:, :1] - outward[:, :1] * reach[:, :1], middle[:, -1:] + outward[:, -1:] * reach[:, -1:]
    front, back = middle + normal * half, middle - normal * half
    rings = np.concatenate([front, last, back[:, ::-1], first], axis=1)
    columns = middle.shape[1]
    blend = np.concatenate([front, middle[:, -1:], back[:, ::-1], middle[:, :1]], axis=1)
    center = np.concatenate([middle, middle[:, -1:], middle[:, ::-1], middle[:, :1]], axis=1)
    caps = []
    for row, sign in ((0, -1.0), (-1, 1.0)):
        away = unit(np.concatenate([down[row], down[row, -1:], down[row, ::-1], down[row, :1]]))
        soft = center[row] + (blend[row] - center[row]) * 0.45
        caps.append(soft + sign * away * float(half[row].mean()) * end_reach)
    part = loft(np.concatenate([caps[0][None], rings, caps[1][None]]), material, caps="strip", anchor=columns // 2)
    if not flip_grain:
        return part
    return ProceduralPart(part.vertices, part.faces, part.uvs[:, ::-1].copy(), part.uv_faces, material)


def ellipsoid(
    center: Sequence[float], half: Sequence[float], material: str, *, square: float = 1.0, segments: int = 20
) -> ProceduralPart:
    """A superellipsoid with half sizes [3] in meters: square = 1 is an ellipsoid, 0.3 a rounded block."""
    around = np.arange(segments) * (2 * np.pi / segments)
    tilt = np.linspace(-np.pi / 2, np.pi / 2, max(segments // 2, 6) + 1)[1:-1]

    def power(value: Array) -> Array:
        return np.sign(value) * np.abs(value) ** square

    ring = np.stack([power(np.cos(around)), np.zeros(segments), power(np.sin(around))], axis=-1)
    scale = np.stack([power(np.cos(tilt))] * 3, axis=-1)[:, None]
    points = ring[None] * scale + np.stack([0 * tilt, power(np.sin(tilt)), 0 * tilt], axis=-1)[:, None]
    size, middle = np.asarray(half, float), np.asarray(center, float)
    up = np.array([0, size[1], 0])
    return loft(
        points * size + middle,
        material,
        even_columns=True,
        tips=(middle - up, middle + up),
    )
