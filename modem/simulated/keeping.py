"""Settings that the simulated dongle takes, tells and remembers, but that change nothing else here (ITU-T V.250, 3GPP TS 27.007)."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from modem.simulated.grammar import Refused, arguments, cme, number
from modem.simulated.personality import numbers

if TYPE_CHECKING:
    from modem.simulated.channel import Channel

Lines = list[str] | None
Handler = Callable[["Channel", str, str, datetime], Lines]

_RATES = (0, 1200, 2400, 4800, 9600, 19200, 38400, 57600, 115200, 230400, 460800, 921600)
_RATE = 115200
_OLDER = ("+DR", "+DS", "+ES", "+FCLASS", "+ICF", "+IFC", "+ILRR")


def kept(name: str, offered: str, first: str, behind: str = "") -> Handler:
    """A setting of one or more values, each one of those in its parentheses; one left out stays as it was.

    `behind`: what the answer has besides, that cannot be set.
    """
    # +CME ERROR belongs to 27.007 (§9.2.0): what V.250 and T.31 have ends in plain ERROR, for which mgetty waits.
    refusal = Refused() if name in _OLDER else cme(50)
    choices = [numbers(one) for one in re.findall(r"\(([^)]*)\)", offered)]

    def handler(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
        remembered = channel.profile.kept
        before = remembered.get(name, first)
        if op == "=?":
            return [f"{name}: {offered}"]
        if op == "?":
            return [f"{name}: {before}{behind}"]
        values = arguments(arg)
        if op != "=" or len(values) > len(choices):
            raise refusal
        chosen = before.split(",")
        for place, value in enumerate(values):
            if value and (not value.isdecimal() or int(value) not in choices[place]):
                raise refusal
            chosen[place] = str(int(value)) if value else chosen[place]
        remembered[name] = ",".join(chosen)
        return []

    return handler


BASIC = {"L": (3, 1), "M": (3, 1), "X": (4, 4), "&C": (1, 1), "&D": (2, 2), "&K": (6, 3), "&S": (1, 0)}
"""The settings of V.250's basic syntax by name: the greatest value, and what it is at first."""


def basic(name: str) -> Handler:
    """One of `BASIC`: it can be set and not asked; 0 where no number stands."""

    def handler(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
        channel.profile.kept[name] = str(number(arg or "0", 0, BASIC[name][0], Refused()))
        return []

    return handler


def view(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    """AT&V: the settings of the basic syntax and the registers, as modems since Hayes' show them."""
    profile = channel.profile
    switches = {"E": profile.echo, "V": profile.verbose, "Q": profile.quiet}
    shown = [f"{name}{int(on)}" for name, on in switches.items()]
    shown += [f"{name}{profile.kept.get(name, first)}" for name, (_, first) in BASIC.items()]
    registers = [f"S{index}:{value:03d}" for index, value in sorted(profile.registers.items())]
    return ["ACTIVE PROFILE:", " ".join(shown), " ".join(registers)]


def rate(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    """AT+IPR: the speed of the line, which a stick on USB has none of (V.250 §6.2.10); 0 is found by itself."""
    remembered = channel.profile.kept
    if op == "=?":
        return [f"+IPR: (),({','.join(map(str, _RATES))})"]
    if op == "?":
        return [f"+IPR: {remembered.get('+IPR', str(_RATE))}"]
    if op != "=" or not arg.isdecimal() or int(arg) not in _RATES:
        raise Refused
    remembered["+IPR"] = arg
    return []
