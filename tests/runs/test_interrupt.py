"""Signals that a process was told to ignore."""

from __future__ import annotations

import signal
import threading

from contrail.runs.interrupt import Interruption, ending_at_once


def test_a_signal_that_the_process_ignores_stays_ignored() -> None:
    assert threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Interruption().handling() as interruption, ending_at_once("ended"):
            signal.raise_signal(signal.SIGINT)
            interruption.check()
            assert signal.getsignal(signal.SIGTERM) is not signal.SIG_DFL
        assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
