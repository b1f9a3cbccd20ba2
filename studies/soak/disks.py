"""Disks that fill up and permissions that are lost at random moments, over all verbs that write. Needs root."""

import ctypes
import os
import random
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from studies.soak.inputs import COMMAND, SoakInputs, environment

_DROP, _OVERRIDE = 24, (1, 2)  # PR_CAPBSET_DROP; CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH
ROOM = "256m"
# What the one line says: the system's words, or what was seen before the first byte.
FULL, DENIED = ("No space left on device", "are free"), ("Permission denied",)


def writing_verbs(inputs: SoakInputs, out: Path) -> dict[str, list[object]]:
    """A call of every verb that writes."""
    network = ["--network", inputs.network]
    return {
        "dataset procedural": ["dataset", "procedural", "--category", "chair", "--count", 8, "--workers", 2,
                               "--out", out, "--quiet"],
        "dataset render": ["dataset", "render", inputs.few, "--out", out, "--resolution", 64, "--views", 8,
                           "--workers", 2, "--quiet"],
        "dataset pack": ["dataset", "pack", inputs.data, "--out", out / "data.zip", "--quiet"],
        "dataset pack shards": ["dataset", "pack", inputs.data, "--out", out, "--shard-size", 1, "--quiet"],
        "dataset merge": ["dataset", "merge", inputs.data, "--out", out, "--quiet"],
        "dataset subset": ["dataset", "subset", inputs.data, "--out", out, "--quiet"],
        "dataset sheet": ["dataset", "sheet", inputs.data, "--out", out / "sheet.html"],
        "train": ["train", "--config", inputs.config, "--data", inputs.data, "--out", out, "--quiet",
                  "--set", "training.total_kimg=0.4"],
        "generate": ["generate", *network, "--seeds", "0-3", "--texture-size", 256, "--out", out, "--quiet"],
        "swap": ["swap", *network, "--shape-seeds", 0, "--texture-seeds", 1, "--texture-size", 256, "--out", out,
                 "--quiet"],
        "turntable": ["turntable", *network, "--seeds", 0, "--frames", 8, "--video", "gif", "--out", out, "--quiet"],
        "perturb": ["perturb", *network, "--seed", 0, "--count", 2, "--format", "glb", "--texture-size", 256, "--out",
                    out, "--quiet"],
        "interpolate": ["interpolate", *network, "--seeds", "0-1", "--steps", 4, "--out", out],
        "generate viewer": ["generate", *network, "--seeds", "0-1", "--texture-size", 256, "--viewer", "--out",
                            out, "--quiet"],
        "texture": ["texture", inputs.mesh, "--images", inputs.views, "--size", 256, "--steps", 2,
                    "--out", out / "textured.glb", "--quiet"],
        "project": ["project", inputs.views / "000.png", *network, "--camera", "mug", "--starts", 8, "--steps", 2,
                    "--texture-size", 256, "--out", out, "--quiet"],
        "directions": ["directions", *network, "--axes", 1, "--out", out, "--quiet"],
        "adapt": ["adapt", *network, "--prompt", "a red mug", "--source", "a mug", "--steps", 2, "--out", out,
                  "--quiet"],
        "adapt single": ["adapt", *network, "--mode", "single", "--prompt", "a red mug", "--steps", 2, "--out", out,
                         "--quiet"],
        "export": ["export", *network, "--out", out / "net.safetensors"],
        "evaluate": ["evaluate", *network, "--data", inputs.data, "--out", out, "--cache", out / "cache", "--quiet",
                     "--protocol", "pointflow"],
        "dataset convert": ["dataset", "convert", out, "--up", "+Y", "--front", "+Z"],
        "dataset split": ["dataset", "split", out, "--split", "50/25/25"],
        "diagnose classes": ["diagnose", "classes", *network, "--data", inputs.data, "--by", "handle", "--out", out],
        "diagnose missing": ["diagnose", "missing", "--network", inputs.state, "--data", inputs.data, "--by", "handle",
                             "--out", out],
    }  # fmt: skip


def prepare(name: str, inputs: SoakInputs, out: Path) -> None:
    """Copy what a verb changes in place."""
    source = {"dataset convert": inputs.foreign, "dataset split": inputs.data}.get(name)
    if source is not None:
        shutil.copytree(source, out)


def fill_disks(inputs: SoakInputs, mount: Path, moments: int, rng: random.Random) -> str:
    """Run the verbs on disks of random sizes; each must fail with one line, and succeed once there is room."""
    failed, fit = 0, 0
    needs = {}
    for name, call in writing_verbs(inputs, mount / "out").items():
        with small_disk(mount, ROOM):
            prepare(name, inputs, mount / "out")
            needs[name] = _need(name, call, mount)
    for moment in range(moments):
        name = list(needs)[moment % len(needs)]
        with small_disk(mount, ROOM):
            prepare(name, inputs, mount / "out")
            used = _used(mount)
            size = max(used + 4096, used + int(needs[name] * rng.uniform(0.05, 0.95)))
            subprocess.run(["mount", "-o", f"remount,size={size >> 12 << 12}", str(mount)], check=True)
            call = writing_verbs(inputs, mount / "out")[name]
            done = _run(call)
            if done.returncode == 0:
                fit += 1
                continue
            check_refusal(name, done, mount, FULL)
            subprocess.run(["mount", "-o", f"remount,size={ROOM}", str(mount)], check=True)
            _check_second(name, _run(_again(name, call, mount / "out")))
            failed += 1
    return (
        f"{moments} disks of 5 to 95 % of the need: {failed} one-line errors, all went on with room; {fit} had enough"
    )


def lose_permissions(inputs: SoakInputs, folder: Path, moments: int, rng: random.Random) -> str:
    """Take the permission to write away while the verbs work; each must end with one line, and go on later."""
    failed, finished = 0, 0
    verbs = list(writing_verbs(inputs, folder))
    for moment in range(moments):
        name = verbs[moment % len(verbs)]
        out = folder / f"{moment}" / "out"
        out.parent.mkdir(parents=True)
        prepare(name, inputs, out)
        call = writing_verbs(inputs, out)[name]
        process = subprocess.Popen(
            [*COMMAND, *map(str, call)], env=environment(), preexec_fn=_without_override, text=True,
            stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
        )  # fmt: skip
        while not out.exists() and process.poll() is None:
            time.sleep(0.001)
        time.sleep(rng.uniform(0, 0.5))
        locked = [out.parent, *(path for path in out.parent.rglob("*") if path.is_dir())]
        for path in locked:
            path.chmod(0o555)
        stderr = process.communicate()[1]
        for path in locked:
            if path.exists():
                path.chmod(0o755)
        if process.returncode == 0:
            finished += 1
            continue
        check_refusal(name, subprocess.CompletedProcess(name, process.returncode, "", stderr), None, DENIED)
        _check_second(name, _run(_again(name, call, out)))
        failed += 1
    return f"{moments} moments: {failed} one-line errors, all went on later; {finished} had finished before"


def check_refusal(
    name: str, done: subprocess.CompletedProcess[str], mount: Path | None, reasons: tuple[str, ...]
) -> None:
    """RuntimeError unless the command failed with status 2 and one line with the reason, and left no temporary file."""
    errors = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
    if (
        done.returncode != 2
        or len(errors) != 1
        or "Traceback" in done.stderr
        or not any(reason in errors[0] for reason in reasons)
    ):
        raise RuntimeError(f"{name}: status {done.returncode}, expected one line with {reasons}\n{done.stderr}")
    left = [] if mount is None else list(mount.rglob(".tetragan-*"))
    if left:
        raise RuntimeError(f"{name}: left {left}")


@contextmanager
def small_disk(mount: Path, size: str) -> Iterator[None]:
    """A disk in memory of this size."""
    mount.mkdir(parents=True, exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(mount)], check=True)
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(mount)], check=True)


def can_mount() -> bool:
    """Whether this process may mount disks."""
    with tempfile.TemporaryDirectory() as folder:
        call = ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder]
        mounted = os.geteuid() == 0 and subprocess.run(call, capture_output=True).returncode == 0
        if mounted:
            subprocess.run(["umount", folder], check=True)
    return mounted


def _need(name: str, call: list[object], mount: Path) -> int:
    """Bytes that a verb writes."""
    before = _used(mount)
    done = _run(call)
    if done.returncode:
        raise RuntimeError(f"{name}: {done.stderr}")
    return _used(mount) - before


def _used(mount: Path) -> int:
    """Bytes in use on a disk."""
    status = os.statvfs(mount)
    return (status.f_blocks - status.f_bfree) * status.f_bsize


def _run(call: list[object]) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *map(str, call)], env=environment(), capture_output=True, text=True, timeout=900)


def _again(name: str, call: list[object], out: Path) -> list[object]:
    """The same command; a training or an adaptation that has a state is resumed."""
    if name.startswith("adapt") and any(out.glob("state*.safetensors")):
        return [*call, "--resume"]
    if name == "train" and any(out.glob("state-*.safetensors")):
        return [*(part for part in call if part not in ("--config", call[2])), "--resume"]
    return call


def _check_second(name: str, done: subprocess.CompletedProcess[str]) -> None:
    if done.returncode:
        raise RuntimeError(f"{name}: does not go on once it can write: status {done.returncode}\n{done.stderr}")


def _without_override() -> None:
    """Let permission bits bind root."""
    for capability in _OVERRIDE:
        ctypes.CDLL(None).prctl(_DROP, capability, 0, 0, 0)
