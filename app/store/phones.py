"""People with phones: who may text us, what they asked, and the answers that are due."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, func, insert, select, text, update

from app.domain.errors import NotFound
from app.domain.identifiers import normalise_address
from app.store import tables as t
from app.store.engine import Tx, new_id

_p = t.phones.c
_a = t.phone_asks.c
_s = t.submissions.c

ANSWERS_LIFE = timedelta(
    days=1
)  # an answer that could not go out for a day is stale and is not sent any more


@dataclass(frozen=True, slots=True)
class PhoneView:
    """A number that texted us or was let in."""

    id: str
    number: str
    allowed: bool
    language: str
    opted_out: bool
    created_at: datetime


@dataclass(frozen=True, slots=True)
class DueAnswer:
    """An answer to a phone, claimed and journalled; the caller renders and sends it."""

    ask_id: str
    submission_id: str
    number: str
    language: str
    says: str
    check_id: str | None
    opened_at: datetime


def find(tx: Tx, number: str) -> PhoneView | None:
    row = tx.execute(select(t.phones).where(_p.number_index == tx.index("phone", number))).one_or_none()
    return None if row is None else _view(tx, row)


def allow(tx: Tx, number: str, *, allowed: bool, now: datetime, language: str | None = None) -> PhoneView:
    """Let a number in or shut it out; it is entered if it is new."""
    values: dict[str, Any] = {"allowed": allowed}
    if language is not None:
        values["language"] = language
    index = tx.index("phone", number)
    if not tx.execute(update(t.phones).where(_p.number_index == index).values(**values)).rowcount:
        enter(tx, number, now=now, allowed=allowed, language=language or "id")
    found = find(tx, number)
    assert found is not None
    return found


def enter(tx: Tx, number: str, *, now: datetime, allowed: bool = False, language: str = "id") -> str:
    """A new number's row; its id."""
    phone_id = new_id("pho", now)
    tx.execute(
        insert(t.phones),
        {
            "id": phone_id,
            "created_at": now,
            "number_index": tx.index("phone", number),
            "number_sealed": tx.seal("phones.number", number),
            "allowed": allowed,
            "language": language,
            "opted_out": False,
        },
    )
    return phone_id


def list_phones(tx: Tx, *, limit: int, before: str | None = None) -> list[PhoneView]:
    """Newest first, before an id (the cursor)."""
    query = select(t.phones).order_by(_p.id.desc()).limit(limit)
    if before is not None:
        query = query.where(_p.id < before)
    return [_view(tx, row) for row in tx.execute(query)]


def remove(tx: Tx, number: str) -> None:
    """Forget a number. NotFound."""
    if not tx.execute(delete(t.phones).where(_p.number_index == tx.index("phone", number))).rowcount:
        raise NotFound("This number is not in the list: GET /v1/phones shows it.")


def asks_since(tx: Tx, phone_id: str, since: datetime, says: str | None = None) -> int:
    """How often this number was heard since then: told `says`, or anything but that it asked too often."""
    query = (
        select(func.count()).select_from(t.phone_asks).where(_a.phone_id == phone_id, _a.created_at >= since)
    )
    heard = _a.says == says if says else func.coalesce(_a.says, "") != "limit"
    return int(tx.execute(query.where(heard)).scalar_one())


def add_ask(
    tx: Tx,
    *,
    phone_id: str,
    message_id: str,
    sim_id: str,
    now: datetime,
    check_id: str | None = None,
    says: str | None = None,
) -> str:
    """Enter what a number asked: waiting for its check, or due at once with `format` or `limit`."""
    ask_id = new_id("ask", now)
    due = says is not None
    tx.execute(
        insert(t.phone_asks),
        {
            "id": ask_id,
            "created_at": now,
            "phone_id": phone_id,
            "message_id": message_id,
            "sim_id": sim_id,
            "check_id": check_id,
            "state": "due" if due else "waiting",
            "says": says,
            "due": now if due else None,
        },
    )
    tx.phone_due = tx.phone_due or due
    return ask_id


def claim_answer(tx: Tx, lane: str, fence: int, sim_id: str, price: int, now: datetime) -> DueAnswer | None:
    """Take the oldest due answer of this SIM and journal its submission; a phone answer holds no conversation."""
    row = tx.execute(
        select(t.phone_asks)
        .where(_a.sim_id == sim_id, text("state = 'due'"), _a.due > now - ANSWERS_LIFE)
        .order_by(_a.due, _a.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    ).one_or_none()
    if row is None:
        return None
    phone = tx.execute(select(t.phones).where(_p.id == row.phone_id)).one_or_none()
    if phone is None:
        tx.execute(update(t.phone_asks).where(_a.id == row.id).values(state="refused"))
        return None
    number = tx.unseal("phones.number", phone.number_sealed)
    tx.execute(update(t.phone_asks).where(_a.id == row.id).values(state="submitting"))
    submission_id = new_id("sub", now)
    tx.execute(
        insert(t.submissions),
        {
            "id": submission_id,
            "created_at": now,
            "kind": "phone",
            "phone_ask_id": row.id,
            "sim_id": sim_id,
            "lane": lane,
            "fence": fence,
            "address_sealed": tx.seal("submissions.address", number),
            "address_index": tx.index("address", normalise_address(number)),
            "text_sealed": tx.seal("submissions.text", ""),
            "parts": 1,
            "state": "open",
            "opened_at": now,
            "in_flight": True,
            "cost": price,
        },
    )
    return DueAnswer(row.id, submission_id, number, phone.language, row.says, row.check_id, now)


def settle_answer(
    tx: Tx,
    answer: DueAnswer,
    now: datetime,
    *,
    state: str,
    text_sent: str,
    references: str | None = None,
    code: str | None = None,
) -> None:
    """How the submission of a phone answer ended: `sent`, `refused` or `uncertain` (never sent twice blindly)."""
    tx.execute(
        update(t.submissions)
        .where(_s.id == answer.submission_id)
        .values(
            state=state,
            in_flight=False,
            closed_at=now,
            **({} if state != "refused" else {"cost": 0}),
            tp_references=references,
            error_code=code,
            text_sealed=tx.seal("submissions.text", text_sent),
        )
    )
    tx.execute(
        update(t.phone_asks).where(_a.id == answer.ask_id, _a.state == "submitting").values(state=state)
    )


def postpone_answer(tx: Tx, answer: DueAnswer, now: datetime, code: str) -> None:
    """Surely nothing went out and trying again may help: due again, and stale when it would have been."""
    tx.execute(
        update(t.submissions)
        .where(_s.id == answer.submission_id)
        .values(state="refused", in_flight=False, closed_at=now, error_code=code, cost=0)
    )
    tx.execute(
        update(t.phone_asks).where(_a.id == answer.ask_id, _a.state == "submitting").values(state="due")
    )


def _view(tx: Tx, row: Any) -> PhoneView:
    number = tx.unseal("phones.number", row.number_sealed)
    return PhoneView(row.id, number, row.allowed, row.language, row.opted_out, row.created_at)
