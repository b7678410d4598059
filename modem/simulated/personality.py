"""What kind of stick the simulated dongle is: makers' differences as data, read from `personalities.toml`."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from importlib.resources import files
from typing import Any

CONTROL, APP = "control", "app"
SPEAKING = (CONTROL, APP)
"""The roles of ports that answer AT commands."""


@dataclass(frozen=True, slots=True)
class Personality:
    """One kind of stick; the head of `personalities.toml` says what the fields mean."""

    name: str
    maker: str
    model: str
    revision: str
    ports: tuple[str, ...]
    storages: tuple[tuple[str, ...], ...]
    first_index: int
    me_slots: int
    cnmi: str
    charsets: tuple[str, ...]
    unknown: str
    unnamed: str
    peeks: bool
    line_feeds: bool
    ussd: str
    dials_codes: bool
    rings: str
    generation: int
    reset: str
    boot_time: timedelta
    boot: tuple[str, ...]
    chatter: tuple[str, ...]
    own: frozenset[str]
    lacks: frozenset[str]
    cards: Mapping[str, str]
    imei: str
    tries: Mapping[str, str]
    access: int | None
    settings: Mapping[str, str]
    answers: Mapping[str, tuple[str, ...]]
    choices: tuple[frozenset[int], ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "choices", tuple(map(numbers, re.findall(r"\(([^)]*)\)", self.cnmi))))

    @property
    def spellings(self) -> Mapping[str, str]:
        """Commands that are remembered, with how their answer begins."""
        return {key.rstrip(": "): key for key in self.settings}


def personality(name: str) -> Personality:
    """The one with this name. Raises ValueError, which names those that there are."""
    found = personalities().get(name)
    if found is None:
        raise ValueError(f"there is no personality {name!r}; there are {', '.join(personalities())}")
    return found


def of_maker(maker: str) -> Personality:
    """The one whose maker this is, else the plain one."""
    word = re.split(r"[ _]", maker.lower())[0]
    return next(
        (one for one in personalities().values() if one.maker.lower().startswith(word)), personality("etsi")
    )


@cache
def personalities() -> Mapping[str, Personality]:
    """All of them, by name."""
    text = files(__package__).joinpath("personalities.toml").read_text(encoding="utf-8")
    return {name: _personality(name, table) for name, table in tomllib.loads(text).items()}


def _personality(name: str, table: dict[str, Any]) -> Personality:
    return Personality(
        name=name,
        maker=table["maker"],
        model=table["model"],
        revision=table["revision"],
        ports=tuple(table["ports"]),
        storages=tuple(map(tuple, table["storages"])),
        first_index=table["first_index"],
        me_slots=table["me_slots"],
        cnmi=table["cnmi"],
        charsets=tuple(table["charsets"]),
        unknown=table["unknown"],
        unnamed=table.get("unnamed", ""),
        peeks=table.get("peeks", False),
        line_feeds=table.get("line_feeds", False),
        ussd=table["ussd"],
        dials_codes=table["dials_codes"],
        rings=table["rings"],
        generation=table["generation"],
        reset=table["reset"],
        boot_time=timedelta(seconds=table["boot_seconds"]),
        boot=tuple(table["boot"]),
        chatter=tuple(table["chatter"]),
        own=frozenset(table["own"]),
        lacks=frozenset(table["lacks"]),
        cards=table["cards"],
        imei=table["imei"],
        tries=table["tries"],
        access=table.get("access"),
        settings=table["settings"],
        answers={command: tuple(lines) for command, lines in table["answers"].items()},
    )


def numbers(text: str) -> frozenset[int]:
    """The numbers of a list such as `0-2,4`, as test commands offer them (ITU-T V.250 §5.4.4.4)."""
    found: set[int] = set()
    for part in text.split(","):
        low, _, high = part.partition("-")
        found.update(range(int(low), int(high or low) + 1))
    return frozenset(found)
