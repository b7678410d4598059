"""The SMS commands of the simulated dongle (3GPP TS 27.005), in PDU mode and text mode."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from gsmmodem.pdu import GSM7_BASIC

from modem.pdu import (
    Deliver,
    PduError,
    StatusReport,
    StoredSubmit,
    decode,
    encode_submit,
    fits_one_part,
)
from modem.simulated.grammar import arguments, cms, number
from modem.simulated.sim import Slot, Storage

if TYPE_CHECKING:
    from modem.simulated.dongle import Dongle

Lines = list[str] | None
Handler = Callable[["Dongle", str, str, datetime], Lines]

_STATES = ("REC UNREAD", "REC READ", "STO UNSENT", "STO SENT", "ALL")  # 3GPP TS 27.005 §3.1 <stat>
_TPDU_LIMIT = 176  # octets of the longest SMS-SUBMIT TPDU with 12-octet address, rounded up
_GSM = GSM7_BASIC.replace("`", "§")  # 3GPP TS 23.038 §6.2.1 has the section sign at 0x5F
_WIB = timezone(timedelta(hours=7))


@dataclass(slots=True)
class Prompt:
    """What the text after `>` is for: `length` octets of TPDU, or in text mode an address; `stat` for AT+CMGW."""

    send: bool
    length: int = 0
    address: str = ""
    stat: int = 2


# -- text mode's characters -----------------------------------------------------------------------


def coded(dongle: Dongle, text: str) -> str:
    """A text as +CSCS wants it on the line."""
    charset = dongle.profile.charset
    if charset == "UCS2":
        return text.encode("utf-16-be").hex().upper()
    if charset == "GSM":
        return "".join(chr(_GSM.index(char)) if char in _GSM else "?" for char in text)
    return text.encode("ascii", "replace").decode()


def plain(dongle: Dongle, line: str) -> str:
    """What the host meant by a text of +CSCS. Raises Refused for what is none."""
    charset = dongle.profile.charset
    if charset == "UCS2":
        try:
            return bytes.fromhex(line).decode("utf-16-be")
        except ValueError:
            raise cms(305) from None
    if charset == "GSM":
        return "".join(_GSM[ord(char)] if ord(char) < 128 else "?" for char in line)
    return line


def _stamp(at: datetime | None) -> str:
    if at is None:
        return ""
    return at.astimezone(_WIB).strftime("%y/%m/%d,%H:%M:%S+28")  # quarters of an hour, 27.005 §3.1 <scts>


def _head(dongle: Dongle, slot: Slot) -> tuple[str, str]:
    """The address fields and the text of a stored PDU, for the text mode forms of +CMGL and +CMGR."""
    try:
        found = decode(slot.pdu, outgoing=slot.stat >= 2)
    except PduError:
        return '"",,', ""
    if isinstance(found, Deliver):
        body = found.data.hex().upper() if found.binary else coded(dongle, found.text)
        return f'"{coded(dongle, found.sender)}",,"{_stamp(found.service_centre_time)}"', body
    if isinstance(found, StatusReport):
        return f'"{coded(dongle, found.address)}",,"{_stamp(found.service_centre_time)}"', str(found.status)
    return f'"{coded(dongle, found.address)}",', coded(dongle, found.text)


def direct(dongle: Dongle, pdu: str, report: bool) -> str:
    """+CMT or +CDS with what follows it (3GPP TS 27.005 §3.4.1)."""
    slot = Slot(pdu, 0)
    if not dongle.profile.text_mode:
        head = f"+CDS: {slot.length}" if report else f"+CMT: ,{slot.length}"
        return f"{head}\r\n{pdu}"
    found = decode(pdu)
    if isinstance(found, StatusReport):
        times = f'"{_stamp(found.service_centre_time)}","{_stamp(found.discharge_time)}"'
        return f'+CDS: 6,{found.reference},"{coded(dongle, found.address)}",145,{times},{found.status}'
    head, body = _head(dongle, slot)
    return f"+CMT: {head}\r\n{body}"


# -- what was entered after the prompt -------------------------------------------------------------


def entered(dongle: Dongle, prompt: Prompt, text: bytes) -> tuple[str, StoredSubmit | None]:
    """The PDU that was entered and what it asks to send; None for a PDU that only AT+CMGW takes.

    Raises PduError or Refused.
    """
    if dongle.profile.text_mode:
        return _entered_text(dongle, prompt, text)
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


def _entered_text(dongle: Dongle, prompt: Prompt, text: bytes) -> tuple[str, StoredSubmit]:
    said = plain(dongle, text.decode("latin-1").replace("\r", "\n").removesuffix("\n"))
    if not prompt.address or not (fits_one_part(said) or len(said) <= 70):  # 140 octets of UCS2
        raise cms(305)
    report = bool(dongle.profile.text_parameters[0] & 0x20)  # TP-SRR in <fo>; its TP-VP is left out
    pdu = encode_submit(prompt.address, said, validity=None, report=report, concat_reference=0)[0].pdu
    found = decode(pdu, outgoing=True)
    if not isinstance(found, StoredSubmit):
        raise cms(304)
    return pdu, found


# -- commands --------------------------------------------------------------------------------------


def _cmgf(dongle: Dongle, op: str, arg: str, now: datetime) -> Lines:
    if op == "=?":
        return ["+CMGF: (0,1)"]
    if op == "?":
        return [f"+CMGF: {int(dongle.profile.text_mode)}"]
    dongle.profile.text_mode = number(arg or "0", 0, 1, cms(302)) == 1
    return []


def _csms(dongle: Dongle, op: str, arg: str, now: datetime) -> Lines:
    if op == "=?":
        return ["+CSMS: (0,1)"]
    if op == "?":
        return [f"+CSMS: {dongle.profile.service},1,1,1"]
    dongle.profile.service = number(arg, 0, 1, cms(302))
    return ["+CSMS: 1,1,1"]


def _csca(dongle: Dongle, op: str, arg: str, now: datetime) -> Lines:
    if op == "=?":
        return []
    if op == "?":
        return [f'+CSCA: "{coded(dongle, dongle.sim.centre)}",145']
    wanted = plain(dongle, arguments(arg)[0])
    if not wanted.removeprefix("+").isdigit():
        raise cms(330)
    dongle.sim.centre = wanted
    return []


def _cpms(dongle: Dongle, op: str, arg: str, now: datetime) -> Lines:
    if op == "=?":
        return ['+CPMS: ("SM","ME","SR"),("SM","ME"),("SM","ME")']
    if op == "?":
        shown = (f'"{one.name}",{len(one.slots)},{one.size}' for one in _chosen(dongle))
        return [f"+CPMS: {','.join(shown)}"]
    wanted = [name.upper() for name in arguments(arg)]
    if len(wanted) > 3 or any(name and name not in ("SM", "ME", "SR") for name in wanted):
        raise cms(302)
    if "SR" in wanted[1:]:
        raise cms(302)
    for place, name in enumerate(wanted):
        if name:
            dongle.memories[place] = name
    dongle.network.available(dongle.sim, now)
    return [f"+CPMS: {','.join(f'{len(one.slots)},{one.size}' for one in _chosen(dongle))}"]


def _chosen(dongle: Dongle) -> list[Storage]:
    return [dongle.storage(name) for name in dongle.memories]


def _cnmi(dongle: Dongle, op: str, arg: str, now: datetime) -> Lines:
    chosen = dongle.profile.indications
    if op == "=?":
        return ["+CNMI: (0,1,2),(0,1,2),(0),(0,1,2),(0,1)"]
    if op == "?":
        return [f"+CNMI: {','.join(map(str, chosen))}"]
    values = arguments(arg)
    highest = (2, 2, 0, 2, 1)
    if op != "=" or len(values) > 5:
        raise cms(302)
    wanted = [
        number(value, 0, most, cms(302)) if value else chosen[place]
        for place, (value, most) in enumerate(zip(values, highest, strict=False))
    ]
    chosen[: len(wanted)] = wanted
    if chosen[0]:
        dongle.release(forget=chosen[4] == 1)
    dongle.network.available(dongle.sim, now)
    return []


def _cnma(dongle: Dongle, op: str, arg: str, now: datetime) -> Lines:
    if op == "=?":
        return ["+CNMA: (0-2)"]
    if dongle.profile.service == 0:
        raise cms(340)
    kind = number(arguments(arg)[0] if op == "=" else "0", 0, 2, cms(302))
    dongle.acknowledge(kind < 2, now)
    return []


def _csmp(dongle: Dongle, op: str, arg: str, now: datetime) -> Lines:
    chosen = dongle.profile.text_parameters
    if op == "=?":
        return []
    if op == "?":
        return [f"+CSMP: {','.join(map(str, chosen))}"]
    for place, value in enumerate(arguments(arg)[:4]):
        if value:
            chosen[place] = number(value, 0, 255, cms(305))
    return []


def _csdh(dongle: Dongle, op: str, arg: str, now: datetime) -> Lines:
    if op == "=?":
        return ["+CSDH: (0,1)"]
    if op == "?":
        return [f"+CSDH: {int(dongle.profile.show_headers)}"]
    dongle.profile.show_headers = number(arg or "0", 0, 1, cms(302)) == 1
    return []


def _cscb(dongle: Dongle, op: str, arg: str, now: datetime) -> Lines:
    return ['+CSCB: 0,"",""'] if op == "?" else ["+CSCB: (0,1)"] if op == "=?" else []


def _cmms(dongle: Dongle, op: str, arg: str, now: datetime) -> Lines:
    if op == "=?":
        return ["+CMMS: (0-2)"]
    if op == "?":
        return [f"+CMMS: {dongle.profile.more_messages}"]
    dongle.profile.more_messages = number(arg, 0, 2, cms(302))
    return []


def _cmgl(dongle: Dongle, op: str, arg: str, now: datetime) -> Lines:
    text_mode = dongle.profile.text_mode
    if op == "=?":
        names = ",".join(f'"{state}"' for state in _STATES)
        return [f"+CMGL: ({names})" if text_mode else "+CMGL: (0-4)"]
    if text_mode:
        name = arguments(arg)[0].upper() if arg else _STATES[0]
        if name not in _STATES:
            raise cms(305)
        wanted = _STATES.index(name)
    else:
        wanted = number(arg or "0", 0, 4, cms(304))
    lines = []
    for index, slot in dongle.storage(dongle.memories[0]).listed():
        if wanted not in (4, slot.stat):
            continue
        if text_mode:
            head, body = _head(dongle, slot)
            lines += [f'+CMGL: {index},"{_STATES[slot.stat]}",{head}', body]
        else:
            lines += [f"+CMGL: {index},{slot.stat},,{slot.length}", slot.pdu]
        slot.stat = 1 if slot.stat == 0 else slot.stat
    return lines


def _stored(dongle: Dongle, arg: str) -> tuple[Storage, int, Slot]:
    storage = dongle.storage(dongle.memories[0])
    index = number(arg, 0, 9999, cms(321))
    slot = storage.slots.get(index)
    if slot is None:
        raise cms(321)
    return storage, index, slot


def _cmgr(dongle: Dongle, op: str, arg: str, now: datetime) -> Lines:
    if op == "=?":
        return []
    _, _, slot = _stored(dongle, arguments(arg)[0])
    if dongle.profile.text_mode:
        head, body = _head(dongle, slot)
        lines = [f'+CMGR: "{_STATES[slot.stat]}",{head}', body]
    else:
        lines = [f"+CMGR: {slot.stat},,{slot.length}", slot.pdu]
    slot.stat = 1 if slot.stat == 0 else slot.stat
    return lines


_FLAGS: dict[int, tuple[int, ...]] = {
    1: (1,),
    2: (1, 3),
    3: (1, 2, 3),
    4: (0, 1, 2, 3),
}  # 3GPP TS 27.005 §3.5.4


def _cmgd(dongle: Dongle, op: str, arg: str, now: datetime) -> Lines:
    storage = dongle.storage(dongle.memories[0])
    if op == "=?":
        return [f"+CMGD: ({','.join(map(str, sorted(storage.slots)))}),(0-4)"]
    values = arguments(arg)
    if op != "=" or len(values) > 2:
        raise cms(302)
    index = number(values[0], 0, 9999, cms(321))
    flag = number(values[1] or "0", 0, 4, cms(302)) if len(values) == 2 else 0
    if flag == 0:
        if not storage.holds(index):
            raise cms(321)
        storage.slots.pop(index, None)
    else:
        for place, slot in storage.listed():
            if slot.stat in _FLAGS[flag]:
                del storage.slots[place]
    dongle.network.available(dongle.sim, now)
    return []


def _ready(dongle: Dongle) -> None:
    if not dongle.unlocked:
        raise cms(316 if dongle.sim.pin_left == 0 else 311)


def _enter(send: bool) -> Handler:
    """AT+CMGS and AT+CMGW up to their prompt."""
    from_stat = {"": 2, **{name: place for place, name in enumerate(_STATES[:4])}}

    def handler(dongle: Dongle, op: str, arg: str, now: datetime) -> Lines:
        if op == "=?":
            return []
        _ready(dongle)
        values = arguments(arg)
        if dongle.profile.text_mode:
            if send and not values[0]:
                raise cms(305)
            stat = from_stat.get(values[2].upper() if len(values) > 2 else "", 2)
            dongle.ask(Prompt(send, address=plain(dongle, values[0]), stat=stat))
        else:
            if op != "=":
                raise cms(304)
            length = number(values[0], 1, _TPDU_LIMIT, cms(304))
            stat = number(values[1], 0, 3, cms(304)) if not send and len(values) > 1 and values[1] else 2
            dongle.ask(Prompt(send, length=length, stat=stat))
        return None

    return handler


def _cmss(dongle: Dongle, op: str, arg: str, now: datetime) -> Lines:
    if op == "=?":
        return []
    _ready(dongle)
    values = arguments(arg)
    storage = dongle.storage(dongle.memories[1])
    slot = storage.slots.get(number(values[0], 0, 9999, cms(321)))
    if slot is None:
        raise cms(321)
    try:
        found = decode(slot.pdu, outgoing=True)
        if len(values) > 1 and values[1] and isinstance(found, StoredSubmit):
            again = encode_submit(
                plain(dongle, values[1]),
                found.text,
                validity=found.validity,
                report=found.report_requested,
                concat_reference=0,
            )
            found = decode(again[0].pdu, outgoing=True)
    except PduError:
        raise cms(304) from None
    if not isinstance(found, StoredSubmit):
        raise cms(302)
    slot.stat = 3
    dongle.send("+CMSS", found, now)
    return None


def _with_sim(handler: Handler) -> Handler:
    def guarded(dongle: Dongle, op: str, arg: str, now: datetime) -> Lines:
        if op != "=?":
            _ready(dongle)
        return handler(dongle, op, arg, now)

    return guarded


COMMANDS: dict[str, Handler] = {
    "+CMGD": _with_sim(_cmgd),
    "+CMGF": _cmgf,
    "+CMGL": _with_sim(_cmgl),
    "+CMGR": _with_sim(_cmgr),
    "+CMGS": _enter(send=True),
    "+CMGW": _enter(send=False),
    "+CMMS": _cmms,
    "+CMSS": _cmss,
    "+CNMA": _cnma,
    "+CNMI": _cnmi,
    "+CPMS": _with_sim(_cpms),
    "+CSCA": _with_sim(_csca),
    "+CSCB": _cscb,
    "+CSDH": _csdh,
    "+CSMP": _csmp,
    "+CSMS": _csms,
}
