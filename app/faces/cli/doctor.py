"""`doctor`: for somebody with a stick in the hand and no idea: what is there, what is wrong, what mends it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Literal

import typer

from app.faces.cli.output import FAULTS, WARNINGS, Session

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from app.faces.cli.examining import Examined
    from app.faces.cli.ports_asked import PortSeen
    from modem.doctor import Both, Finding

MOST = 4
"""Things of one kind that are named one by one; --json names all."""
LONG_COMMAND = 50
"""Characters from which a command stands on a line of its own, which the terminal may wrap but the text does not."""
INDENT = {"en": 7, "id": 8}
"""Columns before a text: a blank, its label (`seen`, `bukti`), two blanks."""
EXITS = f"Exit status: 0 nothing is wrong; {WARNINGS} warnings; {FAULTS} faults."


def doctor(
    ctx: typer.Context,
    lane: str | None = typer.Option(None, metavar="NAME", help="Look at this lane's modem only."),
    loop: bool = typer.Option(
        False,
        "--loop",
        help="Also send one SMS from the SIM to itself (it costs what an SMS costs; asks first).",
    ),
    number: str | None = typer.Option(
        None, help="With --loop: the SIM's own number, where it does not know it."
    ),
    credit_code: str | None = typer.Option(
        None,
        metavar="CODE",
        help="Ask the operator for the credit by this USSD code, such as *123#, and keep it.",
    ),
    yes: bool = typer.Option(False, "--yes", help="Do not ask before the SMS of --loop."),
    key_copied: bool = typer.Option(
        False, "--key-copied", help="Remember that the key file has a copy elsewhere, and do nothing else."
    ),
    language: Literal["id", "en"] | None = typer.Option(
        None, help="Of what is said: id or en; else as LC_ALL, LC_MESSAGES or LANG say (with --json: en)."
    ),
) -> None:
    """Find out what is wrong with sticks, SIMs, lanes and this host, and how to mend it. Never stops a running gateway."""
    import os

    from app.faces.cli import examining, looping
    from app.faces.cli.doctor_texts import said

    if (number or yes) and not loop:
        raise typer.BadParameter("it belongs to --loop", param_hint="--number" if number else "--yes")
    session: Session = ctx.obj
    spoken = language_of(language, {} if session.json else os.environ)
    settings = session.settings()
    if key_copied:
        examining.confirm_key_copy(settings)
        if session.json:
            session.show_json({"keys_file": str(settings.sealing.keys_file), "copied": True})
        session.say(said("screen.copied", file=settings.sealing.keys_file).told(spoken))
        return
    progress = _progress(session, spoken)
    examined = examining.examine(settings, lane, credit_code, progress=progress, language=spoken)
    looped: dict[str, Any] | None = None
    if loop:
        confirm = confirming(session, yes, spoken)
        wanted = looping.Loop(number, credit_code, confirm, progress, language=spoken)
        looped, failed = looping.run_loop(settings, wanted, free=examined.free, held=examined.answering)
        examined.findings = examining.in_order([*failed, *examined.findings])
    if session.json:
        session.show_json(examined.as_json(spoken) | ({"loop": looped} if loop else {}))
    else:
        show(session, examined, looped, spoken)
    raise typer.Exit(status_of(examined.findings))


def language_of(asked: str | None, environment: Mapping[str, str]) -> str:
    """`id` or `en`: what was asked for, else what the environment says (POSIX, Base Definitions §8.2: the first that is set holds)."""
    names = ("LC_ALL", "LC_MESSAGES", "LANG")
    locale = next((value for name in names if (value := environment.get(name))), "")
    return asked or ("id" if re.match(r"id(?![a-z])", locale, re.IGNORECASE) else "en")


def status_of(findings: list[Finding]) -> int:
    """0 nothing, 10 warnings, 11 faults."""
    from modem.doctor import FAULT, WARNING, worst

    return {None: 0, WARNING: WARNINGS, FAULT: FAULTS}[worst(findings)]


def _progress(session: Session, language: str) -> Any:
    silent = session.json or not session.err.is_terminal
    return (lambda sentence: None) if silent else lambda sentence: session.note(sentence.told(language))


def confirming(session: Session, yes: bool, language: str) -> Callable[[str], bool]:
    """How a person is asked: with --yes and with --json nobody is; in Indonesian `y` and `ya` are a yes."""

    def confirm(question: str) -> bool:
        if yes or session.json:
            return yes
        if language == "id":
            said = typer.prompt(f"{question} [y/T]", default="", show_default=False, err=True)
            return str(said).strip().lower() in ("y", "ya", "yes")
        return typer.confirm(question, default=False, err=True)

    return confirm


def show(session: Session, examined: Examined, looped: dict[str, Any] | None, language: str = "en") -> None:
    """Print everything for people: ports, lines to write, last replies, findings, the verdict."""
    from app.faces.cli.doctor_texts import moment, said
    from modem.doctor import joined

    findings = [finding.told(language) for finding in examined.findings]
    _show_ports(session, examined.ports, language)
    if examined.settings_lines:
        session.say(f"{said('screen.write').told(language)}\n")
        session.say("\n".join(f"    {line}".rstrip() for line in examined.settings_lines) + "\n")
    if examined.exchanges:
        session.table(
            [
                said(f"screen.head_{name}").told(language)
                for name in ("lane", "service", "reply", "unanswered")
            ],
            (
                (
                    one.lane,
                    one.service,
                    (moment(one.last_reply) if one.last_reply else said("words.never")).told(language),
                    one.unanswered,
                )
                for one in examined.exchanges
            ),
            title=said("screen.replies").told(language),
        )
    for group in alike(findings):
        _show_finding(session, group, language)
    if looped is not None:
        _show_loop(session, looped, language)
    if examined.unseen:
        things = joined(examined.unseen, said("words.and"))
        unseen = said("screen.unseen", things=things, command=_again_as_root())
        session.say(f"{unseen.told(language)}\n")
    session.say(_verdict(findings).told(language))


def alike(findings: Sequence[Finding]) -> list[list[Finding]]:
    """Findings that say the same of several things, together, in the order of the first of each."""
    groups: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        groups.setdefault((finding.code, finding.what), []).append(finding)
    return list(groups.values())


def _show_finding(session: Session, group: list[Finding], language: str) -> None:
    from rich.text import Text

    from app.faces.cli.doctor_texts import said
    from app.faces.cli.output import legible
    from modem.doctor import ADVICE, FAULT, WARNING, few

    first, indent = group[0], INDENT[language]
    style = {FAULT: "bold white on red", WARNING: "black on yellow", ADVICE: "black on cyan"}[first.severity]
    names = {word: said(f"screen.{word}").told(language) for word in (FAULT, WARNING, ADVICE)}
    wide = max(map(len, names.values()))
    shown = few([finding.about for finding in group], MOST).told(language)
    label = (f" {names[first.severity]:<{wide}} ", style)
    session.out.print(Text.assemble(label, f" {legible(shown)}  ", (first.code, "dim")), soft_wrap=True)
    width = session.out.width
    session.out.print(_wrapped("", first.what, width, indent), soft_wrap=True)
    for word, told in (
        ("seen", [(one.about, one.how) for one in group]),
        ("mend", [(one.about, one.mend) for one in group]),
    ):
        each = list(dict.fromkeys(text for _, text in told))
        if len(each) > 1:
            each = [f"{name}: {text}" for name, text in told]
        for place, text in enumerate(each[:MOST]):
            prose, commands = apart(text) if word == "mend" else (text, [])
            name = "" if place else said(f"screen.{word}").told(language)
            session.out.print(_wrapped(name, prose, width, indent), soft_wrap=True)
            for number, command in enumerate(commands, 1):  # unbroken, so that it can be copied
                session.say(f"{'':<{indent}}  ({number})  {command}")
        if len(each) > MOST:
            more = said("screen.alike", count=len(each) - MOST).told(language)
            session.say(f"{'':<{indent}}{more}")
    session.say("")


def _show_ports(session: Session, ports: Sequence[PortSeen], language: str) -> None:
    """Each stick with its ports below it, narrow enough for 80 columns."""
    from itertools import groupby

    from rich.text import Text

    from app.faces.cli.doctor_texts import lane_called, said
    from app.faces.cli.output import legible

    others = said("screen.other_ports" if any(port.stick for port in ports) else "screen.ports")
    roles = {port.role: said(f"role.{port.role}").told(language) if port.role else "" for port in ports}
    wide = max((len(port.port) for port in ports), default=0)
    widest = max(map(len, roles.values()), default=0)
    for stick, group in groupby(ports, key=lambda port: port.stick):
        session.out.print(Text(legible((stick or others).told(language)), style="bold"))
        for port in group:
            signal = None if port.signal is None else said("screen.signal", rssi=port.signal).told(language)
            lane = None if port.lane is None else lane_called(port.lane).told(language)
            told = " · ".join(word for word in (lane, port.model, port.operator, signal) if word)
            line = f"  {port.port:<{wide}}  {roles[port.role]:<{widest}}  {legible(told)}"
            session.out.print(Text(line.rstrip()), soft_wrap=True)
        session.say("")


def apart(mend: str) -> tuple[str, list[str]]:
    """The text with each long command in it replaced by a number in brackets, and those commands."""
    commands: list[str] = []

    def number(found: re.Match[str]) -> str:
        if len(found[1]) <= LONG_COMMAND:
            return found[0]
        commands.append(found[1])
        return f"({len(commands)})"

    return re.sub(r"`([^`]+)`", number, mend), commands


def _wrapped(label: str, text: str, width: int, indent: int) -> Any:
    """The text behind its label, wrapped with a hanging indent, at 100 columns at most: longer lines are hard to read. A command stays on one line."""
    import textwrap

    from rich.text import Text

    from app.faces.cli.output import legible

    whole = re.sub(r"`[^`]+`", lambda found: found[0].replace(" ", "\N{NO-BREAK SPACE}"), legible(text))
    lines = [
        line.replace("\N{NO-BREAK SPACE}", " ")
        for line in textwrap.wrap(
            whole, max(30, min(width, 100) - indent), break_long_words=False, break_on_hyphens=False
        )
    ]
    return Text("\n").join(
        Text.assemble((f" {'' if place else label:<{indent - 3}}  ", "dim"), line)
        for place, line in enumerate(lines)
    )


def _again_as_root() -> str:
    """The command with which root would do the same: sudo looks for programs in folders of its own."""
    import shlex
    import shutil
    import sys

    called = sys.argv[0] if "/" in sys.argv[0] else shutil.which("bpjs-sms") or "bpjs-sms"
    return shlex.join(["sudo", called, *sys.argv[1:]])


def _show_loop(session: Session, looped: dict[str, Any], language: str) -> None:
    from app.faces.cli.doctor_texts import said
    from app.faces.cli.output import rupiah
    from modem.doctor import decimal, told

    if "error" in looped:  # stands among the findings
        return
    ahead, cost = looped["centre_ahead_seconds"], looped["cost"]
    rows: dict[str, str | Both | None] = {
        "delay": said("loop.seconds", seconds=decimal(looped["delay_seconds"])),
        "landed": looped["storage"] or said("loop.direct"),
        "centre": None if ahead is None else said("loop.ahead", seconds=f"{ahead:+d}"),
        "price": said("loop.no_price") if cost is None else rupiah(cost),
    }
    session.pairs(
        {
            said(f"loop.{name}").told(language): None if value is None else told(value, language)
            for name, value in rows.items()
        },
        title=said("loop.title").told(language),
    )
    session.say("")


def _verdict(findings: list[Finding]) -> Both:
    from app.faces.cli.doctor_texts import said
    from modem.doctor import ADVICE, FAULT, WARNING, joined

    counts = {
        word: sum(1 for finding in findings if finding.severity == word) for word in (FAULT, WARNING, ADVICE)
    }
    wrong = joined(
        [
            said(f"screen.{word}s", count=counts[word]) if counts[word] > 1 else said(f"screen.one_{word}")
            for word in (FAULT, WARNING)
            if counts[word]
        ],
        said("words.and"),
    )
    if counts[FAULT]:
        return said("screen.cannot_work", wrong=wrong)
    if counts[WARNING]:
        return said("screen.mend_it" if counts[WARNING] == 1 else "screen.mend_them", wrong=wrong)
    return said("screen.healthy_advice" if counts[ADVICE] else "screen.healthy")
