"""What tests ask about meshes: closedness, Euler number, volume, singular vertices."""

import numpy as np
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from geometry.mesh import Mesh
from geometry.topology import edge_counts


def is_watertight(mesh: Mesh) -> bool:
    """Whether one mesh has faces and every edge has exactly two, consistently wound."""
    return mesh.faces.shape[0] > 0 and edge_counts(mesh).closed


def euler_number(mesh: Mesh) -> int:
    """V − E + F of one mesh, over vertices with faces: 2 for each sphere, 0 for each torus."""
    return len(np.unique(mesh.faces.cpu().numpy())) - edge_counts(mesh).edges + mesh.faces.shape[0]


def singular_vertices(mesh: Mesh) -> int:
    """Vertices of one mesh whose faces do not form a single fan (two cones that meet in a point, for example)."""
    vertices, faces = mesh.vertices.detach().cpu().double().numpy(), mesh.faces.cpu().numpy().astype(np.int64)
    # Corners of one vertex are connected if their faces share an edge at it: one fan is one component.
    count = len(faces)
    corner = np.arange(3 * count).reshape(count, 3)
    sides = np.concatenate([np.stack([faces[:, k], faces[:, (k + 1) % 3]], -1) for k in range(3)])
    at_first = np.concatenate([corner[:, k] for k in range(3)])
    at_second = np.concatenate([corner[:, (k + 1) % 3] for k in range(3)])
    swap = sides[:, 0] > sides[:, 1]
    low, high = np.where(swap, at_second, at_first), np.where(swap, at_first, at_second)
    keys = sides.min(1) * max(len(vertices), 1) + sides.max(1)
    order = np.argsort(keys, kind="stable")
    same = keys[order][1:] == keys[order][:-1]
    left, right = order[:-1][same], order[1:][same]
    rows, columns = np.concatenate([low[left], high[left]]), np.concatenate([low[right], high[right]])
    graph = coo_matrix((np.ones(len(rows), np.int8), (rows, columns)), shape=(3 * count, 3 * count))
    fans = connected_components(graph, directed=False)[1]
    pairs = np.unique(np.stack([faces.ravel(), fans[corner.ravel()]], -1), axis=0)
    _, per_vertex = np.unique(pairs[:, 0], return_counts=True)
    return int((per_vertex > 1).sum())


def signed_volume(mesh: Mesh) -> float:
    """Volume that one closed mesh encloses, world units³; above 0 where the faces wind outward."""
    vertices, faces = mesh.vertices.detach().cpu().double().numpy(), mesh.faces.cpu().numpy().astype(np.int64)
    a, b, c = vertices[faces].transpose(1, 0, 2)
    return float((a * np.cross(b, c)).sum() / 6)
