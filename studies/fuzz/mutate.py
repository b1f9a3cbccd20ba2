"""Random changes to files: of bytes, words, numbers, lines, and of the values in JSON."""

import json
import random
import re
import struct
from collections.abc import Callable, Sequence
from copy import deepcopy
from typing import Any

WORDS = (
    b"nan", b"-nan(ind)", b"1.#QNAN", b"-1.#IND00", b"inf", b"-1", b"0", b"1e400", b"-0.0", b"1e-320", b"4294967296",
    b"9223372036854775808", b"99999999999999999999999", b"1/1", b"1//1", b"//", b"\\", b"#", b"\t", b"\r", b"\0",
    b"\xff",
)  # fmt: skip
VALUES: tuple[Any, ...] = (
    None, True, False, [], {}, "", "x", -1, 0, 1, 1.5, 2**31, 2**63, -(2**63), 1e308, [0], [None], {"a": 1}, "../x",
    "data:,",
)  # fmt: skip
NUMBER = re.compile(rb"[-+]?[0-9][0-9.eE+-]*")


def mutated(data: bytes, others: Sequence[bytes], words: Sequence[bytes], rng: random.Random) -> bytes:
    """`data` after one to four random changes. others: files to take pieces from. words: of the format."""
    for _ in range(rng.choice((1, 1, 1, 2, 4))):
        data = rng.choice(CHANGES)(data or b"\0", others, words, rng)
    return data[: 1 << 20]


def _bytes(data: bytes, others: Sequence[bytes], words: Sequence[bytes], rng: random.Random) -> bytes:
    result = bytearray(data)
    for _ in range(rng.randint(1, 4)):
        result[rng.randrange(len(result))] = rng.choice((0, 1, 127, 128, 255, rng.randrange(256)))
    return bytes(result)


def _cut(data: bytes, others: Sequence[bytes], words: Sequence[bytes], rng: random.Random) -> bytes:
    start = rng.randrange(len(data))
    return data[:start] + data[start + rng.randint(1, 64) :] if rng.random() < 0.7 else data[:start]


def _repeat(data: bytes, others: Sequence[bytes], words: Sequence[bytes], rng: random.Random) -> bytes:
    start, length = rng.randrange(len(data)), rng.randint(1, 200)
    return data[:start] + data[start : start + length] * rng.choice((2, 3, 100)) + data[start:]


def _insert_word(data: bytes, others: Sequence[bytes], words: Sequence[bytes], rng: random.Random) -> bytes:
    start = rng.randrange(len(data))
    space = rng.choice((b"", b" ", b"\n"))
    return data[:start] + space + rng.choice((*words, *WORDS)) + space + data[start + rng.randint(0, 4) :]


def _number(data: bytes, others: Sequence[bytes], words: Sequence[bytes], rng: random.Random) -> bytes:
    places = list(NUMBER.finditer(data))
    if not places:
        return _bytes(data, others, words, rng)
    place = rng.choice(places)
    return data[: place.start()] + rng.choice(WORDS) + data[place.end() :]


def _integer(data: bytes, others: Sequence[bytes], words: Sequence[bytes], rng: random.Random) -> bytes:
    """A binary integer, as counts and offsets are stored."""
    start = rng.randrange(len(data))
    value = rng.choice((0, 1, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, len(data), rng.randrange(1 << 16)))
    return data[:start] + struct.pack(rng.choice("<>") + "I", value) + data[start + 4 :]


def _lines(data: bytes, others: Sequence[bytes], words: Sequence[bytes], rng: random.Random) -> bytes:
    lines = data.split(b"\n")
    rng.shuffle(lines) if rng.random() < 0.2 else lines.insert(rng.randrange(len(lines)), rng.choice(lines))
    if rng.random() < 0.5:
        del lines[rng.randrange(len(lines))]
    return b"\n".join(lines)


def _splice(data: bytes, others: Sequence[bytes], words: Sequence[bytes], rng: random.Random) -> bytes:
    other = rng.choice(others) or b"\0"
    start = rng.randrange(len(other))
    return data[: rng.randrange(len(data))] + other[start : start + rng.randint(1, 4096)]


Change = Callable[[bytes, Sequence[bytes], Sequence[bytes], random.Random], bytes]
CHANGES: tuple[Change, ...] = (_bytes, _cut, _repeat, _insert_word, _number, _integer, _lines, _splice)


def mutated_json(value: Any, rng: random.Random) -> Any:
    """A copy of a JSON value in which one to three random entries are replaced, removed, copied or nested."""
    value = json.loads(json.dumps(value))
    for _ in range(rng.choice((1, 1, 2, 3))):
        holders = [holder for holder in _holders(value) if len(holder)]
        if not holders:
            return deepcopy(rng.choice(VALUES))
        holder = rng.choice(holders)
        key = rng.choice(list(holder)) if isinstance(holder, dict) else rng.randrange(len(holder))
        action = rng.randrange(5)
        if action == 0:
            del holder[key]
        elif action == 1:
            other = rng.choice(holders)
            chosen = rng.choice(list(other.values()) if isinstance(other, dict) else other)
            holder[key] = json.loads(json.dumps(chosen))  # a copy: no cycles
        elif action == 2 and isinstance(holder, list):
            holder += [holder[key]] * rng.choice((1, 2, 1000))
        else:
            holder[key] = deepcopy(rng.choice(VALUES))  # changed further, VALUES itself could come to hold itself
    return value


def _holders(value: Any) -> list[Any]:
    """All lists and objects in a JSON value."""
    found, waiting = [], [value]
    while waiting:
        part = waiting.pop()
        if isinstance(part, dict | list):
            found.append(part)
            waiting += part.values() if isinstance(part, dict) else part
    return found


def mutated_glb(data: bytes, rng: random.Random) -> bytes:
    """A GLB file with another JSON chunk, its binary chunk kept."""
    length = struct.unpack_from("<I", data, 12)[0]
    text = json.dumps(mutated_json(json.loads(data[20 : 20 + length]), rng)).encode()
    text += b" " * (-len(text) % 4)
    rest = data[20 + length :]
    return struct.pack("<4sIII4s", b"glTF", 2, 20 + len(text) + len(rest), len(text), b"JSON") + text + rest
