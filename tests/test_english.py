"""Messages, docstrings and comments avoid phrases that no native engineer writes; the library's messages no options."""

from __future__ import annotations

import ast
import re
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import ROOT

# Files that may have such words; an entry without any is an error too.
EXCEPTIONS = ("training/synthetic/voice/sentences.py",)  # a vocabulary
BANNED = re.compile(
    "|".join(
        (
            r"\b(was|were) wanted\b",
            r"\b[Ww]ants?\b",
            r"\b[Nn]obody\b",
            r"\banother roll\b",
            r"\b[Gg]ives? way\b",
            r"\b[Ll]ets? go of\b",
            r"\bto come\b",
            r"\bthat knows\b",
            r"\bof (it|them) alone\b",
            r"\b(is|are) told\b|\btold (of|what|that)\b",
            r"\bas \w+ (has|have) it\b",
        )
    )
)
OPTION = re.compile(r"(?<![\w-])--[a-z]")
# The command line itself, and the options of the systems.
MAY_NAME_OPTIONS = (
    "keysync/cli.py",
    "commands/options.py",
    "commands/dub.py",
    "commands/live_options.py",
    "commands/running.py",
    "system.py",
    "stage_options.py",
)


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """Line and text of every string and comment of a Python file."""
    source = path.read_text(encoding="utf-8")
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value
    with path.open("rb") as file:
        yield from (
            (token.start[0], token.string)
            for token in tokenize.tokenize(file.readline)
            if token.type == tokenize.COMMENT
        )


def found(path: Path, banned: re.Pattern[str]) -> list[str]:
    name = path.relative_to(ROOT).as_posix()
    return [f"{name}:{line}: {match[0]}" for line, text in texts(path) for match in banned.finditer(text)]


def files(folder: str) -> list[Path]:
    return sorted((ROOT / folder).rglob("*.py"))


def excepted(path: Path) -> bool:
    name = path.relative_to(ROOT).as_posix()
    return any(name == entry or name.startswith(f"{entry}/") for entry in EXCEPTIONS)


@pytest.mark.parametrize("folder", ["keysync", "nodes", "training"])
def test_no_banned_phrases(folder: str) -> None:
    assert [place for path in files(folder) if not excepted(path) for place in found(path, BANNED)] == []


@pytest.mark.parametrize("entry", EXCEPTIONS)
def test_the_exceptions_are_needed(entry: str) -> None:
    paths = [ROOT / entry] if (ROOT / entry).is_file() else files(entry)
    assert [place for path in paths for place in found(path, BANNED)], "remove this entry"


def test_the_library_names_no_options() -> None:
    paths = [path for path in files("keysync") if not path.as_posix().endswith(MAY_NAME_OPTIONS)]
    assert [place for path in paths for place in found(path, OPTION)] == []


@pytest.mark.parametrize(
    "text",
    [
        "a weight file was wanted",
        "the model wants 5",
        "which nobody gave",
        "60 evaluations to come",
        "what it is told of",
    ],
)
def test_the_phrases_are_recognised(text: str) -> None:
    assert BANNED.search(text)
