"""The views of a split, as minibatches of images."""

import functools
import os
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from dataset_tool.dataset import ViewDataset
from dataset_tool.format import pixels
from dataset_tool.format.dataset_json import digest
from dataset_tool.view_cache import Bar, CachedViews, empty_views, open_cache
from rendering.camera import Cameras
from torch_utils.distributed import Ranks
from torch_utils.errors import UserError
from torch_utils.timing import phase

# Increased whenever the pixels of a cached view change their meaning.
CACHE_VERSION = 1
# More threads than this hardly decode faster.
MOST_WORKERS = 16


class ImageBank:
    """The views of a split at one resolution.

    Image i is view `view_of[i]` of shape `shape_of[i]` (an index into `shape_ids`). The resolution must divide the
    stored one; views are averaged down in premultiplied alpha.

    With a cache folder, every view is decoded once, into a file that other ranks and later runs share (`view_cache`).
    Without one, views are decoded when they are used. Either way `prefetch` fetches the next batch in the background,
    and memory does not depend on the number of views.
    """

    def __init__(
        self,
        dataset: ViewDataset,
        split: str | Sequence[str],
        resolution: int | None = None,
        *,
        cache: Path | None = None,
        ranks: Ranks | None = None,
        workers: int | None = None,
        bar: Bar | None = None,
    ):
        """split: "train", "val", "test", or shape ids. cache: folder for decoded views. ranks: who share the decoding.

        bar: shows how far the decoding into the cache is.
        """
        resolution = resolution or dataset.resolution
        pixels.divisor(dataset.resolution, resolution, str(dataset.path))
        self.dataset = dataset
        self.resolution = resolution
        self.shape_ids = dataset.splits[split] if isinstance(split, str) else list(split)
        if not self.shape_ids:
            raise UserError(f"{dataset.path}: split {split!r} has no shapes; split again with: tetragan dataset split")
        self._workers = ThreadPoolExecutor(workers or _default_workers())
        counts = list(self._workers.map(dataset.views, self.shape_ids))
        self.shape_of = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
        self.view_of = torch.cat([torch.arange(count) for count in counts])
        self.cameras = dataset.cameras([self.shape_ids[s] for s in self.shape_of.tolist()], self.view_of.tolist())
        self.labels = torch.tensor([dataset.label(shape_id) for shape_id in self.shape_ids])
        self._pinned = False
        self._background = ThreadPoolExecutor(1)
        self._ahead: tuple[list[int], Future[Tensor]] | None = None
        self._cached: CachedViews | None = None
        self.remark = ""
        if cache is not None:
            key = digest({"version": CACHE_VERSION, "dataset": dataset.hash(), "shapes": self.shape_ids})[:24]
            self._cached, self.remark = open_cache(
                cache, key, len(self), resolution, self._view, self._workers, ranks or Ranks(), bar
            )

    def __len__(self) -> int:
        return self.shape_of.shape[0]

    def batch(self, indices: Tensor | Sequence[int], device: torch.device | str = "cpu") -> tuple[Tensor, Cameras]:
        """Images [B, 4, R, R] float32 and their cameras.

        Channels 0–2 are sRGB in [−1, 1], composited on black; channel 3 is the coverage in [0, 1]. The memory format is
        channels-last.
        """
        index = torch.as_tensor(indices, dtype=torch.int64)
        self._pinned = torch.device(device).type == "cuda"
        with phase("loader"):
            images = self._fetched(index.tolist())
        values = images.to(device, non_blocking=True).to(torch.float32)
        scale, shift = _ranges(values.device)
        values = values.mul_(scale).add_(shift)
        return values.permute(0, 3, 1, 2), self.cameras[index].to(device)

    def prefetch(self, indices: Tensor | Sequence[int]) -> None:
        """Announce the next batch, which is then fetched in the background."""
        wanted = torch.as_tensor(indices, dtype=torch.int64).tolist()
        self._ahead = (wanted, self._background.submit(self._fetch, wanted))

    def class_labels(self, indices: Tensor | Sequence[int]) -> Tensor:
        """Class of each image's shape [B] int64."""
        return self.labels[self.shape_of[torch.as_tensor(indices, dtype=torch.int64)]]

    def _fetched(self, indices: list[int]) -> Tensor:
        ahead, self._ahead = self._ahead, None
        return ahead[1].result() if ahead is not None and ahead[0] == indices else self._fetch(indices)

    def _fetch(self, indices: list[int]) -> Tensor:
        """Premultiplied uint8 [len(indices), R, R, 4], pinned for a GPU."""
        images = empty_views(len(indices), self.resolution, self._pinned)
        if self._cached is not None:
            self._cached.read(indices, images)
            return images
        rows = images.numpy()
        for row, image in enumerate(self._workers.map(self._view, indices)):
            rows[row] = image
        return images

    def _view(self, index: int) -> np.ndarray:
        """One view, premultiplied uint8 [R, R, 4]."""
        shape_id = self.shape_ids[int(self.shape_of[index])]
        return self.dataset.load_premultiplied(shape_id, int(self.view_of[index]), self.resolution)


def _default_workers() -> int:
    """Threads that decode: the machine's cores, shared by the ranks on it. Decoding releases Python's lock."""
    return max(1, min(MOST_WORKERS, (os.cpu_count() or 1) // int(os.environ.get("LOCAL_WORLD_SIZE", "1"))))


@functools.cache
def _ranges(device: torch.device) -> tuple[Tensor, Tensor]:
    """Factor and offset [4] that map RGB from 0–255 to [−1, 1] and coverage to [0, 1]."""
    scale = torch.tensor([2 / 255, 2 / 255, 2 / 255, 1 / 255], device=device)
    return scale, torch.tensor([-1.0, -1.0, -1.0, 0.0], device=device)
