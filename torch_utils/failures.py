"""Failures of single items, such as one shape of many: a line for people, and the traceback in a log file.

One bad shape never ends a job. A mistake in a file is a `UserError` and says what is wrong; any other exception is a
fault of the code or of a library, whose traceback helps to find it.
"""

import logging
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from torch_utils.errors import UserError
from torch_utils.files import write_errors

_LOG = logging.getLogger("tetragan failures")
_LOG.propagate = False
_LOG.addHandler(logging.NullHandler())


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an exception says that memory is exhausted; torch raises RuntimeError for that."""
    # "not enough memory" on the CPU, "out of memory" on CUDA.
    return isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and "memory" in str(error))


def failure_line(error: Exception) -> str:
    """An exception as one line."""
    if isinstance(error, UserError):
        return str(error)
    if is_out_of_memory(error):
        return "not enough memory"
    first = (str(error).strip().splitlines() or [""])[0][:200]
    return f"{type(error).__name__}: {first}" if first else type(error).__name__


def traceback_of(error: Exception) -> str:
    """The traceback; "" for a UserError, which says all there is to say."""
    return "" if isinstance(error, UserError) else "".join(traceback.format_exception(error))


def log_failure(name: str, details: str) -> None:
    """Add what is known about the failure of an item to the log file of `failure_log`, if there is anything."""
    if details:
        _LOG.error("%s\n%s", name, details)


def note_failure(name: str, error: Exception) -> str:
    """The failure of an item as one line; its traceback goes to the log file."""
    log_failure(name, traceback_of(error))
    return failure_line(error)


@contextmanager
def failure_log(path: Path, *, fresh: bool = True) -> Iterator[None]:
    """Collect the tracebacks of failed items in `path` during the block. No file without failures.

    fresh: remove what an earlier run left; otherwise add to the file, as all ranks but the first do.
    """
    if fresh:
        with write_errors(path):
            path.unlink(missing_ok=True)
    handler = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace", delay=True)
    handler.handleError = lambda record: None  # type: ignore[method-assign]  # a full disk is reported elsewhere
    _LOG.addHandler(handler)
    try:
        yield
    finally:
        _LOG.removeHandler(handler)
        handler.close()
