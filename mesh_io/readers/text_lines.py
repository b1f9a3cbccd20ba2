"""Lines, comments and numbers of the text formats, read line by line and word by word."""

import itertools
import re
from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

# How other programs print numbers that are not finite: -nan(ind), nan(snan), NaNQ, 1.#QNAN, -1.#IND00, 1.#J.
NOT_FINITE = re.compile(r"[+-]?(?:[qs]?nan[qs]?(?:\([^)]*\))?|\d+\.#\w*)", re.IGNORECASE)
COMMENT = re.compile(r"(?<![0-9]\.)#")  # not the # of 1.#IND
BLOCK_CHARACTERS = 1 << 22
LINES_AT_ONCE = 100_000
BLANK = "\0 \t\f\v\x1a"  # some programs end a text with NUL or ^Z
# Statements of OBJ and MTL that hold a name. A backslash that touches a name is part of it: a Windows folder.
NAMED = ("g", "o", "usemtl", "mtllib", "usemap", "maplib", "newmtl", "call")
TEXTURES = ("map_", "bump", "disp", "decal", "refl", "norm")
SPECIAL_SPACES = "\t\v\f\x1c\x1d\x1e\x1f"


def line_blocks(text: str) -> Iterator[list[str]]:
    """The lines of a text, in blocks of a few MB, so that a large file is not held twice.

    Lines end at a line feed, a carriage return or both, but not at the further characters that `str.splitlines` knows:
    they occur in names of other encodings.
    """
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    start = 0
    while start < len(text):
        end = text.find("\n", start + BLOCK_CHARACTERS)
        end = len(text) if end < 0 else end
        yield text[start:end].split("\n")
        start = end + 1


def taken_lines(rows: Iterator[str], count: int) -> Iterator[list[str]]:
    """The next `count` of `rows`, or fewer if there are no more, in lists that bound the memory of what is parsed."""
    while count > 0 and (lines := list(itertools.islice(rows, min(count, LINES_AT_ONCE)))):
        count -= len(lines)
        yield lines


def joined_lines(text: str) -> Iterator[list[str]]:
    """The lines of an OBJ or MTL file in blocks; a backslash at the end of a line continues it on the next one.

    A comment is not continued, nor is a name that ends in a backslash.
    """
    if "\\" not in text:
        yield from line_blocks(text)
        return
    begun: list[str] = []
    for lines in line_blocks(text):
        block = []
        for line in lines:
            if "\\" in line and _continues(begun[0] if begun else line, line):
                begun.append(line.rstrip()[:-1])
            else:
                block.append(" ".join([*begun, line]) if begun else line)
                begun = []
        yield block
    if begun:
        yield [" ".join(begun)]


def _continues(first: str, line: str) -> bool:
    """Whether `line` continues on the next one. first: the line on which the statement began."""
    text = line.rstrip()
    if not text.endswith("\\") or COMMENT.search(text):
        return False
    keyword = first.split(None, 1)[0].lower()
    named = keyword in NAMED or keyword.startswith(TEXTURES)
    return not named or text[-2:-1].isspace()


def without_comment(line: str) -> str:
    """`line` up to its comment, if it has one."""
    comment = COMMENT.search(line)
    return line[: comment.start()] if comment else line


def split_words(lines: Sequence[str]) -> tuple[list[str], NDArray[np.int64]]:
    """All words of `lines`, and the number of words in each line."""
    text = " ".join(lines)
    words = text.split()
    spaces = lines[0].count(" ") if lines else 0
    # If only spaces separate words, a line with n of them has at most n + 1; if the total is that, all have n + 1.
    simple = text.isascii() and not any(space in text for space in SPECIAL_SPACES)
    if simple and len(words) == len(lines) * (spaces + 1) and all(line.count(" ") == spaces for line in lines):
        return words, np.full(len(lines), spaces + 1, np.int64)
    return words, np.fromiter((len(line.split()) for line in lines), dtype=np.int64, count=len(lines))


def leading_words(words: list[str], counts: NDArray[np.int64], width: int) -> list[str]:
    """The first `width` words of every line; every line has so many."""
    if len(words) == len(counts) * width:
        return words
    starts = np.cumsum(counts) - counts
    return [words[place] for place in (starts[:, None] + np.arange(width)).reshape(-1).tolist()]


def parse_numbers(words: Sequence[str]) -> tuple[NDArray[np.float64], str | None]:
    """The values of words, NaN for those that no program prints as a number, and the first of these (None: none)."""
    try:
        return np.array(words, dtype=np.float64), None
    except ValueError:
        pass
    values = np.empty(len(words))
    wrong = None
    for place, word in enumerate(words):
        try:
            values[place] = float(word)
        except ValueError:
            values[place] = np.nan
            if wrong is None and NOT_FINITE.fullmatch(word) is None:
                wrong = word
    return values, wrong
