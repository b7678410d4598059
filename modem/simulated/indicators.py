"""What the simulated dongle shows without a display: +CIND and the events of +CMER (3GPP TS 27.007 §8.9, §8.10)."""

from __future__ import annotations

from datetime import datetime
from typing import TYPE_CHECKING

from modem.simulated.grammar import arguments, cme, number

if TYPE_CHECKING:
    from modem.simulated.channel import Channel
    from modem.simulated.dongle import Dongle

Lines = list[str] | None

_BARS = (0, 2, 8, 14, 20, 26)  # +CSQ from which there are 0, 1, … bars; a habit, no standard
_SWITCHES = ("service", "roam", "message", "call", "smsfull")
_OFFERED = ((0, 3), (0, 0), (0, 0), (0, 1), (0, 1))  # <mode>, <keyp>, <disp>, <ind>, <bfr>


def cind(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    """AT+CIND: signal, service, roaming, message, call, storage full."""
    if op == "=?":
        return ['+CIND: ("signal",(0-5)),' + ",".join(f'("{name}",(0,1))' for name in _SWITCHES)]
    if op == "?":
        return [f"+CIND: {','.join(map(str, _now(channel.dongle)))}"]
    if op != "=":
        raise cme(50)
    return []


def cmer(channel: Channel, op: str, arg: str, now: datetime) -> Lines:
    """AT+CMER: whether changes of the indicators are told."""
    events = channel.profile.events
    if op == "=?":
        return ["+CMER: (0-3),(0),(0),(0,1),(0,1)"]
    if op == "?":
        return [f"+CMER: {','.join(map(str, events))}"]
    values = arguments(arg) if op == "=" and arg else ("0",)
    if len(values) > len(_OFFERED):
        raise cme(50)
    wanted = [
        number(value, *limits, cme(50)) if value else before
        for value, limits, before in zip(values, _OFFERED, events, strict=False)
    ]
    events[: len(wanted)] = wanted
    channel.profile.told = _now(channel.dongle)
    return []


def tell(dongle: Dongle) -> None:
    """Say what changed since it was told last, on the ports that asked for it."""
    for channel in dongle.channels.values():
        profile = channel.profile
        if not profile.events[0] or not profile.events[3]:
            continue
        before, profile.told = profile.told, _now(dongle)
        for place, (old, new) in enumerate(zip(before, profile.told, strict=True), 1):
            if old != new:
                channel.urc(f"+CIEV: {place},{new}")


def _now(dongle: Dongle) -> tuple[int, ...]:
    stored = dongle.sim.storage
    bars = sum(dongle.knobs.signal >= least for least in _BARS[1:]) if dongle.registered else 0
    calling = dongle.ringing or dongle.called is not None
    shown = (dongle.registered, dongle.registration == 5, stored.used > 0, calling, stored.full)
    return (bars, *map(int, shown))
