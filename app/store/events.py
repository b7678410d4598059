"""The feed: what happened, in order, each once. Events are written without a number; whoever reads first numbers them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import func, select, text, update

from app.store import tables as t
from app.store.engine import Store, Tx

KINDS = (
    "check.answered",
    "check.amended",
    "check.detached",
    "check.no_reply",
    "check.failed",
    "check.uncertain",
    "check.cancelled",
    "check.expired",
    "batch.done",
    "message.unmatched",
    "lane.changed",
    "service.stopped",
    "service.drift",
)
"""Every kind of event (design, section 6)."""

CHUNK = 2000  # events numbered in one transaction, which stays short so
FEED_LOCK = 7735  # PostgreSQL's advisory lock for numbering; 7734 is the migrations'

_e = t.events.c


@dataclass(frozen=True, slots=True)
class EventView:
    """One event; `data` holds no identifier and no text."""

    seq: int
    id: str
    kind: str
    at: datetime
    check_id: str | None
    batch_id: str | None
    lane: str | None
    data: dict[str, Any]


def read_feed(store: Store, after: int, limit: int, kinds: Collection[str] = ()) -> list[EventView]:
    """Up to `limit` events behind number `after`, oldest first; numbers what is new before, so that none is missed."""
    while store.read(_has_new) and store.write(_number) == CHUNK:
        pass
    return store.read(lambda tx: _read(tx, after, limit, kinds))


def _has_new(tx: Tx) -> bool:
    return tx.execute(select(_e.id).where(text("seq IS NULL")).limit(1)).first() is not None


def _number(tx: Tx) -> int:
    """Number the oldest new events without holes; one that commits later with an older id gets a later number."""
    if tx.postgres:
        tx.execute(select(func.pg_advisory_xact_lock(FEED_LOCK)))
    last = tx.execute(select(func.max(_e.seq))).scalar() or 0
    new = (
        select(_e.id, func.row_number().over(order_by=_e.id).label("place"))
        .where(text("seq IS NULL"))
        .order_by(_e.id)
        .limit(CHUNK)
        .subquery()
    )
    return int(tx.execute(update(t.events).where(_e.id == new.c.id).values(seq=last + new.c.place)).rowcount)


def _read(tx: Tx, after: int, limit: int, kinds: Collection[str]) -> list[EventView]:
    query = select(t.events).where(_e.seq > after).order_by(_e.seq).limit(limit)
    if kinds:
        query = query.where(_e.kind.in_(kinds))
    return [
        EventView(row.seq, row.id, row.kind, row.created_at, row.check_id, row.batch_id, row.lane, row.data)
        for row in tx.execute(query)
    ]
