"""Symptoms of a failing run, recognized in the logged statistics. Each has a name, a threshold and a remedy."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from networks.discriminator import DISCRIMINATOR_CHANNELS

Line = Mapping[str, float]

# docs/troubleshooting.md explains each threshold, with the statistics of healthy and failed runs.
EMPTY_SHARE = 0.02  # share of samples without a surface
COVERAGE_RATIO = 0.35  # mask area of generated images, relative to real ones
COMPONENTS = 4.0  # connected components per shape, running-average generator
SIGN_ACCURACY = 0.98  # share of real and of generated images that a discriminator classifies correctly
DIVERSITY_SHARE = 0.3  # of the largest diversity so far
DIVERSITY_MIN = 0.02  # a diversity that never exceeds this has nothing to collapse from
WARM_UP_KIMG = 3.0  # the initial sphere must become a shape first
FLOATERS_KIMG = 15.0  # until then, components that are not connected yet are normal
PATIENCE = 3  # log lines in a row


@dataclass(frozen=True)
class Symptom:
    """One kind of failure: how to recognize it, and the message.

    `shows` gets a log line with two more values: "new/skipped", steps skipped since the previous line, and
    "best/diversity", the largest diversity so far (after the warm-up). patience: lines in a row before the message.
    """

    name: str
    shows: Callable[[Line], bool]
    message: str
    patience: int = PATIENCE


def _saturated(line: Line, head: str) -> bool:
    accuracies = (line.get(f"sign/real_{head}", 0.0) + 1) / 2, (1 - line.get(f"sign/fake_{head}", 0.0)) / 2
    return min(accuracies) > SIGN_ACCURACY


GAN_SYMPTOMS = (
    Symptom(
        "non-finite gradients",
        lambda line: line["new/skipped"] > 0,
        "minibatches were skipped because a gradient was not finite; lower the learning rates if it continues",
        patience=1,
    ),
    Symptom(
        "vanishing surface",
        lambda line: (
            line["nimg"] > WARM_UP_KIMG * 1000
            and (
                line.get("geometry/empty", 0.0) > EMPTY_SHARE
                or line.get("coverage/fake", 1.0) < COVERAGE_RATIO * line.get("coverage/real", 0.0)
            )
        ),
        "shapes shrink or vanish; raise loss.gamma_mask, or start with a larger geometry.sphere_radius",
    ),
    Symptom(
        "floaters",
        lambda line: line["nimg"] > FLOATERS_KIMG * 1000 and line.get("fixed_samples/components", 0.0) > COMPONENTS,
        "shapes fall into many connected components; set geometry.connect_components, raise "
        "loss.sdf_regularizer_weight, or lower loss.gamma",
    ),
    Symptom(
        "saturated discriminator",
        lambda line: any(_saturated(line, name) for name in DISCRIMINATOR_CHANNELS),
        "a discriminator classifies nearly every image correctly, so the generator gets no useful gradient; raise "
        "loss.gamma, augment a small dataset (augment.mode=ada), and check the dataset's camera distribution",
    ),
    Symptom(
        "collapse",
        lambda line: (
            line["best/diversity"] > DIVERSITY_MIN
            and line.get("fixed_samples/diversity", 1.0) < DIVERSITY_SHARE * line["best/diversity"]
        ),
        "different latents give nearly the same shape; start from an earlier network with --init and raise loss.gamma",
    ),
)


class Health:
    """Follows a run's log lines and reports when a symptom has shown for some lines in a row, and when it is gone."""

    def __init__(self, symptoms: Sequence[Symptom] = GAN_SYMPTOMS) -> None:
        self._symptoms = symptoms
        self._counts = {symptom.name: 0 for symptom in symptoms}
        self._active: set[str] = set()
        self._best_diversity = 0.0
        self._skipped = 0.0

    def observe(self, line: Line) -> list[str]:
        """Messages about a new log line."""
        messages = []
        if line["nimg"] > WARM_UP_KIMG * 1000:  # before, shapes differ because they are random
            self._best_diversity = max(self._best_diversity, line.get("fixed_samples/diversity", 0.0))
        skipped = line.get("skipped_steps", 0.0)
        line = {**line, "best/diversity": self._best_diversity, "new/skipped": skipped - self._skipped}
        self._skipped = skipped
        for symptom in self._symptoms:
            shows = symptom.shows(line)
            self._counts[symptom.name] = self._counts[symptom.name] + 1 if shows else 0
            if symptom.name not in self._active and self._counts[symptom.name] >= symptom.patience:
                self._active.add(symptom.name)
                messages.append(f"Sign of failure, {symptom.name}: {symptom.message} (docs/troubleshooting.md).")
            elif symptom.name in self._active and not shows:
                self._active.remove(symptom.name)
                messages.append(f"Recovered: {symptom.name}.")
        return messages

    @property
    def active(self) -> list[str]:
        """Names of the current symptoms."""
        return sorted(self._active)
