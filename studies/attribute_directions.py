"""Whether directions of attributes do what they say: how often a move gives samples the wanted value, and what else.

    python -m studies.attribute_directions --network chair-128 --directions out/chair-128/directions.safetensors \\
        --classifier studies/release_criteria/chair_classifier --seeds 0-31 --steps 3

Of the seeds that do not have a direction's value, the share that has it after the move, the share whose attribute has
changed at all, and the share whose category has.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click
import torch
from torch import Tensor

from metrics.images.attribute_labels import label_styles
from metrics.images.classifier import Classifier, attribute_and_value, load_classifier
from sampling.directions import Directions, load_directions
from sampling.latents import parse_seeds
from sampling.trained_generator import TrainedGenerator, load
from torch_utils.files import write_json

CATEGORY = "category"


@dataclass(frozen=True)
class MoveEffect:
    """Of one direction. seeds: how many did not have its value before. reached, changed, category: shares of these."""

    name: str
    explained: float
    seeds: int
    reached: float
    changed: float
    category: float


def predicted(generator: TrainedGenerator, classifier: Classifier, w_geo: Tensor, w_tex: Tensor) -> dict[str, Tensor]:
    """The likeliest value [N] of each attribute."""
    probabilities, _ = label_styles(generator, classifier, w_geo, w_tex)
    return {name: values.argmax(1) for name, values in probabilities.items()}


def effect(
    name: str, explained: float, before: dict[str, Tensor], after: dict[str, Tensor], classifier: Classifier
) -> MoveEffect:
    """The effect on N seeds, from their predictions before and after the move."""
    attribute, value = attribute_and_value(name)
    wanted = classifier.values[attribute].index(value)
    others = before[attribute] != wanted
    count = max(int(others.sum()), 1)
    reached = int((after[attribute] == wanted)[others].sum()) / count
    changed = int((after[attribute] != before[attribute])[others].sum()) / count
    category = int((after[CATEGORY] != before[CATEGORY])[others].sum()) / count if CATEGORY in before else 0.0
    return MoveEffect(name, explained, int(others.sum()), reached, changed, category)


def effects(
    generator: TrainedGenerator,
    classifier: Classifier,
    directions: Directions,
    seeds: Sequence[int],
    steps: float,
    truncation: float,
) -> list[MoveEffect]:
    """The effect of every attribute's direction."""
    samples = generator.sample(seeds, truncation)
    before = predicted(generator, classifier, samples.w_geo, samples.w_tex)
    found = []
    for name, explained in zip(directions.names, directions.shares, strict=True):
        if "=" not in name:
            continue
        moved = [directions.moved(sample, {name: steps}) for sample in samples]
        w_geo, w_tex = torch.cat([each.w_geo for each in moved]), torch.cat([each.w_tex for each in moved])
        after = predicted(generator, classifier, w_geo, w_tex)
        found.append(effect(name, explained, before, after, classifier))
        click.echo(row(found[-1]))
    return found


def row(one: MoveEffect) -> str:
    """A line of the table."""
    shares = " | ".join(f"{share:.0%}" for share in (one.explained, one.reached, one.changed, one.category))
    return f"| {one.name} | {one.seeds} | {shares} |"


@click.command()
@click.option("--network", required=True)
@click.option("--directions", "directions_file", type=click.Path(path_type=Path), required=True)
@click.option("--classifier", type=click.Path(path_type=Path), required=True)
@click.option("--seeds", default="0-31", show_default=True)
@click.option("--steps", type=float, default=3.0, show_default=True, help="Standard deviations.")
@click.option("--truncation", type=float, default=0.7, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), help="A JSON file.")
def main(
    network: str, directions_file: Path, classifier: Path, seeds: str, steps: float, truncation: float, out: Path | None
) -> None:
    """Measure the directions of attributes."""
    generator = load(network)
    directions = load_directions(directions_file, generator)
    click.echo("| direction | seeds | explained | has the value | attribute changed | category changed |")
    click.echo("|---|---|---|---|---|---|")
    chosen = parse_seeds(seeds)
    found = effects(generator, load_classifier(classifier), directions, chosen, steps, truncation)
    if out is not None:
        write_json(out, [vars(each) for each in found])


if __name__ == "__main__":
    main()
