"""Card numbers and addresses: normalise, check, mask, and find in a text.

Lengths and shapes are those that public sources document; no kind has a published check digit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Final

from app.domain.errors import Invalid
from app.domain.quantities import amounts, dates


class Kind(StrEnum):
    """What a number is: participant of BPJS Ketenagakerjaan, JKN card, citizen, civil servant."""

    KPJ = "kpj"
    CARD_NUMBER = "card_number"
    NIK = "nik"
    NIP = "nip"


LENGTHS: Final = {Kind.KPJ: 11, Kind.CARD_NUMBER: 13, Kind.NIK: 16, Kind.NIP: 18}
NAMES: Final = {
    Kind.KPJ: "KPJ number",
    Kind.CARD_NUMBER: "JKN card number",
    Kind.NIK: "NIK",
    Kind.NIP: "NIP",
}
_OLD_KPJ: Final = re.compile(r"[0-9]{2}[A-Z][0-9]{8}")
"""Numbers of the Jamsostek era carry a letter, as in the published example of `REG#`."""


class FieldError(Invalid):
    """One value is wrong; `code` says how, `detail` what to write instead."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail, code=code)


_SEPARATORS: Final = re.compile(r"[\s.\-\u2010-\u2015\u2212]+")
_EXPONENT: Final = re.compile(r"[0-9]+(?:[.,][0-9]+)?E[+-]?[0-9]{1,3}", re.IGNORECASE | re.ASCII)
_FLOAT: Final = re.compile(r"[0-9]+[.,]0{1,2}", re.ASCII)


def normalise(kind: Kind | str, raw: str) -> str:
    """The number without spaces, dots and hyphens, letters upper-cased.

    Raises FieldError: `empty`, `spreadsheet_number` (an exponent or a decimal is refused, never expanded: digits are
    lost already), `wrong_character`, `wrong_length`.
    """
    kind = Kind(kind)
    name, wanted = NAMES[kind], LENGTHS[kind]
    text = raw.strip()
    if _EXPONENT.fullmatch(text) or _FLOAT.fullmatch(text):
        raise FieldError(
            "spreadsheet_number",
            f"this {name} was turned into a number by a spreadsheet, which loses digits: format the column as text "
            f"and write all {wanted} digits again",
        )
    value = _SEPARATORS.sub("", text).upper()
    if not value:
        raise FieldError("empty", f"the {name} is empty: write its {wanted} digits")
    for place, character in enumerate(value):
        if not ("0" <= character <= "9" or (kind is Kind.KPJ and place == 2 and "A" <= character <= "Z")):
            what = "letter" if character.isalpha() else "character"
            raise FieldError(
                "wrong_character",
                f'the {what} "{character}" cannot stand in a {name}: write its {wanted} digits and nothing else',
            )
    if len(value) != wanted:
        raise FieldError(
            "wrong_length", f"a {name} has {wanted} digits, this has {len(value)}: check the card"
        )
    return value


def mask(kind: Kind | str, value: str) -> str:
    """All but the first and the last three characters starred: `99012345678` becomes `990*****678`."""
    del kind  # every kind is masked alike, so that a mask does not tell kinds apart
    return value[:3] + "*" * (len(value) - 6) + value[-3:] if len(value) > 6 else "*" * len(value)


@dataclass(frozen=True, slots=True)
class Found:
    """A number in a text: `value` without separators, the kinds that it may be, and where it stood.

    A masked one (`0009***2345678`) keeps its stars. `labelled` is true where the text says what it is.
    """

    value: str
    kinds: frozenset[Kind]
    start: int
    end: int
    masked: bool
    labelled: bool


_X_MASK: Final = re.compile(r"(?:(?<=[0-9*])|(?<=[0-9*][ .\-]))[xX]{2,}|[xX]{2,}(?=[0-9*])", re.ASCII)
_LONE_STAR: Final = re.compile(r"(?<!\*)\*(?!\*)")
_GROUP: Final = r"(?:(?<![A-Za-z0-9])[0-9]{2}[A-Za-z](?=[ .\-]?[0-9*])[0-9*]*|[0-9*]+)"
_RUN: Final = re.compile(rf"{_GROUP}(?:[ .\-\u00a0]{_GROUP})*", re.ASCII)
_GROUPS: Final = re.compile(r"[0-9A-Za-z*]+", re.ASCII)
_SMALLEST_MASKED: Final = 6
_SMALLEST_VISIBLE: Final = 3
"""Fewer digits than our own mask leaves at one end name nobody."""

_NO: Final = r"\W{0,3}(?:(?:no|nomor|nmr|anda|sdr|tujuan|peserta)\W{1,3})*$"
_PHONE_LABEL: Final = re.compile(
    r"(?<![a-z])(?:hubungi|telp|telepon|telpon|tlp|hp|handphone|ponsel|wa|whatsapp|call|cs|sms|ke|cent(?:er|re))"
    + _NO,
    re.IGNORECASE | re.ASCII,
)
_ACCOUNT_LABEL: Final = re.compile(r"(?<![a-z])(?:va|virtual account)" + _NO, re.IGNORECASE | re.ASCII)
_LABELS: Final = tuple(
    (re.compile(rf"(?<![a-z])(?:{words})" + _NO, re.IGNORECASE | re.ASCII), kinds)
    for words, kinds in (
        (r"nik|ktp|e-ktp", frozenset({Kind.NIK})),
        (r"nip", frozenset({Kind.NIP})),
        (r"kpj", frozenset({Kind.KPJ})),
        (r"noka|bpks|jkn", frozenset({Kind.CARD_NUMBER})),
        (r"peserta|kartu|saldo|balance|status", frozenset({Kind.KPJ, Kind.CARD_NUMBER})),
    )
)
_LABEL_REACH: Final = 40


def find(text: str) -> list[Found]:
    """Every number in the text that may name a card, in order: in full, spaced, dotted or masked.

    Dates, amounts of money, virtual accounts and telephone numbers (with `62` in front, after a word such as `hubungi`,
    or of thirteen digits) are not taken. In doubt a number is taken: one too many leaves a reply unmatched, one too few could give it to the
    wrong card.
    """
    return [found for stretch in _stretches(text, _blanked(text)) for found in stretch]


def fits(masked: str, value: str) -> bool:
    """True if a number found in a text, masked or in full, may be this one. Stars stand for at least one character each
    run; their count only matters where both are equally long."""
    if "*" not in masked:
        return masked == value
    if len(masked) == len(value):
        return all(m in ("*", v) for m, v in zip(masked, value, strict=True))
    head, *middle, tail = re.split(r"\*+", masked)
    if len(masked.replace("*", "")) >= len(value) or not value.startswith(head) or not value.endswith(tail):
        return False
    at, end = len(head), len(value) - len(tail)
    for piece in middle:
        at = value.find(piece, at + 1, end)
        if at < 0:
            return False
        at += len(piece)
    return at < end


def mask_text(text: str) -> str:
    """The text with every run of ten or more digits masked like `mask` does, telephone numbers and spaced forms too."""
    out = list(text)
    for groups in _runs(_blanked(text)):
        for stretch in _split(groups, lambda group: len(group[2]) >= 10):
            places = [i for start, end, _ in stretch for i in range(start, end)]
            if len(places) >= 10:
                for i in places[3:-3]:
                    out[i] = "*"
    return "".join(out)


_Group = tuple[int, int, str]


def _blanked(text: str) -> str:
    """The text with dates and amounts made into line ends and masks into stars, every character in its place."""
    out = list(_X_MASK.sub(lambda m: "*" * len(m[0]), text.replace("•", "*")))
    spans = [(d.start, d.end) for d in dates(text)]
    spans += [
        (a.start, a.end)
        for a in amounts(text)
        if a.grouped or sum(map(str.isdigit, text[a.start : a.end])) < 10
    ]
    for start, end in spans:
        out[start:end] = "\n" * (end - start)
    return _LONE_STAR.sub("\n", "".join(out))


def _runs(blanked: str) -> Iterator[list[_Group]]:
    for run in _RUN.finditer(blanked):
        yield [(g.start(), g.end(), g[0].upper()) for g in _GROUPS.finditer(blanked, run.start(), run.end())]


def _split(groups: list[_Group], alone: Callable[[_Group], bool]) -> Iterator[list[_Group]]:
    waiting: list[_Group] = []
    for group in groups:
        if not alone(group):
            waiting.append(group)
            continue
        if waiting:
            yield waiting
            waiting = []
        yield [group]
    if waiting:
        yield waiting


def _kind_of(value: str) -> Kind | None:
    for kind, length in LENGTHS.items():
        if len(value) == length and (value.isdigit() or (kind is Kind.KPJ and _OLD_KPJ.fullmatch(value))):
            return kind
    return None


def _stretches(text: str, blanked: str) -> Iterator[list[Found]]:
    for groups in _runs(blanked):
        for stretch in _split(groups, lambda group: _kind_of(group[2]) is not None):
            yield list(
                _masked(text, stretch) if any("**" in g[2] for g in stretch) else _plain(text, stretch)
            )


def _plain(text: str, groups: list[_Group]) -> Iterator[Found]:
    """The whole stretch if it is one number, else every neighbouring groups that make one."""
    whole = "".join(g[2] for g in groups)
    if (kind := _kind_of(whole)) is not None:
        yield from _found(text, groups, whole, frozenset({kind}))
        return
    longest = max(LENGTHS.values())
    for first in range(len(groups)):
        value = ""
        for last in range(first, len(groups)):
            value += groups[last][2]
            if len(value) > longest:
                break
            if (kind := _kind_of(value)) is not None:
                yield from _found(text, groups[first : last + 1], value, frozenset({kind}))


def _masked(text: str, groups: list[_Group]) -> Iterator[Found]:
    """The whole stretch if it is as long as a number, else groups that touch each other with a star."""
    if sum(len(g[2]) for g in groups) in LENGTHS.values():
        pieces = [groups]
    else:
        pieces = [[groups[0]]]
        for before, group in pairwise(groups):
            if before[2].endswith("*") or group[2].startswith("*"):
                pieces[-1].append(group)
            else:
                pieces.append([group])
    for piece in pieces:
        value = "".join(g[2] for g in piece)
        if "**" not in value:
            yield from _plain(text, piece)
            continue
        shown = value.replace("*", "")
        if len(value) < _SMALLEST_MASKED or len(shown) < _SMALLEST_VISIBLE:
            continue
        kinds = frozenset(
            k for k, length in LENGTHS.items() if len(shown) < length and (k is Kind.KPJ or shown.isdigit())
        )
        yield from _found(text, piece, value, kinds)


def _found(text: str, groups: list[_Group], value: str, kinds: frozenset[Kind]) -> Iterator[Found]:
    start, end = groups[0][0], groups[-1][1]
    before = text[max(0, start - _LABEL_REACH) : start]
    masked = "*" in value
    telephone = masked or phone_number(value) is not None
    if telephone and (before.endswith("+") or _PHONE_LABEL.search(before)):
        return
    if _ACCOUNT_LABEL.search(before):
        return
    said = next((known for label, known in _LABELS if label.search(before)), None)
    # 08… in eleven digits is as likely a KPJ of 2008; documented card numbers begin with 00.
    if said is None and telephone and not masked and (value.startswith("62") or len(value) == 13):
        return
    if masked and said is not None and kinds & said:
        kinds = kinds & said
    if kinds:
        yield Found(value, kinds, start, end, masked, said is not None and bool(kinds & said))


_NUMERIC_ADDRESS: Final = re.compile(r"\+?[0-9\s().\-]*[0-9][0-9\s().\-]*", re.ASCII)
_SHORTEST_NUMBER: Final = 9
"""Digits; shorter addresses are short codes, whatever sign or type of number they come with."""
_MOBILE: Final = re.compile(r"\+628[1-9][0-9]{7,10}", re.ASCII)
"""Prefix 08 and nine to twelve digits behind the country code: the Indonesian numbering plan's mobile numbers."""


def normalise_address(text: str) -> str:
    """One form for every way an address is written: `+6287775500400`, `2757`, `BPJSKES`.

    A national number gets +62, a short code loses its `+`, a name is upper-cased.
    """
    text = text.strip()
    if not _NUMERIC_ADDRESS.fullmatch(text):
        return text.upper()
    digits = re.sub(r"[^0-9]", "", text)
    if len(digits) < _SHORTEST_NUMBER:
        return digits
    if digits.startswith("00"):
        return "+" + digits[2:]
    return "+62" + digits[1:] if digits.startswith("0") else "+" + digits


def phone_number(text: str) -> str | None:
    """The Indonesian mobile number as E.164, or None for anything else: short codes, names, foreign and fixed lines."""
    address = normalise_address(text)
    return address if _MOBILE.fullmatch(address) else None
