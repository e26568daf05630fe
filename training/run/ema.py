"""The exponential moving average of the weights, kept in float32 on the device of the weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from .sharding import scatter


class EMA:
    """Averages of a module's trained parameters by name, sharded like them."""

    def __init__(self, module: nn.Module, decay: float) -> None:
        self.decay = decay
        self._parameters = {name: part for name, part in module.named_parameters() if part.requires_grad}
        self.averages: dict[str, Tensor] = {
            name: parameter.detach().float().clone() for name, parameter in self._parameters.items()
        }

    @torch.no_grad()
    def update(self, step: float, length: float = 1.0) -> None:
        """Updates after the step that began at `step` and lasted `length` on the run's clock.

        Early averages forget faster, so that initial weights fade.
        """
        decay = min(self.decay, (1 + step) / (10 + step)) ** length
        for name, parameter in self._parameters.items():
            self.averages[name].lerp_(parameter.detach().float(), 1.0 - decay)

    @torch.no_grad()
    def load(self, averages: Mapping[str, Tensor]) -> None:
        """Loads unsharded averages of the same names and shapes."""
        for name, average in self.averages.items():
            average.copy_(scatter(averages[name], average))

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Replaces the weights by the averages inside this context."""
        kept = {name: parameter.detach().clone() for name, parameter in self._parameters.items()}
        try:
            self._fill(self.averages)
            yield
        finally:
            self._fill(kept)

    @torch.no_grad()
    def _fill(self, values: Mapping[str, Tensor]) -> None:
        for name, parameter in self._parameters.items():
            parameter.copy_(values[name])
