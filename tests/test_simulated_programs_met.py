"""What programs of others did at the simulated dongle that no real stick minds."""

from __future__ import annotations

import re
from datetime import timedelta

import pytest
from stick_playing import START, ready, say

from modem.simulated import Dongle, Network
from modem.simulated.personality import personalities

OK = "\r\nOK\r\n"
PERSON, OWN = "+6289900000001", "+628170000001"


def fed(dongle: Dongle, data: str) -> str:
    return dongle.feed(data.encode(), START).decode()


def stick(kind: str) -> Dongle:
    network = Network()
    network.person(PERSON)
    return ready(network=network, personality=kind)


def texts(dongle: Dongle, kind: str = "submitted") -> list[str]:
    return [entry.text for entry in dongle.network.ledger if entry.kind == kind]


@pytest.mark.parametrize("kind", personalities())
@pytest.mark.parametrize("pieces", ["at once", "byte by byte"])
def test_the_line_feed_behind_the_command_is_no_part_of_the_text(kind: str, pieces: str) -> None:
    """atlib and most sketches for microcontrollers end every line with CR LF."""
    dongle = stick(kind)
    fed(dongle, "AT+CMGF=1\r\n")
    line = f'AT+CMGS="{PERSON}"\r\n'
    said = fed(dongle, line) if pieces == "at once" else "".join(fed(dongle, one) for one in line)
    assert said.endswith("\r\n> ")
    fed(dongle, "satu\x1a")
    assert texts(dongle) == ["satu"]


def test_a_line_feed_that_the_text_holds_stays() -> None:
    dongle = stick("etsi")
    fed(dongle, f'AT+CMGF=1;+CMGS="{PERSON}"\r')
    fed(dongle, "satu\ndua\x1a")
    assert texts(dongle) == ["satu\ndua"]


@pytest.mark.parametrize(
    ("kind", "shown"), [("simcom", '""'), ("huawei", ""), ("zte", ""), ("quectel", ""), ("etsi", "")]
)
def test_a_sender_without_a_name_is_shown_as_its_maker_does(kind: str, shown: str) -> None:
    """sim-modem splits what SIMCom's say at the empty name between quotes."""
    dongle = stick(kind)
    dongle.network.text(PERSON, OWN, "Halo", now=START)
    first = dongle.personality.first_index
    assert re.search(rf"\r\n\+CMGR: 0,{shown},\d+\r\n", say(dongle, f"AT+CMGR={first}"))
    assert f'+CMGR: "REC READ","{PERSON}",{shown},"' in say(dongle, f"AT+CMGF=1;+CMGR={first}")
    assert f'+CMGL: {first},"REC READ","{PERSON}",{shown},"' in say(dongle, 'AT+CMGL="ALL"')


@pytest.mark.parametrize("headers", [False, True])
def test_a_text_to_be_sent_is_listed_with_an_empty_time(headers: bool) -> None:
    """3GPP TS 27.005 §3.4.2: <alpha> and <scts> keep their places."""
    dongle = stick("etsi")
    fed(dongle, f'AT+CMGF=1;+CSDH={int(headers)};+CMGW="{PERSON}"\r')
    fed(dongle, "nanti\x1a")
    line = next(one for one in say(dongle, 'AT+CMGL="ALL"').split("\r\n") if one.startswith("+CMGL"))
    assert line == f'+CMGL: 0,"STO UNSENT","{PERSON}",,' + (",145,5" if headers else "")


def test_a_call_rings_in_digits_after_atv0() -> None:
    """ITU-T V.250 §6.2.6: result codes are numeric then, RING is 2."""
    dongle = stick("etsi")
    say(dongle, "ATV0")
    assert dongle.call(PERSON, START)
    assert dongle.drain() == b"2\r"


def test_simcom_names_itself_shortly() -> None:
    assert say(stick("simcom"), "ATI") == "\r\nSIM800 R14.18\r\n\r\nOK\r\n"


def test_it_leaves_the_network_and_finds_it_again_when_told() -> None:
    """3GPP TS 27.007 §7.3: mode 2 deregisters, mode 0 chooses by itself."""
    dongle = stick("etsi")
    say(dongle, "AT+CREG=1")
    assert say(dongle, "AT+COPS=2") == "\r\n+CREG: 0\r\n\r\nOK\r\n"
    assert "+COPS: 2\r\n" in say(dongle, "AT+COPS?")
    dongle.network.text(PERSON, OWN, "Halo", now=START)
    assert texts(dongle, "received") == []
    assert "+CREG: 1\r\n" in say(dongle, "AT+COPS=0")
    assert texts(dongle, "received") == ["Halo"]


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("+COLP", "1,0"),
        ("+CSSN", "1,0"),
        ("+CR", "1"),
        ("+FCLASS", "0"),
        ("+ICF", "1,0"),
        ("+IFC", "1,0"),
        ("+CTZR", "1"),
        ("+CTZU", "1"),
        ("+CBST", "7,0,1"),
    ],
)
def test_settings_of_calls_and_lines_are_offered_and_remembered(name: str, told: str) -> None:
    dongle = stick("etsi")
    assert say(dongle, f"AT{name}=?").startswith(f"\r\n{name}: (")
    say(dongle, f"AT{name}={told[0]}")
    assert f"{name}: {told}\r\n" in say(dongle, f"AT{name}?")


def test_whether_ussd_is_shown_is_told_as_it_was_set() -> None:
    dongle = stick("etsi")
    assert "+CUSD: 0\r\n" in say(dongle, "AT+CUSD?")
    say(dongle, "AT+CUSD=1")
    assert "+CUSD: 1\r\n" in say(dongle, "AT+CUSD?")


def test_own_number_and_phonebook_have_numbers_in_digits_with_any_character_set() -> None:
    """3GPP TS 27.007 §7.1, §8.12; ModemManager shows the number as it comes."""
    dongle = stick("etsi")
    say(dongle, 'AT+CSCS="UCS2"')
    assert f'"{OWN}",145' in say(dongle, "AT+CNUM")
    dongle.sim.phonebook[1] = (PERSON, "Ani")
    assert f'+CPBR: 1,"{PERSON}",145,"0041006E0069"' in say(dongle, "AT+CPBR=1")


@pytest.mark.parametrize("kind", personalities())
def test_a_call_that_goes_out_rings_until_nobody_took_it(kind: str) -> None:
    """GSMTC35 and atgsm wait for OK behind ATD…; and look at the call by +CLCC (3GPP TS 27.007 §6.2, §7.18)."""
    dongle = stick(kind)
    assert fed(dongle, "ATD+6289900000001;\r\n") == OK
    assert re.search(rf'\r\n\+CLCC: 1,0,3,0,0,"\{PERSON}",145\r\n', say(dongle, "AT+CLCC"))
    assert "+CPAS: 4\r\n" in say(dongle, "AT+CPAS")
    assert say(dongle, "ATD0899001;") == "\r\nNO CARRIER\r\n"
    assert dongle.step(START + timedelta(seconds=29)) == b""
    assert dongle.step(START + timedelta(seconds=31)) == b"\r\nNO CARRIER\r\n"
    assert say(dongle, "AT+CLCC") == OK
    assert say(dongle, "ATDT0899001;") == OK
    assert say(dongle, "ATH") == OK
    assert dongle.step(START + timedelta(seconds=99)) == b""


@pytest.mark.parametrize("kind", personalities())
@pytest.mark.parametrize("number", ["*99#", "*99***1#", "T*99#"])
def test_a_number_of_packet_data_is_no_ussd_code(kind: str, number: str) -> None:
    """wvdial, pppd's chat (3GPP TS 27.007 §10.2.1)."""
    dongle = stick(kind)
    assert say(dongle, f"ATD{number}") == "\r\nNO CARRIER\r\n"
    dongle.step(START + timedelta(seconds=60))
    assert texts(dongle, "ussd") == []


def test_simcom_takes_a_line_feed_alone_for_the_end_of_a_line() -> None:
    """gsmHat writes no carriage return, and the text at once behind the command."""
    dongle = stick("simcom")
    assert fed(dongle, "AT+CMGF=1\n") == OK
    assert fed(dongle, 'AT+CPMS="SM"\r\n').endswith(OK)
    said = fed(dongle, f'AT+CMGS="{PERSON}"\nsatu\x1a\n')
    assert said == "\r\n> \r\n+CMGS: 1\r\n" + OK
    assert texts(dongle) == ["satu"]
    assert fed(stick("etsi"), "AT\n") == ""


def test_simcom_leaves_unread_what_is_only_looked_at() -> None:
    """atgsm (SIM800 manual, AT+CMGL, AT+CMGR: <mode>)."""
    dongle = stick("simcom")
    dongle.network.text(PERSON, OWN, "Halo", now=START)
    fed(dongle, "AT+CMGF=1\n\r")
    assert '"REC UNREAD"' in say(dongle, 'AT+CMGL="ALL",1')
    assert '"REC UNREAD"' in say(dongle, "AT+CMGR=1,1")
    assert '"REC UNREAD"' in say(dongle, "AT+CMGR=1,0")
    assert '"REC READ"' in say(dongle, "AT+CMGR=1,1")
    assert say(dongle, "AT+CMGR=1,2") == "\r\n+CMS ERROR: 302\r\n"
    for kind in ("huawei", "zte", "quectel", "etsi"):
        assert say(stick(kind), "AT+CMGL=4,1") == "\r\n+CMS ERROR: 304\r\n"


@pytest.mark.parametrize(
    ("mode", "given", "left"),
    [
        (1, '"DEL READ"', [0, 2, 3]),
        (1, '"DEL UNREAD"', [1, 2, 3]),
        (1, '"DEL SENT"', [0, 1, 2]),
        (1, '"DEL UNSENT"', [0, 1, 3]),
        (1, '"DEL INBOX"', [2, 3]),
        (1, '"DEL ALL"', []),
        (0, "1", [0, 2, 3]),
        (0, "6", []),
        (0, "7", [0, 1, 2, 3]),
        (1, '"DEL"', [0, 1, 2, 3]),
    ],
)
def test_simcom_deletes_many_by_their_state(mode: int, given: str, left: list[int]) -> None:
    """SIM800 manual, AT+CMGDA, which sketches for it use."""
    dongle = stick("simcom")
    pdu = "0001000481725700000161"
    for stat in range(4):
        dongle.sim.storage.put(pdu, stat)
    refused = "+CMS ERROR" in say(dongle, f"AT+CMGF={mode};+CMGDA={given}")
    assert refused == (len(left) == 4)
    assert sorted(slot.stat for _, slot in dongle.sim.storage.listed()) == left
    assert "ERROR" in say(stick("etsi"), "AT+CMGDA=6")


@pytest.mark.parametrize("kind", personalities())
def test_the_number_that_a_program_writes_is_the_sims_own_from_then_on(kind: str) -> None:
    """serialport-gsm, setOwnNumber: it sits in the phonebook ON."""
    dongle = stick(kind)
    assert say(dongle, 'AT+CPBS="ON"') == OK
    assert say(dongle, 'AT+CPBW=1,"+6289900000077",129,"Saya"') == OK
    assert say(dongle, "AT+CNUM") == '\r\n+CNUM: "Saya","+6289900000077",145\r\n' + OK
    dongle.network.text(PERSON, OWN, "Halo", now=START)
    assert texts(dongle, "received") == ["Halo"]


@pytest.mark.parametrize("kind", personalities())
def test_operators_have_names(kind: str) -> None:
    """GSMTC35, ModemDriver."""
    assert say(stick(kind), "AT+COPN").startswith('\r\n+COPN: "51001","INDOSAT"\r\n+COPN: "51010"')


@pytest.mark.parametrize("kind", personalities())
def test_what_is_older_than_gsm_is_refused_with_a_plain_error(kind: str) -> None:
    """mgetty asks for fax by AT+FCLASS and knows no +CME ERROR (3GPP TS 27.007 §9.1)."""
    dongle = stick(kind)
    said = [say(dongle, line) for line in ("ATQ0V1H0", "AT+CMEE=1", "AT+FCLASS=2.0", "AT+FCLASS=2")]
    assert said == [OK, OK, "\r\nERROR\r\n", "\r\nERROR\r\n"]
    assert say(dongle, "AT+FCLASS=0") == OK
