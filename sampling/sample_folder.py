"""A folder of samples and its record: what is in it, what made it, and what may be added.

    out/chair-128/samples.json, seed0000.glb, seed0001.glb, …, samples.png

The record guards the folder: samples of another network, or made with other settings, are neither mixed in nor
overwritten, and samples that it lists with their files are not made again.
"""

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sampling.sample_jobs import SampleJob, SampleResult
from torch_utils.errors import UserError
from torch_utils.files import make_folder, write_json

FORMAT_VERSION = 1
RECORDS = (
    "samples.json", "interpolation.json", "swap.json", "perturbations.json", "directions.json",
    "projections.json", "turntable.json",
)  # fmt: skip
# Seconds between two writings of the record: a stop costs at most the samples since the last.
SAVE_INTERVAL_S = 2.0
# Bytes per sample that must be free: measured sizes, rounded up.
BYTES_PER_TEXEL, BYTES_PER_FACE = 4, 60


@dataclass
class SampleFolder:
    """A folder and one of its records. made_by: JSON values that all samples of the record share.

    started: names of samples that a run has begun and not noted; their files are ours, although no sample lists them.
    """

    path: Path
    record_name: str
    made_by: dict[str, Any]
    samples: dict[str, dict[str, Any]] = field(default_factory=dict)
    started: set[str] = field(default_factory=set)

    @staticmethod
    def open(path: Path, record_name: str, made_by: dict[str, Any], *, overwrite: bool = False) -> "SampleFolder":
        """Check the folder, make it where there is none, and read its record.

        UserError where it holds samples of another network, or the record was made with other settings (unless
        `overwrite`, which forgets the record), or it cannot be written to.
        """
        assert record_name in RECORDS
        make_folder(path)
        folder = SampleFolder(path, record_name, json.loads(json.dumps(made_by)))
        for name in RECORDS:
            before = _read(path / name)
            if before is None or overwrite:
                continue
            old = before["made_by"]
            if old.get("network") != folder.made_by.get("network"):
                raise UserError(
                    f"--out {path}: holds samples of the network {_network(old)}, not {_network(folder.made_by)}; "
                    "name another folder, or replace them with --overwrite"
                )
            if name == record_name:
                folder._check_settings(old)
                folder.samples = {each["name"]: each for each in before["samples"]}
                folder.started = set(before.get("started", ()))
        folder.save()
        return folder

    def _check_settings(self, old: dict[str, Any]) -> None:
        if None in (old.get("meshes"), self.made_by.get("meshes")):  # one of the two runs made images only
            self.made_by["meshes"] = self.made_by.get("meshes") or old.get("meshes")
            old = {**old, "meshes": self.made_by["meshes"]}
        for key in {**self.made_by, **old}:
            if old.get(key) != self.made_by.get(key):
                before, now = _difference(old.get(key), self.made_by.get(key))
                raise UserError(
                    f"--out {self.path}: holds samples made with {key} {before}, not {now}; "
                    "name another folder, or replace them with --overwrite"
                )

    def missing(self, jobs: Sequence[SampleJob]) -> list[SampleJob]:
        """The jobs that are not done: not listed, failed, without files, or with a file that is gone."""
        todo = []
        for job in jobs:
            record = self.samples.get(job.name, {"files": []})
            skipped = "empty" in record or "refused" in record
            if not skipped and not (record["files"] and all((self.path / name).is_file() for name in record["files"])):
                todo.append(job)
        return todo

    def refuse_foreign(self, jobs: Sequence[SampleJob], ending: str) -> None:
        """UserError where a mesh that no record lists would be overwritten."""
        for job in jobs:
            path = self.path / f"{job.name}.{ending}"
            if job.name not in self.samples and job.name not in self.started and path.exists():
                raise UserError(
                    f"{path}: exists, but {self.record_name} does not list it; "
                    "name another folder, or replace it with --overwrite"
                )

    def refuse_full_disk(self, count: int, texture_px: int, faces: int) -> None:
        """UserError where `count` meshes are sure not to fit."""
        needed = count * (texture_px**2 * BYTES_PER_TEXEL // 8 + faces * BYTES_PER_FACE // 2)
        free = shutil.disk_usage(self.path).free
        if needed > free:
            raise UserError(
                f"--out {self.path}: {count} meshes need about {needed / 1e9:.1f} GB, {free / 1e9:.1f} GB are free; "
                "take fewer seeds or a smaller --texture-size"
            )

    def start(self, jobs: Sequence[SampleJob]) -> None:
        """Claim the files of jobs, before the first is written."""
        self.started |= {job.name for job in jobs}
        self.save()

    def add(self, result: SampleResult, about: dict[str, Any]) -> None:
        """Note a finished sample; an empty surface is noted, too."""
        facts = {"files": [], "empty": True} if result.record is None else result.record
        self.samples[result.name] = {"name": result.name, **about, **facts}
        self.started.discard(result.name)

    def save(self) -> None:
        """Write the record."""
        ordered = [self.samples[name] for name in sorted(self.samples)]
        values: dict[str, Any] = {"format_version": FORMAT_VERSION, "made_by": self.made_by, "samples": ordered}
        if self.started:
            values["started"] = sorted(self.started)
        write_json(self.path / self.record_name, values)


def _read(path: Path) -> dict[str, Any] | None:
    """A record; None where there is none. UserError where it is not one of ours."""
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
        if values["format_version"] == FORMAT_VERSION and isinstance(values["made_by"], dict):
            [(each["name"], each["files"]) for each in values["samples"]]
            return values
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise UserError(f"{path}: is not a record of samples that this version reads; move it away")


def _network(made_by: dict[str, Any]) -> str:
    network = made_by.get("network") or {}
    return f"{network.get('name')} ({str(network.get('sha256'))[:8]})"


def _difference(old: Any, new: Any) -> tuple[str, str]:
    """The first differing entry of two JSON values, in words."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key in new:
            if old.get(key) != new[key]:
                return f"{key} {old.get(key)}", f"{key} {new[key]}"
    return ("none" if old is None else str(old)), ("none" if new is None else str(new))
