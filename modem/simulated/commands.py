"""The general commands of the simulated dongle (ITU-T V.250, 3GPP TS 27.007) and the table of all of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING

from modem.simulated import dialogue, indicators, messages, packet, phonebook, security, texts
from modem.simulated.grammar import Command, Refused, arguments, cme, number
from modem.simulated.keeping import BASIC, basic, kept, rate, view

if TYPE_CHECKING:
    from modem.simulated.channel import Channel
    from modem.simulated.dongle import Dongle
    from modem.simulated.personality import Personality

Lines = list[str] | None
"""Information text; None where the final result comes later or never."""
Handler = Callable[["Channel", str, str, datetime], Lines]

_CELL = ("00AB", "0099CDEF")  # location area and cell, as invented as the network
_WIB = timezone(timedelta(hours=7))
_ADMINISTRATIVE = "00000002"  # EF-AD: normal operation, the MNC has two digits (3GPP TS 31.102 §4.2.18)
_TIME = re.compile(r'"(\d\d/\d\d/\d\d,\d\d:\d\d:\d\d)([+-]\d\d)?"')  # 3GPP TS 27.007 §8.15
_QUARTER = timedelta(minutes=15)
# Which forms 3GPP TS 27.007 gives a command; the others are refused as a command is that the stick has not.
_ACTIONS = "+CGMI +CGMM +CGMR +CGSN +GMI +GMM +GMR +GSN +GCAP +CIMI +CSQ +CPAS +CBC +CLAC +CNUM +CLCC +CHUP +CEER +COPN"
_PARAMETERS = (
    "+CMEE +CREG +CGREG +CEREG +CFUN +COPS +CSCS +CPBS +CPIN +CLIP +CLIR +CRC +CPMS +CUSD +CCLK +IPR"
)
_FORMS = dict.fromkeys(_ACTIONS.split(), ("", "=?")) | dict.fromkeys(_PARAMETERS.split(), ("=", "?", "=?"))


def handle(channel: Channel, command: Command, now: datetime) -> Lines:
    """Do one command of a line. Raises Refused."""
    dongle = channel.dongle
    kind, name, op = dongle.personality, command.name, command.op
    exact = f"{name}{op}{command.arg}".upper()
    for key in (exact, name + op) if op in ("=", "=?") else (exact, name + op, name):
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
    if handler is None or name in kind.lacks or not _is_its_own(name, kind):
        return [] if op == "=?" and name in kind.answers else _unknown(channel, name)
    if op not in _FORMS.get(name, (op,)):
        return _unknown(channel, name)
    return handler(channel, op, command.arg, now)


def _is_its_own(name: str, kind: Personality) -> bool:
    """Whether a command is a standard one, or this maker's."""
    return name in kind.own if name[0] == "^" or name in messages.OF_MAKERS else True


def _unknown(channel: Channel, name: str) -> Lines:
    unknown = channel.dongle.personality.unknown
    if name[0] not in "+^" or unknown == "ERROR":
        raise Refused
    if unknown == "CME4":
        raise cme(4)
    channel.result(unknown)
    return None


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
        if command.name == "+CGSMS":
            number(command.arg, 0, 3, cme(50))  # 3GPP TS 27.007 §10.1.21
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


def _fixed(value: Callable[[Dongle], list[str]], offered: str = "") -> Handler:
    def handler(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
        if op == "=?":
            return [offered] if offered else []
        return value(channel.dongle)

    return handler


def _upto(most: int, then: Handler | None = None) -> Handler:
    """A command of V.250's basic syntax that takes a number."""

    def handler(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
        number(arg or "0", 0, most, Refused())
        return [] if then is None else then(channel, op, arg, now)

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


def _offline(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    """ATO: back to the data of a call, of which there is none (V.250 §6.3.7)."""
    channel.result("NO CARRIER")
    return None


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
    channel.profile.cmee = number(arg or "0", 0, 2, cme(50))
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
        shown = code if profile.operator_format == 2 else texts.coded(channel, name, address=True)
        mode = int(dongle.chosen_by_hand)
        return [f'+COPS: {mode},{profile.operator_format},"{shown}",{dongle.personality.access or 2}']
    values = arguments(arg)
    mode = number(values[0] or "0", 0, 4, cme(50))
    shape = number(values[1] or "0", 0, 2, cme(50)) if len(values) > 1 else 0
    if mode == 3:
        profile.operator_format = shape
        return []
    if mode in (1, 4):
        if len(values) < 3 or not values[2]:
            raise cme(50)
        wanted = values[2] if shape == 2 else texts.plain(channel, values[2], address=True)
        if wanted != (code if shape == 2 else name):
            # In mode 4 it chooses by itself where it cannot have that one.
            if mode == 1:
                others = dongle.network.operators
                raise cme(32 if wanted in (others.values() if shape == 2 else others) else 30)
            mode = 0
    dongle.chosen_by_hand = mode in (1, 4)
    if dongle.deregistered != (mode == 2):
        dongle.deregistered = mode == 2
        dongle.announce_registration(now)
    return []


def _copn(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    """The names of the operators by their codes (3GPP TS 27.007 §7.21)."""
    dongle = channel.dongle
    if op == "=?":
        return []
    known = {dongle.sim.mcc_mnc: dongle.sim.operator} | {
        code: name for name, code in dongle.network.operators.items()
    }
    return [f'+COPN: "{code}","{name}"' for code, name in sorted(known.items())]


def _cfun(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    dongle = channel.dongle
    if op == "=?":
        return ["+CFUN: (0,1,4),(0,1)"]
    if op == "?":
        return [f"+CFUN: {dongle.function}"]
    values = arguments(arg)
    function = number(values[0], 0, 6, cme(50))
    reset = number(values[1], 0, 1, cme(50)) if len(values) > 1 else 0
    if reset or function == 6:
        channel.result("OK")
        dongle.restart(now)
        return None
    if function not in (0, 1, 4):
        raise cme(4)
    dongle.work_at(function, now)
    return []


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


def _clac(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    kind = channel.dongle.personality
    if op == "=?":
        return []
    known = [name for name in COMMANDS if name not in kind.lacks and _is_its_own(name, kind)]
    return known + sorted(
        {*kind.cards, *kind.spellings, *(query.rstrip("=?") for query in kind.tries)} - set(known)
    )


def _cclk(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    """AT+CCLK: the clock, with its zone in quarters of an hour."""
    dongle = channel.dongle
    if op == "=?":
        return []
    if op == "?":
        at = (now + dongle.clock_ahead).astimezone(timezone(dongle.zone * _QUARTER))
        return [f'+CCLK: "{at:%y/%m/%d,%H:%M:%S}{dongle.zone:+03d}"']
    given = _TIME.fullmatch(arg)
    if given is None:
        raise cme(50)
    zone = int(given[2] or dongle.zone)
    try:
        at = datetime.strptime(given[1], "%y/%m/%d,%H:%M:%S").replace(tzinfo=timezone(zone * _QUARTER))
    except ValueError:
        raise cme(50) from None
    dongle.clock_ahead, dongle.zone = at - now, zone
    return []


def _cpas(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    if op == "=?":
        return ["+CPAS: (0,3,4)"]
    return [f"+CPAS: {3 if channel.dongle.ringing else 4 if channel.dongle.called else 0}"]


def _ws46(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    """The radio that may be used: 12 GSM, 22 UTRAN, 28 E-UTRAN (3GPP TS 27.007 §5.9)."""
    radios = {2: "12", 3: "12,22", 4: "12,22,28"}[channel.dongle.personality.generation]
    return [f"({radios})"] if op == "=?" else [radios.rpartition(",")[2]] if op == "?" else []


def _imei(dongle: Dongle) -> list[str]:
    return [dongle.personality.imei.format(dongle.imei)]


COMMANDS: dict[str, Handler] = {
    "A": dialogue.answer_call,
    "D": dialogue.dial,
    "E": _switch("echo"),
    "H": _upto(1, dialogue.hang_up),
    "I": _information,
    "Q": _switch("quiet"),
    "V": _switch("verbose"),
    "O": _offline,
    "P": _upto(0),
    "T": _upto(0),
    "Z": _upto(1, _reset),
    "&F": _upto(0, _reset),
    "&V": _upto(0, view),
    "&W": _upto(1),
    **{name: basic(name) for name in BASIC},
    **{f"S{index}": _register(index) for index in range(13)},
    "+CBC": _fixed(lambda dongle: ["+CBC: 0,100"], "+CBC: (0),(0-100)"),
    "+CBST": kept("+CBST", "(0,7),(0),(1)", "7,0,1"),
    "+CCLK": _cclk,
    "+CCFC": _with_sim(dialogue.forwarding),
    "+CCWA": _with_sim(dialogue.waiting),
    "+CEER": _fixed(lambda dongle: ["+CEER: No cause information available"]),
    "+CFUN": _cfun,
    "+CGACT": _with_sim(packet.cgact),
    "+CGATT": _with_sim(packet.cgatt),
    "+CGDCONT": packet.cgdcont,
    "+CGEREP": kept("+CGEREP", "(0-2),(0,1)", "0,0"),
    "+CGPADDR": _with_sim(packet.cgpaddr),
    "+CGMI": _fixed(lambda dongle: [dongle.maker]),
    "+CGMM": _fixed(lambda dongle: [dongle.model]),
    "+CGMR": _fixed(lambda dongle: [dongle.revision]),
    "+CGSN": _fixed(_imei),
    "+CHUP": dialogue.hang_up,
    "+CIND": indicators.cind,
    "+CIMI": _with_sim(_fixed(lambda dongle: [dongle.sim.imsi])),
    "+CLAC": _clac,
    "+CLCC": dialogue.call_list,
    "+CLCK": security.clck,
    "+CLIP": _shown("+CLIP", "caller_shown", ",1"),
    "+CLIR": kept("+CLIR", "(0-2)", "0", ",4"),
    "+CMEE": _cmee,
    "+CMER": indicators.cmer,
    "+CMOD": kept("+CMOD", "(0)", "0"),
    "+CNUM": _with_sim(phonebook.cnum),
    "+COLP": kept("+COLP", "(0,1)", "0", ",0"),
    "+COPN": _with_sim(_copn),
    "+COPS": _with_sim(_cops),
    "+CPAS": _cpas,
    "+CPBF": _with_sim(phonebook.cpbf),
    "+CPBR": _with_sim(phonebook.cpbr),
    "+CPBS": _with_sim(phonebook.cpbs),
    "+CPBW": _with_sim(phonebook.cpbw),
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
    "+CR": kept("+CR", "(0,1)", "0"),
    "+CRLP": kept("+CRLP", "(0-61),(0-61),(39-255),(1-255)", "61,61,48,6"),
    "+CSSN": kept("+CSSN", "(0,1),(0,1)", "0,0"),
    "+CSTA": kept("+CSTA", "(129,145)", "129"),
    "+CTZR": kept("+CTZR", "(0,1)", "0"),
    "+CTZU": kept("+CTZU", "(0,1)", "0"),
    "+CUSD": _with_sim(dialogue.cusd),
    "+DR": kept("+DR", "(0,1)", "0"),
    "+DS": kept("+DS", "(0-3),(0,1),(512-65535),(6-250)", "0,0,512,6"),
    "+ES": kept("+ES", "(0-7),(0-4),(0-9)", "0,0,0"),
    "+FCLASS": kept("+FCLASS", "(0)", "0"),
    "+GCAP": _fixed(lambda dongle: ["+GCAP: +CGSM,+DS,+ES"]),
    "+GMI": _fixed(lambda dongle: [dongle.maker]),
    "+GMM": _fixed(lambda dongle: [dongle.model]),
    "+GMR": _fixed(lambda dongle: [dongle.revision]),
    "+GSN": _fixed(_imei),
    "+ICF": kept("+ICF", "(0-6),(0-3)", "3,0"),
    "+IFC": kept("+IFC", "(0-2),(0-2)", "0,0"),
    "+ILRR": kept("+ILRR", "(0,1)", "0"),
    "+IPR": rate,
    "+WS46": _ws46,
    "^CURC": _curc,
    "^PORTSEL": _portsel,
    "^SYSINFO": _sysinfo,
    **messages.COMMANDS,
}
