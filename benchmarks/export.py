"""From a latent to a GLB, stage by stage: `python -m benchmarks.export [--network chair-128] [--config car-get3d]`.

One process and one thread. Stages are in processor time, which other processes change little. --config takes the
published size with random weights instead of a network: the times do not depend on what it has learned, but its surface
is a dented sphere.
"""

import resource
import statistics
import tempfile
import time
from pathlib import Path

import click
import torch

from configs.loader import load_config
from networks.generator import Generator
from sampling.mesh_export import MeshSettings
from sampling.sample_jobs import ImageStyle, SampleJob, SampleMaker
from sampling.styles import styles_of_seeds
from sampling.trained_generator import load
from torch_utils.timing import recording


@click.command()
@click.option("--network", default="chair-128", show_default=True)
@click.option("--config", help="A preset with random weights, instead of --network.")
@click.option("--count", type=int, default=8, show_default=True, help="Samples; the medians of all but the first.")
@click.option("--texture-size", type=int, default=1024, show_default=True)
@click.option("--normal-map", is_flag=True)
@click.option("--image/--no-image", default=True, show_default=True, help="Also the image of samples.png.")
def main(network: str, config: str | None, count: int, texture_size: int, normal_map: bool, image: bool) -> None:
    """Print the median milliseconds of each stage."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    generator = load(network).network if config is None else Generator(load_config(config)).eval().requires_grad_(False)
    style = ImageStyle(2 * generator.config.data.resolution) if image else None
    rows: list[dict[str, float]] = []
    with tempfile.TemporaryDirectory() as folder:
        settings = MeshSettings(texture_size_px=texture_size, normal_map=normal_map)
        maker = SampleMaker(generator, Path(folder), settings, style)
        for seed in range(count + 1):
            w_geo, w_tex = styles_of_seeds(generator, [seed], 0.7)
            job = SampleJob(f"seed{seed:04d}", w_geo, w_tex, {})
            start, cpu = time.perf_counter(), time.process_time()
            with recording(torch.device("cpu"), time.process_time) as phases:
                result = maker.make(job)
            whole = {"all": time.process_time() - cpu, "all, wall time": time.perf_counter() - start}
            rows.append({**phases.seconds, **whole})
            fill = (result.record or {}).get("atlas_fill", 0)
            rows[-1]["fill"] = fill
    rows = rows[1:]
    fills = [row.pop("fill") for row in rows]
    medians = {name: 1e3 * statistics.median(row.get(name, 0.0) for row in rows) for name in rows[0]}
    print("| stage | ms | share |\n|---|---|---|")
    for name, value in sorted(medians.items(), key=lambda item: item[1]):
        print(f"| {name} | {value:.0f} | {100 * value / medians['all']:.0f} % |")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(
        f"\nAtlas fill {min(fills):.2f} to {max(fills):.2f}, mean {statistics.mean(fills):.2f}. Peak memory {peak} MiB."
    )


if __name__ == "__main__":
    main()
