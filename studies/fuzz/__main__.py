"""`python -m studies.fuzz --target obj --seconds 300`: read mutated files until the time is over.

With atheris (libFuzzer; `pip install -c constraints.txt -e ".[fuzz]"`), a file that reaches code not reached before is
changed further; without, one that gives an answer not seen before. The changes are the same: they know each format.

A file passes if it is read or refused with a UserError, in at most 60 seconds, with at most ten times its size plus
200 MB of memory. Anything else is kept under --out with what happened; then the exit status is 1.
"""

import gc
import importlib.util
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
from dataclasses import replace
from pathlib import Path
from types import FrameType, FunctionType

import click

from studies.fuzz.targets import Target, targets
from torch_utils.errors import UserError

MAX_SECONDS, MAX_BYTES_PER_BYTE = 60, 10
MAX_SEED_BYTES = 100_000
CORPUS = 400  # files that gave an answer not seen before are changed further
READERS = ("mesh_io", "dataset_tool", "networks", "configs", "torch_utils", "training")  # whose code is watched
# libFuzzer neither bounds files nor handles signals: `read_once` and the parent process do.
QUIET = ("-timeout=0", "-rss_limit_mb=0", "-verbosity=0", "-print_final_stats=0", "-detect_leaks=0")
SIGNALS = tuple(f"-handle_{name}=0" for name in ("segv", "bus", "abrt", "ill", "fpe"))


class TooSlowError(Exception):
    """A file took longer than it may."""


@click.command()
@click.option("--target", "names", multiple=True, type=click.Choice([*targets(), "all"]), default=["all"])
@click.option("--seconds", type=click.IntRange(1), default=300, show_default=True, help="For each target.")
@click.option("--seed", default=0, show_default=True)
@click.option(
    "--corpus",
    type=click.Path(path_type=Path, file_okay=False, exists=True),
    help="More files to begin with: those in it with a target's ending.",
)
@click.option("--out", type=click.Path(path_type=Path), default=Path("fuzz-crashes"), show_default=True)
def main(names: tuple[str, ...], seconds: int, seed: int, corpus: Path | None, out: Path) -> None:
    """Read mutated files until the time is over; print the number of files and of crashes of each target."""
    chosen = list(targets()) if "all" in names else list(names)
    crashes = 0
    click.echo(f"guided by {'coverage (atheris)' if atheris_installed() else 'answers (atheris is not installed)'}")
    click.echo(f"{'target':11} {'files':>7} {'answers':>8} {'crashes':>8} {'slowest':>8} {'memory':>8}")
    for name in chosen:
        tally = run_target(name, _with_corpus(targets()[name], corpus), seconds, seed, out)
        click.echo(tally.line(name))
        crashes += tally.crashes
    if crashes:
        click.echo(f"{crashes} crashes, kept in {out}", err=True)
        sys.exit(1)


def atheris_installed() -> bool:
    """Whether files can be chosen by the code that they reach."""
    return importlib.util.find_spec("atheris") is not None


def _with_corpus(make: Callable[[Path], Target], corpus: Path | None) -> Callable[[Path], Target]:
    """The target with the small files of a folder that have its ending among its seeds."""
    if corpus is None:
        return make

    def made(scratch: Path) -> Target:
        target = make(scratch)
        paths = sorted(path for path in corpus.rglob(f"*{Path(target.name).suffix}") if path.is_file())
        more = tuple(path.read_bytes() for path in paths if path.stat().st_size < MAX_SEED_BYTES)
        return replace(target, seeds=target.seeds + more)

    return made


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
    seen: set[str] = set()
    with os.fdopen(answers, "w", buffering=1) as report:

        def try_file(data: bytes, warm: bool = False) -> bool:
            """Read one file, report it, and say whether its answer is new."""
            (folder / target.name).write_bytes(data)
            answer, crash, seconds, grown = read_once(target, folder / target.name, warm=warm)
            if crash:
                _keep(kept, work, crash)
            is_new = answer not in seen
            seen.add(answer)
            report.write(f"{int(is_new)} {int(bool(crash))} {seconds:.3f} {grown}\n")
            return is_new

        try_file(target.seeds[seed % len(target.seeds)], warm=True)
        if atheris_installed():
            _guided_by_coverage(target, try_file, work, end, seed)
        else:
            _guided_by_answers(target, try_file, end, seed)


def _guided_by_answers(target: Target, try_file: Callable[[bytes], bool], end: float, seed: int) -> None:
    rng = random.Random(seed)
    corpus = list(target.seeds)
    while time.monotonic() < end:
        data = target.change(rng.choice(corpus), target.seeds, rng)
        if try_file(data) and len(data) < MAX_SEED_BYTES:
            corpus.append(data)
            del corpus[len(target.seeds) : -CORPUS]


def _guided_by_coverage(target: Target, try_file: Callable[[bytes], bool], work: Path, end: float, seed: int) -> None:
    """Ends the process."""
    import atheris

    for function in gc.get_objects():
        if isinstance(function, FunctionType) and str(function.__module__).partition(".")[0] in READERS:
            atheris.instrument_func(function)
    corpus = work / "corpus"
    corpus.mkdir(exist_ok=True)
    for index, data in enumerate(target.seeds):
        (corpus / f"seed-{index}").write_bytes(data)
    largest = max(4096, *(2 * len(data) for data in target.seeds))

    def change(data: bytes, max_size: int, number: int) -> bytes:
        return target.change(bytes(data), target.seeds, random.Random(number))[:max_size]

    def read(data: bytes) -> None:
        try_file(data)

    seconds = max(1, round(end - time.monotonic()))
    bounds = (f"-max_total_time={seconds}", f"-max_len={largest}", f"-seed={seed + 1}")
    atheris.Setup(["fuzz", *QUIET, *SIGNALS, *bounds, str(corpus)], read, custom_mutator=change)
    atheris.Fuzz()


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
