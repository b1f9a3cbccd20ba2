"""Value ranges of foreign images and masks: scaled with a note, or refused."""

import tracemalloc

import numpy as np
import pytest
from PIL import Image

from mesh_io.image_values import image_values, mask_values
from torch_utils.errors import decoding


def image(values, mode=None):
    return Image.fromarray(np.asarray(values), mode) if mode else Image.fromarray(np.asarray(values))


def palette_mask(colors):
    """Index 0 outside, 1 inside, with these two colors."""
    result = Image.fromarray(np.array([[0, 1], [1, 0]], np.uint8), "P")
    result.putpalette([channel for color in colors for channel in color])
    return result


MASKS = {
    "8 bits": (image(np.uint8([[0, 255], [128, 7]])), [[0, 255], [128, 7]], ""),
    "antialiased, thin": (image(np.uint8([[0, 200], [90, 7]])), [[0, 200], [90, 7]], ""),
    "0 and 1": (image(np.uint8([[0, 1], [1, 0]])), [[0, 255], [255, 0]], "0 and 1 are taken as 0 and 255"),
    "0 and 128": (image(np.uint8([[0, 128], [128, 0]])), [[0, 255], [255, 0]], "0 and 128"),
    "labels": (image(np.uint8([[0, 1], [2, 7]])), [[0, 255], [255, 255]], "labels"),
    "blank": (image(np.uint8([[0, 0], [0, 0]])), [[0, 0], [0, 0]], ""),
    "1 bit": (image(np.array([[False, True], [True, False]])), [[0, 255], [255, 0]], ""),
    "16 bits": (image(np.uint16([[0, 65535], [32896, 257]])), [[0, 255], [128, 1]], ""),
    "16 bits, 0 and 1": (image(np.uint16([[0, 1], [1, 0]])), [[0, 255], [255, 0]], "0 and 1"),
    "16 bits, up to 255": (image(np.uint16([[0, 255], [128, 7]])), [[0, 255], [128, 7]], ""),
    "floats": (image(np.float32([[0, 1], [0.5, np.nan]])), [[0, 255], [128, 0]], ""),
    "floats up to 255": (image(np.float32([[0, 255], [128, 7]])), [[0, 255], [128, 7]], ""),
    "red on black": (image(np.uint8([[[0, 0, 0], [255, 0, 0]]])), [[0, 255]], "everything but black"),
    "green on black": (image(np.uint8([[[0, 0, 0], [0, 128, 0]]])), [[0, 255]], "everything but black"),
    "gray of three channels": (image(np.uint8([[[0] * 3, [128] * 3, [255] * 3]])), [[0, 128, 255]], ""),
    "in alpha": (image(np.uint8([[[0, 0, 0, 0], [0, 0, 0, 255], [0, 0, 0, 60]]])), [[0, 255, 60]], "alpha channel"),
    "in colors, opaque": (image(np.uint8([[[0, 0, 0, 255], [255, 255, 255, 255]]])), [[0, 255]], ""),
    "palette of grays": (palette_mask([(255, 255, 255), (0, 0, 0)]), [[255, 0], [0, 255]], ""),
    "palette of colors": (palette_mask([(0, 0, 0), (128, 0, 0)]), [[0, 255], [255, 0]], "everything but black"),
}  # fmt: skip


@pytest.mark.parametrize("name", MASKS)
def test_masks(name):
    source, expected, words = MASKS[name]
    coverage, note = mask_values(source)
    assert coverage.dtype == np.uint8 and coverage.tolist() == expected
    assert words in note if words else note == ""


def test_images_of_more_bits_and_floats():
    values, note = image_values(image(np.uint16([[0, 65535], [32896, 300]])))
    assert values[..., 0].tolist() == [[0, 255], [128, 1]] and note == "" and values.shape == (2, 2, 3)
    values, note = image_values(image(np.uint16([[0, 255]])))
    assert values[0, 1].tolist() == [255] * 3 and "16-bit values up to 255" in note
    values, note = image_values(image(np.float32([[0, 1, 0.5]])))
    assert values[0, :, 0].tolist() == [0, 255, 128] and "0 to 1 are taken as 0 to 255" in note
    assert image_values(image(np.float32([[0, 200.4, 17]])))[0][0, :, 0].tolist() == [0, 200, 17]
    for wrong, words in (([0, 4.5], "up to 4.5"), ([-1, 1], "down to -1"), ([0, 1000], "up to 1e")):
        with pytest.raises(ValueError, match=words):
            image_values(image(np.float32([wrong])))


@pytest.mark.parametrize("mode", ["F", "I", "I;16", "RGB", "RGBA", "P"])
def test_a_large_image_is_never_copied_as_floats(mode):
    """What `texture_images` counts on: at most 12 bytes for each pixel, with Pillow's own."""
    image = Image.new(mode, (2000, 2000), 0)
    tracemalloc.start()
    image_values(image)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak <= 8 * 2000 * 2000 + (40 << 20)


@pytest.mark.parametrize(("mode", "bytes_per_pixel"), [("1", 6), ("L", 6), ("I;16", 12), ("RGB", 12), ("F", 12)])
def test_the_memory_of_a_mask(mode, bytes_per_pixel):
    """What `dataset_tool.format.pixels` counts on, beside Pillow's own copy."""
    source = Image.fromarray(np.random.default_rng(0).integers(0, 9, (2000, 2000), np.uint8)).convert(mode)
    own = {"1": 1, "L": 1, "I;16": 2}.get(mode, 4)
    tracemalloc.start()
    mask_values(source)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak <= (bytes_per_pixel - own) * 2000 * 2000 + (16 << 20)


@pytest.mark.parametrize("error", [TypeError("float"), KeyError(7), SyntaxError("not a TIFF")])
def test_whatever_pillow_raises_at_a_damaged_file_is_a_value_error(error):
    with pytest.raises(ValueError, match=str(error)), decoding():
        raise error
    with pytest.raises(FileNotFoundError), decoding():
        raise FileNotFoundError("a.png")
