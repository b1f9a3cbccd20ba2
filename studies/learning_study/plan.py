"""A learning study as it is written down (YAML), the runs that it asks for, and how each is started or gone on with."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import yaml
from click import UsageError
from pydantic import BaseModel, ConfigDict, Field, PositiveInt, ValidationError, model_validator

from configs.loader import load_config
from torch_utils.errors import UserError
from training.run.state_file import first_difference

Name = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")]
Seed = Annotated[int, Field(ge=0)]
BASE = "base"


class _Section(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Variant(_Section):
    """One setting under study."""

    name: Name = Field(description="names the run's folder")
    question: str = Field(description="what the comparison answers, one line")
    group: Name = Field("other", description="variants of one group share their curves")
    set: tuple[str, ...] = Field((), description="overrides, as for `tetragan train --set`")
    against: Name = Field(BASE, description="the variant that this one is compared with")
    seeds: tuple[Seed, ...] | None = Field(None, description="instead of the study's seeds")
    data: Name | None = Field(None, description="trains on the dataset of `--also NAME=DATASET` instead of --data")
    train_shapes: PositiveInt | None = Field(None, description="trains on so many shapes of the dataset alone")


class Study(_Section):
    """A base configuration and what is changed in it."""

    base: str = Field(description="a preset or a configuration file")
    kimg: Annotated[float, Field(gt=0)] = Field(20, description="length of every run, thousands of images")
    seeds: Annotated[tuple[Seed, ...], Field(min_length=1)] = (0,)
    set: tuple[str, ...] = Field((), description="overrides of every run")
    curve_kimg: Annotated[float, Field(gt=0)] = Field(5, description="distances are measured every so many kimg")
    count: PositiveInt = Field(200, description="held-out shapes at most, and as many generated ones")
    variants: Annotated[tuple[Variant, ...], Field(min_length=1)]

    @model_validator(mode="after")
    def _check(self) -> "Study":
        names = [variant.name for variant in self.variants]
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise ValueError(f"two variants are called {twice[0]}")
        for variant in self.variants:
            if variant.against not in names:
                raise ValueError(f"{variant.name}: against: no variant is called {variant.against}")
        return self

    def variant(self, name: str) -> Variant:
        """A variant by its name."""
        return next(variant for variant in self.variants if variant.name == name)


@dataclass(frozen=True)
class Run:
    """One training run: a variant with one seed. folder: where it trains. overrides: all of its --set."""

    variant: Variant
    seed: int
    folder: Path
    overrides: tuple[str, ...]
    kimg: float

    @property
    def name(self) -> str:
        """Unique in the study."""
        return run_name(self.variant.name, self.seed)

    @property
    def total_nimg(self) -> int:
        """Images after which it is complete."""
        return round(self.kimg * 1000)


def run_name(variant: str, seed: int) -> str:
    """The name of a variant's run, also that of its folder."""
    return f"{variant}-seed{seed}"


def load_study(path: Path) -> Study:
    """Read a study. UserError names the file and the field; every variant's settings are resolved once, so that a
    wrong one does not show after hours."""
    try:
        study = Study.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror}); expected a study such as study.yaml") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"{path}: is not YAML ({str(error).splitlines()[0]})") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"])) or "the file"
        raise UserError(f"{path}: {place}: {first['msg'].removeprefix('Value error, ')}") from None
    for variant in study.variants:
        try:
            load_config(study.base, [*study.set, *variant.set])
        except UsageError as error:
            raise UserError(f"{path}: {variant.name}: {error.message}") from None
    return study


def plan_runs(study: Study, out: Path, only: tuple[str, ...] = (), seeds: tuple[int, ...] = ()) -> list[Run]:
    """The study's runs: every variant with the first seed, then with the next, so that a part of it is of use.

    only: names of variants or groups, seeds: these alone. UserError for a name that there is not.
    """
    known = {variant.name for variant in study.variants} | {variant.group for variant in study.variants}
    for name in only:
        if name not in known:
            raise UserError(f"--only {name}: no such variant or group; there are {', '.join(sorted(known))}")
    turns: list[tuple[int, Run]] = []
    for variant in study.variants:
        if only and variant.name not in only and variant.group not in only:
            continue
        for turn, seed in enumerate(variant.seeds or study.seeds):
            # threads: two runs side by side must not fight for cores, and another count would not resume bitwise.
            usual = (f"training.snapshot_kimg={study.curve_kimg:g}", "training.threads=1")
            fixed = (f"training.seed={seed}", f"training.total_kimg={study.kimg:g}")
            overrides = (*usual, *study.set, *variant.set, *fixed)
            if not seeds or seed in seeds:
                folder = out / "runs" / run_name(variant.name, seed)
                turns.append((turn, Run(variant, seed, folder, overrides, study.kimg)))
    return [run for _, run in sorted(turns, key=lambda pair: pair[0])]


def shown_nimg(folder: Path) -> int | None:
    """Images that the saved state of a run has seen; None where there is no state to go on from."""
    try:
        return int(json.loads((folder / "latest.json").read_text(encoding="utf-8"))["nimg"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def complete(run: Run) -> bool:
    """Whether the run needs no more training."""
    nimg = shown_nimg(run.folder)
    return nimg is not None and nimg >= run.total_nimg and (run.folder / "network.safetensors").is_file()


def check_unchanged(run: Run, base: str) -> None:
    """UserError where the run's folder was made with other settings than the study now asks for."""
    stored = run.folder / "config.yaml"
    if not stored.is_file():
        return
    wanted = load_config(base, run.overrides)
    difference = first_difference(load_config(str(stored)).model_dump(), wanted.model_dump())
    if difference:
        raise UserError(f"{run.folder}: was trained with {difference}; remove that folder, or give the variant a name")


def train_command(run: Run, base: str, data: Path) -> list[str]:
    """The command that starts a run, or goes on with it where a state was saved."""
    command = [sys.executable, "-m", "tetragan", "train", "--config", base, "--data", str(data)]
    command += ["--out", str(run.folder)]
    for override in run.overrides:
        command += ["--set", override]
    return command + (["--resume"] if shown_nimg(run.folder) is not None else [])
