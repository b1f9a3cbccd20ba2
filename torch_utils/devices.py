"""Where to compute, and copies between host and device that nothing waits for."""

import torch
from torch import Tensor

from torch_utils.errors import UserError


def pick_device(name: str) -> torch.device:
    """A device from "auto" (CUDA where there is one), "cpu", "cuda" or "cuda:N". Raises UserError for anything else."""
    if name == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UserError(f"--device {name}: expected auto, cpu, cuda or cuda:N") from None
    if device.type not in ("cpu", "cuda"):
        raise UserError(f"--device {name}: expected auto, cpu, cuda or cuda:N")
    if device.type == "cuda" and (device.index or 0) >= torch.cuda.device_count():
        raise UserError(f"--device {name}: torch sees {torch.cuda.device_count()} CUDA devices; try --device cpu")
    return device


def upload(tensor: Tensor, device: torch.device | str) -> Tensor:
    """A host tensor on `device`, without waiting: by pinned memory where that is CUDA; on the CPU the tensor itself.

    A plain copy from pageable memory would make the host wait until the device has done all that was queued before.
    """
    if torch.device(device).type == "cuda" and tensor.device.type == "cpu":
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


class Download:
    """A tensor on its way to the host: the copy is queued at once, and `read` waits for it, not for what came after."""

    def __init__(self, tensor: Tensor) -> None:
        """tensor: must not be written to before `read` (on the CPU it is not copied)."""
        self._event: torch.cuda.Event | None = None
        # To the CPU and non-blocking: torch takes pinned memory by itself.
        self._host = tensor.to("cpu", non_blocking=True)
        if tensor.is_cuda:
            self._event = torch.cuda.Event()
            self._event.record(torch.cuda.current_stream(tensor.device))

    def read(self) -> Tensor:
        """The values, on the CPU."""
        if self._event is not None:
            self._event.synchronize()
        return self._host
