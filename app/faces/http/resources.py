"""The small calls: `/v1/services`, `/v1/lanes`, `/v1/messages`, `/v1/phones`, `/v1/events`."""

from __future__ import annotations

import asyncio
import re
from datetime import timedelta
from typing import Annotated, Any, Literal, Self

from fastapi import APIRouter, Depends, Query
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, WithJsonSchema, model_validator
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from app.domain.durations import parse_duration
from app.domain.errors import Conflict, NotFound, Unavailable
from app.domain.identifiers import phone_number
from app.domain.services import nearest
from app.exchange.answering import USSD_CODE
from app.faces.http.checks import Plain, separated
from app.faces.http.face import JsonResponse, face_of, json_body, listed, parse, read_json
from app.faces.http.gate import needs
from app.faces.http.problems import invalid
from app.faces.http.views import Views, event_shape, service_shape
from app.store import requests
from app.store.clients import KeyView, write_audit
from app.store.engine import Store, Tx
from app.store.events import KINDS, read_feed
from app.store.inbox import list_messages
from app.store.lanes import LaneView, list_lanes, set_lane
from app.store.phones import PhoneView, allow, list_phones, remove

router = APIRouter(prefix="/v1")

MOST = 2**31 - 1  # per_hour and per_day are 32-bit integers in PostgreSQL
LONGEST_PACE = timedelta(days=1)
LAST_SEQ = 2**63 - 1
ANSWER_WAITS = 30  # seconds for a lane's answer
LANE_ASKS: dict[str, Any] = {
    "credit": {"value": {"kind": "ussd", "code": "*888#"}},
    "diagnosis": {"value": {"kind": "diagnosis"}},
    "restart": {"value": {"kind": "restart"}},
}

MessageState = Literal["received", "partial", "attributed", "unmatched", "phone", "foreign", "undecodable"]


def _pace(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError('a duration is text: write for example "20s"')
    pace = parse_duration(value)
    if pace > LONGEST_PACE:
        raise ValueError("at most 1d")
    return pace


class LaneChange(BaseModel):
    """What may be changed of a lane; what is left out stays."""

    model_config = ConfigDict(extra="forbid", strict=True)

    paused: bool | None = None
    pace: (
        Annotated[timedelta, BeforeValidator(_pace), WithJsonSchema({"type": "string", "examples": ["20s"]})]
        | None
    ) = None
    per_hour: int | None = Field(default=None, ge=0, le=MOST)
    per_day: int | None = Field(default=None, ge=0, le=MOST)


class LaneAsk(BaseModel):
    """What a lane is asked for. `code` belongs to `ussd`; `paused` to `pause`; `modem` to `restart`: the modem itself, not only its session."""

    model_config = ConfigDict(extra="forbid", strict=True)

    kind: Literal["restart", "diagnosis", "ussd", "pause"]
    code: str | None = Field(default=None, json_schema_extra={"pattern": f"^{USSD_CODE}$"})
    paused: bool | None = None
    modem: bool | None = None

    @model_validator(mode="after")
    def _fits(self) -> Self:
        belongs = {"code": "ussd", "paused": "pause", "modem": "restart"}
        for name in self.model_fields_set & belongs.keys():
            if getattr(self, name) is not None and self.kind != belongs[name]:
                raise ValueError(f'"{name}" belongs to {belongs[name]}: leave it out')
        if self.kind == "ussd" and not re.fullmatch(USSD_CODE, self.code or ""):
            raise ValueError('ussd needs a "code" of digits, * and #, such as "*888#"')
        return self


class PhoneChange(BaseModel):
    """Whether a number may text us, and in which language it is answered."""

    model_config = ConfigDict(extra="forbid", strict=True)

    allowed: bool
    language: Literal["id", "en"] | None = None


class Page(BaseModel):
    """A page of a list, newest first."""

    model_config = ConfigDict(extra="forbid")

    limit: int = Field(default=100, ge=1, le=1000)
    cursor: Plain | None = None


class MessagesQuery(Page):
    """Which messages to list."""

    state: Annotated[list[MessageState], BeforeValidator(separated)] = Field(default_factory=list)
    lane: Plain | None = None


class FeedQuery(BaseModel):
    """Where to go on in the feed."""

    model_config = ConfigDict(extra="forbid")

    after: int = Field(default=0, ge=0, le=LAST_SEQ)
    limit: int = Field(default=100, ge=1, le=1000)
    kind: Annotated[list[str], BeforeValidator(separated)] = Field(default_factory=list)


@router.get("/services", tags=["services"], summary="The catalogue")
async def get_services(
    request: Request, _key: Annotated[KeyView, Depends(needs("services:read"))]
) -> Response:
    """Every service with its fields, price, provenance and how many questions an hour one SIM can ask it."""
    return JsonResponse(listed([service_shape(service) for service in face_of(request).catalogue], None))


@router.get("/services/{name}", tags=["services"], summary="One service")
async def get_service(
    request: Request, name: str, _key: Annotated[KeyView, Depends(needs("services:read"))]
) -> Response:
    """As in the list."""
    catalogue = face_of(request).catalogue
    if name not in catalogue:
        raise NotFound(
            f'There is no service "{name}"{nearest(name, [service.name for service in catalogue])}.'
        )
    return JsonResponse(service_shape(catalogue[name]))


@router.get("/lanes", tags=["lanes"], summary="Modems and SIMs")
async def get_lanes(request: Request, key: Annotated[KeyView, Depends(needs("lanes:read"))]) -> Response:
    """Every lane with its state, and the reason where it cannot send."""
    face = face_of(request)
    lanes = await run_in_threadpool(face.store.read, list_lanes)
    views = Views(face.catalogue, key)
    return JsonResponse(listed([views.lane(lane) for lane in lanes], None))


@router.patch(
    "/lanes/{name}",
    tags=["lanes"],
    summary="Pause, resume, change the budget",
    openapi_extra=json_body(LaneChange),
)
async def change_lane(
    request: Request, name: str, key: Annotated[KeyView, Depends(needs("lanes:write"))]
) -> Response:
    """Holds until the next start, where the settings hold again; a pause stays."""
    face = face_of(request)
    change = parse(LaneChange, await read_json(request))
    if "\0" in name:
        raise NotFound("There is no such lane. GET /v1/lanes lists them.")
    now = face.clock()

    def work(tx: Tx) -> LaneView:
        lane = set_lane(
            tx,
            name,
            now=now,
            paused=change.paused,
            pace=change.pace,
            per_hour=change.per_hour,
            per_day=change.per_day,
        )
        write_audit(
            tx, key.client, "lane.changed", f"{name}: {', '.join(sorted(change.model_fields_set))}", now
        )
        return lane

    lane = await asyncio.wrap_future(face.store.submit(work))
    face.nudge()
    return JsonResponse(Views(face.catalogue, key).lane(lane))


@router.post(
    "/lanes/{name}/requests",
    tags=["lanes"],
    summary="Restart, diagnose, dial a USSD code",
    openapi_extra=json_body(LaneAsk, LANE_ASKS),
)
async def ask_lane(
    request: Request, name: str, key: Annotated[KeyView, Depends(needs("lanes:write"))]
) -> Response:
    """Waits up to 30 s for the lane's answer, which is told once and not kept. Nothing is done later for somebody who was told no."""
    face = face_of(request)
    wanted = parse(LaneAsk, await read_json(request))
    if "\0" in name:
        raise NotFound("There is no such lane. GET /v1/lanes lists them.")
    now = face.clock()
    arguments = wanted.model_dump(exclude={"kind"}, exclude_none=True)

    def work(tx: Tx) -> str:
        write_audit(tx, key.client, f"lane.{wanted.kind}", name, now)
        return requests.ask(tx, name, wanted.kind, arguments, key.client, now)

    request_id = await asyncio.wrap_future(face.store.submit(work))
    await face.waits.until(request_id, ANSWER_WAITS, lambda: _ended(face.store, request_id))
    found = await asyncio.wrap_future(
        face.store.submit(lambda tx: requests.collect(tx, request_id, give_up=True))
    )
    said = dict(found.answer or {})
    if found.state == "done":
        return JsonResponse({"lane": name, "kind": wanted.kind, "answer": said})
    if found.state == "refused":
        raise Conflict(f"Lane {name} refused: {said.get('detail', 'it gave no reason')}.".replace("..", "."))
    raise Unavailable(
        f"Lane {name} began, and did not answer within {ANSWER_WAITS} s. Look at GET /v1/lanes before you ask again."
    )


def _ended(store: Store, request_id: str) -> bool:
    return store.read(lambda tx: requests.look(tx, request_id)).state in ("done", "refused")


@router.get("/messages", tags=["messages"], summary="The inbox")
async def get_messages(
    request: Request,
    query: Annotated[MessagesQuery, Query()],
    key: Annotated[KeyView, Depends(needs("messages:read"))],
) -> Response:
    """Every message, attributed ones too, newest first."""
    face = face_of(request)
    found = await run_in_threadpool(
        face.store.read,
        lambda tx: list_messages(
            tx, limit=query.limit + 1, before=query.cursor, states=query.state, lane=query.lane
        ),
    )
    page, views = found[: query.limit], Views(face.catalogue, key)
    following = page[-1].id if len(found) > query.limit else None
    return JsonResponse(listed([views.message(message) for message in page], following))


@router.get("/phones", tags=["phones"], summary="Who may text us")
async def get_phones(
    request: Request, query: Annotated[Page, Query()], key: Annotated[KeyView, Depends(needs("phone:read"))]
) -> Response:
    """Numbers that texted us or were let in, newest first."""
    face = face_of(request)
    found = await run_in_threadpool(
        face.store.read, lambda tx: list_phones(tx, limit=query.limit + 1, before=query.cursor)
    )
    page, views = found[: query.limit], Views(face.catalogue, key)
    following = page[-1].id if len(found) > query.limit else None
    return JsonResponse(listed([views.phone(phone) for phone in page], following))


@router.put(
    "/phones/{number}",
    tags=["phones"],
    summary="Let a number in, or not",
    openapi_extra=json_body(PhoneChange),
)
async def put_phone(
    request: Request, number: str, key: Annotated[KeyView, Depends(needs("phone:write"))]
) -> Response:
    """`number` as it is dialled or with +62."""
    face = face_of(request)
    change = parse(PhoneChange, await read_json(request))
    address = _mobile(number)
    now = face.clock()

    def work(tx: Tx) -> PhoneView:
        phone = allow(tx, address, allowed=change.allowed, language=change.language, now=now)
        write_audit(tx, key.client, "phone.allowed" if change.allowed else "phone.denied", phone.id, now)
        return phone

    phone = await asyncio.wrap_future(face.store.submit(work))
    return JsonResponse(Views(face.catalogue, key).phone(phone))


@router.delete("/phones/{number}", tags=["phones"], status_code=204, summary="Forget a number")
async def delete_phone(
    request: Request, number: str, key: Annotated[KeyView, Depends(needs("phone:write"))]
) -> Response:
    """Its row is gone; whether it may text us is then what the settings say."""
    face = face_of(request)
    address = _mobile(number)
    now = face.clock()

    def work(tx: Tx) -> None:
        remove(tx, address)
        write_audit(tx, key.client, "phone.removed", "one number", now)

    await asyncio.wrap_future(face.store.submit(work))
    return Response(status_code=204)


@router.get("/events", tags=["events"], summary="What happened, in order")
async def get_events(
    request: Request,
    query: Annotated[FeedQuery, Query()],
    _key: Annotated[KeyView, Depends(needs("events:read"))],
) -> Response:
    """Oldest first, without holes; `next` is the `after` to go on with, also when nothing is new."""
    faults: list[dict[str, object]] = [
        {
            "field": "kind",
            "code": "unknown_value",
            "detail": f'there is no kind "{kind}"{nearest(kind, KINDS)}',
        }
        for kind in query.kind
        if kind not in KINDS
    ]
    if faults:
        raise invalid(faults)
    store = face_of(request).store
    found = await run_in_threadpool(read_feed, store, query.after, query.limit, tuple(query.kind))
    return JsonResponse(
        listed([event_shape(event) for event in found], found[-1].seq if found else query.after)
    )


def _mobile(number: str) -> str:
    address = phone_number(number)
    if address is None:
        detail = "this is no Indonesian mobile number: write it like 081234567890 or +6281234567890"
        raise invalid([{"field": "number", "code": "invalid", "detail": detail}])
    return address
