from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from keysync.behind import Ahead, Behind, ahead


@pytest.fixture(autouse=True)
def _ends_its_threads() -> Iterator[None]:
    """Each test ends the threads that it began; those of tests before may wait for their garbage collection."""
    before = set(threading.enumerate())
    yield
    assert not {thread.name for thread in set(threading.enumerate()) - before if thread.name.startswith("keysync-")}


def test_calls_run_in_order_in_another_thread() -> None:
    done: list[tuple[int, bool]] = []
    with Behind() as behind:
        for number in range(20):
            behind.run(lambda n: done.append((n, threading.current_thread() is threading.main_thread())), number)
    assert done == [(number, False) for number in range(20)]


def test_no_more_calls_wait_than_allowed() -> None:
    begun, gate, queued = threading.Event(), threading.Event(), 0

    def block() -> None:
        begun.set()
        gate.wait(10)

    with Behind(waiting=2) as behind:
        behind.run(block)
        assert begun.wait(10)
        releaser = threading.Timer(0.2, gate.set)
        for _ in range(3):
            if queued == 2:
                releaser.start()
            behind.run(lambda: None)
            queued += 1
        assert gate.is_set()  # the third had to wait for the first


def fail() -> None:
    raise ValueError("full")


def run_all(*calls: Callable[[], Any]) -> None:
    with Behind() as behind:
        for call in calls:
            behind.run(call)


@pytest.mark.parametrize("count", [1, 50])
def test_an_error_of_a_call_is_raised(count: int) -> None:
    with pytest.raises(ValueError, match="full"):
        run_all(*[fail] * count)


def test_an_error_of_the_block_drops_what_waits() -> None:
    gate, done = threading.Event(), list[int]()

    def block() -> None:
        with Behind() as behind:
            behind.run(gate.wait, 0.05)
            behind.run(done.append, 1)
            raise KeyError

    with pytest.raises(KeyError):
        block()
    assert not done


def test_items_are_made_ahead_in_order() -> None:
    made: list[int] = []

    def make() -> Iterator[int]:
        for number in range(10):
            made.append(number)
            yield number

    items = ahead(make(), 3)
    assert not made
    assert next(items) == 0
    assert list(items) == list(range(1, 10))
    assert made == list(range(10))


def test_a_source_is_closed_where_its_items_are_not_taken() -> None:
    closed: list[bool] = []

    def make() -> Iterator[int]:
        try:
            yield from range(100)
        finally:
            closed.append(True)

    items = ahead(make())
    assert next(items) == 0
    items.close()
    assert closed == [True]


def test_an_error_comes_where_its_item_would() -> None:
    def make() -> Iterator[int]:
        yield 1
        raise OSError("gone")

    items = ahead(make())
    assert next(items) == 1
    with pytest.raises(OSError, match="gone"):
        next(items)


def numbers(made: list[int], first: int, count: int) -> Iterator[int]:
    for number in range(first, first + count):
        made.append(number)
        yield number


def test_sources_are_made_ahead_one_after_the_other_and_bounded() -> None:
    made: list[int] = []
    with Ahead(3) as ahead_of:
        first = ahead_of.add(numbers(made, 0, 4), 4)
        second = ahead_of.add(numbers(made, 4, 5), 5)
        assert next(first) == 0
        assert list(first) == [1, 2, 3]
        assert len(made) <= 4 + 3
        assert list(second) == [4, 5, 6, 7, 8]
    assert made == list(range(9))


def test_a_source_that_is_not_taken_is_left() -> None:
    gate, made = threading.Event(), list[int]()

    def slow() -> Iterator[int]:
        yield from numbers(made, 0, 1)
        gate.wait(10)
        yield from numbers(made, 1, 99)

    with Ahead(50) as ahead_of:
        assert next(ahead_of.add(slow(), 100)) == 0
        threading.Timer(0.1, gate.set).start()
    assert len(made) <= 2


def test_an_error_of_a_source_comes_where_its_item_would() -> None:
    def make() -> Iterator[int]:
        yield 1
        raise OSError("gone")

    with Ahead(8) as ahead_of:
        items = ahead_of.add(make(), 2)
        assert next(items) == 1
        with pytest.raises(OSError, match="gone"):
            next(items)


def test_what_waits_is_bounded_by_its_weight_and_waiting_is_timed() -> None:
    gate, waits, queued = threading.Event(), list[str](), list[int]()

    @contextmanager
    def waited() -> Iterator[None]:
        waits.append("begun")
        gate.set()
        yield
        waits.append("ended")

    with Behind(10, waited) as behind:
        behind.run(gate.wait, 10, weight=8)
        behind.run(queued.append, 1, weight=3)
        assert not waits
        behind.run(queued.append, 2)
        assert waits == ["begun", "ended"]
    assert queued == [1, 2]
