"""The grammar of command lines (ITU-T V.250 §5.2 to §5.4) and of error results (3GPP TS 27.007 §9.2, 27.005 §3.2.5)."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

_EXTENDED = re.compile(r"([+^*$%#!]\s*[A-Za-z0-9!%\-./:_]+)\s*(=\s*\?|\?|=|)")
_REGISTER = re.compile(r"[Ss](\d+)\s*(\?|=)\s*(\d*)")
_BASIC = re.compile(r"(&?[A-Za-z])\s*(\d*)")

_CME = {
    3: "operation not allowed",
    4: "operation not supported",
    10: "SIM not inserted",
    11: "SIM PIN required",
    12: "SIM PUK required",
    13: "SIM failure",
    14: "SIM busy",
    16: "incorrect password",
    20: "memory full",
    21: "invalid index",
    22: "not found",
    24: "text string too long",
    26: "dial string too long",
    27: "invalid characters in dial string",
    30: "no network service",
    32: "network not allowed - emergency calls only",
    56: "fixed dial number only allowed",
    50: "Incorrect parameters",
    100: "unknown",
    148: "unspecified GPRS error",
}
_CMS = {
    10: "Call barred",
    21: "Short message transfer rejected",
    300: "ME failure",
    301: "SMS service of ME reserved",
    302: "Operation not allowed",
    304: "Invalid PDU mode parameter",
    305: "Invalid text mode parameter",
    310: "SIM not inserted",
    311: "SIM PIN required",
    313: "SIM failure",
    314: "SIM busy",
    316: "SIM PUK required",
    321: "Invalid memory index",
    322: "Memory full",
    330: "SMSC address unknown",
    331: "No network service",
    332: "Network timeout",
    340: "No +CNMA acknowledgement expected",
    500: "unknown error",
    515: "Please wait, initialization or command processing in progress",
}


class Refused(Exception):
    """A command ends in an error result. `kind` is `CME`, `CMS` or empty for a plain ERROR."""

    def __init__(self, kind: str = "", code: int = 0) -> None:
        super().__init__(kind, code)
        self.kind = kind
        self.code = code

    def result(self, level: int) -> str:
        """The final result code as `AT+CMEE=level` wants it; +CMS errors carry a number at level 0 too."""
        if not self.kind or (self.kind == "CME" and level == 0):
            return "ERROR"
        texts = _CMS if self.kind == "CMS" else _CME
        shown = texts.get(self.code, "unknown") if level == 2 else str(self.code)
        return f"+{self.kind} ERROR: {shown}"


def cme(code: int) -> Refused:
    return Refused("CME", code)


def cms(code: int) -> Refused:
    return Refused("CMS", code)


@dataclass(frozen=True, slots=True)
class Command:
    """One command of a line. `name` is upper case, `op` one of empty, `?`, `=`, `=?`; `arg` is as written."""

    name: str
    op: str
    arg: str


@lru_cache(maxsize=512)
def commands(body: str) -> tuple[Command, ...]:
    """The commands after the prefix AT. Raises Refused where the line makes no sense."""
    found = []
    at, end = 0, len(body)
    while at < end:
        if body[at] in " ;\t":
            at += 1
            continue
        if body[at] in "Dd":
            found.append(Command("D", "", body[at + 1 :]))
            break
        if match := _EXTENDED.match(body, at):
            name, op = "".join(match[1].split()).upper(), "".join(match[2].split())
            stop = _end_of_extended(body, match.end())
            rest = body[match.end() : stop].strip()
            if rest and op != "=":
                raise Refused
            found.append(Command(name, op, rest))
            at = stop + 1
        elif match := _REGISTER.match(body, at):
            found.append(Command("S" + match[1], match[2], match[3]))
            at = match.end()
        elif match := _BASIC.match(body, at):
            found.append(Command(match[1].upper(), "", match[2]))
            at = match.end()
        else:
            raise Refused
    return tuple(found)


def _end_of_extended(body: str, at: int) -> int:
    quoted = False
    for place in range(at, len(body)):
        char = body[place]
        if char == '"':
            quoted = not quoted
        elif char == ";" and not quoted:
            return place
    return len(body)


@lru_cache(maxsize=512)
def arguments(arg: str) -> tuple[str, ...]:
    """The values of one command, quotes taken off; one left out is empty."""
    if '"' not in arg:
        return tuple(part.strip() for part in arg.split(","))
    values, current, quoted = [], "", False
    for char in arg:
        if char == '"':
            quoted = not quoted
        elif char == "," and not quoted:
            values.append(current.strip())
            current = ""
        else:
            current += char
    if quoted:
        raise cme(50)
    values.append(current.strip())
    return tuple(values)


def number(value: str, low: int, high: int, refusal: Refused) -> int:
    """A decimal within limits; raises `refusal`."""
    if not value.isascii() or not value.isdecimal() or not low <= int(value) <= high:
        raise refusal
    return int(value)
