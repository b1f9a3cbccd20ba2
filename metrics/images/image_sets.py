"""The images that an evaluation compares: of generated shapes, of references, and of training shapes."""

from dataclasses import dataclass, field, replace

from metrics.session import Inputs, Session
from metrics.shapes.results import Results
from metrics.sources.image_settings import ImageSettings
from metrics.sources.lazy_images import ImageMemory, LazyImages
from metrics.sources.shape_source import ShapeSource
from torch_utils.text import counted

# Seeds of the cameras: real shapes without stored views get other cameras than the generated shapes.
GENERATED_CAMERAS, REFERENCE_CAMERAS, TRAINING_CAMERAS = 0, 1, 2
# Bytes of generated images that are kept for further scores: 8,192 images of 128 × 128 px.
MEMORY_LIMIT = 1 << 29


@dataclass(frozen=True)
class ImageSets:
    """Where the images of all sides come from. omit: rows of references without a usable surface."""

    generated: ShapeSource
    references: ShapeSource
    training: ShapeSource | None
    omit: frozenset[int]
    settings: ImageSettings
    session: Session
    memory: ImageMemory = field(default_factory=lambda: ImageMemory(MEMORY_LIMIT))

    def real(self, count: int) -> LazyImages:
        """At most `count` images of references."""
        return self.references.images(count, self.settings, camera_seed=REFERENCE_CAMERAS, omit=self.omit)

    def fake(self, count: int) -> LazyImages:
        """`count` images of generated shapes."""
        images = self.generated.images(count, self.settings, camera_seed=GENERATED_CAMERAS)
        return self.memory.keep(images)

    def samples(self, count: int) -> LazyImages:
        """One image of each of the first `count` generated shapes, whatever `settings.views_per_shape` is."""
        settings = replace(self.settings, views_per_shape=1)
        return self.memory.keep(self.generated.images(count, settings, camera_seed=GENERATED_CAMERAS))

    def train(self, count: int) -> LazyImages | None:
        """At most `count` images of training shapes; None where there are none."""
        if self.training is None:
            return None
        return self.training.images(count, self.settings, camera_seed=TRAINING_CAMERAS)

    def note(self, label: str, real: LazyImages, fake: LazyImages) -> str:
        """What was compared, for the report."""
        shapes = counted(len(set(fake.shapes)), "shape")
        counts = f"{len(real)} real, {len(fake)} generated images of {shapes}, {self.settings.side} px"
        unequal = "; unequal counts" if len(real) != len(fake) else ""
        return f"{label}; {counts}{unequal}"


def image_sets(inputs: Inputs, settings: ImageSettings, session: Session, results: Results) -> ImageSets:
    """The images of the shapes of an evaluation."""
    references = inputs.image_references or inputs.references
    unusable = {i for i, ok in zip(results.references.ids, results.references.usable.tolist(), strict=True) if not ok}
    omit = frozenset(row for row, shape_id in enumerate(references.ids) if shape_id in unusable)
    training = inputs.image_training or inputs.training
    return ImageSets(inputs.generated, references, training, omit, settings, session)


def training_note(train: LazyImages, real: LazyImages, fake: LazyImages) -> str:
    """A remark for the train-vs-test reference where its counts are not those of the scores beside it, or unequal."""
    if len(train) != len(fake):
        return f"only {len(train)} training images in place of {len(fake)} generated ones"
    if len(train) != len(real):
        return f"{len(train)} training images against {len(real)} of references"
    return ""
