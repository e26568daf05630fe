"""The most memory that tensors take at once while a function runs, counted on the meta device: nothing is computed."""

from __future__ import annotations

import weakref
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class _Counting(TorchDispatchMode):
    """Adds up the storages that live."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.most = 0
        self._now = 0
        self._owners: Counter[int] = Counter()

    def __torch_dispatch__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        result = func(*args, **(kwargs or {}))
        held = {id(leaf) for leaf in tree_leaves((args, kwargs))}
        for tensor in tree_leaves(result):
            if isinstance(tensor, Tensor) and id(tensor) not in held:
                self._add(tensor)
        return result

    def _add(self, tensor: Tensor) -> None:
        storage = tensor.untyped_storage()
        key, size = storage._cdata, storage.nbytes()
        if not self._owners[key]:
            self._now += size
            self.most = max(self.most, self._now)
        self._owners[key] += 1
        weakref.finalize(tensor, self._release, key, size)

    def _release(self, key: int, size: int) -> None:
        self._owners[key] -= 1
        if not self._owners[key]:
            self._now -= size


class _Attention(TorchFunctionMode):
    """Attention holds no matrix of scores, as on a CPU; on the meta device it would."""

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> Any:
        if func is F.scaled_dot_product_attention:
            query, _, value = args[:3]
            return query.new_empty(*query.shape[:-1], value.shape[-1])
        return func(*args, **(kwargs or {}))


def on_meta(module: nn.Module) -> dict[str, Tensor]:
    """The module's weights without their numbers."""
    return {name: tensor.detach().to("meta") for name, tensor in module.state_dict().items()}


def is_on_cpu(module: nn.Module) -> bool:
    """Whether its activations take main memory."""
    return all(parameter.device.type == "cpu" for parameter in module.parameters())


@torch.no_grad()
def peak_bytes(module: nn.Module, *inputs: Any, **more: Any) -> int:
    """The most bytes that a call of the module takes at once besides weights and inputs, which may be of any device."""
    given = [value.to("meta") if isinstance(value, Tensor) else value for value in inputs]
    named = {name: value.to("meta") if isinstance(value, Tensor) else value for name, value in more.items()}
    weights = on_meta(module)
    counting = _Counting()
    with _Attention(), counting:
        functional_call(module, weights, tuple(given), named)
    return counting.most
