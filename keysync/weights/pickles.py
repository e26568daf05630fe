"""PyTorch's pickles, checked before anything in them is run or allocated.

A pickle is a program. This module follows its opcodes without executing them, so that it knows what the file would
import, how much memory its storages and tensors take, and whether they lie in the file. Only then does torch read it,
with `weights_only=True`.
"""

from __future__ import annotations

import io
import pickletools
import re
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Before this version a crafted pickle can run code even with `weights_only=True` (CVE-2025-32434).
SAFE_TORCH = (2, 6)
# Bytes of the program itself: 0.3 MB for all names of a published stage.
MOST_PICKLE = 32 * 2**20
# Opcodes; 70 000 for all names of a published stage, which take 0.25 s.
MOST_OPCODES = 2_000_000
# Files in an archive, one for each storage; checkpoints with their optimiser's state have some thousands.
MOST_RECORDS = 100_000
# Dimensions of a tensor.
MOST_DIMENSIONS = 16
# How many times the bytes of its storages a file's tensors may take once they are copied (tied weights share one), and
# bytes that any file may take.
MOST_COPIES, ALWAYS_ALLOWED = 2, 2**26
# Bytes that are checked against the archive's checksum at a time.
BLOCK = 2**22
# The first pickle of a file in the format before torch 1.6.
MAGIC = 0x1950A86A20F9469CFC6C

SIZES = {
    **dict.fromkeys(("ByteStorage", "CharStorage", "BoolStorage", "UntypedStorage"), 1),
    **dict.fromkeys(("HalfStorage", "BFloat16Storage", "ShortStorage"), 2),
    **dict.fromkeys(("FloatStorage", "IntStorage"), 4),
    **dict.fromkeys(("DoubleStorage", "LongStorage", "ComplexFloatStorage"), 8),
    "ComplexDoubleStorage": 16,
}
# What tensors and settings are pickled with, beside the functions in CALLS; none is called.
NAMES = re.compile(
    r"torch\.(storage\.)?\w+Storage|torch\.(u?int\d+|b?float\d+\w*|float|double|half|bool|long|int|short|complex\d+)"
    r"|torch\.(nn\.parameter\.Parameter|Tensor)"
)


class Imported(Exception):
    """The pickle imports a function or class that is not in the tables: the text is its name, printable."""


class _Damaged(ValueError):
    """The pickle is not one that torch writes: the text is the reason."""


@dataclass(frozen=True)
class _Name:
    """A class or function that the pickle imports."""

    name: str


@dataclass(frozen=True)
class _Storage:
    numbers: int
    size: int  # bytes of a number


class _Mapping:
    """A dict, OrderedDict or set; what it holds does not matter here."""


class _Other:
    """Any other object, such as a tensor."""


def check_pickle(path: Path, *, checksums: bool = True) -> None:
    """Raises `Imported` for a pickle that imports code; `OSError`; and any other exception for one that is damaged, or
    would take more memory than its size.

    `checksums` reads the whole file if it is an archive, to compare it with the archive's checksums. A file whose
    writer was told to leave them out has none.
    """
    if is_archive(path):
        _check_archive(path, checksums)
    else:
        _check_old_format(path)


def is_archive(path: Path) -> bool:
    """Whether it is in the format since torch 1.6, a zip archive."""
    with path.open("rb") as file:
        return file.read(4) == b"PK\x03\x04"


def _check_archive(path: Path, checksums: bool) -> None:
    with zipfile.ZipFile(path) as archive:
        records = archive.infolist()
        if len(records) > MOST_RECORDS:
            raise _Damaged(f"{len(records)} records, expected at most {MOST_RECORDS}")
        total = 0
        for record in records:
            if record.CRC == 0:  # what torch writes with `set_crc32_options(False)`; zipfile then compares none
                del record.CRC
            if record.compress_type != zipfile.ZIP_STORED or record.file_size != record.compress_size:
                raise _Damaged(f"its record {_printable(record.filename)} is compressed")
            total += record.file_size
        if total > path.stat().st_size:
            raise _Damaged(f"its records have {total} bytes")
        sizes = {record.filename: record.file_size for record in records}
        if len(sizes) != len(records):
            raise _Damaged("two records have one name")
        programs = [record for record in records if record.filename.endswith("data.pkl")]
        if len(programs) != 1 or programs[0].file_size > MOST_PICKLE:
            raise _Damaged(f"{len(programs)} pickles" if programs else "no pickle")
        folder = programs[0].filename.removesuffix("data.pkl")
        follower = _Follower()
        with archive.open(programs[0]) as file:
            follower.follow(io.BytesIO(file.read()))
        for key, storage in follower.storages.items():
            held = sizes.get(f"{folder}data/{key}")
            if held != storage.numbers * storage.size:
                raise _Damaged(f"storage {key} has {held} bytes, expected {storage.numbers * storage.size}")
        follower.check_size(path.stat().st_size)
        if checksums:
            for record in records:
                _check_record(archive, record)


def _check_record(archive: zipfile.ZipFile, record: zipfile.ZipInfo) -> None:
    if hasattr(record, "CRC"):
        with archive.open(record) as file:  # raises BadZipFile at the end if the checksum differs
            while file.read(BLOCK):
                pass


def _check_old_format(path: Path) -> None:
    with path.open("rb") as file:
        program = io.BytesIO(file.read(MOST_PICKLE))
    follower = _Follower()
    if follower.follow(program) != MAGIC:
        raise _Damaged("it does not begin like one")
    for _ in ("protocol", "system", "content", "keys"):
        follower.follow(program)
    size = path.stat().st_size
    needed = sum(storage.numbers * storage.size for storage in follower.storages.values())
    if needed > size:
        raise _Damaged(f"its storages have {needed} bytes")
    follower.check_size(size)


class _Follower:
    """Follows pickles: what they import, their storages, and the bytes that their tensors take."""

    def __init__(self) -> None:
        self.storages: dict[str, _Storage] = {}
        self.bytes = 0
        self._opcodes = 0
        self._stack: list[Any] = []
        self._marks: list[list[Any]] = []
        self._memo: dict[int, Any] = {}

    def check_size(self, size: int) -> None:
        """Raises for tensors that take far more memory than a file of this size holds."""
        if self.bytes > MOST_COPIES * size + ALWAYS_ALLOWED:
            raise _Damaged(f"its tensors take {self.bytes} bytes")

    def follow(self, program: io.BytesIO) -> Any:
        """The value of the pickle that begins here; what is not a number, text or tuple of these is a stand-in."""
        self._stack, self._marks, self._memo = [], [], {}
        for opcode, argument, _ in pickletools.genops(program):
            self._opcodes += 1
            if self._opcodes > MOST_OPCODES:
                raise _Damaged(f"more than {MOST_OPCODES} opcodes")
            if opcode.name == "STOP":
                return self._stack.pop()
            self._step(opcode.name, argument)
        raise _Damaged("it has no end")

    def _step(self, opcode: str, argument: Any) -> None:
        stack = self._stack
        if opcode in VALUES:
            stack.append(argument)
        elif opcode in MADE:
            stack.append(MADE[opcode]())
        elif opcode in ("PROTO", "FRAME"):
            pass
        elif opcode in ("BINPUT", "LONG_BINPUT"):
            self._memo[argument] = stack[-1]
        elif opcode == "MEMOIZE":
            self._memo[len(self._memo)] = stack[-1]
        elif opcode in ("BINGET", "LONG_BINGET"):
            stack.append(self._memo[argument])
        elif opcode == "MARK":
            self._marks.append(stack)
            self._stack = []
        elif opcode in TUPLES:
            count = TUPLES[opcode]
            values = tuple(stack[len(stack) - count :])
            if len(values) < count:
                raise _Damaged("a tuple without values")
            del stack[len(stack) - count :]
            stack.append(values)
        elif opcode == "TUPLE":
            values = tuple(self._marked())
            self._stack.append(values)
        elif opcode in ("APPEND", "APPENDS"):
            items = self._marked() if opcode == "APPENDS" else [stack.pop()]
            _as(list, self._stack[-1]).extend(items)
        elif opcode in ("SETITEM", "SETITEMS"):
            items = self._marked() if opcode == "SETITEMS" else [stack.pop(), stack.pop()][::-1]
            _as(_Mapping, self._stack[-1])
            _check_keys(items[::2])
        elif opcode in ("GLOBAL", "STACK_GLOBAL"):
            if opcode == "STACK_GLOBAL":
                name, module = stack.pop(), stack.pop()
                argument = f"{module} {name}"
            stack.append(_imported(argument))
        elif opcode in ("REDUCE", "NEWOBJ"):
            arguments, function = _as(tuple, stack.pop()), _as(_Name, stack.pop())
            stack.append(self._call(function.name, arguments))
        elif opcode == "BUILD":
            stack.pop()
            _as(_Mapping, stack[-1])
        elif opcode == "BINPERSID":
            stack.append(self._storage(_as(tuple, stack.pop())))
        else:
            raise _Damaged(f"it contains the opcode {opcode}")

    def _marked(self) -> list[Any]:
        """The values since the last mark."""
        values, self._stack = self._stack, self._marks.pop()
        return values

    def _storage(self, arguments: tuple[Any, ...]) -> _Storage:
        """What ("storage", type, key, device, numbers) names, in the format before torch 1.6 with a view's place."""
        kind, key, numbers = _as(_Name, arguments[1]), _as(str, arguments[2]), _as(int, arguments[4])
        size = SIZES.get(kind.name.rpartition(".")[2])
        if arguments[0] != "storage" or size is None or numbers < 0 or not re.fullmatch(r"\w{1,64}", key):
            raise _Damaged("it contains an unknown kind of storage")
        storage = _Storage(numbers, size)
        if self.storages.setdefault(key, storage) != storage:
            raise _Damaged(f"storage {key} has two sizes")
        return storage

    def _call(self, name: str, arguments: tuple[Any, ...]) -> Any:
        if name not in CALLS:
            raise Imported(name)
        return CALLS[name](self, arguments)

    def tensor(self, arguments: tuple[Any, ...]) -> _Other:
        """The tensor of a storage, an offset, a shape and strides: within its storage, so that none is enlarged."""
        storage, offset = _as(_Storage, arguments[0]), _as(int, arguments[1])
        shape, strides = _as(tuple, arguments[2]), _as(tuple, arguments[3])
        places = [_as(int, value) for value in (offset, *shape, *strides)]
        if len(shape) != len(strides) or len(shape) > MOST_DIMENSIONS or min(places) < 0 or max(places) > 2**40:
            raise _Damaged("a tensor has an impossible shape")
        numbers = 1
        for side in shape:
            numbers *= side
        last = offset + sum((side - 1) * stride for side, stride in zip(shape, strides, strict=True))
        if numbers and last >= storage.numbers:
            raise _Damaged("a tensor is larger than its storage")
        self.bytes += numbers * storage.size
        return _Other()

    def of_type(self, arguments: tuple[Any, ...]) -> Any:
        """A tensor with attributes: a function, a type, the function's arguments, and the attributes."""
        return self._call(_as(_Name, arguments[0]).name, _as(tuple, arguments[2]))


VALUES = frozenset(
    (
        *("BININT", "BININT1", "BININT2", "LONG1", "BINFLOAT", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
        *("SHORT_BINSTRING", "BINSTRING", "BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
    )
)
MADE: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_DICT": _Mapping,
    "EMPTY_SET": _Mapping,
}
TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}


def _mapping(_: _Follower, arguments: tuple[Any, ...]) -> _Mapping:
    """An empty OrderedDict, or one of a list of pairs, as Python 2 wrote them."""
    for pairs in arguments:
        _check_keys(pair[0] for pair in _as(list, pairs))
    return _Mapping()


def _set(_: _Follower, arguments: tuple[Any, ...]) -> _Mapping:
    for values in arguments:
        _check_keys(_as(list, values))
    return _Mapping()


def _counter(_: _Follower, arguments: tuple[Any, ...]) -> _Mapping:
    for counts in arguments:
        _as(_Mapping, counts)
    return _Mapping()


def _shape(_: _Follower, arguments: tuple[Any, ...]) -> tuple[int, ...]:
    return tuple(_as(int, side) for values in arguments for side in _as(tuple, values))


def _plain(_: _Follower, arguments: tuple[Any, ...]) -> _Other:
    """A device, a complex number, bytes: of texts and numbers alone."""
    for value in arguments:
        if not isinstance(value, str | bytes | int | float):
            raise _Damaged("it contains an unknown kind of value")
    return _Other()


def _parameter(_: _Follower, arguments: tuple[Any, ...]) -> _Other:
    _as(_Other, arguments[0])
    return _Other()


# The functions that torch calls for tensors and settings.
CALLS: dict[str, Callable[[_Follower, tuple[Any, ...]], Any]] = {
    "torch._utils._rebuild_tensor": _Follower.tensor,
    "torch._utils._rebuild_tensor_v2": _Follower.tensor,
    "torch._utils._rebuild_tensor_v3": _Follower.tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch._tensor._rebuild_from_type_v2": _Follower.of_type,
    "torch.nn.parameter.Parameter": _parameter,
    "torch.Size": _shape,
    "torch.device": _plain,
    "collections.OrderedDict": _mapping,
    "collections.Counter": _counter,
    "builtins.set": _set,
    "builtins.complex": _plain,
    "_codecs.encode": _plain,
}


def _imported(argument: str) -> _Name:
    module, _, name = argument.partition(" ")
    full = f"{'builtins' if module == '__builtin__' else module}.{name}"
    if full not in CALLS and not NAMES.fullmatch(full):
        raise Imported(_printable(full.removeprefix("builtins.")))
    return _Name(full)


def _check_keys(keys: Iterable[Any]) -> None:
    """Keys are texts and numbers: the hash of nested tuples can take for ever."""
    for key in keys:
        parts = key if isinstance(key, tuple) else (key,)
        if not all(part is None or isinstance(part, str | bytes | int | float) for part in parts):
            raise _Damaged("it contains an unusual key")


def _as(kind: type[Any], value: Any) -> Any:
    if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
        raise _Damaged(f"{kind.__name__.strip('_').lower()} expected")
    return value


def _printable(name: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in name[:100])
