"""Everything that a GPU can tell, in one command of at most nine minutes: `make gpu-check`.

Each part runs in a process of its own under a time limit, so that one that hangs or crashes costs only itself. Results
go to OUT/gpu_check.json, and the output of each part to OUT/<part>.txt. A part of several runs that is cut short keeps
the runs that were done.
"""

import json
import shutil
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import click

from torch_utils.files import write_json

PYTHON = sys.executable
TRAINING = ("--benchmark", "--device", "cuda", "--set", "discriminator.stddev_group=4")


@dataclass(frozen=True)
class Part:
    """One command. seconds: its time limit. is_json: its output is a JSON document."""

    name: str
    command: tuple[str, ...]
    seconds: int
    is_json: bool = False


def training(name: str, resolution: int, micro_batch: int) -> Part:
    """The benchmark of training at the published size of cars, with images of `resolution` px."""
    settings = (f"data.resolution={resolution}", f"training.micro_batch={micro_batch}", "loss.r1_interval=4")
    options = [part for setting in settings for part in ("--set", setting)]
    return Part(name, (PYTHON, "-m", "tetragan", "train", "--config", "car-get3d", *TRAINING, *options), 75)


def parts(sanitizer: str | None) -> list[Part]:
    """What is run, in this order; the most valuable first. Their limits sum to less than nine minutes."""
    ops = (PYTHON, "-m", "benchmarks.ops", "--device", "cuda", "--json", "--seconds", "0.5")
    tests = ("-m", "pytest", "-n", "0", "-q", "-m", "cuda", "-p", "no:cacheprovider")
    generate = (PYTHON, "-m", "benchmarks.generate", "--device", "cuda", "--json")
    listed = [
        Part("doctor", (PYTHON, "-m", "tetragan", "doctor"), 30),
        Part("tests", (PYTHON, *tests), 90),
        Part("ops", ops, 60, is_json=True),
        Part("generate", generate, 25, is_json=True),
        Part("generate_8", (*generate, "--batch", "8"), 25, is_json=True),
        training("training_256", 256, 0),
        training("training_512", 512, 16),
        training("training_1024", 1024, 8),
    ]
    if sanitizer:
        listed.append(Part("sanitizer", (sanitizer, "--error-exitcode", "9", PYTHON, *tests, "tests/ops"), 75))
    return listed


def run_part(part: Part, out: Path, left: float) -> dict[str, object]:
    """Run one part for at most `left` seconds more: status, seconds, and its result or the end of its output."""
    start = time.monotonic()
    log = out / f"{part.name}.txt"
    try:
        with log.open("w", encoding="utf-8") as file:
            done = subprocess.run(
                part.command, stdout=file, stderr=subprocess.STDOUT, check=False, timeout=min(part.seconds, left)
            )
        status = "passed" if done.returncode == 0 else f"failed with exit status {done.returncode}"
    except subprocess.TimeoutExpired:
        status = "stopped at its time limit"
    text = log.read_text(encoding="utf-8", errors="replace")
    result: object = text.splitlines()[-40:]
    if part.is_json and status == "passed":
        result = json.loads(text[text.index("{") :])
    return {"status": status, "seconds": round(time.monotonic() - start, 1), "result": result}


@click.command()
@click.option("--out", type=click.Path(path_type=Path), default=Path("out/gpu_check"), show_default=True)
@click.option("--minutes", type=float, default=9.0, show_default=True, help="Time limit of everything.")
@click.option("--only", multiple=True, help="Only these parts; may be repeated.")
def main(out: Path, minutes: float, only: tuple[str, ...]) -> None:
    """Run all parts and write gpu_check.json."""
    out.mkdir(parents=True, exist_ok=True)
    end = time.monotonic() + 60 * minutes
    results: dict[str, object] = {}
    failed = []
    for part in parts(shutil.which("compute-sanitizer")):
        if only and part.name not in only:
            continue
        left = end - time.monotonic()
        outcome = run_part(part, out, left) if left > 5 else {"status": "no time left", "seconds": 0, "result": None}
        results[part.name] = {"command": " ".join(part.command), **outcome}
        write_json(out / "gpu_check.json", results)
        click.echo(f"{part.name:<14} {outcome['status']} ({outcome['seconds']} s)")
        if outcome["status"] != "passed":
            failed.append(part.name)
    click.echo(f"results: {out / 'gpu_check.json'}")
    if failed:
        raise click.ClickException(f"not passed: {', '.join(failed)}; their output lies beside it")


if __name__ == "__main__":
    main()
