"""What goes through the simulated network, and the lines of its ledger."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import Enum
from typing import Literal, Protocol

NOW = timedelta(0)

Kind = Literal["part", "submitted", "delivered", "expired", "dropped", "received", "report", "ussd"]


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of the ledger. `sim` is a SIM's own number, `address` the other side, `text` always the whole message.

    `part`: one part of a long text was accepted from a SIM · `submitted`: a whole text was · `delivered`: it reached the
    addressee · `expired`: its TP-VP ran out first · `dropped`: `interfere` kept a text from a SIM · `received`: a text
    lies, whole, in a SIM's storage or was handed over · `report`: a status report was ·
    `ussd`: a code was dialled, `address`, and answered. `submit_id` names the submitted
    text that a received one answers.
    """

    seq: int
    at: datetime
    kind: Kind
    sim: str | None
    address: str
    text: str
    reference: int | None = None
    delivery_id: int | None = None
    submit_id: int | None = None
    parts: int = 1

    def as_json(self) -> dict[str, object]:
        return {
            "seq": self.seq,
            "at": self.at.isoformat().replace("+00:00", "Z"),
            "kind": self.kind,
            "sim": self.sim,
            "address": self.address,
            "text": self.text,
            "reference": self.reference,
            "delivery_id": self.delivery_id,
            "submit_id": self.submit_id,
            "parts": self.parts,
        }


@dataclass(frozen=True, slots=True)
class Reply:
    """What a subscriber texts back, `after` it was reached. `part_order` names parts from 1 in the order they arrive."""

    text: str
    after: timedelta = NOW
    sender: str | None = None
    copies: int = 1
    part_order: Sequence[int] | None = None
    part_gap: timedelta = NOW


@dataclass(frozen=True, slots=True)
class Delivery:
    """One text on its way to a SIM, whole. `interfere` sees it when the centre is about to deliver it; `flash`: in class 0."""

    delivery_id: int
    sim: str
    sender: str
    text: str
    submit_id: int | None = None
    part_order: Sequence[int] | None = None
    part_gap: timedelta = NOW
    expires: datetime | None = None
    flash: bool = False


@dataclass(frozen=True, slots=True)
class Text:
    """One text in a person's inbox."""

    at: datetime
    sender: str
    text: str


@dataclass(slots=True)
class Person:
    """Somebody with a phone. `on`: switched on."""

    number: str
    inbox: list[Text] = field(default_factory=list)
    on: bool = True


class Taken(Enum):
    """What a stick says to a TPDU: stored or handed over, no room for it, or handed over and not acknowledged yet."""

    YES = "yes"
    FULL = "full"
    PENDING = "pending"


class Talker(Protocol):
    """What the network needs of a port that has something to say."""

    on_output: Callable[[], None] | None


class Phone(Protocol):
    """What the network needs of the stick that a SIM is in."""

    @property
    def reachable(self) -> bool: ...

    @property
    def report_status(self) -> int | None: ...

    def receive(self, pdu: str, report: bool, now: datetime) -> Taken: ...


def canonical(number: str) -> str:
    """One spelling per subscriber: +62817…, 62817… and 0817… are the same; names keep theirs."""
    digits = number.removeprefix("+")
    if digits.isdigit() and digits.startswith("62") and len(digits) > 8:
        return "0" + digits[2:]
    return digits if digits.isdigit() else number
