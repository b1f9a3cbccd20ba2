"""Scores of the pixels themselves, without any network: patches by level of a pyramid, and the two color figures."""

from collections.abc import Callable

import torch
from torch import Tensor

from metrics.cache import ChunkStore, Tensors, content_key
from metrics.images.color_figures import color_figures
from metrics.images.image_scores import CHUNK, skipped
from metrics.images.image_sets import ImageSets, training_note
from metrics.images.normal_images import normal_images
from metrics.images.roughness import STEP_PX, flat_roughness
from metrics.images.sliced_wasserstein import PATCHES_PER_IMAGE, SMALLEST_PX, foreground_patches, sliced_wasserstein
from metrics.report.report_schema import TRAIN_TEST_REFERENCE, Metric
from metrics.shapes.results import Results
from metrics.sources.lazy_images import LazyImages
from metrics.sources.shape_source import ShapeSource

# At most this many images of each side; whole chunks, so that images drawn for a detector serve again.
LIMIT = 2 * CHUNK
COLOR_FIGURES = (("color_scatter", "Color scatter"), ("effective_hues", "Effective hues"))


def pixel_scores(sets: ImageSets, count: int, normals: bool, results: Results) -> list[Metric]:
    """SWD by level, fine to coarse, the color figures, and with `normals` the roughness of flat parts.

    Adds those of training images to the baselines.
    """
    session, count = sets.session, min(count, LIMIT)
    real, fake, train = sets.real(count), sets.fake(count), sets.train(count)

    def pixels(label: str, images: LazyImages, store: ChunkStore) -> Tensors:
        with session.progress(f"pixels of {label}", session.chunks(len(images), CHUNK)) as advance:
            return pixel_statistics(images, store, advance)

    references = pixels("references", real, session.real)
    generated = pixels("generated shapes", fake, session.own)
    metrics = pixel_metrics(references, generated, sets.note("pixels", real, fake))
    if train is not None:
        training = pixel_metrics(references, pixels("training shapes", train, session.real), "")
        values = {metric.name: metric.value for metric in training if metric.value is not None}
        results.add_values(TRAIN_TEST_REFERENCE, values, training_note(train, real, fake))
    return [*metrics, roughness_metric(sets, real, fake, train, results)] if normals else metrics


def roughness_metric(
    sets: ImageSets, real: LazyImages, fake: LazyImages, train: LazyImages | None, results: Results
) -> Metric:
    """The roughness of flat parts, whose target is that of the references, from images of normals."""
    session, name = sets.session, {"name": "flat_roughness", "title": "Roughness of flat parts"}
    if missing := sets.references.missing_mesh(real.shapes):
        return skipped(**name, reason=f"references: {missing}")

    def measured(label: str, source: ShapeSource, images: LazyImages, store: ChunkStore) -> Tensor:
        drawn = normal_images(source, images, sets.settings)
        key = content_key({"images": drawn.key, "step": STEP_PX})

        def compute(rows: range) -> Tensors:
            return {"degrees": flat_roughness(drawn.draw_rgba(rows))}

        with session.progress(f"normals of {label}", session.chunks(len(images), CHUNK)) as advance:
            return store.rows("roughness", key, len(images), CHUNK, compute, advance)["degrees"]

    own = measured("generated shapes", sets.generated, fake, session.own)
    target = _mean(measured("references", sets.references, real, session.real))
    if train is not None and sets.training is not None and not sets.training.missing_mesh(train.shapes):
        value = _mean(measured("training shapes", sets.training, train, session.real))
        if value is not None:
            results.add_values(TRAIN_TEST_REFERENCE, {name["name"]: value}, "")
    note, count = sets.note("normals", real, fake), int((~own.isnan()).sum())
    metric = Metric(**name, unit="°", direction="target", target=target, n=count, reason=note)
    return _with_value(metric, _mean(own))


def pixel_statistics(
    images: LazyImages, store: ChunkStore, progress: Callable[[], None] | None = None
) -> dict[str, Tensor]:
    """ "colors" [N, 2], the color figures of each image, and for each level of side S "patches_S" [N, 32, 147].

    NaN where an image shows too little. Kept in `store`, in chunks.
    """

    def compute(rows: range) -> Tensors:
        rgba = images.draw_rgba(rows)
        patches = foreground_patches(rgba, seed=rows.start)
        return {
            "colors": color_figures(torch.cat([rgba[:, :3] / 127.5 - 1, rgba[:, 3:] / 255], 1)),
            **{f"patches_{side}": found for side, found in patches.items()},
        }

    key = content_key({"images": images.key, "patches": PATCHES_PER_IMAGE, "smallest": SMALLEST_PX})
    return store.rows("pixels", key, len(images), CHUNK, compute, progress)


def pixel_metrics(real: Tensors, fake: Tensors, note: str) -> list[Metric]:
    """The scores of two results of `pixel_statistics`; those without a value have failed.

    The target of a color figure is that of the real images.
    """
    metrics = []
    sides = sorted((int(name.removeprefix("patches_")) for name in real if name != "colors"), reverse=True)
    for side in sides:
        metric = Metric(name=f"swd_{side}", title=f"SWD, {side} px", unit="×10⁻³", n=len(fake["colors"]), reason=note)
        name = f"patches_{side}"
        metrics.append(_with_value(metric, sliced_wasserstein(real[name], fake[name])))
    for column, (name, title) in enumerate(COLOR_FIGURES):
        own, target = _mean(fake["colors"][:, column]), _mean(real["colors"][:, column])
        count = int((~fake["colors"][:, column].isnan()).sum())
        metric = Metric(name=name, title=title, direction="target", target=target, n=count, reason=note)
        metrics.append(_with_value(metric, own))
    return metrics


def _mean(values: Tensor) -> float | None:
    return None if bool(values.isnan().all()) else float(values.nanmean())


def _with_value(metric: Metric, value: float | None) -> Metric:
    if value is None:
        return metric.model_copy(update={"status": "failed", "reason": "no image shows enough foreground"})
    return metric.model_copy(update={"value": value})
