"""`/docs` and `/openapi.json`: who needs which key, and examples that are accepted as they stand."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from app.domain.identifiers import LENGTHS, Kind
from app.domain.services import Catalogue, Service

OPEN_PATHS = ("/health/",)  # no key (design, section 6)
PROBLEM = {
    "type": "object",
    "required": ["type", "title", "status", "detail", "code", "blame"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string", "description": "what was wrong and what to do"},
        "code": {"type": "string"},
        "blame": {"enum": ["caller", "card", "service", "sim", "modem", "network", "gateway"]},
        "errors": {"type": "array", "items": {"type": "object"}},
    },
}
PREFER = {
    "name": "Prefer",
    "in": "header",
    "schema": {"type": "string", "examples": ["wait=30"]},
    "description": "`wait=N`: answer once the check is final, after N seconds (at most 60) at the latest",
}
IDEMPOTENCY_KEY = {
    "name": "Idempotency-Key",
    "in": "header",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    "description": "a word of your own for this request: sent again with it, the request is done once",
}
HEADERS = (
    ("/v1/checks", "post", [PREFER, IDEMPOTENCY_KEY]),
    ("/v1/checks/{id}", "get", [PREFER]),
    ("/v1/batches", "post", [IDEMPOTENCY_KEY]),
)
# Province 99 does not exist, so no such number is anybody's.
SAMPLES = {kind: ("99" + "0123456789" * 2)[: length - 3] + "678" for kind, length in LENGTHS.items()} | {
    Kind.KPJ: "99012345678",
}


def example_of(service: Service) -> dict[str, Any]:
    """A request for this service that is accepted as it stands."""
    fields = {field.name: SAMPLES[field.kind] for field in service.fields.values() if field.required}
    return {"service": service.name, "fields": fields, "reference": "payroll-7"}


def describe(app: FastAPI, catalogue: Catalogue) -> None:
    """Complete the generated OpenAPI document with the key, the problems and the catalogue's examples."""
    generate = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is not None:
            return app.openapi_schema
        document = generate()
        components = document.setdefault("components", {})
        components["securitySchemes"] = {"key": {"type": "http", "scheme": "bearer"}}
        schemas = components.setdefault("schemas", {})
        schemas["Problem"] = PROBLEM
        for unused in ("HTTPValidationError", "ValidationError"):  # every error is a problem
            schemas.pop(unused, None)
        problem = {
            "description": "A problem (RFC 9457).",
            "content": {"application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}},
        }
        for path, calls in document["paths"].items():
            for call in calls.values():
                call["security"] = [] if path.startswith(OPEN_PATHS) else [{"key": []}]
                call["responses"].pop("422", None)
                call["responses"]["default"] = problem
        for path, method, headers in HEADERS:
            document["paths"][path][method].setdefault("parameters", []).extend(headers)
        posted = document["paths"]["/v1/checks"]["post"]["responses"]
        posted["200"] = {"description": "Waited for, and it is final."}
        body = document["paths"]["/v1/checks"]["post"]["requestBody"]["content"]["application/json"]
        body["examples"] = {
            service.name: {"summary": service.title.en, "value": example_of(service)}
            for service in catalogue
            if service.enabled
        }
        app.openapi_schema = document
        return document

    app.openapi = openapi  # type: ignore[method-assign]
