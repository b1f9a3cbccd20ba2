"""Awkward inputs of every op with a CUDA kernel, by its folder in csrc. The CPU kernels give what is expected."""

from collections.abc import Callable, Iterator

from tests.ops.emulation import network_inputs, raster_inputs
from tests.ops.emulation.inputs import Input

INPUTS: dict[str, Callable[[], Iterator[Input]]] = {
    "antialias": raster_inputs.antialias_inputs,
    "bias_act": network_inputs.bias_act_inputs,
    "chamfer": network_inputs.chamfer_inputs,
    "connect_components": raster_inputs.connect_components_inputs,
    "face_neighbors": raster_inputs.face_neighbors_inputs,
    "interpolate": raster_inputs.interpolate_inputs,
    "lattice_mlp": network_inputs.lattice_mlp_inputs,
    "lfd_distance": network_inputs.lfd_distance_inputs,
    "marching_tets": raster_inputs.marching_tets_inputs,
    "point_mlp": network_inputs.point_mlp_inputs,
    "rasterize": raster_inputs.rasterize_inputs,
    "silhouettes": network_inputs.silhouettes_inputs,
    "texture": raster_inputs.texture_inputs,
    "triplane_sample": network_inputs.triplane_sample_inputs,
    "upfirdn2d": network_inputs.upfirdn2d_inputs,
}
