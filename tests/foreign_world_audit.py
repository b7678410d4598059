"""What a played world is judged by, when all is quiet: its truth against the gateway's tables."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from datetime import timedelta
from typing import Any

from foreign_world import PRICE, World
from foreign_world_watch import SPOOFER, Sent, serial_of
from foreign_world_words import BY_NAME, SERVICES, Cause, amount_of, could_be
from sqlalchemy import select

from app.domain.states import OPEN, State
from app.store import tables as t
from modem.pdu import decode


def audit(world: World) -> None:
    """Every count of the run into `world.counted`."""
    world.stage.store.read(lambda tx: _Audit(tx, world).all())


class _Audit:
    def __init__(self, tx: Any, world: World) -> None:
        self.tx, self.world, self.counted = tx, world, world.counted
        self.sent_of: dict[str, Sent] = {}
        self.questions = {row.id: row for row in tx.execute(select(t.questions)).all()}
        self.by_cause: dict[Cause | None, list[Sent]] = defaultdict(list)
        for sent in world.sent.values():
            self.by_cause[sent.said.cause].append(sent)
        self.card = {
            row.id: next(iter(json.loads(tx.unseal("questions.fields", row.fields_sealed)).values()))
            for row in self.questions.values()
        }

    def all(self) -> None:
        self._stored()
        self._ended()
        self._given()
        self._records()
        self._paid()
        self._phones()

    def _find(self, what: str) -> None:
        self.counted.findings.append(what)

    def _stored(self) -> None:
        """Every TPDU that a SIM took is in the database or in the SIM still, as often as it came."""
        kept: Counter[str] = Counter()
        for row in self.tx.execute(select(t.tpdus).where(t.tpdus.c.kind == "deliver")).all():
            raw = self.tx.unseal("tpdus.raw", row.raw_sealed)
            kept[raw] += 1
            if row.decided_at is None:
                self._find(f"a TPDU was never decided: {row.id}")
            sent = self.world.sent.get(serial_of(getattr(decode(raw), "centre", None)))
            if sent is not None and row.message_id is not None:
                self.sent_of[row.message_id] = sent
        for dongle in self.world.stage.dongles.values():
            kept.update(slot.pdu for slot in dongle.sim.storage.slots.values())
        for pdu, times in self.world.delivered.items():
            if kept[pdu] != times:
                self._find(f"delivered {times} times, kept {kept[pdu]} times: {self._what(pdu)}")
        self.counted.tally["TPDUs delivered"] = sum(self.world.delivered.values())

    def _what(self, pdu: str) -> str:
        sent = self.world.sent[serial_of(getattr(decode(pdu), "centre", None))]
        return f"{sent.at:%d %H:%M:%S} {sent.sender} {sent.said.text!r}"

    def _ended(self) -> None:
        """No question goes on for ever, and nothing holds for ever."""
        now = self.world.stage.clock.now
        for row in self.questions.values():
            if row.state in OPEN:
                self._find(
                    f"a question without an end: {row.id} {row.service} {row.state} deadline {row.deadline}"
                )
            self.counted.tally[f"questions {row.state}"] += 1
        s = t.submissions.c
        for row in self.tx.execute(select(t.submissions).where(s.kind == "question")).all():
            if row.in_flight or (row.held_until is not None and row.held_until > now):
                self._find(
                    f"a hold without an end: {row.id} in flight {row.in_flight} until {row.held_until}"
                )

    def _given(self) -> None:
        """Every reply that is an answer against the question that caused it."""
        a = t.attributions.c
        for row in self.tx.execute(select(t.attributions).where(a.by == "gateway")).all():
            sent = self.sent_of.get(row.message_id)
            question = self.questions[row.question_id]
            if sent is None:
                self._find(f"a reply that nobody sent: {row.id}")
                continue
            if row.role in ("answer", "amendment"):
                self.counted.answers[(question.service, row.evidence)] += 1
            if sent.sender == SPOOFER:
                self._find(f"a stranger's text was given to {row.question_id}: {sent.said.text!r}")
                continue
            cause, card = sent.said.cause, self.card[row.question_id]
            right = cause is not None and cause.card == card and cause.service == question.service
            if right or row.role not in ("answer", "amendment"):
                if not right:
                    self.counted.tally[f"{row.role} of another question"] += 1
                continue
            taken_back = " (taken back)" if row.detached_at is not None else ""
            self.counted.wrong[(question.service, row.evidence, self._why(sent, card) + taken_back)].append(
                f"{row.at:%d %H:%M:%S} {row.role} {sent.said.text!r} of {cause} given to {card} ({row.question_id})"
            )
            if BY_NAME[question.service].names == "always" and self.world.temper.fair:
                self._find(
                    f"a wrong record where every reply names its card: {question.id} {sent.said.text!r}"
                )
            if row.evidence == "echo" and not any(could_be(name, card) for name in sent.said.names):
                self._find(f"given by echo to {card}, which it does not name: {sent.said.text!r}")

    def _why(self, sent: Sent, card: str) -> str:
        if any(could_be(name, card) for name in sent.said.names):
            hidden = any("*" in name for name in sent.said.names)
            return "it names this card too" + (" (masked)" if hidden else "")
        if sent.said.cause is None:
            return "an advertisement"
        earlier = [other for other in self.by_cause[sent.said.cause] if other.serial < sent.serial]
        after = "" if sent.said.kind == "answer" else f", {sent.said.kind}"
        if any(other.said is sent.said for other in earlier):
            after = ", doubled"
        elif any(other.said.kind == "apology" for other in earlier):
            after = ", after an apology"
        elif earlier:
            after += ", after another text"
        waited = timedelta(seconds=sent.at.timestamp() - sent.said.cause.sent_at)
        return ("beyond an hour" if waited > timedelta(hours=1) else "within the hour") + after

    def _records(self) -> None:
        """A record's amount is its card's own, where the service's text names the card."""
        for row in self.questions.values():
            if row.record_sealed is None or row.state != State.ANSWERED:
                continue
            record = json.loads(self.tx.unseal("questions.record", row.record_sealed))
            self.counted.tally["records"] += 1
            seen = record.get("balance", record.get("bill", record.get("arrears")))
            if seen is None or row.evidence != "echo":
                continue
            named = record.get("kpj", record.get("card_number", record.get("nik")))
            if seen != amount_of(self.card[row.id]):
                self.counted.tally["records with another amount"] += 1
                self._find(f"{row.service} {self.card[row.id]} has the amount {seen}, not its own: {record}")
            elif named is None and row.service in ("always-kpj", "bpjskes-status"):
                self.counted.tally["records without their card"] += 1

    def _paid(self) -> None:
        """What went on the air is what was journalled, once each; it costs what it costs."""
        s = t.submissions.c
        sims = {
            row.id: self.tx.unseal("sims.own_number", row.own_number_sealed)
            for row in self.tx.execute(select(t.sims)).all()
            if row.own_number_sealed
        }
        surely: Counter[tuple[str, str, str]] = Counter()
        maybe: Counter[tuple[str, str, str]] = Counter()
        of: dict[str, list[Any]] = defaultdict(list)
        for row in self.tx.execute(select(t.submissions).where(s.kind == "question")).all():
            key = (
                sims.get(row.sim_id, "?"),
                self.questions[row.question_id].service,
                self.card[row.question_id],
            )
            of[row.question_id].append(row)
            self.counted.tally[f"submissions {row.state}"] += 1
            if row.state in ("sent", "delivered", "undelivered"):
                surely[key] += 1
            elif row.state in ("uncertain", "open"):
                maybe[key] += 1
        for key in set(self.world.submitted) | set(surely):
            went = self.world.submitted[key]
            if not surely[key] <= went <= surely[key] + maybe[key]:
                self._find(
                    f"{key}: {went} went on the air, {surely[key]} surely and {maybe[key]} maybe journalled"
                )
        for question, rows in of.items():
            paid = sum(row.state != "refused" for row in rows)
            if paid > 1:
                self._find(f"question {question} was sent {paid} times")
            if self.questions[question].cost != PRICE * paid:
                self._find(f"question {question} cost {self.questions[question].cost} for {paid} submissions")
        c = t.checks.c
        asked = set(self.tx.execute(select(c.question_id)).scalars())
        if stray := set(self.questions) - asked:
            self._find(f"questions that no check asked: {sorted(stray)[:3]}")

    def _phones(self) -> None:
        """Nobody with a phone hears of another card, and nobody hears twice."""
        for row in self.tx.execute(select(t.phone_asks)).all():
            self.counted.tally[f"phone asks {row.state}"] += 1
            if row.state in ("waiting", "due", "submitting"):
                self._find(f"a phone was never answered: {row.id} {row.state}")
        answers = self.tx.execute(
            select(t.submissions.c.phone_ask_id).where(
                t.submissions.c.phone_ask_id.is_not(None), t.submissions.c.state != "refused"
            )
        ).scalars()
        for ask, times in Counter(answers).items():
            if times > 2:
                self._find(f"the phone's ask {ask} was answered {times} times")


def table(world: World) -> str:
    """What was counted, for a person."""
    counted, lines = world.counted, list[str]()
    lines += [f"{count:8} {what}" for what, count in sorted(counted.tally.items())]
    for played in SERVICES:
        echo = world.stage.catalogue[played.name].echo
        by = {e: n for (service, e), n in counted.answers.items() if service == played.name}
        bad = {
            (e, w): len(found) for (service, e, w), found in counted.wrong.items() if service == played.name
        }
        total = sum(by.values())
        wrong = sum(bad.values())
        lines.append(
            f"{played.name:16} file {echo:6} world {played.names:6} answers {total:6} {by} wrong {wrong} "
            f"({wrong * 10000 / max(total, 1):.1f} in 10,000)"
        )
        lines += [f"{count:24}   by {evidence}: {why}" for (evidence, why), count in sorted(bad.items())]
    lines += [f"{count:8} {what}" for what, count in counted.reasons.most_common()]
    lines.append(f"{len(counted.findings)} findings")
    return "\n".join(lines)
