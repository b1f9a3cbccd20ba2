"""Where what can be made again is kept for later runs: decoded views, and results on real data."""

import os
import tempfile
from pathlib import Path


def cache_folder() -> Path:
    """Where results are kept for later runs: TETRAGAN_CACHE, or the user's cache; for a user without a home, /tmp."""
    chosen, base = os.environ.get("TETRAGAN_CACHE"), Path(os.environ.get("XDG_CACHE_HOME", ""))
    if chosen:
        return Path(chosen)
    if base.is_absolute():
        return base / "tetragan"
    try:
        return Path("~/.cache/tetragan").expanduser()
    except RuntimeError:
        return Path(tempfile.gettempdir()) / f"tetragan-{os.getuid()}"
