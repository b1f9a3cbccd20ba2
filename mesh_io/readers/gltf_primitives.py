"""glTF primitives: attributes, Draco, strips and fans, morph targets and skins, as local triangles."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mesh_io.readers.gltf_document import Document, as_declared
from mesh_io.source_mesh import NO_NORMAL, unit_rows

Attributes = dict[str, NDArray]
# Numbers per vertex of the attributes that are read, by the start of their names.
WIDTHS = {"POSITION": (3,), "NORMAL": (3,), "TEXCOORD_": (2,), "COLOR_": (3, 4), "JOINTS_": (4,), "WEIGHTS_": (4,)}
PLACING = ("JOINTS_", "WEIGHTS_")


def read_primitive(
    document: Document, primitive: dict[str, Any], skinned: bool = False
) -> tuple[Attributes, NDArray[np.int64]] | None:
    """Attributes by name and triangles [F, 3], or None for points and lines.

    skinned: read joints and weights too. They and positions place the surface: a fault in them is an error. Any other
    attribute is left out, with a note.
    """
    mode = primitive.get("mode", 4)
    if mode in (0, 1, 2, 3):
        return None
    if mode not in (4, 5, 6):
        raise document.files.error(f"primitive mode {mode!r} is not a glTF mode")
    names: dict[str, int] = primitive.get("attributes", {})
    if "POSITION" not in names:
        return None
    decoded: Attributes = {}
    compressed = primitive.get("extensions", {}).get("KHR_draco_mesh_compression")
    if compressed is not None:
        decoded, faces = decode_draco(document, compressed)
    positions = _attribute(document, names, decoded, "POSITION")
    count = len(positions)
    if compressed is None:
        faces = triangles(_indices(document, primitive, count), mode)
    attributes = {"POSITION": positions}
    for name in names:
        if name.startswith(PLACING):
            if skinned:
                attributes[name] = _attribute(document, names, decoded, name, count)
        elif name == "NORMAL" or name.startswith(("TEXCOORD_", "COLOR_")):
            with document.files.optional(f"attribute {name} is not read"):
                attributes[name] = _attribute(document, names, decoded, name, count)
    return attributes, faces


def _attribute(
    document: Document, names: dict[str, int], decoded: Attributes, name: str, count: int | None = None
) -> NDArray:
    """One attribute, as its accessor declares it; UserError for another width or count than it needs."""
    if name in decoded:
        values = as_declared(document.item("accessors", names[name]), decoded[name])
    else:
        values = document.accessor(names[name])
    widths = next(allowed for start, allowed in WIDTHS.items() if name.startswith(start))
    if values.ndim != 2 or values.shape[1] not in widths:
        width = 1 if values.ndim == 1 else values.shape[1]
        expected = " or ".join(map(str, widths))
        raise document.files.error(f"attribute {name} has {width} numbers per vertex, expected {expected}")
    if count is not None and len(values) != count:
        raise document.files.error(f"attribute {name} has {len(values)} elements, POSITION {count}")
    if name.startswith("COLOR_") and values.dtype.kind in "iu":
        document.files.warn(f"{name} has integers that are not declared normalized; they are taken as if they were")
        values = values / np.float32(np.iinfo(values.dtype).max)
    return values


def _indices(document: Document, primitive: dict[str, Any], count: int) -> NDArray[np.int64]:
    if "indices" not in primitive:
        return np.arange(count)
    indices = document.accessor(primitive["indices"])
    if indices.ndim != 1 or indices.dtype.kind != "u":
        raise document.files.error("face indices are not unsigned integers")
    return indices.astype(np.int64)


def triangles(indices: NDArray[np.int64], mode: int) -> NDArray[np.int64]:
    """Triangles [F, 3] of an index list; mode 4 = list, 5 = strip, 6 = fan (glTF 2.0, section 3.7.2.1)."""
    if mode == 4:
        return indices[: len(indices) // 3 * 3].reshape(-1, 3)
    if len(indices) < 3:
        return np.zeros((0, 3), np.int64)
    if mode == 6:
        return np.stack([indices[1:-1], indices[2:], np.full(len(indices) - 2, indices[0])], axis=1)
    faces = np.stack([indices[:-2], indices[1:-1], indices[2:]], axis=1)
    faces[1::2] = faces[1::2, [0, 2, 1]]  # every other triangle of a strip is wound the other way
    return faces


def decode_draco(document: Document, extension: dict[str, Any]) -> tuple[Attributes, NDArray[np.int64]]:
    """Attributes by name, as they were encoded, and triangles [F, 3] of a Draco buffer (KHR_draco_mesh_compression).

    The triangles are a list whatever the primitive's mode: a strip is only another way to write them.
    """
    try:
        import DracoPy
    except ImportError:
        raise document.files.error("is Draco-compressed; to read it: pip install -c constraints.txt DracoPy") from None
    data, _ = document.view(extension["bufferView"])
    try:
        decoded = DracoPy.decode(bytes(data))
    except (DracoPy.FileTypeException, ValueError, RuntimeError) as error:
        raise document.files.error(f"its Draco data cannot be decoded ({error})") from None
    by_id = {attribute["unique_id"]: attribute["data"] for attribute in decoded.attributes}
    attributes: Attributes = {}
    for name, unique_id in extension["attributes"].items():
        if unique_id in by_id:
            values = np.asarray(by_id[unique_id])
            attributes[name] = values.reshape(len(values), -1)
        elif name == "POSITION" or name.startswith(PLACING):
            raise document.files.error(f"its Draco data has no attribute {unique_id} ({name})")
    if "POSITION" not in attributes:
        raise document.files.error("its Draco data has no positions")
    return attributes, np.asarray(decoded.faces).astype(np.int64).reshape(-1, 3)


def morph(
    document: Document, attributes: Attributes, targets: list[dict[str, int]], weights: list[float]
) -> Attributes:
    """Attributes with the morph targets added, at the file's default weights."""
    result = dict(attributes)
    for target, weight in zip(targets, weights, strict=False):
        if not weight:
            continue
        for name in sorted(set(target) & set(result)):
            if name == "POSITION":
                result[name] = _moved(document, result[name], target[name], float(weight))
            else:
                with document.files.optional(f"a morph target's {name} is not read"):
                    result[name] = _moved(document, result[name], target[name], float(weight))
    return result


def _moved(document: Document, values: NDArray, target: int, weight: float) -> NDArray[np.float64]:
    delta = document.accessor(target)
    if delta.shape != values.shape:
        raise document.files.error(f"a morph target has {len(delta)} elements, its primitive {len(values)}")
    return values.astype(np.float64) + weight * delta


def skin_matrices(document: Document, skin: dict[str, Any], globals_: dict[int, NDArray]) -> NDArray[np.float64]:
    """[J, 4, 4]: mesh space to world space for every joint, in the pose of the file's nodes."""
    joints = skin["joints"]
    missing = [joint for joint in joints if joint not in globals_]
    if missing:
        raise document.files.error(f"a skin refers to joint node {missing[0]}, which is not in the scene")
    world = np.stack([globals_[joint] for joint in joints])
    if "inverseBindMatrices" not in skin:
        return world
    inverse = document.accessor(skin["inverseBindMatrices"]).astype(np.float64).reshape(-1, 4, 4).transpose(0, 2, 1)
    if len(inverse) < len(joints):
        raise document.files.error(f"a skin has {len(joints)} joints and {len(inverse)} inverse bind matrices")
    return world @ inverse[: len(joints)]


def apply_skin(document: Document, attributes: Attributes, matrices: NDArray[np.float64]) -> Attributes:
    """Positions and normals moved by their joints (linear blend skinning); with all JOINTS_n, WEIGHTS_n sets."""
    total = np.zeros((len(attributes["POSITION"]), 4, 4))
    for number in range(8):
        joints, weights = attributes.get(f"JOINTS_{number}"), attributes.get(f"WEIGHTS_{number}")
        if joints is None or weights is None:
            break
        joints = joints.astype(np.int64)
        if joints.size and int(joints.max()) >= len(matrices):
            raise document.files.error(f"joint index {int(joints.max())} is out of range: {len(matrices)} joints")
        weights = np.nan_to_num(weights.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
        total += np.einsum("vk,vkij->vij", weights, matrices[joints])
    weight = total[:, 3, 3].copy()
    unbound = np.abs(weight) < 1e-6
    if unbound.any():
        document.files.warn(f"{int(unbound.sum())} skinned vertices have no joint weight; they follow the first joint")
        total[unbound], weight[unbound] = matrices[0], matrices[0, 3, 3]
    total /= weight[:, None, None]
    result = dict(attributes)
    position = attributes["POSITION"].astype(np.float64)
    result["POSITION"] = np.einsum("vij,vj->vi", total[:, :3, :3], position) + total[:, :3, 3]
    if "NORMAL" in attributes:
        normals = np.einsum("vij,vj->vi", total[:, :3, :3], attributes["NORMAL"].astype(np.float64))
        result["NORMAL"] = unit_rows(normals, NO_NORMAL)
    return result
