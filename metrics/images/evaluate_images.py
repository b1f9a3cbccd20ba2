"""All scores of images: by a detector, of the pixels themselves, by a CLIP, and a classifier's attributes."""

from collections.abc import Sequence

import torch
from torch import Tensor

from metrics.confidence import bootstrap_mean, clipped, scaled
from metrics.images.attribute_scores import (
    attribute_metrics,
    attribute_probabilities,
    skipped_attributes,
    training_attribute_values,
)
from metrics.images.classifier import Classifier
from metrics.images.clip import ClipDetector
from metrics.images.conditions import Conditions, conditions_of, descriptions
from metrics.images.detector_scores import detector_scores
from metrics.images.image_models import ImageModels
from metrics.images.image_scores import FEW_FOR_KERNELS, features_of, measured_with, skipped, skipped_images
from metrics.images.image_sets import ImageSets, image_sets, training_note
from metrics.images.kid_cmmd import clip_mmd
from metrics.images.pixel_scores import pixel_scores
from metrics.images.text_scores import caption_cosines, retrieved
from metrics.report.report_schema import TRAIN_TEST_REFERENCE, Baseline, Metric
from metrics.session import Inputs, Session
from metrics.shapes.results import Results
from metrics.sources.image_settings import ImageSettings

TEXT_SCORES = (("clip_score", "CLIP score"), ("r_precision", "R-precision"))


def evaluate_images(
    models: ImageModels,
    conditions: Conditions,
    settings: ImageSettings | None,
    inputs: Inputs,
    session: Session,
    results: Results,
) -> list[Metric]:
    """All image scores for which nothing is missing. Adds the scores of real images to `results.baselines`.

    settings: None under a protocol that compares no images, and for views of normals, which show no colors.
    """
    images = session.protocol.images
    if images is None:
        return skipped_images(f"the protocol {session.protocol.name} compares no images") if models else []
    if settings is None:
        return skipped_images("the views of --data show normals, not colors")
    sets = image_sets(inputs, settings, session, results)
    count = images.count or images.views_per_shape * len(results.generated.ids)
    if models.detector is None:
        metrics = skipped_images("no detector was given (--detector lite0, or a file or folder)")
    else:
        metrics = detector_scores(models.detector, sets, count, images.normals, results)
    metrics += pixel_scores(sets, count, images.normals, results)
    if models.clip is not None:
        scores = _clip_scores(models.clip, conditions, sets, count, results)
        metrics += measured_with(scores, models.clip.image_encoder.identity)
    if models.classifier is not None:
        scores = _attributes(models.classifier, conditions, sets, results)
        metrics += measured_with(scores, models.classifier.identity)
    return metrics


def _clip_scores(
    clip: ClipDetector, conditions: Conditions, sets: ImageSets, count: int, results: Results
) -> list[Metric]:
    """CMMD; CLIP score and R-precision of the captions; those of the references themselves go to a baseline."""
    session = sets.session
    real, fake = sets.real(count), sets.fake(count)
    a = features_of(real, clip.image_encoder, session.real).values
    b = features_of(fake, clip.image_encoder, session.own).values
    note = sets.note(clip.image_encoder.label, real, fake)
    if min(len(a), len(b)) < 2:
        metrics = [skipped("cmmd", "CMMD", FEW_FOR_KERNELS)]
    else:
        metrics = [Metric(name="cmmd", title="CMMD", value=clip_mmd(a, b), n=len(b), reason=note)]
    train = sets.train(count)
    if train is not None and min(len(a), len(train)) >= 2:
        c = features_of(train, clip.image_encoder, session.real).values
        results.add_values(TRAIN_TEST_REFERENCE, {"cmmd": clip_mmd(a, c)}, training_note(train, real, fake))
    stated = descriptions(sets.references)
    pool = list(dict.fromkeys(d.caption for d in stated if d.caption))
    wanted = conditions_of(sets.generated, conditions)
    if pool:
        shown = [stated[row].caption for row in real.shapes]
        values = {m.name: m.value for m in _text_scores(clip, a, shown, pool, torch.ones(len(a), dtype=torch.bool))}
        results.baselines.append(
            Baseline(
                name="the references' own images and captions",
                values={name: value for name, value in values.items() if value is not None},
                comparable=True,
            )
        )
    if not any(d.caption for d in wanted):
        reason = "the generated shapes have no captions (--caption, or captions.json in the folder of meshes)"
        return metrics + [skipped(name, title, reason) for name, title in TEXT_SCORES]
    samples = features_of(sets.samples(len(wanted)), clip.image_encoder, session.own).values
    _add_training_text_scores(clip, sets, len(wanted), pool, results)
    return metrics + _text_scores(clip, samples, [d.caption for d in wanted], pool, results.generated.usable)


def _add_training_text_scores(
    clip: ClipDetector, sets: ImageSets, count: int, pool: Sequence[str], results: Results
) -> None:
    """Add the text scores of `count` training images with their own captions to the train-vs-test reference."""
    train = sets.train(count)
    if train is None or sets.training is None:
        return
    captions = [sets.training.description(row).caption for row in train.shapes]
    if not any(captions):
        return
    images = features_of(train, clip.image_encoder, sets.session.real).values
    scores = _text_scores(clip, images, captions, pool, torch.ones(len(images), dtype=torch.bool))
    results.add_values(TRAIN_TEST_REFERENCE, {m.name: m.value for m in scores if m.value is not None})


def _text_scores(
    clip: ClipDetector, images: Tensor, captions: Sequence[str], pool: Sequence[str], usable: Tensor
) -> list[Metric]:
    """CLIP score and R-precision of the images that have a caption. usable [N] bool: the others count as wrong."""
    chosen = [i for i, caption in enumerate(captions) if caption]
    every = list(dict.fromkeys([*(captions[i] for i in chosen), *pool]))
    texts = clip.texts(every)
    own = torch.tensor([every.index(captions[i]) for i in chosen])
    seen, shown = images[chosen], usable[chosen]
    cosine = caption_cosines(seen, texts[own]) * shown
    score = Metric(
        name="clip_score",
        title="CLIP score",
        value=100 * float(cosine.mean()),
        direction="higher",
        interval=scaled(bootstrap_mean(cosine), 100),
        n=len(chosen),
        reason=f"{clip.image_encoder.label}; one image per shape",
    )
    name, title = TEXT_SCORES[1]
    if len(every) < 2:
        return [
            score,
            skipped(name, title, "there is only one caption; measure against a dataset with captions"),
        ]
    correct = (retrieved(seen, texts, own) & shown).double()
    precision = Metric(
        name=name,
        title=title,
        value=100 * float(correct.mean()),
        unit="%",
        direction="higher",
        interval=clipped(scaled(bootstrap_mean(correct), 100), 0, 100),
        n=len(chosen),
        reason=f"among {len(every)} different captions, the references' ({len(pool)}) and the generated shapes'; "
        f"chance {100 / len(every):.2g} %",
    )
    return [score, precision]


def _attributes(classifier: Classifier, conditions: Conditions, sets: ImageSets, results: Results) -> list[Metric]:
    unknown = sorted(set(conditions.attributes) - set(classifier.values))
    if unknown:
        known = ", ".join(classifier.values)
        return skipped_attributes(f"{classifier.label} does not know the attribute {unknown[0]}; it knows {known}")
    wanted, stated = conditions_of(sets.generated, conditions), descriptions(sets.references)
    # One image of every reference at least, and as many as of generated shapes.
    real = sets.real(max(len(wanted), len(stated)))
    fake = sets.samples(len(wanted))
    generated = attribute_probabilities(fake, classifier, sets.session.own)
    references = attribute_probabilities(real, classifier, sets.session.real)
    truth = [stated[row] for row in real.shapes]
    train = sets.train(len(wanted))
    if train is not None and sets.training is not None:
        own = [sets.training.description(row) for row in train.shapes]
        seen = attribute_probabilities(train, classifier, sets.session.real)
        every = torch.ones(len(own), dtype=torch.bool)
        values = training_attribute_values(attribute_metrics(classifier, seen, references, own, stated, truth, every))
        results.add_values(TRAIN_TEST_REFERENCE, values)
    return attribute_metrics(classifier, generated, references, wanted, stated, truth, results.generated.usable)
