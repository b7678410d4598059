"""The general commands of the simulated dongle (ITU-T V.250, 3GPP TS 27.007) and the table of all of them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from modem.simulated import messages
from modem.simulated.grammar import Refused, arguments, cme, number

if TYPE_CHECKING:
    from modem.simulated.dongle import Dongle

Lines = list[str] | None
"""Information text; None where the final result comes later or never."""
Handler = Callable[["Dongle", str, str, datetime], Lines]

USSD_WAIT = timedelta(milliseconds=500)  # an answer of the network comes after OK, about so long
_CELL = ("00AB", "0099CDEF")  # location area and cell, as invented as the network


def _fixed(value: Callable[[Dongle], list[str]]) -> Handler:
    def handler(dongle: Dongle, op: str, arg: str, now: datetime) -> Lines:
        return [] if op == "=?" else value(dongle)

    return handler


def _accepted(dongle: Dongle, op: str, arg: str, now: datetime) -> Lines:
    return []


def _with_sim(handler: Handler) -> Handler:
    def guarded(dongle: Dongle, op: str, arg: str, now: datetime) -> Lines:
        if not dongle.unlocked and op != "=?":
            raise cme(12 if dongle.sim.pin_left == 0 else 11)
        return handler(dongle, op, arg, now)

    return guarded


def _switch(name: str) -> Handler:
    """A V.250 switch: ATE, ATV, ATQ."""

    def handler(dongle: Dongle, op: str, arg: str, now: datetime) -> Lines:
        setattr(dongle.profile, name, number(arg or "0", 0, 1, Refused()) == 1)
        return []

    return handler


def _register(index: int) -> Handler:
    def handler(dongle: Dongle, op: str, arg: str, now: datetime) -> Lines:
        registers = dongle.profile.registers
        if op == "?":
            return [f"{registers[index]:03d}"]
        registers[index] = number(arg, 0, 255 if index == 0 else 127, Refused())
        return []

    return handler


def _reset(dongle: Dongle, op: str, arg: str, now: datetime) -> Lines:
    fresh = type(dongle.profile)()
    fresh.vendor_urcs = dongle.profile.vendor_urcs
    dongle.profile = fresh
    return []


def _information(dongle: Dongle, op: str, arg: str, now: datetime) -> Lines:
    return [
        f"Manufacturer: {dongle.maker}",
        f"Model: {dongle.model}",
        f"Revision: {dongle.revision}",
        f"IMEI: {dongle.imei}",
        "+GCAP: +CGSM,+DS,+ES",
    ]


def _call(dongle: Dongle, op: str, arg: str, now: datetime) -> Lines:
    dongle.result("NO CARRIER")
    return None


def _cmee(dongle: Dongle, op: str, arg: str, now: datetime) -> Lines:
    if op == "?":
        return [f"+CMEE: {dongle.profile.cmee}"]
    if op == "=?":
        return ["+CMEE: (0-2)"]
    dongle.profile.cmee = number(arg, 0, 2, cme(50))
    return []


def _cpin(dongle: Dongle, op: str, arg: str, now: datetime) -> Lines:
    sim = dongle.sim
    if op == "=?":
        return []
    if op == "?":
        wanted = "READY" if dongle.unlocked else "SIM PIN" if sim.pin_left else "SIM PUK"
        return [f"+CPIN: {wanted}"]
    if dongle.unlocked:
        raise cme(3)
    values = arguments(arg)
    if sim.pin_left == 0:
        if len(values) != 2:
            raise cme(12)
        good = sim.try_puk(values[0], values[1])
    else:
        good = sim.try_pin(values[0])
    if not good:
        raise cme(16)
    dongle.unlocked = True
    dongle.announce_registration(now)
    return []


def _clck(dongle: Dongle, op: str, arg: str, now: datetime) -> Lines:
    if op == "=?":
        return ['+CLCK: ("SC")']
    values = arguments(arg)
    if op != "=" or len(values) < 2 or values[0].upper() != "SC":
        raise cme(4)
    mode = number(values[1], 0, 2, cme(50))
    sim = dongle.sim
    if mode == 2:
        return [f"+CLCK: {int(sim.pin is not None)}"]
    if len(values) < 3:
        raise cme(50)
    if sim.pin is None:
        sim.pin = values[2]
    elif not sim.try_pin(values[2]):
        raise cme(16)
    if mode == 0:
        sim.pin = None
    return []


def _cpwd(dongle: Dongle, op: str, arg: str, now: datetime) -> Lines:
    if op == "=?":
        return ['+CPWD: ("SC",8)']
    values = arguments(arg)
    if op != "=" or len(values) != 3 or values[0].upper() != "SC" or dongle.sim.pin is None:
        raise cme(3)
    if not dongle.sim.try_pin(values[1]):
        raise cme(16)
    dongle.sim.pin = values[2]
    return []


def _csq(dongle: Dongle, op: str, arg: str, now: datetime) -> Lines:
    if op == "=?":
        return ["+CSQ: (0-31,99),(99)"]
    return [f"+CSQ: {dongle.knobs.signal if dongle.registered else 99},99"]


def cell(dongle: Dongle, wanted: int) -> str:
    """The location that follows the `stat` of +CREG in mode 2."""
    return f',"{_CELL[0]}","{_CELL[1]}"' if wanted == 2 and dongle.registered else ""


def _registration(name: str) -> Handler:
    def handler(dongle: Dongle, op: str, arg: str, now: datetime) -> Lines:
        urcs = dongle.profile.registration_urcs
        if op == "=?":
            return [f"{name}: (0-2)"]
        if op == "?":
            return [f"{name}: {urcs[name]},{dongle.registration}{cell(dongle, urcs[name])}"]
        urcs[name] = number(arg or "0", 0, 2, cme(50))
        return []

    return handler


def _cops(dongle: Dongle, op: str, arg: str, now: datetime) -> Lines:
    sim, profile = dongle.sim, dongle.profile
    if op == "=?":
        return [f'+COPS: (2,"{sim.operator}","{sim.operator}","{sim.mcc_mnc}",2),,(0-4),(0-2)']
    if op == "?":
        if not dongle.registered:
            return ["+COPS: 0"]
        shown = sim.mcc_mnc if profile.operator_format == 2 else sim.operator
        return [f'+COPS: 0,{profile.operator_format},"{shown}",2']
    values = arguments(arg)
    mode = number(values[0], 0, 4, cme(50))
    if mode == 3:
        profile.operator_format = number(values[1] if len(values) > 1 else "", 0, 2, cme(50))
    return []


def _cfun(dongle: Dongle, op: str, arg: str, now: datetime) -> Lines:
    if op == "=?":
        return ["+CFUN: (0,1,4),(0,1)"]
    if op == "?":
        return [f"+CFUN: {dongle.function}"]
    values = arguments(arg)
    function = number(values[0], 0, 4, cme(50))
    if function not in (0, 1, 4):
        raise cme(4)
    if values[1:] == ("1",):
        dongle.result("OK")
        said = dongle.drain()
        dongle.boot()
        dongle.say_raw(said.decode("latin-1"))
        dongle.network.available(dongle.sim, now)
        return None
    if function != dongle.function:
        dongle.function = function
        dongle.announce_registration(now)
    return []


def _cgatt(dongle: Dongle, op: str, arg: str, now: datetime) -> Lines:
    return [f"+CGATT: {int(dongle.registered)}"] if op == "?" else ["+CGATT: (0,1)"] if op == "=?" else []


def _cscs(dongle: Dongle, op: str, arg: str, now: datetime) -> Lines:
    if op == "=?":
        return ['+CSCS: ("IRA","GSM","UCS2")']
    if op == "?":
        return [f'+CSCS: "{dongle.profile.charset}"']
    wanted = arguments(arg)[0].upper()
    if wanted not in ("IRA", "GSM", "UCS2"):
        raise cme(50)
    dongle.profile.charset = wanted
    return []


def _cnum(dongle: Dongle, op: str, arg: str, now: datetime) -> Lines:
    return [] if op == "=?" else [f'+CNUM: "","{dongle.sim.own_number}",145']


def _cusd(dongle: Dongle, op: str, arg: str, now: datetime) -> Lines:
    if op == "=?":
        return ["+CUSD: (0-2)"]
    if op == "?":
        return ["+CUSD: 1"]
    values = arguments(arg)
    number(values[0] or "0", 0, 2, cme(50))
    if len(values) > 1 and values[1]:
        if not dongle.registered:
            raise cme(30)
        answer = dongle.network.ussd.get(messages.plain(dongle, values[1]))
        line = (
            "+CUSD: 4" if answer is None else f'+CUSD: 0,"{messages.coded(dongle, answer)}",15'
        )  # 4: not supported
        dongle.later(now + USSD_WAIT, line)
    return []


def _crsm(dongle: Dongle, op: str, arg: str, now: datetime) -> Lines:
    """READ BINARY of EF-ICCID only; SW 6A82 (file not found) for the rest (3GPP TS 27.007 §8.18)."""
    if op == "=?":
        return []
    values = arguments(arg)
    if values[:2] != ("176", "12258"):
        return ["+CRSM: 106,130"]
    digits = dongle.sim.iccid + "F" * (len(dongle.sim.iccid) % 2)
    swapped = "".join(digits[at + 1] + digits[at] for at in range(0, len(digits), 2))
    return [f'+CRSM: 144,0,"{swapped}"']


def _curc(dongle: Dongle, op: str, arg: str, now: datetime) -> Lines:
    if op == "?":
        return [f"^CURC: {int(dongle.profile.vendor_urcs)}"]
    if op == "=":
        dongle.profile.vendor_urcs = number(arguments(arg)[0], 0, 1, cme(50)) == 1
    return []


def _sysinfo(dongle: Dongle, op: str, arg: str, now: datetime) -> Lines:
    served = 2 if dongle.registered else 0
    return [f"^SYSINFO:{served},3,{int(dongle.registration == 5)},5,{int(dongle.unlocked)},,4"]


def _ipr(dongle: Dongle, op: str, arg: str, now: datetime) -> Lines:
    return ["+IPR: 115200"] if op == "?" else ["+IPR: (),(9600,115200)"] if op == "=?" else []


def _clac(dongle: Dongle, op: str, arg: str, now: datetime) -> Lines:
    vendor = dongle.maker.lower() == "huawei"
    return [] if op == "=?" else [name for name in COMMANDS if vendor or not name.startswith("^")]


def _iccid(dongle: Dongle, op: str, arg: str, now: datetime) -> Lines:
    return [f"^ICCID: {dongle.sim.iccid}"]


COMMANDS: dict[str, Handler] = {
    "A": _call,
    "D": _call,
    "E": _switch("echo"),
    "H": _accepted,
    "I": _information,
    "Q": _switch("quiet"),
    "V": _switch("verbose"),
    "X": _accepted,
    "Z": _reset,
    "&C": _accepted,
    "&D": _accepted,
    "&F": _reset,
    "&W": _accepted,
    **{f"S{index}": _register(index) for index in (0, 3, 4, 5)},
    "+CCID": _with_sim(_fixed(lambda dongle: [f"+CCID: {dongle.sim.iccid}"])),
    "+CFUN": _cfun,
    "+CGATT": _with_sim(_cgatt),
    "+CGMI": _fixed(lambda dongle: [dongle.maker]),
    "+CGMM": _fixed(lambda dongle: [dongle.model]),
    "+CGMR": _fixed(lambda dongle: [dongle.revision]),
    "+CGSN": _fixed(lambda dongle: [dongle.imei]),
    "+CIMI": _with_sim(_fixed(lambda dongle: [dongle.sim.imsi])),
    "+CLAC": _clac,
    "+CLCK": _clck,
    "+CLIP": _accepted,
    "+CMEE": _cmee,
    "+CNUM": _with_sim(_cnum),
    "+COPS": _with_sim(_cops),
    "+CPIN": _cpin,
    "+CPWD": _with_sim(_cpwd),
    "+CRC": _accepted,
    "+CREG": _registration("+CREG"),
    "+CGREG": _registration("+CGREG"),
    "+CEREG": _registration("+CEREG"),
    "+CRSM": _with_sim(_crsm),
    "+CSCS": _cscs,
    "+CSQ": _csq,
    "+CUSD": _with_sim(_cusd),
    "+GCAP": _fixed(lambda dongle: ["+GCAP: +CGSM,+DS,+ES"]),
    "+GMI": _fixed(lambda dongle: [dongle.maker]),
    "+GMM": _fixed(lambda dongle: [dongle.model]),
    "+GMR": _fixed(lambda dongle: [dongle.revision]),
    "+GSN": _fixed(lambda dongle: [dongle.imei]),
    "+IPR": _ipr,
    "^CURC": _curc,
    "^ICCID": _with_sim(_iccid),
    "^SYSINFO": _sysinfo,
    **messages.COMMANDS,
}
