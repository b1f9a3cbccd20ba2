"""STL, binary and text. Corners at equal positions become one vertex; the stored facet normals are not used."""

import re
import struct
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mesh_io.readers.source_files import SourceFiles, decode_text, read_bytes
from mesh_io.readers.text_lines import line_blocks, parse_numbers
from mesh_io.readers.texture_images import TextureCache
from mesh_io.source_mesh import SourcePart

HEADER, FACET = 84, 50
BEGINNING = re.compile(rb"^[ \t]*(?:solid|facet)\b", re.IGNORECASE | re.MULTILINE)


def read_stl(files: SourceFiles, textures: TextureCache) -> list[SourcePart]:
    """All solids of the file as one part without color."""
    del textures
    data = read_bytes(files.path)
    if _is_text(data):
        triangles: NDArray = TextStl(files).read(decode_text(data))
    else:
        triangles = _binary(files, data)
    if not len(triangles):
        return []
    if not np.isfinite(triangles).all():
        raise files.error("has vertices with NaN or infinite coordinates")
    vertices, ids = np.unique(triangles.reshape(-1, 3), axis=0, return_inverse=True)
    return [SourcePart(vertices.astype(np.float64), ids.reshape(-1, 3).astype(np.int32))]


def _is_text(data: bytes) -> bool:
    """Text starts with `solid`, but so do many binary headers: those have NUL bytes, or the length of their count.

    Comments may stand before it, so any first line that starts so will do.
    """
    if len(data) >= HEADER and HEADER + FACET * struct.unpack_from("<I", data, 80)[0] == len(data):
        return False
    start = data[:1024].removeprefix(b"\xef\xbb\xbf").lstrip()
    return BEGINNING.search(start) is not None and b"\0" not in start.rstrip(b"\0")


def _binary(files: SourceFiles, data: bytes) -> NDArray[np.float32]:
    if len(data) < HEADER:
        raise files.error(f"truncated: {len(data)} bytes, less than an STL header")
    count, present = struct.unpack_from("<I", data, 80)[0], (len(data) - HEADER) // FACET
    if count > present or (count == 0 and present > 0):
        cause = "truncated" if count > present else "damaged"
        raise files.error(f"{cause}: its header declares {count} facets, there are {present}")
    facet = np.dtype([("normal", "<f4", 3), ("corners", "<f4", (3, 3)), ("attribute", "<u2")])
    return np.frombuffer(data, facet, count, HEADER)["corners"]


class TextStl:
    """Reads a text STL by lines and words. After `solid` and `endsolid` a line holds a name, whatever it says."""

    def __init__(self, files: SourceFiles) -> None:
        self.files = files
        self.words: list[str] = []
        self.corners: list[NDArray[np.float64]] = []
        self.open_corners = 0  # of the facet that is being read
        self.ended = False

    def read(self, text: str) -> NDArray[np.float64]:
        """Triangles [F, 3, 3]."""
        for lines in line_blocks(text):
            for line in lines:
                words = line.split()
                if len(words) == 4 and words[0] == "vertex":
                    self.words += words[1:]
                    self.open_corners += 1
                elif words:
                    self._statements(words)
            self._parse()
        if not self.ended:
            raise self.files.error("truncated: a text STL that does not end with endsolid")
        return np.concatenate(self.corners).reshape(-1, 3, 3) if self.corners else np.zeros((0, 3, 3))

    def _statements(self, words: Sequence[str]) -> None:
        """The statements of one line; there may be several, or a whole file."""
        place = 0
        while place < len(words):
            word = words[place].lower()
            if word == "end" and place + 1 < len(words):  # "end solid" for "endsolid"
                place += 1
                word += words[place].lower()
            place += 1
            if word in ("solid", "endsolid"):
                self._close_facet()
                self.ended = word == "endsolid"
                place = _end_of_name(words, place)
            elif word == "vertex":
                self.words += words[place : place + 3]
                if len(words) < place + 3:
                    raise self._damaged()
                self.open_corners += 1
                place += 3
            elif word in ("facet", "endfacet"):
                self._close_facet()
                self.ended = False

    def _close_facet(self) -> None:
        if self.open_corners not in (0, 3):
            raise self._damaged()
        self.open_corners = 0

    def _parse(self) -> None:
        numbers, wrong = parse_numbers(self.words)
        if wrong is not None:
            raise self._damaged()
        self.corners.append(numbers)
        self.words.clear()

    def _damaged(self) -> Exception:
        return self.files.error("damaged: a facet does not have three vertices of three numbers")


def _end_of_name(words: Sequence[str], place: int) -> int:
    """Where the name ends that begins at `place`: with the line, or before `facet normal` and a number.

    Only in a file without line ends does a facet follow on this line.
    """
    for at in range(place, len(words) - 2):
        if words[at].lower() == "facet" and words[at + 1].lower() == "normal" and _is_number(words[at + 2]):
            return at
    return len(words)


def _is_number(word: str) -> bool:
    return parse_numbers([word])[1] is None
