"""`doctor`: for somebody with a stick in the hand and no idea: what is there, what is wrong, what mends it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import typer

from app.faces.cli.output import FAULTS, WARNINGS, Session

if TYPE_CHECKING:
    from collections.abc import Sequence

    from app.faces.cli.examining import Examined
    from app.faces.cli.ports_asked import PortSeen
    from modem.doctor import Finding

"""Exit statuses (design, section 6); 0 where nothing is wrong."""
MOST = 4
"""Things of one kind that are named one by one; --json names all."""
LONG_COMMAND = 50
"""Characters from which a command stands on a line of its own, which the terminal may wrap but the text does not."""
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
) -> None:
    """Find out what is wrong with sticks, SIMs, lanes and this host, and how to mend it. Never stops a running gateway."""
    from app.faces.cli import examining, looping

    session: Session = ctx.obj
    settings = session.settings()
    if key_copied:
        examining.confirm_key_copy(settings)
        if session.json:
            session.show_json({"keys_file": str(settings.sealing.keys_file), "copied": True})
        session.say(f"Remembered: {settings.sealing.keys_file} has a copy elsewhere.")
        return
    progress = _progress(session)
    # With --loop the code is asked before and after the SMS: what came of it is told there.
    examined = examining.examine(settings, lane, None if loop else credit_code, progress=progress)
    looped: dict[str, Any] | None = None
    if loop:
        wanted = looping.Loop(number, credit_code, _confirm(session, yes), progress)
        looped, failed = looping.run_loop(settings, wanted, free=examined.free, held=examined.answering)
        examined.findings = examining.in_order([*failed, *examined.findings])
    if session.json:
        session.show_json(examined.as_json() | ({"loop": looped} if loop else {}))
    else:
        show(session, examined, looped)
    raise typer.Exit(status_of(examined.findings))


def status_of(findings: list[Finding]) -> int:
    """0 nothing, 10 warnings, 11 faults."""
    from modem.doctor import FAULT, WARNING, worst

    return {None: 0, WARNING: WARNINGS, FAULT: FAULTS}[worst(findings)]


def _progress(session: Session) -> Any:
    return (lambda sentence: None) if session.json or not session.err.is_terminal else session.note


def _confirm(session: Session, yes: bool) -> Any:
    def confirm(question: str) -> bool:
        return yes or (not session.json and typer.confirm(question, default=False, err=True))

    return confirm


def show(session: Session, examined: Examined, looped: dict[str, Any] | None) -> None:
    """Print everything for people: ports, lines to write, last replies, findings, the verdict."""
    from app.faces.cli.output import rupiah

    _show_ports(session, examined.ports)
    if examined.settings_lines:
        session.say("No lane uses this yet. Write into bpjs-sms.toml:\n")
        session.say("\n".join(f"    {line}".rstrip() for line in examined.settings_lines) + "\n")
    if examined.exchanges:
        session.table(
            ("lane", "service", "last reply", "questions unanswered since"),
            (
                (
                    one.lane,
                    one.service,
                    one.last_reply.strftime("%Y-%m-%d %H:%M UTC") if one.last_reply else "never",
                    one.unanswered,
                )
                for one in examined.exchanges
            ),
            title="Last replies",
        )
    for group in alike(examined.findings):
        _show_finding(session, group)
    if looped is not None:
        _show_loop(session, looped, rupiah)
    if examined.unseen:
        session.say(f"This user may not see {' and '.join(examined.unseen)}; this can: {_again_as_root()}\n")
    session.say(_verdict(examined.findings))


def alike(findings: Sequence[Finding]) -> list[list[Finding]]:
    """Findings that say the same of several things, together, in the order of the first of each."""
    groups: dict[tuple[str, str], list[Finding]] = {}
    for finding in findings:
        groups.setdefault((finding.code, finding.what), []).append(finding)
    return list(groups.values())


def _show_finding(session: Session, group: list[Finding]) -> None:
    from rich.text import Text

    from app.faces.cli.output import legible
    from modem.doctor import FAULT, WARNING

    first = group[0]
    label, style = {
        FAULT: (" FAULT   ", "bold white on red"),
        WARNING: (" WARNING ", "black on yellow"),
    }.get(first.severity, (" ADVICE  ", "black on cyan"))
    about = [finding.about for finding in group]
    shown = ", ".join(about[:MOST]) + (f" and {len(about) - MOST} more" if len(about) > MOST else "")
    session.out.print(
        Text.assemble((label, style), f" {legible(shown)}  ", (first.code, "dim")), soft_wrap=True
    )
    width = session.out.width
    session.out.print(_wrapped("", first.what, width), soft_wrap=True)
    for label, said in (
        ("seen", [(one.about, one.how) for one in group]),
        ("mend", [(one.about, one.mend) for one in group]),
    ):
        each = list(dict.fromkeys(text for _, text in said))
        if len(each) > 1:
            each = [f"{name}: {text}" for name, text in said]
        for place, text in enumerate(each[:MOST]):
            prose, commands = apart(text) if label == "mend" else (text, [])
            session.out.print(_wrapped("" if place else label, prose, width), soft_wrap=True)
            for number, command in enumerate(commands, 1):  # unbroken, so that it can be copied
                session.say(f"         ({number})  {command}")
        if len(each) > MOST:
            session.say(f"       and {len(each) - MOST} more like this: --json has them all")
    session.say("")


def _show_ports(session: Session, ports: Sequence[PortSeen]) -> None:
    """Each stick with its ports below it, narrow enough for 80 columns."""
    from itertools import groupby

    from rich.text import Text

    from app.faces.cli.output import legible

    others = "Other ports" if any(port.stick for port in ports) else "Ports"
    wide = max((len(port.port) for port in ports), default=0)
    roles = max((len(port.role or "") for port in ports), default=0)
    for stick, group in groupby(ports, key=lambda port: port.stick):
        session.out.print(Text(legible(stick or others), style="bold"))
        for port in group:
            strength = None if port.signal is None else f"signal {port.signal} of 31"
            lane = None if port.lane is None else f"lane {port.lane}"
            told = " · ".join(word for word in (lane, port.model, port.operator, strength) if word)
            line = f"  {port.port:<{wide}}  {port.role or '':<{roles}}  {legible(told)}"
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


def _wrapped(label: str, text: str, width: int) -> Any:
    """The text behind its label, wrapped with a hanging indent, at 100 columns at most: longer lines are hard to read."""
    import textwrap

    from rich.text import Text

    from app.faces.cli.output import legible

    lines = textwrap.wrap(
        legible(text), max(30, min(width, 100) - 7), break_long_words=False, break_on_hyphens=False
    )
    return Text("\n").join(
        Text.assemble((f" {'' if place else label:<4}  ", "dim"), line) for place, line in enumerate(lines)
    )


def _again_as_root() -> str:
    """The command with which root would do the same: sudo looks for programs in folders of its own."""
    import shlex
    import shutil
    import sys

    called = sys.argv[0] if "/" in sys.argv[0] else shutil.which("bpjs-sms") or "bpjs-sms"
    return shlex.join(["sudo", called, *sys.argv[1:]])


def _show_loop(session: Session, looped: dict[str, Any], rupiah: Any) -> None:
    if "error" in looped:  # stands among the findings
        return
    ahead, cost = looped["centre_ahead_seconds"], looped["cost"]
    session.pairs(
        {
            "came back after": f"{looped['delay_seconds']} s",
            "landed in": looped["storage"] or "no storage: it was delivered directly",
            "service centre's clock": None if ahead is None else f"{ahead:+d} s against this host's",
            "price": "not known: name the credit's USSD code with --credit-code"
            if cost is None
            else rupiah(cost),
        },
        title="The SIM sent an SMS to itself, and received it",
    )
    session.say("")


def _verdict(findings: list[Finding]) -> str:
    from modem.doctor import ADVICE, FAULT, WARNING

    counts = {
        word: sum(1 for finding in findings if finding.severity == word) for word in (FAULT, WARNING, ADVICE)
    }
    wrong = " and ".join(f"{counts[w]} {w}{'s' * (counts[w] > 1)}" for w in (FAULT, WARNING) if counts[w])
    if counts[FAULT]:
        return f"{wrong}. What has a fault cannot work; mend it from the top."
    if wrong:
        return f"{wrong}. It works; better mend {'it' if counts[WARNING] == 1 else 'them'}."
    return "Nothing is wrong." + (" There is advice above." if counts[ADVICE] else "")
