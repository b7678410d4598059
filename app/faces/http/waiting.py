"""`Prefer: wait=N` (RFC 7240 §4.3): wait for a check's end without asking again and again."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Sequence
from contextlib import suppress

from starlette.concurrency import run_in_threadpool

from app.domain.states import FINAL
from app.store.checks import CheckView
from app.store.engine import Store, Tx

LONGEST = 60  # seconds (design, section 6)
OTHER_PROCESS = 1.0  # seconds between looks where another process may have moved the question

_WAIT = re.compile(r"(?:^|[,;])\s*wait\s*=\s*\"?(\d{1,9})\"?\s*(?=$|[,;])", re.IGNORECASE | re.ASCII)


def preferred_wait(prefer: str) -> int | None:
    """Seconds of a Prefer header, at most LONGEST; None without a usable one, which the standard says to ignore."""
    found = _WAIT.search(prefer)
    return min(int(found[1]), LONGEST) or None if found else None


class Waits:
    """Those who wait for questions and requests; woken by the commits that touch theirs."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._loop: asyncio.AbstractEventLoop | None = None
        self._waiting: dict[str, set[asyncio.Event]] = {}
        self._closing = False
        store.listen(self._committed)

    def close(self) -> None:
        """Let everybody go with what there is."""
        if self._closing:
            return
        self._closing = True
        self._store.unlisten(self._committed)
        self._wake(list(self._waiting))

    async def final(self, question_id: str, seconds: float, look: Callable[[], CheckView]) -> CheckView:
        """The check as `look` reads it, as soon as it is final, or after so many seconds."""
        view: list[CheckView] = []

        def ended() -> bool:
            view[:] = [look()]
            return view[0].state in FINAL

        await self.until(question_id, seconds, ended)
        return view[0]

    async def until(self, row: str, seconds: float, ended: Callable[[], bool]) -> None:
        """Return as soon as `ended`, asked again after each commit that touches this row, or after so many seconds."""
        self._loop = loop = asyncio.get_running_loop()
        woken = asyncio.Event()
        self._waiting.setdefault(row, set()).add(woken)
        end = loop.time() + seconds
        try:
            while True:
                done = await run_in_threadpool(ended)
                left = end - loop.time()
                if done or left <= 0 or self._closing:
                    return
                with suppress(TimeoutError):
                    async with asyncio.timeout(left if self._store.sqlite else min(left, OTHER_PROCESS)):
                        await woken.wait()
                woken.clear()
        finally:
            others = self._waiting[row]
            others.discard(woken)
            if not others:
                del self._waiting[row]

    def _committed(self, done: Sequence[Tx]) -> None:
        """Called on the writing thread."""
        touched = [question for tx in done for question in tx.touched if question in self._waiting]
        if touched and self._loop is not None:
            with suppress(RuntimeError):  # the loop ended meanwhile, and those who waited with it
                self._loop.call_soon_threadsafe(self._wake, touched)

    def _wake(self, questions: Sequence[str]) -> None:
        for question in questions:
            for woken in self._waiting.get(question, ()):
                woken.set()
