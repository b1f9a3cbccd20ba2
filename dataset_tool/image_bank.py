"""The views of a split, decoded once into memory."""

import functools
import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from dataset_tool.dataset import ViewDataset
from dataset_tool.format import pixels
from rendering.camera import Cameras
from torch_utils.devices import upload
from torch_utils.errors import UserError


class ImageBank:
    """The views of a split at one resolution, as premultiplied uint8 RGBA in memory.

    Image i is view `view_of[i]` of shape `shape_of[i]` (an index into `shape_ids`). The resolution must divide the
    stored one; views are averaged down in premultiplied alpha.

    If the images need more than `memory_limit` bytes (shared by all processes that torchrun started on this machine),
    they are decoded when they are used, and `prefetch` decodes the next batch in the background.
    """

    def __init__(
        self,
        dataset: ViewDataset,
        split: str | Sequence[str],
        resolution: int | None = None,
        *,
        memory_limit: float = 8e9,
        workers: int | None = None,
        progress: Callable[[int, int], None] | None = None,
    ):
        """split: "train", "val", "test", or shape ids. memory_limit: bytes. progress: called with (done, total)."""
        resolution = resolution or dataset.resolution
        pixels.divisor(dataset.resolution, resolution, str(dataset.path))
        self.dataset = dataset
        self.resolution = resolution
        self.shape_ids = dataset.splits[split] if isinstance(split, str) else list(split)
        if not self.shape_ids:
            raise UserError(f"{dataset.path}: split {split!r} has no shapes; split again with: tetragan dataset split")
        self._workers = workers or min(8, os.cpu_count() or 1)
        with ThreadPoolExecutor(self._workers) as pool:
            counts = list(pool.map(dataset.views, self.shape_ids))
        self.shape_of = torch.repeat_interleave(torch.arange(len(counts)), torch.tensor(counts))
        self.view_of = torch.cat([torch.arange(count) for count in counts])
        self.cameras = dataset.cameras([self.shape_ids[s] for s in self.shape_of.tolist()], self.view_of.tolist())
        self.labels = torch.tensor([dataset.label(shape_id) for shape_id in self.shape_ids])
        self._images: Tensor | None = None
        self._background = ThreadPoolExecutor(1)
        self._ahead: tuple[list[int], Future[Tensor]] | None = None
        share = memory_limit / int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
        if len(self) * resolution * resolution * 4 <= share:
            self._images = self._decode(range(len(self)), progress)

    def __len__(self) -> int:
        return self.shape_of.shape[0]

    def batch(self, indices: Tensor | Sequence[int], device: torch.device | str = "cpu") -> tuple[Tensor, Cameras]:
        """Images [B, 4, R, R] float32 and their cameras.

        Channels 0–2 are sRGB in [−1, 1], composited on black; channel 3 is the coverage in [0, 1]. The memory format is
        channels-last.
        """
        index = torch.as_tensor(indices, dtype=torch.int64)
        images = self._decoded(index.tolist()) if self._images is None else self._images.index_select(0, index)
        values = upload(images, device).to(torch.float32)
        scale, shift = _ranges(values.device)
        values = values.mul_(scale).add_(shift)
        return values.permute(0, 3, 1, 2), self.cameras[index].to(device)

    def prefetch(self, indices: Tensor | Sequence[int]) -> None:
        """Announce the next batch, which is then decoded in the background unless all images are in memory."""
        if self._images is None:
            wanted = torch.as_tensor(indices, dtype=torch.int64).tolist()
            self._ahead = (wanted, self._background.submit(self._decode, wanted))

    def _decoded(self, indices: list[int]) -> Tensor:
        ahead, self._ahead = self._ahead, None
        return ahead[1].result() if ahead is not None and ahead[0] == indices else self._decode(indices)

    def class_labels(self, indices: Tensor | Sequence[int]) -> Tensor:
        """Class of each image's shape [B] int64."""
        return self.labels[self.shape_of[torch.as_tensor(indices, dtype=torch.int64)]]

    def _decode(self, indices: Sequence[int], progress: Callable[[int, int], None] | None = None) -> Tensor:
        """Premultiplied uint8 [len(indices), R, R, 4]."""
        images = np.empty((len(indices), self.resolution, self.resolution, 4), np.uint8)
        wanted = torch.as_tensor(indices, dtype=torch.int64)
        shapes, views = self.shape_of[wanted].tolist(), self.view_of[wanted].tolist()

        def one(row: int) -> None:
            images[row] = self.dataset.load_premultiplied(self.shape_ids[shapes[row]], views[row], self.resolution)

        with ThreadPoolExecutor(self._workers) as pool:
            for done, _ in enumerate(pool.map(one, range(len(indices)), chunksize=1), 1):
                if progress is not None and (done % 256 == 0 or done == len(indices)):
                    progress(done, len(indices))
        return torch.from_numpy(images)


@functools.cache
def _ranges(device: torch.device) -> tuple[Tensor, Tensor]:
    """Factor and offset [4] that map RGB from 0–255 to [−1, 1] and coverage to [0, 1]."""
    scale = torch.tensor([2 / 255, 2 / 255, 2 / 255, 1 / 255], device=device)
    return scale, torch.tensor([-1.0, -1.0, -1.0, 0.0], device=device)
