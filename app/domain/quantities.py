"""Dates and rupiah amounts in a text, each with its place. What is neither is not guessed at."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import Final

_FLAGS: Final = re.IGNORECASE | re.ASCII

_MONTHS: Final = {
    name: number
    for number, names in enumerate(
        (
            "januari jan",
            "februari pebruari feb peb",
            "maret mar",
            "april apr",
            "mei",
            "juni jun",
            "juli jul",
            "agustus agust agu agt ags",
            "september sept sep",
            "oktober okt",
            "november nopember nov nop",
            "desember des",
        ),
        start=1,
    )
    for name in names.split()
}
_MONTH: Final = "|".join(sorted(_MONTHS, key=len, reverse=True))
_START: Final = r"(?<![0-9*])(?<![0-9][-/.])"
_END: Final = r"(?![0-9*])(?![-/.][0-9])"
_DATE: Final = re.compile(
    rf"{_START}(?:"
    r"(?P<y1>[0-9]{4})-(?P<m1>[0-9]{1,2})(?:-(?P<d1>[0-9]{1,2}))?"
    r"|(?P<d2>[0-9]{1,2})(?P<sep>[-/.])(?P<m2>[0-9]{1,2})(?P=sep)(?P<y2>[0-9]{4})"
    r"|(?P<d5>[0-9]{1,2})(?P<sep5>[-/])(?P<m5>[0-9]{1,2})(?P=sep5)(?P<y5>[0-9]{2})"
    rf"|(?:(?P<d3>[0-9]{{1,2}})[ ./-]{{0,2}})?(?<![a-z])(?P<m3>{_MONTH})(?![a-z])[ ./-]{{0,2}}(?P<y3>[0-9]{{4}})"
    r"|(?P<m4>[0-9]{1,2})[-/](?P<y4>[0-9]{4})"
    rf"){_END}",
    _FLAGS,
)


@dataclass(frozen=True, slots=True)
class When:
    """A date (`2026-10-31`) or a month (`2026-10`) and where it stood; `short_year` if the century was not written."""

    value: str
    start: int
    end: int
    short_year: bool


@dataclass(frozen=True, slots=True)
class Amount:
    """Rupiah and where they stood. `value` is None if it is money but cannot be read for sure (`Rp 12 juta`)."""

    value: int | None
    start: int
    end: int
    grouped: bool


def dates(text: str) -> list[When]:
    """Every date or month in the text, day first unless it begins with a year of four digits."""
    found = []
    for match in _DATE.finditer(text):
        got = match.groupdict()
        year = next(got[k] for k in ("y1", "y2", "y3", "y4", "y5") if got[k])
        month = next(got[k] for k in ("m1", "m2", "m3", "m4", "m5") if got[k])
        day = next((got[k] for k in ("d1", "d2", "d3", "d5") if got[k]), None)
        y = int(year) + (2000 if len(year) == 2 else 0)
        m = _MONTHS.get(month.lower()) or int(month)
        try:
            whole = date(y, m, int(day or 1))
        except ValueError:
            continue
        if not 1900 <= y <= 2100:
            continue
        value = whole.isoformat() if day else whole.isoformat()[:7]
        found.append(When(value, match.start(), match.end(), len(year) == 2))
    return found


_DOTTED: Final = r"[0-9]{1,3}(?:\.[0-9]{3})+"
_COMMAED: Final = r"[0-9]{1,3}(?:,[0-9]{3})+"
_SEN: Final = r"(?:,(?:[0-9]{1,2}|-{1,2}))?"
_NUMBER: Final = (
    rf"(?:(?P<dotted>{_DOTTED})(?:\.00)?{_SEN}|(?P<commaed>{_COMMAED})(?:\.[0-9]{{2}})?"
    rf"|(?P<plain>[0-9]+)(?:\.00)?{_SEN})(?![0-9])(?![.,][0-9])"
)
_RUPIAH: Final = re.compile(rf"(?<![a-z−-])(?:rp|idr)\.?\s{{0,2}}:?\s{{0,2}}{_NUMBER}", _FLAGS)
_BARE: Final = re.compile(
    rf"(?<![0-9*.,−-])(?P<n>{_DOTTED})(?P<sen>,(?:[0-9]{{2}}|-{{1,2}}))?(?![0-9])(?![.,][0-9])", _FLAGS
)
_MONEY_WORD: Final = re.compile(
    r"(?:saldo|tagihan|tunggakan|iuran|denda|total|jumlah)"
    r"(?:\W{1,3}(?:jht|jkn|anda|adalah|sebesar|sejumlah|iuran))*\W{0,4}$",
    _FLAGS,
)
_NOT_WHOLE: Final = re.compile(
    r"\s?(?:juta|jt|ribu|rb|mily?ar|triliun|[km](?![a-z]))|[.,]?[*x•]"
    r"|\s?(?:[-–]|s\.?/?d\.?|sampai)\s?(?:rp\.?\s?)?[0-9]{1,3}\.[0-9]{3}",
    _FLAGS,
)
_SPACED: Final = re.compile(r" [0-9]{3}(?![0-9])")
_LARGEST: Final = 15
"""Digits; more than any budget of the state, so a longer number is no amount."""


def amounts(text: str) -> list[Amount]:
    """Every amount of rupiah: after `Rp` or `IDR`, or grouped in thousands after a word for money, or with `,-` or sen.

    Whole rupiah: sen are cut off, never rounded up. Dots group thousands, a comma begins sen; three digits after a
    comma are thousands too.
    """
    found: dict[int, Amount] = {}
    for match in _RUPIAH.finditer(text):
        digits = next(g for g in (match["dotted"], match["commaed"], match["plain"]) if g)
        number = re.sub(r"[.,]", "", digits)
        sure = (
            len(number) <= _LARGEST
            and not _NOT_WHOLE.match(text, match.end())
            and not (len(number) <= 3 and match["plain"] and _SPACED.match(text, match.end()))
        )
        found[match.end()] = Amount(
            int(number) if sure else None, match.start(), match.end(), match["plain"] is None
        )
    for match in _BARE.finditer(text):
        if any(a.start <= match.start() < a.end for a in found.values()):
            continue
        number = match["n"].replace(".", "")
        worded = len(number) < 10 and _MONEY_WORD.search(text, max(0, match.start() - 60), match.start())
        if match["sen"] or worded:
            sure = len(number) <= _LARGEST and not _NOT_WHOLE.match(text, match.end())
            found[match.end()] = Amount(int(number) if sure else None, match.start(), match.end(), True)
    return sorted(found.values(), key=lambda a: a.start)
