"""Kill, fill and lock out the commands at random moments: `make soak`.

Every part prints one line of a table. A part that fails prints what happened, and the exit status is 1. The figures of
the last complete run are in docs/reliability.md.
"""

import random
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path

import click

from studies.soak.disks import can_mount, fill_disks, lose_permissions
from studies.soak.inputs import make_soak_inputs
from studies.soak.kills import kill_evaluation, kill_ranks, kill_render, kill_training

PARTS = ("training", "ranks", "render", "evaluate", "disk", "permission")


@click.command()
@click.option("--part", "parts", type=click.Choice(PARTS), multiple=True, help="May be repeated.  [default: all]")
@click.option("--share", type=click.FloatRange(0, 1, min_open=True), default=1.0, show_default=True,
              help="Share of the kills and moments, for a quick look.")  # fmt: skip
@click.option("--seed", type=int, default=0, show_default=True, help="Another seed, other moments.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("out/soak"), show_default=True)
def main(parts: tuple[str, ...], share: float, seed: int, out: Path) -> None:
    """Disturb the commands at random moments and check that nothing is lost or silently wrong."""
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)

    def times(count: int) -> int:
        return max(2, round(count * share))

    chosen = parts or PARTS
    inputs = make_soak_inputs(out.resolve() / "inputs", shapes=max(40, times(120)) if "render" in chosen else 0)
    folder = out.resolve()
    work: dict[str, Callable[[random.Random], str]] = {
        "training": lambda rng: kill_training(inputs, folder / "training", times(30), 12.0 * share, rng),
        "ranks": lambda rng: kill_ranks(inputs, folder / "ranks", times(10), 4.0 * share, rng),
        "render": lambda rng: kill_render(inputs, folder / "render", times(10), rng),
        "evaluate": lambda rng: kill_evaluation(inputs, folder / "evaluate", times(10), rng),
        "disk": lambda rng: fill_disks(inputs, folder / "disk", times(25), rng),
        "permission": lambda rng: lose_permissions(inputs, folder / "permission", times(25), rng),
    }
    failures = 0
    click.echo("| part | result | minutes |\n|---|---|---|")
    for name in chosen:
        if name in ("disk", "permission") and not can_mount():
            click.echo(f"| {name} | skipped: needs root, to mount a small disk and to be bound by permissions | |")
            continue
        begun = time.monotonic()
        try:
            result = work[name](random.Random(f"{seed} {name}"))
        except Exception as error:  # noqa: BLE001  # the other parts are still of interest
            failures += 1
            result = f"FAILED: {type(error).__name__}"
            click.echo(str(error), err=True)
        click.echo(f"| {name} | {result} | {(time.monotonic() - begun) / 60:.1f} |")
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
