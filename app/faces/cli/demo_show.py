"""What the demo looks like: the traffic while it runs, then one table, the judgement and what to do next."""

from __future__ import annotations

import csv
import io
import textwrap
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from types import TracebackType
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Table
from rich.text import Text

from app.domain.states import Outcome, Role, State
from app.exchange.sending import PHONE_PRICE
from app.faces.cli.demo_judge import (
    BATCH,
    BROKEN_ROW,
    FILE,
    FIRST_ROW,
    PHONE,
    PHONE_TEXT,
    PROGRAM,
    SECOND_ROW,
    Found,
    Question,
    Report,
    Verdict,
)
from app.faces.cli.output import legible, rupiah
from modem.simulated import Entry

WIDEST = 120
TRAFFIC = 14  # lines of the live view
LONGEST_TEXT = 160  # characters of a reply in the table: one SMS
FILE_LINES = 5
MARK = "SIMULATED: this program plays the dongles, the network and both official services. No SMS was sent."

_NEXT = (
    ("make serve", "keeps a gateway running on simulated dongles, and prints a key and a call to try"),
    (
        "bpjs-sms doctor",
        "with a real dongle: says what to write into bpjs-sms.toml, and what is wrong; see README.md",
    ),
)


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the table."""

    asker: str
    sent: str
    to: str
    reply: str
    evidence: str
    record: str
    seconds: float | None
    cost: int | None


class Show:
    """The live view on a terminal, and the report on whatever stands there."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._width = min(console.width, WIDEST)
        self._traffic: deque[Entry] = deque(maxlen=TRAFFIC)
        self._began: datetime | None = None
        self._count = {"submitted": 0, "received": 0}
        self._live = Live(console=console, get_renderable=self._picture, refresh_per_second=8, transient=True)

    def __enter__(self) -> Show:
        if self._console.is_terminal:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    def see(self, entry: Entry) -> None:
        """Take a line of the ledger into the live view; called on the network's threads."""
        if entry.kind in self._count:
            self._began = self._began or entry.at
            self._count[entry.kind] += 1
            self._traffic.append(entry)

    def _picture(self) -> RenderableType:
        grid = Table.grid(padding=(0, 2))
        for entry in list(self._traffic):
            out = entry.kind == "submitted"
            grid.add_row(
                Text(f"{(entry.at - (self._began or entry.at)).total_seconds():5.1f} s", style="dim"),
                Text(f"SIM {entry.sim}"),
                Text("→" if out else "←", style="cyan" if out else "green"),
                Text(entry.address),
                Text(legible(entry.text), overflow="ellipsis", no_wrap=True),
            )
        counts = f"{self._count['submitted']} SMS out, {self._count['received']} in"
        return Group(Text(f"SIMULATED radio traffic: {counts}", style="bold"), grid)

    def tell(self, report: Report) -> None:
        """Print how it came out."""
        self._print(Text(MARK, style="bold"))
        self._print(_table(report.found))
        self._print(Text("The office's file, as it came back (its first lines):", style="bold"))
        for line in report.found.results.splitlines()[:FILE_LINES]:
            self._print(Text(legible(line), style="dim", overflow="fold"))
        self._print(Text("\nJudged by the simulated network's own ledger:", style="bold"))
        self._print(_judgement(report.verdicts))
        self._print(Text(_summary(report), style="bold green" if report.ok else "bold red"))
        self._print(Text("\nNext:", style="bold"))
        steps = Table.grid(padding=(0, 2))
        for name, what in _NEXT:
            steps.add_row(Text(" "), Text(name), Text(what))
        self._print(steps)

    def _print(self, what: RenderableType) -> None:
        self._console.print(what, width=self._width)


def _summary(report: Report) -> str:
    broken = [verdict.name for verdict in report.verdicts if not verdict.ok]
    took = f"in {report.seconds:.1f} s"
    if broken:
        return f"NOT as it must be: {', '.join(broken)} ({took})."
    return f"Every one of the {len(report.verdicts)} came out as it must, {took}."


def _judgement(verdicts: list[Verdict]) -> Table:
    grid = Table.grid(padding=(0, 2))
    for verdict in verdicts:
        mark = Text("ok", style="green") if verdict.ok else Text("NOT", style="bold red")
        grid.add_row(Text(" "), mark, Text(verdict.name), Text(legible(verdict.reason), overflow="fold"))
    return grid


def _table(found: Found) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False, expand=True)
    table.add_column("asker", width=8)
    table.add_column("text sent, → number", width=20, overflow="fold")
    table.add_column("reply text (simulated)", ratio=4, overflow="fold")
    table.add_column("evidence", width=8, overflow="fold")
    table.add_column("record", ratio=3, overflow="fold")
    table.add_column("time", width=5, justify="right", no_wrap=True)
    table.add_column("cost", width=6, justify="right", no_wrap=True)
    cost = 0
    for line in lines(found):
        cost += line.cost or 0
        table.add_row(
            Text(line.asker),
            Text(legible(line.sent + (f"\n→ {line.to}" if line.to else ""))),
            Text(legible(line.reply)),
            Text(line.evidence),
            Text(legible(line.record)),
            Text("" if line.seconds is None else f"{line.seconds:.1f} s"),
            Text("" if line.cost is None else rupiah(line.cost)),
        )
    table.caption = f"{rupiah(cost)} would have been spent, at a guessed price an SMS."
    table.caption_justify = "left"
    return table


def lines(found: Found) -> Iterator[Line]:
    """The rows: the program's questions, the office's, the phone's, then what was given to nobody."""
    for question in PROGRAM:
        yield from _of_question(found, question, question.asker)
    yield from _of_office(found)
    yield from _of_question(found, PHONE, "for the phone")
    yield _of_phone(found)
    seen: set[str] = set()
    for message in sorted(found.messages, key=lambda message: str(message["received_at"])):
        if message["state"] == "unmatched":
            text = message["text"] or ""
            evidence = f"none: {_spaced(message['reason'])}" + (", double" if text in seen else "")
            seen.add(text)
            reply = f"{_short(text)} (from {message['sender']})"
            yield Line("nobody", "nothing", "", reply, evidence, "given to nobody", None, None)


def _of_office(found: Found) -> Iterator[Line]:
    answered = list(csv.reader(io.StringIO(found.results), delimiter=";"))
    for number, cells in enumerate(csv.reader(io.StringIO(FILE), delimiter=";"), start=1):
        question = next((q for q in BATCH if q.number == cells[2]), None)
        if question is not None and number != SECOND_ROW:
            second = f", {SECOND_ROW}" if number == FIRST_ROW else ""
            yield from _of_question(found, question, f"office, row {number}{second}")
        elif number == BROKEN_ROW:
            error = answered[number - 1][-1] if len(answered) >= number else "the file did not come back"
            yield Line(
                f"office, row {number}",
                "nothing",
                "",
                "",
                "",
                f"rejected: {error.partition(' (')[0]}",
                None,
                None,
            )


def _of_phone(found: Found) -> Line:
    asked = [entry.at for entry in found.ledger if entry.text == PHONE_TEXT]
    sent = [entry.at for entry in found.ledger if (entry.kind, entry.address) == ("submitted", found.person)]
    return Line(
        "phone",
        PHONE_TEXT,
        found.asked_at,
        " / ".join(text for _, text in found.inbox) or "none",
        "as above",
        f"{len(found.inbox)} SMS back to {found.person}",
        (sent[0] - asked[0]).total_seconds() if asked and sent else None,
        PHONE_PRICE * len(sent),
    )


def _of_question(found: Found, question: Question, asker: str) -> Iterator[Line]:
    address, text = question.wire
    check = found.check_of(question)
    if check is None:
        yield Line(asker, text, address, "", "", "no check", None, None)
        return
    kind = (check["evidence"] or {}).get("kind", "none")
    line = Line(
        asker,
        text,
        address,
        "none",
        f"{kind}, late" if check["late"] else kind,
        _record(check),
        _seconds(check["created_at"], check["answered_at"]),
        check["cost"],
    )
    roles: list[tuple[str, str]] = [(reply["role"], reply["text"] or "") for reply in check["replies"]]
    decisive = [text for role, text in roles if role == Role.ANSWER]
    yield replace(line, reply=_short(decisive[0])) if decisive else line
    for role, text in roles:
        if role != Role.ANSWER:
            said = "the same again" if role == Role.DOUBLE else _short(text)
            yield Line("", "", "", said, role, "", None, None)


def _record(check: Mapping[str, Any]) -> str:
    if check["state"] != State.ANSWERED:
        return _spaced(check["state"])
    record: Mapping[str, Any] = check["record"] or {}
    if not record:
        return _spaced(check["outcome"]) + (", text kept" if check["outcome"] == Outcome.UNRECOGNISED else "")
    said = [rupiah(record["balance"])] if "balance" in record else []
    said += [f"{card['kpj']}: {rupiah(card['balance'])}" for card in record.get("cards", ())]
    said += [str(record[name]) for name in ("status_text",) if name in record]
    said += [f"class {record['class']}"] if "class" in record else []
    said += [f"as of {record['as_of']}"] if "as_of" in record else []
    said += [str(record[name]) for name in ("name", "clinic") if name in record]
    return ", ".join(said)


def _spaced(word: object) -> str:
    return str(word).replace("_", " ")


def _short(text: str, most: int = LONGEST_TEXT) -> str:
    if len(text) <= most:
        return text
    return textwrap.shorten(text, most, placeholder=f" … ({len(text)} characters)")


def _seconds(begin: str | None, end: str | None) -> float | None:
    if begin is None or end is None:
        return None
    return (datetime.fromisoformat(end) - datetime.fromisoformat(begin)).total_seconds()
