"""Around every request: one log line without an identifier, a count, and an id for faults of ours."""

from __future__ import annotations

import secrets
import traceback
from collections.abc import Callable
from time import perf_counter

import structlog
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from app.faces.http.problems import problem

log = structlog.get_logger()


class Access:
    """The outermost layer. `count` is told each request's status."""

    def __init__(self, app: ASGIApp, count: Callable[[int], None]) -> None:
        self._app = app
        self._count = count

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        method = scope["method"]
        if method == "HEAD":  # RFC 9110 §9.3.2: as GET; the server leaves the body out
            scope = {**scope, "method": "GET"}
        began = perf_counter()
        status = 0

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        except Exception as error:
            incident = secrets.token_hex(6)
            # Its message may hold what was asked, so the log gets the type and the places only.
            where = [
                f"{frame.filename}:{frame.lineno} {frame.name}"
                for frame in traceback.extract_tb(error.__traceback__)
            ]
            log.error("internal", incident=incident, error=type(error).__qualname__, where=where[-8:])
            if not status:
                detail = f"The gateway failed; its log has incident {incident}. Try again, and report it if it goes on."
                await problem("internal", detail, blame="gateway", incident=incident)(scope, receive, noting)
        finally:
            self._count(status)
            route = scope.get("route")
            log.info(
                "request",
                method=method,
                route=getattr(route, "path", None),
                status=status,
                ms=round((perf_counter() - began) * 1000, 1),
                client=scope.get("client_name"),
            )
