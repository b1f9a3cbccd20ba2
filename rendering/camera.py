"""All camera conventions (explained in docs/conventions.md).

World: right-handed, +Y up, the object's front towards +Z. Camera: OpenGL, looks down its −Z axis with +Y up.
Clip space: `projection()` negates y, so NDC y = −1 is the image's top and row 0 of every image is the top row.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from torch_utils.devices import upload

# The camera of image grids sees a shape a little from the right and from above.
GRID_AZIMUTH_DEG = 35.0
GRID_ELEVATION_DEG = 20.0


@dataclass(frozen=True)
class Cameras:
    """N pinhole cameras.

    camera_to_world [N, 4, 4]: rigid, OpenGL axes. focal [N, 2]: focal length (x, y) in half images: 1 / tan(fov / 2).
    principal [N, 2]: principal point in NDC, x right, y *down*, (0, 0) = the center.
    near, far: clip distances, world units.
    """

    camera_to_world: Tensor
    focal: Tensor
    principal: Tensor
    near: float = 0.1
    far: float = 10.0

    @staticmethod
    def orbit(
        azimuth_rad: Tensor,
        elevation_rad: Tensor,
        radius: Tensor | float,
        fov_y_rad: Tensor | float,
        near: float = 0.1,
        far: float = 10.0,
    ) -> "Cameras":
        """Cameras that look at the origin from r·(cos e·sin a, sin e, cos e·cos a); square images.

        azimuth_rad, elevation_rad [N]: azimuth 0 sees the front (+Z); it increases counter-clockwise seen from above.
        radius, fov_y_rad: [N] or one number, world units and radians.
        """
        a, e = torch.broadcast_tensors(azimuth_rad, elevation_rad)
        radius = torch.as_tensor(radius, dtype=a.dtype, device=a.device).expand_as(a)
        fov = torch.as_tensor(fov_y_rad, dtype=a.dtype, device=a.device).expand_as(a)
        backward = torch.stack([e.cos() * a.sin(), e.sin(), e.cos() * a.cos()], -1)
        # The right axis follows from the azimuth, so it is defined at the poles, where a cross product with +Y is not.
        right = torch.stack([a.cos(), torch.zeros_like(a), -a.sin()], -1)
        up = torch.linalg.cross(backward, right)
        pose = torch.zeros(*a.shape, 4, 4, dtype=a.dtype, device=a.device)
        pose[..., :3, :] = torch.stack([right, up, backward, backward * radius[..., None]], -1)
        pose[..., 3, 3] = 1
        focal = (1 / torch.tan(fov / 2))[..., None].expand(*a.shape, 2)
        return Cameras(pose, focal, torch.zeros_like(focal), near, far)

    def __len__(self) -> int:
        return self.camera_to_world.shape[0]

    def __getitem__(self, index) -> "Cameras":
        """The cameras selected by a slice, a list or an index tensor (an int keeps the batch dimension)."""
        if isinstance(index, int):
            index = slice(index, index + 1) if index != -1 else slice(-1, None)
        return Cameras(self.camera_to_world[index], self.focal[index], self.principal[index], self.near, self.far)

    @staticmethod
    def cat(cameras: Sequence["Cameras"]) -> "Cameras":
        """Concatenated cameras. near and far are those of the first."""
        return Cameras(
            torch.cat([c.camera_to_world for c in cameras]),
            torch.cat([c.focal for c in cameras]),
            torch.cat([c.principal for c in cameras]),
            cameras[0].near,
            cameras[0].far,
        )

    def to(self, device: torch.device | str) -> "Cameras":
        """A copy on `device`."""
        pose, focal, principal = (upload(part, device) for part in (self.camera_to_world, self.focal, self.principal))
        return Cameras(pose, focal, principal, self.near, self.far)

    def azimuth_rad(self) -> Tensor:
        """Azimuth of the camera's position [N], in (−π, π]: the inverse of `orbit`."""
        position = self.position()
        return torch.atan2(position[:, 0], position[:, 2])

    def elevation_rad(self) -> Tensor:
        """Elevation of the camera's position [N], in [−π/2, π/2]."""
        position = self.position()
        return torch.atan2(position[:, 1], torch.hypot(position[:, 0], position[:, 2]))

    def position(self) -> Tensor:
        """Camera centers in the world [N, 3]."""
        return self.camera_to_world[:, :3, 3]

    def view(self) -> Tensor:
        """World to camera [N, 4, 4] (column vectors: p_camera = view @ p_world)."""
        rotation = self.camera_to_world[:, :3, :3].transpose(1, 2)
        translation = -(rotation @ self.camera_to_world[:, :3, 3:])
        bottom = torch.zeros(len(self), 1, 4, dtype=rotation.dtype, device=rotation.device)
        bottom[:, :, 3] = 1
        return torch.cat([torch.cat([rotation, translation], 2), bottom], 1)

    def projection(self) -> Tensor:
        """Camera to clip [N, 4, 4]; y is negated, so row 0 is the image's top; z/w runs from −1 (near) to 1 (far)."""
        matrix = torch.zeros(len(self), 4, 4, dtype=self.focal.dtype, device=self.focal.device)
        matrix[:, 0, 0] = self.focal[:, 0]
        matrix[:, 1, 1] = -self.focal[:, 1]
        matrix[:, :2, 2] = -self.principal
        matrix[:, 2, 2] = -(self.far + self.near) / (self.far - self.near)
        matrix[:, 2, 3] = -2 * self.far * self.near / (self.far - self.near)
        matrix[:, 3, 2] = -1
        return matrix

    def world_to_clip(self) -> Tensor:
        """World to clip [N, 4, 4]."""
        return self.projection() @ self.view()

    def ray_directions(self, points: Tensor) -> Tensor:
        """Directions [N, …, 3] in the world of the rays through points [N, …, 2] of each image: NDC, x right, y down.

        Their depth along the camera's axis is 1.
        """
        shape = (len(self), *[1] * (points.dim() - 2), 2)
        right, down = ((points - self.principal.view(shape)) / self.focal.view(shape)).unbind(-1)
        local = torch.stack([right, -down, -torch.ones_like(right)], -1)
        return torch.einsum("nij,n...j->n...i", self.camera_to_world[:, :3, :3], local)

    def transform_packed(self, vertices: Tensor, vertex_offsets: Tensor) -> Tensor:
        """Clip-space positions of a packed batch of B shapes, each seen by N / B cameras in a row.

        vertices [ΣV, 3]; vertex_offsets [B + 1] int64 on the CPU. Camera n sees shape n // (N / B). Returns
        [ΣV·N/B, 4]: the vertices of image 0, then those of image 1, and so on. One matrix product per shape avoids
        gathering a 4×4 matrix for each vertex.
        """
        shapes = vertex_offsets.shape[0] - 1
        if shapes == 0 or len(self) % shapes:
            raise ValueError(f"transform_packed(): expected a multiple of {shapes} cameras, got {len(self)}")
        # p_clip = p_world @ linear + shift, with row vectors.
        matrices = self.world_to_clip().to(vertices.dtype).transpose(1, 2)
        matrices = matrices.reshape(shapes, -1, 4, 4)
        views = matrices.shape[1]
        clip = []
        for part, matrix in zip(vertices.split(vertex_offsets.diff().tolist()), matrices.unbind(), strict=True):
            if views == 1:
                clip.append(torch.addmm(matrix[0, 3], part, matrix[0, :3]))
            else:
                clip.append(torch.baddbmm(matrix[:, 3:], part.expand(views, -1, 3), matrix[:, :3]).flatten(0, 1))
        return torch.cat(clip)


def fov_from_sensor(sensor_mm: float, lens_mm: float) -> float:
    """Field of view in radians: 2·atan(sensor / (2·lens)). GET3D's 32 mm sensor and 35 mm lens give 49.13°."""
    return 2 * math.atan(sensor_mm / (2 * lens_mm))


def orbit_cameras(
    azimuths_deg: Sequence[float], elevation_deg: float = GRID_ELEVATION_DEG, radius: float = 1.2
) -> Cameras:
    """Cameras around the object at one elevation, with GET3D's lens (32 mm sensor, 35 mm focal length)."""
    azimuth = torch.deg2rad(torch.tensor(list(azimuths_deg), dtype=torch.float32))
    elevation = torch.full_like(azimuth, math.radians(elevation_deg))
    return Cameras.orbit(azimuth, elevation, radius, fov_from_sensor(32, 35))
