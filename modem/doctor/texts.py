"""What the doctor says, as data: each text stands in a TOML file beside the code, in English and in Indonesian."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from typing import Any, NamedTuple

from modem.doctor.findings import ADVICE, FAULT, WARNING, Finding


class Both(NamedTuple):
    """A text in both languages."""

    en: str
    id: str

    def told(self, language: str) -> str:
        return self.id if language == "id" else self.en


@dataclass(frozen=True)
class Texts:
    """The texts of one TOML file of a package. Raises KeyError for a text or a placeholder's value that is not there."""

    package: str
    file: str

    @cached_property
    def table(self) -> Mapping[str, Any]:
        return tomllib.loads((files(self.package) / self.file).read_text("utf-8"))

    def said(self, name: str, /, **values: object) -> Both:
        """The text `table.name`, its placeholders filled in; what is in both languages itself, is so there."""
        table, _, key = name.partition(".")
        return _filled(self.table[table][key], values)

    def fault(self, name: str, about: str | Both, /, **values: object) -> Finding:
        """The finding `code` or, with the texts of one of its cases, `code.variant`."""
        return self._finding(FAULT, name, about, values)

    def warning(self, name: str, about: str | Both, /, **values: object) -> Finding:
        return self._finding(WARNING, name, about, values)

    def advice(self, name: str, about: str | Both, /, **values: object) -> Finding:
        return self._finding(ADVICE, name, about, values)

    def _finding(self, severity: str, name: str, about: str | Both, values: Mapping[str, object]) -> Finding:
        code, _, variant = name.partition(".")
        texts = self.table[code] | (self.table[code][variant] if variant else {})
        named = about if isinstance(about, Both) else Both(about, about)
        what, how, mend = (_filled(texts[part], values) for part in ("what", "how", "mend"))
        return Finding(
            code, severity, named.en, what.en, how.en, mend.en, (named.id, what.id, how.id, mend.id)
        )


def told(text: object, language: str) -> str:
    """What is in both languages in one of them; anything else as it is."""
    return text.told(language) if isinstance(text, Both) else str(text)


def _filled(text: Mapping[str, str], values: Mapping[str, object]) -> Both:
    en, id = (
        text[lang].format_map({name: told(value, lang) for name, value in values.items()})
        for lang in Both._fields
    )
    return Both(en, id)


TEXTS = Texts("modem.doctor", "texts.toml")
said, fault, warning = TEXTS.said, TEXTS.fault, TEXTS.warning


def joined(names: Sequence[str | Both], between: str | Both = ", ") -> Both:
    """The names one after the other."""
    en, id = (told(between, lang).join(told(name, lang) for name in names) for lang in Both._fields)
    return Both(en, id)


def few(names: Sequence[str | Both], most: int) -> Both:
    """The names, of many only the first ones."""
    left = len(names) - most
    shown = joined(names[:most])
    return said("words.and_more", names=shown, left=left) if left > 0 else shown


def stick_named(name: str) -> Both:
    """A name of the table of sticks, whose few English words are Indonesian in the other."""
    other = name
    for words in TEXTS.table["stick_names"].values():
        other = other.replace(words["en"], words["id"])
    return Both(name, other)


def decimal(value: float) -> Both:
    """A number with one decimal, as either language writes it."""
    return Both(f"{value:.1f}", f"{value:.1f}".replace(".", ","))
