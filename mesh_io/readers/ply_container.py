"""The PLY container: header and elements, text or binary, lists of equal or different lengths."""

import struct
from array import array
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mesh_io.readers.source_files import SourceFiles
from mesh_io.readers.text_lines import BLANK, line_blocks, parse_numbers, split_words, taken_lines

TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2", "ushort": "u2",
    "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4", "float": "f4", "float32": "f4",
    "double": "f8", "float64": "f8", "int64": "i8", "uint64": "u8",
}  # fmt: skip
COUNT_CODES = {
    "i1": "b", "u1": "B", "i2": "h", "u2": "H", "i4": "i", "u4": "I", "i8": "q", "u8": "Q", "f4": "f", "f8": "d",
}  # fmt: skip
MAX_HEADER_BYTES = 1 << 20
ROWS_AT_ONCE = 200_000
TextRows = dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]]  # property → lengths of its lists, values


@dataclass(frozen=True)
class Property:
    """One property: its type, and for a list the type of its count."""

    name: str
    dtype: str
    count_dtype: str | None = None


@dataclass
class Element:
    """One element, e.g. vertex. Scalars are arrays [count] by name; lists are (lengths [count], values [Σlength])."""

    name: str
    count: int
    properties: list[Property] = field(default_factory=list)
    scalars: dict[str, NDArray] = field(default_factory=dict)
    lists: dict[str, tuple[NDArray[np.int64], NDArray]] = field(default_factory=dict)


def parse_ply(files: SourceFiles, data: bytes) -> tuple[dict[str, Element], list[str]]:
    """Elements by name, filled, and the comments; UserError for a damaged header and for data that do not fit it."""
    data = data.removeprefix(b"\xef\xbb\xbf")
    lines, start = _header_lines(files, data)
    form, elements, comments = _header(files, lines)
    if form == "ascii":
        _read_text(files, elements, data[start:].decode("latin-1"))
    else:
        _read_binary(files, elements, data, start, ">" if "big" in form else "<")
    return {element.name: element for element in elements}, comments


def _header_lines(files: SourceFiles, data: bytes) -> tuple[list[str], int]:
    """The lines between `ply` and `end_header`, and where the data begin. A line ends at \\n, \\r\\n or \\r."""
    return_at, feed_at = data.find(b"\r"), data.find(b"\n")
    end = b"\r" if return_at >= 0 and (feed_at < 0 or return_at + 1 < feed_at) else b"\n"
    lines: list[str] = []
    start = 0
    while 0 <= (stop := data.find(end, start)) < MAX_HEADER_BYTES or (stop < 0 and start < len(data)):
        stop = len(data) if stop < 0 else stop
        line = data[start:stop].decode("latin-1").strip()
        start = min(stop + 1, len(data))
        if not lines and line != "ply":
            raise files.error("not PLY: its first line is not `ply`")
        if line == "end_header":
            return lines[1:], start
        lines.append(line)
    raise files.error("not PLY, or its header is cut short")


def _header(files: SourceFiles, lines: list[str]) -> tuple[str, list[Element], list[str]]:
    form, elements, comments = "", [], []
    for line in lines:
        words = line.split()
        match words:
            case ["format", ("ascii" | "binary_little_endian" | "binary_big_endian") as name, *_]:
                form = name
            case [("comment" | "obj_info"), *_]:
                comments.append(line.strip().partition(" ")[2])
            case ["element", name, count] if count.isdigit():
                elements.append(Element(name, int(count)))
            case ["property", "list", count, dtype, name] if elements and count in TYPES and dtype in TYPES:
                elements[-1].properties.append(Property(name, TYPES[dtype], TYPES[count]))
            case ["property", dtype, name] if elements and dtype in TYPES:
                elements[-1].properties.append(Property(name, TYPES[dtype]))
            case []:
                continue
            case _:
                raise files.error(f"header line {line[:60]!r} is not understood")
    if not form:
        raise files.error("its header names no format")
    return form, elements, comments


def _read_text(files: SourceFiles, elements: list[Element], text: str) -> None:
    """Fill the elements from lines: one line for each, with at least the numbers that the header declares.

    Further numbers on a line are skipped. UserError for any other number of lines: the numbers would mean other things.
    """
    declared = sum(element.count for element in elements if element.properties)
    rows = (line for block in line_blocks(text) for line in block if line.strip(BLANK))
    for element in elements:
        count = element.count if element.properties else 0
        pieces, found = [], 0
        for lines in taken_lines(rows, count):
            pieces.append(_parse_rows(files, element, lines))
            found += len(lines)
        _enough(files, element, found == count)
        _store_rows(element, pieces)
    surplus = sum(1 for _ in rows)
    if surplus:
        raise files.error(
            f"damaged: its header declares {declared} lines of data, {declared + surplus} follow; it would be misread"
        )


def _parse_rows(files: SourceFiles, element: Element, lines: list[str]) -> TextRows:
    """The values of every property in `lines`, and the lengths of its lists."""
    words, counts = split_words(lines)
    values, wrong = parse_numbers(words)
    place = np.cumsum(counts) - counts
    end = place + counts
    result: TextRows = {}
    used = np.zeros(len(words), bool)
    for prop in element.properties:
        length = np.ones(len(lines), np.int64)
        if prop.count_dtype is not None:
            _fits(files, element, lines, place < end)
            declared = values[place]
            whole = (declared >= 0) & (declared == np.floor(declared))
            _fits(files, element, lines, whole & (place + 1 + declared <= end))
            length = declared.astype(np.int64)
            used[place] = True
            place = place + 1
        _fits(files, element, lines, place + length <= end)
        chosen = np.repeat(place - np.cumsum(length) + length, length) + np.arange(int(length.sum()))
        used[chosen] = True
        result[prop.name] = (length, values[chosen])
        place = place + length
    if wrong is not None:
        for at in np.flatnonzero(used & np.isnan(values)).tolist():
            if parse_numbers([words[at]])[1] is not None:
                raise files.error(f"damaged: element {element.name!r} holds {words[at][:40]!r}, which is not a number")
    return result


def _fits(files: SourceFiles, element: Element, lines: list[str], good: NDArray[np.bool_]) -> None:
    if not good.all():
        line = lines[int(np.flatnonzero(~good)[0])]
        raise files.error(
            f"damaged: the line {line.strip()[:60]!r} does not hold what its header declares of {element.name!r}"
        )


def _store_rows(element: Element, pieces: list[TextRows]) -> None:
    for prop in element.properties:
        values = np.concatenate([piece[prop.name][1] for piece in pieces]) if pieces else np.zeros(0)
        typed = values.astype(prop.dtype)
        # Some programs write colors of 0 to 1 under integer types: what is written counts, not what is declared.
        values = typed if np.array_equal(typed, values) or typed.dtype.kind == "f" else values
        if prop.count_dtype is None:
            element.scalars[prop.name] = values
        else:
            lengths = np.concatenate([piece[prop.name][0] for piece in pieces]) if pieces else np.zeros(0, np.int64)
            element.lists[prop.name] = (lengths, values)


def _enough(files: SourceFiles, element: Element, condition: bool) -> None:
    if not condition:
        raise files.error(f"truncated or damaged: less data than the {element.count} {element.name!r} declared")


def _read_binary(files: SourceFiles, elements: list[Element], body: bytes, position: int, order: str) -> None:
    for element in elements:
        if not element.count or not element.properties:
            for prop in element.properties:
                _store_empty(element, prop)
            continue
        row = _row_type(files, element, body, position, order)
        size = row.itemsize * element.count
        uniform = position + size <= len(body)
        if uniform:
            table = np.frombuffer(body, row, element.count, position)
            uniform = all(
                (table[f"#{prop.name}"] == table[f"#{prop.name}"][0]).all()
                for prop in element.properties
                if prop.count_dtype
            )
        if uniform:
            _store_table(element, table)
            position += size
        else:
            position = _read_uneven(files, element, body, position, order)


def _row_type(files: SourceFiles, element: Element, body: bytes, position: int, order: str) -> np.dtype:
    """The structured type of a row if all rows have lists as long as the first row's."""
    fields: list[tuple] = []
    for prop in element.properties:
        if prop.count_dtype is None:
            fields.append((prop.name, order + prop.dtype))
        else:
            before = np.dtype(fields).itemsize
            count_type = np.dtype(order + prop.count_dtype)
            _enough(files, element, position + before + count_type.itemsize <= len(body))
            length = int(np.frombuffer(body, count_type, 1, position + before)[0])
            _enough(files, element, 0 <= length <= len(body))
            fields += [(f"#{prop.name}", count_type), (prop.name, order + prop.dtype, (length,))]
    return np.dtype(fields)


def _store_table(element: Element, table: NDArray) -> None:
    for prop in element.properties:
        if prop.count_dtype is None:
            element.scalars[prop.name] = table[prop.name].astype(prop.dtype)
        else:
            lengths = table[f"#{prop.name}"].astype(np.int64)
            element.lists[prop.name] = (lengths, table[prop.name].reshape(-1).astype(prop.dtype))


def _store_empty(element: Element, prop: Property) -> None:
    if prop.count_dtype is None:
        element.scalars[prop.name] = np.zeros(0, prop.dtype)
    else:
        element.lists[prop.name] = (np.zeros(0, np.int64), np.zeros(0, prop.dtype))


def _read_uneven(files: SourceFiles, element: Element, body: bytes, position: int, order: str) -> int:
    """Read rows of different lengths: one pass finds where their values begin, then each property is taken at once."""
    types = [np.dtype(order + prop.dtype) for prop in element.properties]
    sizes = [dtype.itemsize for dtype in types]
    counts = [None if prop.count_dtype is None else struct.Struct(order + COUNT_CODES[prop.count_dtype])
              for prop in element.properties]  # fmt: skip
    starts = [array("q") for _ in element.properties]
    lengths = [array("q") for _ in element.properties]
    steps = list(zip(counts, sizes, starts, lengths, strict=True))
    for _ in range(element.count):
        for count, size, begun, length in steps:
            number = 1
            if count is not None:
                _enough(files, element, position + count.size <= len(body))
                number = int(count.unpack_from(body, position)[0])
                position += count.size
                length.append(number)
            begun.append(position)
            position += number * size
            _enough(files, element, number >= 0 and position <= len(body))
    for prop, dtype, begun, length in zip(element.properties, types, starts, lengths, strict=True):
        firsts = np.frombuffer(begun, np.int64)
        if prop.count_dtype is None:
            element.scalars[prop.name] = _taken_at(body, firsts, None, dtype).astype(prop.dtype)
        else:
            each = np.frombuffer(length, np.int64)
            element.lists[prop.name] = (each, _taken_at(body, firsts, each, dtype).astype(prop.dtype))
    return position


def _taken_at(body: bytes, starts: NDArray[np.int64], lengths: NDArray[np.int64] | None, dtype: np.dtype) -> NDArray:
    """`lengths` values (None: one) at each of the byte positions `starts`, one after the other."""
    pieces = [np.zeros(0, dtype)]
    anywhere = np.ndarray(max(len(body) - dtype.itemsize + 1, 0), dtype, body, 0, (1,))
    for first in range(0, len(starts), ROWS_AT_ONCE):
        place = starts[first : first + ROWS_AT_ONCE]
        if lengths is not None:
            length = lengths[first : first + ROWS_AT_ONCE]
            within = np.arange(int(length.sum())) - np.repeat(np.cumsum(length) - length, length)
            place = np.repeat(place, length) + within * dtype.itemsize
        pieces.append(anywhere[place])
    return np.concatenate(pieces)
