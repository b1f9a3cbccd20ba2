"""`tetragan info` and `tetragan export`: what a configuration or a network file holds; networks to other places."""

import shlex
from pathlib import Path

import click


@click.command()
@click.argument("name")
@click.option("--set", "overrides", multiple=True, metavar="PATH=VALUE", help="Change a setting of a preset.")
@click.option("--layers/--no-layers", default=True, show_default=True, help="Print one line for each layer.")
def info(name: str, overrides: tuple[str, ...], layers: bool) -> None:
    """Parts, parameters, multiply-adds and memory of NAME: a preset, a YAML file or a network (.safetensors)."""
    from configs.loader import build_config, load_config
    from networks.describe import describe, training_bytes
    from networks.pretrained import network_file, pretrained_networks

    path = Path(name)
    if name.endswith(".safetensors") or path.is_dir():
        from torch_utils.checkpoint import load_network

        if overrides:
            raise click.UsageError(f"--set {overrides[0]}: a network file's configuration is fixed")
        file = load_network(network_file(path))
        config = build_config(file.config, name)
        click.echo(f"{name}: network of {config.category}, {file.nimg / 1000:g} kimg, written by {file.commit}")
    else:
        config = load_config(name, overrides)
        click.echo(f"{name}: {config.category} at {config.data.resolution} px")
        if name in pretrained_networks():
            click.echo(f"The preset; the network of that name: tetragan info {shlex.quote(str(network_file(name)))}")
    parts = describe(config)
    for part in parts:
        click.echo(f"\n{part.name}: {_millions(part.parameters)} parameters, {_giga(part.multiply_adds)} multiply-adds")
        for layer in part.layers if layers else []:
            shape = " × ".join(map(str, layer.shape)) or "1"
            columns = f"{_millions(layer.parameters):>11}  {_giga(layer.multiply_adds):>11}"
            click.echo(f"  {layer.name:<34} {shape:>18}  {columns}")
    click.echo(f"\ngenerator: {_millions(sum(p.parameters for p in parts[:2]))} parameters")
    click.echo(f"discriminators: {_millions(sum(p.parameters for p in parts[2:]))} parameters")
    gib = training_bytes(parts, config) / 2**30
    click.echo(f"memory of training at batch {config.training.batch}: about {gib:.1f} GiB (without raster and points)")


@click.command()
@click.option(
    "--network",
    required=True,
    help="A network file, a folder that holds one, an included network's name, or a training state.",
)
@click.option("--out", required=True, type=click.Path(path_type=Path), help="A .safetensors file, or a folder.")
@click.option("--half", is_flag=True, help="Store 16-bit numbers: half the size, the same shapes to the eye.")
@click.option(
    "--set",
    "overrides",
    multiple=True,
    metavar="PATH=VALUE",
    help="Change how the network is used: geometry.cells, geometry.connect_components …",
)
def export(network: str, out: Path, half: bool, overrides: tuple[str, ...]) -> None:
    """Copy a network to one file, or to a folder in the Hugging Face form (config.json, model.safetensors).

    Of a training state the running average of the generator is written, and its discriminators into the folder
    discriminators/ next to it, so that `tetragan train --init` can go on from there. Those of a network file are copied
    as well.
    """
    from networks.export import export_network

    for path in export_network(network, out, half=half, overrides=overrides):
        click.echo(f"{path}: {path.stat().st_size / 1e6:.1f} MB, {'fp16' if half else 'fp32'}")


def _millions(count: int) -> str:
    return f"{count / 1e6:.2f} M" if count >= 1e5 else f"{count:,}"


def _giga(count: int) -> str:
    return f"{count / 1e9:.2f} G" if count >= 1e8 else f"{count / 1e6:.2f} M" if count >= 1e4 else f"{count:,}"
