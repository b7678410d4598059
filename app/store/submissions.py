"""Submissions: the claim, which is also the journal, and how each ended. They alone hold conversations."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import bindparam, or_, select, text, update

from app.domain.errors import GatewayError
from app.domain.identifiers import normalise_address
from app.domain.states import State
from app.store import tables as t
from app.store.engine import Tx, change, least_id, new_id
from app.store.questions import ADD_MOVE, move

WINDOW = timedelta(hours=24)  # submissions that a message may belong to (design, section 4.1)
REFUSALS = 5  # retryable refusals before a question fails (design, section 4)
FIRST_PAUSE = timedelta(seconds=10)  # after the first refusal; doubles each time
SENDER_DIED = "sender_died"  # why a submission is in doubt that nobody was left to hear the verdict of

_q = t.questions.c
_s = t.submissions.c


@dataclass(frozen=True, slots=True)
class Claimed:
    """A question that this lane may put on the air now; journalled and committed before the first byte."""

    question_id: str
    submission_id: str
    service: str
    address: str
    text: str
    fence: int
    opened_at: datetime
    attempts: int
    fault: GatewayError | None = None


@dataclass(frozen=True, slots=True)
class Servable:
    """What the claim needs to know of a service that this SIM may serve."""

    name: str
    conversation: str
    address: str
    timeout: timedelta
    late: timedelta
    price: int
    text: Callable[[Mapping[str, str]], str]


_HELD = (
    select(_s.id)
    .where(
        _s.sim_id == bindparam("sim"),
        _s.conversation == bindparam("talk"),
        or_(text("in_flight"), _s.held_until > bindparam("moment", type_=t.UtcTime())),
    )
    .limit(1)
)
_HEADS = [
    (
        select(_q.id, _q.priority, _q.rank, _q.fields_sealed, _q.attempts, _q.cost)
        .where(
            _q.service == bindparam("wanted_service"),
            text("state = 'queued' AND not_before IS NULL"),
            condition,
        )
        .order_by(_q.priority, _q.rank, _q.id)
        .limit(1)
    )
    for condition in (text("wanted_sim IS NULL"), _q.wanted_sim == bindparam("sim"))
]
_HEADS_LOCKED = [head.with_for_update(skip_locked=True) for head in _HEADS]
_TAKE = (
    update(t.questions)
    .where(_q.id == bindparam("wanted_id"), text("state = 'queued'"))
    .values(
        state=State.SUBMITTING.value,
        lane=bindparam("new_lane"),
        fence=bindparam("new_fence"),
        submitted_at=bindparam("moment", type_=t.UtcTime()),
        deadline=bindparam("end", type_=t.UtcTime()),
        attempts=_q.attempts + 1,
    )
)


def claim(
    tx: Tx, lane: str, fence: int, sim_id: str, services: Sequence[Servable], now: datetime
) -> Claimed | None:
    """Take the first question by (priority, rank, id) whose conversation nothing holds, and journal its submission.

    The caller has locked the lane's row and asked its budget. Once this commits, the match window is open.
    """
    heads = []
    for service in services:
        for head in _HEADS_LOCKED if tx.postgres else _HEADS:
            row = tx.execute(head, {"wanted_service": service.name, "sim": sim_id}).first()
            if row is not None:
                heads.append(((row.priority, row.rank, row.id), row, service))
    blocked: dict[str, bool] = {}
    best: tuple[Any, Servable] | None = None
    for _, row, service in sorted(heads, key=lambda found: found[0]):
        talk = service.conversation
        if talk not in blocked:
            held = tx.execute(_HELD, {"sim": sim_id, "talk": talk, "moment": now})
            blocked[talk] = held.first() is not None
        if not blocked[talk]:
            best = (row, service)
            break
    if best is None:
        return None
    row, service = best
    deadline = now + service.timeout
    taken = tx.put(
        _TAKE, {"wanted_id": row.id, "new_lane": lane, "new_fence": fence, "moment": now, "end": deadline}
    )
    if not taken:
        return None
    tx.put(
        ADD_MOVE,
        {
            "question": row.id,
            "origin": "queued",
            "target": "submitting",
            "moment": now,
            "mover": lane,
            "reason": None,
        },
    )
    tx.touched.add(row.id)
    submission_id = new_id("sub", now)
    body, fault = "", None
    try:
        body = service.text(json.loads(tx.unseal("questions.fields", row.fields_sealed)))
    except GatewayError as error:
        fault = error  # the service's file changed since this was asked: the lane refuses it, so that it blocks nobody
    tx.add(
        t.submissions,
        id=submission_id,
        created_at=now,
        kind="question",
        question_id=row.id,
        sim_id=sim_id,
        conversation=service.conversation,
        lane=lane,
        fence=fence,
        address_sealed=tx.seal("submissions.address", service.address),
        address_index=tx.index("address", normalise_address(service.address)),
        text_sealed=tx.seal("submissions.text", body),
        parts=1,
        state="open",
        opened_at=now,
        in_flight=True,
        held_until=now + service.late,
        cost=service.price,
    )
    return Claimed(
        row.id, submission_id, service.name, service.address, body, fence, now, row.attempts + 1, fault
    )


_SENT = (
    update(t.submissions)
    .where(_s.id == bindparam("wanted_id"), text("state IN ('open', 'uncertain')"))
    .values(
        state="sent",
        tp_references=bindparam("references"),
        closed_at=bindparam("moment", type_=t.UtcTime()),
    )
)
_BEFORE = select(_s.state, _s.in_flight, _s.cost).where(_s.id == bindparam("wanted_id")).with_for_update()
_PAID = update(t.questions).where(_q.id == bindparam("wanted_id")).values(cost=_q.cost + bindparam("price"))


def _paid(tx: Tx, submission_id: str, question_id: str) -> bool:
    """Count the price of a submission that is, or may be, on the air: once, when it leaves `open`.

    True while it is in flight: only then its question's state is about it, and not about a later submission.
    """
    before = tx.execute(_BEFORE, {"wanted_id": submission_id}).one()
    if before.state == "open":
        tx.put(_PAID, {"wanted_id": question_id, "price": before.cost})
        tx.touched.add(question_id)
    return bool(before.in_flight)


def sent(
    tx: Tx, submission_id: str, question_id: str, references: Sequence[int], *, now: datetime, by: str
) -> None:
    """+CMGS came: the submission is sent and paid; the question waits for its reply, if none came before."""
    in_flight = _paid(tx, submission_id, question_id)
    tx.put(_SENT, {"wanted_id": submission_id, "references": ",".join(map(str, references)), "moment": now})
    if in_flight:
        move(tx, question_id, {State.SUBMITTING, State.UNCERTAIN}, State.AWAITING_REPLY, now=now, by=by)


def refused(
    tx: Tx, claimed: Claimed, *, now: datetime, by: str, code: str, blame: str, detail: str, retryable: bool
) -> None:
    """Surely nothing went out: back to the queue after a pause, or failed. A question with a message never goes back.

    Of a submission that was recovered meanwhile nothing changes: it stays uncertain until its deadline.
    """
    fault = {"error_code": code, "error_blame": blame, "error_detail": detail}
    back = None
    if retryable and claimed.attempts < REFUSALS:
        back = {"not_before": now + FIRST_PAUSE * 2 ** (claimed.attempts - 1), **fault}
    _not_sent(tx, claimed, back, fault, now=now, by=by, why=code)


def stood_down(tx: Tx, claimed: Claimed, *, now: datetime, by: str, why: str) -> None:
    """The lane stopped before the first byte counted: back to the queue at once, no refusal counted."""
    detail = "The lane stopped before sending, and a text was attributed meanwhile. Ask again."
    fault = {"error_code": why, "error_blame": "gateway", "error_detail": detail}
    _not_sent(tx, claimed, {"attempts": claimed.attempts - 1}, fault, now=now, by=by, why=why)


def _not_sent(
    tx: Tx,
    claimed: Claimed,
    back: Mapping[str, Any] | None,
    fault: Mapping[str, Any],
    *,
    now: datetime,
    by: str,
    why: str,
) -> None:
    """Back to the queue with the values of `back`, or failed where that is None or the question has a message."""
    if tx.execute(_BEFORE, {"wanted_id": claimed.submission_id}).one().state != "open":
        return
    end_submission(
        tx, claimed.submission_id, ended="refused", held_until=now, state="refused", error_code=why, cost=0
    )
    target, values = State.FAILED, dict(fault)
    if back is not None and not attributed(tx, claimed.question_id):
        target, values = State.QUEUED, {"lane": None, **back}
    move(
        tx, claimed.question_id, {State.SUBMITTING}, target,
        now=now, by=by, why=why, fence=claimed.fence, deadline=None, **values,
    )  # fmt: skip


def maybe_sent(
    tx: Tx,
    submission_id: str,
    question_id: str,
    *,
    now: datetime,
    by: str,
    why: str,
    references: Sequence[int] = (),
) -> None:
    """Silence after Ctrl-Z, or a sender that died: the SMS may be on the air and is counted as paid. `references`: of parts that went."""
    in_flight = _paid(tx, submission_id, question_id)
    tx.execute(
        update(t.submissions)
        .where(_s.id == submission_id, text("state = 'open'"))
        .values(state="uncertain", error_code=why, tp_references=",".join(map(str, references)) or None)
    )
    if in_flight:
        move(tx, question_id, {State.SUBMITTING}, State.UNCERTAIN, now=now, by=by, why=why)


_UNHEARD = ("no_verdict", "unclear_verdict", "closed", "out_of_step", SENDER_DIED)


def owes_a_verdict(tx: Tx, lane: str, since: datetime, *, powered: bool) -> bool:
    """True if the last SMS of this lane since then was given no verdict, and its modem may give it yet.

    powered: a modem whose port was lost kept its power all the same, as behind a terminal server.
    """
    last = tx.execute(
        select(_s.state, _s.error_code)
        .where(_s.lane == lane, _s.id >= least_id("sub", since))
        .order_by(_s.id.desc())
        .limit(1)
    ).one_or_none()
    return last is not None and (
        last.state == "open"
        or (
            last.state == "uncertain" and last.error_code in (*_UNHEARD, *(("port_lost",) if powered else ()))
        )
    )


def any_opened(tx: Tx, sim_id: str, conversation: str, after: datetime, until: datetime) -> bool:
    """True if something was put on the air in this conversation in that time."""
    wanted = select(_s.id).where(
        _s.sim_id == sim_id,
        _s.conversation == conversation,
        _s.opened_at > after,
        _s.opened_at <= until,
        _s.state != "refused",
    )
    return tx.execute(wanted.limit(1)).first() is not None


def end_submission(
    tx: Tx, submission_id: str, *, ended: str, held_until: datetime | None, **values: Any
) -> None:
    """Take a submission out of flight; its conversation stays held until `held_until` (None: as it was)."""
    if held_until is not None:
        values["held_until"] = held_until
    change(tx, t.submissions, submission_id, in_flight=False, ended=ended, **values)


_END_FLIGHTS = (
    update(t.submissions)
    .where(_s.question_id == bindparam("question"), text("in_flight"))
    .values(in_flight=False, ended=bindparam("how"))
)


def end_flights(tx: Tx, question_id: str, *, ended: str) -> None:
    """Its question ended: no submission of it is in flight any more; each holds its conversation as long as before."""
    tx.put(_END_FLIGHTS, {"question": question_id, "how": ended})


_ATTRIBUTED = (
    select(t.attributions.c.id).where(t.attributions.c.question_id == bindparam("wanted_id")).limit(1)
)


def attributed(tx: Tx, question_id: str) -> bool:
    """True if any message was ever attributed to it."""
    return tx.execute(_ATTRIBUTED, {"wanted_id": question_id}).first() is not None


_RELEASE = select(_s.held_until).where(
    _s.sim_id == bindparam("sim"),
    text("NOT in_flight"),
    _s.held_until > bindparam("moment", type_=t.UtcTime()),
)


def next_release(tx: Tx, sim_id: str, now: datetime) -> datetime | None:
    """When the first conversation of this SIM that only a time holds is free again."""
    held = [row.held_until for row in tx.execute(_RELEASE, {"sim": sim_id, "moment": now})]
    return min(held, default=None)


def in_flight_of(tx: Tx, question_id: str) -> list[str]:
    """Submissions of a question that are in flight."""
    return list(tx.execute(select(_s.id).where(_s.question_id == question_id, text("in_flight"))).scalars())


def owed(tx: Tx) -> list[str]:
    """Services with a question on the air: they must stay known until it ends."""
    q = t.questions.c
    on_air = text("questions.state IN ('submitting', 'uncertain', 'awaiting_reply')")
    return list(tx.execute(select(q.service).where(on_air).distinct()).scalars())
