"""A learning study in YAML, the runs that it consists of, and the commands that start or resume them."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import yaml
from click import UsageError
from pydantic import Field, PositiveInt, ValidationError, model_validator

from configs.loader import load_config
from configs.strict import StrictModel, first_mistake
from torch_utils.errors import UserError
from training.run.state_file import first_difference

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")]
Seed = Annotated[int, Field(ge=0)]
BASE = "base"


class Variant(StrictModel):
    """One setting under study."""

    name: Name = Field(description="also names the folder of the run")
    question: str = Field(description="what the comparison answers, in one line")
    group: Name = Field("other", description="variants of a group are drawn in one diagram")
    set: tuple[str, ...] = Field((), description="overrides, as for `tetragan train --set`")
    against: Name = Field(BASE, description="the variant to compare with")
    seeds: tuple[Seed, ...] | None = Field(None, description="instead of the study's seeds")
    data: Name | None = Field(None, description="train on the dataset of `--also NAME=DATASET` instead of --data")
    train_shapes: PositiveInt | None = Field(None, description="train on only this many shapes of the dataset")


class Study(StrictModel):
    """A base configuration and the changes to study."""

    base: str = Field(description="a preset or a configuration file")
    kimg: Annotated[float, Field(gt=0)] = Field(20, description="length of every run, thousands of images")
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = (0,)
    set: tuple[str, ...] = Field((), description="overrides of every run")
    curve_kimg: Annotated[float, Field(gt=0)] = Field(5, description="interval of measurements, thousands of images")
    count: PositiveInt = Field(200, description="held-out shapes at most, and as many generated ones")
    variants: Annotated[tuple[Variant, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _check(self) -> "Study":
        names = [variant.name for variant in self.variants]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two variants are named {twice[0]}")
        for variant in self.variants:
            if variant.against not in names:
                raise ValueError(f"{variant.name}: against: no variant is named {variant.against}")
        return self

    def variant(self, name: str) -> Variant:
        """The variant of that name."""
        return next(variant for variant in self.variants if variant.name == name)


@dataclass(frozen=True)
class StudyRun:
    """One training run: a variant with one seed. overrides: all of its --set. kimg: its length."""

    variant: Variant
    seed: int
    folder: Path
    overrides: tuple[str, ...]
    kimg: float

    @property
    def name(self) -> str:
        """A name that is unique in the study."""
        return run_name(self.variant.name, self.seed)

    @property
    def total_nimg(self) -> int:
        """Images seen by the complete run."""
        return round(self.kimg * 1000)


def run_name(variant: str, seed: int) -> str:
    """The name of a run and of its folder."""
    return f"{variant}-seed{seed}"


def load_study(path: Path) -> Study:
    """Read a study. UserError names the file and the field.

    Every variant's settings are resolved here, so that a mistake shows before any training.
    """
    try:
        study = Study.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise UserError(
            f"{path}: cannot be read ({error.strerror}); expected one like studies/learning_study/study.yaml"
        ) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is not YAML ({str(error).splitlines()[0]})") from None
    except ValidationError as error:
        raise UserError(f"{path}: {first_mistake(error)}") from None
    for variant in study.variants:
        try:
            load_config(study.base, [*study.set, *variant.set])
        except UsageError as error:
            raise UserError(f"{path}: {variant.name}: {error.message}") from None
    return study


def plan_runs(study: Study, out: Path, only: tuple[str, ...] = (), seeds: tuple[int, ...] = ()) -> list[StudyRun]:
    """The study's runs: all variants with the first seed, then all with the next, so that a partial study is useful.

    only: names of variants or groups to keep; seeds: seeds to keep; empty: all. UserError for an unknown name.
    """
    known = {variant.name for variant in study.variants} | {variant.group for variant in study.variants}
    for name in only:
        if name not in known:
            raise UserError(f"--only {name}: no such variant or group; expected one of {', '.join(sorted(known))}")
    turns: list[tuple[int, StudyRun]] = []
    for variant in study.variants:
        if only and variant.name not in only and variant.group not in only:
            continue
        for turn, seed in enumerate(variant.seeds or study.seeds):
            # One thread: parallel runs must not compete for cores, and another count would not resume bitwise.
            usual = (f"training.snapshot_kimg={study.curve_kimg:g}", "training.threads=1")
            fixed = (f"training.seed={seed}", f"training.total_kimg={study.kimg:g}")
            overrides = (*usual, *study.set, *variant.set, *fixed)
            if not seeds or seed in seeds:
                folder = out / "runs" / run_name(variant.name, seed)
                turns.append((turn, StudyRun(variant, seed, folder, overrides, study.kimg)))
    return [run for _, run in sorted(turns, key=lambda pair: pair[0])]


def saved_nimg(folder: Path) -> int | None:
    """Images seen at the saved state of a run; None without a state."""
    try:
        return int(json.loads((folder / "latest.json").read_text(encoding="utf-8"))["nimg"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def complete(run: StudyRun) -> bool:
    """Whether the run has been trained to its end."""
    nimg = saved_nimg(run.folder)
    return nimg is not None and nimg >= run.total_nimg and (run.folder / "network.safetensors").is_file()


def check_unchanged(run: StudyRun, base: str) -> None:
    """UserError if the run's folder was trained with other settings than those of the study."""
    stored = run.folder / "config.yaml"
    if not stored.is_file():
        return
    wanted = load_config(base, run.overrides)
    difference = first_difference(load_config(str(stored)), wanted)
    if difference:
        raise UserError(f"{run.folder}: was trained with {difference}; remove that folder, or rename the variant")


def train_command(run: StudyRun, base: str, data: Path) -> list[str]:
    """The command that starts a run, or resumes it from a saved state."""
    command = [sys.executable, "-m", "tetragan", "train", "--config", base, "--data", str(data)]
    command += ["--out", str(run.folder)]
    for override in run.overrides:
        command += ["--set", override]
    return command + (["--resume"] if saved_nimg(run.folder) is not None else [])
