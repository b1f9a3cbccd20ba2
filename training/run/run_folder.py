"""A run's folder: config.yaml, run.json, stats.jsonl, states, networks and image grids."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from configs.loader import dump_config, load_config, override_config
from configs.schema import Config
from torch_utils.checkpoint import code_version
from torch_utils.distributed import Ranks
from torch_utils.errors import UserError
from torch_utils.files import WriteError, write_json, write_text
from torch_utils.locks import owned_folder, refuse_owner
from training.data import UNNAMED, Data
from training.run.run_log import read_stats
from training.run.state_file import any_state, first_difference

CONFIG = "config.yaml"
RUN = "run.json"
STATS = "stats.jsonl"
_RESULTS = (STATS, "latest.json", "state-*.safetensors", "network*.safetensors")


class RunFolder:
    """Where a run keeps its files."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def holds_run(self) -> bool:
        """Whether the folder holds results of a run. A run killed before its first state has none."""
        if any(next(self.path.glob(pattern), None) is not None for pattern in _RESULTS):
            return True
        return (self.path / CONFIG).exists() and not (self.path / RUN).exists()

    def refuse_run(self) -> None:
        """UserError if the folder is a file, or holds a run; one at work is named with its process."""
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"--out {self.path}: is a file; give a folder")
        if self.holds_run():
            refuse_owner(self.path)
            self._refuse_results()

    def _refuse_results(self) -> None:
        if self.holds_run():
            raise UserError(f"--out {self.path}: already holds a run; continue it with --resume or give another folder")

    @contextmanager
    def owned(self, ranks: Ranks, *, resume: bool) -> Iterator[None]:
        """Be the one run that works in the folder, on the first rank. UserError if another does, or if it holds a run.

        resume: the folder holds the run that goes on.
        """
        if not ranks.first:
            yield
            return
        with owned_folder(self.path):
            if not resume:
                self._refuse_results()  # again: another run may have started and ended since the first look
            yield

    def resumed_config(self, given: str | None, overrides: Sequence[str]) -> Config:
        """The configuration of a resumed run: the run's own, changed by `overrides`.

        given: a preset or file to compare with. UserError if it or an override differs in a setting that affects
        learning. `RESUMABLE` settings (length, intervals) stay as they were unless overridden.
        """
        if not any_state(self.path):
            refuse_owner(self.path)
            raise UserError(f"{self.path}: holds no state to resume; start without --resume")
        stored = load_config(str(self.path / CONFIG))
        config = override_config(stored.model_dump(mode="json"), overrides, str(self.path / CONFIG))
        repeated = load_config(given, overrides) if given else config
        if repeated.category == UNNAMED:  # the run took over that of its data
            repeated = repeated.model_copy(update={"category": stored.category})
        for other in (config, repeated):
            difference = first_difference(stored, other)
            if difference:
                raise UserError(
                    f"--resume: the run in {self.path} has {difference}; leave out --config and --set to continue it "
                    "unchanged, or start another run with --init"
                )
        return config

    def check_data(self, data: Data) -> None:
        """UserError if the run was trained on other data."""
        known = self.description()  # a missing or unreadable file is no error: the state itself is checked
        if known.get("data_hash") not in (None, data.hash):
            raise UserError(
                f"--data: the run in {self.path} was trained on other data ({known.get('data')}, another hash); "
                "give the same dataset, or start another run with --init"
            )

    def create(self, config: Config, data: Data) -> None:
        """Make the folder, and write the configuration and what the run is trained on."""
        write_json(
            self.path / RUN,
            {
                "data": data.name,
                "data_hash": data.hash,
                "views": len(data.bank),
                **_session(),
            },
        )
        write_text(self.path / CONFIG, dump_config(config))

    def note_resume(self, config: Config, data: Data, nimg: int) -> None:
        """Add to run.json that the run resumes at `nimg` images, and write the configuration that it resumes with."""
        if not self.description():
            self.create(config, data)
        known = self.description()
        write_json(self.path / RUN, {**known, "resumed": [*known.get("resumed", []), {"nimg": nimg, **_session()}]})
        write_text(self.path / CONFIG, dump_config(config))

    def note_rollback(self, nimg: int, rate_factor: float) -> None:
        """Add to run.json that the run went back to its state at `nimg` images with lower learning rates."""
        known = self.description()
        event = {"nimg": nimg, "rate_factor": rate_factor}
        write_json(self.path / RUN, {**known, "rolled_back": [*known.get("rolled_back", []), event]})

    def description(self) -> dict[str, Any]:
        """The contents of run.json; empty if it is missing or unreadable."""
        try:
            known = json.loads((self.path / RUN).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}

    def stats(self) -> list[dict[str, Any]]:
        """The lines of stats.jsonl (`read_stats`)."""
        return read_stats(self.path / STATS)

    @contextmanager
    def write_errors(self) -> Iterator[None]:
        """Add to a WriteError how the run goes on once its cause is fixed."""
        try:
            yield
        except WriteError as error:
            if not any(self.path.glob("state-*.safetensors")):
                raise
            raise UserError(f"{error}; the last state is complete: fix that and continue with --resume") from None


def _session() -> dict[str, Any]:
    """Date, code and libraries of a run, or of the part since a resume."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": code_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }
