"""What a running daemon is told reaches it, whichever of its threads the system gives a signal to."""

from __future__ import annotations

import signal
import threading
from queue import SimpleQueue
from types import FrameType

from dispatcher.daemon import Word, next_word


def test_a_signal_that_another_thread_gets_is_obeyed() -> None:
    words: SimpleQueue[Word] = SimpleQueue()

    def ask(_number: int, _frame: FrameType | None) -> None:
        words.put(Word.END)

    def signalled() -> None:
        waiting.wait(0.3)  # so that the main thread waits for a word already
        signal.pthread_kill(threading.get_ident(), signal.SIGUSR1)
        waiting.wait(20)
        words.put(Word.RELOAD)

    waiting = threading.Event()
    before = signal.signal(signal.SIGUSR1, ask)
    other = threading.Thread(target=signalled)
    try:
        other.start()
        assert next_word(words) is Word.END
    finally:
        waiting.set()
        other.join()
        signal.signal(signal.SIGUSR1, before)
