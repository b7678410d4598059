"""What is tried, and when, on a modem that is there but does not work: pure, the clock is handed in."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum

FIRST_PAUSE = timedelta(
    minutes=1
)  # a stick takes up to that to start: nothing rough is done to one that may be starting
LONGEST_PAUSE = timedelta(hours=4)  # between two rough measures on a modem that nothing has helped
CALM = timedelta(
    minutes=10
)  # registered for so long it is well again, and the next trouble begins from below


class Rung(StrEnum):
    """The measures, gentle first: ask again, open a new session, AT+CFUN=1,1, take the power of its USB port away."""

    AT = "at"
    SESSION = "session"
    MODEM = "modem"
    POWER = "power"


_ROUGH = (Rung.MODEM, Rung.POWER)
_WORDS = {
    Rung.AT: "asked again",
    Rung.SESSION: "opened anew",
    Rung.MODEM: "modem restarted",
    Rung.POWER: "USB power cycled",
}


class Ladder:
    """One modem's. The gentle rungs come at once, the rough ones in turn with pauses that double: it never goes on in a loop."""

    def __init__(self) -> None:
        self._steps = 0
        self._pause = FIRST_PAUSE
        self._due: datetime | None = None
        self._well_since: datetime | None = None
        self._done: dict[Rung, int] = {}

    def _forget(self) -> None:
        self._steps, self._pause, self._due = 0, FIRST_PAUSE, None
        self._done.clear()

    def trouble(self, now: datetime, first: Rung = Rung.AT) -> Rung | None:
        """It does not work: what to try now; None while only the usual new opening is due. `first` is where a new trouble begins."""
        self._well_since = None
        if self._due is None:
            self._due = now + self._pause
            self._steps = 1 if first is Rung.SESSION else 0
            return first
        if not self._steps:
            self._steps = 1
            return Rung.SESSION
        if timedelta(0) < self._due - now <= self._pause:  # beyond: the clock was set back
            return None
        self._pause = min(self._pause * 2, LONGEST_PAUSE)
        self._due = now + self._pause
        return self._next_rough()

    def instead(self) -> Rung | None:
        """What was to be tried cannot be: the next measure, or None if the last one was it."""
        return self._next_rough() if self._steps % 2 == 0 else None

    def done(self, rung: Rung) -> None:
        """It was tried."""
        self._done[rung] = self._done.get(rung, 0) + 1

    def well(self, now: datetime) -> None:
        """It is registered. Once that lasted CALM, all is forgotten."""
        if self._well_since is None or now < self._well_since:
            self._well_since = now
        if self._due is not None and now - self._well_since >= CALM:
            self._forget()

    @property
    def tried(self) -> str:
        """What was tried since the trouble began, in words; empty if nothing."""
        return ", ".join(
            _WORDS[rung] + (f" {self._done[rung]} times" if self._done[rung] > 1 else "")
            for rung in Rung
            if rung in self._done
        )

    def _next_rough(self) -> Rung:
        self._steps += 1
        return _ROUGH[self._steps % 2]
