"""From a kept TPDU to a message, an attribution and an answer: what one SIM received, decided in one commit each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal, Protocol

import structlog

from app.domain.attribution import Candidate, Decision, decide, hold_after
from app.domain.errors import Unavailable
from app.domain.reading import Reading, read
from app.domain.services import Catalogue, Service
from app.domain.states import Outcome, Role, State
from app.store import inbox, lanes, loops, replies
from app.store.engine import Store, Tx
from app.store.phones import DueAnswer
from app.store.questions import move
from app.store.submissions import any_opened, end_submission
from modem import Deliver, PduError, StatusReport, decode, join, report_outcome

TOGETHER = timedelta(
    seconds=5
)  # service-centre times of parts that were sent as one text, one right after the other
OLD = timedelta(
    minutes=5
)  # a text stamped so long before a question cannot answer it (design, section 4.1, rule 3)
OLD_LIMIT = 3  # of the last 20 texts: then the centre's clock is not believed (design, section 4.1, rule 3)

_SILENT = "The service did not answer in time. A late answer is still taken; asking again costs another SMS."
_UNSURE = (
    "No answer came, and it is not sure that the message went out at all: the modem gave no word. It was not sent again. "
    "A late answer is still taken; asking again may cost another SMS."
)

log = structlog.get_logger()


class Desk(Protocol):
    """Who speaks with people's phones: takes their texts within the message's own transaction, words their answers."""

    def take(
        self, tx: Tx, *, message_id: str, sender: str, body: str, sim_id: str, now: datetime
    ) -> str | None:
        """What was made of it, if this text is a phone's (`asked`, `format`, `limit`, `silent`, `not_let_in`); else None."""
        ...

    def words(self, tx: Tx, answer: DueAnswer, now: datetime) -> str:
        """The one SMS that this answer is: at most 160 GSM-7 characters."""
        ...


@dataclass(frozen=True, slots=True)
class Place:
    """Where TPDUs came in: a lane under its fence, with its SIM."""

    lane: str
    fence: int
    sim_id: str


class Reception:
    """Decides what came in on one place. Total: a PDU that cannot be decided is logged, left for later and hinders nobody."""

    def __init__(self, store: Store, catalogue: Catalogue, desk: Desk | None = None) -> None:
        self._store = store
        self._catalogue = catalogue
        self._desk = desk
        self._stuck: set[str] = set()

    def take_in(
        self, place: Place, keep: Callable[[Tx], list[inbox.Kept]], now: datetime
    ) -> list[inbox.Kept]:
        """Keep raw TPDUs and decide the new ones in the same commit; where deciding fails they are kept all the same."""

        def both(tx: Tx) -> list[inbox.Kept]:
            kept = keep(tx)
            for row in kept:
                if row.new:
                    self._decide(tx, place, row.id, row.pdu, now, now)
            return kept

        try:
            return self._store.write(both)
        except (lanes.LaneLost, Unavailable):
            raise
        except Exception:
            kept = self._store.write(keep)
            self.decide_left(place, now)
            return kept

    def decide_left(self, place: Place, now: datetime) -> int:
        """Decide what was kept, by whichever process, and not decided: one by one, in the order of arrival; how many."""
        waiting = self._store.read(lambda tx: inbox.undecided(tx, place.sim_id))
        waiting = [row for row in waiting if row[0] not in self._stuck]
        for row in waiting:
            self._alone(place, row, now)
        return len(waiting)

    def _alone(self, place: Place, row: tuple[str, str, datetime], now: datetime) -> None:
        def one(tx: Tx) -> None:
            lanes.lock(tx, place.lane, place.fence)
            if inbox.is_undecided(tx, row[0]):
                self._decide(tx, place, *row, now)

        try:
            self._store.write(one)
        except (lanes.LaneLost, Unavailable):
            raise
        except Exception:
            self._stuck.add(row[0])
            log.exception("a kept TPDU could not be decided", lane=place.lane, tpdu=row[0])

    def _decide(
        self, tx: Tx, place: Place, tpdu_id: str, pdu: str, received_at: datetime, now: datetime
    ) -> None:
        try:
            found = decode(pdu)
        except PduError as error:
            inbox.add_undecodable(
                tx,
                tpdu_id,
                sim_id=place.sim_id,
                lane=place.lane,
                error=str(error),
                received_at=received_at,
                now=now,
            )
            return
        if isinstance(found, StatusReport):
            self._report(tx, place, tpdu_id, found, now)
        elif isinstance(found, Deliver):
            self._deliver(tx, place, tpdu_id, found, received_at, now)
        else:
            inbox.add_outgoing(tx, tpdu_id, now)

    # -- status reports -------------------------------------------------------------------------------------------

    def _report(self, tx: Tx, place: Place, tpdu_id: str, report: StatusReport, now: datetime) -> None:
        reported = inbox.keep_report(
            tx,
            tpdu_id,
            sim_id=place.sim_id,
            address=report.address,
            reference=report.reference,
            status=report.status,
            stamp=report.service_centre_time,
            now=now,
        )
        if reported is not None:
            settle_report(tx, reported, report.status, now)

    # -- texts ----------------------------------------------------------------------------------------------------

    def _deliver(
        self, tx: Tx, place: Place, tpdu_id: str, deliver: Deliver, received_at: datetime, now: datetime
    ) -> None:
        stamp, sender, body = deliver.service_centre_time, deliver.sender, deliver.text
        if deliver.concat is not None and deliver.concat.total > 1:
            concat = (
                deliver.concat.reference,
                deliver.concat.width,
                deliver.concat.total,
                deliver.concat.part,
            )
            joined = self._join(tx, place, tpdu_id, deliver, concat, received_at, now)
            if joined is None:
                return
            message_id, body = joined
        else:
            message_id = inbox.add_message(
                tx,
                tpdu_id,
                sim_id=place.sim_id,
                lane=place.lane,
                sender=sender,
                body=body,
                stamp=stamp,
                received_at=received_at,
                now=now,
            )
        self._attribute(tx, place, message_id, sender, body, stamp, received_at, now)

    def _asked_between(
        self,
        tx: Tx,
        place: Place,
        sender: str,
        row: inbox.Part,
        stamp: datetime | None,
        received_at: datetime,
    ) -> bool:
        """True if another question went out after that part came and before this one, and the two were not sent together."""
        known = stamp is not None and row.service_centre_time is not None
        if known and _apart(row.service_centre_time, stamp) <= TOGETHER:
            return False
        conversation = self._catalogue.conversation_of(sender)
        return conversation is not None and any_opened(
            tx, place.sim_id, conversation, row.received_at, received_at
        )

    def _join(
        self,
        tx: Tx,
        place: Place,
        tpdu_id: str,
        deliver: Deliver,
        concat: tuple[int, int, int, int],
        received_at: datetime,
        now: datetime,
    ) -> tuple[str, str] | None:
        """Put a part to its message: the message and its whole text once all are here, else None."""
        stamp, sender, part = deliver.service_centre_time, deliver.sender, concat[3]
        here = inbox.parts_here(tx, place.sim_id, sender, concat, stamp, now)
        # References are used again soon: of several messages it may belong to, the one sent at about the same time.
        here.sort(key=lambda row: _apart(row.service_centre_time, stamp))
        for message_id in dict.fromkeys(row.message_id for row in here):
            rows = [row for row in here if row.message_id == message_id]
            parts = {row.part: _part(row.pdu) for row in rows}
            if parts.get(part, deliver).text != deliver.text:
                continue  # the reference was used again: this part begins another message
            if any(self._asked_between(tx, place, sender, row, stamp, received_at) for row in rows):
                continue  # it may be of the next answer, with the same reference
            parts[part] = deliver
            body = join([parts[number] for number in sorted(parts)])
            inbox.add_part(
                tx,
                tpdu_id,
                message_id,
                sender=sender,
                stamp=stamp,
                concat=concat,
                body=body,
                parts=len(parts),
                now=now,
            )
            return (message_id, body) if len(parts) == concat[2] else None
        inbox.add_message(
            tx,
            tpdu_id,
            sim_id=place.sim_id,
            lane=place.lane,
            sender=sender,
            body=deliver.text,
            stamp=stamp,
            received_at=received_at,
            now=now,
            concat=concat,
        )
        return None

    def _attribute(
        self,
        tx: Tx,
        place: Place,
        message_id: str,
        sender: str,
        body: str,
        stamp: datetime | None,
        received_at: datetime,
        now: datetime,
    ) -> None:
        conversation = self._catalogue.conversation_of(sender)
        if conversation is None:
            if loops.came_back(
                tx,
                message_id,
                sim_id=place.sim_id,
                sender=sender,
                body=body,
                stamp=stamp,
                received_at=received_at,
            ):
                inbox.set_message(tx, message_id, "phone", reason="loop")
                return
            taken = self._desk and self._desk.take(
                tx, message_id=message_id, sender=sender, body=body, sim_id=place.sim_id, now=now
            )
            if taken:
                inbox.set_message(tx, message_id, "phone", reason=taken)
            else:
                inbox.unmatched(tx, message_id, place.lane, now, reason="unknown_sender", candidates=0)
            return
        services = {s.name: s for s in self._catalogue.conversations[conversation]}
        readings = {name: read(service, body) for name, service in services.items()}
        named = next(iter(readings.values())).names
        asked = replies.asked(
            tx,
            sim_id=place.sim_id,
            conversation=conversation,
            subjects=[
                (str(kind), found.value) for found in named if not found.masked for kind in found.kinds
            ],
            any_subject=any(found.masked for found in named),
            body=body,
            now=now,
        )
        asked = [row for row in asked if row.service in services]
        ahead = inbox.learn_centre(tx, place.sim_id, stamp, received_at)
        candidates = [_candidate(row, services) for row in asked]
        centre = None
        if stamp is not None and any(c.opened_at > stamp - ahead + OLD for c in candidates):
            # It looks older than a candidate: believed only while not too many of this SIM's texts look old.
            old = sum(delay > OLD for delay in inbox.recent_delays(tx, place.sim_id, ahead))
            centre = stamp - ahead if old < OLD_LIMIT else None
        decision = decide(readings, body, centre, candidates, services, now)
        self._apply(tx, place, message_id, decision, readings, asked, services, now)

    def _apply(
        self,
        tx: Tx,
        place: Place,
        message_id: str,
        decision: Decision,
        readings: Mapping[str, Reading],
        asked: Sequence[replies.Asked],
        services: Mapping[str, Service],
        now: datetime,
    ) -> None:
        row = next((a for a in asked if a.submission_id == decision.submission_id), None)
        if decision.kind == "unmatched" or row is None:
            if decision.withdraw and row is not None:
                replies.withdraw(
                    tx,
                    row.question_id,
                    place.lane,
                    now=now,
                    by="gateway",
                    why=decision.reason or "contradiction",
                )
            inbox.unmatched(
                tx,
                message_id,
                place.lane,
                now,
                reason=decision.reason or "unsolicited",
                candidates=decision.candidates,
            )
            if row is not None and decision.end_hold_after is not None and not row.in_flight:
                end_submission(
                    tx, row.submission_id, ended="timeout", held_until=now + decision.end_hold_after
                )
            return
        role = Role(decision.kind)
        evidence = decision.evidence or "sole"
        replies.attribute(tx, message_id, row.question_id, role, evidence=evidence, by="gateway", now=now)
        reading = readings[row.service]
        if role is Role.DOUBLE:
            replies.double(tx, message_id, row.answer_message)
        if role not in (Role.ANSWER, Role.AMENDMENT):
            return
        replies.answer(
            tx,
            row.question_id,
            outcome=reading.outcome,
            record=reading.record,
            evidence=evidence,
            late=decision.late and role is Role.ANSWER,
            amends=role is Role.AMENDMENT,
            now=now,
            by="gateway",
        )
        if decision.end_hold_after is not None:
            end_submission(tx, row.submission_id, ended=evidence, held_until=now + decision.end_hold_after)

    # -- deadlines ------------------------------------------------------------------------------------------------

    def deadlines(self, place: Place, read_at: datetime, now: datetime) -> int:
        """End what waited to its deadline while the inbox was being read (design, section 4.1, rule 6); how many."""

        def end(tx: Tx) -> int:
            lanes.lock(tx, place.lane, place.fence)
            due = replies.due(tx, place.sim_id, read_at)
            for row in due:
                self._timed_out(tx, row, now)
            return len(due)

        return self._store.write(end)

    def _timed_out(self, tx: Tx, row: replies.Due, now: datetime) -> None:
        service = next((s for s in self._catalogue if s.name == row.service), None)
        if Role.NOTE in row.roles:
            self._release(tx, row, service, "note", now)
            replies.answer(
                tx, row.question_id, outcome=Outcome.UNRECOGNISED, record={}, evidence="note", late=False, now=now,
                by="gateway",
            )  # fmt: skip
            return
        self._release(tx, row, service, "no_reply", now)
        on_air = {State.UNCERTAIN, State.AWAITING_REPLY}
        if service and not row.roles and row.attempts <= service.timing.ask_again:
            move(
                tx, row.question_id, on_air, State.QUEUED, now=now, by="gateway", why="no reply: asked again",
                not_before=row.held_until or now, lane=None, deadline=None,
            )  # fmt: skip
            return
        unsure = row.state is State.UNCERTAIN
        move(
            tx, row.question_id, on_air, State.NO_REPLY, now=now, by="gateway",
            why="interim only" if Role.INTERIM in row.roles else "the deadline passed",
            outcome=Outcome.INTERIM.value if Role.INTERIM in row.roles else None,
            error_code="no_reply", error_blame="network" if unsure else "service",
            error_detail=_UNSURE if unsure else _SILENT,
        )  # fmt: skip

    def _release(
        self,
        tx: Tx,
        row: replies.Due,
        service: Service | None,
        ended: Literal["note", "no_reply"],
        now: datetime,
    ) -> None:
        """The hold until `late` is kept as it is: every gap in reading has moved it. So it is where a service's file is gone."""
        until = None
        if service is not None and (ended == "note" or service.echo == "always"):
            until = now + hold_after(ended, service, opened_at=row.opened_at, now=now)
        end_submission(
            tx, row.submission_id, ended="note" if ended == "note" else "timeout", held_until=until
        )


def settle_report(tx: Tx, reported: inbox.Reported, status: int, now: datetime) -> None:
    """What a status report says of its submission: delivered, given up for good, or nothing yet (3GPP TS 23.040 §9.2.3.15).

    One that is only likely to be this submission's fails nothing.
    """
    outcome = report_outcome(status)
    if outcome == "delivered":
        inbox.delivered(tx, reported, now, "network")
    elif outcome == "failed" and reported.certain:
        inbox.undelivered(tx, reported, status, now, "network")


def _candidate(row: replies.Asked, services: Mapping[str, Service]) -> Candidate:
    field = services[row.service].subject_field
    return Candidate(
        submission_id=row.submission_id,
        question_id=row.question_id,
        service=row.service,
        subject=row.fields[field.name],
        subject_kind=field.kind,
        opened_at=row.opened_at,
        in_flight=row.in_flight,
        held=row.held,
        answered=row.state is State.ANSWERED,
        evidence=row.evidence,
        answered_at=row.answered_at,
        answer_text=row.answer_text,
        outcome=row.outcome,
    )


def _apart(one: datetime | None, other: datetime | None) -> timedelta:
    return abs(one - other) if one is not None and other is not None else timedelta(0)


def _part(pdu: str) -> Deliver:
    part = decode(pdu)
    assert isinstance(part, Deliver)  # only such become parts
    return part
