"""Options that several verbs share, declared once."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

PATH = click.Path(path_type=Path)
Decorator = Callable[[Any], Any]

network_option: Decorator = click.option(
    "--network",
    required=True,
    metavar="NETWORK",
    help="A network file, a folder that holds one, or the name of an included network.",
)
truncation_option: Decorator = click.option(
    "--truncation",
    type=click.FloatRange(0, 2),
    default=0.7,
    show_default=True,
    help="ψ: 1 gives the full variety, 0 the average shape.",
)
resolution_option: Decorator = click.option(
    "--resolution", type=click.IntRange(16, 2048), help="Side of an image, px.  [default: twice the training images']"
)
unlit_option: Decorator = click.option(
    "--unlit", is_flag=True, help="Show the bare colors on black, instead of lit shapes on light gray."
)
set_option: Decorator = click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="PATH=VALUE",
    help="Change a setting, e.g. loss.gamma=10; may be repeated.",
)
quiet_option: Decorator = click.option("--quiet", is_flag=True, help="Print no progress, only what needs attention.")


def device_option(default: str = "auto") -> Decorator:
    """--device, a name that `torch_utils.devices.pick_device` checks."""
    return click.option("--device", default=default, show_default=True, help="auto, cpu, cuda or cuda:N.")


def out_option(description: str, *, required: bool = True, folder: bool = False) -> Decorator:
    """--out. folder: refuse a file of that name."""
    kind = click.Path(path_type=Path, file_okay=not folder)
    return click.option("--out", type=kind, required=required, help=description)


def seeds_option(default: str) -> Decorator:
    """--seeds, which `sampling.latents.parse_seeds` reads."""
    return click.option("--seeds", default=default, show_default=True, help="Numbers and ranges, e.g. 0-15,20.")


class SplitShares(click.ParamType):
    """ "90/5/5": percentages of train, val and test."""

    name = "train/val/test"

    def convert(self, value, param, ctx):
        """The three shares, which sum to 1."""
        from dataset_tool.format.splits import parse_shares

        return value if isinstance(value, tuple) else parse_shares(value)


shares_option: Decorator = click.option(
    "--split", "shares", type=SplitShares(), help="Shares of train, val and test, e.g. 90/5/5.  [default: 70/10/20]"
)
