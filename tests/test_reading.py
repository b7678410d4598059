from __future__ import annotations

import json
from importlib.resources import files
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.quantities import amounts, dates
from app.domain.reading import LONGEST, read
from app.domain.services import RECORD_FIELDS, Catalogue, Service, parse_service
from app.domain.states import Outcome

CATALOGUE = Catalogue.load(files("templates_sms"))
BALANCE = CATALOGUE["bpjstk-balance"]
STATUS = CATALOGUE["bpjskes-status"]
KPJ = "99012345678"
CARD = "0009912345678"


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("Rp 12.345.678", [12345678]),
        ("Rp12345678", [12345678]),
        ("rp. 12.345.678,-", [12345678]),
        ("IDR 12,345,678.00", [12345678]),
        ("Rp 12.345.678,00", [12345678]),
        ("Rp 12.345.678,90", [12345678]),
        ("Rp: 350", [350]),
        ("Rp 0", [0]),
        ("Rp 12.345.678.", [12345678]),
        ("Rp 12.345.678 99012345678", [12345678]),
        ("saldo jht: 12.345.678", [12345678]),
        ("12.345.678,-", [12345678]),
        ("Rp 420.000, denda Rp 0", [420000, 0]),
        ("Rp 12 juta", [None]),
        ("Rp 12,5 jt", [None]),
        ("Rp 12 345 678", [None]),
        ("Rp 12.***.678", [None]),
        ("Rp 25.000-150.000", [None]),
        ("Rp 1234567890123456", [None]),
        ("Rp 12.345.6789", []),
        ("Rp -5.000", []),
        ("-Rp 5.000", []),
        ("Rp ***", []),
        ("Korp 12.000", []),
        ("kartu 12.345.678", []),
        ("31.12.2025", []),
    ],
)
def test_amounts(text: str, values: list[int | None]) -> None:
    assert [amount.value for amount in amounts(text)] == values


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("31-10-2026", ["2026-10-31"]),
        ("1/2/2026", ["2026-02-01"]),
        ("31.10.2026", ["2026-10-31"]),
        ("31-10-26", ["2026-10-31"]),
        ("2026-10-31", ["2026-10-31"]),
        ("31 Des 2025", ["2025-12-31"]),
        ("1 agustus 2026", ["2026-08-01"]),
        ("17-Agt-2026.", ["2026-08-17"]),
        ("Nov 2025", ["2025-11"]),
        ("11/2025", ["2025-11"]),
        ("2025-11", ["2025-11"]),
        ("31/12/2025 21:55", ["2025-12-31"]),
        ("31-02-2026", []),
        ("13-2025", []),
        ("99-01-2345-678", []),
        ("31-10-20267", []),
        ("12 Marah 2025", []),
        ("01-01-0001", []),
        ("Semar 2025", []),
    ],
)
def test_dates(text: str, values: list[str]) -> None:
    assert [when.value for when in dates(text)] == values


@pytest.mark.parametrize(
    ("text", "outcome", "record"),
    [
        (f"SALDO {KPJ} RP 5.000", Outcome.FOUND, {"kpj": KPJ, "balance": 5000}),
        ("Rp 5.000 saldo Anda", Outcome.UNRECOGNISED, {}),
        ("Saldo JHT Anda tersedia di JMO", Outcome.UNRECOGNISED, {}),
        ("Saldo Rp 5 juta", Outcome.UNRECOGNISED, {}),
        ("Saldo pulsa Anda Rp 5.000", Outcome.UNRECOGNISED, {}),
        ("Saldo JHT minimal Rp 10.000", Outcome.UNRECOGNISED, {}),
        ("Saldo Rp 5.000 atau saldo Rp 6.000", Outcome.UNRECOGNISED, {}),
        ("Saldo Rp 5.000 (saldo Rp 5.000)", Outcome.FOUND, {"balance": 5000}),
        ("Saldo JHT total Rp 5.000", Outcome.FOUND, {"balance": 5000}),
        ("Saldo Rp 5.000, iuran Rp 300, denda Rp 1", Outcome.FOUND, {"balance": 5000, "bill": 300}),
        # an amount before its card could be of either
        (f"Saldo: Rp 5.000 KPJ {KPJ}; Rp 6.000 KPJ 99012345679", Outcome.UNRECOGNISED, {}),
        (f"Saldo KPJ {KPJ} dan 99012345679 Rp 5.000", Outcome.UNRECOGNISED, {}),
        # a masked card beside another one in full, and beside itself
        (f"Saldo KPJ 990****3755 Rp 5.000. Perusahaan no. {KPJ}", Outcome.UNRECOGNISED, {}),
        (f"Saldo No Peserta 990****3755 Rp 5.000. Perusahaan no. {KPJ}", Outcome.UNRECOGNISED, {}),
        (
            f"Saldo KPJ 990****5678 Rp 5.000. Permintaan Anda: {KPJ}",
            Outcome.FOUND,
            {"kpj": KPJ, "balance": 5000},
        ),
        (
            f"Saldo KPJ {KPJ} Rp 5.000 posisi 31-12-2025, KPJ 99012345679 Rp 6.000",
            Outcome.FOUND,
            {
                "cards": [
                    {"kpj": KPJ, "balance": 5000, "as_of": "2025-12-31"},
                    {"kpj": "99012345679", "balance": 6000},
                ]
            },
        ),
        ("TIDAK DITEMUKAN", Outcome.NOT_FOUND, {}),
        ("nomor tdk terdaftar", Outcome.NOT_FOUND, {}),
        ("No HP belum terdaftar", Outcome.REJECTED, {}),
        ("salah format", Outcome.REJECTED, {}),
        ("Server terlalu padat", Outcome.UNAVAILABLE, {}),
        ("mohon menunggu", Outcome.INTERIM, {}),
        ("Selamat pagi", Outcome.UNRECOGNISED, {}),
        ("", Outcome.UNRECOGNISED, {}),
    ],
)
def test_a_balance_is_read(text: str, outcome: Outcome, record: dict[str, Any]) -> None:
    reading = read(BALANCE, text)
    assert (reading.outcome, reading.record) == (outcome, record)


@pytest.mark.parametrize(
    ("said", "status"),
    [
        ("AKTIF", "active"),
        ("masih aktif", "active"),
        ("TIDAK AKTIF", "inactive"),
        ("tdk aktif", "inactive"),
        ("NON AKTIF", "inactive"),
        ("non-aktif", "inactive"),
        ("NonAktif", "inactive"),
        ("belum aktif", "inactive"),
        ("tidak lagi aktif", "inactive"),
        ("dinonaktifkan", "inactive"),
        ("ditangguhkan", "suspended"),
        ("diblokir", "suspended"),
    ],
)
def test_a_status_is_read(said: str, status: str) -> None:
    for text in (f"Status: {said}", f"{CARD} {said}", f"Kelas 2 {said}", f"Kepesertaan Anda {said}."):
        record = read(STATUS, text).record
        assert (record["status"], record["status_text"]) == (status, said), text


@pytest.mark.parametrize(
    "text",
    [
        "aktif",
        "Pastikan status kepesertaan JKN Anda aktif",
        "Bayar iuran agar kartu tetap aktif",
        "Khusus peserta aktif: layanan baru",
        "Apakah kartu Anda aktif?",
        "Status: masa aktif",
        "Status AKTIF, status TIDAK AKTIF",
        "Aktifkan kartu Anda. Nikmati layanan",
        f"Kartu {CARD} AKTIF, kartu 0009912345679 belum dicetak",
        f"Kartu 0009***99999 AKTIF, nomor keluarga {CARD}",
    ],
)
def test_a_status_is_not_guessed(text: str) -> None:
    assert "status" not in read(STATUS, text).record
    assert read(STATUS, text).outcome is Outcome.UNRECOGNISED


@pytest.mark.parametrize(
    ("said", "value"),
    [
        ("Kelas 1", "I"),
        ("KELAS: II", "II"),
        ("kls iii", "III"),
        ("Kelas Rawat 3", "III"),
        ("kelas 4", None),
        ("kelas 12", None),
        ("kelas 1 dan 2", None),
        ("Kelas 1, Kelas 2", None),
        ("kelas ibu", None),
    ],
)
def test_a_class_is_read(said: str, value: str | None) -> None:
    assert read(STATUS, f"{CARD} AKTIF {said}").record.get("class") == value


@pytest.mark.parametrize(
    "parts",
    list(permutations([f"No Kartu {CARD}", "TIDAK AKTIF", "Kelas III", "tagihan Rp 42.000", "a.n. SITI"])),
)
def test_the_order_of_the_parts_does_not_matter(parts: tuple[str, ...]) -> None:
    record = read(STATUS, ", ".join(parts)).record
    assert record == {
        "card_number": CARD,
        "status": "inactive",
        "status_text": "TIDAK AKTIF",
        "class": "III",
        "bill": 42000,
        "name": "SITI",
    }


@pytest.mark.parametrize(
    ("said", "member", "value"),
    [
        ("aktif s.d. 31-12-2026", "active_until", "2026-12-31"),
        ("masa berlaku sampai dengan 12/2026", "active_until", "2026-12"),
        ("iuran terakhir Nov 2025", "last_paid", "2025-11"),
        ("tgl lahir 01-01-1990", "birth_date", "1990-01-01"),
        ("tgl lahir 01-01-90", "birth_date", None),
        ("per tgl 31-10-2026", "as_of", "2026-10-31"),
        ("daftar ulang 31-10-2026", "as_of", None),
        ("per 31-10-2026 per 30-10-2026", "as_of", None),
        ("menunggak 4 bulan", "arrears_months", 4),
        ("tidak ada tunggakan", "arrears", 0),
        ("tunggakan 2 bln Rp 84.000", "arrears", 84000),
        ("segmen: PBPU", "member_type", "PBPU"),
        ("Faskes 1: KLINIK CONTOH.", "clinic", "KLINIK CONTOH"),
        ("perusahaan: PT CONTOH JAYA, Jakarta", "employer", "PT CONTOH JAYA"),
        ("program: JHT/JP", "programme", "JHT/JP"),
        ("Nama: SITI CONTOH kelas 2", "name", "SITI CONTOH"),
        ("Yth. Peserta JKN", "name", None),
        ("Anda peserta", "name", None),
        ("NIK 9901014101900001", "nik", "9901014101900001"),
        ("NIP 990101412019000001", "nip", "990101412019000001"),
    ],
)
def test_what_stands_beside_is_read_by_kind(said: str, member: str, value: Any) -> None:
    record = read(STATUS, f"No Kartu {CARD} status AKTIF; {said}").record
    assert record.get(member) == value
    assert record["status"] == "active"


def captured(pattern: str, require: str) -> Service:
    return parse_service(
        f"""
name = "t"
agency = "t"
title = {{ id = "t", en = "t" }}
address = "2757"
senders = ["2757"]
provenance = {{ trust = "seed", source = "t", checked = 2026-11-23 }}
request = {{ text = "T {{kpj}}" }}
fields = {{ kpj = {{ kind = "kpj", label = {{ id = "t", en = "t" }}, subject = true }} }}
[[replies]]
name = "r"
outcome = "found"
require = ["{require}"]
pattern = '''{pattern}'''
""",
        "t.toml",
    )


@pytest.mark.parametrize(
    ("pattern", "text", "member", "value"),
    [
        (r"saldo.*?rp\.?\s*(?P<balance>[\d.]+)", "Saldo lama Rp 9.000. ABC rp 5", "balance", 9000),
        (r"sisa\s(?P<balance>\S+)", "sisa 12.345.678", "balance", 12345678),
        (r"sisa\s(?P<balance>\S+)", "sisa 5juta", "balance", None),
        (r"tgl=(?P<last_paid>\S+)", "tgl=1-2-2026", "last_paid", "2026-02-01"),
        (r"n=(?P<arrears_months>\d+)", "n=3", "arrears_months", 3),
        (r"k=(?P<class>\d)", "k=3", "class", "III"),
        (r"k=(?P<class>\d)", "k=7", "class", None),
        (r"s=(?P<status>\w+)", "s=NONAKTIF", "status", "inactive"),
        (r"s=(?P<status>\w+)", "s=BEKU", "status", "unknown"),
        (r"no=(?P<kpj>\S+)", "no=99012345678", "kpj", "99012345678"),
        (r"pt=(?P<employer>.+)", "pt=CONTOH JAYA ", "employer", "CONTOH JAYA"),
    ],
)
def test_what_a_pattern_captures_is_read_by_its_kind(
    pattern: str, text: str, member: str, value: Any
) -> None:
    reading = read(captured(pattern, member), text)
    if value is None:
        assert (reading.outcome, reading.record) == (Outcome.UNRECOGNISED, {})
    else:
        assert reading.outcome is Outcome.FOUND
        assert reading.record[member] == value


def test_a_text_of_absurd_length_is_unrecognised_but_its_numbers_are_found() -> None:
    reading = read(BALANCE, f"Saldo KPJ {KPJ} Rp 5.000" + " " * LONGEST)
    assert reading.outcome is Outcome.UNRECOGNISED
    assert [f.value for f in reading.names] == [KPJ]


words = st.sampled_from(
    ["saldo", "Rp", "12.345.678", KPJ, CARD, "AKTIF", "tidak", "Kelas", "3", "III", "per", "31-12-2025", "**", "xx", "a.n.",
     "tunggakan", "4", "bulan", "ditemukan", "format", "salah", ",", ".", "\n", ":", "-", "1-1-2", "juta", "Nama", "SITI"]
)  # fmt: skip


@settings(max_examples=200, deadline=None)
@given(
    st.text(max_size=400)
    | st.lists(words, max_size=60).map(" ".join)
    | st.lists(words, max_size=60).map("".join)
)
def test_any_text_is_read(text: str) -> None:
    known = {*RECORD_FIELDS, "status_text", "cards"}
    for service in CATALOGUE:
        reading = read(service, text)
        assert set(reading.record) <= known
        assert json.loads(json.dumps(reading.record)) == reading.record
        assert None not in reading.record.values()
        assert (reading.outcome is Outcome.FOUND) or not reading.record
        if reading.outcome is Outcome.FOUND:
            wanted = next(r for r in service.replies if r.name == reading.reply).require
            assert all(m in reading.record or "cards" in reading.record for m in wanted)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(
        [
            "1 ",
            "x",
            "*",
            "9",
            "Rp ",
            "saldo ",
            "a.n. ",
            "1.234.",
            "1-1-2",
            "aktif s.d. ",
            "9* ",
            "format ",
            "tidak ",
        ]
    ),
    st.text(max_size=5),
)
def test_a_long_monotonous_text_is_read(piece: str, tail: str) -> None:
    text = (piece * 2000)[:2000] + tail
    assert read(STATUS, text).record.get("card_number") is None
