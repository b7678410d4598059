"""Files of cards: what offices send, what comes back, and the sentence for what cannot be read."""

from __future__ import annotations

import csv
import io
import zipfile
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.errors import GatewayError
from app.domain.services import Rendered, Service, parse_service
from app.faces.files import (
    Answer,
    Layout,
    Sheet,
    answer_columns,
    disarm,
    read_csv,
    read_row,
    reference_of,
    write_csv,
)

SERVICE_FILE = """
name = "bpjstk-balance"
agency = "bpjs-ketenagakerjaan"
title = { id = "Saldo JHT", en = "JHT balance" }
address = "2757"
senders = ["2757"]
conversation = "2757"
provenance = { trust = "seed", source = "a test", checked = 2026-11-23 }
[request]
text = "BALANCE#{kpj}#"
[fields.kpj]
kind = "kpj"
label = { id = "Nomor KPJ", en = "KPJ number" }
subject = true
[price]
request = 350
[[replies]]
name = "balance"
outcome = "found"
require = ["balance"]
pattern = '(?i)saldo.*?rp\\.?\\s*(?P<balance>[\\d.]+)'
[[examples]]
reply = "balance"
text = "Saldo JHT KPJ 99012345678 per 31-10-2026 Rp 12.345.678"
record = { kpj = "99012345678", balance = 12345678, as_of = "2026-10-31" }
"""
SERVICE = parse_service(SERVICE_FILE, "a test")
CARD = "99012345678"


def cells_of(sheet: Sheet) -> list[list[str]]:
    return [cells for _, cells in sheet.rows]


GOOD = [
    ("utf-8", b"kpj,nama\n99012345678,Ani\n", ",", "utf-8", "\n", 0, "Ani"),
    ("a BOM", b"\xef\xbb\xbfkpj;nama\r\n99012345678;Ani\r\n", ";", "utf-8", "\r\n", 0, "Ani"),
    (
        "Windows-1252",
        b"nama;Nomor KPJ\r\nAndr\xe9 \x96 1;99012345678\r\n",
        ";",
        "cp1252",
        "\r\n",
        1,
        "André – 1",
    ),
    ("Latin-1", b"nama;No. KPJ\nAndr\xe9\x81;99012345678\n", ";", "latin-1", "\n", 1, "André\x81"),
    ("tabs", b"No\tKPJ NUMBER\n1\t99012345678\n", "\t", "utf-8", "\n", 1, "1"),
    ("bars", b"kpj|nama\n99012345678|Ani, Budi\n", "|", "utf-8", "\n", 0, "Ani, Budi"),
    ("quoted line ends", b'kpj,nama\n99012345678,"Ani\n""x"", y"\n', ",", "utf-8", "\n", 0, 'Ani\n"x", y'),
    ("a heading with commas", b'no kpj;"a, b, c"\n99012345678;Ani\n', ";", "utf-8", "\n", 0, "Ani"),
    ("old line ends", b"kpj,nama\r99012345678,Ani\r", ",", "utf-8", "\r", 0, "Ani"),
]


@pytest.mark.parametrize(
    ("data", "separator", "encoding", "newline", "at", "other"),
    [case[1:] for case in GOOD],
    ids=[case[0] for case in GOOD],
)
def test_reads_what_spreadsheets_write(
    data: bytes, separator: str, encoding: str, newline: str, at: int, other: str
) -> None:
    sheet = read_csv(data, SERVICE)
    assert (sheet.layout.separator, sheet.layout.encoding, sheet.layout.newline) == (
        separator,
        encoding,
        newline,
    )
    assert sheet.layout.columns == {"kpj": at}
    [(number, cells)] = sheet.rows
    assert (number, cells[at], cells[1 - at]) == (2, CARD, other)
    assert sheet.layout.bom == data.startswith(b"\xef\xbb\xbf")
    assert Layout.from_dict(sheet.layout.as_dict()) == sheet.layout


def test_one_column_needs_no_separator() -> None:
    sheet = read_csv(b"kpj\n99012345678\n99012345679\n", SERVICE)
    assert cells_of(sheet) == [[CARD], ["99012345679"]]
    assert sheet.layout.columns == {"kpj": 0}


def test_row_numbers_are_those_of_the_file() -> None:
    sheet = read_csv(b'kpj,x\n\n99012345678,"a\nb"\n,\n99012345679,c\n\n', SERVICE)
    assert [number for number, _ in sheet.rows] == [3, 5]


def test_a_row_longer_than_the_heading_loses_nothing() -> None:
    sheet = read_csv(b"kpj,x\n99012345678,a,b,c\n99012345679\n", SERVICE)
    assert sheet.heading == ["kpj", "x", "", ""]
    out = written(sheet, [Answer("queued", None, {}, None)] * 2)
    assert out[1][:4] == [CARD, "a", "b", "c"]
    assert out[2][:4] == ["99012345679", "", "", ""]
    assert [line[4] for line in out] == ["state", "queued", "queued"]


def test_the_column_can_be_named_or_counted() -> None:
    data = b"lama,baru,referensi\n1,99012345678,gaji-7\n"
    for column in ("baru", " BARU ", "2"):
        sheet = read_csv(data, SERVICE, column)
        assert sheet.layout.columns == {"kpj": 1, "reference": 2}
        assert reference_of(sheet.layout.columns, sheet.rows[0][1]) == "gaji-7"


def zipped() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("xl/workbook.xml", "<x/>")
    return buffer.getvalue()


BAD = [
    ("empty", b"", None, "malformed", "is empty"),
    ("blank", b"\xef\xbb\xbf \r\n\r\n", None, "malformed", "is empty"),
    ("xlsx", zipped(), None, "unsupported_type", "XLSX"),
    ("pdf", b"%PDF-1.7 \n", None, "unsupported_type", "a PDF"),
    ("zero bytes", b"kpj\n9901\x002345678\n", None, "unsupported_type", "binary"),
    ("utf-16", "kpj\n99012345678\n".encode("utf-16"), None, "unsupported_type", "UTF-16"),
    ("only a heading", b"kpj,nama\n\n", None, "invalid", "no row under it"),
    ("no column", b"nama,kpjs\nAni,99012345678\n", None, "invalid", 'The nearest is "kpjs". Name the column so or say which'),
    ("no such column", b"nama,nomer\nAni,1\n", "nomor", "invalid", 'Did you mean "nomer"? Its columns are "nama", "nomer"'),
    ("counted beyond", b"nama,nomer\nAni,1\n", "3", "invalid", 'no column "3"'),
    ("no heading", b"99012345678,Ani\n99012345679,Budi\n", None, "invalid", "Row 1 holds a number"),
    ("no heading, counted", b"99012345678,Ani\n99012345679,Budi\n", "1", "invalid", "Row 1 holds a number"),
    ("empty first row", b"\nkpj\n99012345678\n", None, "invalid", "Row 1 is empty"),
    ("open quotation mark", b'kpj,x\n99012345678,a\n99012345679,"b\n99012345670,c\n', None, "malformed", "Row 3"),
    ("open from the start", b'"kpj\n99012345678\n', None, "malformed", "Row 1"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("data", "column", "code", "said"), [case[1:] for case in BAD], ids=[case[0] for case in BAD]
)
def test_says_what_is_wrong_with_the_file(data: bytes, column: str | None, code: str, said: str) -> None:
    with pytest.raises(GatewayError) as caught:
        read_csv(data, SERVICE, column)
    assert caught.value.code == code
    assert said in caught.value.detail
    assert CARD not in caught.value.detail


ROWS = [
    ("99012345678", None, ""),
    (" 9901 2345.678 ", None, ""),
    ("'99012345678", None, ""),
    ("9.9E+10", "spreadsheet_number", "format the column as text"),
    ("9,90123E+10", "spreadsheet_number", "format the column as text"),
    ("9901234567.0", "spreadsheet_number", "format the column as text"),
    ("1234567890", "wrong_length", "drops zeros at the front"),
    ("990123456789", "wrong_length", "has 11 digits, this has 12"),
    ("9901234567O", "wrong_character", 'letter "O"'),
    ("", "empty", "is empty"),
    (None, "empty", "is empty"),
]


@pytest.mark.parametrize(("cell", "code", "said"), ROWS)
def test_a_row_is_a_request_or_a_fault(cell: str | None, code: str | None, said: str) -> None:
    found = read_row(SERVICE, {"kpj": 1}, 7, ["Ani"] if cell is None else ["Ani", cell])
    if code is None:
        assert isinstance(found, Rendered)
        assert found.text == f"BALANCE#{CARD}#"
    else:
        assert isinstance(found, dict)
        assert (found["row"], found["code"]) == (7, code)
        assert said in found["detail"]
    assert ("drops zeros" in str(found)) == (cell == "1234567890")


def test_a_reference_has_a_length_and_no_control_characters() -> None:
    columns = {"kpj": 0, "reference": 1}
    assert isinstance(read_row(SERVICE, columns, 2, [CARD, " x" * 100]), Rendered)
    for reference in ("x" * 201, "a\nb"):
        found = read_row(SERVICE, columns, 2, [CARD, reference])
        assert isinstance(found, dict)
        assert found["code"] == "wrong_reference"


@pytest.mark.parametrize(
    ("cell", "safe"),
    [
        ("=1+1", "'=1+1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("+cmd|' /C calc'!A0", "'+cmd|' /C calc'!A0"),
        ("-2+3", "'-2+3"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("＝1", "'＝1"),
        ("-12.345,00", "-12.345,00"),
        ("-5", "-5"),
        ("+6299", "+6299"),
        ("99012345678", "99012345678"),
        ("a=b", "a=b"),
        ("", ""),
    ],
)
def test_a_cell_that_would_run_is_disarmed(cell: str, safe: str) -> None:
    assert disarm(cell) == safe


def written(sheet: Sheet, answers: list[Answer], service: Service = SERVICE) -> list[list[str]]:
    data = b"".join(
        write_csv(
            sheet.heading,
            sheet.layout,
            answer_columns(service),
            zip((cells for _, cells in sheet.rows), answers, strict=True),
        )
    )
    text = data.decode("utf-8-sig" if sheet.layout.bom else sheet.layout.encoding)
    return list(csv.reader(io.StringIO(text, newline=""), delimiter=sheet.layout.separator))


def test_the_answers_stand_behind_the_rows() -> None:
    sheet = read_csv(b"\xef\xbb\xbfnama;kpj;=x\r\nAni;99012345678;-1\r\n=1+1;9.9E+10;\r\n", SERVICE)
    answers = [
        Answer("answered", "found", {"kpj": "990*****678", "balance": 12345678, "as_of": "2026-10-31"}, None),
        Answer("rejected", None, {}, "=wrong"),
    ]
    data = b"".join(
        write_csv(
            sheet.heading,
            sheet.layout,
            answer_columns(SERVICE, {"cards"}),
            zip((cells for _, cells in sheet.rows), answers, strict=True),
        )
    )
    assert data.startswith(b"\xef\xbb\xbfnama;kpj;'=x;state;outcome;kpj;balance;as_of;cards;error\r\n")
    assert data.endswith(
        b"Ani;99012345678;-1;answered;found;990*****678;12345678;2026-10-31;;\r\n"
        b"'=1+1;9.9E+10;;rejected;;;;;;'=wrong\r\n"
    )


def test_several_cards_are_one_cell_of_json() -> None:
    sheet = read_csv(b"kpj\n99012345678\n", SERVICE)
    cards = [{"kpj": "990*****678", "balance": 5}]
    data = b"".join(
        write_csv(
            ["kpj"], sheet.layout, ["cards"], [([CARD], Answer("answered", "found", {"cards": cards}, None))]
        )
    )
    assert list(csv.reader(io.StringIO(data.decode())))[1] == [CARD, '[{"kpj": "990*****678", "balance": 5}]']


def test_a_letter_that_the_encoding_lacks_is_told_as_such() -> None:
    sheet = read_csv(b"kpj,nama\n99012345678,Andr\xe9\n", SERVICE)
    [line] = list(write_csv(["kpj"], sheet.layout, ["error"], []))
    assert line == b"kpj,error\n"
    out = written(sheet, [Answer("failed", None, {}, "Ω")])
    assert out[1][1] == "André"
    assert out[1][-1] == "?"


cell_text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=12)


@settings(max_examples=150, deadline=None)
@given(
    st.lists(st.tuples(cell_text, cell_text), min_size=1, max_size=8),
    st.sampled_from([",", ";", "\t", "|"]),
    st.sampled_from(["\r\n", "\n"]),
    st.booleans(),
    st.sampled_from([csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC]),
)
def test_rows_come_back_in_order_and_untouched(
    others: list[tuple[str, str]], separator: str, newline: str, bom: bool, quoting: Literal[1, 2]
) -> None:
    given_rows = [[left, f"99{number:09d}", right] for number, (left, right) in enumerate(others)]
    buffer = io.StringIO(newline="")
    csv.writer(buffer, delimiter=separator, lineterminator=newline, quoting=quoting).writerows(
        [["nama", "kpj", "catatan"], *given_rows]
    )
    data = (b"\xef\xbb\xbf" if bom else b"") + buffer.getvalue().encode()
    sheet = read_csv(data, SERVICE)
    assert sheet.layout.separator == separator
    assert cells_of(sheet) == given_rows
    out = written(sheet, [Answer("queued", None, {}, None)] * len(given_rows))
    assert [line[:3] for line in out[1:]] == [[disarm(cell) for cell in cells] for cells in given_rows]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode), st.none() | st.text(max_size=5))
def test_any_bytes_give_a_sheet_or_a_sentence(data: bytes, column: str | None) -> None:
    try:
        sheet = read_csv(b"kpj," + data, SERVICE, column)
    except GatewayError as error:
        sheet, code = None, error.code
    if sheet is None:
        assert code in ("malformed", "unsupported_type", "invalid")
        return
    assert all(len(cells) <= len(sheet.heading) for _, cells in sheet.rows)
    for number, cells in sheet.rows:
        assert isinstance(read_row(SERVICE, sheet.layout.columns, number, cells), Rendered | dict)
