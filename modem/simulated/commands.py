"""The general commands of the simulated dongle (ITU-T V.250, 3GPP TS 27.007) and the table of all of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from modem.simulated import dialogue, messages, security
from modem.simulated.grammar import Command, Refused, arguments, cme, number

if TYPE_CHECKING:
    from modem.simulated.channel import Channel
    from modem.simulated.dongle import Dongle

Lines = list[str] | None
"""Information text; None where the final result comes later or never."""
Handler = Callable[["Channel", str, str, datetime], Lines]

_CELL = ("00AB", "0099CDEF")  # location area and cell, as invented as the network
_WIB = timezone(timedelta(hours=7))
_PHONEBOOK_SIZE = 250
_ADMINISTRATIVE = "00000002"  # EF-AD: normal operation, the MNC has two digits (3GPP TS 31.102 §4.2.18)
_BARS = (0, 2, 8, 14, 20, 26)  # +CSQ from which there are 0, 1, … bars; a habit, no standard


def handle(channel: Channel, command: Command, now: datetime) -> Lines:
    """Do one command of a line. Raises Refused."""
    dongle = channel.dongle
    kind, name, op = dongle.personality, command.name, command.op
    exact = f"{name}{op}{command.arg}".upper()
    for key in (exact, name + op, name):
        if key in kind.answers and (op != "=" or key == exact):
            return list(kind.answers[key])
    if name in kind.cards and op != "=":
        return [] if op == "=?" else _card(channel, kind.cards[name])
    if name + op in kind.tries:
        return security.tries(channel, kind.tries[name + op])
    if op == "=?" and any(query.rstrip("=?") == name for query in kind.tries):
        return []
    if name in kind.spellings:
        return _remembered(dongle, kind.spellings[name], command)
    handler = COMMANDS.get(name)
    if handler is None or name in kind.lacks or (name[0] == "^" and name not in kind.own):
        if name[0] not in "+^" or kind.unknown == "ERROR":
            raise Refused
        if kind.unknown == "CME4":
            raise cme(4)
        channel.result(kind.unknown)
        return None
    return handler(channel, op, command.arg, now)


def _remembered(dongle: Dongle, spelling: str, command: Command) -> Lines:
    """A setting of the maker's that changes nothing here but its own answer."""
    if command.op == "=?":
        return [f"{spelling}(0-3)"]
    if command.op == "=":
        known = dongle.settings[command.name]
        asked = arguments(command.arg)
        # Makers read one of many values by naming it: the answer has it with what it holds.
        if len(asked) == 1 and known.startswith(f'"{asked[0]}",'):
            return [spelling + known]
        dongle.settings[command.name] = command.arg
        return []
    return [spelling + dongle.settings[command.name]]


def _card(channel: Channel, shape: str) -> Lines:
    dongle = channel.dongle
    if dongle.sim_off:
        raise cme(13)
    if not dongle.sim_ready:
        raise cme(14)
    return [shape.format(dongle.sim.iccid)]


def _fixed(value: Callable[[Dongle], list[str]]) -> Handler:
    def handler(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
        return [] if op == "=?" else value(channel.dongle)

    return handler


def _accepted(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    return []


def _kept(name: str, offered: str, first: str) -> Handler:
    """A setting that changes nothing here, but is told and remembered as the standards have it."""

    def handler(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
        kept = channel.profile.kept
        if op == "=?":
            return [f"{name}: {offered}"]
        if op == "?":
            return [f"{name}: {kept.get(name, first)}"]
        kept[name] = arg or first
        return []

    return handler


def _with_sim(handler: Handler) -> Handler:
    def guarded(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
        dongle = channel.dongle
        if op != "=?":
            if dongle.sim_off:
                raise cme(13)
            if not dongle.sim_ready:
                raise cme(14)
            if not dongle.unlocked:
                raise cme(12 if dongle.sim.pin_left == 0 else 11)
        return handler(channel, op, arg, now)

    return guarded


def _switch(name: str) -> Handler:
    """A V.250 switch: ATE, ATV, ATQ; and the like of 27.007."""

    def handler(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
        setattr(channel.profile, name, number(arg or "0", 0, 1, Refused()) == 1)
        return []

    return handler


def _shown(name: str, field: str, more: str = "") -> Handler:
    """A switch with a query and a test: AT+CLIP, AT+CRC."""

    def handler(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
        if op == "=?":
            return [f"{name}: (0,1)"]
        if op == "?":
            return [f"{name}: {int(getattr(channel.profile, field))}{more}"]
        setattr(channel.profile, field, number(arg or "0", 0, 1, cme(50)) == 1)
        return []

    return handler


def _register(index: int) -> Handler:
    def handler(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
        registers = channel.profile.registers
        if op == "?":
            return [f"{registers.get(index, 0):03d}"]
        registers[index] = number(arg, 0, 127 if index in (3, 4, 5) else 255, Refused())
        return []

    return handler


def _reset(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    channel.fresh_profile()
    return []


def _information(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    dongle = channel.dongle
    if dongle.personality.name == "quectel":
        return [dongle.maker, dongle.model, f"Revision: {dongle.revision}"]
    return [
        f"Manufacturer: {dongle.maker}",
        f"Model: {dongle.model}",
        f"Revision: {dongle.revision}",
        f"IMEI: {dongle.imei}",
        "+GCAP: +CGSM,+DS,+ES",
    ]


def _cmee(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    if op == "?":
        return [f"+CMEE: {channel.profile.cmee}"]
    if op == "=?":
        return ["+CMEE: (0-2)"]
    channel.profile.cmee = number(arg, 0, 2, cme(50))
    return []


def _csq(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    dongle = channel.dongle
    if op == "=?":
        return ["+CSQ: (0-31,99),(99)"]
    return [f"+CSQ: {dongle.knobs.signal if dongle.registered else 99},99"]


def cell(dongle: Dongle, wanted: int) -> str:
    """The location that follows the `stat` of +CREG in mode 2, with the access technology where the stick tells it."""
    if wanted != 2 or not dongle.registered:
        return ""
    access = dongle.personality.access
    return f',"{_CELL[0]}","{_CELL[1]}"' + ("" if access is None else f",{access}")


def _registration(name: str) -> Handler:
    def handler(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
        urcs, dongle = channel.profile.registration_urcs, channel.dongle
        if op == "=?":
            return [f"{name}: (0-2)"]
        if op == "?":
            return [f"{name}: {urcs[name]},{dongle.registration}{cell(dongle, urcs[name])}"]
        urcs[name] = number(arg or "0", 0, 2, cme(50))
        return []

    return handler


def _cops(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    dongle, profile = channel.dongle, channel.profile
    name = dongle.knobs.operator or dongle.sim.operator
    code = dongle.knobs.operator_code or dongle.sim.mcc_mnc
    if op == "=?":
        found = [(2, name, code)]
        if code != dongle.sim.mcc_mnc:
            found.append((1, dongle.sim.operator, dongle.sim.mcc_mnc))
        found += [
            (3, other, mnc)
            for other, mnc in dongle.network.operators.items()
            if mnc not in (code, dongle.sim.mcc_mnc)
        ]
        shown = ",".join(f'({stat},"{one}","{one}","{mnc}",2)' for stat, one, mnc in found)
        return [f"+COPS: {shown},,(0-4),(0-2)"]
    if op == "?":
        if not dongle.registered:
            return [f"+COPS: {2 if dongle.deregistered else 0}"]
        shown = code if profile.operator_format == 2 else messages.coded(channel, name, address=True)
        return [f'+COPS: 0,{profile.operator_format},"{shown}",{dongle.personality.access or 2}']
    values = arguments(arg)
    mode = number(values[0], 0, 4, cme(50))
    if mode == 3:
        profile.operator_format = number(values[1] if len(values) > 1 else "", 0, 2, cme(50))
    elif dongle.deregistered != (mode == 2):
        dongle.deregistered = mode == 2
        dongle.announce_registration(now)
    return []


def _cfun(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    dongle = channel.dongle
    if op == "=?":
        return ["+CFUN: (0,1,4),(0,1)"]
    if op == "?":
        return [f"+CFUN: {dongle.function}"]
    values = arguments(arg)
    function = number(values[0], 0, 6, cme(50))
    if values[1:] == ("1",) or function == 6:
        channel.result("OK")
        dongle.restart(now)
        return None
    if function not in (0, 1, 4):
        raise cme(4)
    dongle.work_at(function, now)
    return []


def _cgatt(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    return (
        [f"+CGATT: {int(channel.dongle.registered)}"]
        if op == "?"
        else ["+CGATT: (0,1)"]
        if op == "=?"
        else []
    )


def _cscs(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    if op == "=?":
        shown = ",".join(f'"{one}"' for one in channel.dongle.personality.charsets)
        return [f"+CSCS: ({shown})"]
    if op == "?":
        return [f'+CSCS: "{channel.profile.charset}"']
    wanted = arguments(arg)[0].upper()
    if wanted not in channel.dongle.personality.charsets:
        raise cme(50)
    channel.profile.charset = wanted
    return []


def _cnum(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    number_ = channel.dongle.sim.own_number  # 3GPP TS 27.007 §7.1: +CSCS is for names, not for numbers
    return [] if op == "=?" or not number_ else [f'+CNUM: "","{number_}",145']


def _crsm(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    """READ BINARY of EF-ICCID and EF-AD; SW 6A82 (file not found) for the rest (3GPP TS 27.007 §8.18)."""
    if op == "=?":
        return []
    values = arguments(arg)
    if values[:2] == ("176", "28589"):
        return [f'+CRSM: 144,0,"{_ADMINISTRATIVE}"']
    if values[:2] != ("176", "12258"):
        return ["+CRSM: 106,130"]
    digits = channel.dongle.sim.iccid + "F" * (len(channel.dongle.sim.iccid) % 2)
    swapped = "".join(digits[at + 1] + digits[at] for at in range(0, len(digits), 2))
    return [f'+CRSM: 144,0,"{swapped}"']


def _curc(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    if op == "?":
        return [f"^CURC: {int(channel.profile.vendor_urcs)}"]
    if op == "=":
        channel.profile.vendor_urcs = number(arguments(arg)[0], 0, 2, cme(50)) > 0
    return []


def _portsel(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    """1: unasked lines come to the port that says so; 0: to the first one again."""
    dongle = channel.dongle
    if op == "=?":
        return ["^PORTSEL: (0,1)"]
    if op == "?":
        return [f"^PORTSEL: {int(dongle.urc_port is not dongle.control)}"]
    here = number(arguments(arg)[0], 0, 1, cme(50)) == 1
    dongle.urc_port = channel if here else dongle.control
    return []


def _sysinfo(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    dongle = channel.dongle
    served = 2 if dongle.registered else 0
    return [f"^SYSINFO:{served},3,{int(dongle.registration == 5)},5,{int(dongle.unlocked)},,4"]


def _ipr(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    return ["+IPR: 115200"] if op == "?" else ["+IPR: (),(9600,115200)"] if op == "=?" else []


def _clac(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    kind = channel.dongle.personality
    if op == "=?":
        return []
    known = [name for name in COMMANDS if name not in kind.lacks and (name[0] != "^" or name in kind.own)]
    return known + sorted(
        {*kind.cards, *kind.spellings, *(query.rstrip("=?") for query in kind.tries)} - set(known)
    )


def _cclk(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    if op == "=?":
        return []
    return [f'+CCLK: "{now.astimezone(_WIB):%y/%m/%d,%H:%M:%S}+28"'] if op == "?" else []


def _cpas(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    return ["+CPAS: (0,3,4)"] if op == "=?" else [f"+CPAS: {3 if channel.dongle.ringing else 0}"]


def _cind(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    """Indicators: signal, service, roaming, message, call, storage full (3GPP TS 27.007 §8.9)."""
    dongle = channel.dongle
    if op == "=?":
        return [
            '+CIND: ("signal",(0-5)),("service",(0,1)),("roam",(0,1)),("message",(0,1)),("call",(0,1)),("smsfull",(0,1))'
        ]
    if op == "?":
        stored = dongle.sim.storage
        bars = sum(dongle.knobs.signal >= least for least in _BARS[1:]) if dongle.registered else 0
        shown = (dongle.registered, dongle.registration == 5, stored.used > 0, dongle.ringing, stored.full)
        return [f"+CIND: {bars},{','.join(str(int(one)) for one in shown)}"]
    return []


def _cgdcont(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    """The contexts of packet data, kept over a restart; one that is only named is forgotten (3GPP TS 27.007 §10.1.1)."""
    contexts = channel.dongle.contexts
    if op == "=?":
        return ['+CGDCONT: (1-16),"IP",,,(0-2),(0-3)']
    if op != "=":
        return [f"+CGDCONT: {cid},{contexts[cid]}" for cid in sorted(contexts)]
    values = arguments(arg)
    cid = number(values[0], 1, 16, cme(50))
    if len(values) == 1:
        contexts.pop(cid, None)
        return []
    kind, name, address, data, head, *_ = (*values[1:], *[""] * 5)
    if kind.upper() not in ("", "IP", "PPP", "IPV6", "IPV4V6"):
        raise cme(50)
    pressed = number(data or "0", 0, 2, cme(50)), number(head or "0", 0, 3, cme(50))
    contexts[cid] = f'"{kind.upper() or "IP"}","{name}","{address}",{pressed[0]},{pressed[1]}'
    return []


def _cgact(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    """No context is ever active: nobody uses packet data here."""
    if op == "=?":
        return ["+CGACT: (0,1)"]
    return [f"+CGACT: {cid},0" for cid in sorted(channel.dongle.contexts)] if op == "?" else []


def _ws46(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    """The radio that may be used: 12 GSM, 22 UTRAN, 28 E-UTRAN (3GPP TS 27.007 §5.9)."""
    radios = {2: "12", 3: "12,22", 4: "12,22,28"}[channel.dongle.personality.generation]
    return [f"({radios})"] if op == "=?" else [radios.rpartition(",")[2]] if op == "?" else []


def _cmer(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    return ["+CMER: (0-3),(0),(0),(0,1),(0,1)"] if op == "=?" else ["+CMER: 0,0,0,0,0"] if op == "?" else []


def _cpbs(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    if op == "=?":
        return ['+CPBS: ("SM","ON")']
    if op == "?":
        return [f'+CPBS: "{channel.profile.phonebook}",{len(channel.dongle.sim.phonebook)},{_PHONEBOOK_SIZE}']
    wanted = arguments(arg)[0].upper()
    if wanted not in ("SM", "ON"):
        raise cme(4)
    channel.profile.phonebook = wanted
    return []


def _cpbr(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    sim = channel.dongle.sim
    own = channel.profile.phonebook == "ON"
    if op == "=?":
        return [f"+CPBR: (1-{1 if own else _PHONEBOOK_SIZE}),24,18"]
    values = arguments(arg)
    first = number(values[0], 1, _PHONEBOOK_SIZE, cme(21))
    last = number(values[1], 1, _PHONEBOOK_SIZE, cme(21)) if len(values) > 1 else first
    book = {1: (sim.own_number, "")} if own else sim.phonebook
    return [
        f'+CPBR: {place},"{digits}",{145 if digits[:1] == "+" else 129},"{messages.coded(channel, name)}"'
        for place, (digits, name) in sorted(book.items())
        if first <= place <= last
    ]


def _imei(dongle: Dongle) -> list[str]:
    return [dongle.personality.imei.format(dongle.imei)]


COMMANDS: dict[str, Handler] = {
    "A": dialogue.answer_call,
    "D": dialogue.dial,
    "E": _switch("echo"),
    "H": dialogue.hang_up,
    "I": _information,
    "Q": _switch("quiet"),
    "V": _switch("verbose"),
    "X": _accepted,
    "Z": _reset,
    "&C": _accepted,
    "&D": _accepted,
    "&F": _reset,
    "&K": _accepted,
    "&W": _accepted,
    "&S": _accepted,
    "L": _accepted,
    "M": _accepted,
    **{f"S{index}": _register(index) for index in range(13)},
    "+CBC": _fixed(lambda dongle: ["+CBC: 0,100"]),
    "+CBST": _kept("+CBST", "(0,7),(0),(1)", "7,0,1"),
    "+CCLK": _cclk,
    "+CCWA": _accepted,
    "+CCFC": _accepted,
    "+CFUN": _cfun,
    "+CGACT": _with_sim(_cgact),
    "+CGATT": _with_sim(_cgatt),
    "+CGDCONT": _cgdcont,
    "+CGMI": _fixed(lambda dongle: [dongle.maker]),
    "+CGMM": _fixed(lambda dongle: [dongle.model]),
    "+CGMR": _fixed(lambda dongle: [dongle.revision]),
    "+CGSN": _fixed(_imei),
    "+CHUP": dialogue.hang_up,
    "+CIND": _cind,
    "+CIMI": _with_sim(_fixed(lambda dongle: [dongle.sim.imsi])),
    "+CLAC": _clac,
    "+CLCC": dialogue.call_list,
    "+CLCK": security.clck,
    "+CLIP": _shown("+CLIP", "caller_shown", ",1"),
    "+CMEE": _cmee,
    "+CMER": _cmer,
    "+CNUM": _with_sim(_cnum),
    "+COLP": _kept("+COLP", "(0,1)", "0,0"),
    "+COPS": _with_sim(_cops),
    "+CPAS": _cpas,
    "+CPBR": _with_sim(_cpbr),
    "+CPBS": _with_sim(_cpbs),
    "+CPIN": security.cpin,
    "+CPINR": security.cpinr,
    "+CPWD": _with_sim(security.cpwd),
    "+CRC": _shown("+CRC", "call_type_shown"),
    "+CREG": _registration("+CREG"),
    "+CGREG": _registration("+CGREG"),
    "+CEREG": _registration("+CEREG"),
    "+CRSM": _with_sim(_crsm),
    "+CSCS": _cscs,
    "+CSQ": _csq,
    "+CR": _kept("+CR", "(0,1)", "0"),
    "+CSSN": _kept("+CSSN", "(0,1),(0,1)", "0,0"),
    "+CTZR": _kept("+CTZR", "(0,1)", "0"),
    "+CTZU": _kept("+CTZU", "(0,1)", "0"),
    "+CUSD": _with_sim(dialogue.cusd),
    "+FCLASS": _kept("+FCLASS", "(0)", "0"),
    "+GCAP": _fixed(lambda dongle: ["+GCAP: +CGSM,+DS,+ES"]),
    "+GMI": _fixed(lambda dongle: [dongle.maker]),
    "+GMM": _fixed(lambda dongle: [dongle.model]),
    "+GMR": _fixed(lambda dongle: [dongle.revision]),
    "+GSN": _fixed(_imei),
    "+ICF": _kept("+ICF", "(3),(0)", "3,0"),
    "+IFC": _kept("+IFC", "(0-2),(0-2)", "0,0"),
    "+IPR": _ipr,
    "+WS46": _ws46,
    "^CURC": _curc,
    "^PORTSEL": _portsel,
    "^SYSINFO": _sysinfo,
    **messages.COMMANDS,
}
