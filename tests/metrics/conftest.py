"""Fewer images than users get: the generators here are untrained, and every image of theirs is a full render."""

from collections.abc import Iterator

import pytest

from metrics.images import pixel_scores


@pytest.fixture(autouse=True, scope="module")
def few_images() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pixel_scores, "LIMIT", 24)
        yield
