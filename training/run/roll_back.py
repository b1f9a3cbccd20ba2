"""Back to the last state with lower learning rates, when gradients stay non-finite (`training.rollbacks`)."""

from typing import Any

from configs.schema import Config, TrainingConfig
from training.optimizer import rate_factor
from training.run.run_folder import RunFolder
from training.run.run_log import RunLog, truncate_stats
from training.run.state_file import load_state
from training.train_state import TrainState, state_parts

# The learning rates after a rollback, relative to before.
RATE_FACTOR = 0.5


def set_rates(train_state: TrainState, training: TrainingConfig, nimg: int, rollbacks: int) -> None:
    """Set the learning rates of the step after `nimg` images, in a run that was rolled back so many times."""
    factor = RATE_FACTOR**rollbacks * rate_factor(nimg, training.total_kimg, training.lr_decay_kimg)
    for optimizer in train_state.optimizers:
        optimizer.scale_rate(factor)


def roll_back(
    folder: RunFolder, log: RunLog, train_state: TrainState, config: Config, rollbacks: int, *, first: bool
) -> dict[str, Any]:
    """Restore the newest state for the `rollbacks`-th time. Returns its counters; `set_rates` goes by them.

    A state holds good weights: a step with gradients that are not finite changes none. first: whether this rank writes.
    """
    counters = load_state(folder.path, state_parts(train_state), config)["counters"]
    if first:
        truncate_stats(folder.path / "stats.jsonl", counters["nimg"])
        folder.note_rollback(counters["nimg"], RATE_FACTOR**rollbacks)
    log.warn(
        f"Rolled back to the state at {counters['nimg'] / 1000:g} kimg: gradients stayed non-finite. From here on the "
        f"learning rates are {RATE_FACTOR**rollbacks:g} times the configured ones."
    )
    return {**counters, "rollbacks": rollbacks, "skipped_in_a_row": 0}
