"""Damage: bytes, JSON, safetensors and zip archives, changed at random as a `Random` decides."""

from __future__ import annotations

import io
import json
import re
import struct
import warnings
import zipfile
from collections.abc import Callable
from random import Random
from typing import Any

NUMBERS = (
    0,
    1,
    2,
    3,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0xFFFF,
    2**24,
    2**31 - 1,
    2**31,
    2**32 - 1,
    2**40,
    2**62,
    2**63,
    2**64 - 1,
)
WORDS = (
    *("0", "-1", "1", "7", "31", "999", "1000", "65536", "999999999", "-999999999", "9" * 20, "9" * 400, "9" * 5000),
    *("0.0", "-0.0", "1e308", "1e999", "-1e999", "NaN", "Infinity", "-Infinity", "null", "true", "[]", "{}", '""'),
)
TEXTS = (
    *(
        "",
        "a",
        "two\nlines",
        "\x1b[2Jescape",
        "\x00",
        "\ud800",
        "é" * 50,
        "a" * 100_000,
        "../../etc/passwd",
        "/dev/zero",
    ),
    *("float32", "F64", "I64", "BOOL", "gelu", "eval", "auto", "none", "relu", "hubert", "keysync"),
)
NAMES = ("999999999", "-1", "x", "0", "1000", "9" * 400, "9" * 5000, "\n")
DEEP = 100_000


def damaged_bytes(content: bytes, random: Random) -> bytes:
    """One to four changes of any kind to bytes."""
    for _ in range(random.choice((1, 1, 1, 2, 4))):
        content = random.choice(BYTES)(content, random)
    return content


def damaged_text(content: bytes, random: Random) -> bytes:
    """Text of numbers: one is replaced by a nonsensical one, or there is deep nesting, or bytes are damaged."""
    numbers = list(re.finditer(rb"-?\d+(\.\d+)?", content))
    if numbers and random.random() < 0.5:
        place = random.choice(numbers)
        return content[: place.start()] + random.choice(WORDS).encode() + content[place.end() :]
    return damaged_bytes(content, random)


def damaged_json(content: bytes, random: Random) -> bytes:
    """JSON: a value, a key or the nesting changed; or damaged text."""
    if random.random() < 0.3:
        return damaged_text(content, random)
    value = json.loads(content)
    for _ in range(random.choice((1, 1, 2))):
        value = _changed(value, random)
    text = json.dumps(value)
    text = text.replace('"\\u0000deep list"', "[" * DEEP + "]" * DEEP)
    text = text.replace('"\\u0000deep object"', '{"a":' * DEEP + "1" + "}" * DEEP)
    text = re.sub(r'"\\u0000word (\d+)"', lambda found: WORDS[int(found[1])], text)
    if random.random() < 0.1 and text.startswith("{"):
        text = "{" + text[1:-1] + "," + text[1:]  # every key twice
    return text.encode()


def damaged_lines(content: bytes, random: Random) -> bytes:
    """JSON lines: one changed, lost, doubled or cut."""
    lines = content.splitlines(keepends=True)
    place = random.randrange(len(lines))
    kind = random.randrange(5)
    if kind == 0:
        lines.insert(place, random.choice(lines))
    elif kind == 1:
        lines[place] = lines[place][: random.randrange(len(lines[place]))]
    elif kind == 2:
        lines[place] = b"\n"
    else:
        lines[place] = damaged_json(lines[place], random) + b"\n"
    return b"".join(lines)


def damaged_safetensors(content: bytes, random: Random) -> bytes:
    """The header changed as JSON, with a length that fits; or its data; or bytes anywhere."""
    length = struct.unpack("<Q", content[:8])[0]
    header, data = content[8 : 8 + length], content[8 + length :]
    kind = random.random()
    if kind < 0.35:
        header = damaged_json(header, random)
    elif kind < 0.6:
        header = json.dumps(_renamed(json.loads(header), random)).encode()
    elif kind < 0.7:
        data = damaged_bytes(data, random)
    elif kind < 0.8:
        return struct.pack("<Q", random.choice(NUMBERS)) + header + data
    else:
        return damaged_bytes(content, random)
    return struct.pack("<Q", len(header)) + header + data


def damaged_archive(content: bytes, random: Random) -> bytes:
    """A zip archive whose records changed, with checksums that fit; or bytes anywhere."""
    if random.random() < 0.5:
        return damaged_bytes(content, random)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        records = [(record.filename, archive.read(record)) for record in archive.infolist()]
    program = next(place for place, (name, _) in enumerate(records) if name.endswith("data.pkl"))
    place = program if random.random() < 0.7 else random.randrange(len(records))
    name, held = records[place]
    kind = random.random()
    if kind < 0.7:
        records[place] = name, damaged_pickle(held, random) if place == program else damaged_bytes(held, random)
    elif kind < 0.8:
        del records[place]
    elif kind < 0.9:
        records.append(records[place])
    else:
        records[place] = random.choice((name.upper(), "../" + name, "", name + "\n")), held
    target = io.BytesIO()
    compression = zipfile.ZIP_DEFLATED if random.random() < 0.1 else zipfile.ZIP_STORED
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        with zipfile.ZipFile(target, "w", compression) as archive:
            for name, held in records:
                archive.writestr(zipfile.ZipInfo(name), held, compression)
    return target.getvalue()


def damaged_pickle(content: bytes, random: Random) -> bytes:
    """A pickle: an integer, a text or a global replaced, an opcode inserted; or bytes anywhere."""
    kind = random.random()
    if kind < 0.3:
        integers = [found.start() for found in re.finditer(rb"[JKM]", content)]
        place = random.choice(integers)
        width = {ord("J"): 5, ord("K"): 2, ord("M"): 3}[content[place]]
        value = random.choice((0, 1, 2, 2**16, 2**30, 2**33, 2**62, -1, -(2**40)))
        return content[:place] + b"\x8a\x09" + value.to_bytes(9, "little", signed=True) + content[place + width :]
    if kind < 0.5:
        place = random.randrange(2, len(content))
        return content[:place] + random.choice(OPCODES) + content[place:]
    if kind < 0.6:
        names = list(re.finditer(rb"c[\w.]+\n\w+\n", content))
        start, end = random.choice(names).span()
        return content[:start] + random.choice(GLOBALS) + content[end:]
    return damaged_bytes(content, random)


OPCODES = (
    *(
        b"0",
        b"2",
        b"1",
        b"(",
        b")",
        b"}",
        b"]",
        b"t",
        b"\x85",
        b"\x86",
        b"\x87",
        b"R",
        b"b",
        b"s",
        b"u",
        b"a",
        b"e",
        b"Q",
    ),
    *(b"N", b"\x88", b"h\x00", b"q\x00", b"r\xff\xff\xff\x7f", b"j\xff\xff\xff\x7f", b"X\xff\xff\xff\x7f", b"."),
    *(b"\x8d" + bytes((0, 0, 0, 0, 1, 0, 0, 0)), b"\x8b\xff\xff\xff\x7f", b"\x96" + bytes((0, 0, 0, 0, 1, 0, 0, 0))),
    b")" + b"".join(b"q%c" % n + b"h%c" % n + b"\x86" for n in range(100, 160)),
)
GLOBALS = (
    *(b"cos\nsystem\n", b"cbuiltins\nbytearray\n", b"ctorch\nFloatStorage\n", b"ctorch\nDoubleStorage\n"),
    *(b"ctorch._utils\n_rebuild_sparse_tensor\n", b"ctorch._utils\n_rebuild_qtensor\n", b"ctorch\nTensor\n"),
    *(
        b"ccollections\nOrderedDict\n",
        b"ctorch\nSize\n",
        b"ctorch._utils\n_rebuild_tensor_v2\n",
        b"c__builtin__\nset\n",
    ),
    *(b"ctorch.nn.parameter\nParameter\n", b"ctorch._tensor\n_rebuild_from_type_v2\n", b"c_codecs\nencode\n"),
)


def _changed(value: Any, random: Random) -> Any:
    """JSON with one change somewhere in it."""
    inside = isinstance(value, dict | list) and value and random.random() < 0.8
    if inside and isinstance(value, dict):
        key = random.choice(list(value))
        kind = random.random()
        if kind < 0.1:
            return {name: item for name, item in value.items() if name != key}
        if kind < 0.2:
            return {(random.choice(TEXTS) if name == key else name): item for name, item in value.items()}
        if kind < 0.25:
            return value | {random.choice(TEXTS): _any(random)}
        if isinstance(value[key], str) and value[key].startswith("{") and random.random() < 0.8:
            return value | {key: damaged_json(value[key].encode(), random).decode(errors="replace")}  # JSON in a text
        return value | {key: _changed(value[key], random)}
    if inside:
        place = random.randrange(len(value))
        kind = random.random()
        if kind < 0.1:
            return value[:place] + value[place + 1 :]
        if kind < 0.2:
            return [*value[:place], *[value[place]] * random.choice((2, 10, 1000)), *value[place:]]
        return [*value[:place], _changed(value[place], random), *value[place + 1 :]]
    if type(value) in (int, float) and random.random() < 0.5:
        return (
            value + random.choice((-1, 1, 2, 1000)) if random.random() < 0.5 else value * random.choice((-1, 2, 10**9))
        )
    return _any(random)


def _any(random: Random) -> Any:
    kind = random.random()
    if kind < 0.05:
        return "\0deep list" if random.random() < 0.5 else "\0deep object"
    if kind < 0.65:
        return f"\0word {random.randrange(len(WORDS))}"
    return random.choice(TEXTS)


def _renamed(header: dict[str, Any], random: Random) -> dict[str, Any]:
    """A header with a number in one or all names replaced, or a side of a shape with none, or a name's part."""
    names = [name for name in header if name != "__metadata__"]
    numbered = [name for name in names if re.search(r"\.\d+\.", name)]
    kind = random.random()
    if kind < 0.5 and numbered:
        changed = {random.choice(numbered)} if kind < 0.4 else set(numbered)
        number = f".{random.choice(NAMES)}."
        place = random.choice((0, 1, 2))  # of the numbers in a name; the last if there are fewer
        return {(_numbered(name, number, place) if name in changed else name): row for name, row in header.items()}
    if kind < 0.8:  # as wide as one likes, without a number in it
        name = random.choice(names)
        shape = [random.choice((1, 64, 10**6, 10**12, 2**62)) for _ in header[name]["shape"]] or [1]
        shape[random.randrange(len(shape))] = 0
        start = header[name]["data_offsets"][0]
        return header | {name: header[name] | {"shape": shape, "data_offsets": [start, start]}}
    name, other = random.choice(names), random.choice(names)
    return header | {name: header[other], other: header[name]}


def _numbered(name: str, number: str, place: int) -> str:
    """A tensor's name with another number in it."""
    found = list(re.finditer(r"\.\d+(?=\.)", name))
    span = found[min(place, len(found) - 1)].span()
    return name[: span[0]] + number[:-1] + name[span[1] :]


def _flip(content: bytes, random: Random) -> bytes:
    held = bytearray(content)
    for _ in range(random.choice((1, 1, 2, 8))):
        if held:
            held[_place(len(held), random)] ^= 1 << random.randrange(8)
    return bytes(held)


def _overwrite(content: bytes, random: Random) -> bytes:
    size, order = random.choice((1, 2, 4, 8)), random.choice(("little", "big"))
    value = (random.choice(NUMBERS) & (1 << 8 * size) - 1).to_bytes(size, order)  # type: ignore[arg-type]
    place = _place(len(content), random)
    return content[:place] + value + content[place + size :]


def _truncate(content: bytes, random: Random) -> bytes:
    return content[: _place(len(content), random)]


def _extend(content: bytes, random: Random) -> bytes:
    return content + random.choice(
        (b"\0" * 1000, content[: random.randrange(5000)], random.randbytes(100), b"}", b"\n")
    )


def _cut_out(content: bytes, random: Random) -> bytes:
    place = _place(len(content), random)
    return content[:place] + content[place + random.choice((1, 2, 4, 100, 5000)) :]


def _repeat(content: bytes, random: Random) -> bytes:
    place = _place(len(content), random)
    part = content[place : place + random.choice((1, 4, 100, 5000))]
    return content[:place] + part * random.choice((2, 3, 50)) + content[place + len(part) :]


def _swap(content: bytes, random: Random) -> bytes:
    first, second = sorted((_place(len(content), random), _place(len(content), random)))
    size = min(random.choice((4, 8, 64, 1000)), second - first, len(content) - second)
    one, other = content[first : first + size], content[second : second + size]
    return content[:first] + other + content[first + size : second] + one + content[second + size :]


def _blank(content: bytes, random: Random) -> bytes:
    place, size = _place(len(content), random), random.choice((4, 64, 1000, 20_000))
    return (
        content[:place] + bytes((random.choice((0, 0xFF)),)) * min(size, len(content) - place) + content[place + size :]
    )


def _place(length: int, random: Random) -> int:
    """Somewhere; the beginning and the end, where the structure is, more often."""
    near = min(length, 1000)
    kind = random.random()
    if not length:
        return 0
    return (
        random.randrange(near)
        if kind < 0.4
        else length - 1 - random.randrange(near)
        if kind < 0.6
        else random.randrange(length)
    )


BYTES: tuple[Callable[[bytes, Random], bytes], ...] = (
    *(_flip, _flip, _flip, _overwrite, _overwrite),
    *(_truncate, _extend, _cut_out, _repeat, _swap, _blank),
)
