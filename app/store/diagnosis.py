"""What the tables tell the doctor: lanes and who holds them, what came back by service, whose clock is off, whether keys have a copy."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import and_, func, insert, select, update

from app.store import tables as t
from app.store.engine import Tx
from app.store.lanes import database_now

FEWEST = 3
"""Of fewer texts even the quickest may have waited for a lane that was away."""
CLOCK_SAMPLES = 20
"""Texts whose two times are compared: the quickest of them was hardly under way, so its delay is the clocks' difference."""
_COPIED = "keys_copied"

_l, _m, _q, _g, _p = t.lanes.c, t.sims.c, t.questions.c, t.messages.c, t.processes.c


@dataclass(frozen=True, slots=True)
class LaneSeen:
    """A lane as its row has it. `held`: a living process owns it · `delay`: the least arrival minus service centre time lately ·
    pin_offered: the PIN of the settings was offered, and the SIM did not open."""

    name: str
    port: str
    state: str
    reason: str | None
    held: bool
    sim_id: str | None
    imei: str | None
    model: str | None
    credit: int | None
    active_until: str | None
    usb_path: str | None
    delay: timedelta | None
    pin_offered: bool = False
    paused: bool = False


@dataclass(frozen=True, slots=True)
class Exchange:
    """How one service went on one lane. `unanswered`: questions that ended without a reply since the last one that had one."""

    lane: str
    service: str
    last_reply: datetime | None
    unanswered: int


def lanes_seen(tx: Tx, now: datetime) -> list[LaneSeen]:
    """Every lane, by name."""
    lease_now = database_now(tx, now)
    rows = tx.execute(
        select(t.lanes, _m.credit, _m.active_until, _p.lease_until)
        .select_from(t.lanes.outerjoin(t.sims, _l.sim_id == _m.id).outerjoin(t.processes, _l.owner == _p.id))
        .order_by(_l.name)
    ).all()
    return [
        LaneSeen(
            name=row.name, port=row.port, state=row.state, reason=row.reason,
            held=row.lease_until is not None and row.lease_until > lease_now,
            sim_id=row.sim_id, imei=row.imei, model=" ".join(filter(None, (row.maker, row.model))) or None,
            credit=row.credit, active_until=row.active_until, usb_path=row.usb_path, delay=_delay(tx, row.sim_id),
            pin_offered=row.pin_tried is not None, paused=row.paused,
        )
        for row in rows
    ]  # fmt: skip


def _delay(tx: Tx, sim_id: str | None) -> timedelta | None:
    if sim_id is None:
        return None
    rows = tx.execute(
        select(_g.received_at, _g.service_centre_time)
        .where(_g.sim_id == sim_id, _g.service_centre_time.is_not(None))
        .order_by(_g.id.desc())
        .limit(CLOCK_SAMPLES)
    )
    delays = [row.received_at - row.service_centre_time for row in rows]
    quickest = min(delays, default=None)
    return None if len(delays) < FEWEST and quickest is not None and quickest > timedelta(0) else quickest


def exchanges(tx: Tx) -> list[Exchange]:
    """Every lane and service that had a question on the air, with its last reply and the silence since."""
    answered = (
        select(
            _q.lane, _q.service, func.max(_q.answered_at).label("at"), func.max(_q.submitted_at).label("sent")
        )
        .where(_q.lane.is_not(None), _q.state == "answered")
        .group_by(_q.lane, _q.service)
        .subquery()
    )
    last = answered.c
    silent = (_q.state == "no_reply") & ((last.sent.is_(None)) | (_q.submitted_at > last.sent))
    rows = tx.execute(
        select(
            _q.lane,
            _q.service,
            func.max(last.at).label("at"),
            func.count(_q.id).filter(silent).label("silent"),
        )
        .select_from(t.questions.outerjoin(answered, and_(last.lane == _q.lane, last.service == _q.service)))
        .where(_q.lane.is_not(None), _q.submitted_at.is_not(None))
        .group_by(_q.lane, _q.service)
        .order_by(_q.lane, _q.service)
    )
    return [Exchange(row.lane, row.service, row.at, int(row.silent)) for row in rows]


def keys_copied(tx: Tx) -> str | None:
    """The fingerprint of the keys that somebody said to have a copy of."""
    found: Any = tx.execute(select(t.meta.c.value).where(t.meta.c.name == _COPIED)).scalar()
    return None if found is None else str(found)


def confirm_keys_copied(tx: Tx, fingerprint: str) -> None:
    """Remember that these keys have a copy."""
    if keys_copied(tx) is None:
        tx.execute(insert(t.meta), {"name": _COPIED, "value": fingerprint})
    else:
        tx.execute(update(t.meta).where(t.meta.c.name == _COPIED).values(value=fingerprint))


def note_credit(tx: Tx, sim_id: str, credit: int, active_until: str | None, now: datetime) -> None:
    """What the operator said of a SIM: rupiah, and until when it is valid (ISO date) where it said so."""
    values: dict[str, Any] = {"credit": credit, "credit_at": now}
    if active_until is not None:
        values["active_until"] = active_until
    tx.execute(update(t.sims).where(_m.id == sim_id).values(**values))
