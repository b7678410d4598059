"""USSD strings: the packing with its CR, codings of answers, modems that differ from what they say, and totality."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from smspdudecoder.codecs import GSM

from modem.alphabet import is_gsm7
from modem.ussd import coding_of, decode, encode

ENOUGH = settings(max_examples=200, deadline=None)
ANSWER = "Sisa pulsa Rp5.000 aktif s.d. 31/12/2026.\n1. Cek kuota\n2. Isi ulang"


@pytest.mark.parametrize(
    ("code", "packed"),
    [
        # 3GPP TS 23.038 §6.1.2.3: eight septets fill seven octets.
        ("*123#", "AA986C3602"),
        ("1", "31"),
        ("", ""),
        ("*888*1#", "2A1C0EA78A8D1A"),  # §6.1.2.3.1: seven bits over, a CR fills them
        ("*888*12#", "2A1C0EA78AC946"),  # eight septets: nothing over
        ("1234567\r", "31D98C56B3DD1A0D"),  # a CR that ends on an octet's edge is doubled
    ],
)
def test_packing_with_its_carriage_return(code: str, packed: str) -> None:
    assert encode(code, "packed") == packed
    assert GSM.encode(code, with_padding=True) == packed
    assert decode(packed, 15, "packed").rstrip("\r") == code.rstrip("\r")


@pytest.mark.parametrize(
    ("code", "form", "sent"),
    [("*123#", "text", "*123#"), ("*123#", "ucs2", "002A0031003200330023"), ("😀", "ucs2", "D83DDE00")],
)
def test_the_other_forms(code: str, form: str, sent: str) -> None:
    assert encode(code, form) == sent


@pytest.mark.parametrize(
    ("code", "form"), [("да", "packed"), ("`", "packed"), ("*123#", "hex"), ("*123#", "")]
)
def test_what_cannot_be_sent_is_refused(code: str, form: str) -> None:
    with pytest.raises(ValueError, match=r"USSD string|none of"):
        encode(code, form)


@pytest.mark.parametrize(
    ("dcs", "coding"),
    [
        (0x00, "gsm7"),
        (0x0F, "gsm7"),  # language unspecified, what most networks say
        (0x10, "gsm7"),
        (0x11, "ucs2"),
        (0x12, "gsm7"),  # reserved
        (0x24, "gsm7"),
        (0x30, "gsm7"),
        (0x40, "gsm7"),
        (0x44, "octets"),
        (0x48, "ucs2"),
        (0x4C, "gsm7"),
        (0x58, "ucs2"),
        (0x68, "octets"),  # compressed
        (0x98, "ucs2"),  # with a header
        (0xA0, "gsm7"),
        (0xF0, "gsm7"),
        (0xF4, "octets"),
    ],
)
def test_codings_of_cell_broadcast(dcs: int, coding: str) -> None:
    assert coding_of(dcs) == coding


@pytest.mark.parametrize("form", ["text", "packed", "ucs2"])
@pytest.mark.parametrize("said", [0x0F, 0x00, 0x48, None])
@pytest.mark.parametrize("real", ["text", "packed", "ucs2"])
def test_a_sentence_is_read_whatever_form_and_coding_were_said(
    real: str, said: int | None, form: str
) -> None:
    assert decode(encode(ANSWER, real), said, form) == ANSWER


@pytest.mark.parametrize(
    ("payload", "dcs", "form", "text"),
    [
        ("0412043004480020043104300434", 0x48, "text", "Ваш бад"),
        ("D83DDE000020006F006B", 0x48, "packed", "😀 ok"),
        ("69640048006100690073", 0x11, "ucs2", "Hais"),  # a language in front
        ("E9320D" + "C8309BFD06", 0x00, "text", "E9320DC8309BFD06"),
        ("50756C736120416E6461", 0x44, "packed", "Pulsa Anda"),  # 8-bit
        ("50756C736120416E6461", 0x44, "text", "Pulsa Anda"),
    ],
)
def test_codings_of_answers(payload: str, dcs: int, form: str, text: str) -> None:
    assert decode(payload, dcs, form) == text


def test_a_language_in_front_of_packed_text_is_taken_off() -> None:
    assert decode(encode("id\rSisa pulsa", "packed"), 0x10, "packed") == "Sisa pulsa"
    assert decode(encode("Sisa pulsa", "packed"), 0x10, "packed") == "Sisa pulsa"


@pytest.mark.parametrize(
    "payload",
    [
        "5000",
        "08123456",
        "6287775500400099",
        "0877755004001234",
        "DEADBEEF",
        "CAFE",
        "BABE",
        "Rp 5.000",
        "",
        "5",
    ],
)
def test_plain_answers_that_look_like_hex_stay_on_a_modem_that_gives_text(payload: str) -> None:
    assert decode(payload, 15, "text") == payload
    assert decode(payload, None, "text") == payload


@pytest.mark.parametrize("payload", ["zz", "ABC", "FFFFFF", "D83D", "00" * 40, "\x00", "é"])
@pytest.mark.parametrize("form", ["text", "packed", "ucs2", "no form"])
def test_what_cannot_be_read_comes_back_as_it_was(payload: str, form: str) -> None:
    assert decode(payload, 0x44, form) == payload


@given(
    st.text() | st.binary(max_size=200).map(lambda octets: octets.hex()),
    st.none() | st.integers(0, 255) | st.integers(),
    st.sampled_from(["text", "packed", "ucs2"]),
)
@ENOUGH
def test_anything_gives_text_that_can_be_stored(payload: str, dcs: int | None, form: str) -> None:
    found = decode(payload, dcs, form)
    assert found == payload or found.encode()


@given(
    st.text(alphabet=st.sampled_from("abc @€[]1Ü\n*#"), max_size=180).filter(
        lambda text: not text.endswith("\r")
    )
)
@ENOUGH
def test_packed_text_comes_back(text: str) -> None:
    assert is_gsm7(text)
    packed = encode(text, "packed")
    if not packed.isdecimal():
        assert decode(packed, 15, "packed") == text


@given(st.text(min_size=1, max_size=90).map(lambda text: text.encode("utf-16", "replace").decode("utf-16")))
@ENOUGH
def test_ucs2_text_comes_back(text: str) -> None:
    if "\ufffd" not in text:
        assert decode(encode(text, "ucs2"), 0x48, "ucs2") == text
