"""Batches: rows received chunk by chunk, made into checks by a worker that may die anywhere, counted by query (design, section 4)."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import bindparam, case, delete, func, insert, select, text, update

from app.domain.errors import Conflict, NotFound
from app.domain.states import ON_AIR, OPEN, State
from app.store import questions
from app.store import tables as t
from app.store.checks import CheckView, checks_where
from app.store.engine import Tx, new_id
from app.store.questions import Ask
from app.store.sealing import Keyring

CHUNK = 1000  # rows a transaction: the writer is free for the lanes again after some 50 ms (design, section 4: 1,000 to 2,000)
CANCELS = 200  # checks cancelled in one transaction: each is a move of its own, with history and event
PRIORITY = 6  # behind the single checks' 5, so that somebody who waits is served first
ABANDONED = timedelta(
    minutes=10
)  # no file takes so long to store: its process died, and its client never read a 202
COUNTED = ("queued", "waiting", "answered", "no_reply", "failed", "cancelled", "expired")  # design, section 6

_HAS_ERROR = text("batch_rows.error IS NOT NULL")  # the column is JSON, whose own null is another thing
_NO_ERROR = text("batch_rows.error IS NULL")
IS_OPEN = text("batches.state IN ('receiving', 'queued', 'running')")

_b = t.batches.c
_r = t.batch_rows.c
_c = t.checks.c
_q = t.questions.c


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the file: its number there, its cells, and what to ask (`fields`, normalised) or why not (`error`).

    `twin` is the first row of the file that asks the same.
    """

    number: int
    cells: tuple[str, ...]
    fields: Mapping[str, str] | None
    reference: str | None
    error: Mapping[str, str] | None
    twin: int | None = None


@dataclass(frozen=True, slots=True)
class BatchView:
    """A batch without its rows. `counts` are by query; `cost` is what its questions cost until now, each counted once."""

    id: str
    client: str
    service: str
    file_name: str | None
    layout: dict[str, Any]
    heading: list[str]
    state: str
    rows: int
    rejected: int
    counts: dict[str, int]
    cost: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class RowView:
    """A row with its answer; `check` is None for a rejected row and for one whose check is not made yet."""

    number: int
    cells: list[str]
    error: dict[str, str] | None
    check: CheckView | None


@dataclass(frozen=True, slots=True)
class RowAsk:
    """A row made ready for the queue."""

    ask: Ask
    reference: str | None
    twin: int | None


@dataclass(frozen=True, slots=True)
class OpenBatch:
    """What the worker has to know of a batch that is not at its end."""

    id: str
    client: str
    service: str
    state: str
    priority: int
    created_at: datetime
    cancelled_by: str | None


# -- receiving ----------------------------------------------------------------------------------------------------


def create(
    tx: Tx,
    *,
    client: str,
    service: str,
    file_name: str | None,
    layout: Mapping[str, Any],
    heading: Sequence[str],
    priority: int,
    now: datetime,
) -> str:
    """Begin a batch in state `receiving`; its id. Nothing is asked before `finish_receiving`."""
    batch_id = new_id("bat", now)
    tx.execute(
        insert(t.batches),
        {
            "id": batch_id,
            "created_at": now,
            "client": client,
            "service": service,
            "file_name": file_name,
            "layout": {"file": dict(layout), "priority": priority},
            "state": "receiving",
            "rows": 0,
            "rejected": 0,
            "heading_sealed": tx.seal("batches.heading", json.dumps(list(heading))),
        },
    )
    return batch_id


def seal_rows(keys: Keyring, batch_id: str, rows: Sequence[Row]) -> list[dict[str, Any]]:
    """Rows ready for `add_rows`; apart from it, so that sealing keeps no writer busy."""
    return [
        {
            "batch_id": batch_id,
            "row": row.number,
            "cells_sealed": keys.seal(
                "batch_rows.cells",
                json.dumps(
                    [row.cells, row.fields, row.reference, row.twin],
                    ensure_ascii=False,
                    separators=(",", ":"),
                ),
            ),
            "error": None if row.error is None else dict(row.error),
        }
        for row in rows
    ]


def add_rows(tx: Tx, sealed: Sequence[Mapping[str, Any]]) -> None:
    """Store one chunk of sealed rows of a batch that is being received."""
    tx.execute(insert(t.batch_rows), list(sealed))


def finish_receiving(tx: Tx, batch_id: str, *, rows: int, rejected: int) -> None:
    """Every row is stored: from here on the batch is a promise. Conflict if it was dropped meanwhile."""
    changed = tx.execute(
        update(t.batches)
        .where(_b.id == batch_id, _b.state == "receiving")
        .values(state="queued", rows=rows, rejected=rejected)
    ).rowcount
    if not changed:
        raise Conflict(
            "The batch was given up while its rows came in, so nothing was accepted. Send the file again."
        )


def drop_received(tx: Tx, batch_id: str) -> None:
    """Forget a batch whose rows never came in whole, with the Idempotency-Key that was kept for it."""
    if tx.execute(delete(t.batches).where(_b.id == batch_id, _b.state == "receiving")).rowcount:
        tx.execute(delete(t.batch_rows).where(_r.batch_id == batch_id))
        tx.execute(delete(t.idempotency).where(t.idempotency.c.batch_id == batch_id))


# -- the worker's side --------------------------------------------------------------------------------------------


def open_batches(tx: Tx) -> list[OpenBatch]:
    """Batches that are not at their end, oldest first."""
    rows = tx.execute(
        select(_b.id, _b.client, _b.service, _b.state, _b.created_at, _b.layout)
        .where(IS_OPEN)
        .order_by(_b.id)
    )
    return [
        OpenBatch(
            row.id, row.client, row.service, row.state, row.layout["priority"], row.created_at, row.layout.get("cancelled_by")
        )
        for row in rows
    ]  # fmt: skip


def next_chunk(tx: Tx, batch_id: str, after_row: int, limit: int = CHUNK) -> list[Row]:
    """The next rows that have neither a check nor an error."""
    found = tx.execute(
        select(_r.row, _r.cells_sealed)
        .where(_r.batch_id == batch_id, _r.row > after_row, _r.check_id.is_(None), _NO_ERROR)
        .order_by(_r.row)
        .limit(limit)
    )
    rows = []
    for number, blob in found:
        cells, fields, reference, twin = json.loads(tx.unseal("batch_rows.cells", blob))
        rows.append(Row(number, tuple(cells), fields, reference, None, twin))
    return rows


_ATTACH = (
    update(t.batch_rows)
    .where(_r.batch_id == bindparam("of_batch"), _r.row == bindparam("of_row"))
    .values(check_id=bindparam("new_check"))
)
_REJECT = (
    update(t.batch_rows)
    .where(_r.batch_id == bindparam("of_batch"), _r.row == bindparam("of_row"))
    .values(error=bindparam("new_error", type_=_r.error.type))
)


def make_checks(
    tx: Tx,
    batch: OpenBatch,
    asks: Mapping[int, RowAsk],
    errors: Mapping[int, Mapping[str, str]],
    *,
    now: datetime,
) -> int:
    """Turn rows (by their number) into checks, in one transaction; how many. A row shares the question of its twin.

    Rows that another worker did meanwhile are left alone, and so is everything once the batch was cancelled.
    """
    current = tx.execute(select(_b.state, _b.layout).where(_b.id == batch.id).with_for_update()).one_or_none()
    if current is None or current.state not in ("queued", "running") or "cancelled_by" in current.layout:
        return 0
    numbers = [*asks, *errors]
    undone = set(
        tx.execute(
            select(_r.row).where(
                _r.batch_id == batch.id,
                _r.row.between(min(numbers), max(numbers)),
                _r.check_id.is_(None),
                _NO_ERROR,
            )
        ).scalars()
    )
    todo = {number: asks[number] for number in sorted(asks) if number in undone}
    made = _join_twins(tx, batch, todo, now)
    fresh = [number for number in todo if number not in made]
    accepted = questions.accept(
        tx,
        [todo[number].ask for number in fresh],
        client=batch.client,
        origin="batch",
        now=now,
        references=[todo[number].reference for number in fresh],
        batch_id=batch.id,
        place=min(fresh, default=0),
        priority=batch.priority,
    )
    made.update(zip(fresh, (check.check_id for check in accepted), strict=True))
    if made:
        tx.execute(
            _ATTACH,
            [{"of_batch": batch.id, "of_row": number, "new_check": check} for number, check in made.items()],
        )
    broken = [
        {"of_batch": batch.id, "of_row": number, "new_error": dict(error)}
        for number, error in errors.items()
        if number in undone
    ]
    if broken:
        tx.execute(_REJECT, broken)
    tx.execute(
        update(t.batches).where(_b.id == batch.id).values(state="running", rejected=_b.rejected + len(broken))
    )
    return len(made)


def _join_twins(tx: Tx, batch: OpenBatch, todo: Mapping[int, RowAsk], now: datetime) -> dict[int, str]:
    """Checks for rows whose twin was asked in an earlier chunk: the same question, even if it is answered by now."""
    twins = {
        number: row.twin for number, row in todo.items() if row.twin is not None and row.twin not in todo
    }
    if not twins:
        return {}
    asked = {
        row.row: (row.id, State(row.state))
        for row in tx.execute(
            select(_r.row, _q.id, _q.state)
            .join_from(t.batch_rows, t.checks, _r.check_id == _c.id)
            .join(t.questions, _c.question_id == _q.id)
            .where(
                _r.batch_id == batch.id,
                _r.row.in_(set(twins.values())),
                _q.state.not_in([State.CANCELLED.value, State.EXPIRED.value]),
            )
            .with_for_update(of=t.questions)
        )
    }
    made: dict[int, str] = {}
    for number, twin in twins.items():
        if twin not in asked:
            continue
        question_id, state = asked[twin]
        check_id = made[number] = new_id("chk", now)
        tx.execute(
            insert(t.checks),
            {
                "id": check_id,
                "created_at": now,
                "question_id": question_id,
                "client": batch.client,
                "reference": todo[number].reference,
                "origin": "batch",
                "batch_id": batch.id,
                "max_age": 0,
            },
        )
        if state not in OPEN:
            questions.add_event(tx, questions.EVENT_OF[state], now, check_id=check_id, batch_id=batch.id)
    return made


def first_open_check(tx: Tx, batch_id: str, from_check: str) -> str | None:
    """The batch's first check, from this id on, that is not final; as no final one opens again, the next look may start there."""
    return tx.execute(  # type: ignore[no-any-return]
        select(_c.id)
        .join_from(t.checks, t.questions, _c.question_id == _q.id)
        .where(
            _c.batch_id == batch_id,
            _c.id >= from_check,
            _c.cancelled_at.is_(None),
            _q.state.in_([state.value for state in OPEN]),
        )
        .order_by(_c.id)
        .limit(1)
    ).scalar()


def finish(tx: Tx, batch_id: str, from_check: str, *, now: datetime) -> bool:
    """Close a batch whose checks are all final: `done`, and its event in the same transaction. False if it is not so."""
    row = tx.execute(
        select(_b.state, _b.rows, _b.rejected).where(_b.id == batch_id).with_for_update()
    ).one_or_none()
    if (
        row is None
        or row.state not in ("queued", "running")
        or first_open_check(tx, batch_id, from_check) is not None
    ):
        return False
    if tx.execute(
        select(_r.row).where(_r.batch_id == batch_id, _r.check_id.is_(None), _NO_ERROR).limit(1)
    ).first():
        return False
    tx.execute(update(t.batches).where(_b.id == batch_id).values(state="done"))
    questions.add_event(
        tx, "batch.done", now, batch_id=batch_id, data={"rows": row.rows, "rejected": row.rejected}
    )
    return True


# -- cancelling ---------------------------------------------------------------------------------------------------


def ask_cancel(tx: Tx, batch_id: str, *, client: str | None, by: str) -> bool:
    """Mark a batch as cancelled: no further row becomes a check. False if it was so before; NotFound, Conflict when done."""
    row = tx.execute(
        select(_b.client, _b.state, _b.layout).where(_b.id == batch_id).with_for_update()
    ).one_or_none()
    if row is None or row.state == "receiving" or (client is not None and row.client != client):
        raise _no_batch(batch_id)
    if row.state == "done":
        raise Conflict(
            "The batch is done: every row has its answer, and nothing is left to cancel. Fetch its results."
        )
    if row.state == "cancelled" or "cancelled_by" in row.layout:
        return False
    tx.execute(update(t.batches).where(_b.id == batch_id).values(layout={**row.layout, "cancelled_by": by}))
    return True


def cancel_some(tx: Tx, batch_id: str, after_check: str, *, by: str, now: datetime) -> str | None:
    """Cancel the next queued checks of a cancelled batch; the last check looked at, or None at the end (state `cancelled`).

    What is on the air already goes on, and its answer stands in the results.
    """
    waiting = tx.execute(
        select(_c.id)
        .join_from(t.checks, t.questions, _c.question_id == _q.id)
        .where(
            _c.batch_id == batch_id,
            _c.id > after_check,
            _c.cancelled_at.is_(None),
            _q.state == State.QUEUED.value,
        )
        .order_by(_c.id)
        .limit(CANCELS)
    ).scalars().all()  # fmt: skip
    for check_id in waiting:
        try:
            questions.cancel(tx, check_id, now=now, by=by, client=None)
        except Conflict:
            continue  # a lane took it since our look (PostgreSQL)
    if len(waiting) == CANCELS:
        return str(waiting[-1])
    tx.execute(update(t.batches).where(_b.id == batch_id, IS_OPEN).values(state="cancelled"))
    return None


# -- reading ------------------------------------------------------------------------------------------------------


def get(tx: Tx, batch_id: str, client: str | None) -> BatchView:
    """One batch of this client (None: of any). NotFound, also while its rows still come in."""
    found = _views(tx, _b.id == batch_id, limit=1, client=client)
    if not found:
        raise _no_batch(batch_id)
    return found[0]


def list_batches(tx: Tx, *, client: str | None, limit: int, before: str | None = None) -> list[BatchView]:
    """Newest first, before a batch id (the cursor)."""
    return _views(tx, *([] if before is None else [_b.id < before]), limit=limit, client=client)


def still_receiving(tx: Tx, batch_id: str) -> bool:
    """True while its rows come in: the request that began it is still running."""
    return bool(tx.execute(select(_b.state).where(_b.id == batch_id)).scalar() == "receiving")


def row_errors(tx: Tx, batch_id: str, limit: int) -> list[dict[str, Any]]:
    """The first faults of a batch, in the order of the file."""
    rows = tx.execute(
        select(_r.row, _r.error).where(_r.batch_id == batch_id, _HAS_ERROR).order_by(_r.row).limit(limit)
    )
    return [{"row": row.row, **row.error} for row in rows]


def rows_with_answers(tx: Tx, batch_id: str, after_row: int, limit: int = CHUNK) -> list[RowView]:
    """One page of rows, in the order of the file, each with what is known of it now."""
    rows = tx.execute(
        select(_r.row, _r.cells_sealed, _r.check_id, _r.error)
        .where(_r.batch_id == batch_id, _r.row > after_row)
        .order_by(_r.row)
        .limit(limit)
    ).all()
    wanted = [row.check_id for row in rows if row.check_id is not None]
    views = checks_where(tx, _c.id.in_(wanted), limit=len(wanted), whole=False) if wanted else []
    answers = {view.id: view for view in views}
    return [
        RowView(
            row.row,
            json.loads(tx.unseal("batch_rows.cells", row.cells_sealed))[0],
            row.error,
            answers.get(row.check_id),
        )
        for row in rows
    ]


def record_fields(tx: Tx, batch_id: str) -> set[str]:
    """The names of the fields that the batch's records hold."""
    names: set[str] = set()
    after = ""
    while True:
        rows = tx.execute(
            select(_c.id, _q.record_sealed)
            .join_from(t.checks, t.questions, _c.question_id == _q.id)
            .where(_c.batch_id == batch_id, _c.id > after)
            .order_by(_c.id)
            .limit(CHUNK)
        ).all()
        for row in rows:
            if row.record_sealed is not None:
                names.update(json.loads(tx.unseal("questions.record", row.record_sealed)))
        if len(rows) < CHUNK:
            return names
        after = rows[-1].id


def _no_batch(batch_id: str) -> NotFound:
    return NotFound(
        f"There is no batch {batch_id}. Check the id, and that this key belongs to the client that sent it."
    )


def _views(tx: Tx, *conditions: Any, limit: int, client: str | None) -> list[BatchView]:
    if client is not None:
        conditions = (*conditions, _b.client == client)
    rows = tx.execute(
        select(t.batches).where(_b.state != "receiving", *conditions).order_by(_b.id.desc()).limit(limit)
    ).all()
    ids = [row.id for row in rows]
    counts = _counts(tx, ids)
    cost = _costs(tx, ids)
    views = []
    for row in rows:
        cancelled = row.state == "cancelled" or "cancelled_by" in row.layout
        numbers = counts[row.id]
        # Rows whose checks are not made yet wait as well, or never will be after a cancellation.
        numbers["cancelled" if cancelled else "queued"] += row.rows - row.rejected - sum(numbers.values())
        views.append(
            BatchView(
                id=row.id,
                client=row.client,
                service=row.service,
                file_name=row.file_name,
                layout=row.layout["file"],
                heading=json.loads(tx.unseal("batches.heading", row.heading_sealed)),
                state="cancelled" if cancelled else row.state,
                rows=row.rows,
                rejected=row.rejected,
                counts=numbers,
                cost=cost.get(row.id, 0),
                created_at=row.created_at,
            )
        )
    return views


def _counts(tx: Tx, batch_ids: Sequence[str]) -> dict[str, dict[str, int]]:
    shown = case(
        (_c.cancelled_at.is_not(None), State.CANCELLED.value),
        (_q.state.in_([state.value for state in ON_AIR]), "waiting"),
        else_=_q.state,
    ).label("shown")
    rows = tx.execute(
        select(_c.batch_id, shown, func.count())
        .join_from(t.checks, t.questions, _c.question_id == _q.id)
        .where(_c.batch_id.in_(batch_ids))
        .group_by(_c.batch_id, shown)
    )
    counts = {batch_id: dict.fromkeys(COUNTED, 0) for batch_id in batch_ids}
    for batch_id, state, number in rows:
        counts[batch_id][state] = number
    return counts


def _costs(tx: Tx, batch_ids: Sequence[str]) -> dict[str, int]:
    each = (
        select(_c.batch_id, _q.id, _q.cost)
        .join_from(t.checks, t.questions, _c.question_id == _q.id)
        .where(_c.batch_id.in_(batch_ids), _q.cost > 0)
        .distinct()
        .subquery()
    )
    rows = tx.execute(select(each.c.batch_id, func.sum(each.c.cost)).group_by(each.c.batch_id))
    return {batch_id: int(total) for batch_id, total in rows}
