"""A small residual network (He et al. 2016) that classifies several attributes of an image, each with its own softmax.

It is stored as a folder that `transformers` can load with `AutoModelForImageClassification`: the tensors have that
package's names. Here it runs without the package. A label reads "attribute=value", e.g. "category=chair", "legs=star".
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.functional import relu

from metrics.images.classifier import attribute_and_value
from torch_utils.checkpoint import save_safetensors
from torch_utils.errors import UserError
from torch_utils.files import write_json

SIDE = 64  # of the images, px
EMBEDDING = 24
HIDDEN = (24, 48, 96, 128)
BATCH = 256
CONFIG, WEIGHTS, PROCESSOR = "config.json", "model.safetensors", "preprocessor_config.json"


class _Convolution(nn.Module):
    def __init__(self, inputs: int, outputs: int, size: int, stride: int = 1, *, active: bool = True) -> None:
        super().__init__()
        self.convolution = nn.Conv2d(inputs, outputs, size, stride, size // 2, bias=False)
        self.normalization = nn.BatchNorm2d(outputs)
        self.active = active

    def forward(self, x: Tensor) -> Tensor:
        y = self.normalization(self.convolution(x))
        return relu(y) if self.active else y


class _Residual(nn.Module):
    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        same = inputs == outputs and stride == 1
        self.shortcut = nn.Identity() if same else _Convolution(inputs, outputs, 1, stride, active=False)
        self.layer = nn.Sequential(
            _Convolution(inputs, outputs, 3, stride), _Convolution(outputs, outputs, 3, active=False)
        )

    def forward(self, x: Tensor) -> Tensor:
        return relu(self.layer(x) + self.shortcut(x))


class _Named(nn.Module):
    """Modules under the names that `transformers` gives them."""

    def __init__(self, **modules: nn.Module) -> None:
        super().__init__()
        for name, module in modules.items():
            self.add_module(name, module)


class ResNet(nn.Module):
    """Images [B, 3, 64, 64] in [−1, 1] → logits [B, labels]."""

    def __init__(self, labels: int) -> None:
        super().__init__()
        widths = [EMBEDDING, *HIDDEN]
        stages = [_Residual(widths[i], widths[i + 1], 1 if i == 0 else 2) for i in range(len(HIDDEN))]
        stem = _Convolution(3, EMBEDDING, 7, 2)
        named = nn.ModuleList([_Named(layers=nn.ModuleList([stage])) for stage in stages])
        self.resnet = _Named(embedder=_Named(embedder=stem), encoder=_Named(stages=named))
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(HIDDEN[-1], labels))
        self._body = [stem, nn.MaxPool2d(3, 2, 1), *stages]  # a list, since the modules are registered above

    def forward(self, images: Tensor) -> Tensor:
        """Logits [B, labels] of images [B, 3, 64, 64] in [−1, 1]."""
        x = images
        for module in self._body:
            x = module(x)
        return self.classifier(x.mean((2, 3)))


@dataclass(frozen=True)
class ChairClassifier:
    """A network and the label "attribute=value" of each of its outputs."""

    network: ResNet
    labels: tuple[str, ...]

    @property
    def columns(self) -> dict[str, list[int]]:
        """The indices of each attribute's outputs."""
        found: dict[str, list[int]] = {}
        for column, label in enumerate(self.labels):
            found.setdefault(attribute_and_value(label)[0], []).append(column)
        return found

    @property
    def values(self) -> dict[str, tuple[str, ...]]:
        """The names of each attribute's values, in the order of its outputs."""
        return {
            name: tuple(attribute_and_value(self.labels[c])[1] for c in columns)
            for name, columns in self.columns.items()
        }

    @torch.no_grad()
    def probabilities(self, images: Tensor) -> dict[str, Tensor]:
        """Probabilities [B, values] of each attribute, of images uint8 [B, 3, S, S] on black, S a multiple of 64."""
        with _evaluating(self.network):
            logits = torch.cat([self.network(inputs(part)) for part in images.split(BATCH)])
        return {name: logits[:, columns].softmax(1) for name, columns in self.columns.items()}


@contextmanager
def _evaluating(network: ResNet) -> Iterator[None]:
    before = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(before)


def inputs(images: Tensor) -> Tensor:
    """The network's input from images uint8 [B, 3, S, S]: averaged down to 64 px, in [−1, 1]."""
    side = images.shape[-1]
    if side % SIDE:
        raise UserError(f"classifier: expected images of a multiple of {SIDE} px, got {side}")
    values = images.float()
    if side != SIDE:
        values = nn.functional.avg_pool2d(values, side // SIDE)
    return values / 127.5 - 1


def labels_of(values: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """ "attribute=value" for every value of every attribute."""
    return tuple(f"{name}={value}" for name, found in values.items() for value in found)


def save_chair_classifier(classifier: ChairClassifier, folder: Path) -> None:
    """Write the folder: config.json, model.safetensors, preprocessor_config.json."""
    state = {name: value.detach().contiguous() for name, value in classifier.network.state_dict().items()}
    save_safetensors(folder / WEIGHTS, state, {"format": "pt"})
    write_json(
        folder / CONFIG,
        {
            "architectures": ["ResNetForImageClassification"],
            "model_type": "resnet",
            "num_channels": 3,
            "embedding_size": EMBEDDING,
            "hidden_sizes": list(HIDDEN),
            "depths": [1] * len(HIDDEN),
            "layer_type": "basic",
            "hidden_act": "relu",
            "downsample_in_first_stage": False,
            "id2label": {str(i): label for i, label in enumerate(classifier.labels)},
            "label2id": {label: i for i, label in enumerate(classifier.labels)},
        },
    )
    write_json(
        folder / PROCESSOR,
        {
            "image_processor_type": "ViTImageProcessor",
            "do_resize": True,
            "size": {"height": SIDE, "width": SIDE},
            "resample": 2,
            "do_rescale": True,
            "rescale_factor": 1 / 255,
            "do_normalize": True,
            "image_mean": [0.5, 0.5, 0.5],
            "image_std": [0.5, 0.5, 0.5],
        },
    )


def load_chair_classifier(folder: Path) -> ChairClassifier:
    """Read a folder written by `save_chair_classifier`. UserError for any other folder."""
    make = "make one with: python -m studies.release_criteria.train_classifier --data DATASET --out DIR"
    try:
        named = json.loads((folder / CONFIG).read_text(encoding="utf-8"))["id2label"]
        labels = tuple(str(named[str(i)]) for i in range(len(named)))
        state = load_file(folder / WEIGHTS)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"--classifier {folder}: cannot be read as a classifier ({reason}); {make}") from None
    network = ResNet(len(labels))
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"--classifier {folder}: its weights do not fit the network ({reason}); {make}") from None
    return ChairClassifier(network.eval(), labels)
