"""Every error as problem details (RFC 9457): one table of codes, one way to build them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

import pydantic_core
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Match, Mount

from app.domain.errors import Blame, GatewayError, Invalid
from app.domain.services import nearest

STATUS: Mapping[str, tuple[int, str]] = {
    "malformed": (400, "The body could not be read"),
    "unauthenticated": (401, "No valid key"),
    "forbidden": (403, "The key lacks a scope"),
    "not_found": (404, "Not found"),
    "method_not_allowed": (405, "Method not allowed"),
    "conflict": (409, "Not possible in this state"),
    "too_large": (413, "The body is too large"),
    "unsupported_type": (415, "Unsupported type of body"),
    "invalid": (422, "The request is not valid"),
    "unknown_service": (422, "There is no such service"),
    "idempotency_mismatch": (422, "The Idempotency-Key was used for another request"),
    "queue_full": (429, "The queue is full"),
    "too_many": (429, "Too many requests"),
    "internal": (500, "A fault of the gateway"),
    "unavailable": (503, "Not available now"),
}
"""Status and title of every code (design, section 6)."""

RETRY_SECONDS = 5  # Retry-After: a full disk or a busy database seldom ends sooner
MEDIA_TYPE = "application/problem+json"


class ProblemResponse(Response):
    media_type = MEDIA_TYPE


def problem(
    code: str,
    detail: str,
    *,
    blame: str = Blame.CALLER,
    errors: Sequence[Mapping[str, object]] = (),
    headers: Mapping[str, str] | None = None,
    **more: Any,
) -> ProblemResponse:
    """The response for a code of STATUS; `detail` says what was wrong and what to do. `more` are extension members."""
    status, title = STATUS[code]
    body: dict[str, Any] = {
        "type": f"urn:bpjs-sms:problem:{code}",
        "title": title,
        "status": status,
        "detail": detail,
        "code": code,
        "blame": str(blame),
        **more,
    }
    if errors:
        body["errors"] = list(errors)
    sent = dict(headers or {})
    if status == HTTPStatus.UNAUTHORIZED:
        sent["WWW-Authenticate"] = "Bearer"
    elif status in (HTTPStatus.TOO_MANY_REQUESTS, HTTPStatus.SERVICE_UNAVAILABLE):
        sent.setdefault("Retry-After", str(RETRY_SECONDS))
    return ProblemResponse(pydantic_core.to_json(body), status_code=status, headers=sent)


def unauthenticated(detail: str) -> GatewayError:
    return GatewayError("unauthenticated", detail)


def faults_of(errors: Iterable[Any], known: Sequence[str], *, skip: int = 0) -> list[dict[str, object]]:
    """pydantic's errors as `{"field", "code", "detail"}`; `known` are the members there are, `skip` drops the front of a path."""
    unquoted = "" if skip else ", without quotes in JSON"
    return [_fault(error, known, tuple(error["loc"])[skip:], unquoted) for error in errors]


def _fault(error: Any, known: Sequence[str], path: tuple[str | int, ...], unquoted: str) -> dict[str, object]:
    field = ".".join(step for step in path if isinstance(step, str))  # without places in a list
    context = error.get("ctx", {})
    match error["type"]:
        case "extra_forbidden":
            code, detail = "unknown_member", f'there is no member "{field}"{nearest(field, list(known))}'
        case "missing":
            code, detail = "missing", f'"{field}" is missing'
        case "string_type":
            code, detail = "not_text", f'"{field}" is text: write it in quotes'
        case "int_type" | "int_parsing" | "int_from_float":
            code, detail = "not_a_number", f'"{field}" is a whole number{unquoted}'
        case "bool_type" | "bool_parsing":
            code, detail = "not_a_boolean", f'"{field}" is true or false{unquoted}'
        case "greater_than_equal":
            code, detail = "out_of_range", f'"{field}" is at least {context["ge"]}'
        case "less_than_equal":
            code, detail = "out_of_range", f'"{field}" is at most {context["le"]}'
        case "timezone_aware" | "datetime_type" | "datetime_parsing" | "datetime_from_date_parsing":
            code, detail = "not_a_time", f'"{field}" is a time with its zone, such as 2026-11-24T12:00:00Z'
        case "string_too_short":
            code, detail = "empty", f'"{field}" is empty: write something or leave it out'
        case "string_too_long":
            code, detail = "too_long", f'"{field}" has at most {context["max_length"]} characters'
        case "enum" | "literal_error":
            code, detail = "unknown_value", f'"{field}" is one of {context["expected"]}'
        case "model_type" | "model_attributes_type" | "dict_type":
            code, detail = (
                "not_an_object",
                (f'"{field}"' if field else "the body") + ' is a JSON object: {"name": value}',
            )
        case "value_error":
            code, detail = "invalid", f'"{field}": {context["error"]}'
        case other:
            code, detail = other, f'"{field}": {error["msg"]}'
    return {"field": field, "code": code, "detail": detail}


def invalid(faults: Sequence[Mapping[str, object]], code: str = "invalid") -> Invalid:
    """One error for all faults; its sentence is theirs."""
    sentences = "; ".join(str(fault["detail"]) for fault in faults)
    return Invalid(f"Nothing was done: {sentences}.", code=code, faults=faults)


def install(app: FastAPI) -> None:
    """Make problem details of every error that the framework or a call raises."""

    def gateway_error(_request: Request, error: Exception) -> Response:
        assert isinstance(error, GatewayError)
        if error.code not in STATUS:
            raise error  # not the caller's: the access layer makes it a 500 with an id
        return problem(error.code, _sentence(error.detail), blame=error.blame, errors=error.faults)

    def query_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return gateway_error(request, invalid(faults_of(error.errors(), _parameters(request), skip=1)))

    def http_error(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        match error.status_code:
            case HTTPStatus.METHOD_NOT_ALLOWED:
                allowed = ", ".join(sorted(_methods(app, request)))
                detail = f"{request.method} is not possible here; possible are {allowed}."
                return problem("method_not_allowed", detail, headers={"Allow": allowed})
            case HTTPStatus.NOT_FOUND:
                return problem("not_found", "There is nothing at this address. /docs lists every call.")
            case _:
                raise error

    app.add_exception_handler(GatewayError, gateway_error)
    app.add_exception_handler(RequestValidationError, query_error)
    app.add_exception_handler(HTTPException, http_error)


def _sentence(detail: str) -> str:
    detail = detail[:1].upper() + detail[1:]
    return detail if detail.endswith((".", "!", "?")) else detail + "."


def _parameters(request: Request) -> list[str]:
    route = request.scope.get("route")
    fields = route.dependant.query_params if route is not None else []
    return [
        name
        for field in fields
        for name in getattr(field.field_info.annotation, "model_fields", {field.alias: None})
    ]


def _methods(app: FastAPI, request: Request) -> set[str]:
    """Every method that some route has for this path; routes with one method each know only their own."""
    routes = [route for route in app.routes if not isinstance(route, Mount)]
    allowed: set[str] = set()
    for method in ("DELETE", "GET", "PATCH", "POST", "PUT"):
        scope = {**request.scope, "method": method}
        if any(route.matches(scope)[0] is Match.FULL for route in routes):
            allowed.add(method)
    return allowed or {"GET"}
