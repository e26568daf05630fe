"""How the library's modules import one another: in no circle, in short chains, and never what lies above."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

LIBRARY = Path(__file__).resolve().parents[1] / "keysync"
MODULES = {path.relative_to(LIBRARY.parent).with_suffix("").parts: path for path in LIBRARY.rglob("*.py")}
LONGEST_CHAIN = 8
# A room imports nothing of the rooms after it.
ROOMS = ("network", "weights", "vae", "speech", "media", "face", "systems")

Name = tuple[str, ...]


@cache
def imported(module: Name) -> frozenset[Name]:
    """The modules that a module imports when it is imported itself."""
    found = set()
    for statement in ast.parse(MODULES[module].read_text(encoding="utf-8")).body:
        if isinstance(statement, ast.ImportFrom) and statement.level:
            base = (*module[: -statement.level], *(statement.module or "").split("."))
            base = tuple(part for part in base if part)
            for name in statement.names:
                found |= {place for place in ((*base, name.name), base) if place in MODULES}
    return frozenset(found)


def longest_chain(module: Name, above: tuple[Name, ...] = ()) -> tuple[Name, ...]:
    assert module not in above, f"a circle: {[*above, module]}"
    chains = (longest_chain(below, (*above, module)) for below in imported(module))
    return (module, *max(chains, key=len, default=()))


def test_chains_of_imports_are_short_and_no_circles() -> None:
    longest = max((longest_chain(module) for module in MODULES), key=len)
    assert len(longest) <= LONGEST_CHAIN, " > ".join(".".join(module[1:]) for module in longest)


def test_no_room_imports_a_room_above_it() -> None:
    def room(module: Name) -> int:
        return ROOMS.index(module[1]) if len(module) > 2 and module[1] in ROOMS else -1

    upwards = {
        (module, below)
        for module in MODULES
        for below in imported(module)
        if -1 < room(module) < room(below)
        or (room(module) > -1 and len(below) == 2 and below[1] in ("cli", "dub", "job"))
    }
    assert not upwards
