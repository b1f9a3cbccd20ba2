"""`python -m studies.fuzz --target obj --seconds 300`: read mutated files until the time is over.

A file passes if it is read or refused with a UserError, in at most 60 seconds, with at most ten times its size plus
200 MB of memory. Anything else is kept under --out with what happened; then the exit status is 1.
"""

import os
import random
import re
import shutil
import signal
import sys
import time
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import FrameType

import click

from studies.fuzz.targets import Target, targets
from torch_utils.errors import UserError

MAX_SECONDS, MAX_BYTES_PER_BYTE = 60, 10
CORPUS = 400  # files that gave an answer not seen before are changed further


class TooSlowError(Exception):
    """A file took longer than it may."""


@click.command()
@click.option("--target", "names", multiple=True, type=click.Choice([*targets(), "all"]), default=["all"])
@click.option("--seconds", type=click.IntRange(1), default=300, show_default=True, help="For each target.")
@click.option("--seed", default=0, show_default=True)
@click.option("--out", type=click.Path(path_type=Path), default=Path("fuzz-crashes"), show_default=True)
def main(names: tuple[str, ...], seconds: int, seed: int, out: Path) -> None:
    """Read mutated files until the time is over; print the number of files and of crashes of each target."""
    chosen = list(targets()) if "all" in names else list(names)
    crashes = 0
    click.echo(f"{'target':11} {'files':>7} {'answers':>8} {'crashes':>8} {'slowest':>8} {'memory':>8}")
    for name in chosen:
        tally = run_target(name, targets()[name], seconds, seed, out)
        click.echo(tally.line(name))
        crashes += tally.crashes
    if crashes:
        click.echo(f"{crashes} crashes, kept in {out}", err=True)
        sys.exit(1)


class Tally:
    """files: read or refused. answers: different outcomes. slowest: seconds. memory: largest growth, bytes."""

    def __init__(self) -> None:
        self.files = self.answers = self.crashes = self.memory = 0
        self.slowest = 0.0

    def line(self, name: str) -> str:
        """One row of the table."""
        memory = f"{self.memory / 1e6:.0f} MB"
        return f"{name:11} {self.files:7} {self.answers:8} {self.crashes:8} {self.slowest:6.1f} s {memory:>8}"


def run_target(name: str, make: Callable[[Path], Target], seconds: float, seed: int, out: Path) -> Tally:
    """Fuzz one target in child processes: one that dies is a crash of its last file, and another goes on."""
    tally = Tally()
    work = out / f"{name}.work"
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    end = time.monotonic() + seconds
    generation = 0
    while time.monotonic() < end:
        report, answers = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(report)
            try:
                _child(make, work, end, seed + generation, answers, out / name)
            except BaseException:  # noqa: BLE001 — a child must never go on as its parent
                traceback.print_exc()
                os._exit(3)
            os._exit(0)
        os.close(answers)
        with os.fdopen(report) as lines:
            for line in lines:
                _count(tally, line.split())
        _, status = os.waitpid(child, 0)
        if os.WIFEXITED(status) and os.WEXITSTATUS(status):
            raise RuntimeError(f"fuzzing {name} failed; see above")
        if os.WIFSIGNALED(status):
            tally.crashes += 1
            _keep(out / name, work, f"the process died of signal {os.WTERMSIG(status)}")
        generation += 1
    shutil.rmtree(work, ignore_errors=True)
    return tally


def _count(tally: Tally, words: list[str]) -> None:
    """Add what a child says of one file: new answer (0, 1), crash (0, 1), seconds, bytes."""
    tally.files += 1
    tally.answers += int(words[0])
    tally.crashes += int(words[1])
    tally.slowest = max(tally.slowest, float(words[2]))
    tally.memory = max(tally.memory, int(words[3]))


def _child(make: Callable[[Path], Target], work: Path, end: float, seed: int, answers: int, kept: Path) -> None:
    """Read files until `end`."""
    warnings.simplefilter("ignore")
    signal.signal(signal.SIGALRM, _too_slow)
    scratch = work / "scratch"
    scratch.mkdir(exist_ok=True)
    target = make(scratch)
    folder = work / "files"
    folder.mkdir(exist_ok=True)
    for name, data in target.beside:
        (folder / name).write_bytes(data)
    rng = random.Random(seed)
    corpus, seen = list(target.seeds), set()
    first = True
    with os.fdopen(answers, "w", buffering=1) as report:
        while time.monotonic() < end:
            data = rng.choice(target.seeds) if first else target.change(rng.choice(corpus), target.seeds, rng)
            (folder / target.name).write_bytes(data)
            answer, crash, seconds, grown = read_once(target, folder / target.name, warm=first)
            first = False
            if crash:
                _keep(kept, work, crash)
            is_new = answer not in seen
            if is_new:
                seen.add(answer)
                if len(data) < 100_000:
                    corpus.append(data)
                    del corpus[len(target.seeds) : -CORPUS]
            report.write(f"{int(is_new)} {int(bool(crash))} {seconds:.3f} {grown}\n")


def read_once(target: Target, path: Path, warm: bool = False) -> tuple[str, str, float, int]:
    """What reading a file gave: its answer without numbers, the crash ("" if none), seconds, and bytes of growth.

    warm: the first file, which also imports what the reader needs and is not held to the bounds.
    """
    before = _reset_peak()
    start = time.monotonic()
    signal.alarm(MAX_SECONDS)
    answer, crash = "read", ""
    try:
        result = target.read(path)
        answer = "read " + " ".join(getattr(result, "warnings", ()))
    except (UserError, click.UsageError) as error:
        answer = str(error)
        crash = f"a message of several lines: {error}" if "\n" in answer else ""
    except TooSlowError:
        answer = crash = f"took more than {MAX_SECONDS} s"
    except Exception:  # noqa: BLE001 — every other exception is what is looked for
        crash = traceback.format_exc()
        answer = crash.splitlines()[-1]
    finally:
        signal.alarm(0)
    seconds, grown = time.monotonic() - start, max(_peak() - before, 0)
    if not warm and not crash and grown > MAX_BYTES_PER_BYTE * path.stat().st_size + target.free_bytes:
        crash = f"took {grown / 1e6:.0f} MB for a file of {path.stat().st_size} bytes"
    return re.sub(r"[0-9]+", "#", answer)[:200], crash, seconds, 0 if warm else grown


def _too_slow(signum: int, frame: FrameType | None) -> None:
    raise TooSlowError


def _reset_peak() -> int:
    """Set the peak of this process's memory to what it holds now, and return that in bytes (Linux)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")
    return _status("VmRSS")


def _peak() -> int:
    return _status("VmHWM")


def _status(name: str) -> int:
    with suppress(OSError):
        found = re.search(rf"^{name}:\s*(\d+) kB", Path("/proc/self/status").read_text(), re.MULTILINE)
        return int(found[1]) * 1024 if found else 0
    return 0


def _keep(kept: Path, work: Path, crash: str) -> None:
    """Keep the files of a crash and its cause, one folder for each different last line."""
    name = re.sub(r"[^a-zA-Z]+", "-", crash.strip().splitlines()[-1])[:60].strip("-")
    place = kept / name
    if not place.exists():
        shutil.copytree(work / "files", place)
        (place / "crash.txt").write_text(crash)


if __name__ == "__main__":
    main()
