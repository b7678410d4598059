"""One way to feed a table of bytes to anything that takes them in pieces: whole, byte by byte, and with a tail."""

from __future__ import annotations

from collections.abc import Callable

Feed = Callable[[bytes], list[str]]


def feed_all_ways(fresh: Callable[[], Feed], data: bytes, events: list[str], tail: bytes = b"AT+TAI") -> None:
    """Assert that every way of cutting the bytes gives the same events, and that an unfinished tail adds none.

    `fresh` makes a new feed function, with a state of its own, for each way.
    """
    assert fresh()(data) == events, "fed whole"
    feed = fresh()
    assert [event for byte in data for event in feed(bytes((byte,)))] == events, "fed byte by byte"
    feed = fresh()
    middle = len(data) // 2
    assert feed(data[:middle]) + feed(b"") + feed(data[middle:] + tail) == events, (
        "fed in two pieces, with a tail"
    )
