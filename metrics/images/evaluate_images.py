"""Everything that is measured on images: a detector's scores, normals, a CLIP's scores, a classifier's attributes."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from metrics.confidence import bootstrap_mean
from metrics.images.attribute_scores import attribute_metrics, opinions, skipped_attributes
from metrics.images.classifier import Classifier, load_classifier
from metrics.images.clip import Clip, load_clip
from metrics.images.conditions import Attributes, Description, asked, described, parse_attributes
from metrics.images.detectors import Detector, load_detector
from metrics.images.download import fetched, is_url
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
from metrics.images.image_sources import (
    REFERENCES,
    Images,
    Studio,
    dataset_images,
    folder_images,
    generated_images,
    make_studio,
    normal_images,
)
from metrics.images.kid_cmmd import clip_mmd
from metrics.images.text_scores import caption_cosines, retrieved
from metrics.protocols import ImageProtocol
from metrics.report.report_schema import Baseline, Metric
from metrics.session import Inputs, Session
from metrics.shapes.results import Found
from metrics.shapes.set_scores import clipped, record
from metrics.sources.folder import FolderSource, ShapeSource
from metrics.sources.network_dataset import DatasetSource, NetworkSource
from torch_utils.errors import UserError

TEXT_SCORES = (("clip_score", "CLIP score"), ("r_precision", "R-precision"))


@dataclass(frozen=True)
class Judges:
    """What looks at images; None where it was not given. caption, attributes: what all shapes were asked to be."""

    detector: Detector | None = None
    clip: Clip | None = None
    classifier: Classifier | None = None
    caption: str = ""
    attributes: Attributes | None = None


def load_judges(
    detector: Path | str | None,
    detector_hash: str | None,
    clip: Path | None,
    classifier: Path | None,
    caption: str,
    attributes: Sequence[str],
    images: ImageProtocol | None,
    device: torch.device,
    cache: Path,
) -> Judges:
    """The judges that the options name; a CLIP that is given as the detector serves as both. UserError for mistakes.

    cache: where a detector from a URL is kept.
    """
    if attributes and classifier is None:
        raise UserError("--attribute: judging attributes needs --classifier FOLDER")
    if isinstance(detector, str):
        detector = fetched(detector, detector_hash, cache) if is_url(detector) else Path(detector)
    seen = load_detector(detector, detector_hash, device, images.resize if images else "clean") if detector else None
    clip = clip or (detector if seen is not None and seen.clip else None)
    if caption and clip is None:
        raise UserError("--caption: comparing images with a caption needs --clip FOLDER")
    return Judges(
        seen,
        load_clip(clip, device) if clip else None,
        load_classifier(classifier, device) if classifier else None,
        caption,
        parse_attributes(attributes),
    )


@dataclass(frozen=True)
class _Sides:
    """Where the images of both sides come from. usable [n] int64: references with a surface, for a folder of them."""

    inputs: Inputs
    session: Session
    dataset: Any
    split: str
    references: ShapeSource
    studio: Studio
    images: ImageProtocol
    usable: Tensor

    def real(self, count: int) -> Images:
        """At most `count` images of references."""
        if self.dataset is not None:
            return dataset_images(self.dataset, self.split, count, self.studio)
        assert isinstance(self.references, FolderSource)
        return folder_images(self.references, self.usable.tolist(), count, self.studio, REFERENCES)

    def fake(self, count: int) -> Images:
        """`count` images of generated shapes."""
        source = self.inputs.generated
        if isinstance(source, NetworkSource):
            return generated_images(source, count, self.images.truncation, self.studio)
        assert isinstance(source, FolderSource)
        return folder_images(source, range(len(source.ids)), count, self.studio)

    def descriptions(self) -> list[Description]:
        """What every reference is said to be."""
        if self.dataset is not None:
            return [described(self.dataset, shape_id) for shape_id in self.references.ids]
        return asked(self.references, "", {}, ())


def appearance(
    judges: Judges,
    inputs: Inputs,
    session: Session,
    dataset: Any,
    split: str,
    reference_meshes: Path | None,
    found: Found,
) -> list[Metric]:
    """All scores of images that the protocol and the judges allow; adds the references' own row to `found`."""
    images = session.protocol.images
    if images is None:
        reason = f"the protocol {session.protocol.name} compares no images"
        return skipped_images(reason) if judges.detector or judges.clip or judges.classifier else []
    generator = inputs.generated.generator if isinstance(inputs.generated, NetworkSource) else None
    studio = make_studio(session.protocol, dataset, generator)
    # Images are of the whole split, however many shapes the protocol compares.
    every = inputs.references if dataset is None else DatasetSource(dataset, split, None, reference_meshes)
    usable = found.references.usable.nonzero()[:, 0]
    sides = _Sides(inputs, session, dataset, split, every, studio, images, usable)
    metrics = _detector_scores(judges.detector, sides)
    if judges.clip is not None:
        metrics += _clip_scores(judges.clip, judges, sides, found)
    if judges.classifier is not None:
        metrics += _attributes(judges.classifier, judges, sides, found)
    return metrics


def _note(label: str, real: Images, fake: Images, sides: _Sides) -> str:
    meshes = f" of {len(sides.inputs.generated.ids)} meshes" if isinstance(sides.inputs.generated, FolderSource) else ""
    return f"{label}; {len(real)} real, {len(fake)} generated images{meshes}, {sides.studio.side} px"


def _detector_scores(detector: Detector | None, sides: _Sides) -> list[Metric]:
    if detector is None:
        return skipped_images("no detector was given (--detector FILE or FOLDER)")
    count, session = sides.images.count, sides.session
    real, fake = sides.real(count), sides.fake(count)
    with session.progress("images of references", session.chunks(len(real), CHUNK)) as advance:
        real_features = features_of(real, detector, session.real, advance)
    with session.progress("images of generated shapes", session.chunks(len(fake), CHUNK)) as advance:
        fake_features = features_of(fake, detector, session.own, advance)
    note = _note(detector.label, real, fake, sides)
    metrics = image_metrics(real_features, fake_features, detector, note)
    return [*metrics, _normals_score(detector, sides, real, fake, note)]


def _normals_score(detector: Detector, sides: _Sides, real: Images, fake: Images, note: str) -> Metric:
    names = named(detector, *NORMALS_SCORE)
    if not sides.images.normals:
        return skipped(names["name"], names["title"], "not asked for (--normals)")
    if isinstance(sides.references, DatasetSource) and (missing := sides.references.missing_meshes(real.shapes)):
        return skipped(names["name"], names["title"], f"references: {missing}")
    shaded = (
        normal_images(sides.references, real, sides.studio),
        normal_images(sides.inputs.generated, fake, sides.studio),
    )
    a = features_of(shaded[0], detector, sides.session.real)
    b = features_of(shaded[1], detector, sides.session.own)
    return normals_metric(a, b, detector, note)


def _clip_scores(clip: Clip, judges: Judges, sides: _Sides, found: Found) -> list[Metric]:
    """CMMD; CLIP score and R-precision of what was asked for; the references' own go to a row of their own."""
    count, session = sides.images.count, sides.session
    real, fake = sides.real(count), sides.fake(count)
    a = features_of(real, clip.image_encoder, session.real).values
    b = features_of(fake, clip.image_encoder, session.own).values
    note = _note(clip.image_encoder.label, real, fake, sides)
    metrics = [Metric(name="cmmd", title="CMMD", value=clip_mmd(a, b), n=len(b), reason=note)]
    stated = sides.descriptions()
    pool = list(dict.fromkeys(d.caption for d in stated if d.caption))
    own = asked(sides.inputs.generated, judges.caption, {}, ())
    if pool:
        shown = [stated[row].caption for row in real.shapes]
        values = {m.name: m.value for m in _text_scores(clip, a, shown, pool, torch.ones(len(a), dtype=torch.bool))}
        found.baselines.append(
            Baseline(
                name="the references' own images and captions",
                values={name: value for name, value in values.items() if value is not None},
                comparable=True,
            )
        )
    if not any(d.caption for d in own):
        reason = "the generated shapes have no captions (--caption, or captions.json in the folder of meshes)"
        return metrics + [skipped(name, title, reason) for name, title in TEXT_SCORES]
    samples = features_of(sides.fake(len(own)), clip.image_encoder, session.own).values
    return metrics + _text_scores(clip, samples, [d.caption for d in own], pool, found.generated.usable)


def _text_scores(clip: Clip, images: Tensor, captions: Sequence[str], pool: Sequence[str], usable: Tensor) -> list:
    """CLIP score and R-precision of the images that have a caption. usable [N] bool: the others count as misses."""
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
        reason=f"{clip.image_encoder.label}; one image a shape",
    )
    name, title = TEXT_SCORES[1]
    if len(every) < 2:
        return [
            score,
            skipped(name, title, "there is no other caption to tell it from; measure against a dataset with captions"),
        ]
    hits = (retrieved(seen, texts, own) & shown).double()
    precision = Metric(
        name=name,
        title=title,
        value=100 * float(hits.mean()),
        unit="%",
        direction="higher",
        interval=clipped(record(bootstrap_mean(hits), 100), 0, 100),
        n=len(chosen),
        reason=f"among {len(every)} different captions, the references' ({len(pool)}) and those asked for; "
        f"chance {100 / len(every):.2g} %",
    )
    return [score, precision]


def _attributes(classifier: Classifier, judges: Judges, sides: _Sides, found: Found) -> list[Metric]:
    classes = sides.dataset.classes if sides.dataset is not None else ()
    wanted = asked(sides.inputs.generated, "", judges.attributes or {}, classes)
    unknown = sorted(set(judges.attributes or {}) - set(classifier.values))
    if unknown:
        return skipped_attributes(
            f"{classifier.label} does not judge {unknown[0]}; it knows {', '.join(classifier.values)}"
        )
    stated = sides.descriptions()
    # Every reference is looked at, and as many images at least as of generated shapes.
    real = sides.real(max(len(wanted), len(stated)))
    fake = sides.fake(len(wanted))
    generated = opinions(fake, classifier, sides.session.own)
    references = opinions(real, classifier, sides.session.real)
    truth = [stated[row] for row in real.shapes]
    return attribute_metrics(classifier, generated, references, wanted, stated, truth, found.generated.usable)
