"""All scores of images: the distances of a detector, of normals, of a CLIP, and a classifier's attributes."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from metrics.confidence import bootstrap_mean
from metrics.images.attribute_scores import attribute_metrics, attribute_probabilities, skipped_attributes
from metrics.images.classifier import Classifier
from metrics.images.clip import Clip
from metrics.images.conditions import Conditions, conditions_of, descriptions
from metrics.images.detectors import Detector
from metrics.images.image_models import ImageModels
from metrics.images.image_scores import (
    CHUNK,
    NORMALS_SCORE,
    features_of,
    image_metrics,
    named,
    normals_metric,
    skipped,
    skipped_images,
)
from metrics.images.kid_cmmd import clip_mmd
from metrics.images.normal_images import normal_images
from metrics.images.text_scores import caption_cosines, retrieved
from metrics.report.report_schema import Baseline, Metric
from metrics.session import Inputs, Session
from metrics.shapes.results import Results
from metrics.shapes.set_scores import clipped, record
from metrics.sources.image_settings import ImageSettings
from metrics.sources.lazy_images import LazyImages
from metrics.sources.shape_source import ShapeSource

TEXT_SCORES = (("clip_score", "CLIP score"), ("r_precision", "R-precision"))
# Seeds of the cameras: references without stored views get other cameras than the generated shapes.
GENERATED_CAMERAS, REFERENCE_CAMERAS = 0, 1


@dataclass(frozen=True)
class _ImageSets:
    """Where the images of both sides come from. omit: rows of references without a usable surface."""

    generated: ShapeSource
    references: ShapeSource
    omit: frozenset[int]
    settings: ImageSettings
    session: Session

    def real(self, count: int) -> LazyImages:
        """At most `count` images of references."""
        return self.references.images(count, self.settings, camera_seed=REFERENCE_CAMERAS, omit=self.omit)

    def fake(self, count: int) -> LazyImages:
        """`count` images of generated shapes."""
        return self.generated.images(count, self.settings, camera_seed=GENERATED_CAMERAS)


def evaluate_images(
    models: ImageModels,
    conditions: Conditions,
    settings: ImageSettings | None,
    inputs: Inputs,
    session: Session,
    results: Results,
) -> list[Metric]:
    """All image scores for which there is a model. Adds the references' own text scores to `results.baselines`.

    settings: None under a protocol that compares no images.
    """
    images = session.protocol.images
    if images is None or settings is None:
        return skipped_images(f"the protocol {session.protocol.name} compares no images") if models else []
    references = inputs.image_references or inputs.references
    unusable = {i for i, ok in zip(results.references.ids, results.references.usable.tolist(), strict=True) if not ok}
    omit = frozenset(row for row, shape_id in enumerate(references.ids) if shape_id in unusable)
    sets = _ImageSets(inputs.generated, references, omit, settings, session)
    metrics = _detector_scores(models.detector, sets, images.count, images.normals)
    if models.clip is not None:
        metrics += _clip_scores(models.clip, conditions, sets, images.count, results)
    if models.classifier is not None:
        metrics += _attributes(models.classifier, conditions, sets, results)
    return metrics


def _note(label: str, real: LazyImages, fake: LazyImages, sets: _ImageSets) -> str:
    shapes = len(set(fake.shapes))
    return f"{label}; {len(real)} real, {len(fake)} generated images of {shapes} shapes, {sets.settings.side} px"


def _detector_scores(detector: Detector | None, sets: _ImageSets, count: int, normals: bool) -> list[Metric]:
    if detector is None:
        return skipped_images("no detector was given (--detector FILE or FOLDER)")
    session = sets.session
    real, fake = sets.real(count), sets.fake(count)
    with session.progress("images of references", session.chunks(len(real), CHUNK)) as advance:
        real_features = features_of(real, detector, session.real, advance)
    with session.progress("images of generated shapes", session.chunks(len(fake), CHUNK)) as advance:
        fake_features = features_of(fake, detector, session.own, advance)
    note = _note(detector.label, real, fake, sets)
    metrics = image_metrics(real_features, fake_features, detector, note)
    if normals:
        return [*metrics, _normals_score(detector, sets, real, fake, note)]
    names = named(detector, *NORMALS_SCORE)
    return [*metrics, skipped(names["name"], names["title"], "not requested (--normals)")]


def _normals_score(detector: Detector, sets: _ImageSets, real: LazyImages, fake: LazyImages, note: str) -> Metric:
    names = named(detector, *NORMALS_SCORE)
    if missing := sets.references.missing_mesh(real.shapes):
        return skipped(names["name"], names["title"], f"references: {missing}")
    real_normals = normal_images(sets.references, real, sets.settings)
    fake_normals = normal_images(sets.generated, fake, sets.settings)
    a = features_of(real_normals, detector, sets.session.real)
    b = features_of(fake_normals, detector, sets.session.own)
    return normals_metric(a, b, detector, note)


def _clip_scores(clip: Clip, conditions: Conditions, sets: _ImageSets, count: int, results: Results) -> list[Metric]:
    """CMMD; CLIP score and R-precision of the captions; those of the references themselves go to a baseline."""
    session = sets.session
    real, fake = sets.real(count), sets.fake(count)
    a = features_of(real, clip.image_encoder, session.real).values
    b = features_of(fake, clip.image_encoder, session.own).values
    note = _note(clip.image_encoder.label, real, fake, sets)
    metrics = [Metric(name="cmmd", title="CMMD", value=clip_mmd(a, b), n=len(b), reason=note)]
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
    samples = features_of(sets.fake(len(wanted)), clip.image_encoder, session.own).values
    return metrics + _text_scores(clip, samples, [d.caption for d in wanted], pool, results.generated.usable)


def _text_scores(
    clip: Clip, images: Tensor, captions: Sequence[str], pool: Sequence[str], usable: Tensor
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
        interval=record(bootstrap_mean(cosine), 100),
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
        interval=clipped(record(bootstrap_mean(correct), 100), 0, 100),
        n=len(chosen),
        reason=f"among {len(every)} different captions, the references' ({len(pool)}) and the generated shapes'; "
        f"chance {100 / len(every):.2g} %",
    )
    return [score, precision]


def _attributes(classifier: Classifier, conditions: Conditions, sets: _ImageSets, results: Results) -> list[Metric]:
    unknown = sorted(set(conditions.attributes) - set(classifier.values))
    if unknown:
        known = ", ".join(classifier.values)
        return skipped_attributes(f"{classifier.label} does not know the attribute {unknown[0]}; it knows {known}")
    wanted, stated = conditions_of(sets.generated, conditions), descriptions(sets.references)
    # One image of every reference at least, and as many as of generated shapes.
    real = sets.real(max(len(wanted), len(stated)))
    fake = sets.fake(len(wanted))
    generated = attribute_probabilities(fake, classifier, sets.session.own)
    references = attribute_probabilities(real, classifier, sets.session.real)
    truth = [stated[row] for row in real.shapes]
    return attribute_metrics(classifier, generated, references, wanted, stated, truth, results.generated.usable)
