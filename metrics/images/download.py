"""Download of a detector: once, stored under its hash, and refused if the hash is not the one that was given."""

import http.client
import re
import urllib.error
import urllib.request
from pathlib import Path

from torch_utils.errors import UserError
from torch_utils.files import file_hash, replacing

TIMEOUT_S = 60.0
_SCHEME = re.compile(r"(https?|file)://")


def _download(url: str, path: Path) -> None:
    """Copy what a URL gives into a file. UserError where the URL cannot be read, OSError where the file cannot be."""
    with path.open("wb") as target:
        try:
            source = urllib.request.urlopen(url, timeout=TIMEOUT_S)
        except (OSError, http.client.HTTPException, ValueError) as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            raise UserError(f"--detector {url}: cannot be read ({reason})") from None
        with source:
            while True:
                try:
                    block = source.read(1 << 20)
                except (OSError, http.client.HTTPException, ValueError) as error:
                    raise UserError(f"--detector {url}: cannot be read ({error})") from None
                if not block:
                    return
                target.write(block)


def is_url(text: str) -> bool:
    """Whether `text` is a URL that `fetched` can read."""
    return _SCHEME.match(text) is not None


def fetched(url: str, sha256: str | None, folder: Path) -> Path:
    """The file of a URL, in `folder`; nothing is downloaded if it is there already.

    UserError without a hash, for a file with another hash, which is not kept, and for a URL that cannot be read.
    """
    if sha256 is None:
        raise UserError(f"--detector {url}: a detector from a URL needs --detector-hash, its SHA-256")
    if not re.fullmatch(r"[0-9a-fA-F]{64}", sha256):
        raise UserError(f"--detector-hash {sha256}: expected a SHA-256, 64 hexadecimal digits")
    path = folder / f"{sha256.lower()}.pt"
    if path.is_file() and file_hash(path) == sha256.lower():
        return path
    with replacing(path) as temporary:
        _download(url, temporary)
        actual = file_hash(temporary)
        if actual != sha256.lower():
            raise UserError(f"--detector {url}: its SHA-256 is {actual}, not {sha256}; it is another file, or damaged")
    return path
