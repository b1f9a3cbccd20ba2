"""Scores by a detector of colors, masks and normals, each beside its train-vs-test reference."""

from collections.abc import Callable

from metrics.images.detectors import Detector
from metrics.images.image_scores import (
    CHUNK,
    Content,
    features_of,
    image_metrics,
    score_name,
    skipped,
)
from metrics.images.image_sets import ImageSets, training_note
from metrics.images.normal_images import normal_images
from metrics.report.report_schema import TRAIN_TEST_REFERENCE, Metric
from metrics.shapes.results import Results
from metrics.sources.lazy_images import LazyImages
from metrics.sources.shape_source import ShapeSource


def detector_scores(detector: Detector, sets: ImageSets, count: int, normals: bool, results: Results) -> list[Metric]:
    """Scores of `count` images, and of their normals if wanted. Adds those of training images to the baselines."""
    metrics = _compared(detector, sets, count, "colors", lambda _, images: images, results)
    metrics += _compared(detector, sets, count, "masks", lambda _, images: images.masks(), results)
    names = score_name(detector, "fid", "FID", "normals")
    if not normals:
        return [*metrics, skipped(names["name"], names["title"], "not requested (--normals)")]
    if missing := sets.references.missing_mesh(sets.real(count).shapes):
        return [*metrics, skipped(names["name"], names["title"], f"references: {missing}")]

    def drawn(source: ShapeSource, images: LazyImages) -> LazyImages:
        return normal_images(source, images, sets.settings)

    return metrics + _compared(detector, sets, count, "normals", drawn, results)


def _compared(
    detector: Detector,
    sets: ImageSets,
    count: int,
    content: Content,
    shown: Callable[[ShapeSource, LazyImages], LazyImages],
    results: Results,
) -> list[Metric]:
    """The scores of one content. shown(source, images) → the images with that content."""
    session = sets.session
    real, fake, train = sets.real(count), sets.fake(count), sets.train(count)
    with session.progress(f"{content} of references", session.chunks(len(real), CHUNK)) as advance:
        real_features = features_of(shown(sets.references, real), detector, session.real, advance)
    with session.progress(f"{content} of generated shapes", session.chunks(len(fake), CHUNK)) as advance:
        fake_features = features_of(shown(sets.generated, fake), detector, session.own, advance)
    metrics = image_metrics(real_features, fake_features, detector, sets.note(detector.label, real, fake), content)
    if train is None or sets.training is None:
        return metrics
    if content == "normals" and (missing := sets.training.missing_mesh(train.shapes)):
        results.add_values(TRAIN_TEST_REFERENCE, {}, f"no normals: {missing}")
        return metrics
    with session.progress(f"{content} of training shapes", session.chunks(len(train), CHUNK)) as advance:
        train_features = features_of(shown(sets.training, train), detector, session.real, advance)
    reference = image_metrics(real_features, train_features, detector, "", content)
    values = {metric.name: metric.value for metric in reference if metric.value is not None}
    results.add_values(TRAIN_TEST_REFERENCE, values, training_note(train, real, fake))
    return metrics
