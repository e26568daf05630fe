"""Reads and writes weight files without running code from them.

Reads safetensors and PyTorch pickles (`.pt`, `.pth`, `.ckpt`, `.bin`); writes safetensors.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from ..errors import KeySyncError, one_line
from ..strict_json import quoted, strict_json
from ..whole import whole_file
from .pickles import SAFE_TORCH, Imported, check_pickle, is_archive

SAFETENSORS = ".safetensors"
PICKLES = (".pt", ".pth", ".ckpt", ".bin")
# Keys of the weights in files of DeepSpeed (the published files), Lightning and fairseq (Microsoft's WavLM).
CONTAINERS = ("module", "state_dict", "model")
# DeepSpeed inserts this into the tensor names of a wrapped module.
WRAPPER = "_forward_module."
# Bytes of a safetensors header: a published stage has 0.2 MB of names; ComfyUI adds a workflow, training tools a log.
MOST_HEADER = 16 * 2**20
# Tensors in a file; a published stage has 1 697, and some hundreds of a VAE.
MOST_TENSORS = 20_000
# Characters of a tensor's name, and the largest number in one ("layers.11."), of which networks are built.
MOST_NAME, MOST_NUMBER = 300, 999
# Axes of a tensor; those of networks have at most five.
MOST_AXES = 8


def read_tensors(path: str | Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """The tensors of a weight file, on the CPU and memory-mapped where the format allows, and its metadata.

    Pickles are read with `weights_only=True`; their container (`module`, `state_dict`, `model`) is opened, entries that
    are not tensors are dropped, and `_forward_module.` is removed from the names. They have no metadata.
    Raises `KeySyncError` for a file that is missing, empty, truncated, in another format, or would run code; for a
    pickle whose checksums do not match; and for more or larger tensors, names and numbers in names than a network has.
    """
    path = Path(path)
    if path.is_dir():
        raise KeySyncError(f"{path} is a folder: expected a weight file")
    if not path.is_file():
        raise KeySyncError(f"{path}: no such file: expected model weights")
    if path.suffix.lower() not in (SAFETENSORS, *PICKLES):
        known = ", ".join((SAFETENSORS, *PICKLES))
        raise KeySyncError(f"{path} has an unsupported file extension: expected one of {known}")
    try:
        if path.stat().st_size == 0:
            raise KeySyncError(f"{path} is empty: copy or download it again")
        if path.suffix.lower() == SAFETENSORS:
            tensors, metadata = _read_safetensors(path)
        else:
            tensors, metadata = _tensors_of(_read_pickle(path)), {}
            _check_names(path, tensors)
    except OSError as error:
        raise KeySyncError(f"{path} cannot be read: {error.strerror or one_line(error)}") from error
    if not tensors:
        raise KeySyncError(f"{path} contains no tensors: expected model weights")
    for name, tensor in tensors.items():
        if tensor.ndim > MOST_AXES:
            raise KeySyncError(f"{path}: {name} has {tensor.ndim} axes, more than {MOST_AXES}: expected model weights")
    bare = {name.replace(WRAPPER, ""): tensor for name, tensor in tensors.items()}
    if len(bare) != len(tensors):
        raise KeySyncError(f"{path} contains tensors with and without {WRAPPER} in their names: expected one of each")
    return bare, metadata


def read_pickle(path: Path) -> Mapping[Any, Any]:
    """All that a pickle holds, tensors and settings, after `read_tensors` has read it; raises `KeySyncError`."""
    content = _read_pickle(path, checksums=False)
    return content if isinstance(content, dict) else {}


def shapes_of(tensors: Mapping[str, Tensor]) -> dict[str, tuple[int, ...]]:
    """The shape of each tensor."""
    return {name: tuple(tensor.shape) for name, tensor in tensors.items()}


def write_tensors(tensors: Mapping[str, Tensor], path: str | Path, metadata: Mapping[str, str]) -> None:
    """Writes a safetensors file atomically.

    Raises `KeySyncError` for another extension and for a path that cannot be written.
    """
    path = Path(path)
    if path.suffix.lower() != SAFETENSORS:
        raise KeySyncError(f"{path} has an unsupported file extension: weights are written as {SAFETENSORS}")
    if path.is_dir() or not path.parent.is_dir():
        problem = "is a folder" if path.is_dir() else "is in a folder that does not exist"
        raise KeySyncError(f"{path} {problem}: choose a file in an existing folder")
    try:
        with whole_file(path) as temporary:
            mode = temporary.stat().st_mode
            save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, temporary, dict(metadata))
            temporary.chmod(mode)  # safetensors makes the file readable by its owner only
    except (OSError, SafetensorError) as error:
        raise KeySyncError(f"{path} cannot be written: {one_line(error)}") from error


def _read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    message = f"{path} is truncated or not a safetensors file ({{}}): copy or download it again"
    try:
        header = _header(path)
    except ValueError as error:
        raise KeySyncError(message.format(one_line(error))) from error
    header.pop("__metadata__", None)
    _check_names(path, header)
    try:
        with safe_open(path, framework="pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except (SafetensorError, ValueError, RuntimeError, AttributeError, KeyError) as error:  # also unknown types
        raise KeySyncError(message.format(one_line(error))) from error


def _header(path: Path) -> dict[str, Any]:
    """The header of a safetensors file: the shape, type and place of each tensor. Raises `ValueError`."""
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > MOST_HEADER:
            raise ValueError(f"its header has {length} bytes, expected at most {MOST_HEADER}")
        header = strict_json(file.read(length), most=MOST_HEADER)
    if not isinstance(header, dict):
        raise ValueError("its header is not a JSON object")
    return header


def _check_names(path: Path, names: Iterable[str]) -> None:
    """Raises for more tensors, longer names and larger numbers in them than a network has."""
    for count, name in enumerate(names, 1):
        if count > MOST_TENSORS:
            raise KeySyncError(f"{path} contains more than {MOST_TENSORS} tensors: expected the weights of one model")
        if len(name) > MOST_NAME or not name.isprintable():
            raise KeySyncError(
                f"{path}: the tensor name {quoted(name)} is not printable text of at most {MOST_NAME} characters: "
                "expected model weights"
            )
        if any(len(part) > len(str(MOST_NUMBER)) and part.isdecimal() for part in name.split(".")):
            raise KeySyncError(
                f"{path}: the tensor name {quoted(name)} has a number above {MOST_NUMBER}: expected model weights"
            )


def need_safe_torch(path: Path) -> None:
    """Raises `KeySyncError` if the pickle at `path` could run code in this version of torch."""
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < SAFE_TORCH:
        needed = ".".join(map(str, SAFE_TORCH))
        raise KeySyncError(
            f"{path} is refused: with PyTorch {torch.__version__} a pickle can run code (CVE-2025-32434): "
            f"update PyTorch to {needed} or newer, or use a {SAFETENSORS} file"
        )


def _read_pickle(path: Path, *, checksums: bool = True) -> Any:
    need_safe_torch(path)
    try:
        check_pickle(path, checksums=checksums)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return torch.load(path, map_location="cpu", weights_only=True, mmap=is_archive(path))
    except OSError:
        raise
    except Imported as error:
        raise KeySyncError(
            f"{path} is refused: its pickle imports {error}, and code from a weight file is never run: "
            f"expected a {SAFETENSORS} file or a pickle that contains only tensors"
        ) from error
    except Exception as error:  # every byte is an opcode to the unpickler, so garbage can raise anything
        raise KeySyncError(
            f"{path} is truncated or not a PyTorch weight file ({one_line(error)}): copy or download it again"
        ) from error


def _tensors_of(content: Any) -> dict[str, Tensor]:
    if not isinstance(content, dict):
        return {}
    for container in CONTAINERS:
        if isinstance(content.get(container), dict):
            content = content[container]
            break
    return {name: value for name, value in content.items() if isinstance(name, str) and isinstance(value, Tensor)}
