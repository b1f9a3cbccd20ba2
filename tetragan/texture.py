"""`tetragan texture`: textures for one given mesh."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import click

from tetragan.options import PATH, quiet_option

OF_WORDS = ("method", "source", "scale", "view_words")


@click.command()
@click.argument("mesh", type=PATH)
@click.option("--images", type=PATH, help="Folder with transforms.json and RGBA images of the object.")
@click.option(
    "--prompt", help='Words instead of images, such as "a chair of dark wood"; with --photos, what they show.'
)
@click.option(
    "--photos",
    type=PATH,
    help="Folder of 3 to 5 images of another object, whose look the mesh gets. They need alpha or a plain background.",
)
@click.option(
    "--photo-steps",
    type=click.IntRange(1, 100_000),
    help="Steps in which the prior learns the photos.  [default: 400 for priors of 256 px and more, else 200]",
)
@click.option(
    "--prior",
    help="Folder of a diffusion model in the form of diffusers, or the name of an included prior, for --prompt."
    "  [default: pixel]",
)
@click.option(
    "--controlnet", type=PATH, help="Folder of a ControlNet for the prior, which is shown the mesh's normals."
)
@click.option(
    "--view-words/--no-view-words",
    default=None,
    help="Say in the prompt from where an image is seen.  [default: for priors of 256 px and more]",
)
@click.option("--out", type=PATH, required=True, help="The .glb file to write.")
@click.option("--project", is_flag=True, help="Only project the images onto the texture; do not fit it afterwards.")
@click.option(
    "--method",
    type=click.Choice(["sds", "dds", "pgsd"]),
    help="How the prior guides; pgsd is for --photos."
    "  [default: sds for priors of 256 px and more, else dds; with --photos, pgsd or dds]",
)
@click.option("--source", help='What the plain mesh is called, for dds.  [default: "a gray object"]')
@click.option(
    "--guidance-scale",
    "scale",
    type=click.FloatRange(0),
    help="How much the words of --prompt, or the photos, count; a smaller scale saturates less."
    "  [default: 100 for sds, 2.5 for dds; with --photos, 1 for pgsd, else 2.5]",
)
@click.option("--light", help="The images are lit: studio or an environment file; also fits metallic and roughness.")
@click.option(
    "--parameterization",
    type=click.Choice(["maps", "field", "deep-image-prior"]),
    help="What is optimized: texels, a tri-plane field, or a network that draws the texture."
    "  [default: maps; field with --prompt]",
)
@click.option(
    "--size", "size_px", type=click.IntRange(64, 4096), default=1024, show_default=True, help="Side of a texture, px."
)
@click.option("--steps", type=click.IntRange(1, 100_000), help="Steps of the optimizer.  [default: 300]")
@click.option(
    "--seed",
    type=click.IntRange(0, 2**31 - 1),
    default=0,
    show_default=True,
    help="Seed of cameras, lights and the order of images.",
)
@click.option("--overwrite", is_flag=True, help="Replace an existing file.")
@quiet_option
def texture(mesh: Path, out: Path, overwrite: bool, quiet: bool, **options) -> None:
    """Give MESH textures that look like posed images of it, as a prompt says, or like photos of another object.

    A GLB or glTF file keeps its vertices, normals, UVs, skin, morph targets, animations and node tree bit for bit; only
    its materials change. The images' alpha says where the object is. A mesh without UVs gets an atlas. The work is done
    on the CPU.
    """
    _check_options(options)
    if out.suffix.lower() != ".glb":
        raise click.UsageError(f"--out {out}: expected a name that ends in .glb")
    if out.exists() and not overwrite:
        raise click.UsageError(f"--out {out}: exists; add --overwrite, or give another name")
    if options["parameterization"] == "deep-image-prior" and (options["size_px"] < 64 or options["size_px"] % 32):
        raise click.UsageError(f"--size {options['size_px']}: deep-image-prior needs a multiple of 32")
    chosen = {name: options[name] for name in ("parameterization", "size_px", "steps", "seed") if options[name]}
    work = _from_images if options["prompt"] is None else _from_words
    work(mesh, out, quiet, options, chosen)


def _check_options(options: dict[str, Any]) -> None:
    """UsageError for options that do not go together."""
    images, prompt, photos = (options[name] is not None for name in ("images", "prompt", "photos"))
    if photos and images:
        raise click.UsageError(
            "texture: give one of --images, which show MESH, and --photos, which show another object"
        )
    if photos and not prompt:
        raise click.UsageError('texture: --photos needs --prompt with what they show, such as "a chair"')
    if images == prompt:
        raise click.UsageError("texture: give one of --images and --prompt")
    for_prompt = [name for name in (*OF_WORDS, "prior", "controlnet") if options[name] is not None]
    if for_prompt and not prompt:
        raise click.UsageError(
            "texture: --prior, --controlnet, --method, --source, --guidance-scale and --view-words are for --prompt"
        )
    if not photos and (options["method"] == "pgsd" or options["photo_steps"] is not None):
        raise click.UsageError("texture: --method pgsd and --photo-steps are for --photos")
    if (photos or options["method"] in ("sds", "pgsd")) and options["source"] is not None:
        raise click.UsageError("texture: --source is for --method dds without --photos")
    if prompt and (options["project"] or options["light"] is not None):
        raise click.UsageError("texture: --project and --light are for --images")
    if options["project"] and (options["steps"] is not None or options["parameterization"] is not None):
        raise click.UsageError("texture: --project fits nothing; leave out --steps and --parameterization")


def _say(quiet: bool) -> Callable[[str], None]:
    return (lambda line: None) if quiet else (lambda line: click.echo(line, err=True))


def _from_images(mesh: Path, out: Path, quiet: bool, options: dict[str, Any], chosen: dict[str, Any]) -> None:
    from torch_utils.progress import progress_bar
    from training.mesh_texture.fit import FitSettings
    from training.mesh_texture.write import texture_mesh

    settings = FitSettings(**chosen) if not options["project"] else FitSettings(size_px=options["size_px"], steps=0)
    with progress_bar("fitting", settings.steps, quiet=quiet) as advance:
        result = texture_mesh(
            mesh, options["images"], out, settings, light=options["light"], progress=advance, say=_say(quiet)
        )
    for note in result.notes:
        click.echo(f"note: {note}", err=True)
    click.echo(f"{out}: {result.psnr:.1f} dB against the images, {result.seen:.0%} of the texels seen")


def _from_words(mesh: Path, out: Path, quiet: bool, options: dict[str, Any], chosen: dict[str, Any]) -> None:
    from torch_utils.files import printable
    from torch_utils.progress import progress_bar
    from training.adapt.settings import DEFAULT_PRIOR
    from training.mesh_texture.prompt import PromptSettings
    from training.mesh_texture.write import texture_mesh_by_photos, texture_mesh_by_prompt

    of_words = {name: options[name] for name in OF_WORDS if options[name] is not None}
    settings = PromptSettings(options["prompt"], **of_words, **chosen)
    prior, common = options["prior"] or DEFAULT_PRIOR, {"controlnet": options["controlnet"], "say": _say(quiet)}
    if options["photos"] is not None:
        bar, like = partial(progress_bar, quiet=quiet), f"like the photos of {printable(options['photos'])}"
        steps = options["photo_steps"]
        notes = texture_mesh_by_photos(
            mesh, options["photos"], prior, out, settings, photo_steps=steps, bar=bar, **common
        )
    else:
        like = f"for {settings.prompt!r}"
        with progress_bar("texturing", settings.steps, quiet=quiet) as advance:
            notes = texture_mesh_by_prompt(mesh, prior, out, settings, progress=advance, **common)
    for note in notes:
        click.echo(f"note: {note}", err=True)
    click.echo(f"{out}: textures of {settings.size_px} px {like}")
