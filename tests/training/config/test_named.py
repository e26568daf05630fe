"""Functions named by the user: found, or an error that names them."""

from __future__ import annotations

import os.path

import pytest

from keysync.errors import KeySyncError
from training.config.named import function_named, is_named


@pytest.mark.parametrize("name", ["a:b", "a.b_c:d1", "a:b.c"])
def test_names_of_functions(name: str) -> None:
    assert is_named(name)


@pytest.mark.parametrize("name", ["", "a", "a:", ":b"])
def test_other_names(name: str) -> None:
    assert not is_named(name)


def test_a_function_is_found() -> None:
    assert function_named("os:path.join", "lip-sync loss", "a device") is os.path.join


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("no_such:f", r"cannot load the lip-sync loss no_such:f \(ModuleNotFoundError: .*\): name a module"),
        ("os:nothing", "os has no function nothing: name one that takes a device"),
        ("os:path.nothing.more", "os has no function path.nothing.more: name one"),
        ("os:sep", "os has no function sep: name one"),
    ],
)
def test_others_are_errors(name: str, message: str) -> None:
    with pytest.raises(KeySyncError, match=message):
        function_named(name, "lip-sync loss", "a device")
