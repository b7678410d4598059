"""What makers do in their own way: commands, times and habits by maker and model, kept as data in `quirks.toml`."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from functools import cache
from importlib.resources import files
from types import MappingProxyType

NETWORK_MODES = ("auto", "2g", "3g", "4g")
USSD_FORMS = ("text", "packed", "ucs2")


@dataclass(frozen=True, slots=True)
class Quirks:
    """How one model differs from 3GPP TS 27.005 and 27.007; without any entry, a plain modem.

    setup: commands for the opening, each tried, a refusal is no fault · network_modes: the command for each of
    `auto 2g 3g 4g` that the model knows · restart: False where AT+CFUN=1,1 makes the stick vanish into storage mode ·
    ussd: `text packed ucs2`, how +CUSD carries its text · cmgs_timeout: how long its maker lets +CMGS take, None where
    unsaid · urcs: beginnings of lines that it sends unasked, besides those of everybody · pin_tries: the query for the
    PIN tries left, and pin_tries_pattern with the group `tries`, which finds them in the answer.
    """

    setup: tuple[str, ...] = ()
    network_modes: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    restart: bool = True
    ussd: str = "text"
    cmgs_timeout: timedelta | None = None
    urcs: tuple[str, ...] = ()
    pin_tries: str | None = None
    pin_tries_pattern: str | None = None


@dataclass(frozen=True, slots=True)
class Entry:
    """One `[[quirk]]` of the file: whom it is about, by patterns searched in +CGMI and +CGMM, and what it says.

    examples: makers and models that it is for · answers: lines to `pin_tries`, each with the tries that it tells.
    """

    maker: re.Pattern[str] | None
    model: re.Pattern[str] | None
    says: Mapping[str, object]
    examples: tuple[tuple[str, str], ...]
    answers: tuple[tuple[str, int], ...]
    source: str

    def fits(self, maker: str | None, model: str | None) -> bool:
        return all(
            pattern is None or (text is not None and pattern.search(text) is not None)
            for pattern, text in ((self.maker, maker), (self.model, model))
        )


def read_quirks(text: str) -> tuple[Entry, ...]:
    """The entries of a TOML text. Raises ValueError for anything that is not known or not well formed."""
    return tuple(_entry(item) for item in _tables(tomllib.loads(text), "quirk"))


def merged(entries: Sequence[Entry], maker: str | None, model: str | None) -> Quirks:
    """All fitting entries in their order: lists are joined, modes added, and of anything else the last one holds."""
    values: dict[str, object] = {}
    setup: list[str] = []
    urcs: list[str] = []
    modes: dict[str, str] = {}
    for entry in entries:
        if not entry.fits(maker, model):
            continue
        for key, value in entry.says.items():
            if key == "setup":
                setup += [c for c in _texts(value) if c not in setup]
            elif key == "urcs":
                urcs += [u for u in _texts(value) if u not in urcs]
            elif key == "network_modes":
                modes |= _modes(value)
            else:
                values[key] = value
    return Quirks(
        setup=tuple(setup),
        network_modes=MappingProxyType(modes),
        urcs=tuple(urcs),
        restart=values.get("restart", True) is True,
        ussd=str(values.get("ussd", "text")),
        cmgs_timeout=_duration(values.get("cmgs_seconds")),
        pin_tries=_optional_text(values.get("pin_tries")),
        pin_tries_pattern=_optional_text(values.get("pin_tries_pattern")),
    )


def quirks_for(maker: str | None, model: str | None) -> Quirks:
    """What `quirks.toml` says of this maker (+CGMI) and model (+CGMM); a plain modem for an unknown one."""
    return merged(_shipped(), maker, model)


@cache
def _shipped() -> tuple[Entry, ...]:
    return read_quirks((files("modem") / "quirks.toml").read_text("utf-8"))


def _tables(data: Mapping[str, object], name: str) -> list[dict[str, object]]:
    tables = data.get(name, [])
    if set(data) - {name} or not isinstance(tables, list) or not all(isinstance(t, dict) for t in tables):
        raise ValueError(f"only tables [[{name}]] belong here")
    return tables


def _entry(item: dict[str, object]) -> Entry:
    source = item.pop("source", None)
    if not isinstance(source, str) or not source:
        raise ValueError(f"a quirk without a source: {item}")
    maker, model = (_pattern(item.pop(key, None)) for key in ("maker", "model"))
    if maker is None and model is None:
        raise ValueError(f"a quirk of nobody: {item}")
    examples = tuple(_example(pair) for pair in _list(item.pop("examples", [])))
    answers = tuple(_answer(pair) for pair in _list(item.pop("answers", [])))
    for key, value in item.items():
        check = _CHECKS.get(key)
        if check is None:
            raise ValueError(f"{key} is not known in a quirk")
        check(value)
    return Entry(maker, model, item, examples, answers, source)


def _pattern(value: object) -> re.Pattern[str] | None:
    if value is None:
        return None
    try:
        return re.compile(_text(value), re.IGNORECASE)
    except re.error as error:
        raise ValueError(f"not a pattern: {value!r}: {error}") from None


def _text(value: object) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError(f"not a text: {value!r}")
    return value


def _optional_text(value: object) -> str | None:
    return None if value is None else _text(value)


def _list(value: object) -> list[object]:
    if not isinstance(value, list):
        raise ValueError(f"not a list: {value!r}")
    return value


def _texts(value: object) -> list[str]:
    return [_text(item) for item in _list(value)]


def _example(value: object) -> tuple[str, str]:
    match _texts(value):
        case [maker, model]:
            return maker, model
    raise ValueError(f"not a maker and a model: {value!r}")


def _answer(value: object) -> tuple[str, int]:
    match value:
        case [str(line), int(tries)]:
            return line, tries
    raise ValueError(f"not a line and a number: {value!r}")


def _modes(value: object) -> dict[str, str]:
    if not isinstance(value, dict) or not set(value) <= set(NETWORK_MODES):
        raise ValueError(f"not commands for {' '.join(NETWORK_MODES)}: {value!r}")
    return {mode: _text(command) for mode, command in value.items()}


def _duration(value: object) -> timedelta | None:
    if value is None:
        return None
    if not isinstance(value, int) or isinstance(value, bool) or value <= 0:
        raise ValueError(f"not a number of seconds: {value!r}")
    return timedelta(seconds=value)


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise ValueError(f"neither true nor false: {value!r}")
    return value


def _form(value: object) -> str:
    if value not in USSD_FORMS:
        raise ValueError(f"not one of {' '.join(USSD_FORMS)}: {value!r}")
    return str(value)


def _tries(value: object) -> str:
    pattern = _pattern(value)
    if pattern is None or "tries" not in pattern.groupindex:
        raise ValueError(f"no group `tries` in {value!r}")
    return _text(value)


_CHECKS = {
    "setup": _texts,
    "network_modes": _modes,
    "restart": _flag,
    "ussd": _form,
    "cmgs_seconds": _duration,
    "urcs": _texts,
    "pin_tries": _text,
    "pin_tries_pattern": _tries,
}
