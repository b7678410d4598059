"""What breaks decoders, one TPDU a case, put together here bit by bit; and examples that standards publish, with their clause."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from modem.alphabet import BASIC, SEPTETS, pack, septets_of, text_of, unpack
from modem.pdu import Concat, Deliver, PduError, StatusReport, StoredSubmit, decode, join, report_outcome

SENDER = "04817275"  # 2757
STAMP = "62113221000082"
AT = datetime(2026, 11, 23, 5, 0, tzinfo=UTC)


def gsm(text: str, header: str = "") -> str:
    """TP-UDL and TP-UD in hex of GSM-7 text behind a header, packed one bit after the other."""
    head = bytes.fromhex(header)
    bits = [octet >> place & 1 for octet in head for place in range(8)]
    bits += [0] * (-len(bits) % 7)
    for septet in b"".join(SEPTETS[char] if char != "\x1b" else b"\x1b" for char in text):
        bits += [septet >> place & 1 for place in range(7)]
    length = len(bits) // 7
    bits += [0] * (-len(bits) % 8)
    octets = bytes(
        sum(bit << place for place, bit in enumerate(bits[at : at + 8])) for at in range(0, len(bits), 8)
    )
    return f"{length:02X}" + octets.hex()


def raw(octets: str, header: str = "") -> str:
    data = bytes.fromhex(header + octets)
    return f"{len(data):02X}" + data.hex()


def wide(text: str, header: str = "") -> str:
    return raw(text.encode("utf-16-be", "surrogatepass").hex(), header)


def frame(
    user_data: str, *, first: str = "04", sender: str = SENDER, dcs: str = "00", stamp: str = STAMP
) -> str:
    return "00" + first + sender + "00" + dcs + stamp + user_data


HEADED = "44"
PART = "05000307" + "0201"  # part 1 of 2, reference 7, in 8 bits
WIDE_PART = "0608040107" + "0201"  # the same with reference 0x0107

VECTORS: dict[str, tuple[str, dict[str, Any]]] = {
    # Text in the default alphabet
    "plain": (frame(gsm("hello")), {"text": "hello", "sender": "2757", "service_centre_time": AT}),
    "empty": (frame(gsm("")), {"text": "", "data": b""}),
    "160 septets": (frame(gsm("x" * 160)), {"text": "x" * 160}),
    "@ at the end of eight septets": (frame(gsm("1234567@")), {"text": "1234567@"}),
    "@ at the end of 160 septets": (frame(gsm("x" * 159 + "@")), {"text": "x" * 159 + "@"}),
    "seven septets leave seven bits": (frame(gsm("1234567")), {"text": "1234567"}),
    "only @": (frame(gsm("@" * 9)), {"text": "@" * 9}),
    "every character of the table": (
        frame(gsm(BASIC.replace("\x1b", ""))),
        {"text": BASIC.replace("\x1b", "")},
    ),
    "every character of the extension": (frame(gsm("^{}\\[~]|€\f")), {"text": "^{}\\[~]|€\f"}),
    "§, not `": (frame(gsm("§")), {"text": "§", "data": b"\x5f"}),
    "an unknown extension": (frame(gsm("\x1bA")), {"text": "A"}),
    "an escape at the end": (frame(gsm("ab\x1b")), {"text": "ab"}),
    "two escapes": (frame(gsm("a\x1b\x1bb")), {"text": "a b"}),
    # Headers and fill bits
    "8-bit reference": (
        frame(gsm("hello", PART), first=HEADED),
        {"text": "hello", "concat": Concat(7, 8, 2, 1)},
    ),
    "16-bit reference, no fill bit": (
        frame(gsm("Saldo", WIDE_PART), first=HEADED),
        {"text": "Saldo", "concat": Concat(0x0107, 16, 2, 1)},
    ),
    "16-bit reference, full part": (
        frame(gsm("x" * 152, WIDE_PART), first=HEADED),
        {"text": "x" * 152, "concat": Concat(0x0107, 16, 2, 1)},
    ),
    "16-bit ports, no fill bit": (
        frame(gsm("Saldo", "0605040B8423F0"), first=HEADED),
        {"text": "Saldo", "ports": (2948, 9200), "concat": None},
    ),
    "8-bit ports": (frame(gsm("Saldo", "040402F0F1"), first=HEADED), {"text": "Saldo", "ports": (240, 241)}),
    "a header of fourteen octets, no fill bit": (
        frame(gsm("Saldo", "0D" + "05040B8423F0" + "70050102030405"), first=HEADED),
        {"text": "Saldo", "ports": (2948, 9200)},
    ),
    "ports and parts": (
        frame(wide("да", "0B05040B8423F0" + "0003070201"), first=HEADED, dcs="08"),
        {"text": "да", "ports": (2948, 9200), "concat": Concat(7, 8, 2, 1)},
    ),
    "a header of no element": (frame(gsm("hello", "00"), first=HEADED), {"text": "hello", "concat": None}),
    "a header of 139 octets": (
        frame(raw("41", "8A" + "7088" + "00" * 136), first=HEADED, dcs="04"),
        {"data": b"A", "binary": True},
    ),
    "an element cut short": (
        frame(gsm("hello", "0400030702"), first=HEADED),
        {"text": "hello", "concat": None},
    ),
    "one octet of an element": (
        frame(gsm("hello", "06000307020108"), first=HEADED),
        {"text": "hello", "concat": None},
    ),
    "the part beyond the total": (frame(gsm("hello", "050003070203"), first=HEADED), {"concat": None}),
    "part 0": (frame(gsm("hello", "050003070200"), first=HEADED), {"concat": None}),
    "the last of repeated elements": (
        frame(gsm("hello", "0A00030702010003080302"), first=HEADED),
        {"concat": Concat(8, 8, 3, 2)},
    ),
    # National tables
    "Turkish single shift": (
        frame(gsm("ad\x1bg \x1bi", "03240101"), first=HEADED),
        {"text": "adğ ı", "shifts": (0, 1), "language": "tr"},
    ),
    "Turkish locking shift": (
        frame(gsm("ÆæÇ", "03250101"), first=HEADED),
        {"text": "ŞşÇ", "shifts": (1, 0), "language": "tr"},
    ),
    "Spanish single shift": (
        frame(gsm("\x1ba\x1bn", "03240102"), first=HEADED),
        {"text": "án", "language": "es"},
    ),
    "Portuguese tables": (
        frame(gsm("Pulsa n\x1bäo", "06240103250103"), first=HEADED),
        {"text": "Pulsa não", "shifts": (3, 3), "language": "pt"},
    ),
    "a language without a table here": (
        frame(gsm("Saldo", "03250106"), first=HEADED),
        {"text": "Saldo", "shifts": (6, 0), "language": "hi"},
    ),
    "no language at all": (
        frame(gsm("Saldo", "032501FF"), first=HEADED),
        {"text": "Saldo", "shifts": (255, 0), "language": None},
    ),
    # Codings
    "UCS2": (frame(wide("Да"), dcs="08"), {"text": "Да", "message_class": None}),
    "UCS2 flash": (frame(wide("Да"), dcs="18"), {"text": "Да", "message_class": 0}),
    "GSM-7 flash": (frame(gsm("hello"), dcs="F0"), {"text": "hello", "message_class": 0}),
    "GSM-7 for the SIM": (frame(gsm("hello"), dcs="F2"), {"text": "hello", "message_class": 2}),
    "UCS2 to be deleted by itself": (frame(wide("hi"), dcs="48"), {"text": "hi"}),
    "UCS2 of a message waiting": (frame(wide("hi"), dcs="E0"), {"text": "hi"}),
    "UCS2 of a message waiting, active": (frame(wide("hi"), dcs="E8"), {"text": "hi"}),
    "GSM-7 of a message waiting": (frame(gsm("hi"), dcs="C8"), {"text": "hi"}),
    "8-bit of class 0": (frame(raw("FF00"), dcs="F4"), {"text": "", "binary": True, "data": b"\xff\x00"}),
    "8-bit of class 1": (frame(raw("FF00"), dcs="F5"), {"binary": True, "message_class": 1}),
    "8-bit counts its length": (frame("02FF0041", dcs="04"), {"data": b"\xff\x00"}),
    "compressed": (frame(raw("0102"), dcs="20"), {"text": "", "binary": True}),
    "a reserved coding": (frame(gsm("hello"), dcs="B3"), {"text": "hello"}),
    # UCS2 that is UTF-16, or nothing
    "an emoji": (frame(wide("a😀b"), dcs="08"), {"text": "a😀b"}),
    "half a surrogate pair": (frame(wide("a\ud83db"), dcs="08"), {"text": "a\ufffdb"}),
    "half an emoji at the end": (frame(wide("a\ud83d"), dcs="08"), {"text": "a\ufffd"}),
    "an odd octet": (frame(raw("004100"), dcs="08"), {"text": "A\ufffd"}),
    # Senders
    "no sender": (frame(gsm("hi"), sender="0081"), {"sender": ""}),
    "no sender, alphanumeric": (frame(gsm("hi"), sender="00D0"), {"sender": ""}),
    "an odd number of digits": (frame(gsm("hi"), sender="05912678F1"), {"sender": "+62871"}),
    "* and #": (frame(gsm("hi"), sender="0481BA21"), {"sender": "*#12"}),
    "a, b and c": (frame(gsm("hi"), sender="0481DCFE"), {"sender": "abc"}),
    "a name": (frame(gsm("hi"), sender="07D0" + gsm("BPJS")[2:]), {"sender": "BPJS"}),
    "a name of seven letters": (frame(gsm("hi"), sender="0DD0" + gsm("BPJSTKU")[2:]), {"sender": "BPJSTKU"}),
    "the longest name": (frame(gsm("hi"), sender="14D0" + gsm("BPJS-Sehat1")[2:]), {"sender": "BPJS-Sehat1"}),
    # Times
    "a zone of quarters": (
        frame(gsm("hi"), stamp="62113221000032"),
        {"service_centre_time": datetime(2026, 11, 23, 6, 15, tzinfo=UTC)},
    ),
    "a zone behind": (
        frame(gsm("hi"), stamp="62113221000049"),
        {"service_centre_time": datetime(2026, 11, 23, 15, 30, tzinfo=UTC)},
    ),
    "no time": (frame(gsm("hi"), stamp="00" * 7), {"service_centre_time": None, "text": "hi"}),
    "a time that is none": (
        frame(gsm("hi"), stamp="62312342606082"),
        {"service_centre_time": None, "text": "hi"},
    ),
    "a time of no digits": (frame(gsm("hi"), stamp="FF" * 7), {"service_centre_time": None, "text": "hi"}),
}


@pytest.mark.parametrize("name", VECTORS)
def test_what_breaks_decoders(name: str) -> None:
    pdu, expected = VECTORS[name]
    found = decode(pdu)
    assert isinstance(found, Deliver)
    assert {field: getattr(found, field) for field in expected} == expected
    found.text.encode()
    again = decode(pdu.lower())
    assert again == found


@pytest.mark.parametrize(
    "pdu",
    [
        "",
        "0",
        "zz",
        "00",
        "0004",
        "07916281",
        frame(gsm("hello"))[:-2],
        frame("")[:-2],
        frame(""),
        frame("FF00"),
        frame("05" + "FF" * 5, first=HEADED),
        frame("0141", first=HEADED, dcs="04"),
        frame("00", first=HEADED),
        frame("06" + PART, first=HEADED)[:-2],
        " " + frame(gsm("hello")),
        "0006",
        "00062A" + SENDER + STAMP + STAMP,
        "0001",
    ],
)
def test_what_is_cut_or_lies_is_an_error_and_nothing_else(pdu: str) -> None:
    for outgoing in (True, False):
        with pytest.raises(PduError):
            decode(pdu, outgoing=outgoing)


def test_every_cut_of_every_vector_is_a_value_or_an_error() -> None:
    shorter = 0
    for pdu, _ in VECTORS.values():
        for end in range(0, len(pdu), 2):
            try:
                decode(pdu[:end])
            except PduError:
                continue
            shorter += 1
    assert shorter < len(VECTORS)


def test_parts_of_different_tables_are_joined_each_by_its_own() -> None:
    parts = [
        decode(frame(gsm("\x1bg", "08" + PART[2:] + "240101"), first=HEADED)),
        decode(frame(gsm("\x1bg", PART), first=HEADED)),
        decode(frame(wide("\ud83d", PART), first=HEADED, dcs="08")),
        decode(frame(wide("\ude00", PART), first=HEADED, dcs="08")),
    ]
    assert join([part for part in parts if isinstance(part, Deliver)]) == "ğg😀"


def test_an_escape_cut_from_its_character_at_an_edge_is_whole_after_joining() -> None:
    first, second = (decode(frame(gsm(text, PART), first=HEADED)) for text in ("harga \x1b", "e5"))
    assert isinstance(first, Deliver)
    assert isinstance(second, Deliver)
    assert join([first, second]) == "harga €5"


# What the standards publish


def test_submit_of_3gpp_ts_31_124() -> None:
    # 3GPP TS 31.124 §27.22.4.10.1, SEND SHORT MESSAGE sequences 1.1 and 1.2.
    found = decode("00" + "0100099110325476F840F40C54657374204D657373616765")
    assert isinstance(found, StoredSubmit)
    assert (found.address, found.pid, found.dcs, found.data) == ("+012345678", 0x40, 0xF4, b"Test Message")
    assert (found.reference, found.validity, found.report_requested, found.text) == (0, None, False, "")
    found = decode("00" + "0100099110325476F840F00D53F45B4E0735CBF379F85C06")
    assert isinstance(found, StoredSubmit)
    assert (found.address, found.dcs, found.text) == ("+012345678", 0xF0, "Short Message")


def test_packing_of_3gpp_ts_31_124() -> None:
    # 3GPP TS 31.124 §27.22.4.12.1, SEND USSD sequence 1.1.
    text = "ABCDEFGHIJKLMNOPQRSTUVWXYZ-abcdefghijklmnopqrstuvwxyz-1234567890"
    packed = bytes.fromhex(
        "41E19058341E9149E592D9743EA151E9945AB55EB1596D2B2C1E93CBE633"
        "3AAD5EB3DBEE373C2E9FD3EBF63B3EAF6FC564335ACD76C3E560"
    )
    assert pack(septets_of(text)) == packed
    assert text_of(unpack(packed, len(text))) == text


@pytest.mark.parametrize(
    ("statuses", "outcome"),
    [
        # 3GPP TS 23.040 §9.2.3.15; reserved values are read as "service rejected" of the last group.
        (range(0x03), "delivered"),
        (range(0x03, 0x10), "failed"),
        (range(0x10, 0x20), "delivered"),
        (range(0x20, 0x26), "trying"),
        (range(0x26, 0x30), "failed"),
        (range(0x30, 0x40), "trying"),
        (range(0x40, 0x100), "failed"),
    ],
)
def test_every_status_is_classified(statuses: range, outcome: str) -> None:
    for status in statuses:
        assert report_outcome(status) == outcome
        found = decode(f"00062A{SENDER}{STAMP}{STAMP}{status:02X}")
        assert isinstance(found, StatusReport)
        assert (found.status, found.outcome, found.reference, found.address) == (status, outcome, 42, "2757")


def test_packing_undoes_unpacking_for_any_length_and_fill() -> None:
    for fill in range(7):
        for length in (0, 1, 7, 8, 9, 153, 160, 255, 256, 257, 600):
            septets = bytes((7 * place + fill) % 128 for place in range(length))
            packed = pack(septets, fill)
            assert len(packed) == (7 * length + fill + 7) // 8
            assert unpack(packed, length, fill) == septets
            assert unpack(packed, length + 9, fill)[:length] == septets
