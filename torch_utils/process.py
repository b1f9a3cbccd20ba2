"""Settings of a long-working process that cost nothing and save a tenth of its time on the CPU."""

import ctypes
import gc

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_THRESHOLD = -1, -2, -3  # <malloc.h>
_MIB = 1 << 20


def keep_freed_memory() -> bool:
    """Let glibc keep freed blocks for the next step instead of giving them back page by page; False elsewhere.

    A training step frees and asks again for the same hundreds of buffers; mapping their pages anew each time took a
    tenth of it. Peak memory stays as it is.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    settings = {_M_MMAP_THRESHOLD: 32 * _MIB, _M_TRIM_THRESHOLD: 1024 * _MIB, _M_TOP_PAD: 64 * _MIB}
    return all(mallopt(name, value) == 1 for name, value in settings.items())


def forget_long_lived_objects() -> None:
    """Take every object that lives now out of the garbage collector's rounds: modules and networks stay anyway."""
    gc.collect()
    gc.freeze()
