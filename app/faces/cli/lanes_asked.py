"""What the doctor asks of lanes that a running gateway holds: by rows of `lane_requests`, as every face does."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

from app.store import diagnosis, requests
from app.store.diagnosis import LaneSeen
from app.store.engine import Store, Tx
from modem.doctor import Finding, PortFacts, credit_in, fault, masked, valid_until, warning

ANSWER_WITHIN = 60.0
"""Seconds that a held lane may take: it sends first what it is sending (+CMGS: up to 120 s, then the doctor goes on without)."""
BUSY = "it is still busy"
_LOOK = 0.2  # seconds between two looks for the answer


@dataclass(frozen=True, slots=True)
class Told:
    """What a held lane told of its modem."""

    findings: list[Finding] = field(default_factory=list)
    facts: PortFacts | None = None


def request(
    store: Store,
    lane: str,
    kind: str,
    arguments: Mapping[str, Any],
    *,
    within: float = ANSWER_WITHIN,
    taken_within: float | None = None,
) -> tuple[Mapping[str, Any] | None, str]:
    """Let a running gateway's lane do something: its answer, or None and why there is none.

    What nobody took within `taken_within` seconds, or when this is interrupted, is withdrawn and is not done any more.
    """
    asked = store.write(lambda tx: requests.ask(tx, lane, kind, arguments, "doctor", _now()))
    begun, still = time.monotonic(), threading.Event()
    collect = partial(requests.collect, request_id=asked)
    try:
        while True:
            gone = time.monotonic() - begun
            state = store.read(lambda tx: requests.look(tx, asked)).state
            if state == "asked" and gone >= (within if taken_within is None else taken_within):
                state = store.write(partial(collect, give_up=True)).state
                if state == "refused":
                    return None, "the lane is still busy with something else, so nothing was done"
            if state in ("done", "refused"):
                found = store.write(collect)
                if found.state == "done" and found.answer is not None:
                    return found.answer, ""
                return None, str((found.answer or {}).get("detail", "it does not say why"))
            if gone >= within:
                return None, BUSY
            still.wait(_LOOK)
    except KeyboardInterrupt:
        store.write(partial(collect, give_up=True))
        raise


def ask_lane(store: Store, lane: str, within: float = ANSWER_WITHIN) -> Told:
    """Let the lane ask its modem everything."""
    answer, why = request(store, lane, "diagnosis", {}, within=within)
    if answer is None:
        silent = fault(
            "lane_does_not_answer",
            f"lane {lane}",
            "The running gateway holds this lane, but the lane did not answer the doctor.",
            why,
            f"`bpjs-sms lanes` shows its state; `bpjs-sms lanes restart {lane}` opens its modem anew",
        )
        return Told([silent])
    found = [replace(Finding.from_json(one), about=f"lane {lane}") for one in answer.get("findings", ())]
    return Told(found, PortFacts.from_json(answer["facts"]))


def read_credit(store: Store, lane: LaneSeen, code: str) -> list[Finding]:
    """Ask the operator through a held lane, and keep what it said of credit and validity; a finding where it said nothing of it."""
    answer, why = request(store, lane.name, "ussd", {"code": code})
    text = str((answer or {}).get("text", ""))
    credit, until = credit_in(text), valid_until(text)
    if credit is None:
        return [
            warning(
                "credit_not_told",
                f"lane {lane.name}",
                f"The code {code} did not tell the credit.",
                why or f"the answer names no amount in Rp: {masked(text)}",
                "name the operator's own code for the credit with --credit-code; it stands on its web page",
            )
        ]
    sim, ends = lane.sim_id, until.isoformat() if until else None
    if sim is not None:
        held = sim

        def note(tx: Tx) -> None:
            diagnosis.note_credit(tx, held, credit, ends, _now())

        store.write(note)
    return []


def _now() -> datetime:
    return datetime.now(UTC)
