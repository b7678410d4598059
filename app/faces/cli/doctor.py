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
    from app.faces.cli import examining

    session: Session = ctx.obj
    settings = session.settings()
    if key_copied:
        examining.confirm_key_copy(settings)
        if session.json:
            session.show_json({"keys_file": str(settings.sealing.keys_file), "copied": True})
        session.say(f"Remembered: {settings.sealing.keys_file} has a copy elsewhere.")
        return
    examined = examining.examine(settings, lane, credit_code, progress=_progress(session))
    looped: dict[str, Any] | None = None
    if loop:
        looped = examining.run_loop(examined, lane, number, credit_code, confirm=_confirm(session, yes))
    if session.json:
        session.show_json(examined.as_json() | ({"loop": looped} if loop else {}))
    else:
        _show(session, examined, looped)
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


def _show(session: Session, examined: Examined, looped: dict[str, Any] | None) -> None:
    from rich.text import Text

    from app.faces.cli.output import legible, rupiah
    from modem.doctor import FAULT

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
    for finding in examined.findings:
        serious = finding.severity == FAULT
        head = Text(
            " FAULT   " if serious else " WARNING ",
            style="bold white on red" if serious else "black on yellow",
        )
        session.out.print(
            Text.assemble(head, f" {legible(finding.about)}  ", (finding.code, "dim")), soft_wrap=True
        )
        session.out.print(_wrapped("", finding.what, session.out.width))
        session.out.print(_wrapped("seen", finding.how, session.out.width))
        prose, commands = apart(finding.mend)
        session.out.print(_wrapped("mend", prose, session.out.width))
        for number, command in enumerate(commands, 1):  # unbroken, so that it can be copied
            session.say(f"       ({number}) {command}")
        session.say("")
    if looped is not None:
        _show_loop(session, looped, rupiah)
    if examined.unseen:
        session.say(f"This user could not see {' and '.join(examined.unseen)}: `sudo bpjs-sms doctor` can.\n")
    session.say(_verdict(examined.findings))


def _show_ports(session: Session, ports: Sequence[PortSeen]) -> None:
    """Each stick with its ports below it, narrow enough for 80 columns."""
    from itertools import groupby

    from rich.table import Table
    from rich.text import Text

    from app.faces.cli.output import legible

    for stick, group in groupby(ports, key=lambda port: port.stick):
        session.out.print(Text(legible(stick or "Other ports"), style="bold"))
        grid = Table.grid(padding=(0, 2))
        grid.add_column(no_wrap=True)
        grid.add_column(no_wrap=True)
        grid.add_column(overflow="fold")
        for port in group:
            strength = None if port.signal is None else f"signal {port.signal} of 31"
            lane = None if port.lane is None else f"lane {port.lane}"
            told = " · ".join(word for word in (lane, port.model, port.operator, strength) if word)
            grid.add_row(Text(f"  {port.port}"), Text(port.role or ""), Text(legible(told)))
        session.out.print(grid)
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
    from rich.table import Table
    from rich.text import Text

    from app.faces.cli.output import legible

    grid = Table.grid(padding=(0, 2))
    grid.width = min(width, 100)
    grid.add_column(width=5)
    grid.add_column(ratio=1)
    grid.add_row(Text(f" {label}", style="dim"), Text(legible(text), overflow="fold"))
    return grid


def _show_loop(session: Session, looped: dict[str, Any], rupiah: Any) -> None:
    if "error" in looped:  # stands among the findings
        return
    ahead, cost = looped["centre_ahead_seconds"], looped["cost"]
    session.pairs(
        {
            "came back after": f"{looped['delay_seconds']} s",
            "landed in": looped["storage"],
            "service centre's clock": None if ahead is None else f"{ahead:+d} s against this host's",
            "price": "not known: name the credit's USSD code with --credit-code"
            if cost is None
            else rupiah(cost),
        },
        title="The SIM sent an SMS to itself, and received it",
    )
    session.say("")


def _verdict(findings: list[Finding]) -> str:
    from modem.doctor import FAULT

    faults = sum(1 for finding in findings if finding.severity == FAULT)
    warnings = len(findings) - faults
    if not findings:
        return "Nothing is wrong."
    parts = [
        f"{count} {word}{'s' * (count > 1)}"
        for count, word in ((faults, "fault"), (warnings, "warning"))
        if count
    ]
    return f"{' and '.join(parts)}. " + (
        "With the faults it cannot work; mend them from the top." if faults else "It works; better mend them."
    )
