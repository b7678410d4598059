"""The worker that makes checks of batches' rows, chunk by chunk, and closes a batch when every check is final."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from functools import partial

from app.domain.capacity import per_hour
from app.domain.errors import GatewayError
from app.domain.services import Catalogue, Service
from app.domain.states import LaneState
from app.store import batches
from app.store.batches import OpenBatch, Row, RowAsk
from app.store.engine import Store
from app.store.lanes import LaneView
from app.store.questions import Ask

PAUSE = timedelta(seconds=1)  # between two looks when no row waits to become a check
REPLY_AFTER = timedelta(
    seconds=8
)  # median of a reply's delay, as assumed by the study behind design, section 4.1


class BatchWorker:
    """Works on every open batch in turn. It may be killed anywhere: what it knows beside the tables only saves looking twice."""

    def __init__(self, store: Store, catalogue: Catalogue) -> None:
        self._store = store
        self._catalogue = catalogue
        self._row_done: dict[str, int] = {}
        self._final_before: dict[str, str] = {}

    def recover(self, now: datetime) -> int:
        """Drop batches that a dead process left half received; how many. Call it before any file can come in.

        Where other processes may be receiving (PostgreSQL), only those older than ten minutes.
        """
        age = timedelta(0) if self._store.sqlite else batches.ABANDONED
        return self._drop_abandoned(self._store.read(batches.open_batches), now - age)

    def step(self, now: datetime) -> datetime:
        """One chunk of each open batch, or its close; when to be called again (`now` if rows are left)."""
        found = self._store.read(batches.open_batches)
        self._drop_abandoned(found, now - batches.ABANDONED)
        working = [batch for batch in found if batch.state != "receiving"]
        for gone in self._row_done.keys() - {batch.id for batch in working}:
            del self._row_done[gone]
            self._final_before.pop(gone, None)
        busy = [self._work_on(batch, now) for batch in working]
        return now if any(busy) else now + PAUSE

    def _drop_abandoned(self, found: Sequence[OpenBatch], before: datetime) -> int:
        left = [batch.id for batch in found if batch.state == "receiving" and batch.created_at <= before]
        for batch_id in left:
            self._store.write(partial(batches.drop_received, batch_id=batch_id))
        return len(left)

    def _work_on(self, batch: OpenBatch, now: datetime) -> bool:
        """True if it has more to do at once."""
        if batch.cancelled_by is not None:
            return cancel_queued(self._store, batch.id, batch.cancelled_by, now, most=1)
        after = self._row_done.get(batch.id, 0)
        rows = self._store.read(lambda tx: batches.next_chunk(tx, batch.id, after))
        if rows:
            asks, errors = self._asks(batch.service, rows)
            self._store.write(lambda tx: batches.make_checks(tx, batch, asks, errors, now=now))
            self._row_done[batch.id] = rows[-1].number
            return True
        self._row_done.setdefault(batch.id, after)
        self._close(batch.id, now)
        return False

    def _asks(self, name: str, rows: Sequence[Row]) -> tuple[dict[int, RowAsk], dict[int, dict[str, str]]]:
        """The rows as asks, by the services' files of today: they may have changed since the batch came in."""
        asks: dict[int, RowAsk] = {}
        errors: dict[int, dict[str, str]] = {}
        for row in rows:
            try:
                service = self._catalogue[name]
                asks[row.number] = RowAsk(
                    Ask.of(service, service.render(row.fields or {})), row.reference, row.twin
                )
            except GatewayError as error:
                errors[row.number] = {"code": error.code, "detail": error.detail}
        return asks, errors

    def _close(self, batch_id: str, now: datetime) -> None:
        from_check = self._final_before.get(batch_id, "")
        first_open = self._store.read(lambda tx: batches.first_open_check(tx, batch_id, from_check))
        if first_open is not None:
            self._final_before[batch_id] = first_open
            return
        self._store.write(lambda tx: batches.finish(tx, batch_id, from_check, now=now))


def seconds_until_done(questions: int, service: Service, lanes: Sequence[LaneView]) -> int | None:
    """A first estimate of the time that so many questions take, in seconds; None without a lane that may send.

    The lanes share them evenly and ask nothing else. A lane asks again after the longest of its pace, its part of
    its cap an hour, and what the service's conversation lets it (`per_hour`); a cap a day adds whole days.
    """
    able = [lane for lane in lanes if not lane.paused and lane.state != LaneState.FAILED]
    if not able:
        return None
    share = -(-questions // len(able))
    hour = timedelta(hours=1)
    talk = hour / max(per_hour(service), 1)
    longest = 0.0
    for lane in able:
        each = max(lane.pace, talk, hour / lane.per_hour if lane.per_hour else talk)
        days, rest = divmod(share, lane.per_day) if lane.per_day else (0, share)
        longest = max(longest, days * 86400 + rest * each.total_seconds())
    return round(longest)


def cancel_queued(store: Store, batch_id: str, by: str, now: datetime, *, most: int) -> bool:
    """Cancel up to `most` chunks of a cancelled batch's queued checks; True if some may be left."""
    after = ""
    for _ in range(most):
        last = store.write(partial(batches.cancel_some, batch_id=batch_id, after_check=after, by=by, now=now))
        if last is None:
            return False
        after = last
    return True
