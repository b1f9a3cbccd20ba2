"""The files of a mesh: which ones may be opened, where textures are found, and which files are not meshes."""

import os
import re
import stat
import struct
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from torch_utils.errors import UserError
from torch_utils.files import printable

# Folders where exporters put textures, relative to the mesh's folder.
TEXTURE_FOLDERS = ("", "textures", "texture", "images", "maps", "tex", "../images", "../textures", "../texture", "..")
MAX_FILE_BYTES = 4 << 30
BLANK = b"\0 \t\r\n"
# Errors that malformed input may raise inside a reader. Any other error is a bug and keeps its traceback.
MALFORMED = (
    KeyError,
    IndexError,
    TypeError,
    ValueError,
    AttributeError,
    OverflowError,
    struct.error,
    RecursionError,
    MemoryError,
    ZeroDivisionError,
)


class OutsideError(UserError):
    """A mesh refers to a file outside the tree that it may read from."""


@dataclass(frozen=True)
class SourceFiles:
    """The mesh file at `path` and the tree that it may read from.

    root: nothing outside it is opened unless `allow_outside`. The mesh's own folder is always allowed, and so is the
    folder above a `models/` folder, where ShapeNet keeps `images/`.
    warnings: lines collected while reading.
    """

    path: Path
    root: Path | None = None
    allow_outside: bool = False
    warnings: list[str] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        """The folder of the file: relative references start there."""
        return self.path.parent

    def warn(self, line: str) -> None:
        """Add a line to `SourceMesh.warnings`, once."""
        line = printable(line)
        if line not in self.warnings:
            self.warnings.append(line)

    def error(self, cause: str) -> UserError:
        """The error to raise: one line with the file and the cause."""
        return UserError(printable(f"{self.path}: {cause}"))

    @contextmanager
    def optional(self, what: str) -> Iterator[None]:
        """A fault in data that are not needed costs these data, with a note, and not the mesh.

        what: the data, and what is lost, e.g. "attribute NORMAL is not read". A file outside the tree is still refused.
        """
        try:
            yield
        except OutsideError:
            raise
        except (UserError, *MALFORMED) as error:
            cause = str(error).removeprefix(printable(f"{self.path}: ")) if str(error) else type(error).__name__
            self.warn(f"{what} ({' '.join(cause.split())[:120]})")

    def allowed(self, target: Path) -> bool:
        """Whether `target` may be opened. Symbolic links are resolved first."""
        if self.allow_outside:
            return True
        folder = self.path.resolve().parent
        trees = [folder, folder.parent] if folder.name == "models" else [folder]
        if self.root is not None:
            trees.append(self.root.resolve())
        resolved = target.resolve()
        return any(resolved.is_relative_to(tree) for tree in trees)

    def open_named(self, reference: str) -> Path | None:
        """The file that a URI or path in the mesh file names, or None if it does not exist.

        Raises UserError if it exists outside the source folder.
        """
        target = self.folder / reference
        if not _is_file(target):
            return None
        if not self.allowed(target):
            raise self.outside(reference)
        return target

    def outside(self, reference: str) -> OutsideError:
        """The error to raise for a reference to a file outside the tree."""
        cause = f"refers to {reference!r} outside the source folder; add --allow-outside to read it"
        return OutsideError(printable(f"{self.path}: {cause}"))

    def find_texture(self, reference: str) -> Path | None:
        """The texture that a material names, or None.

        Tolerates backslashes, URL escapes, wrong case and absolute paths of another machine: a file that does not exist
        under its path is searched for by name in the usual folders.
        """
        reference = reference.strip().strip('"')
        for name in dict.fromkeys((reference, unquote(reference), reference.replace("\\", "/"))):
            if name and not _is_absolute(name) and (found := self.open_named(name)):
                return found
            if self.allow_outside and _is_absolute(name) and (found := self.open_named(name)):
                return found
        base = PurePosixPath(unquote(reference).replace("\\", "/")).name
        if base in ("", ".", ".."):
            return None
        for folder in TEXTURE_FOLDERS:
            candidate = self.folder / folder / base
            if _is_file(candidate) and self.allowed(candidate):
                return candidate
        return self._find_other_case(base)

    def _find_other_case(self, base: str) -> Path | None:
        for folder in TEXTURE_FOLDERS:
            place = self.folder / folder
            if not (place.is_dir() and self.allowed(place)):
                continue
            try:
                matches = sorted(path for path in place.iterdir() if _same_name(path.name) == _same_name(base))
            except OSError:  # a folder that may not be listed
                continue
            if matches and _is_file(matches[0]) and self.allowed(matches[0]):
                return matches[0]
        return None


def _is_file(path: Path) -> bool:
    """Whether there is a file; names from mesh files may be too long for the file system, or hold NUL."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _same_name(name: str) -> str:
    """What names have in common that differ in case, in the form of their accents, or in being Latin-1 bytes."""
    data = os.fsencode(name)
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        text = data.decode("latin-1")
    return unicodedata.normalize("NFC", text).lower()


def _is_absolute(name: str) -> bool:
    return name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name) is not None


def read_bytes(path: Path) -> bytes:
    """The bytes of a file; UserError if it is missing, a folder, empty or a failed download."""
    name = printable(path)
    try:
        status = path.stat()
        if stat.S_ISDIR(status.st_mode):
            raise UserError(f"{name}: a folder, expected a mesh file")
        if not stat.S_ISREG(status.st_mode):
            raise UserError(f"{name}: not a file but a device, pipe or socket")
        if status.st_size > MAX_FILE_BYTES:
            raise UserError(
                f"{name}: {status.st_size >> 20} MiB, more than the {MAX_FILE_BYTES >> 30} GiB that are read"
            )
        data = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"{name}: no such file") from None
    except OSError as error:
        raise UserError(f"{name}: cannot be read ({error.strerror or error})") from None
    if not data[:4096].strip(BLANK) and not data.strip(BLANK):
        raise UserError(f"{name}: the file is empty")
    if cause := not_the_file(data):
        raise UserError(f"{name}: {cause}")
    return data


def not_the_file(data: bytes) -> str | None:
    """Why these bytes are not the named file but a failed download, or None."""
    head = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n")
    if head.startswith(b"version https://git-lfs"):
        return "a Git LFS pointer, not the file itself; fetch it with `git lfs pull`"
    if head[:1] == b"<" and re.match(rb"<(\?xml|!doctype|html|head|error|body)", head, re.IGNORECASE):
        message = re.search(rb"<(?:title|code)>([^<]{1,60})<", data[:4096], re.IGNORECASE)
        said = f" ({message.group(1).decode('ascii', 'replace').strip()})" if message else ""
        return f"an HTML or XML page{said}, not the file itself: the download failed, fetch it again"
    return None


def decode_text(data: bytes) -> str:
    """Text in UTF-8, in UTF-16 or UTF-32 by its byte order mark, else Latin-1."""
    marks = ((b"\xff\xfe\0\0", "utf-32"), (b"\0\0\xfe\xff", "utf-32"), (b"\xff\xfe", "utf-16"), (b"\xfe\xff", "utf-16"))
    for mark, encoding in marks:
        if data.startswith(mark):
            return data.decode(encoding, "replace")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError:
        return data.decode("latin-1")
