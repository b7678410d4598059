"""The JSON shapes (design, section 6), and what of them a key without `raw:read` may see."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from app.domain.capacity import per_hour
from app.domain.durations import format_duration
from app.domain.errors import Blame
from app.domain.identifiers import mask, mask_text
from app.domain.services import RECORD_FIELDS, Catalogue, Service
from app.domain.states import Role, State
from app.store.checks import CheckView, ReplyView
from app.store.clients import KeyView
from app.store.events import EventView
from app.store.inbox import MessageView
from app.store.lanes import LaneView
from app.store.phones import PhoneView

_PASSING = frozenset({Blame.SERVICE, Blame.NETWORK, Blame.MODEM})  # whose faults may be over next time
_WHY: Mapping[str, tuple[Blame, str]] = {
    "no_reply": (Blame.SERVICE, "The service did not answer in time. Ask again later."),
    "expired": (Blame.GATEWAY, "It was not sent before `expires`. See GET /v1/lanes, then ask again."),
    "sim_absent": (Blame.SIM, "The SIM that asked was taken away before an answer came. Ask again."),
    "undelivered": (Blame.NETWORK, "The network could not deliver the SMS to the service. Ask again later."),
}
"""Blame and sentence for ends that come without them."""


def stamp(at: datetime | None) -> str | None:
    """RFC 3339 in UTC, always with microseconds."""
    return None if at is None else at.isoformat(timespec="microseconds").removesuffix("+00:00") + "Z"


@dataclass(frozen=True, slots=True)
class Views:
    """Makes the shapes for one key."""

    catalogue: Catalogue
    key: KeyView

    @property
    def raw(self) -> bool:
        return self.key.allows("raw:read")

    def check(self, check: CheckView) -> dict[str, Any]:
        answered = check.state is not State.CANCELLED
        replies = check.replies if answered else ()
        return {
            "id": check.id,
            "service": check.service,
            "fields": self.fields(check.service, check.fields),
            "reference": check.reference,
            "state": check.state.value,
            "outcome": check.outcome if answered else None,
            "late": check.late and answered,
            "shared": check.shared,
            "record": self.record(check.record) if check.record and answered else None,
            "evidence": _evidence(check, replies),
            "lane": check.lane,
            "attempts": check.attempts,
            "cost": check.cost,
            "created_at": stamp(check.created_at),
            "submitted_at": stamp(check.submitted_at),
            "answered_at": stamp(check.answered_at) if answered else None,
            "deadline": stamp(check.deadline),
            "expires": stamp(check.expires),
            "error": _error(check),
            "replies": [
                {"message": reply.message_id, "role": reply.role, "text": self.text(reply.text, reply.role)}
                for reply in replies
            ],
            "history": [
                {"at": stamp(move.at), "from": move.origin, "to": move.target, "by": move.by, "why": move.why}
                for move in check.history
            ],
        }

    def fields(self, service: str, fields: Mapping[str, str]) -> dict[str, str]:
        if self.raw:
            return dict(fields)
        known = self.catalogue[service].fields if service in self.catalogue else {}
        return {
            name: mask(known[name].kind, value) if name in known else mask(name, value)
            for name, value in fields.items()
        }

    def record(self, record: Mapping[str, Any]) -> dict[str, Any]:
        """Numbers masked like the question's fields, texts like replies; amounts, dates and states as they are."""
        return (
            dict(record) if self.raw else {name: self._member(name, value) for name, value in record.items()}
        )

    def _member(self, name: str, value: Any) -> Any:
        match value:
            case list():
                return [self._member(name, item) for item in value]
            case dict():
                return self.record(value)
            case str() if RECORD_FIELDS.get(name) == "number":
                return mask(name, value)
            case str() if RECORD_FIELDS.get(name) not in ("date", "status", "class"):
                return mask_text(value)
            case _:
                return value

    def text(self, text: str, role: str | None) -> str | None:
        """A received text; a note's is shown to nobody without `raw:read`, for it may be about another card."""
        if self.raw:
            return text
        return None if role == Role.NOTE else mask_text(text)

    def number(self, number: str | None) -> str | None:
        """An address, a telephone number, an ICCID or an IMEI."""
        return number if number is None or self.raw else mask_text(number)

    def message(self, message: MessageView) -> dict[str, Any]:
        return {
            "id": message.id,
            "lane": message.lane,
            "sender": self.number(message.sender),
            "text": self.text(message.text, message.role),
            "received_at": stamp(message.received_at),
            "service_centre_time": stamp(message.service_centre_time),
            "parts": message.parts,
            "parts_total": message.parts_total,
            "state": message.state,
            "reason": message.reason,
            "candidates": message.candidates,
            "checks": [check for check, client in message.checks if self.key.sees in (None, client)],
            "role": message.role,
            "double_of": message.double_of,
        }

    def lane(self, lane: LaneView) -> dict[str, Any]:
        return {
            "name": lane.name,
            "port": lane.port,
            "state": lane.state,
            "reason": lane.reason,
            "sim": {
                "operator": lane.operator,
                "iccid": self.number(lane.iccid),
                "own_number": self.number(lane.own_number),
                "active_until": lane.active_until,
                "credit": lane.credit,
            },
            "modem": {"maker": lane.maker, "model": lane.model, "imei": self.number(lane.imei)},
            "usb": lane.usb_path,
            "storages": {
                name: {"used": used, "total": total} for name, (used, total) in lane.storages.items()
            },
            "recoveries": dict(lane.recoveries),
            "calls": lane.calls,
            "signal": lane.signal,
            "registration": lane.registration,
            "paused": lane.paused,
            "budget": {
                "pace": format_duration(lane.pace),
                "per_hour": lane.per_hour,
                "per_day": lane.per_day,
                "next_send_at": stamp(lane.next_send_at),
            },
            "last_sent_at": stamp(lane.last_sent_at),
            "last_heard_at": stamp(lane.last_heard_at),
        }

    def phone(self, phone: PhoneView) -> dict[str, Any]:
        return {
            "number": self.number(phone.number),
            "allowed": phone.allowed,
            "language": phone.language,
            "opted_out": phone.opted_out,
            "created_at": stamp(phone.created_at),
        }


def event_shape(event: EventView) -> dict[str, Any]:
    shape: dict[str, Any] = {"seq": event.seq, "id": event.id, "kind": event.kind, "at": stamp(event.at)}
    about = {"check": event.check_id, "batch": event.batch_id, "lane": event.lane}
    return shape | {name: value for name, value in about.items() if value is not None} | {"data": event.data}


def service_shape(service: Service) -> dict[str, Any]:
    return {
        "name": service.name,
        "agency": service.agency,
        "title": service.title.model_dump(),
        "address": service.address,
        "senders": list(service.senders),
        "operators": list(service.operators),
        "fields": [
            {
                "name": field.name,
                "kind": field.kind.value,
                "label": field.label.model_dump(),
                "required": field.required,
            }
            for field in service.fields.values()
        ],
        "provenance": service.provenance.model_dump(mode="json"),
        "price": service.price.model_dump(mode="json"),
        "timing": {
            "timeout": format_duration(service.timing.timeout),
            "late": format_duration(service.timing.late),
            "settle": format_duration(service.timing.settle),
            "ask_again": service.timing.ask_again,
        },
        "echo": service.echo,
        "enabled": service.enabled,
        "per_hour": per_hour(service),
    }


def _evidence(check: CheckView, replies: tuple[ReplyView, ...]) -> dict[str, Any] | None:
    if check.evidence is None or check.state is State.CANCELLED:
        return None
    decisive = [reply for reply in replies if reply.role in (Role.ANSWER, Role.AMENDMENT)] or list(replies)
    last = decisive[-1] if decisive else None
    return {
        "kind": check.evidence,
        "by": last.by if last else "gateway",
        "message": last.message_id if last else None,
        "at": stamp(last.at if last else check.answered_at),
    }


def _error(check: CheckView) -> dict[str, Any] | None:
    code = check.error_code
    if code is None and check.state in (State.NO_REPLY, State.EXPIRED):
        code = check.state.value
    if code is None or check.state in (State.ANSWERED, State.CANCELLED):
        return None
    blame, sentence = _WHY.get(code, (Blame.GATEWAY, "See GET /v1/lanes for the lane that tried."))
    blame = Blame(check.error_blame or blame)
    return {
        "code": code,
        "blame": blame.value,
        "detail": check.error_detail or sentence,
        "retryable": check.state is not State.FAILED or blame in _PASSING,
    }
