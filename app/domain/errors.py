"""Errors carry decisions: a stable code, who is to blame, whether trying again may help, and a sentence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum


class Blame(StrEnum):
    CALLER = "caller"
    CARD = "card"
    SERVICE = "service"
    SIM = "sim"
    MODEM = "modem"
    NETWORK = "network"
    GATEWAY = "gateway"


class GatewayError(Exception):
    """Anything the gateway refuses or fails at. `detail` says what was wrong and what to do.

    `faults` lists single faults as `{"field" or "row": …, "code": …, "detail": …}`.
    """

    def __init__(
        self,
        code: str,
        detail: str,
        *,
        blame: Blame = Blame.CALLER,
        retryable: bool = False,
        faults: Sequence[Mapping[str, object]] = (),
    ) -> None:
        super().__init__(detail)
        self.code = code
        self.detail = detail
        self.blame = blame
        self.retryable = retryable
        self.faults = tuple(faults)


class Invalid(GatewayError):
    """The caller's input is wrong: code `invalid` unless said otherwise."""

    def __init__(
        self, detail: str, *, code: str = "invalid", faults: Sequence[Mapping[str, object]] = ()
    ) -> None:
        super().__init__(code, detail, faults=faults)


class NotFound(GatewayError):
    def __init__(self, detail: str) -> None:
        super().__init__("not_found", detail)


class Conflict(GatewayError):
    def __init__(self, detail: str) -> None:
        super().__init__("conflict", detail)


class SettingsError(GatewayError):
    """A settings file, variable or option is wrong, or the database does not fit it (exit status 2)."""

    def __init__(self, detail: str) -> None:
        super().__init__("settings", detail)


class Unavailable(GatewayError):
    """Nothing can be written now, so nothing was accepted."""

    def __init__(self, detail: str) -> None:
        super().__init__("unavailable", detail, blame=Blame.GATEWAY, retryable=True)
