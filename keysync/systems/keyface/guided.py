"""A stage with the weaker copy of its network that guides it (Karras et al., 2024)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from torch import Tensor

from ...network.stage import Stage, StageSpec, Windows
from ..keysync.generate import sample_here
from ..keysync.sampling import Sampling
from ..renderer import OnStep


@dataclass(frozen=True, eq=False)
class Guided:
    """A stage and the weaker copy of its network that guides it; they are sampled as one (`HostStage`)."""

    stage: Stage
    weak: Stage

    def sample(self, windows: Windows, noise: Tensor, sampling: Sampling, on_step: OnStep | None) -> Tensor:
        """Latents (b, t, 4, h, w) of b windows; see `sample_here`."""
        return sample_here(self.stage, windows, noise, sampling, on_step, self.weak)

    @contextmanager
    def in_float32(self) -> Iterator[None]:
        """Inside both work in float32, and afterwards as before."""
        with ExitStack() as both:
            for stage in (self.stage, self.weak):
                both.enter_context(stage.in_float32())
            yield

    @property
    def spec(self) -> StageSpec:
        return self.stage.spec

    @property
    def is_half(self) -> bool:
        return self.stage.is_half
