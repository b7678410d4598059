"""What the doctor found: a finding says what is wrong, how that is known, and what mends it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

FAULT, WARNING, ADVICE = "fault", "warning", "advice"
SEVERITIES = (FAULT, WARNING, ADVICE)
"""The worst first."""
_KEPT = 5  # digits: MCC and MNC of an IMSI (ITU-T E.212), country and issuer of an ICCID, country of a number
_LONG = re.compile(r"\d{6,}")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong. `severity` is `fault` (it cannot work so), `warning` or `advice` (it works, and could be safer); `about` names the port, stick, lane or file.

    what: a sentence · how: what was seen · mend: the command or the line that mends it, each in English ·
    indonesian: about, what, how and mend once more; None where whoever found it spoke English only.
    """

    code: str
    severity: str
    about: str
    what: str
    how: str
    mend: str
    indonesian: tuple[str, str, str, str] | None = None

    def told(self, language: str) -> Finding:
        """The finding in `id` or `en` alone: what is shown, and what a program is given."""
        if language == "id" and self.indonesian is not None:
            return Finding(self.code, self.severity, *self.indonesian)
        return replace(self, indonesian=None)

    def elsewhere(self, about: str, indonesian: str) -> Finding:
        """The same of another thing, as either language names it."""
        words = None if self.indonesian is None else (indonesian, *self.indonesian[1:])
        return replace(self, about=about, indonesian=words)

    def as_json(self) -> dict[str, Any]:
        """Plain values, with `indonesian` only where there is any."""
        plain = {name: getattr(self, name) for name in _NAMES}
        return plain if self.indonesian is None else {**plain, "indonesian": list(self.indonesian)}

    @classmethod
    def from_json(cls, value: Mapping[str, object]) -> Finding:
        """What `as_json` gave, here or in an older process. Raises ValueError for what is no finding."""
        if not all(isinstance(value.get(name), str) for name in _NAMES):
            raise ValueError(f"not a finding: it needs {', '.join(_NAMES)}")
        code, severity, about, what, how, mend = (str(value[name]) for name in _NAMES)
        found = cls(code, severity, about, what, how, mend)
        match value.get("indonesian"):
            case [str(first), str(second), str(third), str(fourth)]:
                return replace(found, indonesian=(first, second, third, fourth))
        return found


_NAMES = ("code", "severity", "about", "what", "how", "mend")


def worst(findings: Iterable[Finding]) -> str | None:
    """The worst severity among them, None where nothing is wrong; an advice is nothing wrong."""
    found = {finding.severity for finding in findings}
    return FAULT if FAULT in found else WARNING if WARNING in found else None


def masked(text: str) -> str:
    """The text with every longer number cut to its first five digits, which name a country and an operator but nobody."""
    return _LONG.sub(lambda found: found[0][:_KEPT] + "*" * (len(found[0]) - _KEPT), text)
