"""What came in: raw TPDUs kept before anything else, messages made of them, and what they are to which question."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import and_, bindparam, or_, select, text, update

from app.domain.identifiers import normalise_address
from app.domain.states import State
from app.store import tables as t
from app.store.engine import Tx, change, new_id
from app.store.questions import add_event, move
from app.store.submissions import WINDOW, end_submission

PARTS_APART = timedelta(minutes=10)  # service-centre times of one message's parts (design, section 4)
CLOCKS_APART = timedelta(minutes=5)  # a report's time of submission may lie so long before ours
CLOCK_SAMPLES = 20  # texts looked at before service-centre times are believed (design, section 4.1, rule 3)

_d = t.tpdus.c
_g = t.messages.c
_a = t.attributions.c
_s = t.submissions.c
_q = t.questions.c


@dataclass(frozen=True, slots=True)
class Kept:
    """A TPDU that is durable; `slot` is where it may still lie on the SIM."""

    id: str
    slot: str | None
    pdu: str
    new: bool = field(compare=False)


@dataclass(frozen=True, slots=True)
class Part:
    """A part of a long message that is here already."""

    tpdu_id: str
    message_id: str
    part: int
    pdu: str
    service_centre_time: datetime | None
    received_at: datetime


@dataclass(frozen=True, slots=True)
class MessageView:
    """A message, unsealed; faces mask it. `questions` are those it was attributed to and its role there."""

    id: str
    lane: str
    sender: str
    text: str
    received_at: datetime
    service_centre_time: datetime | None
    parts: int
    parts_total: int
    state: str
    reason: str | None
    candidates: int
    double_of: str | None
    checks: tuple[tuple[str, str], ...]
    role: str | None


# -- keeping ------------------------------------------------------------------------------------------------------

_IN_SLOT = select(_d.id, _d.raw_index).where(_d.sim_id == bindparam("sim"), _d.slot == bindparam("place"))
_CLEAR = update(t.tpdus).where(_d.id == bindparam("wanted_id")).values(slot=None)


def keep(
    tx: Tx,
    *,
    sim_id: str,
    lane: str,
    found: Sequence[tuple[str | None, str]],
    removed: Sequence[str],
    now: datetime,
) -> list[Kept]:
    """Store raw PDUs as (slot, hex), after noting which were removed since. The same PDU in the slot it was read from, before its
    removal was confirmed, is the same one; anything else is new."""
    clear(tx, removed)
    kept, fresh = [], False
    for slot, pdu in found:
        index = tx.index("tpdu", pdu)
        if slot is not None:
            known = tx.execute(_IN_SLOT, {"sim": sim_id, "place": slot}).all()
            same = next((row.id for row in known if row.raw_index == index), None)
            clear(tx, [row.id for row in known if row.id != same])
            if same is not None:
                kept.append(Kept(same, slot, pdu, False))
                continue
        tpdu_id = new_id("tpd", now)
        tx.add(
            t.tpdus,
            id=tpdu_id,
            created_at=now,
            sim_id=sim_id,
            lane=lane,
            slot=slot,
            raw_sealed=tx.seal("tpdus.raw", pdu),
            raw_index=index,
            received_at=now,
        )
        kept.append(Kept(tpdu_id, slot, pdu, True))
        fresh = True
    if fresh:
        change(tx, t.lanes, lane, last_heard_at=now)
    return kept


def clear(tx: Tx, tpdu_ids: Sequence[str]) -> None:
    """They lie on the SIM no more."""
    for tpdu_id in tpdu_ids:
        tx.put(_CLEAR, {"wanted_id": tpdu_id})


def only_in(tx: Tx, sim_id: str, storages: Collection[str], slots: Sequence[str]) -> None:
    """These storages were read whole: what was noted in any other slot of theirs lies there no more."""
    if storages:
        there = or_(*(_d.slot.startswith(f"{name}:", autoescape=True) for name in sorted(storages)))
        tx.execute(
            update(t.tpdus)
            .where(_d.sim_id == sim_id, text("slot IS NOT NULL"), there, _d.slot.not_in(slots))
            .values(slot=None)
        )


_UNDECIDED = (
    select(_d.id, _d.raw_sealed, _d.received_at)
    .where(_d.sim_id == bindparam("sim"), text("decided_at IS NULL"))
    .order_by(_d.id)
    .limit(200)  # a SIM holds fewer; more than these wait for the next step
)


def undecided(tx: Tx, sim_id: str) -> list[tuple[str, str, datetime]]:
    """TPDUs of this SIM that nobody decided yet, oldest first, whichever process stored them: (id, hex, received at)."""
    rows = tx.execute(_UNDECIDED, {"sim": sim_id})
    return [(row.id, tx.unseal("tpdus.raw", row.raw_sealed), row.received_at) for row in rows]


_STILL_OPEN = select(_d.id).where(_d.id == bindparam("wanted_id"), text("decided_at IS NULL"))
_STILL_OPEN_LOCKED = _STILL_OPEN.with_for_update()


def is_undecided(tx: Tx, tpdu_id: str) -> bool:
    return (
        tx.execute(_STILL_OPEN_LOCKED if tx.postgres else _STILL_OPEN, {"wanted_id": tpdu_id}).first()
        is not None
    )


# -- messages -----------------------------------------------------------------------------------------------------

_DECIDE = (
    update(t.tpdus)
    .where(_d.id == bindparam("wanted_id"))
    .values(
        decided_at=bindparam("moment", type_=t.UtcTime()),
        kind=bindparam("what"),
        sender_index=bindparam("who"),
        service_centre_time=bindparam("stamp", type_=t.UtcTime()),
        message_id=bindparam("message"),
    )
)


def add_message(
    tx: Tx,
    tpdu_id: str,
    *,
    sim_id: str,
    lane: str,
    sender: str,
    body: str,
    stamp: datetime | None,
    received_at: datetime,
    now: datetime,
    state: str = "received",
    reason: str | None = None,
    concat: tuple[int, int, int, int] | None = None,
) -> str:
    """A new message of this TPDU; with `concat` (reference, width, total, part) it waits as `partial` for the others."""
    message_id = new_id("msg", now)
    who = tx.index("address", normalise_address(sender))
    tx.add(
        t.messages,
        id=message_id,
        created_at=now,
        sim_id=sim_id,
        lane=lane,
        sender_sealed=tx.seal("messages.sender", sender),
        sender_index=who,
        text_sealed=tx.seal("messages.text", body),
        text_index=tx.index("text", body),
        parts=1,
        parts_total=concat[2] if concat else 1,
        received_at=received_at,
        service_centre_time=stamp,
        state="partial" if concat else state,
        reason=reason,
        candidates=0,
    )
    _decide_tpdu(tx, tpdu_id, "deliver", who, stamp, message_id, now, concat)
    return message_id


def add_part(
    tx: Tx,
    tpdu_id: str,
    message_id: str,
    *,
    sender: str,
    stamp: datetime | None,
    concat: tuple[int, int, int, int],
    body: str,
    parts: int,
    now: datetime,
) -> None:
    """One more part: the message's text and count so far; `received` when all are here."""
    _decide_tpdu(
        tx, tpdu_id, "deliver", tx.index("address", normalise_address(sender)), stamp, message_id, now, concat
    )
    state = "received" if parts == concat[2] else "partial"
    tx.execute(
        update(t.messages)
        .where(_g.id == message_id)
        .values(
            text_sealed=tx.seal("messages.text", body), text_index=tx.index("text", body), parts=parts, state=state,
            received_at=now,
        )
    )  # fmt: skip


def _decide_tpdu(
    tx: Tx,
    tpdu_id: str,
    kind: str,
    who: bytes | None,
    stamp: datetime | None,
    message_id: str | None,
    now: datetime,
    concat: tuple[int, int, int, int] | None = None,
) -> None:
    tx.put(
        _DECIDE,
        {
            "wanted_id": tpdu_id,
            "moment": now,
            "what": kind,
            "who": who,
            "stamp": stamp,
            "message": message_id,
        },
    )
    if concat is not None:
        reference, width, total, part = concat
        tx.execute(
            update(t.tpdus)
            .where(_d.id == tpdu_id)
            .values(concat_reference=reference, concat_width=width, concat_total=total, concat_part=part)
        )


def parts_here(
    tx: Tx, sim_id: str, sender: str, concat: tuple[int, int, int, int], stamp: datetime | None, now: datetime
) -> list[Part]:
    """Parts of still partial messages that this one may join, by SIM, sender, reference, width, total and time; oldest first."""
    reference, width, total, _ = concat
    rows = tx.execute(
        select(_d.id, _d.message_id, _d.concat_part, _d.raw_sealed, _d.service_centre_time, _d.received_at)
        .join_from(t.tpdus, t.messages, _d.message_id == _g.id)
        .where(
            _d.sim_id == sim_id,
            _d.sender_index == tx.index("address", normalise_address(sender)),
            _d.concat_reference == reference,
            text("concat_reference IS NOT NULL"),
            _d.concat_width == width,
            _d.concat_total == total,
            _g.state == "partial",
        )
        .order_by(_d.id)
    )
    return [
        Part(
            row.id,
            row.message_id,
            row.concat_part,
            tx.unseal("tpdus.raw", row.raw_sealed),
            row.service_centre_time,
            row.received_at,
        )
        for row in rows
        if abs((stamp or now) - (row.service_centre_time or row.received_at)) <= PARTS_APART
    ]


def add_undecodable(
    tx: Tx, tpdu_id: str, *, sim_id: str, lane: str, error: str, received_at: datetime, now: datetime
) -> None:
    """A PDU that no standard explains: kept raw, listed as such, hinders nobody."""
    message_id = add_message(
        tx, tpdu_id, sim_id=sim_id, lane=lane, sender="", body="", stamp=None, received_at=received_at, now=now,
        state="undecodable", reason="undecodable",
    )  # fmt: skip
    tx.execute(
        update(t.tpdus).where(_d.id == tpdu_id).values(kind="undecodable", error=error, message_id=message_id)
    )


def add_foreign(tx: Tx, tpdu_id: str, *, sim_id: str, lane: str, now: datetime) -> None:
    """It lay in a stick's own memory when another SIM was in: kept raw, nobody's."""
    message_id = add_message(
        tx, tpdu_id, sim_id=sim_id, lane=lane, sender="", body="", stamp=None, received_at=now, now=now,
        state="foreign", reason="foreign_memory",
    )  # fmt: skip
    tx.execute(update(t.tpdus).where(_d.id == tpdu_id).values(kind="foreign", message_id=message_id))


def add_outgoing(tx: Tx, tpdu_id: str, now: datetime) -> None:
    """An outgoing message that another program left on the SIM: kept, nobody's."""
    _decide_tpdu(tx, tpdu_id, "submit", None, None, None, now)


def set_message(
    tx: Tx, message_id: str, state: str, *, reason: str | None = None, candidates: int = 0
) -> None:
    change(tx, t.messages, message_id, state=state, reason=reason, candidates=candidates)


def unmatched(tx: Tx, message_id: str, lane: str, now: datetime, *, reason: str, candidates: int) -> None:
    """It stays in the inbox for a person to look at."""
    set_message(tx, message_id, "unmatched", reason=reason, candidates=candidates)
    add_event(tx, "message.unmatched", now, lane=lane, data={"message": message_id, "reason": reason})


# -- the service centre's clock -----------------------------------------------------------------------------------


_AHEAD = select(t.sims.c.centre_ahead).where(t.sims.c.id == bindparam("sim"))
_DELAYS = (
    select(_g.received_at, _g.service_centre_time)
    .where(_g.sim_id == bindparam("sim"), _g.service_centre_time.is_not(None))
    .order_by(_g.id.desc())
    .limit(CLOCK_SAMPLES)
)


def learn_centre(tx: Tx, sim_id: str, stamp: datetime | None, received_at: datetime) -> timedelta:
    """By how much the service centre's clock is known to be ahead: the greatest stamp − arrival seen on this SIM, this one too."""
    known = tx.execute(_AHEAD, {"sim": sim_id}).scalar()
    ahead = None if stamp is None else (stamp - received_at) // t.MICROSECOND
    absurd = stamp is not None and abs(stamp - received_at) > WINDOW  # one of the two clocks was not set
    if ahead is not None and not absurd and (known is None or ahead > known):
        change(tx, t.sims, sim_id, centre_ahead=ahead)
        known = ahead
    return timedelta(microseconds=known or 0)


def recent_delays(tx: Tx, sim_id: str, ahead: timedelta) -> list[timedelta]:
    """How late the last texts of this SIM came by their own stamps, corrected by `ahead`; newest first."""
    return [
        row.received_at - (row.service_centre_time - ahead) for row in tx.execute(_DELAYS, {"sim": sim_id})
    ]


# -- status reports -----------------------------------------------------------------------------------------------

_MATCH_REPORT = (
    select(_s.id, _s.question_id, _s.kind, _s.state, _s.tp_references, _s.opened_at)
    .where(
        _s.sim_id == bindparam("sim"),
        _s.address_index == bindparam("who"),
        _s.opened_at > bindparam("since", type_=t.UtcTime()),
        _s.state != "refused",
    )
    .order_by(_s.opened_at.desc())
)


@dataclass(frozen=True, slots=True)
class Reported:
    """The submission that a status report belongs to: surely, or only by being the one that lacks a word."""

    submission_id: str
    question_id: str | None
    certain: bool


def keep_report(
    tx: Tx,
    tpdu_id: str,
    *,
    sim_id: str,
    address: str,
    reference: int,
    status: int,
    stamp: datetime | None,
    now: datetime,
) -> Reported | None:
    """Decide a status report: the newest submission of this SIM to this address with this TP-MR, else the only one that is
    uncertain and has none (certain if it was submitted no earlier than we asked). None is no fault: it is looked at again when its +CMGS comes."""
    who = tx.index("address", normalise_address(address))
    rows = tx.execute(_MATCH_REPORT, {"sim": sim_id, "who": who, "since": now - WINDOW}).all()
    exact = [row for row in rows if str(reference) in (row.tp_references or "").split(",")]
    unsure = [row for row in rows if row.state == "uncertain" and not row.tp_references]
    best = exact[0] if exact else unsure[0] if len(unsure) == 1 else None
    _decide_tpdu(tx, tpdu_id, "report", who, stamp, None, now)
    tx.execute(
        update(t.tpdus)
        .where(_d.id == tpdu_id)
        .values(tp_reference=reference, tp_status=status, submission_id=best.id if best else None)
    )
    if best is None:
        return None
    certain = bool(exact) or (stamp is not None and stamp >= best.opened_at - CLOCKS_APART)
    return Reported(best.id, best.question_id, certain)


def early_report(
    tx: Tx, sim_id: str, submission_id: str, references: Sequence[int], opened_at: datetime
) -> int | None:
    """The TP-ST of a report that came before its +CMGS, which it now gets; None if there is none."""
    who = tx.execute(select(_s.address_index).where(_s.id == submission_id)).scalar_one()
    row = tx.execute(
        select(_d.id, _d.tp_status)
        .where(
            _d.sim_id == sim_id,
            _d.tp_reference.in_(references),
            text("kind = 'report' AND submission_id IS NULL"),
            _d.sender_index == who,
            _d.received_at >= opened_at,
        )
        .order_by(_d.id.desc())
        .limit(1)
    ).first()
    if row is None:
        return None
    tx.execute(update(t.tpdus).where(_d.id == row.id).values(submission_id=submission_id))
    return int(row.tp_status)


def _still_in_flight(tx: Tx, submission_id: str) -> bool:
    """Only then a report of it says something about its question, which may have been asked again since."""
    return bool(tx.execute(select(_s.in_flight).where(_s.id == submission_id)).scalar())


def delivered(tx: Tx, reported: Reported, now: datetime, by: str) -> None:
    """The network delivered it: an uncertain question surely went out and waits for its reply.

    Of several parts with one in doubt, a part that is known to have gone says nothing of that one.
    """
    whole = tx.execute(
        update(t.submissions)
        .where(
            _s.id == reported.submission_id,
            or_(_s.state == "sent", and_(_s.state == "uncertain", _s.tp_references.is_(None))),
        )
        .values(state="delivered")
    ).rowcount
    if whole and reported.question_id and _still_in_flight(tx, reported.submission_id):
        move(
            tx,
            reported.question_id,
            {State.UNCERTAIN},
            State.AWAITING_REPLY,
            now=now,
            by=by,
            why="status report: delivered",
        )


def undelivered(tx: Tx, reported: Reported, status: int, now: datetime, by: str) -> None:
    """The network gave up for good (TP-ST 0x40 to 0x7F): the question fails; its hold stays until `late`."""
    if not _still_in_flight(tx, reported.submission_id):
        tx.execute(update(t.submissions).where(_s.id == reported.submission_id).values(state="undelivered"))
        return
    end_submission(tx, reported.submission_id, ended="undelivered", held_until=None, state="undelivered")
    if reported.question_id:
        move(
            tx, reported.question_id, {State.UNCERTAIN, State.AWAITING_REPLY}, State.FAILED, now=now, by=by,
            why="undelivered", deadline=None, error_code="undelivered", error_blame="network",
            error_detail=f"The network could not deliver the message to the service (TP-ST {status:#04x}).",
        )  # fmt: skip


# -- for faces ----------------------------------------------------------------------------------------------------


def list_messages(
    tx: Tx, *, limit: int, before: str | None = None, states: Sequence[str] = (), lane: str | None = None
) -> list[MessageView]:
    """Every message, newest first, before an id (the cursor)."""
    query = select(t.messages).order_by(_g.id.desc()).limit(limit)
    if before is not None:
        query = query.where(_g.id < before)
    if states:
        query = query.where(_g.state.in_(states))
    if lane is not None:
        query = query.where(_g.lane == lane)
    rows = tx.execute(query).all()
    linked: dict[str, list[Any]] = {}
    c = t.checks.c
    for link in tx.execute(
        select(_a.message_id, _a.role, c.id, c.client)
        .join_from(t.attributions, t.checks, and_(_a.question_id == c.question_id))
        .where(_a.message_id.in_([row.id for row in rows]), _a.detached_at.is_(None))
        .order_by(_a.id, c.id)
    ):
        linked.setdefault(link.message_id, []).append(link)
    return [
        MessageView(
            id=row.id, lane=row.lane, sender=tx.unseal("messages.sender", row.sender_sealed),
            text=tx.unseal("messages.text", row.text_sealed), received_at=row.received_at,
            service_centre_time=row.service_centre_time, parts=row.parts, parts_total=row.parts_total, state=row.state,
            reason=row.reason, candidates=row.candidates, double_of=row.double_of,
            checks=tuple((link.id, link.client) for link in linked.get(row.id, ())),
            role=linked[row.id][0].role if row.id in linked else None,
        )
        for row in rows
    ]  # fmt: skip
