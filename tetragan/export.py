"""`tetragan export`: a network to another file or folder."""

from pathlib import Path

import click

from tetragan.options import cells_option, out_option


@click.command()
@click.option(
    "--network",
    required=True,
    metavar="NETWORK",
    help="A network file, a folder that holds one, the name of an included network, or a training state.",
)
@out_option("A .safetensors file, or a folder.")
@click.option("--half", is_flag=True, help="Store 16-bit numbers: half the size, the same shapes to the eye.")
@click.option(
    "--textures",
    metavar="NETWORK",
    help="Take the textures of this network or training state, of a texture stage that began with --network.",
)
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="PATH=VALUE",
    help="Change how the network is used: geometry.cells, geometry.connect_components …",
)
@cells_option
def export(
    network: str, out: Path, half: bool, textures: str | None, overrides: tuple[str, ...], cells: int | None
) -> None:
    """Copy a network to one file, or to a folder in the Hugging Face form.

    The folder holds config.json, model.safetensors and README.md, the model card. Of a training state the running
    average of the generator is written, and its discriminators into the folder discriminators/ next to the file, so
    that `tetragan train --init` can go on from there. Those of a network file are copied as well.
    """
    from networks.export import export_network

    if cells is not None:
        overrides = (*overrides, f"geometry.cells={cells}")
    for path in export_network(network, out, half=half, overrides=overrides, textures=textures):
        click.echo(f"{path}: {path.stat().st_size / 1e6:.1f} MB, {'fp16' if half else 'fp32'}")
