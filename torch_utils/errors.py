"""The one exception for mistakes that the user can fix, and one for what a foreign decoder raises."""

from collections.abc import Iterator
from contextlib import contextmanager


class UserError(ValueError):
    """A mistake in the user's input: one line with the file or option, what was expected and the command to fix it.

    The command line prints it without a traceback and exits with status 2. Never raised for a bug.
    """

    def __init__(self, message: str) -> None:
        """Line breaks and other control characters, which a foreign file may bring, become escapes."""
        super().__init__("".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in message))


@contextmanager
def decoding() -> Iterator[None]:
    """Around the work of a foreign decoder: whatever a damaged file makes it raise, TypeError for one, is a ValueError.

    OSError and MemoryError, which say what they mean, pass.
    """
    try:
        yield
    except (OSError, MemoryError, ValueError):
        raise
    except Exception as error:
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from error
