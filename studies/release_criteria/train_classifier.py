"""Train the classifier of the release criteria; takes minutes on one thread.

    python -m studies.release_criteria.train_classifier --data DATASET --out DIR

DATASET holds procedural chairs. The classifier learns to tell them from the other procedural categories, rendered with
the same cameras and shading, and to read their attributes. DIR becomes a folder that `transformers` can load, with
rules.json (when a chair counts as of a type) and report.md (accuracy on held-out shapes, confusion tables).
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import click
import torch
from torch import Tensor
from torch.nn.functional import avg_pool2d, cross_entropy

from dataset_tool.dataset import open_dataset
from studies.one_cycle import train_one_cycle
from studies.plain_errors import PlainErrors
from studies.release_criteria.chair_types import (
    ATTRIBUTES,
    TYPES,
    TypeRule,
    make_rule,
    threshold_of,
    truths,
    type_probabilities,
)
from studies.release_criteria.classifier import (
    ChairClassifier,
    ResNet,
    inputs,
    labels_of,
    load_chair_classifier,
    save_chair_classifier,
)
from studies.release_criteria.classifier_data import (
    CATEGORY,
    UNKNOWN,
    LabeledImages,
    attribute_values,
    chair_attributes,
    gather,
    other_categories,
)
from torch_utils.errors import UserError
from torch_utils.files import write_json, write_text

RULES = "rules.json"
BATCH = 64
LEARNING_RATE = 3e-3
SHIFT_PX = 4


def augmented(images: Tensor, generator: torch.Generator) -> Tensor:
    """Augmented network inputs from images uint8 [B, 3, S, S].

    A generator may blur, tint or shift an object, and it remains the same object. Images are therefore shifted,
    mirrored, blurred (half of them), tinted and given noise. Black stays black.
    """
    x = inputs(images) / 2 + 0.5
    count = len(x)
    across, down = torch.randint(-SHIFT_PX, SHIFT_PX + 1, (2,), generator=generator).tolist()
    x = torch.roll(x, (down, across), (2, 3))
    mirror = torch.rand(count, generator=generator) < 0.5
    x = torch.where(mirror[:, None, None, None], x.flip(3), x)
    blurred = avg_pool2d(x, 3, 1, 1)
    blur = torch.rand(count, 1, 1, 1, generator=generator).clamp(0.5, 1) * 2 - 1  # half of them not at all
    x = torch.lerp(x, blurred, blur)
    tint = 0.6 + 0.8 * torch.rand(count, 3, 1, 1, generator=generator)
    noise = 0.04 * torch.randn(x.shape, generator=generator) * (x.amax(1, keepdim=True) > 0.02)
    return (x * tint + noise).clamp(0, 1) * 2 - 1


def balanced_weights(data: LabeledImages, values: Mapping[str, Sequence[str]]) -> Tensor:
    """Sampling weight of each image: half of the draws are chairs, the rest is split evenly among the others."""
    target = data.targets[CATEGORY]
    chair = list(values[CATEGORY]).index("chair")
    counts = torch.bincount(target, minlength=len(values[CATEGORY])).clamp_min(1)
    share = torch.full((len(counts),), 0.5 / max(len(counts) - 1, 1))
    share[chair] = 0.5
    return (share / counts)[target]


def train_chair_classifier(
    data: LabeledImages, values: Mapping[str, Sequence[str]], steps: int, seed: int = 0
) -> ChairClassifier:
    """Train on steps · 64 images with AdamW and a one-cycle learning rate."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    network = ResNet(len(labels_of(values)))
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a third faster on a CPU
    classifier = ChairClassifier(network, labels_of(values))
    weights, columns = balanced_weights(data, values), classifier.columns

    def draw_loss() -> Tensor:
        rows = torch.multinomial(weights, BATCH, replacement=True, generator=generator)
        logits = network(augmented(data.images[rows], generator).to(memory_format=torch.channels_last))
        loss = torch.zeros(())
        for name, target in data.targets.items():
            if bool((target[rows] != UNKNOWN).any()):
                loss = loss + cross_entropy(logits[:, columns[name]], target[rows], ignore_index=UNKNOWN)
        return loss

    train_one_cycle(network, draw_loss, "training the classifier", steps, rate=LEARNING_RATE, weight_decay=0.02)
    return classifier


def types_in(classifier: ChairClassifier, data: LabeledImages) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Probability and truth of every type, for the chairs among `data`: [chairs] each."""
    chairs = sum(row[CATEGORY] == "chair" for row in data.attributes)
    found = classifier.probabilities(data.images[: chairs * data.views])
    return type_probabilities(found, classifier.values, data.views), truths(data.attributes[:chairs])


def type_rules(
    classifier: ChairClassifier, validation: LabeledImages, held_out: LabeledImages, min_share: float
) -> list[TypeRule]:
    """A rule for every type that has at least `min_share` of the chairs; thresholds from `validation` alone."""
    found, truth = types_in(classifier, validation)
    thresholds = {name: threshold_of(found[name], truth[name]) for name in TYPES}
    found, truth = types_in(classifier, held_out)
    rules = [make_rule(name, thresholds[name], found[name], truth[name]) for name in TYPES]
    return [rule for rule in rules if rule.share >= min_share]


def confusion(classifier: ChairClassifier, data: LabeledImages, name: str) -> Tensor:
    """Number of images by true (row) and predicted (column) value of an attribute."""
    known = data.targets[name] != UNKNOWN
    found = classifier.probabilities(data.images[known])[name].argmax(1)
    size = len(classifier.values[name])
    return torch.bincount(data.targets[name][known] * size + found, minlength=size * size).view(size, size)


def report(classifier: ChairClassifier, data: LabeledImages, rules: Sequence[TypeRule]) -> str:
    """report.md: every attribute's confusion table on held-out images, and the types by shape."""
    lines = ["# Classifier", "", f"{len(data)} held-out images, {data.views} views of each shape.", ""]
    for name in (CATEGORY, *ATTRIBUTES):
        table, values = confusion(classifier, data, name), classifier.values[name]
        accuracy = float(table.diagonal().sum()) / max(int(table.sum()), 1)
        lines += [
            f"## {name}: {accuracy:.1%} of the images",
            "",
            "| true \\ predicted | " + " | ".join(values) + " | |",
        ]
        lines.append("|" + "---|" * (len(values) + 2))
        for i, value in enumerate(values):
            right = float(table[i, i]) / max(int(table[i].sum()), 1)
            lines.append(f"| {value} | " + " | ".join(map(str, table[i].tolist())) + f" | {right:.0%} |")
        lines.append("")
    lines += [
        "## Types, by shape",
        "",
        "| type | share | threshold | recall | false positives |",
        "|---|---|---|---|---|",
    ]
    lines += [
        f"| {r.name} | {r.share:.1%} | {r.threshold:.3f} | {r.recall:.0%} | {r.false_positives:.2%} |" for r in rules
    ]
    return "\n".join(lines) + "\n"


def load_rules(folder: Path) -> tuple[list[TypeRule], int]:
    """The rules in a classifier's folder, and the number of views of a shape that they expect."""
    try:
        stored = json.loads((folder / RULES).read_text(encoding="utf-8"))
        return [TypeRule(**one) for one in stored["rules"]], int(stored["views"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UserError(
            f"--classifier {folder}: {RULES} cannot be read ({error}); make the folder with: "
            "python -m studies.release_criteria.train_classifier --data DATASET --out DIR"
        ) from None


@click.command(cls=PlainErrors)
@click.option("--data", type=click.Path(path_type=Path), required=True, help="Dataset of procedural chairs.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the classifier to write.")
@click.option("--work", type=click.Path(path_type=Path), show_default="OUT-data", help="Other categories' datasets.")
@click.option("--count", type=click.IntRange(10), default=120, show_default=True, help="Shapes of each other category.")
@click.option("--views", type=click.IntRange(1), default=12, show_default=True, help="Views of each shape.")
@click.option("--steps", type=click.IntRange(1), default=3500, show_default=True, help="Minibatches of 64 images.")
@click.option("--min-share", default=0.03, show_default=True, help="Rarer types of chair get no rule.")
def main(data: Path, out: Path, work: Path | None, count: int, views: int, steps: int, min_share: float) -> None:
    """Train the classifier of the release criteria."""
    torch.set_num_threads(1)
    chairs = open_dataset(data)
    others = other_categories(chairs, work or out.with_name(f"{out.name}-data"), count, views)
    values = attribute_values(chair_attributes(chairs, chairs.splits["train"]))
    classifier = train_chair_classifier(gather(chairs, others, "train", views, values), values, steps)
    save_chair_classifier(classifier, out)
    classifier = load_chair_classifier(out)
    validation, held_out = (gather(chairs, others, split, views, values) for split in ("val", "test"))
    rules = type_rules(classifier, validation, held_out, min_share)
    write_json(out / RULES, {"views": views, "rules": [asdict(rule) for rule in rules]})
    write_text(out / "report.md", report(classifier, held_out, rules))
    click.echo((out / "report.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
