"""All tables in one command: each is printed under its name, whatever becomes of the others."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from training.small import tables


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> dict[str, list[str]]:
    """The words that each table was asked for with; the one of faces fails."""
    seen: dict[str, list[str]] = {}

    def table(name: str) -> Callable[[Sequence[str]], int]:
        def run(words: Sequence[str]) -> int:
            seen[name] = list(words)
            print(f"| {name} |")
            return int(name == "faces")

        return run

    for name, module in tables.TABLES.items():
        monkeypatch.setattr(f"{module}.main", table(name))
    return seen


def test_all_are_printed_and_the_exit_code_says_that_one_failed(
    asked: dict[str, list[str]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert tables.main(["--media", "clips"]) == 1
    assert asked == {"who": ["--media", "clips"], "faces": [], "occluders": [], "tilt": [], "seam": []}
    printed = capsys.readouterr().out
    assert [line for line in printed.splitlines() if line] == [
        text for name in asked for text in (f"## {name}", f"| {name} |")
    ]


def test_those_that_are_named(asked: dict[str, list[str]], capsys: pytest.CaptureFixture[str]) -> None:
    assert tables.main(["seam", "tilt"]) == 0
    assert list(asked) == ["seam", "tilt"]
    with pytest.raises(SystemExit):
        tables.main(["noses"])
    assert "'noses' is no table: choose from who, faces, occluders, tilt, seam" in capsys.readouterr().err
