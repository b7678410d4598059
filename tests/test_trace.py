"""What of the exchange a stranger may see."""

from __future__ import annotations

import re
from dataclasses import replace

import byte_peer
import pytest
from byte_peer import LONG, PART, PDU, Peer, opened, settings_for, yes
from hypothesis import given, settings
from hypothesis import strategies as st

from modem import at
from modem.trace import redacted

peer = byte_peer.peer

SHOWN = [
    "OK",
    "AT+CSQ",
    "+CSQ: 20,99",
    "+CMS ERROR: 500",
    "+CME ERROR: SIM busy",
    '+CPMS: "SM",2,30,"ME",0,100',
    '+COPS: 0,0,"XL Axiata",2',
    "+CPIN: SIM PIN",
    "^RSSI:18",
    "AT+CNMI=2,1,0,2",
    "+CMGS: 41",
    "AT+CMGS=23",
    '+CMTI: "SM",3',
    "RING",
]

HIDDEN = [
    ('AT+CPIN="4711"\r', "", "AT+CPIN=<pin>"),
    ("AT+CPIN=4711", "", "AT+CPIN=<pin>"),
    ('AT+CPWD="SC","4711","1174"', "", "AT+CPWD=<pin>"),
    ('AT+CLCK="AI",1,"0000"', "", "AT+CLCK=<pin>"),
    ("990000000000019", "AT+CGSN", "<imei>"),
    ("+CGSN: 990000000000019", "AT+CGSN", "+CGSN: <imei>"),
    ("510110000000001", "AT+CIMI", "<imsi>"),
    ("^ICCID: 98990000000000000021", "AT^ICCID?", "^ICCID: <iccid>"),
    ("8999000000000000001F", "AT+CCID", "<iccid>"),
    ('+CRSM: 144,0,"98990000000000000021"', "AT+CRSM=176,12258,0,0,10", '+CRSM: 144,0,"<20 hex digits>"'),
    (
        '+CNUM: "Budi","+6299000000001",145',
        "AT+CNUM",
        '+CNUM: "<4 characters>","<14 characters>",145',
    ),
    ('+CSCA: "+6299000000001",145', "AT+CSCA?", '+CSCA: "<14 characters>",145'),
    ('+CMT: "+6299000000001",,24', "", '+CMT: "<14 characters>",,24'),
    (PDU, "AT+CMGR=1", f"<pdu {len(PDU) // 2} octets>"),
    (PART.pdu, "", f"<pdu {len(PART.pdu) // 2} octets>"),
    ('+CUSD: 0,"Pulsa Rp 5.000",15', "", '+CUSD: 0,"<14 characters>",15'),
    ('+CUSD: 1,"Pilih:', "", '+CUSD: 1,"<6 characters>"'),
    ("1. Paket SHARING", "", "<16 characters>"),
    ('AT+CUSD=1,"*123*99012345678#",15', "", 'AT+CUSD=1,"<17 characters>",15'),
    ('+CREG: 2,1,"00C3","01A2B3C4",7', "AT+CREG?", '+CREG: 2,1,"<cell>","<cell>",7'),
    ("Saldo JHT KPJ 99012345678", "AT+CMGR=1", "<25 characters>"),
    ("0812-3456-789", "AT+CGMR", "<13 digits>"),
    ("\x1b", "", "<esc>"),
    ("\x1a", "", "<ctrl-z>"),
    (at.PROMPT, "", ">"),
]


@pytest.mark.parametrize("line", SHOWN)
def test_what_tells_nothing_of_anybody_is_shown(line: str) -> None:
    assert redacted(line) == line


@pytest.mark.parametrize(("line", "asked", "shown"), HIDDEN)
def test_what_names_somebody_is_replaced(line: str, asked: str, shown: str) -> None:
    assert redacted(line, asked) == shown


def test_what_tells_the_kind_of_a_stick_is_shown_where_it_was_asked() -> None:
    assert redacted("E173u-2", "AT+CGMM") == "E173u-2"
    assert redacted("11.126.85.00.209", "AT+CGMR") == "11.126.85.00.209"
    assert redacted("E173u-2", "AT+CSQ") == "<7 characters>"


PIECES = st.sampled_from(
    [
        "AT",
        "+CPIN=",
        "+CUSD: ",
        "+CMGL: ",
        "+CREG: ",
        "^X: ",
        '"',
        ",",
        " ",
        "-",
        "4711",
        "62",
        "0812",
        "9901",
        PDU,
    ]
)


@given(
    line=st.one_of(st.text(max_size=80), st.lists(PIECES, max_size=14).map("".join)),
    asked=st.sampled_from(["", "AT+CGMI", "AT+CIMI", "AT+CUSD=1"]),
)
@settings(max_examples=400, deadline=None)
def test_no_number_and_no_pdu_is_left(line: str, asked: str) -> None:
    shown = redacted(line, asked)
    assert not re.search(r"\d{6}", shown)
    assert not re.search(r"[0-9A-Fa-f]{12}", shown)
    assert PDU[:12] not in shown


@given(digits=st.text("0123456789", min_size=4, max_size=8))
@settings(max_examples=50, deadline=None)
def test_no_pin_is_left(digits: str) -> None:
    for command in (
        'AT+CPIN="{}"',
        "at+cpin={}",
        'AT+CPIN="00","{}"',
        'AT+CPWD="SC",{0},{0}',
        'AT+CLCK="SC",0,"{}"',
    ):
        assert digits not in redacted(command.format(digits))


def test_a_session_is_traced_and_names_nobody(peer: Peer) -> None:
    peer.answers["AT+CMGR=1"] = byte_peer.listed("R", 1)
    peer.turns["AT+CPIN?"] = [b"\r\n+CPIN: SIM PIN\r\n\r\nOK\r\n"]
    seen: list[tuple[str, str]] = []
    chosen = replace(
        settings_for(peer.url), pin="4711", trace=lambda direction, line: seen.append((direction, line))
    )
    with opened(chosen) as modem:
        modem.submit([PART], yes)
        modem.read("SM", 1)
        peer.say(b"\r\n+CMT: ,%d\r\n%s\r\n" % (len(PDU) // 2 - 1, PDU.encode()))
        assert modem.wait(LONG)
    assert ("<", "+CMGS: 5") in seen
    assert (">", "<ctrl-z>") in seen
    assert (">", "AT+CPIN=<pin>") in seen
    assert ("<", "<imei>") in seen
    whole = "\n".join(line for _, line in seen)
    assert "huawei" in whole
    for secret in ("4711", "990000000000019", "510110000000001", "9899000000", PDU, PART.pdu):
        assert secret not in whole
