"""glTF primitives: attributes, Draco, strips and fans, morph targets and skins, as local triangles."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mesh_io.readers.gltf_document import Document
from mesh_io.source_mesh import unit_rows

Attributes = dict[str, NDArray]


def read_primitive(document: Document, primitive: dict[str, Any]) -> tuple[Attributes, NDArray[np.int64]] | None:
    """Attributes by name and triangles [F, 3], or None for points and lines."""
    mode = primitive.get("mode", 4)
    if mode in (0, 1, 2, 3):
        return None
    if mode not in (4, 5, 6):
        raise document.files.error(f"primitive mode {mode!r} is not a glTF mode")
    compressed = primitive.get("extensions", {}).get("KHR_draco_mesh_compression")
    if compressed is not None:
        attributes, indices = decode_draco(document, compressed)
    else:
        names = primitive["attributes"]
        if "POSITION" not in names:
            return None
        attributes = {name: document.accessor(index) for name, index in names.items()}
        indices = _indices(document, primitive, len(attributes["POSITION"]))
    count = len(attributes["POSITION"])
    if attributes["POSITION"].ndim != 2 or attributes["POSITION"].shape[1] != 3:
        raise document.files.error("a POSITION attribute does not have three numbers per vertex")
    short = [name for name, values in attributes.items() if len(values) != count]
    if short:
        raise document.files.error(f"attribute {short[0]} has {len(attributes[short[0]])} elements, POSITION {count}")
    return attributes, triangles(indices, mode)


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
    """Attributes and flat indices of a Draco buffer (KHR_draco_mesh_compression)."""
    try:
        import DracoPy
    except ImportError:
        raise document.files.error("is Draco-compressed; to read it: pip install DracoPy") from None
    data, _ = document.view(extension["bufferView"])
    try:
        decoded = DracoPy.decode(bytes(data))
    except (DracoPy.FileTypeException, ValueError, RuntimeError) as error:
        raise document.files.error(f"its Draco data cannot be decoded ({error})") from None
    by_id = {attribute["unique_id"]: attribute["data"] for attribute in decoded.attributes}
    attributes: Attributes = {}
    for name, unique_id in extension["attributes"].items():
        if unique_id not in by_id:
            raise document.files.error(f"its Draco data has no attribute {unique_id} ({name})")
        attributes[name] = np.asarray(by_id[unique_id])
    if "POSITION" not in attributes:
        raise document.files.error("its Draco data has no positions")
    return attributes, np.asarray(decoded.faces).astype(np.int64).reshape(-1)


def morph(
    document: Document, attributes: Attributes, targets: list[dict[str, int]], weights: list[float]
) -> Attributes:
    """Attributes with the morph targets added, at the file's default weights."""
    result = dict(attributes)
    for target, weight in zip(targets, weights, strict=False):
        if not weight:
            continue
        for name in ("POSITION", "NORMAL"):
            if name in target and name in result:
                delta = document.accessor(target[name])
                if delta.shape != result[name].shape:
                    raise document.files.error(f"a morph target's {name} does not fit its primitive")
                result[name] = result[name].astype(np.float64) + float(weight) * delta
    return result


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
        result["NORMAL"] = unit_rows(np.einsum("vij,vj->vi", total[:, :3, :3], attributes["NORMAL"].astype(np.float64)))
    return result
