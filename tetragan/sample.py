"""`tetragan generate` and `tetragan interpolate`."""

from pathlib import Path
from typing import Any

import click


def seeds_option(default: str):
    """The --seeds option."""
    return click.option("--seeds", default=default, show_default=True, help="Numbers and ranges, e.g. 0-15,20.")


network_option = click.option(
    "--network", required=True, help="A network file, a folder that holds one, or a shipped one's name."
)
truncation_option = click.option(
    "--truncation",
    type=click.FloatRange(0, 2),
    default=0.7,
    show_default=True,
    help="ψ: 1 = all variety, 0 = the mean.",
)
out_option = click.option(
    "--out", type=click.Path(path_type=Path, file_okay=False), required=True, help="Output folder."
)
unlit_option = click.option(
    "--unlit", is_flag=True, help="Draw the network's colors as they are, on black; default: in a light, on light gray."
)
device_option = click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda or cuda:N.")


def _look(header: dict[str, Any], unlit: bool) -> dict[str, Any]:
    """Shading and background of the images, for `render_styles`."""
    from rendering.images import BLACK_BACKGROUND
    from sampling.generate import preview_shading

    if unlit:
        return {"shading": "albedo", "background": BLACK_BACKGROUND}
    return {"shading": preview_shading(header.get("shading"))}


@click.command()
@network_option
@seeds_option("0-15")
@truncation_option
@out_option
@click.option(
    "--format",
    "file_format",
    type=click.Choice(["glb", "obj", "usdz", "none"]),
    default="glb",
    show_default=True,
    help="Of the meshes.",
)
@click.option(
    "--texture-size", type=click.IntRange(64, 8192), default=1024, show_default=True, help="Texture side, px."
)
@click.option("--resolution", type=click.IntRange(16, 2048), default=None, help="Image side, px; default 2 × trained.")
@unlit_option
@device_option
def generate(
    network: str,
    seeds: str,
    truncation: float,
    out: Path,
    file_format: str,
    texture_size: int,
    resolution: int | None,
    unlit: bool,
    device: str,
) -> None:
    """Sample textured meshes: `samples.png` and one mesh a seed."""
    from networks.pretrained import load_generator_file
    from rendering.camera import GRID_AZIMUTH_DEG, orbit_cameras
    from rendering.images import grid, save_png
    from sampling.generate import export_meshes, render_styles, styles
    from sampling.latents import parse_seeds
    from torch_utils.devices import pick_device
    from torch_utils.progress import progress_bar

    seed_list = parse_seeds(seeds)
    target = pick_device(device)
    generator, file = load_generator_file(network, target)
    out.mkdir(parents=True, exist_ok=True)
    w_geo, w_tex = styles(generator, seed_list, truncation, target)
    side = resolution or 2 * generator.config.data.resolution
    look = _look(file.header, unlit)
    images = render_styles(generator, w_geo, w_tex, orbit_cameras([GRID_AZIMUTH_DEG]), side, **look)
    save_png(out / "samples.png", grid(images[:, 0]))
    click.echo(f"{out / 'samples.png'}: {len(seed_list)} samples, truncation {truncation:g}, {side} px")
    if file_format == "none":
        return
    with progress_bar("meshes", len(seed_list)) as advance:
        files, empty = export_meshes(
            generator,
            seed_list,
            truncation,
            out,
            file_format=file_format,
            texture_size_px=texture_size,
            unlit=file.header.get("shading", "albedo") != "albedo",
            progress=advance,
        )
    click.echo(f"{out}: {len(files)} textured meshes ({file_format})")
    if empty:
        click.echo(f"No surface for seeds {', '.join(map(str, empty))}: no mesh was written for them.", err=True)


@click.command()
@network_option
@seeds_option("0-3")
@truncation_option
@out_option
@click.option("--steps", type=click.IntRange(2, 240), default=8, show_default=True, help="Images from seed to seed.")
@click.option("--resolution", type=click.IntRange(16, 2048), default=None, help="Image side, px; default 2 × trained.")
@unlit_option
@device_option
def interpolate(
    network: str,
    seeds: str,
    truncation: float,
    out: Path,
    steps: int,
    resolution: int | None,
    unlit: bool,
    device: str,
) -> None:
    """Walk from each seed to the next: `interpolation.png`, one row a pair of seeds."""
    import torch

    from networks.pretrained import load_generator_file
    from rendering.camera import GRID_AZIMUTH_DEG, orbit_cameras
    from rendering.images import grid, save_png
    from sampling.generate import render_styles
    from sampling.latents import latents, parse_seeds, spherical_path
    from torch_utils.devices import pick_device

    seed_list = parse_seeds(seeds)
    if len(seed_list) < 2:
        raise click.UsageError(f"--seeds {seeds}: expected at least two seeds to walk between, e.g. --seeds 0-3")
    target = pick_device(device)
    generator, file = load_generator_file(network, target)
    z_geo, z_tex = latents(seed_list, generator.config.mapping.z_dim, target)
    pairs = range(len(seed_list) - 1)
    classes = generator.config.classes
    # A conditional network stays in the class of the first seed: between two classes there is no path.
    labels = torch.full((len(pairs) * steps,), seed_list[0] % classes, device=target) if classes else None
    with torch.no_grad():
        w_geo, w_tex = generator.map(
            torch.cat([spherical_path(z_geo[i], z_geo[i + 1], steps) for i in pairs]),
            torch.cat([spherical_path(z_tex[i], z_tex[i + 1], steps) for i in pairs]),
            truncation=truncation,
            labels=labels,
        )
    side = resolution or 2 * generator.config.data.resolution
    look = _look(file.header, unlit)
    images = render_styles(generator, w_geo, w_tex, orbit_cameras([GRID_AZIMUTH_DEG]), side, **look)
    save_png(out / "interpolation.png", grid(images[:, 0], columns=steps))
    click.echo(f"{out / 'interpolation.png'}: {len(pairs)} walks of {steps} steps, truncation {truncation:g}")
