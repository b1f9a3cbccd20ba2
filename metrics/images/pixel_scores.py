"""Scores of the pixels themselves, without any network: patches by level of a pyramid, and the two color figures."""

from collections.abc import Callable

import torch
from torch import Tensor

from metrics.cache import ChunkStore, Tensors, content_key
from metrics.images.color_figures import color_figures
from metrics.images.image_scores import CHUNK
from metrics.images.image_sets import ImageSets, training_note
from metrics.images.sliced_wasserstein import PATCHES_PER_IMAGE, SMALLEST_PX, foreground_patches, sliced_wasserstein
from metrics.report.report_schema import TRAIN_TEST_REFERENCE, Metric
from metrics.shapes.results import Results
from metrics.sources.lazy_images import LazyImages

# At most this many images of each side; whole chunks, so that images drawn for a detector serve again.
LIMIT = 2 * CHUNK
COLOR_FIGURES = (("color_scatter", "Color scatter"), ("effective_hues", "Effective hues"))


def pixel_scores(sets: ImageSets, count: int, results: Results) -> list[Metric]:
    """SWD by level, fine to coarse, and the color figures. Adds those of training images to the baselines."""
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
    return metrics


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
