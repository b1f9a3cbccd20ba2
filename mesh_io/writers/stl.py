"""An `ExportMesh` as the bytes of a binary STL file."""

import numpy as np

from mesh_io.writers.export_mesh import ExportMesh


def stl_bytes(mesh: ExportMesh, name: str) -> bytes:
    """The file's bytes, in the units and axes of the mesh. `name` goes to the header."""
    corners = mesh.vertices[mesh.faces]
    normals = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0]).astype(np.float64)
    length = np.linalg.norm(normals, axis=1, keepdims=True)
    table = np.zeros(len(corners), [("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
    table["normal"], table["corners"] = np.where(length > 0, normals / np.where(length > 0, length, 1), 0), corners
    # A header that starts with "solid" would be taken for the text format.
    header = f"TetraGAN {name}".encode("ascii", "replace")[:80].ljust(80)
    return header + np.uint32(len(corners)).astype("<u4").tobytes() + table.tobytes()
