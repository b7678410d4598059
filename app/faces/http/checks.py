"""`/v1/checks`: ask, look, list, cancel."""

from __future__ import annotations

import asyncio
import hashlib
import json
import re
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any

import pydantic_core
from fastapi import APIRouter, Depends, Query
from pydantic import (
    AfterValidator,
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    WithJsonSchema,
)
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from app.domain.durations import parse_duration
from app.domain.errors import GatewayError, Invalid, NotFound, Unavailable
from app.domain.services import Rendered, Service
from app.domain.states import FINAL, Outcome, State
from app.faces.http.face import Face, JsonResponse, face_of, faults_in, json_body, listed, read_json
from app.faces.http.gate import needs
from app.faces.http.intake import Order, Taken, take_all
from app.faces.http.problems import invalid
from app.faces.http.views import Views
from app.faces.http.waiting import preferred_wait
from app.store.checks import CheckView, get_check, list_checks
from app.store.clients import KeyView, recall, remember
from app.store.engine import Tx
from app.store.questions import UNTIL_FOREVER, Ask, cancel

router = APIRouter(prefix="/v1", tags=["checks"])

LONGEST_AGE = timedelta(days=366)  # records are kept for 365 days unless set otherwise
LONGEST_EXPIRY = timedelta(days=30)
_CHECK_ID = re.compile(r"chk_[0-9a-f]{32}", re.ASCII)
_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e](?:[\x20-\x7e]{0,253}[\x21-\x7e])?", re.ASCII)


def _without_controls(value: str) -> str:
    if any(ord(character) < 32 or ord(character) == 127 for character in value):
        raise ValueError("control characters cannot stand here: take them out")
    return value


def _age(value: object) -> object:
    if not isinstance(value, str):
        raise ValueError('a duration is text: write for example "1h"')
    age = parse_duration(value)
    if age > LONGEST_AGE:
        raise ValueError(f"at most {LONGEST_AGE.days}d")
    return age


def separated(value: object) -> object:
    """`a,b` means the same as the parameter given twice."""
    return [part for item in value for part in item.split(",")] if isinstance(value, list) else value


Plain = Annotated[str, Field(min_length=1, max_length=200), AfterValidator(_without_controls)]
Age = Annotated[timedelta, BeforeValidator(_age), WithJsonSchema({"type": "string", "examples": ["1h"]})]
Texts = Annotated[
    dict[str, Any], WithJsonSchema({"type": "object", "additionalProperties": {"type": "string"}})
]


class NewCheck(BaseModel):
    """What to ask: every value of `fields` is text, in quotes."""

    model_config = ConfigDict(extra="forbid", strict=True)

    service: str
    fields: Texts
    reference: Plain | None = Field(
        default=None, description="your own word for it; comes back and can be searched"
    )
    priority: int = Field(default=5, ge=0, le=9, description="0 goes first")
    max_age: Age = Field(
        default_factory=timedelta, description="take an answer that is not older, without asking again"
    )
    expires: str | None = Field(
        default=None,
        description="not sent after so long (`6h`) or after that time (RFC 3339); 7 days unless given",
    )


class ChecksQuery(BaseModel):
    """Which checks to list."""

    model_config = ConfigDict(extra="forbid")

    state: Annotated[list[State], BeforeValidator(separated)] = Field(default_factory=list)
    outcome: Outcome | None = None
    service: Plain | None = None
    reference: Plain | None = None
    batch: Plain | None = None
    since: AwareDatetime | None = None
    until: AwareDatetime | None = None
    limit: int = Field(default=100, ge=1, le=1000)
    cursor: Plain | None = None


@router.post("/checks", status_code=202, summary="Ask about one card", openapi_extra=json_body(NewCheck))
async def create_check(request: Request, key: Annotated[KeyView, Depends(needs("checks:write"))]) -> Response:
    """Accepted once it is durable. `Prefer: wait=N` waits up to 60 s for the end; `Idempotency-Key` makes sending again safe."""
    face = face_of(request)
    body = await read_json(request)
    now = face.clock()
    new, service, rendered, expires_in = _validated(face, body, now)
    ask = Ask(
        service.name,
        service.conversation,
        rendered.fields,
        rendered.subject,
        str(rendered.subject_kind),
        service.key(rendered.fields),
    )
    once = idempotency_key(request)
    digest = _digest(new) if once else b""

    order = Order(ask, key.client, new.reference, new.priority, new.max_age, expires_in)
    replayed = False
    if once is None:
        taken = await face.intake.take(order)
        check = taken.view or _fresh(taken, key, ask, new, expires_in)
    else:

        def work(tx: Tx) -> tuple[Taken | CheckView, bool]:
            seen = recall(tx, key.client, once, digest, now)
            if seen is not None and seen.check_id is not None:
                return get_check(tx, seen.check_id, key.client), True
            taken = take_all(tx, [order], now)[0]
            remember(tx, key.client, once, digest, now=now, check_id=taken.accepted.check_id)
            return taken, False

        made, replayed = await asyncio.wrap_future(face.store.submit(work))
        check = made if isinstance(made, CheckView) else made.view or _fresh(made, key, ask, new, expires_in)
    if not replayed:
        face.nudge()
    headers = {"Location": f"/v1/checks/{check.id}"}
    if replayed:
        headers["Idempotency-Replayed"] = "true"
    status = 202
    wait = preferred_wait(",".join(request.headers.getlist("prefer")))
    if wait is not None:
        headers["Preference-Applied"] = f"wait={wait}"
        if check.state not in FINAL:
            with suppress(Unavailable):  # it is accepted: that the database went away refuses nothing
                check = await face.waits.final(check.question_id, wait, _looker(face, check.id))
        if check.state in FINAL:
            status = 200
    return JsonResponse(Views(face.catalogue, key).check(check), status_code=status, headers=headers)


@router.get("/checks", summary="List checks, newest first")
async def get_checks(
    request: Request,
    query: Annotated[ChecksQuery, Query()],
    key: Annotated[KeyView, Depends(needs("checks:read"))],
) -> Response:
    """`state` may be given several times or with commas; `next` goes into `cursor`."""
    face = face_of(request)
    if query.cursor is not None and not _CHECK_ID.fullmatch(query.cursor):
        raise invalid(
            [{"field": "cursor", "code": "invalid", "detail": '"cursor" is the `next` of the page before'}]
        )
    found = await run_in_threadpool(
        face.store.read,
        lambda tx: list_checks(
            tx,
            client=key.sees,
            limit=query.limit + 1,
            before=query.cursor,
            states=[state.value for state in query.state],
            outcome=query.outcome,
            service=query.service,
            reference=query.reference,
            batch=query.batch,
            since=query.since,
            until=query.until,
        ),
    )
    page, views = found[: query.limit], Views(face.catalogue, key)
    following = page[-1].id if len(found) > query.limit else None
    return JsonResponse(listed([views.check(check) for check in page], following))


@router.get("/checks/{id}", summary="One check: state, outcome, record, evidence, history")
async def get_one_check(
    request: Request, id: str, key: Annotated[KeyView, Depends(needs("checks:read"))]
) -> Response:
    """With `Prefer: wait=N` it answers as soon as the check is final, or after so many seconds."""
    face = face_of(request)
    _known(id)
    check = await run_in_threadpool(face.store.read, lambda tx: get_check(tx, id, key.sees))
    headers = {}
    wait = preferred_wait(",".join(request.headers.getlist("prefer")))
    if wait is not None:
        headers["Preference-Applied"] = f"wait={wait}"
        if check.state not in FINAL:
            check = await face.waits.final(check.question_id, wait, _looker(face, id))
    return JsonResponse(Views(face.catalogue, key).check(check), headers=headers)


@router.delete("/checks/{id}", summary="Cancel a check that is still queued")
async def cancel_check(
    request: Request, id: str, key: Annotated[KeyView, Depends(needs("checks:write"))]
) -> Response:
    """409 once it may be on the air: an SMS cannot be called back."""
    face = face_of(request)
    _known(id)
    now = face.clock()

    def work(tx: Tx) -> CheckView:
        cancel(tx, id, now=now, by=key.client, client=key.sees)
        return get_check(tx, id, key.sees)

    check = await asyncio.wrap_future(face.store.submit(work))
    return JsonResponse(Views(face.catalogue, key).check(check))


def _known(check_id: str) -> None:
    if not _CHECK_ID.fullmatch(check_id):
        raise NotFound("There is no such check: an id is chk_ and 32 hexadecimal digits.")


def _looker(face: Face, check_id: str) -> Callable[[], CheckView]:
    return lambda: face.store.read(lambda tx: get_check(tx, check_id, None))


def _validated(face: Face, body: bytes, now: datetime) -> tuple[NewCheck, Service, Rendered, timedelta]:
    """The request, its service and its text. Invalid names every fault at once."""
    try:
        new = NewCheck.model_validate_json(body)
        service = face.catalogue[new.service]
        if service.enabled:
            return new, service, service.render(new.fields), _expiry(new.expires, now)
    except (ValidationError, Invalid):
        pass  # some fault: look for all of them
    raise _all_faults(face, body, now)


def _all_faults(face: Face, body: bytes, now: datetime) -> Invalid:
    faults: list[dict[str, object]] = []
    try:
        NewCheck.model_validate_json(body)
    except ValidationError as error:
        faults += faults_in(NewCheck, error)
    said = pydantic_core.from_json(body)
    said = said if isinstance(said, dict) else {}
    code = "invalid"
    service: Service | None = None
    if isinstance(said.get("service"), str):
        try:
            service = face.catalogue[said["service"]]
            if not service.enabled:
                faults.append(
                    {
                        "field": "service",
                        "code": "disabled",
                        "detail": f'the service "{service.name}" is switched off',
                    }
                )
        except GatewayError as error:
            code = error.code
            faults.append({"field": "service", "code": error.code, "detail": error.detail})
    if service is not None and isinstance(said.get("fields"), dict):
        try:
            service.render(said["fields"])
        except Invalid as error:
            faults += [dict(fault) for fault in error.faults]
    if isinstance(said.get("expires"), str):
        try:
            _expiry(said["expires"], now)
        except Invalid as error:
            faults += [dict(fault) for fault in error.faults]
    return invalid(faults, code)


def _expiry(text: str | None, now: datetime) -> timedelta:
    """`expires` as a duration from now; it may also be a time."""
    if text is None:
        return UNTIL_FOREVER
    try:
        left = parse_duration(text)
    except ValueError:
        try:
            left = datetime.fromisoformat(text).astimezone(UTC) - now
        except (ValueError, OverflowError):
            left = None
        else:
            left = left if datetime.fromisoformat(text).tzinfo else None
    if left is None:
        detail = '"expires" is a duration such as "6h" or a time with its zone such as "2026-11-24T12:00:00Z"'
    elif left <= timedelta(0):
        detail = '"expires" lies in the past or is nothing: give it some time'
    elif left > LONGEST_EXPIRY:
        detail = f'"expires" is at most {LONGEST_EXPIRY.days} days ahead'
    else:
        return left
    raise invalid([{"field": "expires", "code": "invalid", "detail": detail}])


def idempotency_key(request: Request) -> str | None:
    """The header, if it came. Invalid where it is not 1 to 255 printable ASCII characters."""
    text = request.headers.get("idempotency-key")
    if text is None or _IDEMPOTENCY_KEY.fullmatch(text):
        return text
    detail = "Idempotency-Key has 1 to 255 printable ASCII characters"
    raise invalid([{"field": "Idempotency-Key", "code": "invalid", "detail": detail}])


def _digest(new: NewCheck) -> bytes:
    """Of what was asked, not of how it was written."""
    members = new.model_dump(mode="json", exclude_defaults=True)
    return hashlib.sha256(b"checks\0" + json.dumps(members, sort_keys=True).encode()).digest()


def _fresh(taken: Taken, key: KeyView, ask: Ask, new: NewCheck, expires_in: timedelta) -> CheckView:
    """The view of a check that was accepted this moment: all of it is known, nothing needs to be read."""
    return CheckView(
        id=taken.accepted.check_id,
        question_id=taken.accepted.question_id,
        client=key.client,
        origin="http",
        batch_id=None,
        service=ask.service,
        fields=dict(ask.fields),
        reference=new.reference,
        state=State.QUEUED,
        outcome=None,
        late=False,
        shared=False,
        record=None,
        evidence=None,
        lane=None,
        attempts=0,
        cost=0,
        created_at=taken.at,
        submitted_at=None,
        answered_at=None,
        deadline=None,
        expires=taken.at + expires_in,
        error_code=None,
        error_detail=None,
        error_blame=None,
        replies=(),
        history=(),
    )
