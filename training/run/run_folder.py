"""A run's folder: config.yaml, run.json, stats.jsonl, states, networks and sheets."""

import json
import math
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import torch

from configs.loader import dump_config, load_config, override_config
from configs.schema import Config
from torch_utils.checkpoint import code_version
from torch_utils.errors import UserError
from torch_utils.files import write_json, write_text
from training.data import Data
from training.run.state_file import first_difference, latest_state

CONFIG = "config.yaml"
RUN = "run.json"
STATS = "stats.jsonl"
_RESULTS = (STATS, "latest.json", "state-*.safetensors", "network*.safetensors")


class RunFolder:
    """Where a run keeps its files."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def holds_run(self) -> bool:
        """Whether there is something of a run to lose; one killed before its first state left nothing that counts."""
        if any(next(self.path.glob(pattern), None) is not None for pattern in _RESULTS):
            return True
        return (self.path / CONFIG).exists() and not (self.path / RUN).exists()

    def refuse_run(self) -> None:
        """UserError where the folder already holds a run, or is no folder."""
        if self.path.exists() and not self.path.is_dir():
            raise UserError(f"--out {self.path}: is a file; give a folder")
        if self.holds_run():
            raise UserError(f"--out {self.path}: already holds a run; continue it with --resume or give another folder")

    def resumed_config(self, given: str | None, overrides: Sequence[str]) -> Config:
        """The configuration to go on with: the run's own, changed by `overrides`.

        given: a preset or file that must agree with it. UserError where that or an override differs in anything that
        decides what is learned; how long to go on and how often to write stay as they are unless overridden.
        """
        latest_state(self.path)
        stored = load_config(str(self.path / CONFIG))
        config = override_config(stored.model_dump(mode="json"), overrides, str(self.path / CONFIG))
        for other in (config, load_config(given, overrides) if given else config):
            difference = first_difference(stored.model_dump(), other.model_dump())
            if difference:
                raise UserError(
                    f"--resume: the run in {self.path} has {difference}; leave out --config and --set to go on as it "
                    "was, or start another run with --init"
                )
        return config

    def check_data(self, data: Data) -> None:
        """UserError where the run was made with other data."""
        known = self._description()  # missing or torn, it is passed over: the state itself is checked
        if known.get("data_hash") not in (None, data.hash):
            raise UserError(
                f"--data: the run in {self.path} was trained on other data ({known.get('data')}, another hash); "
                "give the same data set, or start another run with --init"
            )

    def create(self, config: Config, data: Data) -> None:
        """Make the folder and write what the run is."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise UserError(f"--out {self.path}: cannot be made ({error.strerror})") from None
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
        """Add to run.json that the run goes on from `nimg` images; write the configuration, whose length may differ."""
        if not self._description():
            self.create(config, data)
        known = self._description()
        write_json(self.path / RUN, {**known, "resumed": [*known.get("resumed", []), {"nimg": nimg, **_session()}]})
        write_text(self.path / CONFIG, dump_config(config))

    def _description(self) -> dict[str, Any]:
        """What run.json says; nothing where it is missing or cannot be read."""
        try:
            known = json.loads((self.path / RUN).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return known if isinstance(known, dict) else {}

    def stats(self) -> list[dict[str, Any]]:
        """The lines of stats.jsonl, a torn last one left out; null, which stands for what is not finite, as NaN."""
        path, lines = self.path / STATS, []
        for text in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
            try:
                line = json.loads(text)
            except ValueError:
                break
            lines.append({name: math.nan if value is None else value for name, value in line.items()})
        return lines


def _session() -> dict[str, Any]:
    """When, and by which code and libraries, a run or a part of it was made."""
    return {
        "date": datetime.now(UTC).isoformat(timespec="seconds"),
        "commit": code_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
    }
