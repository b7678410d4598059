"""What the doctor asks of lanes that a running gateway holds: by rows of `lane_requests`, as every face does."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from app.faces.cli.doctor_texts import fault, lane_called, said, warning
from app.store import diagnosis, requests
from app.store.diagnosis import LaneSeen
from app.store.engine import Store, Tx
from modem.doctor import Both, Finding, PortFacts, credit_in, masked, valid_until

ANSWER_WITHIN = 60.0
"""Seconds that a held lane may take: it sends first what it is sending (+CMGS: up to 120 s, then the doctor goes on without)."""
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
) -> tuple[Mapping[str, Any] | None, Both | None]:
    """Let a running gateway's lane do something: its answer, or None and why there is none (`busy()`, where it may yet be done).

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
                    return None, said("words.busy_with_else")
            if state in ("done", "refused"):
                found = store.write(collect)
                if found.state == "done" and found.answer is not None:
                    return found.answer, None
                detail = (found.answer or {}).get("detail")
                return None, said("words.told", detail=detail) if detail else said("words.no_reason")
            if gone >= within:
                return None, busy()
            still.wait(_LOOK)
    except KeyboardInterrupt:
        store.write(partial(collect, give_up=True))
        raise


def busy() -> Both:
    """Why a request has no answer that was taken and not ended in time."""
    return said("words.busy")


def ask_lane(store: Store, lane: str, within: float = ANSWER_WITHIN) -> Told:
    """Let the lane ask its modem everything."""
    answer, why = request(store, lane, "diagnosis", {}, within=within)
    if answer is None:
        return Told([fault("lane_does_not_answer", lane_called(lane), why=why, name=lane)])
    found = [Finding.from_json(one).elsewhere(*lane_called(lane)) for one in answer.get("findings", ())]
    return Told(found, PortFacts.from_json(answer["facts"]))


def read_credit(store: Store, lane: LaneSeen, code: str) -> list[Finding]:
    """Ask the operator through a held lane, and keep what it said of credit and validity; a finding where it said nothing of it."""
    answer, why = request(store, lane.name, "ussd", {"code": code})
    text = str((answer or {}).get("text", ""))
    credit, until = credit_in(text), valid_until(text)
    if credit is None:
        why = why or said("words.no_amount", text=masked(text))
        return [warning("credit_not_told", lane_called(lane.name), code=code, why=why)]
    sim, ends = lane.sim_id, until.isoformat() if until else None
    if sim is not None:
        held = sim

        def note(tx: Tx) -> None:
            diagnosis.note_credit(tx, held, credit, ends, _now())

        store.write(note)
    return []


def _now() -> datetime:
    return datetime.now(UTC)
