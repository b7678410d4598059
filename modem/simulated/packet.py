"""Packet data of the simulated dongle, as far as it can be asked and set: nothing ever goes through it (3GPP TS 27.007 §10.1)."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from modem.simulated.grammar import arguments, cme, number

if TYPE_CHECKING:
    from modem.simulated.channel import Channel

Lines = list[str] | None

_CIDS = 16
_ADDRESS = "10.64.64.{}"  # what the invented network gives to a context


def cgatt(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    """AT+CGATT: attach to packet data, or detach, which ends every context (§10.1.9)."""
    dongle = channel.dongle
    if op == "=?":
        return ["+CGATT: (0,1)"]
    if op == "?":
        return [f"+CGATT: {int(dongle.attached and dongle.registered)}"]
    if op == "=":
        dongle.attached = number(arg, 0, 1, cme(50)) == 1
    if not dongle.attached:
        dongle.active.clear()
    return []


def cgdcont(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    """The contexts of packet data, kept over a restart; one that is only named is forgotten (§10.1.1)."""
    contexts = channel.dongle.contexts
    if op == "=?":
        return [f'+CGDCONT: (1-{_CIDS}),"IP",,,(0-2),(0-3)']
    if op != "=":
        return [f"+CGDCONT: {cid},{contexts[cid]}" for cid in sorted(contexts)]
    values = arguments(arg)
    cid = number(values[0], 1, _CIDS, cme(50))
    if len(values) == 1:
        contexts.pop(cid, None)
        channel.dongle.active.discard(cid)
        return []
    kind, name, address, data, head, *_ = (*values[1:], *[""] * 5)
    if kind.upper() not in ("", "IP", "PPP", "IPV6", "IPV4V6"):
        raise cme(50)
    pressed = number(data or "0", 0, 2, cme(50)), number(head or "0", 0, 3, cme(50))
    contexts[cid] = f'"{kind.upper() or "IP"}","{name}","{address}",{pressed[0]},{pressed[1]}'
    return []


def cgact(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    """AT+CGACT: activate contexts or end them; all of them where none is named (§10.1.10)."""
    dongle = channel.dongle
    if op == "=?":
        return ["+CGACT: (0,1)"]
    if op == "?":
        return [f"+CGACT: {cid},{int(cid in dongle.active)}" for cid in sorted(dongle.contexts)]
    values = arguments(arg)
    on = number(values[0], 0, 1, cme(50)) == 1
    wanted = {number(value, 1, _CIDS, cme(50)) for value in values[1:]} or set(dongle.contexts)
    if not wanted <= set(dongle.contexts):
        raise cme(50)
    if not on:
        dongle.active -= wanted
    elif dongle.attached and dongle.registered:
        dongle.active |= wanted
    else:
        raise cme(148)
    return []


def cgpaddr(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    """AT+CGPADDR: the addresses of the contexts that are active (§10.1.14)."""
    dongle = channel.dongle
    known = sorted(dongle.contexts)
    if op == "=?":
        return [f"+CGPADDR: ({','.join(map(str, known))})"]
    values = arguments(arg) if arg else ()
    wanted = [number(value, 1, _CIDS, cme(50)) for value in values] or known
    return [
        f"+CGPADDR: {cid}" + (f',"{_ADDRESS.format(cid)}"' if cid in dongle.active else "")
        for cid in wanted
        if cid in known
    ]
