"""Speed of evaluation against other programs: `python -m benchmarks.metrics [--threads N] [--no-quick-protocol]`.

Takes about two minutes. Prints one row a figure: what was measured, its threshold, and the other program's figure.
Times are medians and depend on the machine.
"""

import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import click
import scipy.linalg
import torch

from benchmarks.row import tensor_bytes
from benchmarks.rows_metrics import (
    ORIGINAL_MESH_S,
    ORIGINAL_PAIR_S,
    POINTS,
    ball,
    cdist_matrix,
    kdtree_matrix,
    surface_point_clouds,
)
from metrics.images.frechet import fit, frechet_distance
from metrics.shapes.light_field import mesh_descriptor
from torch_utils.ops.chamfer import chamfer_matrix
from torch_utils.ops.lfd_distance import VIEW_BYTES, lfd_distance


def median_seconds(function: Callable[[], object], rounds: int) -> float:
    """Median seconds of a call, after one call to warm up."""
    function()
    times = []
    for _ in range(rounds):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def peak_bytes() -> int:
    """The peak memory of this process so far."""
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def print_row(what: str, value: str, threshold: str, peer: str = "") -> None:
    """Print one row of the table."""
    click.echo(f"| {what} | {value} | {threshold} | {peer} |")


def chamfer_rows() -> None:
    """Chamfer distance: a pair against cKDTree and torch.cdist on one core, and a block of 300 × 300 pairs."""
    x, y = surface_point_clouds(24, 0), surface_point_clouds(24, 1)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    ours = median_seconds(lambda: chamfer_matrix(x, y), 7) / 576
    few = x[:3], y[:3]
    tree = median_seconds(lambda: kdtree_matrix(*(c.double().numpy() for c in few)), 5) / 9
    dense = median_seconds(lambda: cdist_matrix(*few), 3) / 9
    torch.set_num_threads(threads)
    print_row(
        f"CD of a pair of shapes, {POINTS:,} points, one core",
        f"{1e3 * ours:.3f} ms",
        f"≥ 12 × cKDTree: {tree / ours:.1f} ×",
        f"cKDTree {1e3 * tree:.2f} ms, torch.cdist {1e3 * dense:.2f} ms ({dense / ours:.1f} ×)",
    )
    a, b = surface_point_clouds(300, 2), surface_point_clouds(300, 3)
    start = time.perf_counter()
    chamfer_matrix(a, b)
    block = time.perf_counter() - start
    # Points and matrix grow with the sets; the rest of the memory does not.
    points, matrix = 12 * POINTS * (7500 + 1500), 4 * 7500 * 1500
    memory = peak_bytes() + max(0, points - tensor_bytes(a, b)) + matrix
    minutes = block * (7500 / 300) * (1500 / 300) / 60
    print_row(
        f"CD of 7,500 × 1,500 shapes, {threads} threads, extrapolated from 300 × 300",
        f"{minutes:.1f} min",
        "≤ 35 min",
        f"block {block:.2f} s",
    )
    print_row(
        "memory of the process for those 7,500 × 1,500",
        f"{memory / 1e9:.2f} GB",
        "< 2 GB",
        f"points {points / 1e6:.0f} MB, matrix {matrix / 1e6:.0f} MB",
    )


def light_field_rows() -> None:
    """Light-field distance: features of a mesh of 20k faces, and pairs."""
    mesh = ball()
    features = median_seconds(lambda: mesh_descriptor(mesh), 7)
    print_row(
        f"LFD features, {mesh.faces.shape[0]:,} faces, {torch.get_num_threads()} threads",
        f"{features:.3f} s",
        "≤ 0.25 s",
        f"original program {ORIGINAL_MESH_S} s on one core ({ORIGINAL_MESH_S / features:.1f} ×)",
    )
    generator = torch.Generator().manual_seed(0)
    a = torch.randint(80, (100, 10, 10, VIEW_BYTES), generator=generator, dtype=torch.uint8)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    pair = median_seconds(lambda: lfd_distance(a, a), 5) / 10_000
    torch.set_num_threads(threads)
    print_row(
        "LFD of a pair, one core",
        f"{1e6 * pair:.2f} µs",
        "≤ 10 µs",
        f"original program {1e6 * ORIGINAL_PAIR_S:.0f} µs ({ORIGINAL_PAIR_S / pair:.0f} ×)",
    )


def frechet_row() -> None:
    """Fréchet distance of 2,048 dimensions, and of 1,024 against scipy's matrix square root."""
    generator = torch.Generator().manual_seed(0)
    a, b = (fit(torch.randn(4096, 2048, generator=generator)) for _ in range(2))
    seconds = median_seconds(lambda: frechet_distance(a, b), 1)
    small = [fit(torch.randn(2048, 1024, generator=generator)) for _ in range(2)]
    ours = median_seconds(lambda: frechet_distance(*small), 1)
    product = (small[0].covariance @ small[1].covariance).numpy()
    start = time.perf_counter()
    scipy.linalg.sqrtm(product)
    root = time.perf_counter() - start
    peer = f"1,024 dimensions: scipy.linalg.sqrtm {root:.2f} s, ours {ours:.2f} s ({root / ours:.1f} ×)"
    print_row("Fréchet distance, 2,048 dimensions", f"{seconds:.2f} s", "≤ 5 s", peer)


def quick_row() -> None:
    """The `quick` protocol on 200 generated and 200 reference mesh files."""
    import trimesh

    from metrics.evaluate import Options, run_evaluation

    with tempfile.TemporaryDirectory() as folder:
        for name, seed in (("generated", 0), ("references", 1)):
            (Path(folder) / name).mkdir()
            sides = 0.3 + 0.7 * torch.rand(200, 3, generator=torch.Generator().manual_seed(seed))
            for i, side in enumerate(sides.tolist()):
                box = trimesh.creation.box(side).subdivide_loop(0) if i % 2 else trimesh.creation.icosphere(4)
                box.apply_scale(side)
                box.export(Path(folder) / name / f"{i:03d}.glb")
        start = time.perf_counter()
        run_evaluation(
            Options(
                None,
                Path(folder) / "generated",
                None,
                Path(folder) / "references",
                Path(folder) / "out",
                cache=Path(folder) / "cache",
                quiet=True,
            )
        )
        print_row("protocol `quick` on 200 + 200 meshes", f"{time.perf_counter() - start:.1f} s", "≤ 60 s")


@click.command()
@click.option("--threads", type=int, default=None, help="Threads of torch; default: all.")
@click.option(
    "--quick-protocol/--no-quick-protocol",
    default=True,
    show_default=True,
    help="Also time the whole `quick` protocol (up to a minute).",
)
def main(threads: int | None, quick_protocol: bool) -> None:
    """Time the steps of an evaluation."""
    if threads is not None:
        torch.set_num_threads(threads)
    click.echo("| what | measured | threshold | other program |\n|---|---|---|---|")
    chamfer_rows()
    light_field_rows()
    frechet_row()
    if quick_protocol:
        quick_row()


if __name__ == "__main__":
    main()
