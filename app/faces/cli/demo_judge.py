"""Whether the demo came out as it must: what the gateway says, held against the simulated network's own ledger."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from app.domain.states import Outcome, Role, State
from app.faces.phone import LONGEST, rupiah
from app.simulation import (
    BALANCE_ADDRESS,
    STATUS_ADDRESS,
    WORDING,
    balance_of,
    case_of,
    member_of,
)
from modem.simulated import Delivery, Entry

STATUS, BALANCE = "bpjskes-status", "bpjstk-balance"
WIRE: Mapping[str, tuple[str, str]] = {
    STATUS: (STATUS_ADDRESS, "STATUS BPKS{}#"),
    BALANCE: (BALANCE_ADDRESS, "BALANCE#{}#"),
}
"""Where each service is asked and in which words (project brief)."""

ADVERTISEMENT = "Pesta ulang tahun 2757: kaos gratis bagi 100 peserta tercepat! Balas YA sebelum Jumat."
PARTS = 3  # of the long text of a JKN card ending in 94 (app/simulation.py, OUTCOME_CARDS)

_STATUS_READ = {"AKTIF": "active", "TIDAK AKTIF": "inactive", "NONAKTIF": "inactive"}
_CLASS_READ = {"1": "I", "2": "II", "3": "III"}
_OUTCOMES = {"not_found": Outcome.NOT_FOUND, "unknown": Outcome.UNRECOGNISED}


@dataclass(frozen=True, slots=True)
class Question:
    """One card that somebody of the demo asks about; `name` is its promise in the judged list."""

    name: str
    asker: str
    service: str
    number: str

    @property
    def field(self) -> str:
        return "number" if self.service == STATUS else "kpj"

    @property
    def wire(self) -> tuple[str, str]:
        """The address and the text that go on the air."""
        address, text = WIRE[self.service]
        return address, text.format(self.number)


PROGRAM = (
    Question("late", "program", BALANCE, "99012345692"),
    Question("status", "program", STATUS, "0009912345603"),
    Question("balance", "program", BALANCE, "99012345601"),
    Question("not_found", "program", BALANCE, "99012345690"),
    Question("unknown", "program", STATUS, "0009912345691"),
    Question("parts", "program", STATUS, "0009912345694"),
)
"""What the REST caller asks, in this order. The last two digits say how the simulated service answers."""

PHONE = Question("phone", "phone", BALANCE, "99012345621")
PHONE_TEXT = f"SALDO {PHONE.number}"

BROKEN_ROW, FIRST_ROW, SECOND_ROW = 4, 2, 8  # of the office's file, the heading being row 1
FILE = """No;Nama;KPJ
1;Siti Contoh;99012345611
2;Budi Contoh;99012345612
3;Dewi Contoh;9901234561
4;Agus Contoh;99012345614
5;Rina Contoh;99012345790
6;Joko Contoh;99012345616
7;Siti Contoh;99012345611
8;Putu Contoh;99012345894
9;Made Contoh;99012345618
10;Wayan Contoh;99012345619
"""
"""The office's ten cards: row 4 lacks a digit, and row 8 is the card of row 2 again."""

_ROWS = list(csv.reader(io.StringIO(FILE), delimiter=";"))
BATCH = tuple(
    Question("batch", "office", BALANCE, number)
    for number in dict.fromkeys(
        cells[2] for row, cells in enumerate(_ROWS, start=1) if row not in (1, BROKEN_ROW)
    )
)


@dataclass(frozen=True, slots=True)
class Verdict:
    """One promise of the demo: kept or not, why, and how many replies came once more than asked for."""

    name: str
    ok: bool
    reason: str
    doubles: int = 0


@dataclass(slots=True)
class Found:
    """All that the demo saw: checks, messages and the office's file over HTTP, the rest at the network.

    `person` texted the SIM with the number `asked_at`; `inbox` is what she got back, each with its sender.
    """

    checks: list[dict[str, Any]] = field(default_factory=list)
    messages: list[dict[str, Any]] = field(default_factory=list)
    batch: dict[str, Any] = field(default_factory=dict)
    results: str = ""
    ledger: list[Entry] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)
    person: str = ""
    asked_at: str = ""
    inbox: list[tuple[str, str]] = field(default_factory=list)

    def check_of(self, question: Question) -> dict[str, Any] | None:
        """The newest check about the question's card."""
        wanted = {question.field: question.number}
        return next(
            (c for c in self.checks if c["service"] == question.service and c["fields"] == wanted), None
        )

    def submits(self, question: Question) -> list[Entry]:
        """How often the question really went out."""
        address, text = question.wire
        return [e for e in self.ledger if e.kind == "submitted" and (e.address, e.text) == (address, text)]

    def answers(self, submit: Entry, kind: str = "received") -> list[Entry]:
        """What the network gave the SIM (or `dropped`) in answer to a submitted text."""
        return [e for e in self.ledger if e.kind == kind and e.submit_id == submit.submit_id]


@dataclass(frozen=True, slots=True)
class Report:
    """How the demo came out. `seconds` is how long it took, the start of the gateway included."""

    found: Found
    verdicts: list[Verdict]
    seconds: float

    @property
    def ok(self) -> bool:
        return all(verdict.ok for verdict in self.verdicts)

    def as_json(self) -> dict[str, Any]:
        """The judgement, and under it what it was made of."""
        return {
            "simulated": True,
            "ok": self.ok,
            "seconds": round(self.seconds, 3),
            "promises": [
                {"name": v.name, "ok": v.ok, "reason": v.reason, "doubles": v.doubles} for v in self.verdicts
            ],
            "checks": self.found.checks,
            "messages": self.found.messages,
            "batch": self.found.batch,
            "results": self.found.results,
            "phone": [{"from": sender, "text": text} for sender, text in self.found.inbox],
            "ledger": [entry.as_json() for entry in self.found.ledger],
        }


def judge(found: Found) -> list[Verdict]:
    """Every promise of the demo, in the order of the table."""
    mine = [_verdict(found, question) for question in PROGRAM]
    return [*mine, _unsolicited(found), _batch(found), _phone(found), _once(found)]


def _verdict(found: Found, question: Question) -> Verdict:
    faults = list(_faults(found, question))
    check = found.check_of(question)
    if faults or check is None:
        return Verdict(question.name, False, "; ".join(faults))
    doubles = _doubles(check)
    said = {
        "late": f"no reply at the deadline, then taken as a late answer: {_worth(check)}",
        "status": f"ledger, record and card agree: {_worth(check)}",
        "balance": f"ledger, record and the card's own balance agree: {_worth(check)}",
        "not_found": "the service knows no such card, and the gateway says so",
        "unknown": "its text is kept, nothing is guessed from it",
        "parts": f"{PARTS} parts, the third one first, put together: {_worth(check)}",
    }[question.name]
    return Verdict(question.name, True, said + _twice(doubles), doubles)


def _worth(check: Mapping[str, Any]) -> str:
    record = check["record"] or {}
    balance = record.get("balance")
    return (
        rupiah(balance)
        if balance is not None
        else f"{record.get('status_text')}, class {record.get('class')}"
    )


def _twice(doubles: int) -> str:
    return f" (the reply came {doubles + 1} times: {doubles} kept as double)" if doubles else ""


def _doubles(check: Mapping[str, Any]) -> int:
    return sum(reply["role"] == Role.DOUBLE for reply in check["replies"])


def _faults(found: Found, question: Question) -> Iterator[str]:
    """What is wrong with one question, by the ledger first and then by the gateway's check."""
    submits = found.submits(question)
    if len(submits) != 1:
        yield f"{question.wire[1]} was sent {len(submits)} times instead of once"
        return
    replies = found.answers(submits[0])
    if not replies:
        dropped = found.answers(submits[0], "dropped")
        yield "the network dropped the reply" if dropped else "the service's reply never reached the SIM"
    for reply in replies:
        if missing := [part for part in _says(question) if part not in reply.text]:
            yield f"the reply was another card's or not the service's own: {reply.text!r} lacks {missing[0]!r}"
            break
    check = found.check_of(question)
    if check is None:
        yield "the gateway has no check about it"
        return
    if check["state"] != State.ANSWERED:
        yield f"the gateway says {check['state']} instead of answered"
        return
    if not replies:
        yield "the gateway says answered"
        return
    yield from _wrong_record(question, check)
    if question.name == "late":
        waited = [move["to"] for move in check["history"]]
        if not check["late"] or State.NO_REPLY not in waited:
            yield "it was not taken as a late answer"
    if question.name == "parts":
        orders = [d.part_order for d in found.deliveries if d.submit_id == submits[0].submit_id]
        if any(reply.parts != PARTS for reply in replies) or list(orders) != [(3, 1, 2)] * len(orders):
            yield f"the reply did not come in {PARTS} parts out of order"
    given = [reply["text"] for reply in check["replies"]]
    if [reply["role"] for reply in check["replies"]].count(Role.ANSWER) != 1:
        yield "not exactly one message is its answer"
    if Counter(given) != Counter(reply.text for reply in replies):
        yield f"the SIM was given {len(replies)} replies to it, the check has {len(given)} or others"
    if _doubles(check) != len(replies) - 1:
        yield f"the reply came {len(replies)} times, {_doubles(check)} are kept as double"


def _says(question: Question) -> Sequence[str]:
    """What must stand in the service's reply about this card."""
    number, case = question.number, case_of(question.number)
    if case in _OUTCOMES:
        return (WORDING[question.service][case].format(number=number),)
    if question.service == BALANCE:
        return number, rupiah(balance_of(number)).removeprefix("Rp")
    member = member_of(number)
    return number, member["name"], f"Status {member['status']}", f"Kelas {member['class']}", member["clinic"]


def _wrong_record(question: Question, check: Mapping[str, Any]) -> Iterator[str]:
    number, case = question.number, case_of(question.number)
    outcome = _OUTCOMES.get(case, Outcome.FOUND)
    if check["outcome"] != outcome:
        yield f"the outcome is {check['outcome']} instead of {outcome}"
    if (check["evidence"] or {}).get("kind") != "echo":
        yield "the reply names the card, but that is not the evidence"
    record: Mapping[str, Any] = check["record"] or {}
    if case in _OUTCOMES:
        wanted: dict[str, Any] = {}
    elif question.service == STATUS:
        member = member_of(number)
        wanted = {
            "card_number": number,
            "name": member["name"],
            "status": _STATUS_READ[member["status"]],
            "class": _CLASS_READ[member["class"]],
            "clinic": member["clinic"],
        }
    else:
        wanted = {"kpj": number, "balance": balance_of(number)}
        record = next((card for card in record.get("cards", ()) if card.get("kpj") == number), record)
    if not wanted and record:
        yield f"a record was made of it: {dict(record)}"
    for member_name, value in wanted.items():
        if record.get(member_name) != value:
            yield f"the record says {member_name} {record.get(member_name)} instead of {value}"


def _unsolicited(found: Found) -> Verdict:
    came = [
        e for e in found.ledger if e.kind == "received" and e.submit_id is None and e.text == ADVERTISEMENT
    ]
    kept = [message for message in found.messages if message["text"] == ADVERTISEMENT]
    faults = []
    if not came:
        sent = [d for d in found.deliveries if d.submit_id is None and d.text == ADVERTISEMENT]
        faults.append(
            "the network dropped it or put another text in its place" if sent else "it was never texted"
        )
    if len(kept) != len(came):
        faults.append(f"it reached the SIM {len(came)} times, and the gateway has it {len(kept)} times")
    if any(message["state"] != "unmatched" or message["checks"] for message in kept):
        faults.append("it was given to somebody")
    if any(reply["text"] == ADVERTISEMENT for check in found.checks for reply in check["replies"]):
        faults.append("it stands among a check's replies")
    if faults:
        return Verdict("unsolicited", False, "; ".join(faults))
    doubles = len(came) - 1
    twice = f" (it came {len(came)} times: {doubles} double, given to nobody either)" if doubles else ""
    return Verdict("unsolicited", True, f"kept, and given to nobody: {kept[0]['reason']}{twice}", doubles)


def _batch(found: Found) -> Verdict:
    faults = [f"{q.number}: {fault}" for q in BATCH for fault in _faults(found, q)]
    faults += _wrong_file(found.results)
    if found.batch.get("state") != "done":
        faults.append(f"the batch is {found.batch.get('state', 'not there')} instead of done")
    if faults:
        return Verdict("batch", False, "; ".join(faults))
    doubles = sum(_doubles(check) for q in BATCH if (check := found.check_of(q)) is not None)
    said = (
        f"{len(_ROWS) - 1} rows back in their order, {len(BATCH)} SMS: row {BROKEN_ROW} says what is wrong, "
        f"the card of rows {FIRST_ROW} and {SECOND_ROW} was asked once"
    )
    return Verdict("batch", True, said + _twice(doubles), doubles)


def _wrong_file(results: str) -> Iterator[str]:
    """Hold the answered file against the one that was handed in."""
    rows = list(csv.reader(io.StringIO(results), delimiter=";"))
    width = len(_ROWS[0])
    if [cells[:width] for cells in rows] != _ROWS:
        yield "the file did not come back with the same rows in the same order"
        return
    heading = rows[0][width:]
    for number, cells in enumerate(rows[1:], start=2):
        row = dict(zip(heading, cells[width:], strict=False))
        kpj = cells[2]
        if number == BROKEN_ROW:
            if row.get("state") != "rejected" or not row.get("error"):
                yield f"row {number} is broken, and comes back as {row.get('state')}"
        elif case_of(kpj) == "found" and row.get("balance") != str(balance_of(kpj)):
            yield f"row {number} says balance {row.get('balance') or 'nothing'} instead of {balance_of(kpj)}"
        elif case_of(kpj) == "several" and str(balance_of(kpj)) not in row.get("cards", ""):
            yield f"row {number} lacks the balance {balance_of(kpj)}"
        elif case_of(kpj) == "not_found" and row.get("outcome") != Outcome.NOT_FOUND:
            yield f"row {number} says {row.get('outcome') or row.get('state')} instead of not_found"


def _phone(found: Found) -> Verdict:
    faults = list(_faults(found, PHONE))
    balance = rupiah(balance_of(PHONE.number))
    sent = [e for e in found.ledger if e.kind == "submitted" and e.address == found.person]
    if not found.inbox:
        faults.append("the phone got no answer")
    elif len(found.inbox) > 1 or len(sent) != 1:
        faults.append(f"{len(sent)} SMS went to the phone, {len(found.inbox)} reached it, instead of one")
    for sender, text in found.inbox:
        if sender != found.asked_at or len(text) > LONGEST or balance not in text:
            faults.append(f"the phone was owed {balance} and got from {sender}: {text!r}")
    check = found.check_of(PHONE)
    if faults or check is None:
        return Verdict("phone", False, "; ".join(faults))
    doubles = _doubles(check)
    said = f"one SMS of {len(found.inbox[0][1])} characters came back, with the card's own balance"
    return Verdict("phone", True, said + _twice(doubles), doubles)


def _once(found: Found) -> Verdict:
    sent = [e for e in found.ledger if e.kind == "submitted"]
    counted = Counter((e.address, e.text) for e in sent)
    asked = {question.wire for question in (*PROGRAM, PHONE, *BATCH)}
    often = [text for (_, text), times in counted.items() if times > 1]
    strange = [
        text for (address, text) in counted if (address, text) not in asked and address != found.person
    ]
    if often or strange:
        return Verdict("once", False, f"sent more than once or asked by nobody: {', '.join(often + strange)}")
    return Verdict("once", True, f"{len(sent)} SMS went out, none of them twice, none that nobody asked for")
