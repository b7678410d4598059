"""An SMS from a SIM to itself, which the doctor asked for: journalled like any other, recognised when it comes back."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select, text, update

from app.domain.identifiers import normalise_address
from app.store import lanes, requests
from app.store import tables as t
from app.store.engine import Tx
from app.store.submissions import WINDOW

MARK = "bpjs-sms doctor "  # what such a text begins with; the rest is drawn by lot for each

_s, _m = t.submissions.c, t.sims.c


class NotNow(Exception):
    """Nothing may be sent from this lane now; the words say why."""


def own_number(tx: Tx, sim_id: str) -> str | None:
    """The number that the SIM says is its own."""
    sealed = tx.execute(select(_m.own_number_sealed).where(_m.id == sim_id)).scalar()
    return None if sealed is None else tx.unseal("sims.own_number", sealed)


def journal(
    tx: Tx,
    request_id: str,
    *,
    lane: str,
    fence: int,
    sim_id: str,
    number: str,
    mark: str,
    price: int,
    now: datetime,
) -> str:
    """Enter the submission before anything of it is said to the modem; its id. It holds no conversation. NotNow, LaneLost."""
    budget = lanes.budget(tx, lane, fence, now)
    if budget.paused:
        raise NotNow(f"the lane is paused: `bpjs-sms lanes resume {lane}` first")
    if budget.next_send_at is not None and budget.next_send_at > now + budget.pace:
        raise NotNow("the lane has sent as much as its per_hour or per_day allows: try later, or raise them")
    submission_id = f"sub_{request_id.removeprefix('req_')}"
    tx.add(
        t.submissions,
        id=submission_id,
        created_at=now,
        kind="loop",
        sim_id=sim_id,
        lane=lane,
        fence=fence,
        address_sealed=tx.seal("submissions.address", number),
        address_index=tx.index("address", normalise_address(number)),
        text_sealed=tx.seal("submissions.text", mark),
        parts=1,
        state="open",
        opened_at=now,
        in_flight=False,
        cost=price,
    )
    lanes.spend(tx, lane, budget.pace, now)
    return submission_id


def settle(
    tx: Tx,
    submission_id: str,
    now: datetime,
    *,
    state: str,
    references: str | None = None,
    code: str | None = None,
) -> None:
    """How the submission went: `sent`, `refused` or `uncertain`; one that was recovered meanwhile stays uncertain."""
    tx.execute(
        update(t.submissions)
        .where(_s.id == submission_id, text("state = 'open'"))
        .values(
            state=state,
            tp_references=references,
            error_code=code,
            closed_at=now,
            **({"cost": 0} if state == "refused" else {}),
        )
    )


def came_back(
    tx: Tx,
    message_id: str,
    *,
    sim_id: str,
    sender: str,
    body: str,
    stamp: datetime | None,
    received_at: datetime,
) -> bool:
    """True if this text is one that its own SIM sent to itself lately; whoever asked for it is told what it took."""
    if not body.startswith(MARK):
        return False
    rows = tx.execute(
        select(_s.id, _s.text_sealed, _s.opened_at, _s.closed_at).where(
            _s.sim_id == sim_id,
            _s.address_index == tx.index("address", normalise_address(sender)),
            _s.opened_at > received_at - WINDOW,
            _s.kind == "loop",
        )
    )
    row = next((row for row in rows if tx.unseal("submissions.text", row.text_sealed) == body), None)
    if row is None:
        return False
    requests.answer(
        tx, f"req_{row.id.removeprefix('sub_')}", "done", _took(tx, message_id, row, stamp, received_at)
    )
    return True


def _took(tx: Tx, message_id: str, row: Any, stamp: datetime | None, received_at: datetime) -> dict[str, Any]:
    sent = row.closed_at or row.opened_at
    slot = tx.execute(select(t.tpdus.c.slot).where(t.tpdus.c.message_id == message_id)).scalar()
    return {
        "delay_seconds": round(max(timedelta(0), received_at - sent).total_seconds(), 1),
        "centre_ahead_seconds": None if stamp is None else round((stamp - sent).total_seconds()),
        "storage": slot.partition(":")[0] if slot else None,
    }
