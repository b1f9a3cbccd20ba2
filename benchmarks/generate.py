"""From latents to a mesh and its texture planes, phase by phase: `python -m benchmarks.generate [--device cuda]`.

The network has the published size and random weights: the time does not depend on what it has learned.
"""

import json
import statistics
import time

import click
import torch

from benchmarks.ops import machine
from configs.loader import load_config
from networks.generator import Generator
from sampling.latents import latents
from torch_utils.timing import phase, recording


def times(generator: Generator, batch: int, rounds: int) -> dict[str, float]:
    """Median milliseconds of each phase and of all, for `batch` shapes at once."""
    device, dimensions = generator.device, generator.config.mapping.z_dim
    seen: list[dict[str, float]] = []
    for seed in range(rounds + 1):
        z_geo, z_tex = latents(range(seed * batch, (seed + 1) * batch), dimensions, device)
        start = time.perf_counter()
        with torch.no_grad(), recording(device) as phases:
            with phase("mapping"):
                w_geo, w_tex = generator.map(z_geo, z_tex)
            planes, _ = generator.planes(w_geo, w_tex)
            generator.surface(planes, w_geo)
        # Phases wait for the device, so this is the time until the mesh is there.
        seen.append({**phases.seconds, "all": time.perf_counter() - start})
    return {name: 1e3 * statistics.median(one[name] for one in seen[1:]) for name in seen[0]}


@click.command()
@click.option("--config", "name", default="car-get3d", show_default=True, help="A preset or a YAML file.")
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--precision", type=click.Choice(["auto", "bf16", "fp32"]), default="auto", show_default=True)
@click.option("--batch", type=int, default=1, show_default=True, help="Shapes at once.")
@click.option("--rounds", type=int, default=7, show_default=True, help="The median of so many.")
@click.option("--threads", type=int, help="CPU threads.  [default: all]")
@click.option("--json", "as_json", is_flag=True, help="JSON instead of a table.")
def main(name: str, device: str, precision: str, batch: int, rounds: int, threads: int | None, as_json: bool) -> None:
    """Time the way from latents to meshes."""
    if threads is not None:
        torch.set_num_threads(threads)
    torch.manual_seed(0)
    generator = Generator(load_config(name)).to(device).eval().requires_grad_(False)
    generator.precision = precision
    result = times(generator, batch, rounds)
    facts = {**machine(torch.device(device)), "config": name, "precision": precision, "batch": batch}
    if as_json:
        click.echo(json.dumps({"machine": facts, "ms": result}, indent=1))
        return
    click.echo(", ".join(f"{key} {value}" for key, value in facts.items()))
    for key, value in sorted(result.items(), key=lambda item: -item[1]):
        click.echo(f"{key:<22}{value:>10.1f} ms")


if __name__ == "__main__":
    main()
