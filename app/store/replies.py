"""Replies: which submissions a message may answer, what it was given to, and what happens at a deadline."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import bindparam, func, or_, select, text, union

from app.domain.states import Outcome, Role, State
from app.store import tables as t
from app.store.engine import Tx, change, new_id
from app.store.inbox import set_message, unmatched
from app.store.questions import move
from app.store.submissions import WINDOW, end_flights

SAME_TEXT = timedelta(hours=1)  # how long the same text is taken for a double (design, 4.1, rule 3)

_g = t.messages.c
_a = t.attributions.c
_s = t.submissions.c
_q = t.questions.c


@dataclass(frozen=True, slots=True)
class Asked:
    """A submission that a message may answer, with its question."""

    submission_id: str
    question_id: str
    service: str
    fields: dict[str, str]
    opened_at: datetime
    in_flight: bool
    held: bool
    state: State
    evidence: str | None
    answered_at: datetime | None
    answer_text: str | None
    answer_message: str | None
    outcome: str | None


# -- candidates ---------------------------------------------------------------------------------------------------

_BY_HOLD = union(
    select(_s.id).where(
        _s.sim_id == bindparam("sim"), _s.conversation == bindparam("talk"), text("submissions.in_flight")
    ),
    select(_s.id).where(
        _s.sim_id == bindparam("sim"),
        _s.conversation == bindparam("talk"),
        _s.held_until > bindparam("moment", type_=t.UtcTime()),
    ),
)
# What is in flight or holds counts whatever its age: a SIM may have lain in a drawer meanwhile.
_RECENT = or_(
    _s.opened_at > bindparam("since", type_=t.UtcTime()),
    text("submissions.in_flight"),
    _s.held_until > bindparam("moment", type_=t.UtcTime()),
)
_BY_SUBJECT = (
    select(_s.id)
    .join_from(t.questions, t.submissions, _s.question_id == _q.id)
    .where(
        _q.subject_index.in_(bindparam("subjects", expanding=True)),
        _s.sim_id == bindparam("sim"),
        _s.conversation == bindparam("talk"),
        _RECENT,
    )
)
_BY_TEXT = (
    select(_s.id)
    .join_from(t.messages, t.attributions, _a.message_id == _g.id)
    .join(t.submissions, _s.question_id == _a.question_id)
    .where(
        _g.sim_id == bindparam("sim"),
        _g.text_index == bindparam("body"),
        _g.received_at > bindparam("since", type_=t.UtcTime()),
        _a.detached_at.is_(None),
        _s.sim_id == bindparam("sim"),
        _s.conversation == bindparam("talk"),
    )
)
_ALL = select(_s.id).where(
    _s.sim_id == bindparam("sim"),
    _s.conversation == bindparam("talk"),
    _s.opened_at > bindparam("since", type_=t.UtcTime()),
)
_ASKED = (
    select(
        _s.id, _s.question_id, _s.opened_at, _s.in_flight, _s.held_until,
        _q.service, _q.fields_sealed, _q.state, _q.evidence, _q.answered_at, _q.outcome,
    )
    .join_from(t.submissions, t.questions, _s.question_id == _q.id)
    .where(
        _s.id.in_(bindparam("ids", expanding=True)),
        _RECENT,
        _s.state != "refused",
    )
    .order_by(_s.id)
)  # fmt: skip
_ANSWER_OF = (
    select(_g.id, _g.text_sealed)
    .join_from(t.attributions, t.messages, _a.message_id == _g.id)
    .where(
        _a.question_id == bindparam("question"),
        _a.role.in_([Role.ANSWER.value, Role.AMENDMENT.value]),
        _a.detached_at.is_(None),
    )
    .order_by(_a.id.desc())
    .limit(1)
)


def asked(
    tx: Tx,
    *,
    sim_id: str,
    conversation: str,
    subjects: Sequence[tuple[str, str]],
    any_subject: bool,
    body: str,
    now: datetime,
) -> list[Asked]:
    """The submissions on this SIM and conversation, of the last 24 hours or still in flight or holding, that can matter to a text:
    those about a card (kind, number) that it names (`any_subject`: about any card); if there is none, those that hold, and those
    it answered within the hour."""
    place = {"sim": sim_id, "talk": conversation}
    lately = {"since": now - WINDOW, "moment": now}
    ids: set[str] = set()
    if any_subject:
        ids = {row.id for row in tx.execute(_ALL, {**place, "since": now - WINDOW})}
    elif subjects:
        wanted = [tx.index(f"subject {kind}", number) for kind, number in subjects]
        ids = {row.id for row in tx.execute(_BY_SUBJECT, {**place, **lately, "subjects": wanted})}
    if any_subject or not ids:
        # A text that names a card that was asked about is about no other.
        ids |= {row.id for row in tx.execute(_BY_HOLD, {**place, "moment": now})}
        same = {**place, "body": tx.index("text", body), "since": now - SAME_TEXT}
        ids |= {row.id for row in tx.execute(_BY_TEXT, same)}
    if not ids:
        return []
    found = []
    for row in tx.execute(_ASKED, {"ids": list(ids), **lately}).all():
        answer = tx.execute(_ANSWER_OF, {"question": row.question_id}).first() if row.answered_at else None
        found.append(
            Asked(
                submission_id=row.id,
                question_id=row.question_id,
                service=row.service,
                fields=json.loads(tx.unseal("questions.fields", row.fields_sealed)),
                opened_at=row.opened_at,
                in_flight=row.in_flight,
                held=row.in_flight or (row.held_until is not None and row.held_until > now),
                state=State(row.state),
                evidence=row.evidence,
                answered_at=row.answered_at,
                answer_text=answer and tx.unseal("messages.text", answer.text_sealed),
                answer_message=answer and answer.id,
                outcome=row.outcome,
            )
        )
    return found


# -- attributing --------------------------------------------------------------------------------------------------

ANSWERABLE = frozenset(State) - {State.ANSWERED}


def attribute(
    tx: Tx,
    message_id: str,
    question_id: str,
    role: Role,
    *,
    evidence: str,
    by: str,
    now: datetime,
    why: str | None = None,
) -> None:
    """Write that this message belongs to this question, in a role, on what evidence."""
    tx.add(
        t.attributions,
        id=new_id("att", now),
        created_at=now,
        message_id=message_id,
        question_id=question_id,
        role=role.value,
        evidence=evidence,
        by=by,
        at=now,
        why=why,
    )
    set_message(tx, message_id, "attributed", candidates=1)
    tx.touched.add(question_id)


def answer(
    tx: Tx,
    question_id: str,
    *,
    outcome: Outcome,
    record: Mapping[str, Any],
    evidence: str,
    late: bool,
    now: datetime,
    by: str,
    amends: bool = False,
) -> None:
    """The question is answered (or amended): outcome, record and evidence in one move."""
    values = _answer_values(tx, outcome, record, evidence)
    if amends:
        move(
            tx,
            question_id,
            {State.ANSWERED},
            State.ANSWERED,
            now=now,
            by=by,
            why="amended",
            event="check.amended",
            **values,
        )
    else:
        move(
            tx, question_id, ANSWERABLE, State.ANSWERED, now=now, by=by, answered_at=now, late=late,
            error_code=None, error_blame=None, error_detail=None, **values,
        )  # fmt: skip
        end_flights(tx, question_id, ended=evidence)  # it may have been asked again from another SIM


def _answer_values(tx: Tx, outcome: Outcome, record: Mapping[str, Any], evidence: str) -> dict[str, Any]:
    sealed = tx.seal("questions.record", json.dumps(dict(record))) if record else None
    return {"outcome": outcome.value, "record_sealed": sealed, "evidence": evidence}


def double(tx: Tx, message_id: str, of: str | None) -> None:
    change(tx, t.messages, message_id, double_of=of)


def withdraw(tx: Tx, question_id: str, lane: str, *, now: datetime, by: str, why: str) -> None:
    """Two texts contradict each other: the record is taken back and its messages are nobody's."""
    rows = tx.execute(
        select(_a.id, _a.message_id).where(_a.question_id == question_id, _a.detached_at.is_(None))
    ).all()
    for row in rows:
        change(tx, t.attributions, row.id, detached_at=now, why=why)
        unmatched(tx, row.message_id, lane, now, reason=why, candidates=1)
    move(
        tx, question_id, {State.ANSWERED}, State.NO_REPLY, now=now, by=by, why=why, event="check.detached",
        outcome=None, record_sealed=None, evidence=None, answered_at=None, late=False,
        error_code=why, error_blame="service", error_detail="Two replies that name no card contradict each other, so neither is shown as the answer.",
    )  # fmt: skip


# -- deadlines ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Due:
    """A question on the air whose deadline passed while its inbox was being read."""

    question_id: str
    submission_id: str
    service: str
    state: State
    held_until: datetime | None
    opened_at: datetime
    attempts: int
    roles: frozenset[str]


_DUE = (
    select(
        _q.id, _q.service, _q.state, _q.attempts, _s.id.label("submission_id"), _s.opened_at, _s.held_until
    )
    .join_from(t.submissions, t.questions, _s.question_id == _q.id)
    .where(
        _s.sim_id == bindparam("sim"),
        text("in_flight"),
        _q.state.in_([State.UNCERTAIN.value, State.AWAITING_REPLY.value]),
        _q.deadline <= bindparam("moment", type_=t.UtcTime()),
    )
)
_NEXT_DEADLINE = (
    select(func.min(_q.deadline))
    .join_from(t.submissions, t.questions, _s.question_id == _q.id)
    .where(
        _s.sim_id == bindparam("sim"),
        text("in_flight"),
        _q.state.in_([State.UNCERTAIN.value, State.AWAITING_REPLY.value]),
    )
)


def due(tx: Tx, sim_id: str, read_at: datetime) -> list[Due]:
    """Questions of this SIM whose deadline lies before the last whole read of its inbox."""
    found = []
    for row in tx.execute(_DUE, {"sim": sim_id, "moment": read_at}).all():
        roles = tx.execute(
            select(_a.role).where(_a.question_id == row.id, _a.detached_at.is_(None))
        ).scalars()
        found.append(
            Due(
                row.id,
                row.submission_id,
                row.service,
                State(row.state),
                row.held_until,
                row.opened_at,
                row.attempts,
                frozenset(roles),
            )
        )
    return found


def next_deadline(tx: Tx, sim_id: str) -> datetime | None:
    value = tx.execute(_NEXT_DEADLINE, {"sim": sim_id}).scalar()
    return value if value is None or isinstance(value, datetime) else t.EPOCH + timedelta(microseconds=value)
