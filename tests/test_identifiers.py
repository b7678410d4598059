from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.identifiers import (
    LENGTHS,
    FieldError,
    Kind,
    find,
    fits,
    mask,
    mask_text,
    normalise,
    normalise_address,
    phone_number,
)

KPJ = "99012345678"
CARD = "0009912345678"
NIK = "9901014101900001"


@pytest.mark.parametrize(
    ("kind", "raw", "value"),
    [
        ("kpj", "99012345678", KPJ),
        ("kpj", " 99-0123.45 678 ", KPJ),
        ("kpj", "99z12345678", "99Z12345678"),
        ("kpj", "99E12345678", "99E12345678"),
        ("card_number", "0009 9123 45678", CARD),
        ("card_number", "0009–9123\u00a045678", CARD),
        ("nik", NIK, NIK),
        ("nip", "990101412019000001", "990101412019000001"),
    ],
)
def test_a_number_is_normalised(kind: str, raw: str, value: str) -> None:
    assert normalise(kind, raw) == value


@pytest.mark.parametrize(
    ("kind", "raw", "code", "said"),
    [
        ("kpj", "9901234567", "wrong_length", "has 11 digits, this has 10"),
        ("card_number", KPJ, "wrong_length", "has 13 digits, this has 11"),
        ("card_number", "00099X2345678", "wrong_character", '"X"'),
        ("kpj", "9Z012345678", "wrong_character", '"Z"'),
        ("nik", "99010141０1900001", "wrong_character", '"０"'),
        ("kpj", "99/012345678", "wrong_character", '"/"'),
        ("card_number", "9.9E+10", "spreadsheet_number", "spreadsheet"),
        ("card_number", "9,9e10", "spreadsheet_number", "spreadsheet"),
        ("card_number", "991234567890.0", "spreadsheet_number", "spreadsheet"),
        ("card_number", "   ", "empty", "empty"),
    ],
)
def test_a_wrong_number_is_refused_with_a_sentence(kind: str, raw: str, code: str, said: str) -> None:
    with pytest.raises(FieldError) as refused:
        normalise(kind, raw)
    assert refused.value.code == code
    assert said in refused.value.detail


def test_masks() -> None:
    assert mask("kpj", KPJ) == "990*****678"
    assert mask("card_number", CARD) == "000*******678"
    assert mask("kpj", "12345") == "*****"


@pytest.mark.parametrize(
    ("text", "values"),
    [
        (f"KPJ {KPJ}", {KPJ}),
        (f"KPJ{KPJ}Rp 5", {KPJ}),
        ("99 0123 45678", {KPJ}),
        ("9901.2345.678", {KPJ}),
        ("99-0123-45678,", {KPJ}),
        (f"SALDO*{KPJ}#", {KPJ}),
        (f"STATUS BPKS{CARD}#", {CARD}),
        (f"Kelas 3 {CARD} 2 jiwa", {CARD}),
        ("Kelas 3 0009 9123 45678", {CARD}),
        ("no 99z1 2345 678", {"99Z12345678"}),
        (f"{NIK} dan {CARD}", {NIK, CARD}),
        ("9901 0141 0190 0001", {NIK}),
        (f"1) {KPJ} Rp 12.345.678,00; 2) 99Z12345678", {KPJ, "99Z12345678"}),
        (f"{KPJ} 31-12-2025", {KPJ}),
        ("0009***2345678", {"0009***2345678"}),
        ("kartu 0009 xxxx 45678", {"0009****45678"}),
        ("99******* 78", {"99*******78"}),
        ("saldo 990*****678 2 kartu", {"990*****678"}),
        ("Rp 12.345.678.901", set()),
        ("Rp12345678", set()),
        ("Saldo 12.345.678", set()),
        ("saldo Rp 12.345.678,90 per 31-12-2025 21:55", set()),
        ("2026-10-31 10-2026 31 Des 2025", set()),
        ("Hubungi 08123456789", set()),
        ("WA 0813-8007-0175 atau +62 812 3456 7890", set()),
        ("6281234567890", set()),
        ("0812345678901", set()),
        ("HP 08**-****-123", set()),
        ("No.VA 8888809912345678", set()),
        ("*123*10*1# dan *888#", set()),
        ("2757, 165, 1500400", set()),
        ("2025093010121481030100166095304620436", set()),
        ("", set()),
    ],
)
def test_numbers_are_found(text: str, values: set[str]) -> None:
    assert {found.value for found in find(text)} == values
    assert all(text[f.start : f.end].strip() for f in find(text))


def test_a_number_has_its_kind_and_its_label() -> None:
    by_value = {f.value: f for f in find(f"NIK {NIK}, kartu {CARD}, {KPJ}")}
    assert by_value[NIK].kinds == {Kind.NIK}
    assert by_value[CARD].kinds == {Kind.CARD_NUMBER}
    assert by_value[KPJ].kinds == {Kind.KPJ}
    assert [by_value[v].labelled for v in (NIK, CARD, KPJ)] == [True, True, False]


def test_a_masked_number_may_be_of_any_kind_unless_the_text_says_which() -> None:
    assert find("9901********0001")[0].kinds == {Kind.KPJ, Kind.CARD_NUMBER, Kind.NIK, Kind.NIP}
    assert find("NIK 9901********0001")[0].kinds == {Kind.NIK}


@pytest.mark.parametrize(
    ("masked", "value", "may_be"),
    [
        (KPJ, KPJ, True),
        (KPJ, "99012345679", False),
        ("0009***2345678", CARD, True),
        ("0009***2345678", "0009912345679", False),
        ("0009**345678", CARD, True),
        ("000*******678", CARD, True),
        ("000*******679", CARD, False),
        ("990***678", KPJ, True),
        ("990***123***678", KPJ, False),
        ("990**34**78", KPJ, True),
        ("990**45**78", KPJ, False),
        ("99**34**78", KPJ, True),
        ("99**43**78", KPJ, False),
        ("990123456**78", KPJ, False),
        ("*******678", KPJ, True),
    ],
)
def test_a_masked_number_fits(masked: str, value: str, may_be: bool) -> None:
    assert fits(masked, value) is may_be


@pytest.mark.parametrize(
    ("text", "masked"),
    [
        (
            f"Saldo JHT KPJ {KPJ} per 31-10-2026 Rp 12.345.678",
            "Saldo JHT KPJ 990*****678 per 31-10-2026 Rp 12.345.678",
        ),
        ("99 0123 45678", "99 0*** **678"),
        ("99Z12345678", "99Z*****678"),
        ("Hubungi +6281234567890", "Hubungi +628*******890"),
        ("HP 0812-3456-7890", "HP 081*-****-*890"),
        ("0009***2345678", "000********678"),
        ("rek 12345678901234567890", "rek 123**************890"),
        ("ke 2757 atau 165", "ke 2757 atau 165"),
    ],
)
def test_free_text_is_masked(text: str, masked: str) -> None:
    assert mask_text(text) == masked
    assert mask_text(masked) == masked


@pytest.mark.parametrize(
    ("forms", "one"),
    [
        (
            ["087775500400", "+6287775500400", "6287775500400", "0877-7550-0400", " 0062 87775500400"],
            "+6287775500400",
        ),
        (["2757", "+2757", " 2757 "], "2757"),
        (["BPJSKES", "bpjskes ", "BpjsKes"], "BPJSKES"),
        (["+6591234567", "6591234567"], "+6591234567"),
        (["3"], "3"),
        ([""], ""),
    ],
)
def test_one_form_for_an_address(forms: list[str], one: str) -> None:
    assert {normalise_address(form) for form in forms} == {one}
    assert normalise_address(one) == one


def test_phone_numbers() -> None:
    assert phone_number("0812 3456 789") == "+628123456789"
    assert phone_number("+62 817-0000-0001") == "+6281700000001"
    for other in ("2757", "165", "BPJSKES", "+6591234567", "0215550100", "08123", ""):
        assert phone_number(other) is None


numbers = st.sampled_from(list(Kind)).flatmap(
    lambda kind: st.text("0123456789", min_size=LENGTHS[kind] - 2, max_size=LENGTHS[kind] - 2).map(
        lambda digits: (kind, "99" + digits)
    )
)
around = st.text(st.characters(exclude_characters="0123456789*xX•.,- \u00a0", codec="utf-8"), max_size=12)


@settings(max_examples=150, deadline=None)
@given(numbers, around, around)
def test_a_number_between_any_words_is_found_and_its_mask_fits(
    number: tuple[Kind, str], before: str, after: str
) -> None:
    kind, value = number
    found = find(f"{before} {value}, {after}")
    assert [f.value for f in found if kind in f.kinds] == [value]
    assert fits(mask(kind, value), value)


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=300) | st.text("0123456789*xX. -+ZRp,/", max_size=300))
def test_any_text_is_searched_and_masked(text: str) -> None:
    for found in find(text):
        assert 0 <= found.start < found.end <= len(text)
        assert found.kinds
        assert fits(found.value, found.value) or found.masked
    masked = mask_text(text)
    assert len(masked) == len(text)
    for found in find(text):
        if not found.masked:
            assert found.value not in "".join(c for c in masked.upper() if c.isalnum() or c == "*")
