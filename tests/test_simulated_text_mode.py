"""Text mode of the simulated dongle as AT+CSMP wants it: what goes on the air, and what is shown of it (3GPP TS 27.005 §3)."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from stick_playing import OWN, START, ready, say, second, send

from modem.pdu import PduError, StoredSubmit, decode
from modem.simulated import Dongle, Network, Sim
from modem.simulated.composing import TextParameters, compose, first_octet, validity_shown
from modem.simulated.grammar import Refused

OK = "\r\nOK\r\n"
PERSON, OTHER = "+6289900000001", "+628170000002"


def fed(dongle: Dongle, data: str) -> str:
    return dongle.feed(data.encode("latin-1"), START).decode("latin-1")


def stick() -> Dongle:
    network = Network()
    network.person(PERSON)
    dongle = ready(network=network, personality="etsi")
    say(dongle, "AT+CMGF=1;+CSDH=1")
    return dongle


def stored(dongle: Dongle, text: str, parameters: str, address: str = f'="{PERSON}"') -> str:
    """The PDU that AT+CMGW made."""
    assert say(dongle, f"AT+CSMP={parameters}") == OK
    said = fed(dongle, f"AT+CMGW{address}\r") + fed(dongle, f"{text}\x1a")
    assert said == "\r\n> \r\n+CMGW: 0\r\n" + OK
    return say(dongle, "AT+CMGF=0;+CMGR=0;+CMGF=1").split("\r\n")[2]


def submit(pdu: str) -> StoredSubmit:
    found = decode(pdu, outgoing=True)
    assert isinstance(found, StoredSubmit)
    return found


@pytest.mark.parametrize(
    ("text", "parameters", "pdu"),
    [
        ("hai", "1,0,0,0", "0001000D91269809000000F1000003E8701A"),
        ("hai", "17,0,0,0", "0011000D91269809000000F100000003E8701A"),
        ("hai", "49,255,65,16", "0031000D91269809000000F14110FF03E8701A"),
        ("hai", "17,167,0,240", "0011000D91269809000000F100F0A703E8701A"),
        ("00480061", "17,167,0,8", "0011000D91269809000000F10008A70400480061"),
        ("4 8 61FF", "17,167,0,4", "0011000D91269809000000F10004A7034861FF"),
        ("0605040B8423F0A1", "81,167,0,245", "0051000D91269809000000F100F5A7080605040B8423F0A1"),
        (
            "hai",
            '25,"26/11/24,10:00:00+28",0,0',
            "0019000D91269809000000F100006211420100008203E8701A",
        ),
        ("hai", '9,"01050000000000",0,0', "0009000D91269809000000F10000" + "01050000000000" + "03E8701A"),
    ],
)
def test_first_octet_validity_protocol_and_coding_are_as_csmp_says(
    text: str, parameters: str, pdu: str
) -> None:
    assert stored(stick(), text, parameters) == pdu


@pytest.mark.parametrize(
    ("parameters", "shown"),
    [
        ("17,167,0,0", "17,0,0,167"),
        ("1,0,0,0", "1,0,0,"),
        ("49,11,65,16", "49,65,16,11"),
        ('25,"26/11/24,10:00:00-28",0,0', '25,0,0,"26/11/24,10:00:00-28"'),
        ('9,"01050000000000",0,0', '9,0,0,"01050000000000"'),
    ],
)
def test_a_stored_text_to_be_sent_is_shown_with_what_it_was_stored_with(parameters: str, shown: str) -> None:
    dongle = stick()
    stored(dongle, "hai", parameters)
    head = say(dongle, "AT+CMGR=0").split("\r\n")[1]
    assert head == f'+CMGR: "STO UNSENT","{PERSON}",,145,{shown},"+6281700000999",145,3'


def test_what_is_no_text_is_shown_in_hex_and_counted_in_octets() -> None:
    dongle = stick()
    stored(dongle, "4861FF00", "17,167,0,4")
    _, head, body, *_ = say(dongle, "AT+CMGR=0").split("\r\n")
    assert (head[-2:], body) == (",4", "4861FF00")


@pytest.mark.parametrize(
    "parameters", ["256", "17,256", "17,x", '17,"26/11/24"', "17,167,-1", "17,167,0,0,0", "17,167,0,1000"]
)
def test_csmp_refuses_what_makes_no_sense_and_keeps_what_was(parameters: str) -> None:
    dongle = stick()
    assert say(dongle, f"AT+CSMP={parameters}") == "\r\n+CMS ERROR: 305\r\n"
    assert "+CSMP: 17,167,0,0\r\n" in say(dongle, "AT+CSMP?")


def test_csmp_keeps_what_is_left_out() -> None:
    dongle = stick()
    say(dongle, 'AT+CSMP=25,"26/11/24,10:00:00+28",1,8')
    assert say(dongle, "AT+CSMP=,,,0;+CSMP?") == '\r\n+CSMP: 25,"26/11/24,10:00:00+28",1,0\r\n' + OK


@pytest.mark.parametrize(("parameters", "text"), [("17,167,0,8", "hai"), ("25,167,0,0", "hai"), ("9", "hai")])
def test_a_text_that_does_not_fit_its_parameters_is_refused_and_not_sent(parameters: str, text: str) -> None:
    dongle = stick()
    say(dongle, f"AT+CSMP={parameters}")
    fed(dongle, f'AT+CMGS="{PERSON}"\r')
    assert fed(dongle, f"{text}\x1a") == "\r\n+CMS ERROR: 305\r\n"
    assert dongle.network.ledger == []


def test_ucs2_goes_out_as_text_and_the_class_goes_with_it_to_another_stick() -> None:
    dongle = stick()
    sim = Sim("8999000000000000025", "510110000000002", OTHER)
    other = Dongle(dongle.network, sim, imei="990000000000029", personality="etsi")
    other.feed(b"ATE0;+CNMI=2,1;+CMGF=1;+CSDH=1\r", START)
    for coding, said in (("24", b"+CMT: "), ("8", b"+CMTI: ")):
        say(dongle, f"AT+CSMP=17,167,0,{coding}")
        fed(dongle, f'AT+CMGS="{OTHER}"\r')
        assert "+CMGS: " in fed(dongle, "004800E406270629\x1a")
        assert other.drain().strip().startswith(said)
    assert [one.text for one in dongle.network.ledger if one.kind == "submitted"] == ["Häاة"] * 2


def test_the_validity_that_csmp_sets_runs_out() -> None:
    dongle = stick()
    dongle.network.switch(PERSON, False, START)
    say(dongle, "AT+CSMP=17,0")
    fed(dongle, f'AT+CMGS="{PERSON}"\r')
    fed(dongle, "hai\x1a")
    dongle.step(second(301))  # 0 is five minutes
    assert [one.kind for one in dongle.network.ledger] == ["submitted", "expired"]


@pytest.mark.parametrize(
    ("flash", "text", "shown"),
    [(False, "Halo", "4,0,0"), (True, "Halo", "4,0,16"), (True, "مرحبا", "4,0,24")],
)
def test_a_received_text_is_shown_with_its_own_first_octet_and_coding(
    flash: bool, text: str, shown: str
) -> None:
    dongle = stick()
    say(dongle, "AT+CNMI=2,2")
    dongle.network.text(PERSON, OWN, text, now=START, flash=flash)
    said = dongle.drain().decode()
    assert f',145,{shown},"+6281700000999",145,{len(text)}\r\n' in said


def test_a_part_of_a_long_text_is_shown_with_the_header_bit() -> None:
    dongle = stick()
    dongle.network.text(PERSON, OWN, "a" * 161, now=START)
    assert ',145,68,0,0,"' in say(dongle, "AT+CMGR=0")


def test_a_stored_text_goes_to_another_address_as_it_was_stored() -> None:
    dongle = stick()
    dongle.network.switch(PERSON, False, START)
    stored(dongle, "hai", "17,0,0,0", '="+6289900000002"')
    assert say(dongle, f'AT+CMSS=0,"{PERSON}"') == "\r\n+CMSS: 1\r\n" + OK
    dongle.step(START + timedelta(minutes=6))
    assert [(one.kind, one.address) for one in dongle.network.ledger] == [
        ("submitted", PERSON),
        ("expired", PERSON),
    ]


@pytest.mark.parametrize("address", ["", "="])
def test_a_text_without_an_address_is_stored_and_sent_when_it_has_one(address: str) -> None:
    """3GPP TS 27.005 §3.5.3: <da> may be left out."""
    dongle = stick()
    assert stored(dongle, "nanti", "17,167,0,0", address).startswith("0011000081")
    assert say(dongle, "AT+CMSS=0") == "\r\n+CMS ERROR: 305\r\n"
    assert '+CMGL: 0,"STO UNSENT","",,,' in say(dongle, 'AT+CMGL="ALL"')
    assert say(dongle, f'AT+CMSS=0,"{PERSON}"') == "\r\n+CMSS: 1\r\n" + OK
    assert [one.text for one in dongle.network.ledger if one.kind == "submitted"] == ["nanti"]


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(["", "112", PERSON]),
    st.text(max_size=170),
    st.binary(max_size=150),
    st.integers(0, 255),
    st.sampled_from(["0", "167", "255", "26/11/24,10:00:00+28", "01050000000000"]),
    st.integers(0, 255),
    st.integers(0, 255),
)
def test_whatever_csmp_says_makes_a_submit_or_is_refused(
    address: str, text: str, data: bytes, first: int, validity: str, pid: int, dcs: int
) -> None:
    wanted = TextParameters(first, validity, pid, dcs)
    try:
        pdu = compose(address, data if wanted.in_hex else text, wanted)
        found = submit(pdu)
    except (Refused, PduError):
        return
    assert (found.address, found.pid, found.dcs) == (address, pid, dcs)
    assert found.report_requested == bool(first & 0x20)
    assert first_octet(pdu) == first & 0xFC | 1
    assert validity_shown(pdu).strip('"') == ("" if not first & 0x18 else validity)


def test_the_text_of_a_long_pdu_sent_in_parts_is_not_touched_by_csmp() -> None:
    dongle = stick()
    say(dongle, "AT+CSMP=17,167,0,8;+CMGF=0")
    assert "+CMGS: 2" in send(dongle, PERSON, "a" * 200)
