"""What the tests of the store play with: two services, lanes with a SIM each, and the steps of a lane as it takes them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select

from app.domain.states import Outcome, Role, State
from app.store import inbox, lanes, questions, replies, submissions
from app.store import tables as t
from app.store.engine import Store, Tx
from app.store.events import read_feed
from app.store.questions import Accepted, Ask
from app.store.submissions import Claimed, Servable

CLIENT = "payroll"
PROCESS = "prc_one"


def served(name: str, conversation: str, *, price: int = 350) -> Servable:
    return Servable(
        name=name,
        conversation=conversation,
        address=conversation,
        timeout=timedelta(minutes=5),
        late=timedelta(hours=1),
        price=price,
        text=lambda fields: f"ASK#{fields['number']}#",
    )


BALANCE = served("bpjstk-balance", "2757")
STATUS = served("bpjskes-status", "087775500400", price=400)
SERVICES = (BALANCE, STATUS)


def ask(number: int, service: Servable = BALANCE) -> Ask:
    """What is asked about an impossible card; equal numbers ask exactly the same."""
    card = f"99{number:09d}"
    return Ask(service.name, service.conversation, {"number": card}, card, "kpj", card)


def accept(store: Store, now: datetime, *numbers: int, **more: Any) -> list[Accepted]:
    service = more.pop("service", BALANCE)
    asks = [ask(number, service) for number in numbers]
    more = {"client": CLIENT, "origin": "http", **more}
    return store.write(lambda tx: questions.accept(tx, asks, now=now, **more))


def accept_one(store: Store, now: datetime, number: int = 1, **more: Any) -> Accepted:
    (only,) = accept(store, now, number, **more)
    return only


@dataclass(frozen=True, slots=True)
class Lane:
    name: str
    fence: int
    sim_id: str


def open_lane(
    store: Store,
    now: datetime,
    name: str = "xl-1",
    *,
    iccid: str = "",
    process: str = PROCESS,
    pace: timedelta = timedelta(0),
    per_hour: int = 0,
    per_day: int = 0,
) -> Lane:
    """Register, take and connect a lane, as its worker does when its port opens; its process is entered if it is new."""
    spec = lanes.LaneSpec(name, f"simulated://{name}", pace, per_hour, per_day)

    def work(tx: Tx) -> Lane:
        if tx.execute(select(t.processes.c.id).where(t.processes.c.id == process)).first() is None:
            lanes.begin_process(tx, process, "host", now)
        lanes.renew_lease(tx, process, now)
        lanes.register(tx, [spec], now)
        fence = lanes.take(tx, name, process, now)
        assert fence is not None
        return Lane(name, fence, _connect(tx, name, fence, iccid or f"8999 {name}", now))

    return store.write(work)


def _connect(tx: Tx, name: str, fence: int, iccid: str, now: datetime) -> str:
    sim_id, _ = lanes.connect(
        tx, name, fence, now, iccid=iccid, imsi=None, own_number=None, operator="xl", imei=None, maker=None,
        model=None, firmware=None,
    )  # fmt: skip
    return sim_id


def claim(
    store: Store, lane: Lane, now: datetime, services: Sequence[Servable] = SERVICES
) -> Claimed | datetime | None:
    """A lane's claim: its budget, then the queue. A time: from then on its budget allows one."""

    def work(tx: Tx) -> Claimed | datetime | None:
        budget = lanes.budget(tx, lane.name, lane.fence, now)
        if budget.next_send_at is not None:
            return budget.next_send_at
        if budget.paused:
            return None
        claimed = submissions.claim(tx, lane.name, lane.fence, lane.sim_id, services, now)
        if claimed is not None:
            lanes.spend(tx, lane.name, budget.pace, now)
        return claimed

    return store.write(work)


def claim_one(store: Store, lane: Lane, now: datetime) -> Claimed:
    claimed = claim(store, lane, now)
    assert isinstance(claimed, Claimed)
    return claimed


def mark_sent(store: Store, claimed: Claimed, now: datetime, reference: int = 7) -> None:
    store.write(
        lambda tx: submissions.sent(
            tx, claimed.submission_id, claimed.question_id, [reference], now=now, by="lane"
        )
    )


def mark_refused(store: Store, claimed: Claimed, now: datetime, *, retryable: bool) -> None:
    store.write(
        lambda tx: submissions.refused(
            tx, claimed, now=now, by="lane", code="cms_500", blame="modem", detail="It said no. Try again.",
            retryable=retryable,
        )
    )  # fmt: skip


def mark_unsure(store: Store, claimed: Claimed, now: datetime) -> None:
    store.write(
        lambda tx: submissions.maybe_sent(
            tx, claimed.submission_id, claimed.question_id, now=now, by="lane", why="silence"
        )
    )


def sent_question(store: Store, lane: Lane, now: datetime, number: int = 1, reference: int = 7) -> Claimed:
    """A question about this card, on the air from this lane."""
    accept_one(store, now, number)
    claimed = claim_one(store, lane, now)
    mark_sent(store, claimed, now, reference)
    return claimed


def receive(store: Store, lane: Lane, now: datetime, body: str = "a text", sender: str = "2757") -> str:
    """A whole message, kept and decided; nobody's yet."""

    def work(tx: Tx) -> str:
        lanes.lock(tx, lane.name, lane.fence)
        (kept,) = inbox.keep(
            tx, sim_id=lane.sim_id, lane=lane.name, found=[(None, body.encode().hex())], removed=[], now=now
        )
        return inbox.add_message(
            tx, kept.id, sim_id=lane.sim_id, lane=lane.name, sender=sender, body=body, stamp=None,
            received_at=now, now=now,
        )  # fmt: skip

    return store.write(work)


def attribute(
    store: Store, message_id: str, question_id: str, role: Role, now: datetime, evidence: str = "sole"
) -> None:
    store.write(
        lambda tx: replies.attribute(
            tx, message_id, question_id, role, evidence=evidence, by="gateway", now=now
        )
    )


def answer(
    store: Store,
    lane: Lane,
    claimed: Claimed,
    now: datetime,
    *,
    body: str = "Saldo Rp 1.000",
    outcome: Outcome = Outcome.FOUND,
    evidence: str = "echo",
    held: timedelta = timedelta(0),
    record: Mapping[str, Any] | None = None,
) -> str:
    """The answer came to this lane's SIM and was given to the claimed question, as reception does; the message's id."""
    message_id = receive(store, lane, now, body)

    def work(tx: Tx) -> None:
        before = tx.execute(select(t.questions.c.state).where(t.questions.c.id == claimed.question_id))
        amends = before.scalar_one() == "answered"
        role = Role.AMENDMENT if amends else Role.ANSWER
        replies.attribute(tx, message_id, claimed.question_id, role, evidence=evidence, by="gateway", now=now)
        replies.answer(
            tx, claimed.question_id, outcome=outcome, record=record or {"balance": 1000}, evidence=evidence,
            late=False, now=now, by="gateway", amends=amends,
        )  # fmt: skip
        submissions.end_submission(tx, claimed.submission_id, ended=evidence, held_until=now + held)

    store.write(work)
    return message_id


def time_out(store: Store, claimed: Claimed, now: datetime, *, again_at: datetime | None = None) -> None:
    """Its deadline passed without a reply: no reply, or asked again from `again_at` on. The hold stays as it was."""

    def work(tx: Tx) -> None:
        submissions.end_submission(tx, claimed.submission_id, ended="timeout", held_until=None)
        target = State.NO_REPLY if again_at is None else State.QUEUED
        questions.move(
            tx, claimed.question_id, {State.UNCERTAIN, State.AWAITING_REPLY}, target, now=now, by="gateway",
            why="no reply", deadline=None, not_before=again_at,
        )  # fmt: skip

    store.write(work)


def keep_house(store: Store, now: datetime) -> int:
    """What the housekeeper does to the queue."""
    return store.write(lambda tx: questions.expire_due(tx, now))


# -- looking ------------------------------------------------------------------------------------------------------


def rows(store: Store, table: Any, *conditions: Any) -> list[Any]:
    """Rows as they are, by primary key."""
    query = select(table).where(*conditions).order_by(*table.primary_key.columns)
    return store.read(lambda tx: list(tx.execute(query).all()))


def question(store: Store, question_id: str) -> Any:
    (row,) = rows(store, t.questions, t.questions.c.id == question_id)
    return row


def submission(store: Store, submission_id: str) -> Any:
    (row,) = rows(store, t.submissions, t.submissions.c.id == submission_id)
    return row


def history(store: Store, question_id: str) -> list[str]:
    """The states it went through, queued first."""
    moves = rows(store, t.moves, t.moves.c.question_id == question_id)
    return ["queued", *(row.to_state for row in moves)]


def events_of(store: Store, check_id: str) -> list[str]:
    """Kinds of events of a check, in the feed's order."""
    return [event.kind for event in read_feed(store, 0, 10_000) if event.check_id == check_id]
