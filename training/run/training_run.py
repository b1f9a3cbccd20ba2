"""A training run in progress, as its steps and what it writes see it."""

from dataclasses import dataclass, field

from configs.schema import Config
from torch_utils.distributed import Ranks
from training.data import Data
from training.optimizer import SkipGuard
from training.run.fixed_samples import FixedSamples
from training.run.health import Health
from training.run.run_folder import RunFolder
from training.run.run_log import RunLog
from training.run.step_statistics import Statistics
from training.run.validation import ImageValidation, Validation
from training.train_state import TrainState


@dataclass
class Progress:
    """How far a run is, including the parts before a resume. The counters of a state file.

    nimg: images seen. iteration: minibatches done. seconds: training alone. other_seconds: log lines, image grids,
    networks and states. skipped, skipped_in_a_row: minibatches without effect because a gradient was not finite.
    rollbacks: times that the run went back to its last state. best_mmd: lowest "validation/mmd_cd" so far.
    """

    nimg: int = 0
    iteration: int = 0
    seconds: float = 0.0
    other_seconds: float = 0.0
    skipped: int = 0
    skipped_in_a_row: int = 0
    rollbacks: int = 0
    best_mmd: float | None = None


@dataclass
class TrainingRun:
    """A run in progress: what it trains, on what, and where it reports."""

    config: Config
    ranks: Ranks
    data: Data
    train_state: TrainState
    folder: RunFolder
    log: RunLog
    progress: Progress
    guard: SkipGuard
    fixed_samples: FixedSamples
    validation: Validation | None = None
    image_validation: ImageValidation | None = None
    health: Health = field(default_factory=Health)
    statistics: Statistics = field(default_factory=Statistics)

    @property
    def total_nimg(self) -> int:
        """Images after which the run is complete."""
        return round(self.config.training.total_kimg * 1000)
