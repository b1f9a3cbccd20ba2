"""Which shapes a generator does not make.

    python -m studies.missing_shapes FILE --data DATASET --out DIR --by type,legs

A discriminator is surest of the real views that no fake resembles. FILE is a training state, or a network file with its
discriminators beside it; both of them judge a few views of every shape of a split. Writes into DIR:

    missing.png     the 32 shapes that they are surest of, surest first
    missing.md      how sure they are, by kinds of shape: kinds that are made lie around 0, kinds that are not stand out
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

import click
import torch
from torch import Tensor

from configs.loader import build_config
from configs.schema import Config
from dataset_tool.dataset import open_dataset
from dataset_tool.image_bank import ImageBank
from metrics.report.markdown import number
from networks.discriminator import Discriminator
from networks.pretrained import load_discriminators, network_file
from rendering.images import grid, save_png, show_views
from studies.plain_errors import PlainErrors
from torch_utils.checkpoint import load_strictly, load_tensors
from torch_utils.errors import UserError
from torch_utils.files import write_text
from training.class_balance import kinds_of
from training.gan_step import HEADS

BATCH = 32
SHOWN = 32


def load_judges(path: Path) -> tuple[Config, dict[str, Discriminator]]:
    """Both discriminators of a training state or beside a network file, and their configuration."""
    file = network_file(path)
    tensors, header = load_tensors(file)
    judges: Mapping[str, Tensor] | None = tensors
    if header.get("kind") != "training-state":
        judges = load_discriminators(file, header)
    if judges is None:
        raise UserError(f"{file}: has no discriminators beside it; name the run's state-….safetensors")
    config = build_config(header["config"], str(file))
    found = {}
    for head, channels in zip(HEADS, (3, 1), strict=True):
        prefix = f"discriminator_{head}/"
        found[head] = Discriminator(config, channels).eval()
        own = {name.removeprefix(prefix): t.float() for name, t in judges.items() if name.startswith(prefix)}
        load_strictly(found[head], own, file)
    return config, found


@torch.no_grad()
def sureness(bank: ImageBank, judges: Mapping[str, Discriminator], views: int) -> tuple[Tensor, Tensor]:
    """How sure discriminators are of every shape [S], and one image of each [S, 3, R, R] in [−1, 1].

    The mean over `views` evenly spread views and over the discriminators of logits as deviations from all views' mean.
    """
    rows, shown = [], []
    for shape in range(len(bank.shape_ids)):
        own = (bank.shape_of == shape).nonzero()[:, 0]
        rows.append(own[torch.linspace(0, len(own) - 1, min(views, len(own))).round().long()])
    index, of_shape = torch.cat(rows), torch.repeat_interleave(torch.tensor([len(row) for row in rows]))
    first = torch.tensor([0, *(of_shape.diff() > 0).nonzero()[:, 0] + 1])
    logits: dict[str, list[Tensor]] = {head: [] for head in judges}
    for part in index.split(BATCH):
        images, cameras = bank.batch(part)
        labels = bank.class_labels(part)
        shown.append(images)
        for head, judge in judges.items():
            logits[head].append(judge(images[:, :3] if head == "rgb" else images[:, 3:], cameras, labels))
    each = torch.stack([torch.cat(parts) for parts in logits.values()])
    each = (each - each.mean(1, keepdim=True)) / each.std(1, keepdim=True).clamp(min=1e-8)
    sums = torch.zeros(len(rows)).index_add_(0, of_shape, each.mean(0))
    return sums / of_shape.bincount(), torch.cat(shown)[first]


def by_kind(sure: Sequence[float], kinds: Sequence[str]) -> list[tuple[str, int, float]]:
    """Kinds with how many shapes are of them and how sure they make the discriminators on average, surest first."""
    groups: dict[str, list[float]] = defaultdict(list)
    for kind, value in zip(kinds, sure, strict=True):
        groups[kind].append(value)
    return sorted(((kind, len(own), fmean(own)) for kind, own in groups.items()), key=lambda row: -row[2])


def markdown(rows: Sequence[tuple[str, int, float]]) -> str:
    """The table of kinds."""
    lines = ["| kind | shapes | sureness, deviations |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {kind} | {count} | {number(mean)} |" for kind, count, mean in rows)]) + "\n"


@click.command(cls=PlainErrors)
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), required=True, help="The dataset that it learns from.")
@click.option("--split", default="train", show_default=True, help="Whose shapes are judged.")
@click.option("--by", "attributes", required=True, help="Attributes that make a kind, e.g. type,legs.")
@click.option("--views", type=click.IntRange(1), default=4, show_default=True, help="Views of each shape.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Output folder.")
def main(file: Path, data: Path, split: str, attributes: str, views: int, out: Path) -> None:
    """Find the real shapes that the fakes do not resemble."""
    config, judges = load_judges(file)
    dataset = open_dataset(data)
    if split not in dataset.splits:
        raise UserError(f"--split {split}: {data} has {', '.join(dataset.splits)}")
    bank = ImageBank(dataset, split, config.data.resolution, memory_limit=0)
    sure, images = sureness(bank, judges, views)
    order = sure.argsort(descending=True)[:SHOWN]
    save_png(out / "missing.png", grid(show_views(images[order]), 8))
    kinds = kinds_of(dataset, bank.shape_ids, attributes.split(","))
    text = markdown(by_kind(sure.tolist(), [", ".join(kind) for kind in kinds]))
    write_text(out / "missing.md", text)
    click.echo(text)
    click.echo(f"{out / 'missing.png'}: {len(order)} of {len(bank.shape_ids)} shapes, surest first")


if __name__ == "__main__":
    main()
