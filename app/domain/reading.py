"""A reply's text made an outcome and a record. Total: a text that no pattern reads is `unrecognised`, never an error.

A service's file says by its patterns what a text is; identifiers, dates, amounts, status, class and names beside
them are read here, by kind, the same for every service.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any, Final

from app.domain.identifiers import Found, Kind, find, fits, phone_number
from app.domain.quantities import Amount, When, amounts, dates
from app.domain.services import RECORD_FIELDS, Service
from app.domain.states import Outcome

_FLAGS: Final = re.IGNORECASE | re.ASCII
LONGEST: Final = 4000
"""Characters. A reply is a few SMS; a file's own patterns are not let loose on more."""

READ: Final = frozenset({Outcome.FOUND, Outcome.NOT_FOUND, Outcome.REJECTED, Outcome.UNAVAILABLE})
"""Outcomes that answer a question."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a text means for one service: `reply` is the wording that read it, `names` every number in it.

    `record` holds JSON values (dates as `2026-10-31` or `2026-10`) and is empty unless the outcome is `found`.
    """

    outcome: Outcome
    record: dict[str, Any]
    reply: str | None
    names: list[Found]

    @property
    def answers(self) -> bool:
        """True if the text was read and answers a question."""
        return self.outcome in READ


def read(service: Service, text: str) -> Reading:
    """The first of the service's wordings that fits the text and whose required members it holds; else `unrecognised`."""
    names = find(text)
    if len(text) > LONGEST:
        return Reading(Outcome.UNRECOGNISED, {}, None, names)
    kind = service.subject_field.kind
    named = any(kind in found.kinds for found in names)
    common: dict[str, Any] | None = None
    for reply in service.replies:
        if reply.echo and not named:
            continue
        match = reply.search(text)
        if match is None:
            continue
        record: dict[str, Any] = {}
        if reply.outcome is Outcome.FOUND or reply.require:
            common = _record(text, names) if common is None else common
            record = {**common, **_captured(match)}
        if all(_holds(record, member) for member in reply.require):
            return Reading(reply.outcome, record if reply.outcome is Outcome.FOUND else {}, reply.name, names)
    return Reading(Outcome.UNRECOGNISED, {}, None, names)


def _holds(record: dict[str, Any], member: str) -> bool:
    return member in record or any(member in card for card in record.get("cards", ()))


def _captured(match: re.Match[str]) -> dict[str, Any]:
    """What the pattern itself captured, read by the member's type; what cannot be read is left to the common layer."""
    record: dict[str, Any] = {}
    for member, raw in match.groupdict().items():
        value = _typed(member, raw.strip()) if raw else None
        if value is not None:
            record[member] = value
            if member == "status":
                record["status_text"] = raw.strip()
    return record


def _typed(member: str, raw: str) -> Any:
    match RECORD_FIELDS[member]:
        case "money":
            # The place of the amount is the pattern's word; a bare "12.345.678" is money there.
            read_amounts = amounts(raw) or amounts("Rp " + raw.rstrip(".,"))
            whole = len(read_amounts) == 1 and not raw[read_amounts[0].end :].strip(" .,")
            return read_amounts[0].value if whole else None
        case "date":
            found = dates(raw)
            return found[0].value if len(found) == 1 else None
        case "count":
            return int(raw) if raw.isascii() and raw.isdigit() and len(raw) < 5 else None
        case "class":
            return _CLASSES.get(raw.upper())
        case "status":
            statuses = _statuses(f"status {raw}", sure=True)
            return statuses[0][0] if len(statuses) == 1 else "unknown"
        case "number":
            numbers = [f.value for f in find(raw) if member in f.kinds]
            return numbers[0] if len(numbers) == 1 else None
        case "text":
            return raw or None


def _record(text: str, names: list[Found]) -> dict[str, Any]:
    record: dict[str, Any] = {}
    several = False
    for kind in Kind:
        numbers = _numbers(names, kind)
        if len(numbers) == 1:
            record[kind.value] = numbers.pop()
        several = several or len(numbers) > 1
    money = _money(text)
    if several:
        # What is said beside several numbers of one kind may be said of any of them.
        cards = _cards(text, names, money)
        return {**record, **({"cards": cards, **_dated(text[names[-1].end :])} if cards else {})}
    for member in ("balance", "bill", "arrears"):
        values = {a.value for role, a in money if role == member}
        if len(values) == 1 and (value := values.pop()) is not None:
            record[member] = value
    if "arrears" not in record and _NO_ARREARS.search(text):
        record["arrears"] = 0
    months = {match[1] or match[2] for match in _ARREARS_MONTHS.finditer(text)}
    if len(months) == 1:
        record["arrears_months"] = int(months.pop())
    classes = {_CLASSES[match[1].upper()] for match in _CLASS.finditer(text)}
    if len(classes) == 1:
        record["class"] = classes.pop()
    statuses = _statuses(text, sure=bool(names) or "class" in record)
    if len({status for status, _ in statuses}) == 1:
        record["status"], record["status_text"] = statuses[0]
    record.update(_dated(text))
    for member, pattern in _WORDS.items():
        if (said := pattern.search(text)) and (words := said[1].strip(" .:-")):
            record[member] = words
    return record


def _numbers(names: list[Found], kind: Kind) -> set[str]:
    """The numbers of this kind; masked ones only where the text says what they are and no full one is the same card's."""
    full = {
        f.value
        for f in names
        if not f.masked and kind in f.kinds and (f.labelled or phone_number(f.value) is None)
    }
    hidden = [f for f in names if f.masked and f.labelled and kind in f.kinds]
    if not full:
        return {f.value for f in hidden if f.kinds == {kind}}
    return full | {f.value for f in hidden if not any(fits(f.value, other) for other in full)}


_MONEY_ROLES: Final = {
    "other": "iuran terakhir|pembayaran terakhir|denda|biaya|tarif|admin|minimal|minimum|min|maksimal|maksimum|pulsa|bonus"
    "|hadiah|cashback|diskon|klaim|pengembangan|bunga|upah|gaji|santunan|manfaat|dana",
    "sum": "total|jumlah",
    "balance": "saldo|balance",
    "bill": "tagihan|iuran|premi",
    "arrears": "tunggakan|menunggak|tertunggak",
}
_MONEY_WORDS: Final = re.compile(
    r"(?<![a-z])(?:"
    + "|".join(f"(?P<{role}>{words})" for role, words in _MONEY_ROLES.items())
    + r")(?![a-z])",
    _FLAGS,
)
_CLASSES: Final = {"1": "I", "2": "II", "3": "III", "I": "I", "II": "II", "III": "III"}
_CLASS: Final = re.compile(
    r"(?<![a-z])(?:kelas|kls)[ :=.-]{0,3}(?:(?:rawat|perawatan|inap)[ :=.-]{1,3}){0,2}(iii|ii|i|[123])"
    r"(?![a-z0-9])(?![ ]?[/,-][ ]?[i0-9])(?! (?:dan|atau|sampai|s\.?d))",
    _FLAGS,
)
_NO_ARREARS: Final = re.compile(
    r"(?:tidak|tdk|tak)\s+(?:ada|memiliki|punya|mempunyai|terdapat)\s+tunggakan|tunggakan\W{1,3}(?:tidak|tdk)\s+ada",
    _FLAGS,
)
_ARREARS_MONTHS: Final = re.compile(
    r"(?<![a-z])(?:tunggakan|menunggak|nunggak|tertunggak)[^0-9.;\n]{0,20}([0-9]{1,3})\s?(?:bulan|bln)(?![a-z])"
    r"|(?<![0-9.,])([0-9]{1,3})\s?(?:bulan|bln) tunggakan",
    _FLAGS,
)


def _money(text: str) -> list[tuple[str, Amount]]:
    """Every amount with its role: the last word for money before it, which also holds for amounts that follow on.

    A sum (`total`) after amounts is of them all, and nobody's; before any it is the sum of what was said before it.
    """
    words = [(match.start(), str(match.lastgroup)) for match in _MONEY_WORDS.finditer(text)]
    roles: list[tuple[str, Amount]] = []
    said, fresh, at = "other", False, 0
    for amount in amounts(text):
        while at < len(words) and words[at][0] < amount.start:
            if words[at][1] != "sum" or not fresh:
                said, fresh = words[at][1], True
            at += 1
        roles.append((said, amount))
        fresh = False
    return roles


def _cards(text: str, names: list[Found], money: list[tuple[str, Amount]]) -> list[dict[str, Any]]:
    """A balance for each of several KPJ numbers; none at all if one amount could belong to another card."""
    numbers = [f for f in names if Kind.KPJ in f.kinds and (f.labelled or not f.masked)]
    if len({f.value for f in numbers}) < 2:
        return []
    balances = [a for role, a in money if role == "balance"]
    cards: list[dict[str, Any]] = []
    ends = [f.start for f in numbers[1:]] + [len(text)]
    for found, end in zip(numbers, ends, strict=True):
        own = [a.value for a in balances if found.end <= a.start < end]
        if len(own) != 1 or own[0] is None:
            return []
        card: dict[str, Any] = {"kpj": found.value, "balance": own[0]}
        part = text[found.end : end]
        statuses = {status for status, _ in _statuses(part, sure=True)}
        if len(statuses) == 1:
            card["status"] = statuses.pop()
        if "as_of" in (dated := _dated(part)) and end < len(text):
            card["as_of"] = dated["as_of"]
        if employer := _WORDS["employer"].search(part):
            card["employer"] = employer[1].strip(" .:-")
        cards.append(card)
    if len(balances) != len(cards) or len({c["kpj"] for c in cards}) != len(cards):
        return []
    return cards


_STATUS: Final = re.compile(
    r"(?<![a-z])(?:"
    r"(?P<inactive>(?:(?:tidak|tdk|tak|belum|bukan)\s+(?:(?:lagi|peserta|berstatus)\s+){0,3}|non[\s-]{0,2}|in)aktif(?:\s+karena\s+\w{2,20})?"
    r"|di(?:non-?aktifkan)|nonaktif)"
    r"|(?P<suspended>di(?:tangguhkan|blokir|bekukan)|terblokir|tertangguh)"
    r"|(?P<active>(?:masih\s+|masa\s+)?aktif)"
    r")(?![a-z])",
    _FLAGS,
)
_STATUS_LABEL: Final = re.compile(
    r"(?<![a-z])(?:status|kepesertaan|keaktifan|peserta|kartu)(?![a-z])", _FLAGS
)
_HYPOTHETICAL: Final = re.compile(
    r"(?<![a-z])(?:pastikan|agar|supaya|jika|bila|apabila|kalau|apakah|tetap|selalu|aktifkan|khusus|semua|seluruh|para|"
    r"setiap|dapatkan|harus|wajib|segera|ayo|yuk|akan|menjadi|nikmati|terdaftar sebagai)(?![a-z])",
    _FLAGS,
)
_SENTENCE_END: Final = re.compile(r"[!?\n;]|\.(?=\s|$)")
_STATUS_REACH: Final = 200


def _statuses(text: str, *, sure: bool) -> list[tuple[str, str]]:
    """Status words that state something, with their wording: not those of a condition, an appeal or an offer.

    `sure`: the text is about one card anyway; without that only a word with its label (`status`, `peserta`) counts.
    """
    found = []
    for match in _STATUS.finditer(text):
        before = text[max(0, match.start() - _STATUS_REACH) : match.start()]
        *_, sentence = _SENTENCE_END.split(before)
        if _HYPOTHETICAL.search(sentence) or match[0].lower().startswith("masa"):
            continue
        if sure or _STATUS_LABEL.search(sentence):
            found.append((str(match.lastgroup), match[0]))
    return found


_DATE_LABELS: Final = (
    ("birth_date", r"lahir"),
    (
        "last_paid",
        r"(?:iuran|bayar|pembayaran|dibayar|pelunasan)\W{1,2}terakhir|terakhir\W{1,2}(?:bayar|dibayar|iuran)",
    ),
    (
        "active_until",
        r"aktif\W{1,2}(?:s\.?/?d\.?|sampai|hingga|sd)|berlaku\W{1,2}(?:s\.?/?d\.?|sampai|hingga|sd)|masa\W{1,2}(?:aktif|berlaku)",
    ),
    ("as_of", r"per|posisi|s\.?/?d\.?|sd|sampai|hingga|tgl|tanggal|data|update"),
)
_DATE_LABEL: Final = re.compile(
    r"(?<![a-z])(?:" + "|".join(f"(?P<{member}>{words})" for member, words in _DATE_LABELS) + r")(?![a-z])",
    _FLAGS,
)
_DATE_JOIN: Final = re.compile(
    r"[\W_]{0,4}(?:(?:dengan|dgn|tgl|tanggal|bulan|bln|pada|per|s\.?d\.?|sampai|hingga|adalah)[\W_]{1,4}){0,3}",
    _FLAGS,
)
_DATE_REACH: Final = 48


def _dated(text: str) -> dict[str, str]:
    """Dates by the words right before them; one that two different dates claim is left out."""
    claims: dict[str, set[str]] = {}
    for when in dates(text):
        if (member := _date_member(text, when)) is not None:
            claims.setdefault(member, set()).add(when.value)
    return {member: values.pop() for member, values in claims.items() if len(values) == 1}


def _date_member(text: str, when: When) -> str | None:
    first = max(0, when.start - _DATE_REACH)
    for match in _DATE_LABEL.finditer(text, first, when.start):
        if _DATE_JOIN.fullmatch(text, match.end(), when.start):
            member = str(match.lastgroup)
            return None if member == "birth_date" and when.short_year else member
    return None


_STOP: Final = (
    r"(?=\s*(?:[,;\n(]|\.\s|\.?$|(?<![a-z])(?:status|kelas|kls|saldo|no|nik|kpj|noka|nomor|faskes|per|tagihan|tunggakan|"
    r"tgl|peserta|aktif|tidak|non|nonaktif)(?![a-z])|[0-9]))"
)
_WORDS: Final[dict[str, re.Pattern[str]]] = {
    "name": re.compile(
        r"(?<![a-z])(?:nama(?:\s+peserta)?\s?[:=]|nama\s|a\.\s?n\.?\s?:?|a/n|an[. :]|yth\.?)\s?"
        r"(?!(?:bapak|ibu|bpk|sdr|saudara|saudari|peserta|pelanggan|anda|member|sahabat)(?![a-z]))"
        rf"([a-z*][a-z*.' ]{{1,58}}?){_STOP}",
        _FLAGS,
    ),
    "member_type": re.compile(
        r"(?<![a-z])(?:(?:jenis|segmen|kategori)(?:\s+(?:peserta|kepesertaan))?\s?[:=]\s?)?"
        r"(PBI(?:\s?\((?:APBN|APBD)\))?|PBPU(?:\s?BP)?|PPU|PEGAWAI SWASTA|PENERIMA PENSIUN(?: PNS)?|PEKERJA MANDIRI)(?![a-z])",
        _FLAGS,
    ),
    "clinic": re.compile(
        r"(?<![a-z])faskes(?:\s{0,2}(?:tingkat|tk\.?)?\s{0,2}(?:1|I)(?![a-z0-9]))?"
        r"(?:\s{0,2}[:=]\s{0,2}|\s{1,2}(?=(?-i:[A-Z]{2})))([^,;\n]{2,60}?)(?=\s{0,2}(?:[,;\n]|\.\s|\.?$))",
        _FLAGS,
    ),
    "employer": re.compile(
        r"(?<![a-z])(?:perusahaan|pemberi kerja|badan usaha)\s*[:=]\s*([^,;\n]{2,60}?)(?=\s*(?:[,;\n]|\.\s|\.?$))",
        _FLAGS,
    ),
    "programme": re.compile(r"(?<![a-z])program\s*[:=]\s*([a-z0-9 /-]{2,40}?)(?=\s*(?:[,;\n.]|$))", _FLAGS),
}
