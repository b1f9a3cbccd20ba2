"""`tetragan diagnose`: what a network does not make, for datasets whose shapes have attributes."""

from pathlib import Path

import click

from tetragan.groups import SuggestingGroup
from tetragan.options import PATH, device_option, network_option, out_option

data_option = click.option("--data", type=PATH, required=True, help="The dataset that the network learned from.")
attributes_option = click.option(
    "--by", "attributes", required=True, metavar="NAMES", help="Attributes whose values make a class, e.g. type,legs."
)


@click.group(cls=SuggestingGroup)
def diagnose() -> None:
    """Find what a network does not make: missing shapes, and the classes that cost most."""


@diagnose.command()
@click.option(
    "--network",
    required=True,
    metavar="NETWORK",
    help="A training state (state-….safetensors), or a network that has its discriminators next to it.",
)
@data_option
@attributes_option
@out_option("Folder for missing.png and missing.md.", folder=True)
@click.option("--split", default="train", show_default=True, help="The split whose shapes are shown.")
@click.option("--views", type=click.IntRange(1), default=4, show_default=True, help="Views of each shape.")
@device_option()
def missing(network: str, data: Path, attributes: str, out: Path, split: str, views: int, device: str) -> None:
    """Show the real shapes that no sample resembles.

    They are those to which the discriminators give the highest logits. Writes missing.png, 32 shapes, the highest logit
    first, and missing.md, the mean logit of every class. Classes that the generator makes lie around 0; one that it
    does not make stands out.
    """
    from metrics.images.missing_shapes import report_missing_shapes
    from torch_utils.devices import pick_device

    table = report_missing_shapes(
        network, data, attributes.split(","), out, split=split, views=views, device=pick_device(device)
    )
    click.echo(table)
    click.echo(f"{out / 'missing.png'}: the shapes of the highest logits")


@diagnose.command()
@network_option
@data_option
@attributes_option
@out_option("Folder for classes.md; measured shapes are kept in it.", folder=True)
@click.option("--count", type=click.IntRange(1), default=200, show_default=True, help="At most this many shapes a set.")
@device_option()
def classes(network: str, data: Path, attributes: str, out: Path, count: int, device: str) -> None:
    """Show what each class of held-out shapes adds to MMD-CD.

    Prints and writes classes.md: for every class the mean distance to the nearest sample and to the nearest training
    shape, and its share of the difference, the largest first.
    """
    from metrics.shapes.mmd_by_class import report_mmd_by_class
    from torch_utils.devices import pick_device

    click.echo(report_mmd_by_class(network, data, attributes.split(","), out, count=count, device=pick_device(device)))
