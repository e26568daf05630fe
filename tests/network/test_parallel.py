"""Calls at once: results in order, one core each, torch's modes kept, the first error ends all."""

from __future__ import annotations

import threading
from functools import partial

import pytest
import torch

from keysync.network.parallel import SMALL, Stop, at_once, cores

from .. import cores as given

CPU = torch.device("cpu")


def test_results_are_in_the_order_of_the_calls() -> None:
    with given.cores(2):
        assert at_once([partial(pow, 2, number) for number in range(5)], 2) == [1, 2, 4, 8, 16]
        assert at_once([], 2) == []


def test_small_calls_take_a_core_each_and_large_ones_all() -> None:
    with given.cores(2):
        assert cores(CPU, lambda: SMALL) == 2
        assert cores(CPU, lambda: SMALL + 1) == 1
        assert cores(torch.device("meta"), lambda: 1) == 1
    with given.cores(1):
        assert cores(CPU, lambda: 1) == 1


def test_calls_run_at_once_on_a_core_each_and_the_number_of_threads_is_kept() -> None:
    meeting = threading.Barrier(2, timeout=60)

    def meet() -> int:
        meeting.wait()  # breaks unless both are here
        return torch.get_num_threads()

    with given.cores(2):
        assert at_once([meet, meet], 2) == [1, 1]
        assert torch.get_num_threads() == 2


def test_one_at_once_and_a_single_call_are_computed_by_the_caller() -> None:
    def thread() -> int:
        return threading.get_ident()

    with given.cores(2):
        assert at_once([thread, thread], 1) == [threading.get_ident()] * 2
        assert at_once([thread], 2) == [threading.get_ident()]


def test_torchs_modes_are_those_of_the_caller() -> None:
    def modes() -> tuple[bool, bool]:
        return torch.is_grad_enabled(), torch.is_inference_mode_enabled()

    with given.cores(2):
        assert at_once([modes, modes], 2) == [(True, False)] * 2
        with torch.no_grad():
            assert at_once([modes, modes], 2) == [(False, False)] * 2
        with torch.inference_mode():
            assert at_once([modes, modes], 2) == [(False, True)] * 2


def test_the_first_error_stops_the_others_and_is_raised_when_none_runs() -> None:
    stop, ended = Stop(), threading.Event()

    def fail() -> None:
        raise ValueError("broken")

    def work() -> None:
        assert stop.wait(60)
        ended.set()
        stop.check()

    with given.cores(2):
        with pytest.raises(ValueError, match="broken"):
            at_once([work, fail], 2, stop)
        assert ended.is_set()
        assert torch.get_num_threads() == 2
