"""Which real shapes no sample resembles, by the logits of a network's own discriminators.

Where the generator makes nothing like a real image, the discriminator has no fake to confuse it with, and its logit is
high. The discriminators see a few views of every shape of a split.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean

import torch
from torch import Tensor

from dataset_tool.attributes import attribute_classes
from dataset_tool.dataset import open_dataset
from dataset_tool.image_bank import ImageBank
from metrics.report.values import number
from networks.discriminator import ImageDiscriminator, discriminator_input
from networks.pretrained import load_discriminator_networks
from rendering.images import image_grid, save_png, show_views
from torch_utils.errors import UserError
from torch_utils.files import write_text

BATCH = 32
SHAPES_SHOWN = 32
COLUMNS = 8


def report_missing_shapes(
    network: Path | str,
    data: Path,
    attributes: Sequence[str],
    out: Path,
    *,
    split: str = "train",
    views: int = 4,
    device: torch.device | str = "cpu",
) -> str:
    """Write missing.png, the 32 shapes of the highest logits, and missing.md, the mean logit by class; the table.

    network: a training state, or a network file with discriminators next to it. attributes: of the shapes, whose
    values make a class. UserError where the discriminators, the split or an attribute is missing.
    """
    config, discriminators = load_discriminator_networks(network, device)
    dataset = open_dataset(data)
    if split not in dataset.splits:
        raise UserError(f"--split {split}: {data} has {', '.join(dataset.splits)}")
    bank = ImageBank(dataset, split, config.data.resolution)
    classes = attribute_classes(dataset, bank.shape_ids, attributes)
    logits, images = standardized_logits(bank, discriminators, views, device)
    order = logits.argsort(descending=True)[:SHAPES_SHOWN]
    save_png(out / "missing.png", image_grid(show_views(images[order]), COLUMNS))
    table = logit_table(mean_by_class(logits.tolist(), [", ".join(values) for values in classes]))
    write_text(out / "missing.md", table)
    return table


@torch.no_grad()
def standardized_logits(
    bank: ImageBank, discriminators: Mapping[str, ImageDiscriminator], views: int, device: torch.device | str = "cpu"
) -> tuple[Tensor, Tensor]:
    """Mean logit of every shape [S], in standard deviations, and one view of each [S, 4, R, R]; on the CPU.

    The logits of each discriminator are standardized over all views, then averaged over `views` evenly spread views of
    a shape and over the discriminators.
    """
    rows, shown = [], []
    for shape in range(len(bank.shape_ids)):
        own = (bank.shape_of == shape).nonzero()[:, 0]
        rows.append(own[torch.linspace(0, len(own) - 1, min(views, len(own))).round().long()])
    index, shape_of_row = torch.cat(rows), torch.repeat_interleave(torch.tensor([len(row) for row in rows]))
    first = torch.tensor([0, *(shape_of_row.diff() > 0).nonzero()[:, 0] + 1])
    logits: dict[str, list[Tensor]] = {head: [] for head in discriminators}
    for part in index.split(BATCH):
        images, cameras = bank.batch(part, device)
        labels = bank.class_labels(part).to(device)
        shown.append(images.cpu())
        for head, discriminator in discriminators.items():
            seen = discriminator_input(head, images[:, :3], images[:, 3:])
            logits[head].append(discriminator(seen, cameras, labels).cpu())
    each = torch.stack([torch.cat(parts) for parts in logits.values()])
    each = (each - each.mean(1, keepdim=True)) / each.std(1, keepdim=True).clamp(min=1e-8)
    sums = torch.zeros(len(rows)).index_add_(0, shape_of_row, each.mean(0))
    return sums / shape_of_row.bincount(), torch.cat(shown)[first]


def mean_by_class(logits: Sequence[float], classes: Sequence[str]) -> list[tuple[str, int, float]]:
    """Every class with the number of its shapes and their mean logit, highest first."""
    groups: dict[str, list[float]] = defaultdict(list)
    for name, value in zip(classes, logits, strict=True):
        groups[name].append(value)
    return sorted(((name, len(own), fmean(own)) for name, own in groups.items()), key=lambda row: -row[2])


def logit_table(rows: Sequence[tuple[str, int, float]]) -> str:
    """The rows of `mean_by_class` as Markdown."""
    lines = ["| class | shapes | mean logit, standard deviations |", "|---|---|---|"]
    return "\n".join([*lines, *(f"| {name} | {count} | {number(mean)} |" for name, count, mean in rows)]) + "\n"
