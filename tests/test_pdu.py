"""The TPDU codec: known PDUs, round trips with the library's independent codec, and totality over any bytes."""

from __future__ import annotations

from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from itertools import pairwise

import pytest
from gsmmodem.pdu import decodeSmsPdu, encodeSmsSubmitPdu
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from modem.pdu import (
    Concat,
    Deliver,
    PduError,
    StatusReport,
    StoredSubmit,
    decode,
    encode_deliver,
    encode_status_report,
    encode_submit,
    fits_one_part,
    join,
    split,
)

NOON = datetime(2026, 11, 23, 12, 0, 0, tzinfo=timezone(timedelta(hours=7)))
ENOUGH = settings(max_examples=150, deadline=None)

GSM7 = (
    "@£$¥èéùìòÇ\nØø\rÅåΔ_ΦΓΛΩΠΨΣΘΞÆæßÉ !\"#¤%&'()*+,-./0123456789:;<=>?¡ABCXYZÄÖÑÜ§¿abcxyzäöñüà\f^{}\\[~]|€"
)
gsm7_texts = st.text(alphabet=GSM7, max_size=400)
texts = (
    st.text(max_size=200).map(lambda text: text.encode("utf-16-be", "replace").decode("utf-16-be"))
    | gsm7_texts
)
numbers = st.from_regex(r"\+?[0-9]{3,15}", fullmatch=True)


def deliver(pdu: str) -> Deliver:
    found = decode(pdu)
    assert isinstance(found, Deliver)
    return found


def submits(address: str, text: str, **options: object) -> list[StoredSubmit]:
    values: dict[str, object] = {"validity": None, "report": False, "concat_reference": 7} | options
    parts = []
    for part in encode_submit(address, text, **values):  # type: ignore[arg-type]
        assert len(part.pdu) // 2 == part.length + 1 + int(part.pdu[:2], 16)
        assert part.length <= 164
        found = decode(part.pdu, outgoing=True)
        assert isinstance(found, StoredSubmit)
        parts.append(found)
    return parts


def frame(dcs: int, user_data: str, *, first: str = "04") -> str:
    """An SMS-DELIVER of 2757 at noon UTC, with user data in hex, TP-UDL in front."""
    return f"00{first}04817275" + "00" + f"{dcs:02X}" + "62113221000000" + user_data


# Known PDUs


def test_a_deliver_octet_by_octet() -> None:
    # 3GPP TS 23.040 §9.2.2.1, made by hand: centre +62817, sender +628777 (§9.1.2.5), 12:00:00 +07:00 (§9.2.3.11), "hello"
    found = decode(
        "0491" + "2618F7" + "04" + "06912678" + "77" + "0000" + "62113221000082" + "05" + "E8329BFD06"
    )
    assert found == Deliver(
        "+628777", "hello", NOON.astimezone(UTC), 0, 0, None, "+62817", None, b"hello", False
    )


def test_a_status_report_octet_by_octet() -> None:
    found = decode("00" + "06" + "2A" + "04817275" + "62113221000082" + "62113221005082" + "30")
    assert found == StatusReport(
        42,
        "2757",
        NOON.astimezone(UTC),
        (NOON + timedelta(seconds=5)).astimezone(UTC),
        0x30,
    )


def test_a_submit_octet_by_octet() -> None:
    (part,) = encode_submit("2757", "hello", validity=timedelta(minutes=5), report=True, concat_reference=9)
    assert part.pdu == "00" + "31" + "00" + "04817275" + "00" + "00" + "00" + "05" + "E8329BFD06"
    assert part.length == 15
    assert decode(part.pdu) == decode(part.pdu, outgoing=True)


@pytest.mark.parametrize(
    ("dcs", "user_data", "text", "binary", "message_class"),
    [
        (0x00, "05E8329BFD06", "hello", False, None),
        (0x10, "05E8329BFD06", "hello", False, 0),
        (0x12, "05E8329BFD06", "hello", False, 2),
        (0x0C, "05E8329BFD06", "hello", False, None),  # reserved alphabet
        (0x40, "05E8329BFD06", "hello", False, None),  # to be deleted by itself
        (0x48, "0400680069", "hi", False, None),
        (0x08, "0400680069", "hi", False, None),
        (0x18, "0400680069", "hi", False, 0),
        (0x04, "020102", "", True, None),
        (0x20, "020102", "", True, None),  # compressed
        (0x84, "05E8329BFD06", "hello", False, None),  # reserved group
        (0xC8, "05E8329BFD06", "hello", False, None),
        (0xD0, "05E8329BFD06", "hello", False, None),
        (0xE0, "0400680069", "hi", False, None),
        (0xE8, "0400680069", "hi", False, None),
        (0xF0, "05E8329BFD06", "hello", False, 0),
        (0xF4, "020102", "", True, 0),
        (0xF5, "020102", "", True, 1),
    ],
)
def test_every_group_of_data_coding(
    dcs: int, user_data: str, text: str, binary: bool, message_class: int | None
) -> None:
    found = deliver(frame(dcs, user_data))
    assert (found.text, found.binary, found.message_class, found.dcs) == (text, binary, message_class, dcs)
    assert found.sender == "2757"


def test_the_length_of_the_user_data_counts() -> None:
    assert deliver(frame(0x04, "0201020304")).data == b"\x01\x02"
    assert deliver(frame(0x00, "04E8329BFD06")).text == "hell"
    with pytest.raises(PduError, match="too early"):
        decode(frame(0x00, "06E8329BFD"))


@pytest.mark.parametrize("size", [*range(7, 161, 8), *range(8, 161, 8)])
def test_the_commercial_at_stays_at_the_end(size: int) -> None:
    text = "a" * (size - 1) + "@"
    assert deliver(encode_deliver("2757", text, NOON)).text == text


def test_characters_of_the_tables() -> None:
    assert deliver(frame(0, "015F")).text == "§"
    assert deliver(frame(0, "0100")).text == "@"
    assert deliver(frame(0, "029B32")).text == "€"
    assert deliver(frame(0, "029B20")).text == "A"  # no entry in the extension: the default table's
    assert deliver(frame(0, "029B0D")).text == " "  # escape twice
    assert deliver(frame(0, "011B")).text == ""  # cut behind an escape


@pytest.mark.parametrize("length", range(1, 20))
def test_fill_bits_for_every_length_of_the_header(length: int) -> None:
    # An unknown information element of any length in front of GSM-7 text (3GPP TS 23.040 §9.2.3.24).
    header = bytes((length + 2, 0x70, length)) + bytes(length)
    fill = -8 * len(header) % 7
    septets = b"Saldo @"
    bits = sum(septet << (7 * place + fill) for place, septet in enumerate(b"\x53\x61\x6c\x64\x6f\x20\x00"))
    body = bits.to_bytes((7 * len(septets) + fill + 7) // 8, "little")
    count = (8 * len(header) + fill) // 7 + len(septets)
    found = deliver(frame(0, f"{count:02X}" + (header + body).hex(), first="44"))
    assert found.text == "Saldo @"
    assert found.concat is None


@pytest.mark.parametrize(
    ("header", "concat"),
    [
        ("050003070302", Concat(7, 8, 3, 2)),
        ("06080401020302", Concat(0x0102, 16, 3, 2)),
        ("050003070300", None),  # part 0
        ("050003070304", None),  # beyond the total
        ("050003070000", None),
        ("0400020703", None),  # two octets where three belong
        ("06080307030200", None),
        ("04000307" + "03", None),  # cut: the header as a whole is ignored
        ("0A0003070302" + "0003080201", Concat(8, 8, 2, 1)),  # the last one holds
        ("0870012208040102" + "03", None),
        ("0B05040B84" + "23F0" + "0003070302", Concat(7, 8, 3, 2)),  # behind a port address
    ],
)
def test_headers_of_parts(header: str, concat: Concat | None) -> None:
    data = bytes.fromhex(header) + "hi".encode("utf-16-be")
    found = deliver(frame(8, f"{len(data):02X}" + data.hex(), first="44"))
    assert found.concat == concat
    assert found.text == "hi"


@pytest.mark.parametrize(
    ("stamp", "at"),
    [
        ("62113221000000", datetime(2026, 11, 23, 12, 0, tzinfo=UTC)),
        ("62113221000082", datetime(2026, 11, 23, 5, 0, tzinfo=UTC)),
        ("62113221000041", datetime(2026, 11, 23, 8, 30, tzinfo=UTC)),  # +03:30
        ("62113221000049", datetime(2026, 11, 23, 15, 30, tzinfo=UTC)),  # -03:30
        ("00000000000000", None),
        ("FFFFFFFFFFFFFF", None),
        ("62313221000000", None),  # month 13
        ("62200321000000", None),  # 30 February
        ("621132210000F0", None),
        ("62113242000000", None),  # 24 o'clock
    ],
)
def test_time_stamps(stamp: str, at: datetime | None) -> None:
    assert deliver(f"0004048172750000{stamp}05E8329BFD06").service_centre_time == at


@pytest.mark.parametrize(
    ("address", "sender"),
    [
        ("04817275", "2757"),
        ("0091", ""),
        ("0081", ""),
        ("05A17275F8", "27578"),
        ("0591267817", "+62877"),
        ("0481BA21", "*#12"),
        ("0481DCFE", "abc"),
        ("04D0C22A", "BU"),
    ],
)
def test_addresses(address: str, sender: str) -> None:
    assert deliver(f"0004{address}0000" + "62113221000000" + "00").sender == sender


@pytest.mark.parametrize("name", ["B", "abc", "BPJS", "BPJSTKU", "BPJSTK24", "BPJSTKU-ID1", "Satu [1]"])
def test_names_as_senders(name: str) -> None:
    assert deliver(encode_deliver(name, "x", NOON)).sender == name


def test_a_name_of_seven_letters_announced_as_whole_octets() -> None:
    pdu = encode_deliver("BPJSTKU", "x", NOON)
    assert pdu[4:6] == "0D"
    assert deliver(pdu[:4] + "0E" + pdu[6:]).sender == "BPJSTKU"


def test_service_centres_of_any_length() -> None:
    body = encode_deliver("2757", "x", NOON)[2:]
    for digits in range(1, 20):
        centre = "+" + "62817000000000000000"[:digits]
        assert deliver(encode_deliver("2757", "x", NOON, centre=centre)).centre == centre
    assert deliver("0191" + body).centre is None
    assert deliver("FF81" + "21" * 254 + body).centre == "12" * 254


def test_surrogates() -> None:
    assert deliver(frame(8, "06D83DDE000041")).text == "😀A"
    assert deliver(frame(8, "04D83D0041")).text == "\ufffdA"
    assert deliver(frame(8, "04DE000041")).text == "\ufffdA"
    assert deliver(frame(8, "03004100")).text == "A\ufffd"
    assert deliver(encode_deliver("2757", "a\ud83db", NOON)).text == "a?b"


def test_a_character_cut_in_two_at_an_edge_is_whole_after_joining() -> None:
    first = deliver(frame(8, "08050003070201D83D", first="44"))
    second = deliver(frame(8, "08050003070202DE00", first="44"))
    assert (first.text, second.text) == ("\ufffd", "\ufffd")
    assert join([first, second]) == "😀"
    assert join([deliver(frame(0, "05E8329BFD06")), deliver(frame(8, "0400680069"))]) == "hellohi"


def test_the_direction_decides() -> None:
    received = encode_deliver("2757", "x", NOON)
    with pytest.raises(PduError, match="not an SMS-SUBMIT"):
        decode(received, outgoing=True)
    with pytest.raises(PduError, match="not an SMS-SUBMIT"):
        decode(encode_status_report(1, "2757", NOON, NOON, 0), outgoing=True)
    assert deliver("0007" + received[4:]).text == "x"  # the reserved type is processed as a deliver


# Sending


@pytest.mark.parametrize("address", ["", "12", "+12", "BPJS", "27 57x", "+" + "1" * 16, "٢٧٥٧", "0877+"])
def test_addresses_that_are_no_numbers_are_refused(address: str) -> None:
    with pytest.raises(PduError, match="3 to 15 digits"):
        encode_submit(address, "x", validity=None, report=False, concat_reference=0)


@pytest.mark.parametrize(
    ("address", "options", "toa"),
    [
        ("2757", {}, "81"),
        ("087775500400", {}, "81"),
        ("08777-5500-400", {}, "81"),
        ("+62 8777 5500 400", {}, "91"),
        ("2757", {"number_type": "national"}, "A1"),
        ("+6287775500400", {"number_type": "national"}, "91"),
    ],
)
def test_type_of_number(address: str, options: dict[str, str], toa: str) -> None:
    (part,) = encode_submit(address, "x", validity=None, report=False, concat_reference=0, **options)
    assert part.pdu[8:10] == toa
    assert decode(part.pdu).address == "".join(char for char in address if char not in " -")  # type: ignore[union-attr]


@pytest.mark.parametrize("number_type", ["international", "network specific", ""])
def test_a_number_without_a_plus_is_of_no_other_type(number_type: str) -> None:
    with pytest.raises(PduError, match="without"):
        submits("2757", "x", number_type=number_type)
    (part,) = submits("+62877", "x", number_type=number_type)
    assert part.address == "+62877"


@pytest.mark.parametrize(
    ("wanted", "legal"),
    [
        (timedelta(0), timedelta(minutes=5)),
        (timedelta(minutes=5), timedelta(minutes=5)),
        (timedelta(minutes=9, seconds=59), timedelta(minutes=5)),
        (timedelta(hours=12), timedelta(hours=12)),
        (timedelta(hours=12, minutes=45), timedelta(hours=12, minutes=30)),
        (timedelta(hours=47), timedelta(hours=24)),
        (timedelta(days=30), timedelta(days=30)),
        (timedelta(days=34), timedelta(days=30)),
        (timedelta(weeks=5), timedelta(weeks=5)),
        (timedelta(days=5000), timedelta(weeks=63)),
    ],
)
@pytest.mark.parametrize("text", ["x", "x`"])
def test_validity_is_the_nearest_legal_one_not_above(wanted: timedelta, legal: timedelta, text: str) -> None:
    (part,) = submits("2757", text, validity=wanted)
    assert part.validity == legal


@pytest.mark.parametrize("text", ["x", "`"])
@pytest.mark.parametrize("report", [True, False])
def test_a_report_is_asked_for_only_where_it_is_wanted(report: bool, text: str) -> None:
    (part,) = submits("2757", text, report=report)
    assert part.report_requested is report
    assert part.reference == 0


def test_the_reference_counts_modulo_256() -> None:
    parts = submits("2757", "x" * 161, concat_reference=300)
    assert [part.concat for part in parts] == [Concat(44, 8, 2, 1), Concat(44, 8, 2, 2)]


@pytest.mark.parametrize(
    ("text", "parts", "one"),
    [
        ("", 1, True),
        ("x" * 160, 1, True),
        ("x" * 161, 2, False),
        ("€" * 80, 1, True),
        ("€" * 80 + "x", 2, False),
        ("x" * 306, 2, False),
        ("x" * 307, 3, False),
        ("x" * 152 + "€" + "x" * 153, 3, False),
        ("я" * 70, 1, False),
        ("я" * 71, 2, False),
        ("😀" * 35, 1, False),
        ("😀" * 36, 2, False),
        ("`" * 70, 1, False),
        ("§" * 160, 1, True),
        ("ÿ", 1, False),
    ],
)
def test_how_many_parts(text: str, parts: int, one: bool) -> None:
    assert len(split(text)) == parts
    assert fits_one_part(text) is one
    assert join(submits("2757", text)) == text


@given(texts, st.sampled_from([8, 16]))
@example("x" * 151 + "€" * 200, 16)
@example("я" + "😀" * 100, 8)
@ENOUGH
def test_no_character_is_cut_and_no_part_could_take_one_more(text: str, width: int) -> None:
    parts = split(text, width=width)
    assert "".join(parts) == text
    narrow = set(text) <= set(GSM7) | set(map(chr, range(32, 127))) - {"`"}
    room = 140 - (0 if len(parts) == 1 else 6 if width == 8 else 7)

    def size(part: str) -> int:
        if narrow:
            return len(part) + sum(char in "\f^{}\\[~]|€" for char in part)
        return len(part.encode("utf-16-be")) // 2

    limit = room * 8 // 7 if narrow else room // 2
    assert all(size(part) <= limit for part in parts)
    assert all(size(part + following[0]) > limit for part, following in pairwise(parts))


def test_too_long_a_text_is_refused() -> None:
    with pytest.raises(PduError, match="255 parts"):
        split("x" * (153 * 255 + 1))
    with pytest.raises(PduError, match="one part"):
        encode_deliver("2757", "x" * 161, NOON)
    with pytest.raises(PduError, match="one part"):
        encode_deliver("2757", "x" * 154, NOON, concat=Concat(1, 8, 2, 1))


@given(numbers, texts)
@example("2757", "a`b" * 60)
@example("2757", "x" * 152 + "€" + "y" * 153)
@ENOUGH
def test_what_is_sent_is_what_was_asked(address: str, text: str) -> None:
    parts = submits(address, text)
    assert join(parts) == text
    assert [part.text for part in parts] == split(text)
    assert {part.address for part in parts} == {address}
    if len(parts) > 1:
        assert [part.concat for part in parts] == [
            Concat(7, 8, len(parts), n) for n in range(1, len(parts) + 1)
        ]
    else:
        assert parts[0].concat is None


@given(numbers, texts, st.integers(0, 255))
@ENOUGH
def test_the_decoder_reads_what_the_library_encodes(address: str, text: str, reference: int) -> None:
    assume(not set(text) & set("`ÿ§\f\x1b") and all(char <= "\uffff" for char in text))
    found = [
        decode(str(pdu), outgoing=True) for pdu in encodeSmsSubmitPdu(address, text, reference=reference)
    ]
    assert join([part for part in found if isinstance(part, StoredSubmit)]) == text
    for part in found:
        assert isinstance(part, StoredSubmit)
        assert (part.address, part.reference, part.report_requested) == (address, reference, True)


@given(numbers, gsm7_texts)
@ENOUGH
def test_the_library_reads_what_is_encoded(sender: str, text: str) -> None:
    assume(not set(text) & set("§\f") and len(text) <= 60 and not text.endswith("@"))
    read = decodeSmsPdu(encode_deliver(sender, text, NOON, centre="+62817"))
    assert (read["number"], read["text"], read["smsc"]) == (sender, text, "+62817")
    assert read["time"] == NOON


@given(
    sender=numbers
    | st.text(alphabet="ABCxyz-_ 1", min_size=1, max_size=11).filter(lambda name: not name.isdigit()),
    text=texts,
    width=st.sampled_from([8, 16]),
    reference=st.integers(0, 255),
    at=st.datetimes(datetime(2020, 1, 1), datetime(2080, 1, 1)),
    quarters=st.integers(-48, 56),
)
@ENOUGH
def test_delivers_round_trip(
    sender: str, text: str, width: int, reference: int, at: datetime, quarters: int
) -> None:
    stamp = at.replace(microsecond=0, tzinfo=timezone(timedelta(minutes=15 * quarters)))
    pieces = split(text, width=width)
    parts = []
    for place, piece in enumerate(pieces, 1):
        concat = Concat(reference, width, len(pieces), place) if len(pieces) > 1 else None
        found = deliver(encode_deliver(sender, piece, stamp, concat=concat))
        assert (found.sender, found.concat, found.service_centre_time) == (sender, concat, stamp)
        assert found.text == piece
        parts.append(found)
    assert join(parts) == text


@given(numbers, st.integers(0, 255), st.integers(0, 255))
@ENOUGH
def test_status_reports_round_trip(address: str, reference: int, status: int) -> None:
    later = NOON + timedelta(seconds=61)
    assert decode(encode_status_report(reference, address, NOON, later, status)) == StatusReport(
        reference, address, NOON.astimezone(UTC), later.astimezone(UTC), status
    )


# Totality


def total(pdu: str) -> None:
    for outgoing in (False, True):
        with suppress(PduError):
            found = decode(pdu, outgoing=outgoing)
            if not isinstance(found, StatusReport):
                assert found.text.encode("utf-8").decode("utf-8") == found.text  # no lone surrogate
                assert join([found]) == found.text


@given(st.binary(max_size=200).map(bytes.hex) | st.text(max_size=60))
@settings(max_examples=500, deadline=None)
def test_any_bytes_give_a_value_or_a_pdu_error(pdu: str) -> None:
    total(pdu)


@given(
    st.binary(min_size=1, max_size=180),
    st.sampled_from(["00", "04", "44", "64", "01", "31", "51", "59", "02", "06", "03"]),
)
@settings(max_examples=500, deadline=None)
def test_any_body_of_any_type_gives_a_value_or_a_pdu_error(body: bytes, first: str) -> None:
    total("00" + first + "04817275" + body.hex())
    total("00" + first + body.hex())


VALID = [
    encode_deliver("+6287775500400", "No Kartu 0009900000001 AKTIF", NOON, centre="+62817"),
    encode_deliver("BPJSTKU", "Saldo 😀", NOON, concat=Concat(513, 16, 2, 1)),
    encode_submit("2757", "x" * 200, validity=timedelta(minutes=5), report=True, concat_reference=1)[1].pdu,
    encode_status_report(1, "2757", NOON, NOON, 0),
]


@pytest.mark.parametrize("pdu", VALID)
def test_every_cut_of_a_valid_pdu_is_a_pdu_error(pdu: str) -> None:
    for length in range(len(pdu)):
        with pytest.raises(PduError):
            decode(pdu[:length])


@given(st.sampled_from(VALID), st.integers(0, 400), st.integers(0, 255))
@settings(max_examples=300, deadline=None)
def test_a_changed_octet_gives_a_value_or_a_pdu_error(pdu: str, place: int, octet: int) -> None:
    octets = bytearray.fromhex(pdu)
    octets[place % len(octets)] = octet
    total(octets.hex())
