"""Checks and questions: accepting, joining, the one door for every move, the claim, and how a submission ended."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, and_, bindparam, func, insert, literal_column, or_, select, text, update
from sqlalchemy.dialects import postgresql

from app.domain.errors import Conflict, NotFound
from app.domain.services import Rendered, Service
from app.domain.states import FINAL, OPEN, Outcome, State, may_move
from app.store import tables as t
from app.store.engine import Tx, change, new_id

REUSABLE = (Outcome.FOUND.value, Outcome.NOT_FOUND.value)  # what max_age may reuse (design, section 4)
UNTIL_FOREVER = timedelta(days=7)  # `expires` is never empty (design, section 4)

IS_OPEN = text("state IN ('queued', 'submitting', 'uncertain', 'awaiting_reply')")


@dataclass(frozen=True, slots=True)
class Ask:
    """One thing to be asked: the normalised fields of one service. `key` is equal for what asks exactly the same."""

    service: str
    conversation: str
    fields: Mapping[str, str]
    subject: str
    subject_kind: str
    key: str

    @classmethod
    def of(cls, service: Service, request: Rendered) -> Ask:
        """What a rendered request asks."""
        return cls(
            service.name,
            service.conversation,
            request.fields,
            request.subject,
            str(request.subject_kind),
            service.key(request.fields),
        )


@dataclass(frozen=True, slots=True)
class Accepted:
    """A check that is stored. `shared`: it joined a question that was there already."""

    check_id: str
    question_id: str
    shared: bool
    state: State


EVENT_OF = {
    State.ANSWERED: "check.answered",
    State.NO_REPLY: "check.no_reply",
    State.FAILED: "check.failed",
    State.UNCERTAIN: "check.uncertain",
    State.CANCELLED: "check.cancelled",
    State.EXPIRED: "check.expired",
}

_q = t.questions.c
_FIND_OPEN = select(_q.id, _q.ask_index, _q.state).where(
    _q.ask_index.in_(bindparam("wanted", expanding=True)), IS_OPEN
)
_FIND_OPEN_LOCKED = _FIND_OPEN.with_for_update()
_HEAD_RANK = (
    select(_q.rank)
    .where(
        _q.service == bindparam("wanted_service"),
        text("state = 'queued' AND not_before IS NULL AND wanted_sim IS NULL"),
    )
    .order_by(_q.priority, _q.rank, _q.id)
    .limit(1)
)


def accept(
    tx: Tx,
    asks: Sequence[Ask],
    *,
    client: str,
    origin: str,
    now: datetime,
    references: Sequence[str | None] | None = None,
    batch_id: str | None = None,
    place: int = 0,
    priority: int = 5,
    max_age: timedelta = timedelta(0),
    expires_in: timedelta = UNTIL_FOREVER,
    apart: int = 1,
) -> list[Accepted]:
    """Store one check for each ask, in order; asks of the same that are open (or fresh enough by `max_age`) share one question.

    `apart` is how far each stands behind the one before in the queue's rank, 0 for checks that only happened to come
    together; `place` is how far the first stands behind the queue's head: the rows of its batch that came before it.
    """
    indexes = [tx.index("ask", f"{ask.service}\0{ask.key}") for ask in asks]
    found = _joinable(tx, set(indexes), now, max_age)
    expires = now + expires_in
    joined = {index for index in indexes if index in found}
    fresh: dict[bytes, dict[str, Any]] = {}
    base = _head_rank(tx, asks[0].service) if asks else 0
    for position, (ask, index) in enumerate(zip(asks, indexes, strict=True)):
        if index not in found and index not in fresh:
            fresh[index] = {
                "id": new_id("qst", now),
                "created_at": now,
                "service": ask.service,
                "ask_index": index,
                "subject_index": tx.index(f"subject {ask.subject_kind}", ask.subject),
                "fields_sealed": tx.seal("questions.fields", json.dumps(dict(ask.fields))),
                "conversation": ask.conversation,
                "state": State.QUEUED.value,
                "priority": priority,
                "rank": base + place + position * apart,
                "expires": expires,
                "attempts": 0,
                "late": False,
                "cost": 0,
            }
    if fresh:
        tx.queued = True
        for index, row in _insert_questions(tx, fresh, now, max_age).items():
            found[index] = row
            if row[0] != fresh[index]["id"]:
                joined.add(index)
    open_joined = [found[index][0] for index in joined if found[index][1] in OPEN]
    if open_joined:
        tx.execute(
            update(t.questions)
            .where(_q.id.in_(open_joined))
            .values(priority=_least(tx, _q.priority, priority), expires=_greatest(tx, _q.expires, expires))
        )
    accepted: list[Accepted] = []
    rows: list[dict[str, Any]] = []
    seen: set[bytes] = set()
    for position, index in enumerate(indexes):
        question_id, state = found[index]
        check_id = new_id("chk", now)
        rows.append(
            {
                "id": check_id,
                "created_at": now,
                "question_id": question_id,
                "client": client,
                "reference": references[position] if references else None,
                "origin": origin,
                "batch_id": batch_id,
                "max_age": int(max_age.total_seconds()),
            }
        )
        accepted.append(Accepted(check_id, question_id, index in joined or index in seen, state))
        seen.add(index)
        if state is State.ANSWERED:
            add_event(tx, "check.answered", now, check_id=check_id, batch_id=batch_id)
    if rows:
        tx.execute(insert(t.checks), rows)
    return accepted


def _joinable(
    tx: Tx, wanted: set[bytes], now: datetime, max_age: timedelta
) -> dict[bytes, tuple[str, State]]:
    statement = _FIND_OPEN_LOCKED if tx.postgres else _FIND_OPEN
    found = {
        row.ask_index: (row.id, State(row.state)) for row in tx.execute(statement, {"wanted": list(wanted)})
    }
    missing = [index for index in wanted if index not in found]
    if max_age and missing:
        rows = tx.execute(
            select(_q.id, _q.ask_index)
            .where(
                _q.ask_index.in_(missing),
                text("state = 'answered'"),
                _q.answered_at >= now - max_age,
                _q.outcome.in_(REUSABLE),
            )
            .order_by(_q.answered_at)
        )
        found.update({row.ask_index: (row.id, State.ANSWERED) for row in rows})
    return found


def _insert_questions(
    tx: Tx, fresh: dict[bytes, dict[str, Any]], now: datetime, max_age: timedelta
) -> dict[bytes, tuple[str, State]]:
    if not tx.postgres:
        tx.execute(insert(t.questions), list(fresh.values()))
        return {index: (row["id"], State.QUEUED) for index, row in fresh.items()}
    found: dict[bytes, tuple[str, State]] = {}
    while len(found) < len(fresh):
        # Another process may insert, or end, the same question between our look and our insert.
        missing = [row for index, row in fresh.items() if index not in found]
        tx.execute(
            postgresql.insert(t.questions).on_conflict_do_nothing(
                index_elements=["ask_index"], index_where=IS_OPEN
            ),
            missing,
        )
        found.update(_joinable(tx, {row["ask_index"] for row in missing}, now, timedelta(0)))
    return found


def _head_rank(tx: Tx, service: str) -> int:
    return int(tx.execute(_HEAD_RANK, {"wanted_service": service}).scalar() or 0)


def _least(tx: Tx, column: ColumnElement[Any], value: Any) -> Any:
    return func.least(column, value) if tx.postgres else func.min(column, value)


def _greatest(tx: Tx, column: Any, value: datetime) -> Any:
    bound = bindparam(None, value, type_=t.UtcTime())
    return func.greatest(column, bound) if tx.postgres else func.max(column, bound)


# -- the one door -------------------------------------------------------------------------------------------------

_STATE_OF = select(_q.state, _q.fence).where(_q.id == bindparam("wanted_id"))
_STATE_OF_LOCKED = _STATE_OF.with_for_update()
_m = t.moves.c
ADD_MOVE = insert(t.moves).from_select(
    ["question_id", "seq", "from_state", "to_state", "at", "by", "why"],
    select(
        bindparam("question", type_=_m.question_id.type),
        func.coalesce(func.max(_m.seq), 0) + 1,
        bindparam("origin", type_=_m.from_state.type),
        bindparam("target", type_=_m.to_state.type),
        bindparam("moment", type_=t.UtcTime()),
        bindparam("mover", type_=_m.by.type),
        bindparam("reason", type_=_m.why.type),
    ).where(_m.question_id == bindparam("question", type_=_m.question_id.type)),
)
_c = t.checks.c
_CHECKS_OF = select(_c.id, _c.batch_id, _c.origin).where(
    _c.question_id == bindparam("wanted_id"), _c.cancelled_at.is_(None)
)


def move(
    tx: Tx,
    question_id: str,
    origins: Collection[State],
    target: State,
    *,
    now: datetime,
    by: str,
    why: str | None = None,
    fence: int | None = None,
    event: str | None = None,
    **values: Any,
) -> State | None:
    """Move a question if it stands in one of `origins` (and, given a fence, if it is still that sender's); the state it left, else None.

    The history row and the events of all its checks go into the same transaction.
    """
    row = tx.execute(_STATE_OF_LOCKED if tx.postgres else _STATE_OF, {"wanted_id": question_id}).one_or_none()
    if row is None or row.state not in origins or (fence is not None and row.fence != fence):
        return None
    origin = State(row.state)
    if not may_move(origin, target):
        raise AssertionError(f"the table of moves has no {origin} -> {target}")
    change(tx, t.questions, question_id, state=target.value, **values)
    tx.put(
        ADD_MOVE,
        {
            "question": question_id,
            "origin": origin.value,
            "target": target.value,
            "moment": now,
            "mover": by,
            "reason": why,
        },
    )
    tx.touched.add(question_id)
    kind = event or EVENT_OF.get(target)
    if target is State.QUEUED:
        tx.queued = True
    if kind is not None:
        for check in tx.execute(_CHECKS_OF, {"wanted_id": question_id}):
            add_event(tx, kind, now, check_id=check.id, batch_id=check.batch_id)
            if check.origin == "phone" and target in FINAL:
                _phone_is_due(tx, check.id, origin, target, now)
    return origin


def _phone_is_due(tx: Tx, check_id: str, origin: State, target: State, now: datetime) -> None:
    """Somebody with a phone hears the answer, or that none came; after "none came", once, the late answer."""
    a = t.phone_asks.c
    late = target is State.ANSWERED and origin in FINAL
    says = "late" if late else "answer" if target is State.ANSWERED else "none"
    changed = tx.execute(
        update(t.phone_asks)
        .where(
            a.check_id == check_id,
            or_(a.state == "waiting", and_(a.says == "none", literal_column(str(int(late))) == 1)),
        )
        .values(state="due", says=says, due=now)
    ).rowcount
    tx.phone_due = tx.phone_due or bool(changed)


def add_event(
    tx: Tx,
    kind: str,
    now: datetime,
    *,
    check_id: str | None = None,
    batch_id: str | None = None,
    lane: str | None = None,
    data: Mapping[str, Any] | None = None,
) -> None:
    """Write an event into this transaction; whoever reads the feed first numbers it."""
    tx.add(
        t.events,
        id=new_id("evt", now),
        created_at=now,
        kind=kind,
        check_id=check_id,
        batch_id=batch_id,
        lane=lane,
        data=dict(data or {}),
    )


# -- cancel and expire --------------------------------------------------------------------------------------------


def cancel(tx: Tx, check_id: str, *, now: datetime, by: str, client: str | None) -> None:
    """Cancel a check that is still queued; its question ends when nobody else wants it. NotFound, Conflict."""
    row = tx.execute(
        select(_c.client, _c.question_id, _c.cancelled_at).where(_c.id == check_id)
    ).one_or_none()
    if row is None or (client is not None and row.client != client):
        raise NotFound(
            f"There is no check {check_id}. Check the id, and that this key belongs to the client that asked it."
        )
    if row.cancelled_at is not None:
        return
    state = State(tx.execute(select(_q.state).where(_q.id == row.question_id).with_for_update()).scalar_one())
    if state is not State.QUEUED:
        raise Conflict(
            f"The check is {state.value}: only a queued one can be cancelled, for its SMS may be on the air already."
        )
    others = tx.execute(
        select(func.count()).where(
            _c.question_id == row.question_id, _c.cancelled_at.is_(None), _c.id != check_id
        )
    ).scalar_one()
    if others:
        check = tx.execute(select(_c.batch_id, _c.origin).where(_c.id == check_id)).one()
        add_event(tx, "check.cancelled", now, check_id=check_id, batch_id=check.batch_id)
        if check.origin == "phone":
            _phone_is_due(tx, check_id, State.QUEUED, State.CANCELLED, now)
    else:
        move(
            tx,
            row.question_id,
            {State.QUEUED},
            State.CANCELLED,
            now=now,
            by=by,
            why="no check wants it any more",
        )
    tx.execute(update(t.checks).where(_c.id == check_id).values(cancelled_at=now))
    tx.touched.add(row.question_id)


def expire_due(tx: Tx, now: datetime, limit: int = 500) -> int:
    """End what was not sent before `expires`, and give back to the queue what was put off until now."""
    due = tx.execute(
        select(_q.id).where(text("state = 'queued'"), _q.expires <= now).order_by(_q.expires).limit(limit)
    ).scalars()
    count = 0
    for question_id in list(due):
        count += (
            move(
                tx,
                question_id,
                {State.QUEUED},
                State.EXPIRED,
                now=now,
                by="housekeeper",
                why="not sent in time",
            )
            is not None
        )
    released = tx.execute(
        update(t.questions)
        .where(text("state = 'queued' AND not_before IS NOT NULL"), _q.not_before <= now)
        .values(not_before=None)
    ).rowcount
    tx.queued = tx.queued or bool(released)
    return count + int(released)


def anything_due(tx: Tx, now: datetime) -> bool:
    """True if `expire_due` would find something: asked without a writing transaction."""
    expired = select(_q.id).where(text("state = 'queued'"), _q.expires <= now).limit(1)
    released = (
        select(_q.id)
        .where(text("state = 'queued' AND not_before IS NOT NULL"), _q.not_before <= now)
        .limit(1)
    )
    return any(tx.execute(query).first() is not None for query in (expired, released))
