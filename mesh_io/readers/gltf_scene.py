"""Where the nodes of a glTF scene graph stand: scenes, the node tree, and instances of a mesh."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mesh_io.readers.gltf_document import Document
from torch_utils.errors import UserError

INSTANCING = "EXT_mesh_gpu_instancing"


def scene_roots(document: Document) -> list[int]:
    """The root nodes of the scenes that are to be shown.

    That is the default scene, or without a default all scenes, or all nodes without a parent if there are no scenes. A
    default scene without meshes gives way to the scenes that have some, with a note.
    """
    scenes = document.json.get("scenes", [])
    if not scenes:
        nodes = document.json.get("nodes", [])
        children = {child for node in nodes for child in node.get("children", [])}
        roots = [index for index in range(len(nodes)) if index not in children]
        if nodes and not roots:
            raise document.files.error("every node is the child of another: the node graph has a cycle")
        return roots
    numbers = list(range(len(scenes)))
    if "scene" in document.json:
        default = document.json["scene"]
        roots = list(document.item("scenes", default).get("nodes", []))
        if has_meshes(document, roots):
            return roots
        numbers = [number for number in numbers if has_meshes(document, scenes[number].get("nodes", []))]
        if not numbers:
            return roots
        shown = ", ".join(map(str, numbers))
        document.files.warn(f"its default scene {default} has no meshes; read instead: scene {shown}")
    return [root for number in numbers for root in scenes[number].get("nodes", [])]


def has_meshes(document: Document, roots: list[int]) -> bool:
    """Whether a node at or below `roots` has a mesh."""
    waiting, seen = list(roots), set()
    while waiting:
        index = waiting.pop()
        node = document.item("nodes", index)
        if "mesh" in node:
            return True
        if index not in seen:
            seen.add(index)
            waiting += node.get("children", [])
    return False


def node_places(document: Document, roots: list[int]) -> tuple[dict[int, NDArray[np.float64]], set[int]]:
    """World matrix [4, 4] of every node at or below `roots`, in the order of a walk, and which nodes are hidden.

    A node that is listed several times in one place counts once; a root that is also a child stands below its parent.
    UserError for a cycle, and for a node with two parents: it has two places, which glTF does not allow.
    """
    parents, reached = _parents(document, roots)
    placed: dict[int, NDArray[np.float64]] = {}
    hidden: set[int] = set()
    waiting = [index for index in dict.fromkeys(reversed(roots)) if index not in parents]
    while waiting:
        index = waiting.pop()
        node = document.item("nodes", index)
        above = parents.get(index)
        placed[index] = node_matrix(node) if above is None else placed[above] @ node_matrix(node)
        visibility = node.get("extensions", {}).get("KHR_node_visibility", {})
        if above in hidden or visibility.get("visible") is False:
            hidden.add(index)
        waiting += reversed(_children(document, index))
    if len(placed) < len(reached):
        raise _cycle(document, next(index for index in reached if index not in placed))
    return placed, hidden


def _children(document: Document, index: int) -> list[int]:
    return list(dict.fromkeys(document.item("nodes", index).get("children", [])))


def _parents(document: Document, roots: list[int]) -> tuple[dict[int, int], dict[int, None]]:
    """The parent of every node at or below `roots` that has one, and all of these nodes."""
    parents: dict[int, int] = {}
    reached: dict[int, None] = {}
    waiting = list(roots)
    while waiting:
        index = waiting.pop()
        if index in reached:
            continue
        reached[index] = None
        for child in _children(document, index):
            if parents.setdefault(child, index) != index:
                if _is_below(parents, index, child):
                    raise _cycle(document, child)
                places = f"under node {parents[child]} and under node {index}"
                raise document.files.error(f"node {child} has two places, {places}")
            waiting.append(child)
    return parents, reached


def _cycle(document: Document, index: int) -> UserError:
    return document.files.error(f"node {index} is below itself: the node graph has a cycle")


def _is_below(parents: dict[int, int], index: int, other: int) -> bool:
    """Whether node `index` is below node `other`."""
    seen: set[int] = set()
    while index in parents and index not in seen:
        seen.add(index)
        index = parents[index]
        if index == other:
            return True
    return False


def node_matrix(node: dict[str, Any]) -> NDArray[np.float64]:
    """A node's local 4×4: its matrix (column-major in the file) or translation · rotation (x, y, z, w) · scale.

    ValueError for one that is not made of finite numbers, as many as it needs.
    """
    if "matrix" in node:
        return _numbers(node, "matrix", np.eye(4).reshape(-1)).reshape(4, 4).T
    parts = (("translation", (0, 0, 0)), ("rotation", (0, 0, 0, 1)), ("scale", (1, 1, 1)))
    return placing_matrices(*(_numbers(node, name, usual)[None] for name, usual in parts))[0]


def _numbers(node: dict[str, Any], name: str, usual: Sequence[float] | NDArray) -> NDArray[np.float64]:
    """A list of numbers of a node, `usual` where it has none."""
    values = np.asarray(node.get(name, usual), dtype=np.float64)
    if values.shape != (len(usual),) or not np.isfinite(values).all():
        raise ValueError(f"the {name} of a node is not {len(usual)} finite numbers")
    return values


def instance_matrices(document: Document, index: int, node: dict[str, Any]) -> NDArray[np.float64] | None:
    """Local matrices [N, 4, 4] of the instances of a node's mesh (EXT_mesh_gpu_instancing); None without them."""
    extension = node.get("extensions", {}).get(INSTANCING)
    if extension is None:
        return None
    attributes = {name: document.accessor(accessor) for name, accessor in extension["attributes"].items()}
    counts = {len(values) for values in attributes.values()}
    if len(counts) > 1:
        listed = ", ".join(f"{name} {len(values)}" for name, values in attributes.items())
        raise document.files.error(f"the instances of node {index} differ in number: {listed}")
    count = counts.pop() if counts else 1
    defaults = {"TRANSLATION": (0.0, 0.0, 0.0), "ROTATION": (0.0, 0.0, 0.0, 1.0), "SCALE": (1.0, 1.0, 1.0)}
    parts = []
    for name, default in defaults.items():
        values = attributes.get(name, np.tile(default, (count, 1))).astype(np.float64)
        if values.shape != (count, len(default)):
            raise document.files.error(
                f"the instances of node {index}: {name} does not have {len(default)} numbers each"
            )
        parts.append(values)
    return placing_matrices(*parts)


def placing_matrices(
    translation: NDArray[np.float64], rotation: NDArray[np.float64], scale: NDArray[np.float64]
) -> NDArray[np.float64]:
    """[N, 4, 4]: translation [N, 3] · rotation [N, 4] (quaternion x, y, z, w) · scale [N, 3]."""
    x, y, z, w = rotation.T
    norm = (rotation * rotation).sum(1)
    s = np.where(norm > 0, 2 / np.where(norm > 0, norm, 1), 0.0)
    matrices = np.zeros((len(translation), 4, 4))
    matrices[:, 0, :3] = np.stack([1 - s * (y * y + z * z), s * (x * y - z * w), s * (x * z + y * w)], 1)
    matrices[:, 1, :3] = np.stack([s * (x * y + z * w), 1 - s * (x * x + z * z), s * (y * z - x * w)], 1)
    matrices[:, 2, :3] = np.stack([s * (x * z - y * w), s * (y * z + x * w), 1 - s * (x * x + y * y)], 1)
    matrices[:, :3, :3] *= scale[:, None, :]
    matrices[:, :3, 3] = translation
    matrices[:, 3, 3] = 1
    return matrices
