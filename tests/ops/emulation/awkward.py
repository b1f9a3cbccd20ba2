"""Awkward inputs of every op with a CUDA kernel, by its folder in csrc. The CPU kernels give what is expected."""

from collections.abc import Callable, Iterator

from tests.ops.case import Case
from tests.ops.cases_geometry import GEOMETRY_CASES
from tests.ops.cases_surfaces import SURFACE_CASES
from tests.ops.emulation import mesh_inputs, network_inputs, raster_inputs, shading_inputs, silhouette_inputs
from tests.ops.emulation.inputs import DTYPES, Input


def _of_cases(cases: list[Case]) -> Iterator[Input]:
    """The generic tests' inputs, in sizes beyond a block too."""
    for case in cases:
        for dtype in DTYPES:
            for batch, width in ((1, 1), (3, 7), (2, 33), (3, 61)):
                label = f"{case.name} {dtype} {batch} {width}"
                yield Input(label, case.function, case.make(batch, width, dtype), case.gradients)


def _connected_vertices() -> Iterator[Input]:
    return _of_cases([case for case in GEOMETRY_CASES if case.name == "connected_vertices"])


def _flexicubes() -> Iterator[Input]:
    return _of_cases([case for case in SURFACE_CASES if case.name.startswith("flexicubes")])


INPUTS: dict[str, Callable[[], Iterator[Input]]] = {
    "antialias": raster_inputs.antialias_inputs,
    "bias_act": network_inputs.bias_act_inputs,
    "chamfer": network_inputs.chamfer_inputs,
    "connect_components": raster_inputs.connect_components_inputs,
    "connected_vertices": _connected_vertices,
    "environment_shading": shading_inputs.environment_shading_inputs,
    "face_neighbors": raster_inputs.face_neighbors_inputs,
    "flexicubes": _flexicubes,
    "interpolate": raster_inputs.interpolate_inputs,
    "lattice_mlp": network_inputs.lattice_mlp_inputs,
    "lfd_descriptor": silhouette_inputs.lfd_descriptor_inputs,
    "lfd_distance": network_inputs.lfd_distance_inputs,
    "marching_tets": raster_inputs.marching_tets_inputs,
    "point_mlp": network_inputs.point_mlp_inputs,
    "rasterize": raster_inputs.rasterize_inputs,
    "silhouettes": silhouette_inputs.silhouettes_inputs,
    "texture": raster_inputs.texture_inputs,
    "triplane_sample": network_inputs.triplane_sample_inputs,
    "upfirdn2d": network_inputs.upfirdn2d_inputs,
    "weighted_normals": mesh_inputs.weighted_normals_inputs,
}
