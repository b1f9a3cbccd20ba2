"""The models that look at images: a detector for FID, a CLIP, and a classifier of attributes."""

from dataclasses import dataclass
from pathlib import Path

import torch

from metrics.images.classifier import Classifier, load_classifier
from metrics.images.clip import ClipDetector, load_clip_detector
from metrics.images.conditions import Conditions
from metrics.images.detectors import Detector, lite0_detector, load_detector
from metrics.images.download import fetched, is_url
from metrics.images.lite0 import NAME as LITE0
from metrics.protocols import ImageProtocol
from torch_utils.errors import UserError


@dataclass(frozen=True)
class ImageModels:
    """Each is None where the user named none."""

    detector: Detector | None = None
    clip: ClipDetector | None = None
    classifier: Classifier | None = None

    def __bool__(self) -> bool:
        return self.detector is not None or self.clip is not None or self.classifier is not None


@dataclass(frozen=True)
class ModelChoice:
    """Which models to load.

    detector: a file, a folder, a URL, or "lite0". detector_hash: SHA-256 of a TorchScript file. clip, classifier:
    folders.
    """

    detector: Path | str | None = None
    detector_hash: str | None = None
    clip: Path | None = None
    classifier: Path | None = None


def load_image_models(
    choice: ModelChoice, conditions: Conditions, images: ImageProtocol | None, device: torch.device, cache: Path
) -> ImageModels:
    """The models of a choice; a CLIP that is given as the detector serves as both.

    cache: where a detector from a URL is kept. UserError for a file or folder that is no such model, and for conditions
    without the model that can check them.
    """
    detector, clip = choice.detector, choice.clip
    if conditions.attributes and choice.classifier is None:
        raise UserError("--attribute: comparing attributes needs --classifier FOLDER")
    loaded: Detector | None = None
    if str(detector) == LITE0:
        loaded = lite0_detector(device)
    elif detector:
        path = fetched(str(detector), choice.detector_hash, cache) if is_url(str(detector)) else Path(detector)
        loaded = load_detector(path, choice.detector_hash, device, images.resize if images else "clean")
        clip = clip or (path if loaded.clip else None)
    if conditions.caption and clip is None:
        raise UserError("--caption: comparing images with a caption needs --clip FOLDER")
    return ImageModels(
        loaded,
        load_clip_detector(clip, device) if clip else None,
        load_classifier(choice.classifier, device) if choice.classifier else None,
    )
