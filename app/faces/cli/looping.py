"""`doctor --loop`: one SMS from a SIM to itself, through a port that nobody holds or through the lane that holds it. Never a second one."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from app.domain.errors import Invalid
from app.faces.cli.doctor_texts import fault, lane_called, said
from app.faces.cli.lanes_asked import busy, request
from app.settings import Settings
from app.store import loops
from app.store.engine import Store, open_store
from modem import ModemError, PortSettings, SerialModem
from modem.doctor import Both, Finding, credit_in, loop, told
from modem.doctor.loop import RECEIVES_WITHIN

SENDS_WITHIN = timedelta(seconds=150)
"""How long a held lane may take until it sent: +CMGS has 120 s, and the lane may be in the middle of something."""


@dataclass(frozen=True, slots=True)
class Loop:
    """What is wanted. `number`: the SIM's own, where it does not know it · `credit_code`: asked before and after, for the price ·
    patience, sending: how long the SMS may be under way, and a held lane be busy before · language: of what it says and raises."""

    number: str | None = None
    credit_code: str | None = None
    confirm: Callable[[str], bool] = lambda question: False
    progress: Callable[[Both], None] = lambda sentence: None
    patience: timedelta = RECEIVES_WITHIN
    sending: timedelta = SENDS_WITHIN
    language: str = "en"


def run_loop(
    settings: Settings,
    wanted: Loop,
    *,
    free: Mapping[str, PortSettings],
    held: set[str],
    open_modem: Callable[[PortSettings], SerialModem] = SerialModem,
) -> tuple[dict[str, Any], list[Finding]]:
    """What came of it, as JSON, and a finding where it failed. `free` and `held`: where it may go, exactly one. Invalid for none or several."""
    there = [*free, *sorted(held)]
    if len(there) != 1:
        raise _invalid(wanted, said("loop.several", names=", ".join(there)) if there else said("loop.nobody"))
    (name,) = there
    try:
        if name in held:
            with closing(open_store(settings.database, settings.sealing.keys_file, serving=False)) as store:
                return _through_lane(store, name, wanted), []
        return _through_port(name, free[name], wanted, open_modem), []
    except ModemError as no:
        return {"error": {"code": no.code, "blame": no.blame, "detail": no.detail}}, [_failed(name, no)]


def _through_port(
    name: str, port: PortSettings, wanted: Loop, open_modem: Callable[[PortSettings], SerialModem]
) -> dict[str, Any]:
    with closing(open_modem(port)) as modem:
        identity = modem.open()
        own = wanted.number or identity.own_number
        if own is None:
            raise _invalid(wanted, said("loop.no_number"))
        _confirmed(wanted, name)
        return loop(
            modem, own, _mark(), _now, credit_code=wanted.credit_code, patience=wanted.patience
        ).as_json()


def _through_lane(store: Store, lane: str, wanted: Loop) -> dict[str, Any]:
    _confirmed(wanted, lane_called(lane))
    before = _credit(store, lane, wanted.credit_code)
    number = {} if wanted.number is None else {"number": wanted.number}
    answer, why = request(
        store,
        lane,
        "loop",
        {"mark": _mark(), **number},
        within=(wanted.sending + wanted.patience).total_seconds(),
        taken_within=wanted.sending.total_seconds(),
    )
    if answer is None and why == busy():
        never = said("loop.never_came").told(wanted.language)
        raise ModemError("loop_not_received", never, blame="network")
    if answer is None:
        raise ModemError("loop_refused", told(why, wanted.language))
    after = _credit(store, lane, wanted.credit_code)
    return {**answer, "cost": None if before is None or after is None else before - after}


def _confirmed(wanted: Loop, name: str | Both) -> None:
    if not wanted.confirm(said("loop.question", name=name).told(wanted.language)):
        raise _invalid(wanted, said("loop.declined"))
    wanted.progress(said("loop.waiting"))


def _invalid(wanted: Loop, sentence: Both) -> Invalid:
    return Invalid(sentence.told(wanted.language))


def _credit(store: Store, lane: str, code: str | None) -> int | None:
    if code is None:
        return None
    answer, _ = request(store, lane, "ussd", {"code": code})
    return credit_in(str((answer or {}).get("text", "")))


def _mark() -> str:
    return f"{loops.MARK}{secrets.token_hex(4)}"


def _failed(name: str, no: ModemError) -> Finding:
    text = "loop_failed.not_received" if no.code == "loop_not_received" else "loop_failed"
    return fault(text, name, code=no.code, detail=no.detail)


def _now() -> datetime:
    return datetime.now(UTC)
