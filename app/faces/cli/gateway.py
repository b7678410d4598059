"""The gateway as the command line sees it: HTTP calls whose every failure is a sentence."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx

from app.domain.errors import Blame, GatewayError, SettingsError
from app.faces.cli.output import Refused
from app.settings import Client

TIMEOUT = 15.0
"""Seconds a call may take beyond what it was asked to wait."""
PAGE = 1000
"""The largest page of a list (design, section 6, "Fixed details")."""


class Gateway:
    """A running gateway over HTTP. Raises Refused for its no, GatewayError `unreachable` or `not_a_gateway` else."""

    def __init__(self, client: Client) -> None:
        self.url = client.url
        key = client.read_key()
        if key is not None and not (key.isascii() and key.isprintable()):
            raise SettingsError(
                "client.key is no key of ours: paste it as `bpjs-sms keys create` printed it."
            )
        self._has_key = key is not None
        try:
            self._http = httpx.Client(
                base_url=client.url,
                headers={"Accept": "application/json", **({"Authorization": f"Bearer {key}"} if key else {})},
                verify=client.url.startswith("https:"),  # loading the certificates takes longer than a call
                trust_env=not _loopback(client.url),  # a proxy cannot reach this very host
            )
        except (httpx.InvalidURL, ValueError) as error:
            raise SettingsError(
                f"client.url = {client.url} is no URL ({error}). Write http://HOST:PORT."
            ) from None

    def __enter__(self) -> Gateway:
        return self

    def __exit__(self, *_error: object) -> None:
        self._http.close()

    def call(
        self,
        method: str,
        path: str,
        *,
        params: Mapping[str, str | int] | None = None,
        json: object = None,
        content: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        wait: float = 0,
    ) -> dict[str, Any]:
        """One call's JSON object, `{}` for an answer without a body; `wait` is how long (seconds) it may wait for us."""
        with self._failures():
            answer = self._http.request(
                method,
                path,
                params=params,
                json=json,
                content=content,
                headers=headers,
                timeout=httpx.Timeout(TIMEOUT, read=TIMEOUT + wait),
            )
        if answer.is_error:
            raise self._refusal(answer)
        if not answer.content:
            return {}
        body = _json(answer)
        if not isinstance(body, dict):
            raise self._stranger(answer)
        return body

    def items(self, path: str, params: Mapping[str, str | int], limit: int) -> list[dict[str, Any]]:
        """Up to `limit` items of a list, over as many pages as that takes."""
        found: list[dict[str, Any]] = []
        cursor: dict[str, str] = {}
        while len(found) < limit:
            size = min(PAGE, limit - len(found))
            page = self.call("GET", path, params={**params, "limit": size, **cursor})
            found += page.get("items", [])
            if not page.get("next") or not page.get("items"):
                break
            cursor = {"cursor": str(page["next"])}
        return found[:limit]

    @contextmanager
    def download(self, path: str, params: Mapping[str, str | int]) -> Iterator[Iterator[bytes]]:
        """A body in chunks."""
        with self._failures(), self._http.stream("GET", path, params=params, timeout=TIMEOUT * 4) as answer:
            if answer.is_error:
                answer.read()
                raise self._refusal(answer)
            yield answer.iter_bytes()

    @contextmanager
    def _failures(self) -> Iterator[None]:
        try:
            yield
        except (httpx.ConnectError, httpx.ConnectTimeout, httpx.UnsupportedProtocol) as error:
            raise GatewayError(
                "unreachable",
                f"No gateway answers at {self.url} ({error}). Start one with `bpjs-sms serve`, or name another "
                "in [client] url (BPJS_SMS_CLIENT__URL).",
                blame=Blame.GATEWAY,
                retryable=True,
            ) from None
        except httpx.TransportError as error:
            raise GatewayError(
                "unreachable",
                f"The gateway at {self.url} broke off ({str(error) or type(error).__name__}). See its log, then try again.",
                blame=Blame.GATEWAY,
                retryable=True,
            ) from None

    def _refusal(self, answer: httpx.Response) -> GatewayError:
        problem = _json(answer)
        if not isinstance(problem, dict) or "code" not in problem:
            return self._stranger(answer)
        detail = str(problem.get("detail") or problem.get("title") or problem["code"])
        if answer.status_code == 401:
            detail = (
                f"{detail} The key given with BPJS_SMS_CLIENT__KEY or [client] key_file is not one of this gateway's: "
                "was it made for another database?"
                if self._has_key
                else f"The gateway at {self.url} wants a key. Make one with `bpjs-sms keys create NAME --scope '*'`, "
                "then set BPJS_SMS_CLIENT__KEY or [client] key_file."
            )
        return Refused(answer.status_code, problem, detail)

    def _stranger(self, answer: httpx.Response) -> GatewayError:
        return GatewayError(
            "not_a_gateway",
            f"What answers at {self.url} is not this gateway (HTTP {answer.status_code}, "
            f"{answer.headers.get('content-type', 'no content type')}). Correct [client] url (BPJS_SMS_CLIENT__URL).",
        )


def _json(answer: httpx.Response) -> Any:
    try:
        return answer.json()
    except ValueError:
        return None


def _loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
