"""Choice of the device, and asynchronous copies between host and device."""

import os
import re

import torch
from torch import Tensor

from torch_utils.errors import UserError


def parse_device(name: str) -> torch.device:
    """A device from "cpu", "cuda" or "cuda:N", whether this machine has it or not. UserError for anything else."""
    if not re.fullmatch(r"cpu|cuda(:\d{1,2})?", name):
        raise UserError(f"device {name}: expected auto, cpu, cuda or cuda:N")
    return torch.device(name)


def pick_device(name: str) -> torch.device:
    """A device of this machine, from "auto" (CUDA if there is a card), "cpu", "cuda" or "cuda:N".

    For a card, it calls `use_full_float32`. UserError for anything else, and for a card that is missing.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    device = parse_device(name)
    count = torch.cuda.device_count()
    if device.type == "cuda" and (device.index or 0) >= count:
        cards = ", ".join(f"cuda:{index}" for index in range(count)) or "no CUDA card"
        raise UserError(f"device {name}: torch finds {cards}; use cpu, or see `tetragan doctor`")
    if device.type == "cuda":
        use_full_float32()
    return device


def use_full_float32() -> None:
    """Compute float32 on cards as float32, as on the CPU, and not as TF32, which keeps 10 bits of each factor.

    PyTorch allows TF32 in convolutions by default, and images for cards often in matrix products as well
    (`TORCH_ALLOW_TF32_CUBLAS_OVERRIDE`), which would move vertices by a thousandth on the way to the screen.
    """
    torch.backends.cuda.matmul.allow_tf32 = False
    torch.backends.cudnn.allow_tf32 = False


def share_cards(device: torch.device) -> torch.device:
    """Of "cuda", the card of this process: those that torchrun starts on a machine take its cards in turn."""
    if device.type != "cuda" or device.index is not None:
        return device
    return torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")) % torch.cuda.device_count())


def device_name(device: torch.device) -> str:
    """The model of a card; "cpu" for the CPU."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def upload(tensor: Tensor, device: torch.device | str) -> Tensor:
    """A host tensor copied to `device` without waiting, through pinned memory; for the CPU, the tensor itself.

    A copy from pageable memory would make the host wait until the device has finished all queued work.
    """
    if torch.device(device).type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


def synchronize(device: torch.device) -> None:
    """Wait until a device has done all work that was queued on it; on the CPU it has."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


class Download:
    """An asynchronous copy to the host: it is queued at once, and `read` waits for it but not for later work."""

    def __init__(self, tensor: Tensor) -> None:
        """tensor: must not be modified before `read` (on the CPU it is not copied)."""
        self._event: torch.cuda.Event | None = None
        # A non-blocking copy to the CPU goes to pinned memory.
        self._host = tensor.to("cpu", non_blocking=True)
        if tensor.is_cuda:
            self._event = torch.cuda.Event()
            self._event.record(torch.cuda.current_stream(tensor.device))

    def read(self) -> Tensor:
        """The values, on the CPU."""
        if self._event is not None:
            self._event.synchronize()
        return self._host
