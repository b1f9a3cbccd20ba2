"""How well the built-in renderer agrees with model-viewer in headless Chromium on an exported GLB with PBR maps.

    npm pack @google/model-viewer && tar xzf google-model-viewer-*.tgz
    python -m studies.viewer_agreement --model-viewer package/dist/model-viewer.min.js --out out/viewer

A sphere with nine fields of metallic (0, 0.5, 1) and roughness (0.1, 0.5, 0.9) for each base color, under the room of
previews, with the tone curve of glTF viewers on both sides. PSNR: of sRGB values in the pixels that either covers.
Exit status 1 below the threshold. `viewer.png` has the built-in render, model-viewer's, and their difference times
four, side by side.
"""

import base64
import io
import math
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

import click
import numpy as np
import torch
from PIL import Image
from torch.nn import functional

from geometry.mesh import Mesh
from mesh_io.write import write_glb
from rendering.brdf import ShadingPoints
from rendering.camera import Cameras
from rendering.color import srgb_to_linear, straight_alpha
from rendering.deferred import composite, rasterize_mesh, towards_cameras, visible_attributes
from rendering.environment_file import write_environment
from rendering.environment_light import environment_light
from rendering.images import save_png
from rendering.procedural_light import preview_light
from rendering.tone_mapping import display_colors
from studies.material_agreement import COLOR, METALLIC, ROUGHNESS, sphere
from studies.renderer_agreement import foreground_psnr

MIN_PSNR = 25.0
SOFTWARE_GL = ["--no-sandbox", "--use-gl=angle", "--use-angle=swiftshader", "--enable-unsafe-swiftshader"]
DISTANCE, FOV_DEG = 2.6, 24.0
PAGE = """<!doctype html><html><body style="margin:0;background:transparent">
<script type="module">{script}</script>
<model-viewer id="v" style="width:{side}px;height:{side}px;background-color:transparent"
 environment-image="data:image/vnd.radiance;base64,{light}#.hdr" tone-mapping="neutral" exposure="1"
 camera-orbit="{azimuth}deg {polar}deg {distance}m" camera-target="0m 0m 0m"
 max-camera-orbit="auto auto 100m" field-of-view="{fov}deg" min-field-of-view="5deg" max-field-of-view="90deg"
 shadow-intensity="0" interaction-prompt="none" disable-zoom></model-viewer></body></html>"""

SHOW = """async (source) => {
  await customElements.whenDefined("model-viewer");
  const viewer = document.getElementById("v");
  const loaded = new Promise((resolve) => viewer.addEventListener("load", resolve, { once: true }));
  viewer.src = source;
  await loaded;
  viewer.jumpCameraToGoal();
  await new Promise((resolve) => setTimeout(resolve, 4000));
  return viewer.toDataURL("image/png");
}"""


def nine_spheres_mesh() -> Mesh:
    """Nine spheres as one mesh; a texture of 3 × 3 fields holds metallic and roughness."""
    vertices, faces = sphere(64)
    used, flat = np.unique(faces, return_inverse=True)
    vertices, faces = vertices[used], flat.reshape(-1, 3)
    points: list[np.ndarray] = []
    normals, uvs, triangles = [], [], []
    for row in range(3):
        for column in range(3):
            triangles.append(faces + sum(map(len, points)))
            points.append(vertices * 0.14 + np.array([(column - 1) * 0.31, (1 - row) * 0.31, 0]))
            normals.append(vertices)
            uvs.append(np.tile([(column + 0.5) / 3, (row + 0.5) / 3], (len(vertices), 1)))
    surface = torch.tensor([[[m, r] for r in ROUGHNESS] for m in METALLIC]).repeat_interleave(8, 0)
    float_arrays = [torch.from_numpy(np.concatenate(parts)).float() for parts in (points, normals, uvs)]
    return Mesh.single(
        float_arrays[0],
        torch.from_numpy(np.concatenate(triangles)),
        normals=float_arrays[1],
        uvs=float_arrays[2],
        textures={
            "base_color": torch.tensor(COLOR).expand(8, 8, 3),
            "metallic_roughness": surface.repeat_interleave(8, 1),
        },
    )


def our_image(mesh: Mesh, side: int) -> np.ndarray:
    """RGBA [R, R, 4] uint8 of the built-in renderer."""
    assert mesh.normals is not None and mesh.uvs is not None
    cameras = Cameras.orbit(torch.zeros(1), torch.zeros(1), DISTANCE, math.radians(FOV_DEG))
    raster = rasterize_mesh(mesh, cameras, side, supersample=2)
    position, normal, uv = visible_attributes(raster, torch.cat([mesh.vertices, mesh.normals, mesh.uvs], 1)).split(
        [3, 3, 2], 1
    )
    fields = (uv * 24).long()
    surface = mesh.textures["metallic_roughness"][fields[:, 1], fields[:, 0]]
    towards = functional.normalize(towards_cameras(raster, cameras, position), dim=1)
    base = srgb_to_linear(torch.tensor(COLOR)).expand_as(position)
    points = ShadingPoints(position, functional.normalize(normal, dim=1), towards, base, surface[:, :1], surface[:, 1:])
    colors = display_colors(environment_light(preview_light()).reflected(points), "neutral")
    return straight_alpha(*composite(raster, colors))[0].numpy()


def viewer_images(
    script: str,
    models: Sequence[bytes],
    light: bytes,
    side: int,
    chromium: str,
    azimuth_deg: float = 0.0,
    polar_deg: float = 90.0,
) -> Iterator[np.ndarray]:
    """RGBA [R, R, 4] uint8 of model-viewer for each GLB file; the camera looks at the origin."""
    from playwright.sync_api import sync_playwright

    page_text = PAGE.format(
        script=script.replace("</script", "<\\/script"),
        side=side,
        light=base64.b64encode(light).decode(),
        azimuth=azimuth_deg,
        polar=polar_deg,
        distance=DISTANCE,
        fov=FOV_DEG,
    )
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=SOFTWARE_GL)
        page = browser.new_page(viewport={"width": side, "height": side})
        page.set_default_timeout(540_000)
        page.set_content(page_text, wait_until="commit")
        for model in models:
            shot = page.evaluate(SHOW, f"data:model/gltf-binary;base64,{base64.b64encode(model).decode()}")
            yield np.asarray(Image.open(io.BytesIO(base64.b64decode(shot.split(",", 1)[1]))).convert("RGBA"))
        browser.close()


@click.command()
@click.option("--model-viewer", "script", type=click.Path(path_type=Path, exists=True), required=True)
@click.option("--side", default=256, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), required=True)
def main(script: Path, side: int, out: Path) -> None:
    """Print the PSNR and write the images."""
    torch.set_num_threads(1)
    chromium = os.environ.get("TETRAGAN_CHROMIUM") or shutil.which("chromium") or shutil.which("google-chrome")
    if chromium is None:
        raise click.ClickException("no Chromium (apt-get install chromium, or TETRAGAN_CHROMIUM)")
    out.mkdir(parents=True, exist_ok=True)
    mesh = nine_spheres_mesh()
    write_glb(out / "spheres.glb", mesh)
    write_environment(out / "room.hdr", preview_light())
    ours = our_image(mesh, side)
    files = [(out / name).read_bytes() for name in ("spheres.glb", "room.hdr")]
    theirs = next(viewer_images(script.read_text(encoding="utf-8"), files[:1], files[1], side, chromium))
    if theirs.shape != ours.shape:
        raise click.ClickException(f"model-viewer gave {theirs.shape[1]} × {theirs.shape[0]} px, not {side}²")
    psnr = foreground_psnr(ours[None], theirs[None])
    shown = [image[..., :3] * (image[..., 3:] / 255) for image in (ours, theirs)]
    row = np.concatenate([*shown, 4 * np.abs(shown[0] - shown[1])], 1)
    save_png(out / "viewer.png", row.clip(0, 255).astype(np.uint8))
    print(f"model-viewer  PSNR {psnr:.1f} dB")
    if psnr < MIN_PSNR:
        raise click.ClickException(f"below {MIN_PSNR} dB")


if __name__ == "__main__":
    main()
