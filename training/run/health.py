"""Signs of failure, read from the logged statistics; each has a name, a threshold and a cure.

The figures behind the thresholds are in docs/troubleshooting.md.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

Line = Mapping[str, float]

# Thresholds. Each is explained, with the figures of healthy and failed runs, in docs/troubleshooting.md.
EMPTY_SHARE = 0.02  # samples without a surface
COVERAGE_RATIO = 0.35  # area of the fakes' masks against the reals'
COMPONENTS = 4.0  # separate parts a shape, running-average generator
SIGN_ACCURACY = 0.98  # images that a discriminator tells right
DIVERSITY_SHARE = 0.3  # of the largest spread between shapes seen so far
DIVERSITY_MIN = 0.02  # spread below which nothing has been learned yet: no collapse can be told
WARM_UP_KIMG = 3.0  # the sphere must become something first
FLOATERS_KIMG = 15.0  # until then, parts that are not joined yet are no failure
PATIENCE = 3  # lines in a row


@dataclass(frozen=True)
class Symptom:
    """One failure: when it shows, and what to say.

    `shows` gets the line with two figures more: "new/skipped", steps left out since the line before, and
    "best/diversity", the largest spread between shapes so far (after the warm-up).
    """

    name: str
    shows: Callable[[Line], bool]
    says: str
    patience: int = PATIENCE


def _saturated(line: Line, head: str) -> bool:
    right = (line.get(f"sign/real_{head}", 0.0) + 1) / 2, (1 - line.get(f"sign/fake_{head}", 0.0)) / 2
    return min(right) > SIGN_ACCURACY


SYMPTOMS = (
    Symptom(
        "non-finite gradients",
        lambda line: line["new/skipped"] > 0,
        "steps were left out because a gradient was not finite; lower the learning rates if it goes on",
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
        "shapes shrink or vanish; raise loss.gamma_mask or start from a larger geometry.sphere_radius",
    ),
    Symptom(
        "floaters",
        lambda line: line["nimg"] > FLOATERS_KIMG * 1000 and line.get("probe/components", 0.0) > COMPONENTS,
        "shapes fall into many parts; raise loss.sdf_regularizer_weight or lower loss.gamma",
    ),
    Symptom(
        "saturated discriminator",
        lambda line: _saturated(line, "rgb") or _saturated(line, "mask"),
        "a discriminator is right about nearly every image, so the generator learns nothing; raise loss.gamma, "
        "augment a small data set (augment.mode=ada), and check that reals and fakes have the same cameras",
    ),
    Symptom(
        "collapse",
        lambda line: (
            line["best/diversity"] > DIVERSITY_MIN
            and line.get("probe/diversity", 1.0) < DIVERSITY_SHARE * line["best/diversity"]
        ),
        "different latents give nearly the same shape; go back to an earlier network with --init and raise loss.gamma",
    ),
)


class Health:
    """Follows a run's lines and names a symptom when it has shown for some lines in a row, and when it has gone."""

    def __init__(self) -> None:
        self._counts = {symptom.name: 0 for symptom in SYMPTOMS}
        self._active: set[str] = set()
        self._best_diversity = 0.0
        self._skipped = 0.0

    def observe(self, line: Line) -> list[str]:
        """Messages that a new line of statistics gives rise to."""
        messages = []
        if line["nimg"] > WARM_UP_KIMG * 1000:  # before, shapes are wild rather than various
            self._best_diversity = max(self._best_diversity, line.get("probe/diversity", 0.0))
        skipped = line.get("skipped_steps", 0.0)
        line = {**line, "best/diversity": self._best_diversity, "new/skipped": skipped - self._skipped}
        self._skipped = skipped
        for symptom in SYMPTOMS:
            shows = symptom.shows(line)
            self._counts[symptom.name] = self._counts[symptom.name] + 1 if shows else 0
            if symptom.name not in self._active and self._counts[symptom.name] >= symptom.patience:
                self._active.add(symptom.name)
                messages.append(f"Sign of failure, {symptom.name}: {symptom.says} (docs/troubleshooting.md).")
            elif symptom.name in self._active and not shows:
                self._active.remove(symptom.name)
                messages.append(f"Recovered: {symptom.name}.")
        return messages

    @property
    def active(self) -> list[str]:
        """Names of the symptoms that show now."""
        return sorted(self._active)
