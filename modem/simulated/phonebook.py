"""The phonebooks of the simulated dongle: the SIM's names, and the number that it calls its own (3GPP TS 27.007 §7.1, §8.11 to §8.14)."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING

from modem.simulated import texts
from modem.simulated.grammar import arguments, cme, number

if TYPE_CHECKING:
    from modem.simulated.channel import Channel

Lines = list[str] | None

_SIZE = 250  # records of EF-ADN on most SIMs
_NUMBER_LENGTH, _NAME_LENGTH = 24, 18  # what +CPBR=? tells, and +CPBW keeps to
_NUMBER = re.compile(r"\+?[0-9*#pPwW]*")
_NATIONAL, _INTERNATIONAL = 129, 145  # 3GPP TS 24.008 §10.5.4.7


def cnum(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    """AT+CNUM: the number that the SIM calls its own; +CSCS is for names, not for numbers."""
    digits, name = channel.dongle.sim.own_entry
    return [] if op == "=?" or not digits else [f"+CNUM: {_shown(channel, digits, name, named_first=True)}"]


def cpbs(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    """AT+CPBS: which phonebook the others mean."""
    if op == "=?":
        return ['+CPBS: ("SM","ON")']
    if op == "?":
        used = sum(bool(digits) for digits, _ in _book(channel).values())
        return [f'+CPBS: "{channel.profile.phonebook}",{used},{_size(channel)}']
    wanted = arguments(arg)[0].upper()
    if wanted not in ("SM", "ON"):
        raise cme(4)
    channel.profile.phonebook = wanted
    return []


def cpbr(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    """AT+CPBR: the records from one to another."""
    size = _size(channel)
    if op == "=?":
        return [f"+CPBR: (1-{size}),{_NUMBER_LENGTH},{_NAME_LENGTH}"]
    values = arguments(arg)
    if op != "=" or len(values) > 2:
        raise cme(50)
    first = number(values[0], 1, _SIZE, cme(21))
    last = number(values[1], 1, _SIZE, cme(21)) if len(values) > 1 else first
    return [
        f"+CPBR: {place},{_shown(channel, *entry)}"
        for place, entry in sorted(_book(channel).items())
        if first <= place <= last
    ]


def cpbf(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    """AT+CPBF: the records whose name begins with a text."""
    if op == "=?":
        return [f"+CPBF: {_NUMBER_LENGTH},{_NAME_LENGTH}"]
    if op != "=":
        raise cme(50)
    wanted = texts.plain(channel, arguments(arg)[0]).lower()
    found = [
        f"+CPBF: {place},{_shown(channel, *entry)}"
        for place, entry in sorted(_book(channel).items())
        if entry[1].lower().startswith(wanted)
    ]
    if not found:
        raise cme(22)
    return found


def cpbw(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    """AT+CPBW: write a record, into the first free one where none is named; one that is only named is emptied."""
    size, book = _size(channel), _book(channel)
    if op == "=?":
        return [f"+CPBW: (1-{size}),{_NUMBER_LENGTH},({_NATIONAL},{_INTERNATIONAL}),{_NAME_LENGTH}"]
    values = arguments(arg)
    if op != "=" or not arg or len(values) > 4:
        raise cme(50)
    place, digits, kind, name = (*values, "", "", "", "")[:4]
    if place:
        at = number(place, 1, size, cme(21))
    else:
        at = next((one for one in range(1, size + 1) if one not in book), 0)
    if not at:
        raise cme(20)
    entry = _entry(channel, digits, kind, name)
    if channel.profile.phonebook == "ON":
        channel.dongle.sim.own_entry = entry
    elif entry == ("", ""):
        book.pop(at, None)
    else:
        book[at] = entry
    return []


def _entry(channel: Channel, digits: str, kind: str, name: str) -> tuple[str, str]:
    if not _NUMBER.fullmatch(digits):
        raise cme(27)
    if len(digits) > _NUMBER_LENGTH:
        raise cme(26)
    if kind and number(kind, 128, 255, cme(50)) == _INTERNATIONAL and digits.isdigit():
        digits = f"+{digits}"
    text = texts.plain(channel, name)
    if len(text) > _NAME_LENGTH:
        raise cme(24)
    return digits, text


def _size(channel: Channel) -> int:
    return 1 if channel.profile.phonebook == "ON" else _SIZE


def _book(channel: Channel) -> dict[int, tuple[str, str]]:
    sim = channel.dongle.sim
    return {1: sim.own_entry} if channel.profile.phonebook == "ON" else sim.phonebook


def _shown(channel: Channel, digits: str, name: str, *, named_first: bool = False) -> str:
    kind = _INTERNATIONAL if digits[:1] == "+" else _NATIONAL
    text = f'"{texts.coded(channel, name)}"'
    return f'{text},"{digits}",{kind}' if named_first else f'"{digits}",{kind},{text}'
