"""Checks as faces see them: a check with its question, record, replies and history, unsealed."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, func, or_, select

from app.domain.errors import NotFound
from app.domain.states import ON_AIR, State
from app.store import tables as t
from app.store.engine import Tx

_q = t.questions.c
_c = t.checks.c
_m = t.moves.c


@dataclass(frozen=True, slots=True)
class ReplyView:
    message_id: str
    role: str
    evidence: str
    by: str
    at: datetime
    received_at: datetime
    text: str


@dataclass(frozen=True, slots=True)
class MoveView:
    at: datetime
    origin: str | None
    target: str
    by: str
    why: str | None


@dataclass(frozen=True, slots=True)
class CheckView:
    """A check with its question, unsealed; faces mask it."""

    id: str
    question_id: str
    client: str
    origin: str
    batch_id: str | None
    service: str
    fields: dict[str, str]
    reference: str | None
    state: State
    outcome: str | None
    late: bool
    shared: bool
    record: dict[str, Any] | None
    evidence: str | None
    lane: str | None
    attempts: int
    cost: int
    created_at: datetime
    submitted_at: datetime | None
    answered_at: datetime | None
    deadline: datetime | None
    expires: datetime | None
    error_code: str | None
    error_blame: str | None
    error_detail: str | None
    replies: tuple[ReplyView, ...]
    history: tuple[MoveView, ...]


def checks_where(
    tx: Tx,
    *conditions: ColumnElement[bool],
    limit: int,
    newest_first: bool = True,
    whole: bool = True,
) -> list[CheckView]:
    """Checks that fit, each with record, replies and history (`whole`) or with the bare row."""
    joined = t.checks.join(t.questions, _c.question_id == _q.id)
    rows = tx.execute(
        select(
            t.questions,
            _c.id.label("check_id"),
            _c.client,
            _c.origin,
            _c.batch_id,
            _c.reference,
            _c.created_at.label("asked_at"),
            _c.cancelled_at,
        )
        .select_from(joined)
        .where(*conditions)
        .order_by(_c.id.desc() if newest_first else _c.id)
        .limit(limit)
    ).all()
    ids = {row.id for row in rows}
    replies = _replies(tx, ids) if whole else {}
    history = _history(tx, ids) if whole else {}
    owners = _owners(tx, ids)
    views = []
    for row in rows:
        state = State.CANCELLED if row.cancelled_at is not None else State(row.state)
        record = row.record_sealed and json.loads(tx.unseal("questions.record", row.record_sealed))
        views.append(
            CheckView(
                id=row.check_id, question_id=row.id, client=row.client, origin=row.origin, batch_id=row.batch_id,
                service=row.service, fields=json.loads(tx.unseal("questions.fields", row.fields_sealed)),
                reference=row.reference, state=state, outcome=row.outcome, late=row.late,
                shared=owners.get(row.id) != row.check_id, record=record, evidence=row.evidence, lane=row.lane,
                attempts=row.attempts, cost=row.cost, created_at=row.asked_at, submitted_at=row.submitted_at,
                answered_at=row.answered_at,
                deadline=row.deadline if state in ON_AIR else None,
                expires=row.expires if state is State.QUEUED else None,
                error_code=row.error_code if state in (State.FAILED, State.NO_REPLY, State.QUEUED) else None,
                error_blame=row.error_blame,
                error_detail=row.error_detail,
                replies=tuple(replies.get(row.id, ())), history=tuple(history.get(row.id, ())),
            )
        )  # fmt: skip
    return views


def get_check(tx: Tx, check_id: str, client: str | None) -> CheckView:
    """One check of this client (None: of any). NotFound."""
    found = checks_where(tx, _c.id == check_id, limit=1)
    if not found or (client is not None and found[0].client != client):
        raise NotFound(
            f"There is no check {check_id}. Check the id, and that this key belongs to the client that asked it."
        )
    return found[0]


def list_checks(
    tx: Tx,
    *,
    client: str | None,
    limit: int,
    before: str | None = None,
    states: Sequence[str] = (),
    outcome: str | None = None,
    service: str | None = None,
    reference: str | None = None,
    batch: str | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> list[CheckView]:
    """Newest first, before a check id (the cursor)."""
    conditions: list[Any] = []
    if client is not None:
        conditions.append(_c.client == client)
    if before is not None:
        conditions.append(_c.id < before)
    if states:
        of_question = and_(_q.state.in_(states), _c.cancelled_at.is_(None))
        cancelled = State.CANCELLED.value in states
        conditions.append(or_(of_question, _c.cancelled_at.is_not(None)) if cancelled else of_question)
    for column, value in (
        (_q.outcome, outcome),
        (_q.service, service),
        (_c.reference, reference),
        (_c.batch_id, batch),
    ):
        if value is not None:
            conditions.append(column == value)
    if since is not None:
        conditions.append(_c.created_at >= since)
    if until is not None:
        conditions.append(_c.created_at < until)
    return checks_where(tx, *conditions, limit=limit)


def _replies(tx: Tx, question_ids: set[str]) -> dict[str, list[ReplyView]]:
    a, m = t.attributions.c, t.messages.c
    rows = tx.execute(
        select(a.question_id, a.message_id, a.role, a.evidence, a.by, a.at, m.received_at, m.text_sealed)
        .join_from(t.attributions, t.messages, a.message_id == m.id)
        .where(a.question_id.in_(question_ids), a.detached_at.is_(None))
        .order_by(a.id)
    )
    found: dict[str, list[ReplyView]] = {}
    for row in rows:
        body = tx.unseal("messages.text", row.text_sealed)
        found.setdefault(row.question_id, []).append(
            ReplyView(row.message_id, row.role, row.evidence, row.by, row.at, row.received_at, body)
        )
    return found


def _history(tx: Tx, question_ids: set[str]) -> dict[str, list[MoveView]]:
    rows = tx.execute(
        select(t.moves).where(_m.question_id.in_(question_ids)).order_by(_m.question_id, _m.seq)
    )
    found: dict[str, list[MoveView]] = {}
    for row in rows:
        found.setdefault(row.question_id, []).append(
            MoveView(row.at, row.from_state, row.to_state, row.by, row.why)
        )
    return found


def _owners(tx: Tx, question_ids: set[str]) -> dict[str, str]:
    """The first check of each question: the others share it."""
    rows = tx.execute(
        select(_c.question_id, func.min(_c.id))
        .where(_c.question_id.in_(question_ids))
        .group_by(_c.question_id)
    )
    return {row[0]: row[1] for row in rows}
