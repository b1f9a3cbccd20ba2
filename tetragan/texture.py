"""`tetragan texture`: textures for one given mesh."""

from pathlib import Path

import click

from tetragan.options import PATH, quiet_option


@click.command()
@click.argument("mesh", type=PATH)
@click.option("--images", type=PATH, required=True, help="Folder with transforms.json and RGBA images of the object.")
@click.option("--out", type=PATH, required=True, help="A .glb file.")
@click.option("--project", is_flag=True, help="Only project the images onto the texture; do not fit it afterwards.")
@click.option("--light", help="The images are lit: studio or an environment file; also fits metallic and roughness.")
@click.option(
    "--parameterization",
    type=click.Choice(["maps", "field", "deep-image-prior"]),
    default="maps",
    show_default=True,
    help="What is optimized: texels, a tri-plane field, or a network that draws the texture.",
)
@click.option("--size", "size_px", type=click.IntRange(64, 4096), default=1024, show_default=True, help="Side, px.")
@click.option("--steps", type=click.IntRange(1, 100_000), default=300, show_default=True, help="One image each.")
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="Of the order of the images.")
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
@quiet_option
def texture(mesh: Path, images: Path, out: Path, overwrite: bool, quiet: bool, **options) -> None:
    """Give MESH textures that look like posed images of it.

    A GLB or glTF file keeps its vertices, normals, UVs, skin, morph targets, animations and node tree bit for bit; only
    its materials change. The images' alpha says where the object is. A mesh without UVs gets an atlas. The work is done
    on the CPU.
    """
    from torch_utils.progress import progress_bar
    from training.mesh_texture.fit import FitSettings
    from training.mesh_texture.write import texture_mesh

    if out.suffix.lower() != ".glb":
        raise click.UsageError(f"--out {out}: expected a name that ends in .glb")
    if out.exists() and not overwrite:
        raise click.UsageError(f"--out {out}: exists; add --overwrite, or give another name")
    if options["parameterization"] == "deep-image-prior" and options["size_px"] % 32:
        raise click.UsageError(f"--size {options['size_px']}: deep-image-prior needs a multiple of 32")
    project = options.pop("project")
    light = options.pop("light")
    settings = FitSettings(**options) if not project else FitSettings(size_px=options["size_px"], steps=0)
    with progress_bar("fitting", settings.steps, quiet=quiet) as advance:
        result = texture_mesh(mesh, images, out, settings, light=light, progress=advance)
    for note in result.notes:
        click.echo(f"note: {note}", err=True)
    click.echo(f"{out}: {result.psnr:.1f} dB against the images, {result.seen:.0%} of the texels seen")
