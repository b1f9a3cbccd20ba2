"""The PLY container: header and elements, text or binary, lists of equal or different lengths."""

import re
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mesh_io.readers.source_files import SourceFiles

TYPES = {
    "char": "i1", "int8": "i1", "uchar": "u1", "uint8": "u1", "short": "i2", "int16": "i2", "ushort": "u2",
    "uint16": "u2", "int": "i4", "int32": "i4", "uint": "u4", "uint32": "u4", "float": "f4", "float32": "f4",
    "double": "f8", "float64": "f8", "int64": "i8", "uint64": "u8",
}  # fmt: skip


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
    """Elements by name, filled, and the comments; UserError for a damaged header or missing data."""
    end = re.search(rb"\bend_header[ \t]*\r?\n?", data)
    if not data.startswith(b"ply") or end is None:
        raise files.error("not PLY, or its header is cut short")
    form, elements, comments = _header(files, data[: end.start()].decode("latin-1"))
    body = data[end.end() :]
    if form == "ascii":
        _read_text(files, elements, body)
    else:
        _read_binary(files, elements, body, ">" if "big" in form else "<")
    return {element.name: element for element in elements}, comments


def _header(files: SourceFiles, text: str) -> tuple[str, list[Element], list[str]]:
    form, elements, comments = "", [], []
    for line in text.splitlines()[1:]:
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


def _read_text(files: SourceFiles, elements: list[Element], body: bytes) -> None:
    words = body.split()
    position = 0
    for element in elements:
        plain = all(prop.count_dtype is None for prop in element.properties)
        if plain:
            width = len(element.properties)
            chunk = words[position : position + element.count * width]
            _enough(files, element, len(chunk) == element.count * width)
            table = _numbers(files, element, chunk).reshape(element.count, width)
            for column, prop in enumerate(element.properties):
                element.scalars[prop.name] = table[:, column].astype(prop.dtype)
            position += element.count * width
        else:
            position = _read_text_lists(files, element, words, position)


def _read_text_lists(files: SourceFiles, element: Element, words: list[bytes], position: int) -> int:
    columns: dict[str, list[bytes]] = {prop.name: [] for prop in element.properties}
    lengths: dict[str, list[int]] = {prop.name: [] for prop in element.properties if prop.count_dtype}
    for _ in range(element.count):
        for prop in element.properties:
            length = 1
            if prop.count_dtype is not None:
                _enough(files, element, position < len(words) and words[position].isdigit())
                length = int(words[position])
                lengths[prop.name].append(length)
                position += 1
            _enough(files, element, position + length <= len(words))
            columns[prop.name] += words[position : position + length]
            position += length
    for prop in element.properties:
        values = _numbers(files, element, columns[prop.name]).astype(prop.dtype)
        if prop.count_dtype is None:
            element.scalars[prop.name] = values
        else:
            element.lists[prop.name] = (np.array(lengths[prop.name], dtype=np.int64), values)
    return position


def _numbers(files: SourceFiles, element: Element, words: list[bytes]) -> NDArray[np.float64]:
    try:
        return np.array(words, dtype=np.float64)
    except ValueError:
        raise files.error(f"damaged: element {element.name!r} holds a word that is not a number") from None


def _enough(files: SourceFiles, element: Element, condition: bool) -> None:
    if not condition:
        raise files.error(f"truncated or damaged: less data than the {element.count} {element.name!r} declared")


def _read_binary(files: SourceFiles, elements: list[Element], body: bytes, order: str) -> None:
    position = 0
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
    """Read rows of different lengths one by one."""
    pieces: dict[str, list[NDArray]] = {prop.name: [] for prop in element.properties}
    types = {prop.name: np.dtype(order + prop.dtype) for prop in element.properties}
    counts = {prop.name: np.dtype(order + prop.count_dtype) for prop in element.properties if prop.count_dtype}
    for _ in range(element.count):
        for prop in element.properties:
            length = 1
            if prop.name in counts:
                dtype = counts[prop.name]
                _enough(files, element, position + dtype.itemsize <= len(body))
                length = int(np.frombuffer(body, dtype, 1, position)[0])
                position += dtype.itemsize
            dtype = types[prop.name]
            _enough(files, element, length >= 0 and position + length * dtype.itemsize <= len(body))
            pieces[prop.name].append(np.frombuffer(body, dtype, length, position))
            position += length * dtype.itemsize
    for prop in element.properties:
        values = np.concatenate(pieces[prop.name]).astype(prop.dtype)
        if prop.count_dtype is None:
            element.scalars[prop.name] = values
        else:
            element.lists[prop.name] = (np.array([len(piece) for piece in pieces[prop.name]], np.int64), values)
    return position
