"""What a run's step is, by `training.stage`."""

from collections.abc import Callable
from functools import partial

from torch import Tensor

from configs.schema import Config
from rendering.camera_distribution import CameraDistribution
from torch_utils.distributed import Ranks
from training.data import Minibatch
from training.gan_step import training_step
from training.run.step_statistics import Statistics
from training.texture_step import freeze_shapes, texture_step
from training.train_state import TrainState

# A step updates a train state by one minibatch and returns gradient norms [parameters] by network.
Step = Callable[[Minibatch], dict[str, Tensor]]


def step_of(
    config: Config, train_state: TrainState, cameras: CameraDistribution, ranks: Ranks, statistics: Statistics
) -> Step:
    """The step of the configured stage. The texture stage freezes the shapes that the generator makes now."""
    if config.training.stage == "texture":
        shapes = freeze_shapes(train_state.generator, cameras, config)
        return partial(texture_step, train_state, shapes, config=config, ranks=ranks, statistics=statistics)
    return partial(training_step, train_state, config=config, ranks=ranks, statistics=statistics)
