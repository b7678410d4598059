"""Every decision of the gateway as it is made, compared with the rules' verdict on the same text."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from foreign_world_rules import Asked, Clocked, Verdict, judge
from foreign_world_words import SERVICES, Said
from lanes_playing import Stage
from sqlalchemy import select

from app.store import tables as t
from app.store.submissions import WINDOW
from modem.pdu import decode

SPOOFER = "+628990000077"


@dataclass(frozen=True, slots=True)
class Sent:
    """One text that the world sent to a SIM; `serial` is the service centre's number in each of its TPDUs."""

    serial: int
    sim: str
    sender: str
    said: Said
    parts: int
    at: datetime


@dataclass(slots=True)
class Counted:
    """What a run counted; `findings` must stay empty, `wrong` holds what the rules themselves could not prevent."""

    findings: list[str] = field(default_factory=list)
    wrong: dict[tuple[str, str, str], list[str]] = field(default_factory=lambda: defaultdict(list))
    answers: Counter[tuple[str, str]] = field(default_factory=Counter)
    tally: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)


class Watch:
    """Looks at the tables before and after each step of a lane. `sent` is the world's truth by serial."""

    def __init__(self, stage: Stage, sent: Mapping[int, Sent], counted: Counted) -> None:
        self.stage, self.sent, self.counted = stage, sent, counted
        self._parts: dict[str, set[int]] = defaultdict(set)
        self._cards: dict[str, str] = {}
        self._sims: dict[str, str] = {}

    def before(self, name: str) -> Any:
        """How the questions of the SIM stand, if there is anything to read."""
        dongle = self.stage.dongles[name]
        if not dongle.plugged or not (dongle.sim.storage.slots or dongle.me.slots):
            return None
        return self.stage.store.read(lambda tx: self._state(tx, name))

    def _state(self, tx: Any, name: str) -> Any:
        s, q = t.submissions.c, t.questions.c
        sim_id = self._sim(tx, self.stage.dongles[name].sim.own_number)
        now = self.stage.clock.now
        last, ahead = tx.execute(
            select(t.sims.c.last_read_at, t.sims.c.centre_ahead).where(t.sims.c.id == sim_id)
        ).one_or_none() or (None, None)
        talks: dict[str, list[Asked]] = defaultdict(list)
        rows = tx.execute(
            select(
                s.id, s.conversation, s.question_id, s.opened_at, s.in_flight, s.held_until, q.service,
                q.state, q.evidence, q.answered_at, q.fields_sealed,
            )
            .join_from(t.submissions, t.questions, s.question_id == q.id)
            .where(s.sim_id == sim_id, s.opened_at > now - WINDOW - timedelta(hours=3), s.state != "refused")
            .order_by(s.id)
        )  # fmt: skip
        for row in rows.all():
            card = self._card(tx, row.question_id, row.fields_sealed)
            answered = row.state == "answered"
            text = self._answer_text(tx, row.question_id) if answered else None
            held = _moved(row.held_until, row.in_flight, last, now)
            talks[row.conversation].append(
                Asked(
                    row.id, row.question_id, row.service, card, row.opened_at, row.in_flight, held, answered,
                    row.evidence, row.answered_at, text,
                )
            )  # fmt: skip
        g = t.messages.c
        stamps = tx.execute(
            select(g.received_at, g.service_centre_time)
            .where(g.sim_id == sim_id, g.service_centre_time.is_not(None))
            .order_by(g.id.desc())
            .limit(20)
        ).all()
        greatest = tx.execute(select(t.tpdus.c.id).order_by(t.tpdus.c.id.desc()).limit(1)).scalar() or ""
        return sim_id, talks, [(r[0], r[1]) for r in stamps], timedelta(microseconds=ahead or 0), greatest

    def _sim(self, tx: Any, number: str) -> str | None:
        """The SIM that the stick has in it, whichever SIM its lane knew last."""
        if number not in self._sims:
            for row in tx.execute(select(t.sims.c.id, t.sims.c.own_number_sealed)):
                if row.own_number_sealed is not None:
                    self._sims[tx.unseal("sims.own_number", row.own_number_sealed)] = row.id
        return self._sims.get(number)

    def _card(self, tx: Any, question: str, sealed: bytes) -> str:
        if question not in self._cards:
            self._cards[question] = next(iter(json.loads(tx.unseal("questions.fields", sealed)).values()))
        return self._cards[question]

    def _answer_text(self, tx: Any, question: str) -> str | None:
        a, g = t.attributions.c, t.messages.c
        row = tx.execute(
            select(g.text_sealed)
            .join_from(t.attributions, t.messages, a.message_id == g.id)
            .where(a.question_id == question, a.role.in_(("answer", "amendment")), a.detached_at.is_(None))
            .order_by(a.id.desc())
            .limit(1)
        ).first()
        return row and str(tx.unseal("messages.text", row.text_sealed))

    def after(self, name: str, before: Any) -> None:
        """Each text that this step decided, against the rules' verdict on it."""
        if before is None:
            return
        sim_id, talks, stamps, ahead, greatest = before
        now = self.stage.clock.now

        def new(tx: Any) -> list[Any]:
            rows = tx.execute(
                select(t.tpdus.c.id, t.tpdus.c.raw_sealed, t.tpdus.c.message_id, t.tpdus.c.sim_id)
                .where(t.tpdus.c.id > greatest, t.tpdus.c.kind == "deliver")
                .order_by(t.tpdus.c.id)
            ).all()
            return [(tx.unseal("tpdus.raw", row.raw_sealed), row.message_id, row.sim_id) for row in rows]

        for raw, message_id, sim_of_it in self.stage.store.read(new):
            found: Any = decode(raw)
            serial = serial_of(found.centre)
            sent = self.sent.get(serial)
            if sent is None:
                continue
            if sent.parts > 1:
                self._parts[message_id].add(found.concat.part)
                if len(self._parts[message_id]) < sent.parts:
                    continue
            if found.service_centre_time is not None:
                gap = found.service_centre_time - now
                if abs(gap) <= timedelta(hours=24):
                    ahead = max(ahead, gap)
                stamps = [(now, found.service_centre_time), *stamps][:20]
            if sim_of_it != sim_id:
                continue
            self._compare(sent, message_id, found.service_centre_time, talks, stamps, ahead, now)

    def _compare(
        self,
        sent: Sent,
        message_id: str,
        stamp: Any,
        talks: Any,
        stamps: Any,
        ahead: timedelta,
        now: datetime,
    ) -> None:
        if sent.sender == SPOOFER:
            return
        address = next(p.address for p in SERVICES if sent.sender in p.senders)
        services = [p.name for p in SERVICES if p.address == address]
        catalogue = self.stage.catalogue
        conversation = catalogue[services[0]].conversation
        clock = Clocked(ahead, tuple(at - (when - ahead) for at, when in stamps))
        asked = talks[conversation]
        shown = [replace(one) for one in asked]
        wanted = judge(
            sent.said, stamp, asked, {name: catalogue[name].needs_echo for name in services}, now, clock
        )
        got = self.stage.store.read(lambda tx: self._got(tx, message_id))
        self.counted.tally["decisions compared"] += 1
        if (wanted.role, wanted.question) == (got.role, got.question):
            return
        if wanted.reason == got.reason == "contradiction":
            return  # it names the question whose record it takes back
        label = f"{wanted.role or wanted.reason} expected, {got.role or got.reason} seen"
        if wanted.role == got.role:
            label += ", of another question"
        stamp_note = " (by stamp)" if wanted.by_stamp else ""
        self.counted.reasons[f"{sent.said.kind}: {label}{stamp_note}"] += 1
        self.counted.findings.append(
            f"{now:%d %H:%M:%S} {label}{stamp_note}: {sent.sender} {sent.said.text!r} says {dict(sent.said.says)} stamp "
            f"{stamp} ahead {ahead}\n    wanted {wanted}\n    got {got}\n    "
            + "\n    ".join(
                str(one) for one in shown if one.held(now) or one.opened > now - timedelta(hours=3)
            )
        )

    def _got(self, tx: Any, message_id: str) -> Verdict:
        a, g = t.attributions.c, t.messages.c
        row = tx.execute(
            select(a.role, a.question_id, a.evidence)
            .where(a.message_id == message_id)  # one that a later text of the same step took back, too
            .order_by(a.id.desc())
        ).first()
        if row is not None:
            return Verdict(row.role, row.question_id, evidence=row.evidence)
        reason = tx.execute(select(g.reason).where(g.id == message_id)).scalar()
        return Verdict(None, None, str(reason))


def _moved(held: datetime | None, in_flight: bool, last: datetime | None, now: datetime) -> datetime | None:
    """A hold after this reading of the inbox: moved by the time in which nobody read it, or the clock jumped."""
    if last is None or held is None or timedelta(0) <= now - last <= timedelta(minutes=1):
        return held
    return held + (now - last) if in_flight or held > min(last, now) else held


def serial_of(centre: str | None) -> int:
    """The serial that the world wrote into a TPDU as its service centre; 0 for one that is not the world's."""
    return int(centre.removeprefix("+6289")) if centre and centre.startswith("+6289") else 0
