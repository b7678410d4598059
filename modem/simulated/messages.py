"""The SMS commands of the simulated dongle (3GPP TS 27.005), in PDU mode and text mode."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from modem.pdu import (
    PduError,
    StoredSubmit,
    decode,
)
from modem.simulated import indicators
from modem.simulated.composing import TextParameters, compose, readdressed
from modem.simulated.grammar import Refused, arguments, cms, number
from modem.simulated.sim import Joined, Slot, Storage
from modem.simulated.texts import address_of, coded, head_of, plain, type_of

if TYPE_CHECKING:
    from modem.simulated.channel import Channel

Lines = list[str] | None
Handler = Callable[["Channel", str, str, datetime], Lines]

_STATES = ("REC UNREAD", "REC READ", "STO UNSENT", "STO SENT", "ALL")  # 3GPP TS 27.005 §3.1 <stat>
_TPDU_LIMIT = 176  # octets of the longest SMS-SUBMIT TPDU with 12-octet address, rounded up
_REPORT_LIMIT = 232  # octets that RP-User-Data may have (3GPP TS 24.011 §8.2.5.3)
_RANGES = re.compile(r"[0-9,-]*")  # 3GPP TS 27.005 §3.1 <mids>, <dcss>
_ADDRESS = re.compile(r"\+?[0-9*#abcABC]+")  # 3GPP TS 23.040 §9.1.2.3
NO_BROADCASTS = (0, "", "")
"""What +CSCB says at first."""


@dataclass(slots=True)
class Prompt:
    """What the text after `>` is for: `length` octets of TPDU, or in text mode an address; `stat` for AT+CMGW.

    `acknowledges`: it is an SMS-DELIVER-REPORT, for RP-ACK (True) or RP-ERROR (False).
    """

    send: bool
    length: int = 0
    address: str = ""
    stat: int = 2
    acknowledges: bool | None = None


# -- what was entered after the prompt -------------------------------------------------------------


def entered(channel: Channel, prompt: Prompt, text: bytes) -> tuple[str, StoredSubmit | None]:
    """The PDU that was entered and what it asks to send; None for a PDU that only AT+CMGW takes.

    Raises PduError or Refused.
    """
    if channel.profile.text_mode:
        return _entered_text(channel, prompt, text)
    pdu = b"".join(text.split()).decode("latin-1").upper()
    found: StoredSubmit | None = None
    try:
        submit = decode(pdu, outgoing=True)
    except PduError:
        if prompt.send or prompt.stat >= 2:
            raise
        decode(pdu)
    else:
        found = submit if isinstance(submit, StoredSubmit) else None
    if Slot(pdu, 0).length != prompt.length:
        raise cms(304)
    return pdu, found


def _entered_text(channel: Channel, prompt: Prompt, text: bytes) -> tuple[str, StoredSubmit]:
    wanted = channel.profile.text_parameters
    if channel.profile.charset != "GSM":  # there it is a letter
        text = _corrected(text, channel.profile.registers[5])
    line = text.decode("latin-1").replace("\r", "\n").removesuffix("\n")
    said: str | bytes
    if wanted.in_hex:
        try:
            said = bytes.fromhex("".join(line.split()))
        except ValueError:
            raise cms(305) from None
    else:
        said = plain(channel, line)
    made = compose(prompt.address, said, wanted)
    found = decode(made, outgoing=True)
    if not isinstance(found, StoredSubmit):
        raise cms(304)
    return made, found


def _corrected(text: bytes, backspace: int) -> bytes:
    """Without what was taken back (3GPP TS 27.005 §3.5.1)."""
    left = bytearray()
    for octet in text:
        if octet == backspace:
            del left[-1:]
        else:
            left.append(octet)
    return bytes(left)


# -- commands --------------------------------------------------------------------------------------


def _cmgf(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    if op == "=?":
        return ["+CMGF: (0,1)"]
    if op == "?":
        return [f"+CMGF: {int(channel.profile.text_mode)}"]
    channel.profile.text_mode = number(arg or "0", 0, 1, cms(302)) == 1
    return []


def _csms(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    if op == "=?":
        return ["+CSMS: (0,1)"]
    if op == "?":
        return [f"+CSMS: {channel.dongle.service},1,1,1"]
    channel.dongle.service = number(arg, 0, 1, cms(302))
    return ["+CSMS: 1,1,1"]


def _csca(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    if op == "=?":
        return []
    if op == "?":
        centre = channel.dongle.sim.centre
        return [f'+CSCA: "{coded(channel, centre, address=True)}",{type_of(centre)}']
    wanted = address_of(channel, arguments(arg))
    if not wanted.removeprefix("+").isdigit():
        raise cms(330)
    channel.dongle.sim.centre = wanted
    return []


def _cpms(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    dongle = channel.dongle
    offered = dongle.personality.storages
    if op == "=?":
        lists = (",".join(f'"{name}"' for name in names) for names in offered)
        return ["+CPMS: " + ",".join(f"({names})" for names in lists)]
    if op == "?":
        shown = (f'"{one.name}",{one.used},{one.size}' for one in _chosen(channel))
        return [f"+CPMS: {','.join(shown)}"]
    wanted = [name.upper() for name in arguments(arg)]
    if not any(wanted) or len(wanted) > 3:
        raise cms(302)
    for name, names in zip(wanted, offered, strict=False):
        if name and name not in names:
            raise cms(302)
    for place, name in enumerate(wanted):
        if name:
            dongle.memories[place] = name
    dongle.network.available(dongle.sim, now)
    return [f"+CPMS: {','.join(f'{one.used},{one.size}' for one in _chosen(channel))}"]


def _chosen(channel: Channel) -> list[Storage | Joined]:
    return [channel.dongle.storage(name) for name in channel.dongle.memories]


def _cnmi(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    dongle = channel.dongle
    chosen, choices = dongle.indications, dongle.personality.choices
    if op == "=?":
        return [f"+CNMI: {dongle.personality.cnmi}"]
    if op == "?":
        return [f"+CNMI: {','.join(map(str, chosen))}"]
    values = arguments(arg)
    if op != "=" or len(values) > 5:
        raise cms(302)
    wanted = []
    for place, value in enumerate(values):
        one = number(value, 0, 9, cms(302)) if value else chosen[place]
        if one not in choices[place]:
            raise cms(302)
        wanted.append(one)
    chosen[: len(wanted)] = wanted
    if "^PORTSEL" not in dongle.personality.own:
        dongle.urc_port = channel
    if chosen[0]:
        dongle.release(forget=chosen[4] == 1)
    dongle.network.available(dongle.sim, now)
    return []


def _cnma(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    """RP-ACK or RP-ERROR; in PDU mode with a TPDU, which is asked for (3GPP TS 27.005 §3.4.4, §4.7)."""
    dongle, text_mode = channel.dongle, channel.profile.text_mode
    if op == "=?":
        return [] if text_mode else ["+CNMA: (0-2)"]
    if dongle.service == 0 or not dongle.acknowledgeable:
        raise cms(340)
    values = arguments(arg) if op == "=" else ("0",)
    kind = number(values[0], 0, 2, cms(302))
    length = number(values[1], 0, _REPORT_LIMIT, cms(302)) if values[1:] else 0
    if len(values) > 2 or (length and (kind == 0 or text_mode)):
        raise cms(302)
    if length:
        channel.ask(Prompt(False, length=length, acknowledges=kind == 1), now)
        return None
    dongle.acknowledge(kind < 2, now)
    return []


def acknowledgement(prompt: Prompt, text: bytes) -> bool:
    """Whether a message was taken, by the TPDU that was entered. Raises Refused for what is no SMS-DELIVER-REPORT."""
    try:
        octets = bytes.fromhex(text.decode("latin-1"))
    except ValueError:
        raise cms(304) from None
    if len(octets) != prompt.length or octets[0] & 0x03:  # TP-MTI, 3GPP TS 23.040 §9.2.3.1
        raise cms(304)
    return bool(prompt.acknowledges)


def _csmp(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    chosen = channel.profile.text_parameters
    if op == "=?":
        return []
    if op == "?":
        return [f"+CSMP: {chosen}"]
    channel.profile.text_parameters = chosen.changed(arguments(arg))
    return []


def _csdh(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    if op == "=?":
        return ["+CSDH: (0,1)"]
    if op == "?":
        return [f"+CSDH: {int(channel.profile.show_headers)}"]
    channel.profile.show_headers = number(arg or "0", 0, 1, cms(302)) == 1
    return []


def _cscb(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    """Which cell broadcasts are taken; there are none, but a program may read what it wrote."""
    if op == "=?":
        return ["+CSCB: (0,1)"]
    if op == "?":
        return ['+CSCB: {},"{}","{}"'.format(*channel.profile.broadcasts)]
    values = arguments(arg)
    if op != "=" or len(values) > 3 or not all(_RANGES.fullmatch(one) for one in values[1:]):
        raise cms(305)
    mode, identifiers, codings = (*values, "", "")[:3]
    channel.profile.broadcasts = (number(mode or "0", 0, 1, cms(305)), identifiers, codings)
    return []


def _csas(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    """Keep what +CSMP and +CSCB set, also without power (3GPP TS 27.005 §3.3.1)."""
    if op == "=?":
        return ["+CSAS: (0)"]
    number(arg or "0", 0, 0, cms(302))
    channel.dongle.saved = (channel.profile.text_parameters, channel.profile.broadcasts)
    return []


def _cres(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    """Take what +CSAS kept; where it kept nothing, what the stick came with (3GPP TS 27.005 §3.3.2)."""
    if op == "=?":
        return ["+CRES: (0)"]
    number(arg or "0", 0, 0, cms(302))
    saved = channel.dongle.saved or (TextParameters(), NO_BROADCASTS)
    channel.profile.text_parameters, channel.profile.broadcasts = saved
    return []


def _cmms(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    if op == "=?":
        return ["+CMMS: (0-2)"]
    if op == "?":
        return [f"+CMMS: {channel.profile.more_messages}"]
    channel.profile.more_messages = number(arg, 0, 2, cms(302))
    return []


def _cmgl(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    text_mode = channel.profile.text_mode
    if op == "=?":
        names = ",".join(f'"{state}"' for state in _STATES)
        return [f"+CMGL: ({names})" if text_mode else "+CMGL: (0-4)"]
    wrong = cms(305 if text_mode else 304)
    values = arguments(arg)
    peeked = _peeked(channel, values, wrong)
    if text_mode:
        name = values[0].upper() or _STATES[0]
        if name not in _STATES:
            raise wrong
        wanted = _STATES.index(name)
    else:
        wanted = number(values[0] or "0", 0, 4, wrong)
    lines, alpha = [], channel.dongle.personality.unnamed
    for index, slot in channel.dongle.storage(channel.dongle.memories[0]).listed():
        if wanted not in (4, slot.stat):
            continue
        if text_mode:
            head, body = head_of(channel, slot, listed=True)
            lines += [f'+CMGL: {index},"{_STATES[slot.stat]}",{head}', *([] if body is None else [body])]
        else:
            lines += [f"+CMGL: {index},{slot.stat},{alpha},{slot.length}", slot.pdu]
        slot.stat = 1 if slot.stat == 0 and not peeked else slot.stat
    return lines


def _peeked(channel: Channel, values: Sequence[str], refusal: Refused) -> bool:
    """Whether what is read stays unread: the <mode> that some makers add. Raises `refusal` where a stick has none."""
    if len(values) > (2 if channel.dongle.personality.peeks else 1):
        raise refusal
    return len(values) == 2 and number(values[1] or "0", 0, 1, refusal) == 1


def _stored(channel: Channel, place: int, index: str) -> Slot:
    """What lies in a slot of the storage for reading (0) or sending (1)."""
    storage = channel.dongle.storage(channel.dongle.memories[place])
    slot = storage.get(number(index, 0, 9999, cms(321)))
    if slot is None:
        raise cms(321)
    return slot


def _cmgr(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    if op == "=?":
        return []
    values = arguments(arg)
    peeked = _peeked(channel, values, cms(302))
    slot = _stored(channel, 0, values[0])
    if channel.profile.text_mode:
        head, body = head_of(channel, slot, listed=False)
        lines = [f'+CMGR: "{_STATES[slot.stat]}",{head}', *([] if body is None else [body])]
    else:
        lines = [f"+CMGR: {slot.stat},{channel.dongle.personality.unnamed},{slot.length}", slot.pdu]
    slot.stat = 1 if slot.stat == 0 and not peeked else slot.stat
    return lines


_FLAGS: dict[int, tuple[int, ...]] = {
    1: (1,),
    2: (1, 3),
    3: (1, 2, 3),
    4: (0, 1, 2, 3),
}  # 3GPP TS 27.005 §3.5.4


_MANY: dict[str, tuple[int, ...]] = {
    '"DEL READ"': (1,),
    '"DEL UNREAD"': (0,),
    '"DEL SENT"': (3,),
    '"DEL UNSENT"': (2,),
    '"DEL INBOX"': (0, 1),
    '"DEL ALL"': (0, 1, 2, 3),
}


def _cmgd(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    storage = channel.dongle.storage(channel.dongle.memories[0])
    if op == "=?":
        return [f"+CMGD: ({','.join(str(index) for index, _ in storage.listed())}),(0-4)"]
    values = arguments(arg)
    if op != "=" or len(values) > 2:
        raise cms(302)
    index = number(values[0], 0, 9999, cms(321))
    flag = number(values[1] or "0", 0, 4, cms(302)) if len(values) == 2 else 0
    if flag == 0:
        if not storage.holds(index):
            raise cms(321)
        storage.remove(index)
    else:
        for place, slot in storage.listed():
            if slot.stat in _FLAGS[flag]:
                storage.remove(place)
    indicators.tell(channel.dongle)
    channel.dongle.network.available(channel.dongle.sim, now)
    return []


def _ready(channel: Channel) -> None:
    if channel.dongle.sim_off:
        raise cms(313)
    if not channel.dongle.sim_ready:
        raise cms(314)
    if not channel.dongle.unlocked:
        raise cms(316 if channel.dongle.sim.pin_left == 0 else 311)


def _enter(send: bool) -> Handler:
    """AT+CMGS and AT+CMGW up to their prompt."""
    from_stat = {"": 2, **{name: place for place, name in enumerate(_STATES[:4])}}

    def handler(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
        if op == "=?":
            return []
        _ready(channel)
        values = arguments(arg)
        if channel.profile.text_mode:
            address = address_of(channel, values)
            stat = from_stat.get(values[2].upper() if len(values) > 2 else "")
            if stat is None or len(values) > (2 if send else 3):
                raise cms(305)
            if not _ADDRESS.fullmatch(address) and (send or address):
                raise cms(305)
            channel.ask(Prompt(send, address=address, stat=stat), now)
        else:
            if op != "=":
                raise cms(304)
            length = number(values[0], 1, _TPDU_LIMIT, cms(304))
            stat = number(values[1], 0, 3, cms(304)) if not send and len(values) > 1 and values[1] else 2
            channel.ask(Prompt(send, length=length, stat=stat), now)
        return None

    return handler


def _cmss(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    if op == "=?":
        return []
    _ready(channel)
    values = arguments(arg)
    slot = _stored(channel, 1, values[0])
    try:
        found = decode(slot.pdu, outgoing=True)
        if len(values) > 1 and values[1] and isinstance(found, StoredSubmit):
            found = decode(readdressed(slot.pdu, address_of(channel, values[1:])), outgoing=True)
    except PduError:
        raise cms(304) from None
    if not isinstance(found, StoredSubmit):
        raise cms(302)
    if not found.address:
        raise cms(305)
    slot.stat = 3
    channel.dongle.send(channel, "+CMSS", found, now)
    return None


def _cmgda(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    """SIMCom's way to delete many at once (SIM800 manual, AT+CMGDA): by a name in text mode, by a number in PDU mode."""
    text_mode = channel.profile.text_mode
    if op == "=?":
        return [f"+CMGDA: ({','.join(_MANY)})" if text_mode else "+CMGDA: (1-6)"]
    names = list(_MANY)
    if op != "=":
        raise cms(302)
    if text_mode:
        wanted = f'"{arguments(arg)[0].upper()}"'
        if wanted not in _MANY:
            raise cms(305)
    else:
        wanted = names[number(arg, 1, len(names), cms(304)) - 1]
    storage = channel.dongle.storage(channel.dongle.memories[0])
    for place, slot in storage.listed():
        if slot.stat in _MANY[wanted]:
            storage.remove(place)
    indicators.tell(channel.dongle)
    channel.dongle.network.available(channel.dongle.sim, now)
    return []


def _with_sim(handler: Handler) -> Handler:
    def guarded(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
        if op != "=?":
            _ready(channel)
        return handler(channel, op, arg, now)

    return guarded


COMMANDS: dict[str, Handler] = {
    "+CMGD": _with_sim(_cmgd),
    "+CMGDA": _with_sim(_cmgda),
    "+CMGF": _cmgf,
    "+CMGL": _with_sim(_cmgl),
    "+CMGR": _with_sim(_cmgr),
    "+CMGS": _enter(send=True),
    "+CMGW": _enter(send=False),
    "+CMMS": _cmms,
    "+CMSS": _cmss,
    "+CRES": _cres,
    "+CSAS": _csas,
    "+CNMA": _cnma,
    "+CNMI": _cnmi,
    "+CPMS": _with_sim(_cpms),
    "+CSCA": _with_sim(_csca),
    "+CSCB": _cscb,
    "+CSDH": _csdh,
    "+CSMP": _csmp,
    "+CSMS": _csms,
}
OF_MAKERS = ("+CMGDA",)
"""Those of them that only some makers' sticks have."""
