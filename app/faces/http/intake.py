"""Single checks that arrive together are stored together: one statement for many instead of many statements."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from app.store.checks import CheckView, get_check
from app.store.engine import Store, Tx
from app.store.questions import Accepted, Ask, accept

TOGETHER = 128  # at most: keeps one transaction under some 10 ms


@dataclass(frozen=True, slots=True)
class Order:
    """One check to accept for a client."""

    ask: Ask
    client: str
    reference: str | None
    priority: int
    max_age: timedelta
    expires_in: timedelta


@dataclass(frozen=True, slots=True)
class Taken:
    """A stored check; `view` only where it joined a question that was there, for else all of it is known."""

    accepted: Accepted
    at: datetime
    view: CheckView | None


class Intake:
    """Hands orders to the writer at once; what arrives while it works goes together next."""

    def __init__(self, store: Store, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock
        self._waiting: list[tuple[Order, asyncio.Future[Taken]]] = []
        self._busy = False

    async def take(self, order: Order) -> Taken:
        """Durable when it returns. Unavailable if nothing can be written."""
        future: asyncio.Future[Taken] = asyncio.get_running_loop().create_future()
        self._waiting.append((order, future))
        if not self._busy:
            self._hand_over()
        return await future

    def _hand_over(self) -> None:
        taken, self._waiting = self._waiting[:TOGETHER], self._waiting[TOGETHER:]
        now = self._clock()
        orders = [order for order, _ in taken]
        try:
            written = asyncio.wrap_future(self._store.submit(lambda tx: take_all(tx, orders, now)))
        except Exception as error:
            _fail(taken, error)
            return
        self._busy = True
        written.add_done_callback(lambda done: self._handed_over(done, taken))

    def _handed_over(
        self, done: asyncio.Future[list[Taken]], taken: Sequence[tuple[Order, asyncio.Future[Taken]]]
    ) -> None:
        self._busy = False
        if self._waiting:
            self._hand_over()
        if done.cancelled():
            _fail(taken, asyncio.CancelledError())
        elif (error := done.exception()) is not None:
            _fail(taken, error)
        else:
            for (_, future), result in zip(taken, done.result(), strict=True):
                if not future.done():
                    future.set_result(result)


def _fail(taken: Sequence[tuple[Order, asyncio.Future[Taken]]], error: BaseException) -> None:
    for _, future in taken:
        if not future.done():
            future.set_exception(error)


def take_all(tx: Tx, orders: Sequence[Order], now: datetime) -> list[Taken]:
    """Accept them in one transaction, those that differ in nothing but the card in one call; results in order."""
    alike: dict[tuple[str, str, int, timedelta, timedelta], list[int]] = {}
    for place, order in enumerate(orders):
        key = (order.client, order.ask.service, order.priority, order.max_age, order.expires_in)
        alike.setdefault(key, []).append(place)
    results: dict[int, Taken] = {}
    for (client, _, priority, max_age, expires_in), places in alike.items():
        accepted = accept(
            tx,
            [orders[place].ask for place in places],
            client=client,
            origin="http",
            now=now,
            references=[orders[place].reference for place in places],
            priority=priority,
            max_age=max_age,
            expires_in=expires_in,
            apart=0,
        )
        for place, check in zip(places, accepted, strict=True):
            view = get_check(tx, check.check_id, client) if check.shared else None
            results[place] = Taken(check, now, view)
    return [results[place] for place in range(len(orders))]
