"""A choice by name: a row of a table that the combo boxes, the command line, the documents and the tests read."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True)
class Choice(Generic[P, R]):
    """A function, and what it does in one line: `text` in English, `zh` in Chinese, each to follow "name: "."""

    function: Callable[P, R]
    text: str
    zh: str = ""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        return self.function(*args, **kwargs)


def lines(choices: Mapping[str, Choice[..., Any]]) -> tuple[str, ...]:
    """A line for each choice: its name and what it does."""
    return tuple(f"{name}: {choice.text}" for name, choice in choices.items())


def explain(lead: str, choices: Mapping[str, Choice[..., Any]]) -> str:
    """A tooltip: what is chosen, then a line for each choice."""
    return "\n".join((lead, *lines(choices)))
