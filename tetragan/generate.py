"""`tetragan generate`: meshes of samples, and an image grid."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tetragan.options import SamplerOptions, latents_option, mesh_options, move_options, sampler_options

if TYPE_CHECKING:
    from sampling.mesh_export import MeshSettings
    from sampling.samples import Sample
    from sampling.trained_generator import TrainedGenerator


@click.command()
@sampler_options
@click.option("--seeds", help="Numbers and ranges, e.g. 0-15,20.  [default: 0-15]")
@click.option("--count", type=click.IntRange(1, 1_000_000), help="The first N seeds, instead of --seeds.")
@click.option("--shape-seeds", help="Seeds of the shapes alone; with --texture-seeds, one each or one for all.")
@click.option("--texture-seeds", help="Seeds of the textures alone.")
@click.option("--prompt", help="What to make, of a network with text (`tetragan adapt --mode mapping`).")
@click.option("--viewer", is_flag=True, help="Also write viewer.html, one file that shows the first 64 meshes.")
@latents_option
@move_options
@mesh_options("glb")
def generate(
    options: SamplerOptions,
    meshes: "Callable[[], MeshSettings | None]",
    seeds: str | None,
    count: int | None,
    shape_seeds: str | None,
    texture_seeds: str | None,
    prompt: str | None,
    viewer: bool,
    latents_files: tuple[Path, ...],
    directions_file: Path | None,
    moves: tuple[str, ...],
) -> None:
    """Sample textured meshes: one per seed, samples.json, and samples.png with the first 64.

    The same command writes the same bytes, with any number of workers. Run again, it makes only what is missing.
    """
    if latents_files and any(each is not None for each in (seeds, count, shape_seeds, texture_seeds)):
        raise click.UsageError("--latents: takes the place of seeds")
    shapes, textures = _pairs(seeds, count, shape_seeds, texture_seeds)

    from rendering.images import image_grid
    from sampling.sample_run import MAX_GRID
    from tetragan.sampler import Sampler, end

    sampler = Sampler(options, meshes, "samples.json")
    if viewer and (sampler.settings is None or sampler.settings.file_format != "glb" or sampler.settings.draco):
        raise click.UsageError("--viewer: shows GLB files without --draco; leave out --format and --draco")
    of_prompt = {} if prompt is None else _use_prompt(sampler.generator, prompt)
    drawn: Sequence[Sample]
    if latents_files:
        names, drawn, facts = sampler.loaded(latents_files)
    else:
        drawn, facts = sampler.generator.sample_pairs(shapes, textures, options.truncation, options.label), {}
        names = [sample.name for sample in drawn]
    samples, moved = sampler.moved(drawn, directions_file, moves)
    outcome = sampler.run(samples, names, facts | moved | of_prompt)
    shown = names[:MAX_GRID]
    image = image_grid(outcome.grid(shown))
    sampler.save_image("samples.png", image, f"{len(shown)} of {len(names)} samples")
    if viewer:
        _write_viewer(sampler.out, shown, sampler.generator.name)
    end(outcome)


def _use_prompt(generator: "TrainedGenerator", prompt: str) -> dict[str, str]:
    """Let a network with text make what the prompt says. UserError for a network without."""
    from guidance.clip import load_clip
    from guidance.priors.included import prior_folder
    from guidance.prompts import checked_prompt
    from torch_utils.errors import UserError
    from training.adapt.mapping import text_vectors

    text, about = checked_prompt(prompt), generator.header.get("text")
    if not generator.network.config.mapping.text_dim or not isinstance(about, dict):
        raise UserError(f"--prompt: {generator.name} knows no texts; make it so with tetragan adapt --mode mapping")
    clip = load_clip(prior_folder(str(about["encoder"])), generator.device)
    generator.network.text = text_vectors(clip.embed_texts, [text], str(about["source"]))[0]
    return {"prompt": text}


def _write_viewer(folder: Path, names: list[str], title: str) -> None:
    """viewer.html of the meshes that there are."""
    from torch_utils.files import write_bytes
    from webpage.viewer_file import viewer_html

    meshes = {name: path.read_bytes() for name in names if (path := folder / f"{name}.glb").is_file()}
    if meshes:
        write_bytes(folder / "viewer.html", viewer_html(meshes, title).encode())
        click.echo(f"{folder / 'viewer.html'}: {len(meshes)} meshes, one file for any browser")


def _pairs(
    seeds: str | None, count: int | None, shape_seeds: str | None, texture_seeds: str | None
) -> tuple[list[int], list[int]]:
    """The seeds of shapes and textures. click.UsageError where the options exclude each other or do not match."""
    from tetragan.sampler import seeds_of

    apart = shape_seeds is not None or texture_seeds is not None
    if (seeds is not None) + (count is not None) + apart > 1:
        raise click.UsageError("give one of --seeds, --count and --shape-seeds with --texture-seeds")
    if count is not None:
        return list(range(count)), list(range(count))
    if not apart:
        both = seeds_of("0-15" if seeds is None else seeds)
        return both, both
    if shape_seeds is None or texture_seeds is None:
        raise click.UsageError("--shape-seeds and --texture-seeds belong together; `tetragan swap` makes whole tables")
    shapes, textures = seeds_of(shape_seeds, "--shape-seeds"), seeds_of(texture_seeds, "--texture-seeds")
    if len(shapes) != len(textures) and 1 not in (len(shapes), len(textures)):
        raise click.UsageError(
            f"--shape-seeds has {len(shapes)} seeds and --texture-seeds {len(textures)}; expected as many, or one"
        )
    number = max(len(shapes), len(textures))
    return (shapes * number)[:number], (textures * number)[:number]
