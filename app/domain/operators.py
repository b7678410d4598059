"""The operators of Indonesia, by the beginning of a SIM's IMSI; the data stand in `operators.toml`."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Operator:
    """`name` as the services' `operators` have it, `shown` as people say it."""

    name: str
    shown: str


@cache
def operators() -> Mapping[str, Operator]:
    """Operators by the first five digits of an IMSI (ITU-T E.212)."""
    data = tomllib.loads((files("app.domain") / "operators.toml").read_text("utf-8"))
    return MappingProxyType(
        {
            prefix: Operator(item["name"], item["shown"])
            for item in data["operator"]
            for prefix in item["imsi"]
        }
    )


def operator_of(imsi: str) -> Operator | None:
    """Whose SIM this is, by its IMSI or the first five digits of it; None for one that is not listed."""
    return operators().get(imsi[:5])
