"""`tetragan info`: what a preset or a network file holds."""

import shlex
from pathlib import Path

import click

from tetragan.options import set_option


@click.command()
@click.argument("name")
@set_option
@click.option("--layers/--no-layers", default=True, show_default=True, help="Print one line for each layer.")
def info(name: str, overrides: tuple[str, ...], layers: bool) -> None:
    """Show layers, parameters, multiply-adds and memory of NAME.

    NAME is a preset, a YAML file, a network file (.safetensors), or the folder of a run or of a network.
    """
    import torch

    from configs.loader import build_config, load_config
    from networks.describe import describe
    from networks.memory import training_memory
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
    networks = describe(config)
    for network in networks:
        counts = f"{_millions(network.parameters)} parameters, {_giga(network.multiply_adds)} multiply-adds"
        click.echo(f"\n{network.name}: {counts}")
        for layer in network.layers if layers else []:
            shape = " × ".join(map(str, layer.shape)) or "1"
            columns = f"{_millions(layer.parameters):>11}  {_giga(layer.multiply_adds):>11}"
            click.echo(f"  {layer.name:<34} {shape:>18}  {columns}")
    click.echo(f"\ngenerator: {_millions(sum(network.parameters for network in networks[:2]))} parameters")
    click.echo(f"discriminators: {_millions(sum(network.parameters for network in networks[2:]))} parameters")
    memory = training_memory(networks, config)
    batch = config.training.batch
    click.echo(f"memory of training, fp32: about {_gib(memory.total)} GiB at batch {batch} in one process")
    parts = {"weights": memory.weights, "networks": memory.activations, "images": memory.images}
    listed = ", ".join(f"{name} {_gib(size)}" for name, size in parts.items())
    click.echo(f"  {listed}, program {_gib(memory.program)}; bf16 halves the part of the networks")
    if memory.total > LARGE_BYTES and batch % RANKS == 0:
        each = training_memory(networks, config, torch.bfloat16, images=batch // RANKS, program=False)
        click.echo(f"  on {RANKS} GPUs, bf16: about {_gib(each.total)} GiB each")


# Trainings that need more are split among this many processes in a line of their own.
LARGE_BYTES, RANKS = 16 << 30, 8


def _gib(size: int) -> str:
    return f"{size / 2**30:.3g}"


def _millions(count: int) -> str:
    return f"{count / 1e6:.2f} M" if count >= 1e5 else f"{count:,}"


def _giga(count: int) -> str:
    return f"{count / 1e9:.2f} G" if count >= 1e8 else f"{count / 1e6:.2f} M" if count >= 1e4 else f"{count:,}"
