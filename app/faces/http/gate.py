"""Who calls: the key behind a request, and whether it may."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request

from app.domain.errors import GatewayError
from app.faces.http.problems import unauthenticated
from app.store.clients import USED_STEP, KeyView, authenticate, key_used
from app.store.engine import Store

CACHED_SECONDS = 2.0  # how long a revoked key may still work
CACHED_KEYS = 1000


class Gate:
    """Knows the keys; remembers each for CACHED_SECONDS, so that most requests do not read the database for it."""

    def __init__(self, store: Store, clock: Callable[[], datetime]) -> None:
        self._store = store
        self._clock = clock
        self._known: dict[str, tuple[float, KeyView]] = {}
        self._noted: dict[str, datetime] = {}

    async def admit(self, request: Request, scope: str | None) -> KeyView:
        """The caller's key; GatewayError `unauthenticated` or `forbidden`. Without a scope any key will do."""
        kind, _, secret = request.headers.get("authorization", "").partition(" ")
        secret = secret.strip()
        if kind.lower() != "bearer" or not secret:
            raise unauthenticated(
                "No key came with the request. Send it as `Authorization: Bearer KEY`; `bpjs-sms keys create` makes one."
            )
        time = asyncio.get_running_loop().time()
        until, key = self._known.get(secret, (0.0, None))
        if key is None or until < time:
            key = await run_in_threadpool(self._store.read, lambda tx: authenticate(tx, secret))
            if key is None:
                self._known.pop(secret, None)
                raise unauthenticated(
                    "This key is wrong or was revoked. `bpjs-sms keys list` shows those there are."
                )
            if len(self._known) >= CACHED_KEYS:
                self._known.clear()
            self._known[secret] = (time + CACHED_SECONDS, key)
            self._note(key)
        request.scope["client_name"] = key.client
        if scope is not None and not key.allows(scope):
            raise GatewayError(
                "forbidden",
                f"This key lacks the scope {scope}. Use one that has it, or make one with --scope {scope}.",
            )
        return key

    def _note(self, key: KeyView) -> None:
        now = self._clock()
        last = self._noted.get(key.id) or key.last_used_at
        if last is None or now - last >= USED_STEP:
            self._noted[key.id] = now
            self._store.submit(lambda tx: key_used(tx, key.id, now))


def needs(scope: str) -> Callable[[Request], Awaitable[KeyView]]:
    """A dependency that gives the caller's key, and refuses one without this scope."""

    async def admitted(request: Request) -> KeyView:
        gate: Gate = request.app.state.face.gate
        return await gate.admit(request, scope)

    return admitted
