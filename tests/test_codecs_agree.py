"""Round trips between our codec and two that share no code with it: smspdudecoder (Python) and libgammu (C).

Where one of them is known to be wrong, or to leave out a part, the case stands in a named list here.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from io import StringIO
from typing import Any

import gammu
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from smspdudecoder.fields import SMSDeliver, SMSSubmit

from modem.alphabet import EXTENSION, SEPTETS, is_gsm7
from modem.pdu import (
    Concat,
    Deliver,
    StoredSubmit,
    decode,
    encode_deliver,
    encode_status_report,
    encode_submit,
    join,
    split,
)

ENOUGH = settings(max_examples=150, deadline=None)
NOON = datetime(2026, 11, 23, 12, 0, tzinfo=timezone(timedelta(hours=7)))

# libgammu counts an escape sequence as two characters: behind the end mark of such a text lies what was in its memory.
GAMMU_OVERRUNS = set(EXTENSION.values())
# libgammu has a meaning of its own for these in UCS2: "~" doubles, and stands for U+0001.
GAMMU_MARKS = set("~\x01")
# libgammu writes 00 in front of a number as the international prefix.
GAMMU_INTERNATIONAL = "00"
# smspdudecoder cuts a GSM-7 text by characters where it should by septets: seven bits left over are an "@" behind it.
SMSPDU_ADDS_AFTER = set(EXTENSION.values())
# smspdudecoder strips nothing from a name whose septets are filled up with NUL, which is "@".
SMSPDU_PADS_NAMES_OF = {7}
# smspdudecoder takes the first relative validity for 0 minutes; it is 5 (3GPP TS 23.040 §9.2.3.12.1).
SMSPDU_VALIDITY_OFF_BY = timedelta(minutes=5)

gsm7_texts = st.text(alphabet=st.sampled_from(sorted(SEPTETS)), max_size=300)
wide_texts = (
    st.text(min_size=1, max_size=150)
    .map(lambda text: text.encode("utf-16-be", "replace").decode("utf-16-be"))
    .filter(lambda text: "\0" not in text)
)
texts = gsm7_texts | wide_texts
numbers = st.from_regex(r"\+?[0-9]{3,15}", fullmatch=True)
names = st.from_regex(r"[A-Za-z][A-Za-z0-9 .-]{0,9}[A-Za-z]", fullmatch=True)
stamps = st.builds(
    lambda at, quarters: at.replace(microsecond=0, tzinfo=timezone(timedelta(minutes=15 * quarters))),
    st.datetimes(datetime(2001, 1, 1), datetime(2089, 12, 31)),
    st.integers(-47, 55),
)
references = st.integers(0, 255)


def by_gammu(pdu: str) -> dict[str, Any]:
    found: dict[str, Any] = gammu.DecodePDU(bytes.fromhex(pdu), True)
    return found


def same_for_gammu(read: str, sent: str) -> bool:
    if set(sent) & GAMMU_OVERRUNS and is_gsm7(sent):
        read = read.partition("\0")[0]
    return read == sent or (not is_gsm7(sent) and bool(set(sent) & GAMMU_MARKS))


def same_for_smspdudecoder(read: str, sent: str) -> bool:
    return read == sent or (bool(set(sent) & SMSPDU_ADDS_AFTER) and is_gsm7(sent) and read == sent + "@")


def number_of(field: dict[str, Any]) -> str:
    return ("+" if field["toa"]["ton"] == "international" else "") + str(field["number"])


def parts_of(text: str) -> list[tuple[str, Concat | None]]:
    parts = split(text)
    return [
        (part, Concat(77, 8, len(parts), place) if parts[1:] else None) for place, part in enumerate(parts, 1)
    ]


# What we encode, read by others


@given(numbers, texts, stamps)
@ENOUGH
def test_both_read_the_delivers_that_we_make(sender: str, text: str, at: datetime) -> None:
    for part, concat in parts_of(text):
        pdu = encode_deliver(sender, part, at, concat=concat, centre="+62817")
        python = SMSDeliver.decode(StringIO(pdu))
        assert (number_of(python["sender"]), number_of(python["smsc"])) == (sender, "+62817")
        assert same_for_smspdudecoder(python["user_data"]["data"], part)
        assert python["scts"] == at
        c = by_gammu(pdu)
        assert (c["Number"], c["SMSC"]["Number"], c["DateTime"]) == (sender, "+62817", at)
        assert same_for_gammu(c["Text"], part)
        if concat:
            said = {"reference": concat.reference, "parts_count": concat.total, "part_number": concat.part}
            assert python["user_data"]["header"]["elements"][0]["data"] == said
            header = c["UDH"]
            assert (header["ID8bit"], header["AllParts"], header["PartNumber"]) == (
                77,
                concat.total,
                concat.part,
            )


@given(names)
@ENOUGH
def test_both_read_the_names_that_we_make(name: str) -> None:
    pdu = encode_deliver(name, "x", NOON)
    read = SMSDeliver.decode(StringIO(pdu))["sender"]["number"]
    assert (read.rstrip("@") if len(name) in SMSPDU_PADS_NAMES_OF else read) == name
    assert by_gammu(pdu)["Number"] == name


@given(numbers, texts, st.booleans(), st.none() | st.integers(1, 143))
@ENOUGH
def test_both_read_the_submits_that_we_make(
    number: str, text: str, report: bool, periods: int | None
) -> None:
    validity = None if periods is None else timedelta(minutes=5 * periods)
    made = encode_submit(number, text, validity=validity, report=report, concat_reference=9)
    assert len(made) == len(split(text))
    for place, (part, sent) in enumerate(zip(split(text), made, strict=True), 1):
        python = SMSSubmit.decode(StringIO(sent.pdu))
        assert number_of(python["recipient"]) == number
        assert same_for_smspdudecoder(python["user_data"]["data"], part)
        assert python["header"]["srr"] is report
        if validity is not None:
            assert timedelta(minutes=python["validity-minutes"]) == validity - SMSPDU_VALIDITY_OFF_BY
        c = by_gammu(sent.pdu)
        assert c["Number"] == number
        assert c["Type"] == "Submit"
        assert same_for_gammu(c["Text"], part)
        if made[1:]:
            header = c["UDH"]
            assert (header["ID8bit"], header["AllParts"], header["PartNumber"]) == (9, len(made), place)


@given(references, numbers, stamps, stamps, st.integers(0, 0x7F))
@ENOUGH
def test_gammu_reads_the_status_reports_that_we_make(
    reference: int, number: str, accepted: datetime, discharged: datetime, status: int
) -> None:
    c = by_gammu(encode_status_report(reference, number, accepted, discharged, status, centre="+62817"))
    assert (c["Type"], c["MessageReference"], c["Number"]) == ("Status_Report", reference, number)
    assert (c["DateTime"], c["SMSCDateTime"], c["DeliveryStatus"]) == (accepted, discharged, status)


# What libgammu encodes, read by us


gammus_numbers = numbers.filter(lambda number: not number.startswith(GAMMU_INTERNATIONAL))


gammus_texts = texts.filter(
    lambda text: bool(text.strip()) and (is_gsm7(text) or not set(text) & GAMMU_MARKS)
)


def made_by_gammu(text: str, number: str, layout: str) -> list[str]:
    """smspdudecoder has no encoder of PDUs."""
    plan = {
        "Class": -1,
        "Unicode": not is_gsm7(text),
        "Entries": [{"ID": "ConcatenatedTextLong", "Buffer": text}],
    }
    pdus = []
    for message in gammu.EncodeSMS(plan):
        message |= {"SMSC": {"Number": "+62817"}, "Number": number, "Type": layout, "MessageReference": 5}
        message["DateTime"] = message["SMSCDateTime"] = NOON.astimezone(UTC).replace(tzinfo=None)
        pdus.append(gammu.EncodePDU(message, layout).hex())
    return pdus


@given(gammus_numbers, gammus_texts)
@ENOUGH
def test_we_read_the_submits_that_gammu_makes(number: str, text: str) -> None:
    found = [decode(pdu, outgoing=True) for pdu in made_by_gammu(text, number, "Submit")]
    parts = [part for part in found if isinstance(part, StoredSubmit)]
    assert len(parts) == len(found)
    assert join(parts) == text
    assert {(part.address, part.reference, part.centre) for part in parts} == {(number, 5, "+62817")}
    if parts[1:]:
        places = [(part.concat.total, part.concat.part) for part in parts if part.concat]
        assert places == [(len(parts), place) for place in range(1, len(parts) + 1)]


@given(gammus_numbers, gammus_texts)
@ENOUGH
def test_we_read_the_delivers_that_gammu_makes(number: str, text: str) -> None:
    found = [decode(pdu) for pdu in made_by_gammu(text, number, "Deliver")]
    parts = [part for part in found if isinstance(part, Deliver)]
    assert len(parts) == len(found)
    assert join(parts) == text
    assert {(part.sender, part.centre) for part in parts} == {(number, "+62817")}
    assert {part.service_centre_time for part in parts} == {NOON.astimezone(UTC)}


# Where they differ from the standard, and we do not


@pytest.mark.parametrize(
    ("why", "pdu", "ours", "theirs"),
    [
        ("reads DCS by two bits", "000404817275" + "00E0" + "62113221000000" + "0400680069", "hi", None),
        (
            "shows a space for an unknown escape",
            "000404817275" + "0000" + "62113221000000" + "029B20",
            "A",
            " ",
        ),
    ],
)
def test_known_faults_of_smspdudecoder(why: str, pdu: str, ours: str, theirs: str | None) -> None:
    found = decode(pdu)
    assert isinstance(found, Deliver)
    assert found.text == ours
    read = SMSDeliver.decode(StringIO(pdu))["user_data"]["data"]
    assert read != ours, why
    assert theirs is None or read == theirs


def test_known_faults_of_gammu() -> None:
    pdu = encode_deliver("2757", "[x]", NOON)
    assert by_gammu(pdu)["Text"].startswith("[x]\0")
    assert by_gammu(encode_deliver("2757", "~я", NOON))["Text"] == "~~"
    found = decode(pdu)
    assert isinstance(found, Deliver)
    assert found.text == "[x]"
