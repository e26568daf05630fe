"""Signals: the first is a wish, the second an order."""

from __future__ import annotations

import signal

import pytest

from training.run.signals import Stop


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_first_signal_is_heard_and_the_second_obeyed(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with Stop().listening() as stop:
        assert not stop.requested
        signal.raise_signal(number)
        assert stop.requested
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(number)
    assert signal.getsignal(number) is before
