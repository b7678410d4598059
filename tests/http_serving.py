"""A gateway's HTTP face on loopback, over a real SQLite store; for tests of the face."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import uvicorn

from app.domain.services import Catalogue
from app.domain.states import Outcome, Role
from app.faces.http.application import create_app
from app.settings import load_settings
from app.store.checks import get_check
from app.store.clients import create_key
from app.store.engine import Store, open_store
from app.store.inbox import add_message
from app.store.replies import answer, attribute

NOW = datetime(2026, 11, 23, 2, 3, 4, 120000, tzinfo=UTC)
TEMPLATES = Path(__file__).parent.parent / "templates_sms"
KPJ = "99012345678"
ASK = {"service": "bpjstk-balance", "fields": {"kpj": KPJ}}


@dataclass
class Gateway:
    """A served store. `lanes` is what `/health/ready` is told."""

    store: Store
    url: str
    catalogue: Catalogue
    lanes: list[tuple[str, bool, str]]
    nudges: list[None] = field(default_factory=list)

    def key(self, *scopes: str, client: str = "payroll") -> str:
        return self.store.write(
            lambda tx: create_key(tx, name="a test", client=client, scopes=scopes, now=NOW)
        )[1]

    @contextmanager
    def client(self, *scopes: str, client: str = "payroll") -> Iterator[httpx.Client]:
        headers = {"Authorization": f"Bearer {self.key(*scopes, client=client)}"} if scopes else {}
        with httpx.Client(base_url=self.url, headers=headers, timeout=20) as opened:
            yield opened

    def answer(self, check_id: str, text: str, record: dict[str, Any], role: Role = Role.ANSWER) -> str:
        """As if a reply had come: a message, its attribution, and, unless it is a note, the move."""

        def work(tx: Any) -> str:
            question = get_check(tx, check_id, None).question_id
            message = add_message(
                tx,
                "tpd_none",
                sim_id="sim_test",
                lane="xl-1",
                sender="2757",
                body=text,
                stamp=NOW,
                received_at=NOW,
                now=NOW,
            )
            attribute(tx, message, question, role, evidence="echo", by="gateway", now=NOW)
            if role is not Role.NOTE:
                answer(
                    tx,
                    question,
                    outcome=Outcome.FOUND,
                    record=record,
                    evidence="echo",
                    late=False,
                    now=NOW,
                    by="xl-1",
                )
            return message

        return self.store.write(work)


@contextmanager
def serving(
    folder: Path,
    clock: Callable[[], datetime] = lambda: NOW,
    database: str | None = None,
    services: Mapping[str, Mapping[str, object]] | None = None,
    **server_settings: Any,
) -> Iterator[Gateway]:
    """Serve a new store in `folder` with the shipped services, changed as `[service.NAME]` would."""
    store = open_store(database or f"sqlite:///{folder / 'gateway.db'}", folder / "keys", serving=True)
    catalogue = Catalogue.load(TEMPLATES, overrides=services)
    settings = load_settings(environ={}, overrides={"server": server_settings})
    with socket.create_server(("127.0.0.1", 0)) as listening:
        url = f"http://127.0.0.1:{listening.getsockname()[1]}"
        gateway = Gateway(store, url, catalogue, [("xl-1", True, "registered")])
        app = create_app(
            store,
            catalogue,
            settings,
            clock=clock,
            ready=lambda: gateway.lanes,
            nudge=lambda: gateway.nudges.append(None),
        )
        server = uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        try:
            yield gateway
        finally:
            server.should_exit = True
            thread.join(20)
            store.close()
    assert not thread.is_alive()


def assert_problem(response: httpx.Response, status: int, code: str, *said: str) -> dict[str, Any]:
    """It is problem details of this status and code, and its sentence holds what was `said`."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body: dict[str, Any] = response.json()
    assert body["status"] == status
    assert body["code"] == code
    assert body["type"] == f"urn:bpjs-sms:problem:{code}"
    assert body["title"]
    assert body["detail"].endswith((".", "?", "!"))
    assert body["blame"] in ("caller", "card", "service", "sim", "modem", "network", "gateway")
    for fault in body.get("errors", []):
        assert {"code", "detail"} < set(fault)
    for words in said:
        assert words in body["detail"]
    return body
