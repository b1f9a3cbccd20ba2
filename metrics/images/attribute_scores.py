"""Metrics of a classifier of attributes: accuracy against the conditions, and shares of the attributes' values."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from metrics.cache import ChunkStore, Tensors, content_key
from metrics.confidence import bootstrap_mean, clipped, scaled
from metrics.images.classifier import Classifier
from metrics.images.text_scores import attribute_accuracy
from metrics.report.report_schema import Metric
from metrics.sources.description import Description
from metrics.sources.lazy_images import LazyImages

# Images per chunk of probabilities on disk.
CHUNK = 256
# The "value" of an image without a shape.
NO_VALUE = -1


def attribute_probabilities(images: LazyImages, classifier: Classifier, store: ChunkStore) -> dict[str, Tensor]:
    """Probabilities [N, values] of every attribute for all images, kept in `store`."""

    def compute(rows: range) -> Tensors:
        return classifier.probabilities(images.draw(rows))

    key = content_key({"images": images.key, "classifier": classifier.key})
    return store.rows("attributes", key, len(images), CHUNK, compute)


def attribute_metrics(
    classifier: Classifier,
    generated: dict[str, Tensor],
    references: dict[str, Tensor],
    wanted: Sequence[Description],
    stated: Sequence[Description],
    truth: Sequence[Description],
    usable: Tensor,
) -> list[Metric]:
    """For every attribute: accuracy on generated shapes and on references, and the shares of its values.

    generated, references: `attribute_probabilities` of images. wanted, truth: the descriptions that those images should
    match. stated: the descriptions of the reference shapes. usable [N] bool: generated shapes with a surface; the
    others have no value, whatever the classifier makes of their images.
    """
    metrics: list[Metric] = []
    for name, values in classifier.values.items():
        predicted, seen = generated[name].argmax(1), references[name].argmax(1)
        predicted[~usable] = NO_VALUE
        metrics += _accuracy(f"accuracy_{_slug(name)}", f"{name}: accuracy", name, values, predicted, wanted)
        title = f"{name}: accuracy on references"
        metrics += _accuracy(f"reference_accuracy_{_slug(name)}", title, name, values, seen, truth)
        metrics += _shares(name, values, predicted, seen, [d.attributes[name] for d in stated if name in d.attributes])
    return metrics


def training_attribute_values(of_training: Sequence[Metric]) -> dict[str, float]:
    """The train-vs-test reference by name, from `attribute_metrics` of training images in the place of generated ones.

    The classifier's accuracy on references stands beside its accuracy on training images.
    """
    values = {metric.name: metric.value for metric in of_training if metric.value is not None}
    accuracy = {f"reference_{name}": value for name, value in values.items() if name.startswith("accuracy_")}
    return values | accuracy


def skipped_attributes(reason: str) -> list[Metric]:
    """Attribute accuracy, not measured."""
    return [Metric(name="accuracy", title="Attribute accuracy", status="skipped", reason=reason)]


def _accuracy(
    metric: str, title: str, name: str, values: Sequence[str], predicted: Tensor, wanted: Sequence[Description]
) -> list[Metric]:
    """The share of images with the wanted value; no metric if no description states one."""
    targets = [{name: d.attributes[name]} if name in d.attributes else {} for d in wanted]
    guesses = [{name: values[index]} if index != NO_VALUE else {} for index in predicted.tolist()]
    accuracy = attribute_accuracy(guesses, targets)
    if name not in accuracy:
        return []
    each = torch.tensor([float(g == t) for g, t in zip(guesses, targets, strict=True) if t], dtype=torch.float64)
    return [
        Metric(
            name=metric,
            title=title,
            value=100 * accuracy[name],
            unit="%",
            direction="higher",
            interval=clipped(scaled(bootstrap_mean(each), 100), 0, 100),
            n=len(each),
            reason=f"chance {100 / len(values):.3g} %",
            group="attributes",
        )
    ]


def _shares(name: str, values: Sequence[str], predicted: Tensor, seen: Tensor, stated: Sequence[str]) -> list[Metric]:
    """The distance of the shares, the values that no sample has, and the share of each value."""
    share, classified, count = _share(predicted, len(values)), _share(seen, len(values)), len(predicted)
    # Values that the classifier does not know keep their share of the data, so the known ones may sum to less than one.
    data = torch.tensor([stated.count(v) / len(stated) for v in values], dtype=torch.float64) if stated else None
    target = classified if data is None else data
    source = "of the references by the same classifier" if data is None else "stated in the dataset"
    unknown = sorted(set(stated) - set(values))
    common: dict[str, Any] = {"n": count, "group": "attributes"}
    absent = [v for v, own, real in zip(values, share.tolist(), target.tolist(), strict=True) if own == 0 and real > 0]
    metrics = [
        Metric(
            name=f"shares_{_slug(name)}",
            title=f"{name}: difference of the shares",
            value=50 * float((share - target).abs().sum()),
            unit="%",
            reason=f"half the sum of the differences to the shares {source}"
            + (f"; the classifier does not know {', '.join(unknown)}" if unknown else ""),
            **common,
        ),
        Metric(
            name=f"absent_{_slug(name)}",
            title=f"{name}: values that no sample has",
            value=float(len(absent)),
            reason=", ".join(absent),
            **common,
        ),
    ]
    for index, value in enumerate(values):
        each = (predicted == index).double()
        metrics.append(
            Metric(
                name=f"share_{_slug(name)}_{_slug(value)}",
                title=f"{name} = {value}",
                value=100 * float(share[index]),
                unit="%",
                direction="target",
                target=100 * float(target[index]),
                interval=clipped(scaled(bootstrap_mean(each), 100), 0, 100),
                reason=f"references: {100 * float(classified[index]):.3g} % by the classifier"
                + ("" if data is None else f", {100 * float(data[index]):.3g} % stated"),
                **common,
            )
        )
    return metrics


def _share(predicted: Tensor, count: int) -> Tensor:
    known = predicted[predicted != NO_VALUE]
    return torch.bincount(known, minlength=count).double() / max(len(predicted), 1)


def _slug(name: str) -> str:
    """An attribute or value as part of a metric's name, with a-z, 0-9 and _ only."""
    return "".join(c if c.isascii() and c.isalnum() else "_" for c in name.lower())
