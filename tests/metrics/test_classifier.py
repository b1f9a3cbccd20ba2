"""Classifier folders: real `transformers` models, tiny and random, through the loading code of the command."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from metrics.images.classifier import attribute_and_value, load_classifier
from metrics.sources.description import attribute_text
from tests.metrics.model_folders import write_classifier, write_clip
from torch_utils.errors import UserError

LABELS = ("type=chair", "arms=none", "type=stool", "arms=panel", "type=bench")


def images() -> torch.Tensor:
    """Plain colors and a half [6, 3, 20, 20]."""
    colors = [(255, 255, 255), (255, 0, 0), (0, 255, 0), (0, 0, 255), (0, 0, 0), (255, 255, 0)]
    plain = torch.tensor(colors, dtype=torch.uint8)[:, :, None, None].repeat(1, 1, 20, 20)
    plain[5, :, :9] = 30
    return plain


def test_each_attribute_is_a_softmax_over_its_own_labels(tmp_path: Path) -> None:
    from transformers import AutoModelForImageClassification

    folder = write_classifier(tmp_path / "classifier", LABELS)
    classifier = load_classifier(folder)
    assert classifier.values == {"type": ("chair", "stool", "bench"), "arms": ("none", "panel")}
    found = classifier.probabilities(images())
    # The image processor's own arithmetic, by hand: bilinear to 16 px, then (x / 255 − 0.5) / 0.5.
    from PIL import Image

    side = [Image.fromarray(p.permute(1, 2, 0).numpy()).resize((16, 16), Image.Resampling.BILINEAR) for p in images()]
    pixels = torch.stack([torch.frombuffer(bytearray(i.tobytes()), dtype=torch.uint8).view(16, 16, 3) for i in side])
    model = AutoModelForImageClassification.from_pretrained(folder, local_files_only=True).eval()
    with torch.no_grad():
        logits = model(pixel_values=(pixels.permute(0, 3, 1, 2) / 255 - 0.5) / 0.5).logits
    torch.testing.assert_close(found["type"], logits[:, [0, 2, 4]].softmax(1), atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(found["arms"], logits[:, [1, 3]].softmax(1), atol=1e-5, rtol=1e-4)
    assert len(found["type"].argmax(1).unique()) > 1


def test_the_key_follows_the_weights(tmp_path: Path) -> None:
    one, two = (load_classifier(write_classifier(tmp_path / str(seed), LABELS, seed)) for seed in (0, 1))
    again = load_classifier(write_classifier(tmp_path / "again", LABELS, 0))
    assert one.key == again.key != two.key


def test_labels_and_values_as_text() -> None:
    assert attribute_and_value("type=stool") == ("type", "stool")
    assert attribute_and_value("stool") == ("class", "stool")
    assert [attribute_text(v) for v in (True, False, 3, "bench")] == ["true", "false", "3", "bench"]


def test_folders_that_are_no_classifier(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="no such folder"):
        load_classifier(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"holds no \.safetensors file; pickled weights are not read"):
        load_classifier(tmp_path / "empty")
    with pytest.raises(UserError, match="two or more different values of attribute arms"):
        load_classifier(write_classifier(tmp_path / "one", ("type=chair", "type=stool", "arms=none")))
    folder = write_classifier(tmp_path / "torn", LABELS)
    weights = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:-100])
    with pytest.raises(UserError, match="is not a transformers image model"):
        load_classifier(folder)
    del weights["classifier.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"its weights lack classifier\.weight"):
        load_classifier(folder)
    with pytest.raises(UserError, match="weights lack classifier"):
        load_classifier(write_clip(tmp_path / "clip"))
    (folder / "config.json").write_text(json.dumps({"model_type": "unheard_of"}), encoding="utf-8")
    with pytest.raises(UserError, match="unheard_of"):
        load_classifier(folder)
