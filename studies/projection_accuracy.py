"""How well projection finds a network's own samples again, with given and with unknown cameras.

    python -m studies.projection_accuracy --network chair-128 --seeds 1001-1008 --out out/projection

The samples are held out: the bank of starts does not contain them. For each seed: silhouette IoU, PSNR, how far the
found camera's direction is from the true one, and processor seconds of one thread. The last lines are the means, and
how many cameras lie within five degrees.
"""

import math
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import click
import torch
from torch.nn import functional

from rendering.camera import Cameras
from rendering.camera_distribution import CAMERA_DISTRIBUTIONS, CameraDistribution
from sampling.latents import parse_seeds
from sampling.projection import StyleSpace, drawn, project_styles, stages_of
from sampling.start_search import SampleBank, make_bank, starts_anywhere, starts_for_cameras
from sampling.trained_generator import TrainedGenerator, load
from torch_utils.files import make_folder, write_json

NEAR_DEG = 5.0


@dataclass(frozen=True)
class Found:
    """Of one seed. off_deg: angle between the true and the found camera's direction; 0 where it is given."""

    seed: int
    iou: float
    psnr_db: float
    off_deg: float
    seconds: float


def angle_deg(a: Cameras, b: Cameras) -> float:
    """Between the directions of two cameras from the origin, degrees."""
    one, other = (functional.normalize(each.position().double(), dim=1) for each in (a, b))
    return math.degrees(math.acos(min(max(float((one * other).sum()), -1.0), 1.0)))


def find_again(
    generator: TrainedGenerator,
    bank: SampleBank,
    space: StyleSpace,
    distribution: CameraDistribution,
    seed: int,
    steps: int,
    *,
    given: bool,
) -> Found:
    """Draw one sample without truncation by a random camera, and project the image. given: the camera is known."""
    sample, camera = generator.sample(seed, 1.0), distribution.sample(0, [seed])
    with torch.no_grad():
        target = drawn(generator.network, sample.w_geo, sample.w_tex, camera, generator.resolution)
    start = time.process_time()
    starts = starts_for_cameras(bank, target, camera) if given else starts_anywhere(bank, target, distribution)
    cameras = camera if given else None
    result = project_styles(generator.network, space, target, starts, cameras, stages_of(len(starts.w_geo), steps))
    seconds = time.process_time() - start
    off = 0.0 if given else angle_deg(camera, result.cameras)
    return Found(seed, result.iou, result.psnr_db, off, seconds)


def found_row(one: Found) -> str:
    """A line of the table."""
    return f"| {one.seed} | {one.iou:.3f} | {one.psnr_db:.1f} | {one.off_deg:.1f} | {one.seconds:.0f} |"


def mean_row(found: Sequence[Found]) -> str:
    """The last line of the table: means, and the number of cameras within NEAR_DEG."""
    count = len(found)
    iou, psnr, seconds = (
        sum(values) / count for values in zip(*((f.iou, f.psnr_db, f.seconds) for f in found), strict=True)
    )
    near = sum(each.off_deg <= NEAR_DEG for each in found)
    return f"| mean | {iou:.3f} | {psnr:.1f} | {near} of {count} within {NEAR_DEG:g}° | {seconds:.0f} |"


@click.command()
@click.option("--network", default="chair-128", show_default=True)
@click.option("--seeds", default="1001-1008", show_default=True)
@click.option("--starts", type=int, default=160, show_default=True)
@click.option("--steps", type=int, default=100, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), required=True)
def main(network: str, seeds: str, starts: int, steps: int, out: Path) -> None:
    """Measure projection with given cameras, then with unknown ones."""
    torch.set_num_threads(1)
    make_folder(out)
    generator = load(network)
    distribution = CAMERA_DISTRIBUTIONS[generator.category]
    bank, space = make_bank(generator.network, generator.slots, starts), StyleSpace(generator.network)
    results = {}
    for name, given in (("given", True), ("unknown", False)):
        click.echo(f"\ncameras {name}\n\n| seed | IoU | PSNR, dB | camera off, ° | CPU s |\n|---|---|---|---|---|")
        found = []
        for seed in parse_seeds(seeds):
            found.append(find_again(generator, bank, space, distribution, seed, steps, given=given))
            click.echo(found_row(found[-1]))
        click.echo(mean_row(found))
        results[name] = [asdict(each) for each in found]
        write_json(out / "projection.json", results)


if __name__ == "__main__":
    main()
