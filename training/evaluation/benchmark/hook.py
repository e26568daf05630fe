"""Networks that are not built in: what each is, where it is from, its licence, and how its file is loaded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from keysync.errors import KeySyncError, install_line
from keysync.systems.renderer import Option
from keysync.weights.files import read_pickle
from keysync.weights.finite import check_weights

# The end of the names of what batch normalisation counts in training only, which old files lack.
COUNTER = "num_batches_tracked"
# The beginning of all names in files of networks that were trained on several GPUs.
PARALLEL = "module."


class Missing(Exception):
    """A column cannot be measured here; the text says why, and what to do."""


@dataclass(frozen=True)
class Hook:
    """A network whose weights the user brings: `what` it is, `source` and `licence` of its weights, and the `package`
    that has its code, with that one's licence; None where the code is KeySync's or transformers'."""

    option: Option
    what: str
    source: str
    licence: str
    package: str | None = None
    package_licence: str = ""

    def file(self, files: Mapping[str, Path | None]) -> Path:
        """The file or folder that is given for it. Raises `Missing` without one, `KeySyncError` if it is not there."""
        path = files.get(self.option.name)
        if path is None:
            raise Missing(f"needs {self.what}: name it with {self.option.flag} (from {self.source}; {self.licence})")
        if not path.exists():
            raise KeySyncError(f"{path}: no such file: expected {self.what} ({self.option.flag})")
        return path

    def code(self, module: str) -> ModuleType:
        """A module of its package. Raises `Missing` where it is not installed."""
        assert self.package is not None
        try:
            return import_module(module)
        except ImportError as error:
            line = install_line(self.package)
            raise Missing(f"needs {self.package} ({self.package_licence}): {line} ({error})") from error


def read_weights(path: Path, *containers: str) -> dict[str, Tensor]:
    """The tensors of a pickle, whatever its ending, inside the first of these containers that it has.

    No code is run. Raises `KeySyncError` for a file that cannot be read or holds no tensors.
    """
    try:
        content: Any = read_pickle(path)
    except OSError as error:
        raise KeySyncError(f"{path} cannot be read: {error.strerror or error}") from error
    for name in containers:
        if isinstance(content.get(name), Mapping):
            content = content[name]
            break
    tensors = {name.removeprefix(PARALLEL): value for name, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise KeySyncError(f"{path} contains no tensors: expected model weights")
    return tensors


def fill(network: nn.Module, tensors: Mapping[str, Tensor], path: Path, what: str) -> None:
    """Gives a network, which may be on the meta device, its weights by name in float32.

    Those that it does not have are left out, as those of a decoder. Raises `KeySyncError` that names `path` and the
    first tensor that is missing, has another shape or is not finite.
    """
    weights = {}
    for name, own in network.state_dict().items():
        if name.endswith(COUNTER):
            weights[name] = torch.zeros((), dtype=torch.long)
            continue
        if name not in tensors:
            raise KeySyncError(f"{path} has no tensor {name}: expected {what}")
        if tensors[name].shape != own.shape:
            shapes = f"{tuple(tensors[name].shape)}, not {tuple(own.shape)}"
            raise KeySyncError(f"{path}: {name} has the shape {shapes}: expected {what}")
        weights[name] = tensors[name].float()
    check_weights(path, weights)
    network.load_state_dict(weights, assign=True)
    network.eval().requires_grad_(False)
