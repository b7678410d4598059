"""What every call works with, and how bodies are read and answers written."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

import pydantic_core
from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from app.domain.errors import GatewayError
from app.domain.services import Catalogue
from app.faces.http.gate import Gate
from app.faces.http.intake import Intake
from app.faces.http.problems import faults_of, invalid
from app.faces.http.waiting import Waits
from app.settings import Settings
from app.store.engine import Store

Model = TypeVar("Model", bound=BaseModel)
Ready = Callable[[], list[tuple[str, bool, str]]]


@dataclass(frozen=True, slots=True)
class Face:
    """The parts that calls share; `face_of(request)` gives them."""

    store: Store
    catalogue: Catalogue
    settings: Settings
    clock: Callable[[], datetime]
    ready: Ready
    nudge: Callable[[], None]
    gate: Gate
    waits: Waits
    intake: Intake


def face_of(request: Request) -> Face:
    face: Face = request.app.state.face
    return face


class JsonResponse(Response):
    """JSON without a detour: what the views give is plain already."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        return pydantic_core.to_json(content)


def listed(items: list[dict[str, Any]], following: object) -> dict[str, Any]:
    """A list as every call gives it: `next` is the cursor to go on with, null at the end."""
    return {"items": items, "next": following}


_FEWER = "Send less; many cards go as a batch."


async def read_body(request: Request, limit: int, instead: str) -> bytes:
    """The body, counted while it comes. GatewayError `too_large` beyond `limit` bytes; `instead` says what to do then."""
    size = 0
    chunks: list[bytes] = []
    announced = request.headers.get("content-length", "")
    if announced.isdigit() and int(announced) > limit:
        raise _too_large(limit, instead)
    async for chunk in request.stream():
        size += len(chunk)
        if size > limit:
            raise _too_large(limit, instead)
        chunks.append(chunk)
    return b"".join(chunks)


def _too_large(limit: int, instead: str) -> GatewayError:
    return GatewayError("too_large", f"The body has more than {limit} bytes. {instead}")


async def read_json(request: Request) -> bytes:
    """A JSON body, not yet parsed. GatewayError `unsupported_type`, `too_large`, `malformed` if it is empty."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/json" and not kind.endswith("+json"):
        said = f'"{kind}"' if kind else "nothing"
        raise GatewayError(
            "unsupported_type",
            f"The body is JSON, but Content-Type says {said}. Send Content-Type: application/json.",
        )
    body = await read_body(request, face_of(request).settings.server.max_body, _FEWER)
    if not body.strip():
        raise GatewayError("malformed", "The body is empty. Send a JSON object; /docs has examples.")
    return body


def parse(model: type[Model], body: bytes) -> Model:
    """The body as this model. GatewayError `malformed` says where it is not JSON, Invalid names every fault."""
    try:
        return model.model_validate_json(body)
    except ValidationError as error:
        raise invalid(faults_in(model, error)) from None


def faults_in(model: type[BaseModel], error: ValidationError) -> list[dict[str, object]]:
    """The faults of a body. Raises GatewayError `malformed` where it is no JSON at all."""
    errors = error.errors(include_url=False, include_input=False)
    if errors[0]["type"] == "json_invalid":
        raise GatewayError(
            "malformed", f"The body is not JSON: {errors[0]['ctx']['error']}. Correct it and send it again."
        )
    return faults_of(errors, list(model.model_fields))


def json_body(model: type[BaseModel], examples: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The OpenAPI entry of a body that the call reads itself."""
    content: dict[str, Any] = {"schema": model.model_json_schema()}
    if examples:
        content["examples"] = dict(examples)
    return {"requestBody": {"required": True, "content": {"application/json": content}}}
