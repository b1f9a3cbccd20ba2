"""A CLIP from a folder gives what transformers gives, with a gradient to the images."""

import json
import shutil

import numpy as np
import pytest
import torch
from PIL import Image

from guidance.clip import TEMPLATES, load_clip, prompt_embedding
from tests.metrics.model_folders import SIDE, write_clip
from torch_utils.errors import UserError


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory):
    return write_clip(tmp_path_factory.mktemp("clip") / "tiny")


@pytest.fixture
def clip(clip_folder, no_network):
    return load_clip(clip_folder)


def random_images(side, count=3):
    return torch.rand(count, 3, side, side, generator=torch.Generator().manual_seed(3))


@pytest.mark.parametrize("side", [SIDE, 3 * SIDE, 9])
def test_images_embed_as_with_the_folders_own_processor(clip, clip_folder, side):
    from transformers import AutoImageProcessor, CLIPModel

    pixels = (random_images(side) * 255).round()
    arrays = pixels.permute(0, 2, 3, 1).numpy().astype(np.uint8)
    processor, model = AutoImageProcessor.from_pretrained(clip_folder), CLIPModel.from_pretrained(clip_folder)
    inputs = processor(images=[Image.fromarray(array) for array in arrays], return_tensors="pt")
    with torch.no_grad():
        expected = torch.nn.functional.normalize(model.get_image_features(**inputs).pooler_output, dim=1)
        found = clip.embed_images(pixels / 255)
    assert found.shape == (3, clip.dimension)
    # PIL rounds resized pixels to integers.
    assert (found * expected).sum(1).min() > (1 - 1e-6 if side == SIDE else 0.999)


def test_the_gradient_to_the_images_is_exact(clip_folder):
    clip = load_clip(clip_folder, dtype=torch.float64)
    images = random_images(2 * SIDE, 1).double().requires_grad_()
    direction = torch.randn(images.shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    text = clip.embed_texts(["a red chair"])
    value = (clip.embed_images(images) * text).sum()
    (gradient,) = torch.autograd.grad(value, images)
    step = 1e-2
    with torch.no_grad():
        ahead, behind = (
            (clip.embed_images(images + sign * step * direction) * text).sum().double() for sign in (1, -1)
        )
    slope = float((gradient * direction).sum())
    assert abs(slope) > 1e-3
    assert float(ahead - behind) / (2 * step) == pytest.approx(slope, rel=2e-2)


def test_texts_embed_as_in_transformers(clip, clip_folder):
    from transformers import AutoTokenizer, CLIPModel

    texts = ["a red chair", "blue", "a blue box a blue box a blue box a blue box"]
    tokens = AutoTokenizer.from_pretrained(clip_folder)(
        texts, padding=True, truncation=True, max_length=8, return_tensors="pt"
    )
    names = ("input_ids", "attention_mask")
    with torch.no_grad():
        expected = CLIPModel.from_pretrained(clip_folder).get_text_features(**{name: tokens[name] for name in names})
    found = clip.embed_texts(texts)
    torch.testing.assert_close(found, torch.nn.functional.normalize(expected.pooler_output, dim=1))
    assert not found.requires_grad
    # A batch is no more than its texts.
    torch.testing.assert_close(clip.embed_texts(["blue"] * 70)[[0, 69]], found[[1, 1]])


def test_a_prompt_is_the_mean_of_its_templates(clip):
    texts = clip.embed_texts([template.format("a red chair") for template in TEMPLATES])
    expected = texts.mean(0) / texts.mean(0).norm()
    torch.testing.assert_close(prompt_embedding(clip, "a red chair"), expected)
    torch.testing.assert_close(prompt_embedding(clip, "blue", ["{}"]), clip.embed_texts(["blue"])[0])


def test_siglip(tmp_path, no_network):
    """SigLIP pads its texts to the full length, and has no attention mask."""
    from transformers import AutoTokenizer, SiglipConfig, SiglipModel

    folder = write_clip(tmp_path / "siglip")
    tower = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    torch.manual_seed(0)
    model = SiglipModel(
        SiglipConfig(
            text_config={**tower, "vocab_size": 10, "max_position_embeddings": 8},
            vision_config={**tower, "image_size": SIDE, "patch_size": 8},
        )
    ).eval()
    model.save_pretrained(folder)
    clip = load_clip(folder)
    tokens = AutoTokenizer.from_pretrained(folder)(["a red chair"], padding="max_length", max_length=8)
    with torch.no_grad():
        expected = model.get_text_features(torch.tensor(tokens["input_ids"])).pooler_output
    torch.testing.assert_close(clip.embed_texts(["a red chair"]), torch.nn.functional.normalize(expected, dim=1))
    assert clip.embed_images(random_images(SIDE)).shape == (3, 16)


def test_wrong_arguments(clip):
    for images in (torch.rand(1, 3, 16, 8), torch.rand(3, 16, 16), torch.rand(1, 4, 16, 16)):
        with pytest.raises(ValueError, match="square images"):
            clip.embed_images(images)
    for texts in ("red", []):
        with pytest.raises(ValueError, match="list of texts"):
            clip.embed_texts(texts)


def write_config(folder, **values):
    (folder / "config.json").write_text(json.dumps(values))


BROKEN = {
    "pickled": lambda f: (f / "model.safetensors").rename(f / "pytorch_model.bin"),
    "no .safetensors": lambda f: (f / "model.safetensors").unlink(),
    "AutoTokenizer": lambda f: (f / "tokenizer.json").write_text("{"),
    "it has no image processor": lambda f: (f / "preprocessor_config.json").unlink(),
    "no config.json": lambda f: (f / "config.json").unlink(),
    "config.json cannot be read": lambda f: write_config(f, architectures=[]),
    "does not have": lambda f: write_config(f, architectures=["CLIPQuantum"]),
    "both images and texts": lambda f: write_config(f, architectures=["ViTModel"]),
}


@pytest.mark.parametrize("message", BROKEN)
def test_broken_folders_are_refused_in_one_line(clip_folder, tmp_path, message, no_network):
    folder = tmp_path / "copy"
    shutil.copytree(clip_folder, folder)
    BROKEN[message](folder)
    with pytest.raises(UserError, match=message) as error:
        load_clip(folder)
    assert "\n" not in str(error.value) and str(folder) in str(error.value)


def test_a_hub_name_is_answered_with_its_command(no_network):
    with pytest.raises(UserError, match=r"hf download openai/clip-vit-base-patch32 --local-dir"):
        load_clip("openai/clip-vit-base-patch32")
