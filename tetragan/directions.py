"""`tetragan directions`: principal axes of the styles, and directions along which attributes change."""

import math
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

from tetragan.options import PATH, SamplerOptions, mesh_options, sampler_options

if TYPE_CHECKING:
    from torch import Tensor

    from sampling.directions import Directions
    from sampling.mesh_export import MeshSettings
    from sampling.trained_generator import TrainedGenerator

# Columns of the image: steps in standard deviations.
STEPS = (-3, -2, -1, 0, 1, 2, 3)
# A value that nearly all samples have, or hardly any, has no direction worth a name.
RAREST = 0.02


@click.command()
@sampler_options
@click.option("--seed", type=click.IntRange(0), default=0, show_default=True, help="The sample that is moved.")
@click.option(
    "--axes",
    type=click.IntRange(0, 64),
    default=4,
    show_default=True,
    help="Principal axes of the shape, and as many of the texture.",
)
@click.option("--classifier", type=PATH, help="A transformers folder of an image classifier, for attributes.")
@click.option(
    "--samples",
    type=click.IntRange(50, 100_000),
    default=2000,
    show_default=True,
    help="Samples that the classifier labels.",
)
@click.option(
    "--trials",
    type=click.IntRange(0, 1000),
    default=48,
    show_default=True,
    help="Samples that the length of an attribute's full step is tried with; 0 leaves it at 3.",
)
@click.option(
    "--rows", type=click.IntRange(1, 40), default=12, show_default=True, help="Attributes shown, the clearest first."
)
@mesh_options("none")
def directions(
    options: SamplerOptions,
    meshes: "Callable[[], MeshSettings | None]",
    seed: int,
    axes: int,
    classifier: Path | None,
    samples: int,
    trials: int,
    rows: int,
) -> None:
    """Find what the styles vary: directions.safetensors, and directions.png with one sample moved along each.

    Without --classifier these are principal axes. With one, it labels generated samples, and each value of an attribute
    gets the direction of a linear regression. `generate --directions FILE --move NAME:STEPS` uses them. Trials choose
    among three regressions and lengths: without :STEPS a move has the length that changed the attribute of most trial
    samples and the category of few.
    """
    from rendering.labeled_grid import labeled_grid
    from sampling.directions import file_stems, slider
    from tetragan.sampler import Sampler, end

    if not axes and classifier is None:
        raise click.UsageError("--axes 0 needs --classifier")
    sampler = Sampler(options, meshes, "directions.json")
    facts = {
        "shape_seed": seed, "axes": axes, "classifier": None if classifier is None else classifier.name,
        "labeled": samples, "trials": trials,
    }  # fmt: skip
    sampler.guard(facts)
    found = _find(sampler.generator, axes, classifier, samples, trials, options)
    found.save(sampler.out / "directions.safetensors", sampler.generator.identity())
    click.echo(f"{sampler.out / 'directions.safetensors'}: {len(found)} directions")
    for name, share, full_step in zip(found.names, found.shares, found.full_steps, strict=True):
        click.echo(f"  {name:24} {share:6.1%} of the variance, full step {full_step:g}")
    center = sampler.generator.sample(seed, options.truncation, options.label)
    shown = found.names[: 2 * axes + rows]
    moved = [each for name in shown for each in slider(found, center, name, STEPS)]
    names = [f"{stem}_{step:+d}" for stem in file_stems(shown) for step in STEPS]
    outcome = sampler.run(moved, names, facts, what="steps", draw_all=True)
    title = f"{sampler.generator.name}, seed {seed}: steps in standard deviations"
    image = labeled_grid(outcome.grid(names), shown, [f"{step:+d}" if step else "0" for step in STEPS], title)
    sampler.save_image("directions.png", image, f"seed {seed} along {len(shown)} directions")
    end(outcome)


def _find(
    generator: "TrainedGenerator",
    axes: int,
    classifier: Path | None,
    samples: int,
    trials: int,
    options: SamplerOptions,
) -> "Directions":
    """Principal axes, then the attributes' directions, the best explained first."""
    from sampling.directions import principal_directions
    from sampling.styles import random_styles
    from torch_utils.progress import progress_bar

    w_geo, w_tex = random_styles(generator.network, 4096)
    found = principal_directions(w_geo, w_tex, axes)
    if classifier is None:
        return found
    from metrics.images.attribute_labels import label_styles, value_columns
    from metrics.images.classifier import load_classifier
    from metrics.images.move_effects import best_directions

    labeler = load_classifier(classifier, generator.device)
    w_geo, w_tex = random_styles(generator.network, samples, seed=1)
    with progress_bar("labels", samples, quiet=options.quiet) as advance:
        slots = zip((w_geo, w_tex), generator.slots, strict=True)
        geo, tex = (w[:, None].expand(-1, count, -1) for w, count in slots)
        probabilities, seen = label_styles(generator, labeler, geo, tex, advance)
    columns = {name: values[seen] for name, values in value_columns(labeler, probabilities).items()}
    seen = seen.to(w_geo.device)
    candidates = _candidates(w_geo[seen], w_tex[seen], columns)
    if not trials:
        return found + candidates[0].sorted()
    with progress_bar("trials", len(candidates[0]), quiet=options.quiet) as advance:
        attributes = best_directions(generator, labeler, candidates, trials, options.truncation, advance)
    return found + attributes.sorted()


def _candidates(w_geo: "Tensor", w_tex: "Tensor", columns: "Mapping[str, Tensor]") -> "list[Directions]":
    """Directions of the same values by three regressions, the preferred ones first. columns: probabilities by label.

    The first change the values of other attributes little. The second lead away from the commonest value of the same
    attribute. The third are free to change other attributes, as a stool needs that loses its back.
    """
    from metrics.images.attribute_labels import SURER, against_commonest, log_odds
    from sampling.directions import attribute_directions

    rare = {name for name, p in columns.items() if float(p.mean()) < RAREST}
    # What nearly all samples are, such as chairs, they shall stay.
    kept = {name: log_odds(p, SURER) for name, p in columns.items() if float(p.mean()) > 1 - RAREST}
    varied = {name: log_odds(p) for name, p in columns.items() if name not in rare | kept.keys()}
    contrasts = {name: value for name, value in against_commonest(columns).items() if name in varied}
    return [
        attribute_directions(w_geo, w_tex, varied, kept),
        attribute_directions(w_geo, w_tex, contrasts, kept),
        attribute_directions(w_geo, w_tex, varied, kept, others_kept=math.inf),
    ]
