"""Trains the gate's classifier, in minutes on one thread.

    python -m studies.release_criteria.train_classifier --data DATASET --out DIR

DATASET holds procedural chairs. It learns to tell them from the other procedural categories, drawn with the same
cameras and shading, and to read their attributes. DIR becomes a folder in the form of `transformers`, with rules.json
(when a chair counts as of a type) and report.md (accuracy on held-out shapes, confusion tables).
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
from studies.release_criteria.classifier import Judge, Network, inputs, labels_of, load_judge, save_judge
from studies.release_criteria.classifier_data import (
    CATEGORY,
    UNKNOWN,
    Images,
    attribute_values,
    chair_attributes,
    gather,
    other_categories,
)
from torch_utils.errors import UserError
from torch_utils.files import write_json, write_text
from torch_utils.progress import progress_bar

RULES = "rules.json"
BATCH = 64
LEARNING_RATE = 3e-3
SHIFT_PX = 4


def augmented(images: Tensor, generator: torch.Generator) -> Tensor:
    """Images as the network takes them, changed in what a generator may get wrong without it being another thing.

    Shifted, mirrored (chairs are the same chairs), blurred or not, tinted, with noise; black stays black.
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


def balanced_weights(data: Images, values: Mapping[str, Sequence[str]]) -> Tensor:
    """How often each image is drawn: chairs half of the time, the other categories alike in the rest."""
    target = data.targets[CATEGORY]
    chair = list(values[CATEGORY]).index("chair")
    counts = torch.bincount(target, minlength=len(values[CATEGORY])).clamp_min(1)
    share = torch.full((len(counts),), 0.5 / max(len(counts) - 1, 1))
    share[chair] = 0.5
    return (share / counts)[target]


def train_judge(data: Images, values: Mapping[str, Sequence[str]], steps: int, seed: int = 0) -> Judge:
    """A network that has seen steps · 64 images. Adam, learning rate falling along a cosine."""
    torch.manual_seed(seed)
    generator = torch.Generator().manual_seed(seed)
    network = Network(len(labels_of(values)))
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]  # a third faster on a CPU
    judge = Judge(network, labels_of(values))
    optimizer = torch.optim.AdamW(network.parameters(), LEARNING_RATE, weight_decay=0.02)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, LEARNING_RATE, total_steps=steps, pct_start=0.1)
    weights, columns = balanced_weights(data, values), judge.columns
    network.train()
    with progress_bar("training the classifier", steps) as advance:
        for _ in range(steps):
            rows = torch.multinomial(weights, BATCH, replacement=True, generator=generator)
            images = augmented(data.images[rows], generator).to(memory_format=torch.channels_last)
            logits = network(images)
            loss = torch.zeros(())
            for name, target in data.targets.items():
                if bool((target[rows] != UNKNOWN).any()):
                    loss = loss + cross_entropy(logits[:, columns[name]], target[rows], ignore_index=UNKNOWN)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            schedule.step()
            advance()
    network.eval()
    return judge


def types_in(judge: Judge, data: Images) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Probability of every type, and the truth, of the chairs among `data`: [chairs] each."""
    chairs = sum(row[CATEGORY] == "chair" for row in data.attributes)
    found = judge.probabilities(data.images[: chairs * data.views])
    return type_probabilities(found, judge.values, data.views), truths(data.attributes[:chairs])


def type_rules(judge: Judge, validation: Images, held_out: Images, min_share: float) -> list[TypeRule]:
    """A rule for every type of at least `min_share` of the chairs: threshold from one split, its worth from another."""
    found, truth = types_in(judge, validation)
    thresholds = {name: threshold_of(found[name], truth[name]) for name in TYPES}
    found, truth = types_in(judge, held_out)
    rules = [make_rule(name, thresholds[name], found[name], truth[name]) for name in TYPES]
    return [rule for rule in rules if rule.share >= min_share]


def confusion(judge: Judge, data: Images, name: str) -> Tensor:
    """Images by true (row) and found (column) value of an attribute."""
    known = data.targets[name] != UNKNOWN
    found = judge.probabilities(data.images[known])[name].argmax(1)
    size = len(judge.values[name])
    return torch.bincount(data.targets[name][known] * size + found, minlength=size * size).view(size, size)


def report(judge: Judge, data: Images, rules: Sequence[TypeRule]) -> str:
    """report.md: every attribute's confusion table on held-out images, and the rules."""
    lines = ["# Classifier", "", f"{len(data)} held-out images, {data.views} views of each shape.", ""]
    for name in (CATEGORY, *ATTRIBUTES):
        table, values = confusion(judge, data, name), judge.values[name]
        accuracy = float(table.diagonal().sum()) / max(int(table.sum()), 1)
        lines += [f"## {name}: {accuracy:.1%} of the images", "", "| true \\ found | " + " | ".join(values) + " | |"]
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
    """The rules of a classifier's folder, and how many views of a shape they go by."""
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
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the classifier.")
@click.option("--work", type=click.Path(path_type=Path), help="The other categories' views.  [default: OUT-data]")
@click.option("--count", type=click.IntRange(10), default=120, show_default=True, help="Shapes of each other category.")
@click.option("--views", type=click.IntRange(1), default=12, show_default=True, help="Views a shape.")
@click.option("--steps", type=click.IntRange(1), default=3500, show_default=True, help="Minibatches of 64 images.")
@click.option("--min-share", default=0.03, show_default=True, help="Rarer types of chair are left out of the gate.")
def main(data: Path, out: Path, work: Path | None, count: int, views: int, steps: int, min_share: float) -> None:
    """Train the classifier that the gate asks."""
    torch.set_num_threads(1)
    chairs = open_dataset(data)
    others = other_categories(chairs, work or out.with_name(f"{out.name}-data"), count, views)
    values = attribute_values(chair_attributes(chairs, chairs.splits["train"]))
    judge = train_judge(gather(chairs, others, "train", views, values), values, steps)
    save_judge(judge, out)
    judge = load_judge(out)
    validation, held_out = (gather(chairs, others, split, views, values) for split in ("val", "test"))
    rules = type_rules(judge, validation, held_out, min_share)
    write_json(out / RULES, {"views": views, "rules": [asdict(rule) for rule in rules]})
    write_text(out / "report.md", report(judge, held_out, rules))
    click.echo((out / "report.md").read_text(encoding="utf-8"))


if __name__ == "__main__":
    main()
