"""A small residual network that says what a image shows: several attributes at once, each with its own softmax.

Kept as a folder in the form of `transformers` (a ResNet with basic layers: He et al. 2016), whose tensor names it has,
so that `AutoModelForImageClassification` reads it too; here it runs without that package. Labels read
"attribute=value", e.g. "category=chair", "legs=star".
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.functional import relu

from metrics.images.classifier import attribute_and_value
from torch_utils.errors import UserError
from torch_utils.files import replacing, write_json

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
    """Parts under the names that `transformers` gives them."""

    def __init__(self, **parts: nn.Module) -> None:
        super().__init__()
        for name, part in parts.items():
            self.add_module(name, part)


class Network(nn.Module):
    """Images [B, 3, 64, 64] in [−1, 1] → logits [B, labels]."""

    def __init__(self, labels: int) -> None:
        super().__init__()
        widths = [EMBEDDING, *HIDDEN]
        stages = [_Residual(widths[i], widths[i + 1], 1 if i == 0 else 2) for i in range(len(HIDDEN))]
        entry = _Convolution(3, EMBEDDING, 7, 2)
        named = nn.ModuleList([_Named(layers=nn.ModuleList([stage])) for stage in stages])
        self.resnet = _Named(embedder=_Named(embedder=entry), encoder=_Named(stages=named))
        self.classifier = nn.Sequential(nn.Flatten(), nn.Linear(HIDDEN[-1], labels))
        self._body = [entry, nn.MaxPool2d(3, 2, 1), *stages]  # a list: the parts are registered above

    def forward(self, images: Tensor) -> Tensor:
        x = images
        for part in self._body:
            x = part(x)
        return self.classifier(x.mean((2, 3)))


@dataclass(frozen=True)
class Judge:
    """A network and what its outputs mean. columns: outputs of each attribute; values: their names in that order."""

    network: Network
    labels: tuple[str, ...]

    @property
    def columns(self) -> dict[str, list[int]]:
        """The outputs that belong to each attribute."""
        found: dict[str, list[int]] = {}
        for column, label in enumerate(self.labels):
            found.setdefault(attribute_and_value(label)[0], []).append(column)
        return found

    @property
    def values(self) -> dict[str, tuple[str, ...]]:
        """The values of each attribute, in the order of its outputs."""
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
def _evaluating(network: Network) -> Iterator[None]:
    before = network.training
    network.eval()
    try:
        yield
    finally:
        network.train(before)


def inputs(images: Tensor) -> Tensor:
    """Images uint8 [B, 3, S, S] as the network takes them: averaged down to 64 px, in [−1, 1]."""
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


def save_judge(judge: Judge, folder: Path) -> None:
    """Write the folder: config.json, model.safetensors, preprocessor_config.json."""
    folder.mkdir(parents=True, exist_ok=True)
    state = {name: value.detach().contiguous() for name, value in judge.network.state_dict().items()}
    with replacing(folder / WEIGHTS) as temporary:
        save_file(state, temporary, metadata={"format": "pt"})
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
            "id2label": {str(i): label for i, label in enumerate(judge.labels)},
            "label2id": {label: i for i, label in enumerate(judge.labels)},
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


def load_judge(folder: Path) -> Judge:
    """The judge of a folder that `save_judge` wrote. UserError for any other folder."""
    make = "make one with: python -m studies.release_criteria.train_classifier --data DATASET --out DIR"
    try:
        named = json.loads((folder / CONFIG).read_text(encoding="utf-8"))["id2label"]
        labels = tuple(str(named[str(i)]) for i in range(len(named)))
        state = load_file(folder / WEIGHTS)
    except (OSError, ValueError, KeyError, TypeError, SafetensorError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"--classifier {folder}: is no classifier of this program ({reason}); {make}") from None
    network = Network(len(labels))
    try:
        network.load_state_dict(state)
    except RuntimeError as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(f"--classifier {folder}: its weights are of another network ({reason}); {make}") from None
    return Judge(network.eval(), labels)
