"""How the simulated dongle sends: what may hinder it, what may go wrong, and what the port is told."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import TYPE_CHECKING

from modem.pdu import StoredSubmit
from modem.simulated import texts
from modem.simulated.faults import HIDING
from modem.simulated.grammar import Refused, cme, cms
from modem.simulated.knobs import NONE

if TYPE_CHECKING:
    from modem.simulated.channel import Channel
    from modem.simulated.dongle import Dongle

_SURE_ERRORS = (21, 38, 42, 69, 302, 330)  # RP and CMS causes that mean that nothing was sent
_DOUBTFUL_ERRORS = (332, 500)  # network timeout, unknown: it may have been sent
_SUBMIT_ERRORS = {
    "submit_error_cme": "+CME ERROR: 100",
    "submit_error_text": "+CMS ERROR: Short message transfer rejected",
    "submit_error_bare": "ERROR",
}


def send(dongle: Dongle, channel: Channel, name: str, submit: StoredSubmit, now: datetime) -> None:
    """Put one SMS on the air, and answer `name` with its reference when its radio time is over."""
    channel.verdict_due = True
    if dongle.knobs.radio == NONE:
        _submit(dongle, channel, name, submit, now)
    else:
        _wait(
            dongle, channel, now + dongle.knobs.radio, lambda at: _submit(dongle, channel, name, submit, at)
        )


def _wait(dongle: Dongle, channel: Channel, due: datetime, action: Callable[[datetime], None]) -> None:
    channel.busy_until(due, action, busy=not dongle.knobs.answers_while_sending)


def _submit(dongle: Dongle, channel: Channel, name: str, submit: StoredSubmit, now: datetime) -> None:
    refused = _hindrance(dongle, submit)
    if refused is not None:
        _refuse(dongle, channel, refused)
    elif not _fails(dongle, channel, now):
        reference = dongle.sim.next_reference()
        dongle.network.submit(dongle.sim, submit, reference, now)
        if dongle.sim.credit is not None:
            dongle.sim.credit -= dongle.network.price
        _verdict(dongle, channel, name, reference, now)


def _hindrance(dongle: Dongle, submit: StoredSubmit) -> Refused | None:
    sim = dongle.sim
    if not dongle.registered:
        return cms(331)
    if dongle.ringing and dongle.personality.generation == 2:
        return cms(515)
    if "FD" in sim.barred:
        return cme(56)
    if sim.barred & {"AO", "OI"}:
        return cms(10)
    if sim.credit is not None and sim.credit < dongle.network.price:
        return cms(21)
    return None


def _refuse(dongle: Dongle, channel: Channel, refused: Refused) -> None:
    if refused.code in _DOUBTFUL_ERRORS:
        dongle.hide(channel)
    channel.refuse(refused)
    channel.verdict_due = False


def _fails(dongle: Dongle, channel: Channel, now: datetime) -> bool:
    """The faults that keep an SMS from the air; what is said then."""
    knobs = dongle.knobs
    if knobs.submit_errors:
        knobs.submit_errors -= 1
        dongle.fired["submit_error"] += 1
        _refuse(dongle, channel, cms(knobs.submit_error))
        return True
    if dongle.dice.fires("submit_error"):
        _refuse(dongle, channel, cms(dongle.random.choice(_SURE_ERRORS)))
        return True
    if wrong := dongle.dice.first(tuple(_SUBMIT_ERRORS)):
        channel.result(_SUBMIT_ERRORS[wrong])
        channel.verdict_due = False
        return True
    if not knobs.silent_sends and _silent(dongle):
        dongle.fired["silence_unsent"] += 1
        dongle.hide(channel)
        return True
    if _happens(dongle, channel, "silence_unsent"):
        return True
    if _happens(dongle, channel, "unplug_unsent"):
        dongle.drop_out(now)
        return True
    return False


def _silent(dongle: Dongle) -> bool:
    knobs = dongle.knobs
    silent = knobs.silence > 0 or (knobs.silence_chance > 0 and dongle.random.random() < knobs.silence_chance)
    if silent:
        knobs.silence = max(0, knobs.silence - 1)
    return silent


def _verdict(dongle: Dongle, channel: Channel, name: str, reference: int, now: datetime) -> None:
    """It is on the air: what the port is told of it."""
    knobs = dongle.knobs
    if _silent(dongle):
        dongle.fired["silence_sent"] += 1
        dongle.hide(channel)
    elif _happens(dongle, channel, "silence_sent"):
        pass
    elif _happens(dongle, channel, "unplug_sent"):
        dongle.drop_out(now)
    elif _happens(dongle, channel, "reset_sent"):
        dongle.start_anew(now)
    elif _happens(dongle, channel, "submit_error_sent"):
        channel.refuse(cms(332))
    elif knobs.late_cmgs > NONE:
        _wait(dongle, channel, now + knobs.late_cmgs, lambda at: _sent(dongle, channel, name, reference, at))
    elif _happens(dongle, channel, "cmgs_late"):
        _wait(dongle, channel, now + knobs.late_by, lambda at: _sent(dongle, channel, name, reference, at))
    else:
        _sent(dongle, channel, name, reference, now)


def _sent(dongle: Dongle, channel: Channel, name: str, reference: int, now: datetime) -> None:
    line = f"{name}: {reference}"
    if dongle.dice.fires("cmgs_tight"):
        line = f"{name}:{reference}"
    elif dongle.dice.fires("cmgs_stamped"):
        line += f',"{texts.stamp(now)}"'
    if not _happens(dongle, channel, "cmgs_lost"):
        channel.information([line] * (2 if dongle.dice.fires("cmgs_doubled") else 1))
    if not _happens(dongle, channel, "ok_lost"):
        channel.result("OK")
    channel.verdict_due = False


def _happens(dongle: Dongle, channel: Channel, name: str) -> bool:
    if not dongle.dice.fires(name):
        return False
    if name in HIDING:
        dongle.hide(channel)
    return True
