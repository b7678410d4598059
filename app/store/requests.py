"""What faces ask of a lane: rows that its thread takes in its step and answers there. Kept no longer than they are needed."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, func, insert, select, text, update

from app.domain.errors import NotFound
from app.store import tables as t
from app.store.engine import Tx, new_id

WAITS = timedelta(minutes=1)  # what no lane took by then, nobody waits for any more
KEPT = timedelta(
    hours=1
)  # an answer may hold what a network said: not longer than somebody may still read it
_INTERRUPTED = {
    "loop": "The lane was interrupted: its SMS to itself may be on the way, and is not sent again."
}

_r = t.lane_requests.c


@dataclass(frozen=True, slots=True)
class Request:
    """One request. `state` is `asked`, `taken`, `done` or `refused`; a refusal's answer holds `detail`, a sentence."""

    id: str
    lane: str
    kind: str
    arguments: Mapping[str, Any]
    asked_by: str
    state: str
    answer: Mapping[str, Any] | None


def ask(tx: Tx, lane: str, kind: str, arguments: Mapping[str, Any], asked_by: str, now: datetime) -> str:
    """Ask a lane for something; the request's id. Its thread is woken, in whichever process. NotFound."""
    if not tx.execute(select(func.count()).select_from(t.lanes).where(t.lanes.c.name == lane)).scalar_one():
        raise NotFound(f"There is no lane {lane!r}. `bpjs-sms lanes` and GET /v1/lanes list them.")
    request_id = new_id("req", now)
    tx.execute(
        insert(t.lane_requests),
        {
            "id": request_id,
            "created_at": now,
            "lane": lane,
            "kind": kind,
            "arguments": dict(arguments),
            "asked_by": asked_by,
            "state": "asked",
        },
    )
    tx.asked.add(lane)
    return request_id


def lanes_asked(tx: Tx) -> list[str]:
    """Lanes of which something is asked that nobody took yet."""
    return list(tx.execute(select(_r.lane).where(text("state = 'asked'")).distinct()).scalars())


def open_requests(tx: Tx, lane: str) -> list[Request]:
    """What was asked of this lane and nobody took yet, in order."""
    rows = tx.execute(select(t.lane_requests).where(_r.lane == lane, text("state = 'asked'")).order_by(_r.id))
    return [_request(row) for row in rows]


def take(tx: Tx, request_id: str) -> bool:
    """To be called and committed before anything is done about it; False if it was taken, or given up, meanwhile."""
    return bool(
        tx.execute(
            update(t.lane_requests).where(_r.id == request_id, text("state = 'asked'")).values(state="taken")
        ).rowcount
    )


def answer(tx: Tx, request_id: str, state: str, said: Mapping[str, Any]) -> None:
    """End it, `done` or `refused`; what was asked is not kept (a code may hold a voucher's number)."""
    tx.execute(
        update(t.lane_requests)
        .where(_r.id == request_id)
        .values(state=state, answer=dict(said), arguments={})
    )
    tx.touched.add(request_id)


def look(tx: Tx, request_id: str) -> Request:
    """One request as it is now. NotFound once it was forgotten."""
    row = tx.execute(select(t.lane_requests).where(_r.id == request_id)).one_or_none()
    if row is None:
        raise NotFound("There is no such request any more.")
    return _request(row)


def collect(tx: Tx, request_id: str, *, give_up: bool = False) -> Request:
    """The same, and an ended one is forgotten with this: its answer is read once. NotFound.

    `give_up` ends one that nobody took, and forgets one that was taken: what a network says later is not left in the table.
    """
    if give_up:
        tx.execute(
            update(t.lane_requests)
            .where(_r.id == request_id, text("state = 'asked'"))
            .values(
                state="refused", answer={"detail": "The lane did not take it in time, so nothing was done."}
            )
        )
    found = look(tx, request_id)
    if give_up or found.state in ("done", "refused"):
        tx.execute(delete(t.lane_requests).where(_r.id == request_id))
    return found


def refuse_taken(tx: Tx, lane: str) -> None:
    """What a lane took and did not answer before it died."""
    for row in tx.execute(select(_r.id, _r.kind).where(_r.lane == lane, _r.state == "taken")).all():
        answer(tx, row.id, "refused", {"detail": _INTERRUPTED.get(row.kind, "The lane was interrupted before it could answer; ask again.")})  # fmt: skip


def forget_old(tx: Tx, now: datetime) -> int:
    """Refuse what nobody took within WAITS, drop what is older than KEPT; how many rows."""
    late = update(t.lane_requests).where(text("state = 'asked'"), _r.created_at < now - WAITS)
    gone = tx.execute(
        late.values(
            state="refused", arguments={}, answer={"detail": "No lane took it; is its gateway running?"}
        )
    ).rowcount
    return int(gone + tx.execute(delete(t.lane_requests).where(_r.created_at < now - KEPT)).rowcount)


def _request(row: Any) -> Request:
    return Request(row.id, row.lane, row.kind, row.arguments or {}, row.asked_by, row.state, row.answer)
