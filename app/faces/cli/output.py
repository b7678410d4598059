"""What the command line prints: tables for people or JSON for programs, errors as one sentence, and exit statuses."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from app.domain.errors import Blame, GatewayError, SettingsError

if TYPE_CHECKING:
    from rich.console import Console

    from app.settings import Settings

DONE = 0
FAULT = 1
INPUT = 2
REFUSED = 3
UNREACHABLE = 4
NO_ANSWER = 5
OTHER_OUTCOME = 6
WARNINGS = 10
FAULTS = 11
INTERRUPTED = 130

EXIT_STATUS = {
    DONE: "done; for a check: found",
    FAULT: "a fault of ours",
    INPUT: "usage, settings or input are wrong; also a database of a newer version or sealed with other keys",
    REFUSED: "the gateway refused",
    UNREACHABLE: "gateway, database or port not reachable, or served already",
    NO_ANSWER: "no answer: no reply, failed, cancelled, expired, uncertain, or still waiting",
    OTHER_OUTCOME: "answered, with another outcome than found",
    WARNINGS: "doctor: warnings",
    FAULTS: "doctor: faults",
    INTERRUPTED: "interrupted",
}
"""The exit statuses (design, section 6)."""

_UNREACHABLE_CODES = frozenset({"unreachable", "served", "unavailable", "not_a_gateway"})
_PIPED_WIDTH = 200
"""Columns when the output is no terminal: wide enough that no cell of ours is broken."""


class Refused(GatewayError):
    """The gateway said no; `problem` is its answer (RFC 9457)."""

    def __init__(self, status: int, problem: Mapping[str, Any], detail: str) -> None:
        faults = problem.get("errors") or ()
        blame = problem.get("blame")
        super().__init__(
            str(problem.get("code", "refused")),
            detail,
            blame=Blame(blame) if blame in set(Blame) else Blame.GATEWAY,
            faults=[fault for fault in faults if isinstance(fault, Mapping)],
        )
        self.status = status
        self.problem = dict(problem)


def exit_status(error: BaseException) -> int:
    """The documented exit status of an expected error."""
    from modem.port import ModemError

    match error:
        case Refused(status=500):
            return FAULT
        case Refused():
            return REFUSED
        case GatewayError(code=code) if code in _UNREACHABLE_CODES:
            return UNREACHABLE
        case GatewayError(code="internal"):
            return FAULT
        case ModemError():
            return UNREACHABLE
        case _:
            return INPUT


def problem_of(error: Exception) -> dict[str, Any]:
    """An error as a problem object (RFC 9457) for `--json`; the gateway's own is handed on as it came."""
    if isinstance(error, Refused):
        return error.problem
    code = getattr(error, "code", "internal")
    problem: dict[str, Any] = {
        "type": "about:blank",
        "title": str(code).replace("_", " "),
        "detail": getattr(error, "detail", str(error)),
        "code": code,
        "blame": getattr(error, "blame", Blame.GATEWAY),
    }
    faults = getattr(error, "faults", ())
    return problem | ({"errors": [dict(fault) for fault in faults]} if faults else {})


def _sentence(text: str) -> str:
    if text.partition(" ")[0].isalpha():  # else it is a file's name or an option
        text = text[:1].upper() + text[1:]
    return text if text.endswith((".", "!", "?")) else f"{text}."


def legible(text: object) -> str:
    """The text without control characters, which a received SMS could use to play with the terminal."""
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", "�", str(text))


def rupiah(amount: int) -> str:
    """An amount as it is written in Indonesia: Rp 12.345.678."""
    return f"Rp {amount:,}".replace(",", ".")


@dataclass
class Session:
    """What the options before a command said, and where its output goes."""

    config: Path | None = None
    json: bool = False
    _told: set[str] = field(default_factory=set)

    def settings(self, overrides: Mapping[str, Any] | None = None) -> Settings:
        """The settings in force. SettingsError names every fault."""
        from app.settings import load_settings

        return load_settings(self.config, None, overrides)

    @cached_property
    def out(self) -> Console:
        return _console(stderr=False)

    @cached_property
    def err(self) -> Console:
        return _console(stderr=True)

    def show_json(self, value: object) -> None:
        """The one thing that stdout holds with `--json`."""
        print(
            json.dumps(value, ensure_ascii=False, indent=2, default=str), flush=True
        )  # a pipe's reader may wait for it

    def say(self, sentence: str) -> None:
        """A line for people: nothing with `--json`."""
        if not self.json:
            self.out.print(legible(sentence), markup=False, highlight=False, soft_wrap=True)

    def note(self, sentence: str) -> None:
        """A line beside the output, on stderr, once."""
        if sentence not in self._told:
            self._told.add(sentence)
            self.err.print(legible(sentence), markup=False, highlight=False, soft_wrap=True)

    def table(
        self, columns: Sequence[str], rows: Iterable[Sequence[object]], title: str | None = None
    ) -> None:
        """A table for people; what came from elsewhere is printed as it is, never as markup."""
        from rich.box import SIMPLE_HEAD
        from rich.table import Table
        from rich.text import Text

        table = Table(
            title=None if title is None else Text(title),
            box=SIMPLE_HEAD,
            title_justify="left",
            pad_edge=False,
        )
        for column in columns:
            table.add_column(Text(column), overflow="fold")
        for row in rows:
            table.add_row(*(Text("" if cell is None else legible(cell)) for cell in row))
        self.out.print(table)

    def pairs(self, values: Mapping[str, object], title: str | None = None) -> None:
        """Names and values, one a line; what is None is left out."""
        from rich.table import Table
        from rich.text import Text

        if title is not None:
            self.out.print(Text(title, style="bold"))
        grid = Table.grid(padding=(0, 2))
        for name, value in values.items():
            if value is not None:
                grid.add_row(Text(name, style="dim"), Text(legible(value), overflow="fold"))
        self.out.print(grid)

    def complain(self, error: Exception) -> int:
        """Print an expected error, one sentence and a line for every fault; its exit status."""
        if self.json:
            self.show_json(problem_of(error))
            return exit_status(error)
        sentence = str(getattr(error, "detail", error))
        if not isinstance(error, SettingsError):  # those begin with the name of a file or a setting
            sentence = _sentence(sentence)
        self._red(sentence)
        for fault in getattr(error, "faults", ()):
            if str(fault.get("detail", "")) in sentence:
                continue
            place = f"row {fault['row']}" if "row" in fault else fault.get("field", "")
            self._red(f"  {place}: {fault.get('detail', fault.get('code', ''))}")
        return exit_status(error)

    def usage(self, message: str, hint: str) -> int:
        """Print what was wrong with the command as it was written."""
        sentence = f"{_sentence(message)} {hint}"
        if self.json:
            self.show_json(problem_of(GatewayError("usage", sentence)))
        else:
            self._red(sentence)
        return INPUT

    def crash(self, error: Exception) -> int:
        """Print a fault of ours, with what a bug report needs."""
        import traceback

        where = traceback.extract_tb(error.__traceback__)[-1]
        place = f"{Path(where.filename).name}:{where.lineno}"
        sentence = f"A fault of ours: {type(error).__name__} at {place}: {error}. Please report this line."
        if self.json:
            self.show_json(problem_of(GatewayError("internal", sentence, blame=Blame.GATEWAY)))
        else:
            self._red(sentence)
        return FAULT

    def _red(self, sentence: str) -> None:
        from rich.text import Text

        self.err.print(Text(legible(sentence), style="red"), soft_wrap=True)


def _console(*, stderr: bool) -> Console:
    from rich.console import Console

    console = Console(stderr=stderr)
    if not console.is_terminal:
        console.width = _PIPED_WIDTH
    return console
