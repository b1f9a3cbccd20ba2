"""Processes that are killed at random moments, and started again."""

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from studies.soak.inputs import COMMAND, SoakInputs, environment, same_tensors, tetragan

Arguments = Sequence[object]


class Victim:
    """A running command in a process group of its own, so that none of its processes is forgotten."""

    def __init__(self, arguments: Arguments, launcher: Sequence[str] = COMMAND) -> None:
        self.process = subprocess.Popen(
            [*launcher, *map(str, arguments)], env=environment(), start_new_session=True, stderr=subprocess.PIPE,
            stdout=subprocess.DEVNULL, text=True,
        )  # fmt: skip

    def wait(self, seconds: float) -> bool:
        """Whether it has ended within this time."""
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill(self) -> str:
        """SIGKILL to the command itself; its workers must end by themselves. What it had printed."""
        self.process.kill()
        return self.process.communicate()[1]

    def finish(self) -> str:
        """Wait for the end; what it printed. RuntimeError unless it succeeds."""
        stderr = self.process.communicate()[1]
        if self.process.returncode:
            raise RuntimeError(f"status {self.process.returncode}\n{stderr}")
        return stderr

    def end(self) -> None:
        """Kill whatever is left of its group."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.communicate()


def wait_for_write(folder: Path, victim: Victim, seconds: float) -> bool:
    """Wait until a file of `folder` is being written; False if that does not happen."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and victim.process.poll() is None:
        if any(entry.name.startswith(".tetragan-") and entry.name.endswith(".tmp") for entry in os.scandir(folder)):
            return True
    return False


def kill_training(inputs: SoakInputs, out: Path, kills: int, total_kimg: float, rng: random.Random) -> str:
    """SIGKILL one training, half of the times inside a write, and compare its end with an undisturbed run."""
    call: list[object] = ["train", "--data", inputs.data, "--set", f"training.total_kimg={total_kimg}", "--quiet"]
    tetragan(*call, "--config", inputs.config, "--out", out / "undisturbed")
    folder, in_write, progress = out / "killed", 0, []
    start = ["--config", inputs.config]
    for kill in range(kills):
        before = progress_of(folder)
        victim = Victim([*call, "--out", folder, *start])
        begun = wait_for_progress(folder, victim, before)
        if kill % 2:
            in_write += wait_for_write(folder, victim, 10)
        else:
            victim.wait(rng.uniform(0, 0.5))
        stderr = victim.kill()
        if "Traceback" in stderr or victim.process.returncode not in (-signal.SIGKILL, 0):
            raise RuntimeError(f"kill {kill}: status {victim.process.returncode}\n{stderr}")
        progress.append(begun)
        start = ["--resume"]
    victim = Victim([*call, "--out", folder, "--resume"])
    victim.finish()
    last = Path(json.loads((folder / "latest.json").read_text())["state"]).name
    tensors = same_tensors(folder / last, out / "undisturbed" / last)
    same_tensors(folder / "network.safetensors", out / "undisturbed" / "network.safetensors")
    left = [path.name for path in folder.iterdir() if path.name.startswith(".tetragan")]
    if left:
        raise RuntimeError(f"left behind: {left}")
    return (
        f"{kills} kills, {in_write} of them inside a write, the last after {progress[-1]} of {total_kimg * 1000:g} "
        f"images: all {tensors} tensors of the final state are bitwise those of the undisturbed run"
    )


def wait_for_progress(folder: Path, victim: Victim, before: int) -> int:
    """Wait until the run has a newer state than `before` images; its images. RuntimeError if the run ends instead."""
    while (nimg := progress_of(folder)) <= before:
        if victim.wait(0.02):
            raise RuntimeError(f"ended by itself: {victim.finish()}")
    return nimg


def progress_of(folder: Path) -> int:
    """Images of the newest state of a run; −1 where there is none."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        return int(json.loads((folder / "latest.json").read_text())["nimg"])
    return -1


def kill_ranks(inputs: SoakInputs, out: Path, kills: int, total_kimg: float, rng: random.Random) -> str:
    """SIGKILL one of two ranks: the other must stop within a minute and say why. Then the run goes on."""
    port = 29000 + os.getpid() % 1000
    launcher = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(port),
                "-m", "tetragan"]  # fmt: skip
    call: list[object] = ["train", "--data", inputs.data, "--out", out, "--quiet", "--device", "cpu"]
    call += ["--set", f"training.total_kimg={total_kimg}"]
    start, seconds = ["--config", inputs.config], []
    for kill in range(kills):
        before = progress_of(out)
        victim = Victim([*call, *start], launcher)
        wait_for_progress(out, victim, before)
        if kill % 2:
            wait_for_write(out, victim, 10)
        else:
            victim.wait(rng.uniform(0, 0.5))
        ranks = ranks_of(victim.process.pid)
        if len(ranks) != 2:
            victim.end()
            raise RuntimeError(f"kill {kill}: expected two ranks at work, found {len(ranks)}")
        os.kill(rng.choice(ranks), signal.SIGKILL)
        begun = time.monotonic()
        if not victim.wait(60):
            victim.end()
            raise RuntimeError(f"kill {kill}: the other rank still ran after a minute")
        seconds.append(time.monotonic() - begun)
        stderr = victim.process.communicate()[1]
        if "Signal 9 (SIGKILL)" not in stderr:
            raise RuntimeError(f"kill {kill}: the cause is not named\n{stderr}")
        start = ["--resume"]
    Victim([*call, "--resume"], launcher).finish()
    done = json.loads((out / "latest.json").read_text())["nimg"]
    if done != total_kimg * 1000:
        raise RuntimeError(f"ended at {done} images")
    return (
        f"{kills} kills of one rank: all stopped after at most {max(seconds):.0f} s with the cause, every run went on"
    )


def ranks_of(launcher: int) -> list[int]:
    """The processes that torchrun started."""
    listed = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(launcher)], capture_output=True, text=True).stdout
    return [int(line.split()[0]) for line in listed.splitlines() if "tetragan" in line]


def kill_render(inputs: SoakInputs, out: Path, kills: int, rng: random.Random) -> str:
    """SIGKILL a render in two processes; the dataset must have the hash of an undisturbed one."""

    def call(name: str) -> list[object]:
        settings = ["--resolution", 32, "--views", 16, "--workers", 2, "--quiet"]
        return ["dataset", "render", inputs.meshes, "--out", out / name, *settings]

    tetragan(*call("undisturbed"))
    counts: list[int] = []
    for kill in range(kills):
        victim = Victim(call("killed"))
        before = len(counts) and counts[-1]
        while count_shapes(out / "killed") <= before and not victim.wait(0.02):
            pass
        victim.wait(rng.uniform(0, 0.3))
        stderr = victim.kill()
        if victim.process.returncode != -signal.SIGKILL:
            raise RuntimeError(
                f"kill {kill}: ended by itself, {victim.process.returncode}; render more shapes\n{stderr}"
            )
        counts.append(count_shapes(out / "killed"))
    tetragan(*call("killed"))
    hashes = {name: hash_of(out / name) for name in ("undisturbed", "killed")}
    if len(set(hashes.values())) != 1:
        raise RuntimeError(f"other hashes: {hashes}")
    tetragan("dataset", "check", out / "killed", "--quiet")
    return f"{kills} kills after {counts[0]} to {counts[-1]} shapes: hash {hashes['killed'][:12]}, as undisturbed"


def count_shapes(root: Path) -> int:
    """Complete shapes of a dataset."""
    return len([path for path in (root / "shapes").glob("*") if not path.name.startswith(".")])


def hash_of(root: Path) -> str:
    """The hash that `dataset info` prints."""
    return re.findall(r"^hash +(\w+)$", tetragan("dataset", "info", root).stdout, re.MULTILINE)[0]


def kill_evaluation(inputs: SoakInputs, out: Path, kills: int, rng: random.Random) -> str:
    """SIGKILL an evaluation; its scores must be those of an undisturbed one."""

    def call(name: str) -> list[object]:
        shared = ["--cache", out / f"cache-{name}", "--device", "cpu", "--quiet"]
        return ["evaluate", "--network", inputs.network, "--data", inputs.data, "--out", out / name, *shared]

    begun = time.monotonic()
    tetragan(*call("undisturbed"))
    duration, moments = time.monotonic() - begun, []
    for _ in range(kills):
        victim = Victim(call("killed"))
        moments.append(rng.uniform(0.2, 1) * duration)
        ended = victim.wait(moments[-1])
        stderr = victim.kill()
        if "Traceback" in stderr or (ended and victim.process.returncode):
            raise RuntimeError(stderr)
    tetragan(*call("killed"))
    scores = {name: scores_of(out / name / "report.json") for name in ("undisturbed", "killed")}
    if scores["undisturbed"] != scores["killed"]:
        raise RuntimeError(f"other scores: {scores}")
    count = len(scores["killed"])
    return f"{kills} kills after {min(moments):.0f} to {max(moments):.0f} of {duration:.0f} s: all {count} scores equal"


def scores_of(report: Path) -> dict[str, float | None]:
    """The values of a report by name."""
    return {metric["name"]: metric["value"] for metric in json.loads(report.read_text())["metrics"]}
