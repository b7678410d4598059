"""People with phones: what they may text our SIM, and the one SMS of at most 160 GSM-7 characters that they get back."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from app.domain.errors import Invalid
from app.domain.identifiers import LENGTHS, mask, phone_number
from app.domain.services import Catalogue, Rendered, Service, parts_of
from app.domain.states import Outcome, State
from app.store import checks, phones
from app.store.engine import Tx
from app.store.phones import DueAnswer
from app.store.questions import Ask, accept

DAY = timedelta(days=1)
PRIORITY = 2  # a person waits
STALE = timedelta(days=1)  # a question not sent for so long is of no use to somebody with a phone
LONGEST = 160  # characters of one GSM-7 SMS (3GPP TS 23.040 §9.2.3.24.1)
_DATE = re.compile(r"[0-9]{4}-[0-9]{2}(?:-[0-9]{2})?")
_SEPARATORS = re.compile(r"[\s.,:;#*/_-]+")


@dataclass(frozen=True, slots=True)
class Asked:
    """What a text asks: a service and its rendered request; `request` is None where the number does not fit."""

    service: Service
    request: Rendered | None


def understand(text: str, catalogue: Catalogue) -> Asked | None:
    """`SALDO 99012345678`, `cek.status#0009…`: a service's phone words and a number, with any separators, in any case.

    None if no service's words begin the text. Of several services with the same words the one that takes the number.
    """
    tokens = [token for token in _SEPARATORS.split(text.upper()) if token]
    best: Asked | None = None
    longest = 0
    for service in catalogue:
        if not service.enabled or len(service.fields) != 1:
            continue
        for words in service.phone:
            keys = words.upper().split()
            if tokens[: len(keys)] != keys or len(keys) < longest:
                continue
            try:
                request = service.render({service.subject_field.name: "".join(tokens[len(keys) :])})
            except Invalid:
                request = None
            if len(keys) > longest or best is None or (best.request is None and request is not None):
                best, longest = Asked(service, request), len(keys)
    return best


def fit(pieces: list[str]) -> str:
    """As many pieces as one GSM-7 SMS holds, in order; what GSM-7 lacks is written without its marks."""
    plain = [_gsm7(piece) for piece in pieces]
    text = ""
    for piece in plain:
        longer = f"{text} {piece}".strip()
        if len(longer) <= LONGEST and parts_of(longer) == 1:
            text = longer
    if text:
        return text
    text = next((piece for piece in plain if piece), "")[:LONGEST]
    while parts_of(text) > 1:  # characters that count twice
        text = text[:-1]
    return text


def _gsm7(text: str) -> str:
    out = []
    for char in " ".join(text.split()):
        plain = unicodedata.normalize("NFKD", char).encode("ascii", "ignore").decode().replace("`", "'")
        out.append(plain if plain.isprintable() and plain else "?")
    return "".join(out)


class PhoneDesk:
    """Takes phones' texts inside the message's own transaction, and words what they get back."""

    def __init__(self, catalogue: Catalogue, *, open_to_all: bool, per_day: int) -> None:
        self._catalogue = catalogue
        self._open = open_to_all
        self._per_day = per_day

    def take(
        self, tx: Tx, *, message_id: str, sender: str, body: str, sim_id: str, now: datetime
    ) -> str | None:
        """Enter a text from a mobile number as an ask; None for short codes and names, which never get an answer."""
        number = phone_number(sender)
        if number is None:
            return None
        phone = phones.find(tx, number)
        if phone is None and not self._open:
            return "not_let_in"
        if phone is None:
            phones.enter(tx, number, now=now)
            phone = phones.find(tx, number)
        assert phone is not None
        if not (phone.allowed or self._open) or phone.opted_out:
            return "not_let_in"
        enter: Callable[..., str] = lambda **more: phones.add_ask(  # noqa: E731
            tx, phone_id=phone.id, message_id=message_id, sim_id=sim_id, now=now, **more
        )
        if phones.asks_since(tx, phone.id, now - DAY) >= self._per_day:
            if phones.asks_since(tx, phone.id, now - DAY, "limit"):
                return "silent"
            enter(says="limit")
            return "limit"
        asked = understand(body, self._catalogue)
        if asked is None and phones.asks_since(tx, phone.id, now - DAY, "format"):
            return "silent"
        if asked is None or asked.request is None:
            enter(says="format")
            return "format"
        (accepted,) = accept(
            tx,
            [Ask.of(asked.service, asked.request)],
            client="phone",
            origin="phone",
            now=now,
            priority=PRIORITY,
            expires_in=STALE,
        )
        enter(check_id=accepted.check_id)
        return "asked"

    def words(self, tx: Tx, answer: DueAnswer, now: datetime) -> str:
        """The one SMS of an answer that is due."""
        indonesian = answer.language != "en"
        if answer.says == "limit":
            return fit([_LIMIT[indonesian].format(count=self._per_day)])
        if answer.says == "format" or answer.check_id is None:
            return self._format(indonesian)
        view = checks.get_check(tx, answer.check_id, None)
        service = self._catalogue[view.service]
        field = service.subject_field
        card = (
            f"{field.label.id if indonesian else field.label.en} {mask(field.kind, view.fields[field.name])}"
        )
        return fit(word_answer(view, card, indonesian, late=answer.says == "late"))

    def _format(self, indonesian: bool) -> str:
        ways = []
        for service in self._catalogue:
            if service.phone and service.enabled and len(service.fields) == 1:
                field = service.subject_field
                label = field.label.id if indonesian else field.label.en
                label = label[:1].lower() + label[1:] if label[1:2].islower() else label
                digits = f"({LENGTHS[field.kind]} {'angka' if indonesian else 'digits'})"
                ways.append(f"{service.phone[0]} {label} {digits}")
        joiner = " atau " if indonesian else " or "
        return fit([("Format: ketik " if indonesian else "Format: text ") + joiner.join(ways) + "."])


_LIMIT = {
    True: "Anda sudah bertanya {count} kali dalam 24 jam. Silakan coba lagi besok.",
    False: "You have asked {count} times within 24 hours. Please try again tomorrow.",
}
_SAID: dict[Outcome, tuple[str, str]] = {
    Outcome.NOT_FOUND: (
        "tidak ditemukan oleh BPJS. Periksa lagi nomornya.",
        "was not found by BPJS. Please check the digits.",
    ),
    Outcome.REJECTED: (
        "ditolak oleh layanan SMS BPJS. Periksa lagi nomornya.",
        "was rejected by the BPJS SMS service. Please check the number.",
    ),
    Outcome.UNAVAILABLE: (
        "belum bisa dicek, layanan BPJS sedang sibuk. Coba lagi nanti.",
        "could not be checked, the BPJS service is busy. Please try later.",
    ),
    Outcome.UNRECOGNISED: (
        "sudah dijawab BPJS, tetapi kalimatnya belum kami kenal. Silakan hubungi petugas.",
        "was answered by BPJS in words we do not know yet. Please ask the staff.",
    ),
}
_NONE = (
    "belum dijawab BPJS. Kalau jawabannya datang, kami kirimkan.",
    "has not been answered by BPJS. If the answer comes, we send it on.",
)
_UNSENT = ("tidak dapat ditanyakan saat ini. Coba lagi nanti.", "could not be asked. Please try later.")
_STATUS = {
    "active": ("AKTIF", "ACTIVE"),
    "inactive": ("TIDAK AKTIF", "INACTIVE"),
    "suspended": ("DITANGGUHKAN", "SUSPENDED"),
}


def word_answer(view: checks.CheckView, card: str, indonesian: bool, *, late: bool) -> list[str]:
    """What an answer says, most important first: `fit` cuts it to one SMS."""
    tongue = 0 if indonesian else 1
    head = (("Jawaban susulan: ", "Late answer: ")[tongue] if late else "") + card
    if view.state is not State.ANSWERED:
        unsent = view.state in (State.FAILED, State.EXPIRED, State.CANCELLED)
        return [f"{head} {(_UNSENT if unsent else _NONE)[tongue]}"]
    outcome = Outcome(view.outcome or Outcome.UNRECOGNISED)
    if outcome is not Outcome.FOUND:
        return [f"{head} {_SAID.get(outcome, _SAID[Outcome.UNRECOGNISED])[tongue]}"]
    return [f"{head}:", *_facts(view.record or {}, tongue)]


def _facts(record: dict[str, Any], tongue: int) -> list[str]:
    facts = []
    if status := record.get("status"):
        facts.append(_STATUS[status][tongue] if status in _STATUS else str(record.get("status_text", status)))
    for member, label in (
        ("balance", ("saldo", "balance")),
        ("bill", ("tagihan", "bill")),
        ("arrears", ("tunggakan", "arrears")),
    ):
        if member in record:
            facts.append(f"{label[tongue]} {rupiah(record[member])}")
    if len(cards := record.get("cards", [])) > 1:
        facts.extend(
            f"..{str(one['kpj'])[-3:]} {rupiah(one['balance'])}" for one in cards if "balance" in one
        )
    for member, said in (
        ("as_of", ("per {}", "as of {}")),
        ("class", ("kelas {}", "class {}")),
        ("name", ("a.n. {}", "name {}")),
        ("active_until", ("aktif s.d. {}", "active until {}")),
        ("arrears_months", ("menunggak {} bulan", "{} months due")),
        ("clinic", ("faskes {}", "clinic {}")),
    ):
        if member in record:
            facts.append(said[tongue].format(_day_first(record[member])))
    return [f"{fact}," for fact in facts[:-1]] + [f"{fact}." for fact in facts[-1:]]


def _day_first(value: object) -> str:
    """`2026-10-31` as people write it, `31-10-2026`; what is no date stays as it is."""
    text = str(value)
    return "-".join(reversed(text.split("-"))) if _DATE.fullmatch(text) else text


def rupiah(amount: int) -> str:
    """`Rp12.345.678`."""
    return "Rp" + f"{amount:,}".replace(",", ".")
