"""Speed of each op against its peer in one run: `python -m benchmarks.ops [--device cpu|cuda] [--json]`.

The peer is what a user would call instead. Each group of ops has its own file of rows, listed in `ROWS`.
"""

import json
import platform
import time
from dataclasses import asdict

import click
import torch

from benchmarks.row import Result, copy_bandwidth, measure
from benchmarks.rows_geometry import GEOMETRY_ROWS
from benchmarks.rows_light import LIGHT_ROWS
from benchmarks.rows_metrics import METRIC_ROWS
from benchmarks.rows_networks import NETWORK_ROWS
from benchmarks.rows_raster import RASTER_ROWS

ROWS = [*GEOMETRY_ROWS, *LIGHT_ROWS, *METRIC_ROWS, *NETWORK_ROWS, *RASTER_ROWS]


def machine(device: torch.device) -> dict[str, object]:
    """The device and software that the figures depend on."""
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or platform.machine()
    return {"device": device.type, "name": name, "threads": torch.get_num_threads(), "torch": torch.__version__}


def as_table(results: list[Result]) -> str:
    """The results as a Markdown table."""
    lines = [
        "| op | size | ours, ms | peer | peer, ms | peer / ours | threshold | MB moved | share of copy bandwidth |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for r in results:
        peer = "–" if r.peer_ms is None else f"{r.peer_ms:.2f}"
        ratio = r.note or "–" if r.ratio is None else f"{r.ratio:.2f}"
        least = "–" if r.least is None else f"{r.least:g}"
        lines.append(
            f"| {r.op} | {r.size} | {r.ours_ms:.2f} | {r.peer} | {peer} | {ratio} | {least} | {r.moved_mb:.1f} |"
            f" {r.bandwidth_share:.1%} |"
        )
    return "\n".join(lines)


@click.command()
@click.option("--device", type=click.Choice(["cpu", "cuda"]), default="cpu", show_default=True)
@click.option("--json", "as_json", is_flag=True, help="JSON instead of a table.")
@click.option("--only", default="", help="Only ops whose name contains this text.")
@click.option("--threads", type=int, default=None, help="Threads of torch; default: all.")
@click.option("--seconds", type=float, default=3.0, show_default=True, help="Approximate time for each row.")
@click.option("--cpu-time", is_flag=True, help="Time of the processor, not of the clock, for a busy machine.")
def main(device: str, as_json: bool, only: str, threads: int | None, seconds: float, cpu_time: bool) -> None:
    """Time every op against its peer."""
    if device == "cuda" and not torch.cuda.is_available():
        raise click.UsageError("--device cuda: found no CUDA device; time the CPU kernels with --device cpu")
    if cpu_time and device == "cuda":
        raise click.UsageError("--cpu-time: measures the processor alone; leave it out with --device cuda")
    if threads is not None:
        torch.set_num_threads(threads)
    where = torch.device(device)
    bandwidth = copy_bandwidth(where)
    rows = [row for row in ROWS if only in row.op and device in row.devices]
    clock = time.process_time if cpu_time else time.perf_counter
    results = [measure(row, where, bandwidth, seconds, clock) for row in rows]
    facts = {**machine(where), "copy_gb_per_s": round(bandwidth / 1e9, 1)}
    if as_json:
        click.echo(json.dumps({"machine": facts, "rows": [asdict(r) for r in results]}, indent=1))
        return
    click.echo(", ".join(f"{name} {value}" for name, value in facts.items()))
    click.echo(as_table(results))


if __name__ == "__main__":
    main()
