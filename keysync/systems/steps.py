"""Counts network evaluations for those who wait for them."""

from __future__ import annotations

from dataclasses import dataclass

from .renderer import OnStep


@dataclass
class Steps:
    """Counts evaluations up to those that are planned: steps that are taken again are not counted again."""

    on_step: OnStep | None
    left: int

    def __call__(self, evaluations: int) -> None:
        evaluations = min(evaluations, self.left)
        self.left -= evaluations
        if self.on_step is not None and evaluations:
            self.on_step(evaluations)
