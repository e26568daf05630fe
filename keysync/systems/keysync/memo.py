"""What was computed early, while it was unknown whether it would be needed: results by the content of their inputs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from hashlib import blake2b

from torch import Tensor

# Bytes that results take at most: those of four batches of keyframes with all their windows, at the published size.
ROOM = 128 * 2**20


class EnoughError(Exception):
    """No more is to be computed early."""


def key_of_inputs(name: str, inputs: Sequence[Tensor]) -> bytes:
    """The key of what `name` computes of these inputs, 64 bytes."""
    digest = blake2b(name.encode())
    for tensor in inputs:
        digest.update(repr((tensor.dtype, tensor.shape)).encode())
        digest.update(tensor.flatten().numpy().tobytes())
    return digest.digest()


class Memo:
    """Results of the networks and of the VAE's encoder. While `learning`, what is computed is kept; afterwards it is
    taken out where the same is to be computed, bit for bit, and nothing is added."""

    def __init__(self, room: int = ROOM) -> None:
        self._room, self._made = room, dict[bytes, Tensor]()
        self._enough: Callable[[], bool] | None = None

    @contextmanager
    def learning(self, enough: Callable[[], bool]) -> Iterator[None]:
        """Inside, results are kept; a network raises `EnoughError` instead of beginning where `enough`, or where there
        is no more room."""
        self._enough = enough
        try:
            yield
        finally:
            self._enough = None

    def find(self, key: bytes) -> Tensor | None:
        """The result of this key, where it was computed."""
        return self._made.get(key) if self._enough is not None else self._made.pop(key, None)

    def check(self) -> None:
        """Raises `EnoughError` where nothing is to be begun."""
        if self._enough is not None and (self._room <= 0 or self._enough()):
            raise EnoughError

    def keep(self, key: bytes, result: Tensor) -> None:
        """Keeps a result, while learning."""
        if self._enough is not None and self._room > 0:
            self._room -= result.nbytes
            self._made[key] = result
