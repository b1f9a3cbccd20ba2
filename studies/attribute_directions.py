"""Whether directions of attributes do what they say: how often a move gives samples the wanted value, and what else.

    python -m studies.attribute_directions --network chair-128 --directions out/chair-128/directions.safetensors \\
        --classifier studies/release_criteria/chair_classifier --seeds 0-99

Of the seeds that do not have a direction's value, the share that has it after the move, the share whose attribute has
changed at all, and the share whose category has.
"""

from collections.abc import Sequence
from pathlib import Path

import click

from metrics.images.classifier import Classifier, load_classifier
from metrics.images.move_effects import MoveEffect, measured_effect, predicted
from sampling.directions import Directions, load_directions
from sampling.latents import parse_seeds
from sampling.trained_generator import TrainedGenerator, load
from torch_utils.files import write_json


def effects(
    generator: TrainedGenerator,
    classifier: Classifier,
    directions: Directions,
    seeds: Sequence[int],
    steps: float | None,
    truncation: float,
) -> list[MoveEffect]:
    """The effect of every attribute's direction. steps: None takes the full step of each."""
    samples = list(generator.sample(seeds, truncation))
    before = predicted(generator, classifier, samples)
    found = []
    for name, share, full_step in zip(directions.names, directions.shares, directions.full_steps, strict=True):
        if "=" not in name:
            continue
        length = full_step if steps is None else steps
        found.append(measured_effect(generator, classifier, directions, name, length, samples, before))
        click.echo(row(found[-1], share))
    return found


def row(one: MoveEffect, explained: float) -> str:
    """A line of the table. explained: share of the attribute's variance that the regression explains."""
    shares = " | ".join(f"{share:.0%}" for share in (one.reached, one.changed, one.category))
    return f"| {one.name} | {one.seeds} | {explained:.0%} | {one.steps:g} | {shares} |"


def totals(found: Sequence[MoveEffect]) -> str:
    """The last line: of all moves, the shares that change the attribute and the category."""
    moves = max(sum(each.seeds for each in found), 1)
    changed = sum(each.seeds * each.changed for each in found) / moves
    category = sum(each.seeds * each.category for each in found) / moves
    return f"Of {moves} moves, {changed:.1%} change the attribute and {category:.1%} the category."


@click.command()
@click.option("--network", required=True)
@click.option("--directions", "directions_file", type=click.Path(path_type=Path), required=True)
@click.option("--classifier", type=click.Path(path_type=Path), required=True)
@click.option("--seeds", default="0-99", show_default=True)
@click.option("--steps", type=float, help="Standard deviations.  [default: each direction's full step]")
@click.option("--truncation", type=float, default=0.7, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="A JSON file.")
def main(
    network: str,
    directions_file: Path,
    classifier: Path,
    seeds: str,
    steps: float | None,
    truncation: float,
    out: Path | None,
) -> None:
    """Measure the directions of attributes."""
    generator = load(network)
    directions = load_directions(directions_file, generator)
    click.echo("| direction | seeds | explained | steps | have the value | attribute changed | category changed |")
    click.echo("|---|---|---|---|---|---|---|")
    chosen = parse_seeds(seeds)
    found = effects(generator, load_classifier(classifier), directions, chosen, steps, truncation)
    click.echo(totals(found))
    if out is not None:
        write_json(out, [vars(each) for each in found])


if __name__ == "__main__":
    main()
