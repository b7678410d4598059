"""USSD and calls of the simulated dongle: +CUSD, RING and what answers it (3GPP TS 27.007 §7.15, §6)."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from modem import ussd
from modem.alphabet import is_gsm7
from modem.simulated import texts
from modem.simulated.grammar import Refused, arguments, cme, number
from modem.simulated.menus import Menu

if TYPE_CHECKING:
    from modem.simulated.channel import Channel
    from modem.simulated.dongle import Dongle

Lines = list[str] | None

_CODE = re.compile(r"[*#][0-9*#]*#")
_DATA = re.compile(r"\*9[89](\*.*)?#")  # 3GPP TS 27.007 §10.2.1: packet data, where no semicolon stands
_VOICE = re.compile(r"[TtPp]?\+?[0-9*#ABCabc,!@Ww]+[IiGg]*;")  # 3GPP TS 27.007 §6.2
USSD_WAIT = timedelta(milliseconds=500)  # an answer of the network comes after OK, about so long
MENU_WAIT = timedelta(seconds=60)  # networks end a dialogue that nobody answers; how soon is theirs to say
DONE, MORE, ENDED, UNSUPPORTED, TIMED_OUT = 0, 1, 2, 4, 5  # 3GPP TS 27.007 §7.15 <m>


def cusd(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    """AT+CUSD: dial a code, answer the open menu, or cancel it."""
    dongle = channel.dongle
    if op == "=?":
        return ["+CUSD: (0-2)"]
    if op == "?":
        return [f"+CUSD: {channel.profile.ussd_shown}"]
    values = arguments(arg)
    kind = number(values[0] or "0", 0, 2, cme(50))
    if kind == 2:
        dongle.menu = None
        dongle.dialogue += 1
        return []
    channel.profile.ussd_shown = kind
    channel.profile.ussd_hidden = kind == 0
    if len(values) > 1 and values[1]:
        _ask(channel, _entered(channel, values[1]), now)
    return []


def _ask(channel: Channel, code: str, now: datetime) -> None:
    """Dial a code: the network answers after OK. Raises Refused without a network."""
    dongle = channel.dongle
    if not dongle.registered:
        raise cme(30)
    dongle.plan(now + USSD_WAIT, lambda at: _answer(channel, code, at))


def _show(channel: Channel, shown: str) -> None:
    """What the network said, unless +CUSD=0 was said; makers differ in what they show before anything was."""
    if not channel.profile.ussd_hidden:
        channel.urc(f"+CUSD: {shown}")


def push(dongle: Dongle, text: str, now: datetime, *, choices: dict[str, Menu] | None = None) -> None:
    """Let the network say something by USSD that nobody asked for; with choices it waits for an answer."""
    with dongle.network.lock:
        if dongle.plugged and dongle.registered:
            _say(dongle.urc_port, Menu(text, choices or {}), now)
        dongle.network.step(now)


def _answer(channel: Channel, code: str, now: datetime) -> None:
    dongle = channel.dongle
    found = dongle.network.dial(dongle.sim, code, dongle.menu, now)
    if found is None:
        dongle.menu = None
        _show(channel, str(UNSUPPORTED))
    else:
        _say(channel, found, now)


def _say(channel: Channel, found: Menu, now: datetime) -> None:
    dongle = channel.dongle
    dongle.menu = found if found.choices else None
    dongle.dialogue += 1
    mark = dongle.dialogue
    shown, coding = _spelled(channel, found.text)
    _show(channel, f'{MORE if found.choices else DONE},"{shown}",{coding}')

    def time_out(at: datetime) -> None:
        if dongle.dialogue == mark and dongle.menu is not None:
            dongle.menu = None
            _show(channel, str(TIMED_OUT))

    if found.choices:
        dongle.plan(now + MENU_WAIT, time_out)


def _form(channel: Channel) -> str:
    dongle = channel.dongle
    return ussd.TEXT if dongle.settings.get("^USSDMODE") == "0" else dongle.personality.ussd


def _entered(channel: Channel, given: str) -> str:
    """The code that the host meant. Raises Refused where this kind of stick takes it in another form."""
    form = _form(channel)
    if form == ussd.TEXT:
        return texts.plain(channel, given)
    try:
        octets = bytes.fromhex(given)
    except ValueError:
        if form == ussd.PACKED:
            raise cme(50) from None
        return given
    if form == ussd.UCS2:
        return given if given.isdecimal() else octets.decode("utf-16-be", "replace")
    return ussd.decode(given, 15, form).rstrip("\r")


def _spelled(channel: Channel, text: str) -> tuple[str, int]:
    """The text as this kind of stick shows it, and its coding (3GPP TS 23.038 §5)."""
    form = _form(channel)
    plain = is_gsm7(text)
    if form == ussd.PACKED and plain:
        return ussd.encode(text, ussd.PACKED), 15
    if form == ussd.TEXT and plain:
        return texts.coded(channel, text), 15
    return ussd.encode(text, ussd.UCS2), 72


def answer_call(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    """ATA."""
    dongle = channel.dongle
    if not dongle.ringing:
        channel.result("NO CARRIER")
        return None
    dongle.take_call()
    return []


def hang_up(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    """ATH and AT+CHUP."""
    if op != "=?":
        channel.dongle.hang_up(now)
    return []


def dial(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    """ATD: a voice call, which nobody ever answers, or where the stick does that a code as by +CUSD (3GPP TS 22.030 §6.5.3.2)."""
    dongle, dialled = channel.dongle, "".join(arg.split())
    code = dialled.removesuffix(";")
    is_code = _CODE.fullmatch(code) is not None
    if is_code and dongle.personality.dials_codes and not _DATA.fullmatch(dialled):
        _ask(channel, code, now)
        return []
    if dongle.sim.barred & {"AO", "OI"}:
        raise Refused
    busy = dongle.ringing or dongle.called is not None
    if is_code or busy or not _VOICE.fullmatch(dialled) or not dongle.registered:
        channel.result("NO CARRIER")
        return None
    dongle.call_out(channel, code.strip("TtPpIiGg"), now)
    return []


def call_list(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    """AT+CLCC: the call that comes in, or the one that rings at the other end."""
    dongle = channel.dongle
    if op or not (dongle.caller or dongle.called):
        return []
    number_ = dongle.caller or dongle.called or ""
    place = "1,4" if dongle.caller else "0,3"  # <dir>, <stat>: incoming or alerting
    return [f'+CLCC: 1,{place},0,0,"{number_}",{texts.type_of(number_)}']


def forwarding(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    """AT+CCFC: calls are forwarded nowhere, and cannot be (3GPP TS 27.007 §7.11)."""
    if op == "=?":
        return ["+CCFC: (0-5)"]
    values = arguments(arg)
    if op != "=" or len(values) < 2:
        raise cme(50)
    number(values[0], 0, 5, cme(50))
    if number(values[1], 0, 4, cme(50)) == 2:
        return ["+CCFC: 0,7"]
    if values[1] in ("1", "3"):
        raise cme(3)
    return []


def waiting(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    """AT+CCWA: no call waits behind another here (3GPP TS 27.007 §7.12)."""
    if op == "=?":
        return ["+CCWA: (0,1)"]
    kept = channel.profile.kept
    if op == "?":
        return [f"+CCWA: {kept.get('+CCWA', '0')}"]
    values = arguments(arg)
    if op != "=" or len(values) > 3:
        raise cme(50)
    if values[0]:
        kept["+CCWA"] = str(number(values[0], 0, 1, cme(50)))
    if len(values) > 1 and number(values[1] or "1", 0, 2, cme(50)) == 2:
        return ["+CCWA: 0,7"]
    return []
