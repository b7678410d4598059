"""What the doctor found: a finding says what is wrong, how that is known, and what mends it."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass

FAULT, WARNING, ADVICE = "fault", "warning", "advice"
SEVERITIES = (FAULT, WARNING, ADVICE)
"""The worst first."""
_KEPT = 5  # digits: MCC and MNC of an IMSI (ITU-T E.212), country and issuer of an ICCID, country of a number
_LONG = re.compile(r"\d{6,}")


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that is wrong. `severity` is `fault` (it cannot work so), `warning` or `advice` (it works, and could be safer); `about` names the port, stick, lane or file.

    what: a sentence · how: what was seen · mend: the command or the line that mends it.
    """

    code: str
    severity: str
    about: str
    what: str
    how: str
    mend: str

    def as_json(self) -> dict[str, str]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, object]) -> Finding:
        """Raises ValueError for what is no finding."""
        names = ("code", "severity", "about", "what", "how", "mend")
        if not all(isinstance(value.get(name), str) for name in names):
            raise ValueError(f"not a finding: it needs {', '.join(names)}")
        return cls(*(str(value[name]) for name in names))


def fault(code: str, about: str, what: str, how: str, mend: str) -> Finding:
    return Finding(code, FAULT, about, what, how, mend)


def warning(code: str, about: str, what: str, how: str, mend: str) -> Finding:
    return Finding(code, WARNING, about, what, how, mend)


def advice(code: str, about: str, what: str, how: str, mend: str) -> Finding:
    return Finding(code, ADVICE, about, what, how, mend)


def worst(findings: Iterable[Finding]) -> str | None:
    """The worst severity among them, None where nothing is wrong; an advice is nothing wrong."""
    found = {finding.severity for finding in findings}
    return FAULT if FAULT in found else WARNING if WARNING in found else None


def masked(text: str) -> str:
    """The text with every longer number cut to its first five digits, which name a country and an operator but nobody."""
    return _LONG.sub(lambda found: found[0][:_KEPT] + "*" * (len(found[0]) - _KEPT), text)
