"""PIN, PUK, facility locks and call barring of the simulated dongle (3GPP TS 27.007 §7.4, §7.5, §8.3)."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from modem.simulated.grammar import Refused, arguments, cme, number

if TYPE_CHECKING:
    from modem.simulated.channel import Channel

Lines = list[str] | None
_BARRING = ("AO", "OI", "OX", "AI", "IR")
_SERVICES = {
    "AB": _BARRING,
    "AG": ("AO", "OI", "OX"),
    "AC": ("AI", "IR"),
}  # all, outgoing, incoming: only taken off


def cpin(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    """AT+CPIN: what the SIM wants, and to give it that."""
    dongle, sim = channel.dongle, channel.dongle.sim
    if op == "=?":
        return []
    if dongle.sim_off:
        raise cme(13)
    if not dongle.sim_ready:
        if op == "?" and dongle.personality.generation == 2:
            return ["+CPIN: NOT READY"]
        raise cme(14)
    if op != "=":
        return [f"+CPIN: {channel.dongle.pin_state}"]
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


def cpinr(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    """AT+CPINR: the tries left (3GPP TS 27.007 §8.65)."""
    sim = channel.dongle.sim
    if op == "=?":
        return []
    if channel.dongle.sim_off:
        raise cme(13)
    return [f"+CPINR: SIM PIN,{sim.pin_left},3", f"+CPINR: SIM PUK,{sim.puk_left},10"]


def tries(channel: Channel, shape: str) -> Lines:
    """The same as makers spell it."""
    if channel.dongle.sim_off:
        raise cme(13)
    sim, state = channel.dongle.sim, channel.dongle.pin_state
    current = {"READY": "", "SIM PIN": sim.pin_left, "SIM PUK": sim.puk_left}[state]
    return [shape.format(state=state, current=current, pin=sim.pin_left, puk=sim.puk_left)]


def clck(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    """AT+CLCK: the PIN lock, fixed dialling and call barring."""
    if op == "=?":
        return ['+CLCK: ("SC","FD","PN","AO","OI","OX","AI","IR","AB","AG","AC")']
    if channel.dongle.sim_off:
        raise cme(13)
    values = arguments(arg)
    if op != "=" or len(values) < 2:
        raise cme(50)
    facility, mode = values[0].upper(), number(values[1], 0, 2, cme(50))
    sim = channel.dongle.sim
    if facility in (*_BARRING, "FD"):
        if mode == 2:
            return [f"+CLCK: {int(facility in sim.barred)}" + ("" if facility == "FD" else ",7")]
        if len(values) < 3:
            raise cme(50)
        if facility != "FD" and values[2] != sim.bar_password:
            raise cme(16)
        (sim.barred.add if mode else sim.barred.discard)(facility)
        return []
    if facility in _SERVICES:
        if mode or len(values) < 3:
            raise cme(50)
        if values[2] != sim.bar_password:
            raise cme(16)
        sim.barred.difference_update(_SERVICES[facility])
        return []
    if facility == "PN":
        if mode == 2:
            return ["+CLCK: 0"]
        raise cme(3)
    if facility != "SC":
        raise cme(4)
    if mode == 2:
        return [f"+CLCK: {int(sim.pin is not None)}"]
    if len(values) < 3:
        raise cme(50)
    off = sim.pin is None
    if off:  # a card whose PIN nobody told has the one that is named first
        sim.pin = sim.former_pin or values[2]
    good = sim.try_pin(values[2])
    if (good and mode == 0) or (off and not good):
        sim.former_pin, sim.pin = sim.pin, None
    if not good:
        raise cme(16)
    return []


def cpwd(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    """AT+CPWD: another PIN, or another password of call barring."""
    sim = channel.dongle.sim
    if op == "=?":
        return ['+CPWD: ("SC",8),("AO",4),("AI",4)']
    values = arguments(arg)
    if op != "=" or len(values) != 3:
        raise Refused
    facility = values[0].upper()
    if facility in (*_BARRING, *_SERVICES):
        if values[1] != sim.bar_password:
            raise cme(16)
        sim.bar_password = values[2]
        return []
    if facility != "SC" or sim.pin is None:
        raise cme(3)
    if not sim.try_pin(values[1]):
        raise cme(16)
    sim.pin = values[2]
    return []
