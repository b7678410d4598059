"""The simulated dongle: bytes in, bytes out."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from feeding import feed_all_ways
from hypothesis import given, settings
from hypothesis import strategies as st
from stick_playing import CENTRE, OWN, START, new_dongle, ready, say, second, send

from modem.pdu import Concat, Deliver, StatusReport, decode, encode_deliver
from modem.simulated import Dongle, Knobs, Network

OK = "\r\nOK\r\n"
TABLE = [
    ("AT\r", OK),
    ("at\r", OK),
    ("\x00\x00AT\r", OK),
    ("\x1bAT\r", OK),
    ("\x1a\r\nAT\r\n", OK),
    ("\r\r\r", ""),
    ("hello\r", ""),
    ("ATX\x08\r", OK),
    ("AT+CSQX\x08\r", "\r\n+CSQ: 20,99\r\n" + OK),
    ("AT\rA/", OK + OK),
    ("AT+CSQ\ra/AT\r", ("\r\n+CSQ: 20,99\r\n" + OK) * 2 + OK),
    ("ATE0V1Q0&C1&D2X4\r", OK),
    ("AT E0 ; +CMEE=0 ; +CSQ\r", "\r\n+CSQ: 20,99\r\n" + OK),
    ("AT+CSQ;+CREG?;+FOO;+CGSN\r", "\r\n+CSQ: 20,99\r\n\r\n+CREG: 0,1\r\n\r\nCOMMAND NOT SUPPORT\r\n"),
    ("AT%%\r", "\r\nERROR\r\n"),
    ("AT*\r", "\r\nERROR\r\n"),
    ("ATJ\r", "\r\nERROR\r\n"),
    ("ATE5\r", "\r\nERROR\r\n"),
    ("ATH\r", OK),
    ("ATD0817\r", "\r\nNO CARRIER\r\n"),
    ("ATD0817;\rATH\r", OK + OK),
    ("ATS3?\r", "\r\n013\r\n" + OK),
    ("ATS0=2\rATS0?\r", OK + "\r\n002\r\n" + OK),
    ("ATV0\rAT+CSQ\r", "0\r+CSQ: 20,99\r\n0\r"),
    ("ATV0\rATJ\r", "0\r4\r"),
    ("ATQ1\rAT+CSQ\r", "\r\n+CSQ: 20,99\r\n"),
    ("AT+CMEE=0\rAT+CUSD=7\r", OK + "\r\nERROR\r\n"),
    ("AT+CMEE=2\rAT+CUSD=7\r", OK + "\r\n+CME ERROR: Incorrect parameters\r\n"),
    ("AT+CMEE=2\rAT+CMGR=5\r", OK + "\r\n+CMS ERROR: Invalid memory index\r\n"),
    ("AT+CMEE=9\r", "\r\n+CME ERROR: 50\r\n"),
    ("AT+CMEE?\r", "\r\n+CMEE: 1\r\n" + OK),
    ("AT+CPIN?\r", "\r\n+CPIN: READY\r\n" + OK),
    ("AT+CPIN=1234\r", "\r\n+CME ERROR: 3\r\n"),
    ("AT+CGMI;+CGMM;+CGSN\r", "\r\nhuawei\r\n\r\nE173\r\n\r\n990000000000011\r\n" + OK),
    ("AT+CIMI\r", "\r\n510110000000001\r\n" + OK),
    ("AT+CCID;^ICCID?\r", "\r\n+CCID: 8999000000000000017\r\n\r\n^ICCID: 8999000000000000017\r\n" + OK),
    ("AT+CRSM=176,12258,0,0,10\r", '\r\n+CRSM: 144,0,"989900000000000010F7"\r\n' + OK),
    ("AT+CRSM=176,28486,0,0,17\r", "\r\n+CRSM: 106,130\r\n" + OK),
    ("AT+CNUM\r", '\r\n+CNUM: "","+628170000001",145\r\n' + OK),
    ("AT+CREG=2;+CREG?\r", '\r\n+CREG: 2,1,"00AB","0099CDEF"\r\n' + OK),
    ("AT+CEREG=?\r", "\r\n+CEREG: (0-2)\r\n" + OK),
    ("AT+COPS?;+COPS=3,2;+COPS?\r", '\r\n+COPS: 0,0,"XL",2\r\n\r\n+COPS: 0,2,"51011",2\r\n' + OK),
    (
        "AT+COPS=?\r",
        '\r\n+COPS: (2,"XL","XL","51011",2),(3,"TELKOMSEL","TELKOMSEL","51010",2),(3,"INDOSAT","INDOSAT","51001",2)'
        ",,(0-4),(0-2)\r\n" + OK,
    ),
    ("AT+CFUN=4;+CSQ;+COPS?\r", "\r\n+CSQ: 99,99\r\n\r\n+COPS: 0\r\n" + OK),
    ("AT+CREG=1;+CFUN=4;+CFUN=1\r", "\r\n+CREG: 0\r\n\r\n+CREG: 1\r\n" + OK),
    ("AT+CPMS?\r", '\r\n+CPMS: "SM",0,30,"SM",0,30,"SM",0,30\r\n' + OK),
    ("AT+CPMS=?\r", '\r\n+CPMS: ("SM","ME","SR"),("SM","ME"),("SM","ME")\r\n' + OK),
    ('AT+CPMS="ME",,"ME"\r', "\r\n+CPMS: 0,100,0,30,0,100\r\n" + OK),
    ('AT+CPMS="XX"\r', "\r\n+CMS ERROR: 302\r\n"),
    ("AT+CNMI?;+CNMI=1,2;+CNMI?\r", "\r\n+CNMI: 2,1,0,2,0\r\n\r\n+CNMI: 1,2,0,2,0\r\n" + OK),
    ("AT+CNMI=2,9\r", "\r\n+CMS ERROR: 302\r\n"),
    ("AT+CMGF?;+CMGF=1;+CMGF?\r", "\r\n+CMGF: 0\r\n\r\n+CMGF: 1\r\n" + OK),
    ("AT+CSCA?\r", '\r\n+CSCA: "+6281700000999",145\r\n' + OK),
    ("AT+CSMS=1;+CSMS?\r", "\r\n+CSMS: 1,1,1\r\n\r\n+CSMS: 1,1,1,1\r\n" + OK),
    ("AT+CNMA\r", "\r\n+CMS ERROR: 340\r\n"),
    ("AT+CMGL=4\r", OK),
    ("AT+CMGR=0\r", "\r\n+CMS ERROR: 321\r\n"),
    ("AT+CMGD=0\r", OK),
    ("AT+CMGD=30\r", "\r\n+CMS ERROR: 321\r\n"),
    ("AT+CMGS=10\rAB\x1b", "\r\n> " + OK),
    ("AT+CMGS=10\rABC\x1a", "\r\n> \r\n+CMS ERROR: 304\r\n"),
    ("AT+CMGS=xx\r", "\r\n+CMS ERROR: 304\r\n"),
    ("AT+CMGS=10\r0001000481725700000161\x1aAT\r", "\r\n> \r\n+CMGS: 1\r\n" + OK + OK),
    ("AT+CMGS=9\r0001000481725700000161\x1a", "\r\n> \r\n+CMS ERROR: 304\r\n"),
    ("AT+CMGS=10\r00010004817257 \r\n00000161\x1a", "\r\n> \r\n+CMGS: 1\r\n" + OK),
    (
        'AT+CMGF=1;+CMGS="+62899"\rhai\rdunia\x1aAT\r',
        "\r\n> \r\n> \r\n+CMGS: 1\r\n" + OK + OK,
    ),
    (
        "AT+CMGW=10\r0001000481725700000161\x1aAT+CMSS=0\r",
        "\r\n> \r\n+CMGW: 0\r\n" + OK + "\r\n+CMSS: 1\r\n" + OK,
    ),
    ("AT^CURC=0;^CURC?;^SYSINFO\r", "\r\n^CURC: 0\r\n\r\n^SYSINFO:2,3,0,5,1,,4\r\n" + OK),
    ("AT+CMGS=10\r" + "AT\r" * 3 + "\x1bAT\r", "\r\n> " + OK + OK),
]


@pytest.mark.parametrize(("given_", "said"), TABLE, ids=[repr(row[0]) for row in TABLE])
def test_answers(given_: str, said: str) -> None:
    def fresh() -> Callable[[bytes], list[str]]:
        # What the service answers to a sent text is tested elsewhere.
        dongle = ready(network=Network())
        dongle.network.subscriber("2757", lambda sender, text, now: [])
        return lambda data: list(dongle.feed(data, START).decode("latin-1"))

    feed_all_ways(fresh, given_.encode(), list(said))


def test_echo_comes_before_the_answer() -> None:
    dongle = new_dongle()
    assert say(dongle, "AT+CSQ") == "AT+CSQ\r\r\n+CSQ: 20,99\r\n\r\nOK\r\n"
    assert say(dongle, "AT+CMGS=10") == "AT+CMGS=10\r\r\n> "
    assert dongle.feed(b"00AB\x1b", START) == b"00AB\r\nOK\r\n"


def test_other_makers_know_no_huawei_commands() -> None:
    dongle = ready(maker="ZTE")
    assert say(dongle, "AT^ICCID?") == "\r\nERROR\r\n"
    assert "^" not in say(dongle, "AT+CLAC")


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=12),
            st.sampled_from([b"AT", b"\r", b"A/", b"\x1a", b"\x1b", b"+CMGS=10", b"+CMGF=1", b"E1", b";"]),
        ),
        max_size=12,
    )
)
def test_any_bytes_in_any_pieces(pieces: list[bytes]) -> None:
    whole, piecewise, bytewise = ready(), ready(), ready()
    data = b"".join(pieces)
    said = whole.feed(data, START)
    assert b"".join(piecewise.feed(piece, START) for piece in pieces) == said
    assert b"".join(bytewise.feed(bytes((byte,)), START) for byte in data) == said


def test_a_submit_and_its_reply() -> None:
    dongle = ready()
    assert send(dongle, "2757", "BALANCE#99012345678#") == (
        '\r\n> \r\n+CMGS: 1\r\n\r\nOK\r\n\r\n+CMTI: "SM",0\r\n'
    )
    pdu = encode_deliver("2757", "halo BALANCE#99012345678#", START, centre="+6281700000999")
    lines = say(dongle, "AT+CMGL=4").split("\r\n")
    assert lines[1].startswith("+CMGL: 0,0,,")
    assert len(lines[2]) // 2 - 9 == int(lines[1].rpartition(",")[2])
    found = decode(lines[2])
    assert isinstance(found, Deliver)
    assert (found.sender, found.text, found.service_centre_time) == (
        "2757",
        "halo BALANCE#99012345678#",
        START,
    )
    assert lines[2][:18] == pdu[:18] == CENTRE
    assert say(dongle, "AT+CMGR=0").startswith("\r\n+CMGR: 1,,")
    assert say(dongle, "AT+CMGD=0;+CMGL=4") == "\r\nOK\r\n"


def test_a_long_submit_is_one_text_and_each_part_may_be_reported() -> None:
    dongle = ready()
    text = "saldo " * 60
    said = send(dongle, "+628990000001", text, report=True)
    assert said.count("+CMGS:") == 3
    assert said.count('+CDSI: "SR"') == 3
    assert [mail.text for mail in dongle.network.person("08990000001").inbox] == [text]
    assert [(entry.kind, entry.parts) for entry in dongle.network.ledger] == (
        [("part", 3)] * 3 + [("submitted", 3), ("delivered", 3)] + [("report", 3)] * 3
    )
    lines = say(dongle, 'AT+CPMS="SR";+CMGL=4').split("\r\n")
    report = decode(next(line for line in lines if line.startswith("08")))
    assert isinstance(report, StatusReport)
    assert (report.reference, report.status) == (1, 0)


def test_direct_delivery_waits_for_its_acknowledgement() -> None:
    dongle = ready()
    say(dongle, "AT+CSMS=1;+CNMI=2,2,0,1,0")
    said = send(dongle, "2757", "satu", report=True)
    assert "\r\n+CDS: " in said
    assert "+CMT:" not in said
    assert "\r\n+CMT: ," in say(dongle, "AT+CNMA")
    assert dongle.network.waiting("+628170000001") == 1
    assert say(dongle, "AT+CNMA=0") == "\r\nOK\r\n"
    assert dongle.network.waiting("+628170000001") == 0
    assert [entry.kind for entry in dongle.network.ledger][-2:] == ["report", "received"]


def handed_over() -> Dongle:
    """A stick whose message is at the port and waits for +CNMA."""
    dongle = ready()
    say(dongle, "AT+CSMS=1;+CNMI=2,2,0,0,0")
    assert "+CMT: ," in send(dongle, "2757", "satu")
    return dongle


@pytest.mark.parametrize(("kind", "kept"), [(1, 0), (2, 1)])
def test_an_acknowledgement_in_pdu_mode_may_have_a_tpdu(kind: int, kept: int) -> None:
    """3GPP TS 27.005 §4.7: it is asked for as that of +CMGS is, and has no service centre in front."""
    dongle = handed_over()
    assert say(dongle, f"AT+CNMA={kind},3") == "\r\n> "
    assert dongle.network.waiting(OWN) == 1
    said = dongle.feed(b"00\r\n0000\x1a", START).decode()
    assert said.startswith(OK)
    assert ("+CMT: ," in said) == bool(kept)  # the centre offers again what was refused
    assert dongle.network.waiting(OWN) == kept


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("000000\x1b", OK),
        ("0000\x1a", 304),
        ("010000\x1a", 304),
        ("ab\x1a", 304),
        ("zzzzzz\x1a", 304),
        ("\x1a", 304),
    ],
)
def test_an_acknowledgement_that_is_none_changes_nothing(text: str, said: str | int) -> None:
    dongle = handed_over()
    say(dongle, "AT+CNMA=1,3")
    wanted = f"\r\n+CMS ERROR: {said}\r\n" if isinstance(said, int) else said
    assert dongle.feed(text.encode(), START).decode() == wanted
    assert dongle.network.waiting(OWN) == 1
    assert say(dongle, "AT+CNMA=1,0") == OK
    assert say(dongle, "AT+CNMA=1,3") == "\r\n+CMS ERROR: 340\r\n"


def test_text_mode_acknowledges_without_a_tpdu() -> None:
    dongle = handed_over()
    say(dongle, "AT+CMGF=1")
    assert say(dongle, "AT+CNMA=?") == OK
    assert say(dongle, "AT+CNMA=1,3") == "\r\n+CMS ERROR: 302\r\n"
    assert say(dongle, "AT+CNMA") == OK


def test_a_stick_that_leaves_while_it_waits_for_an_acknowledgement_hides_no_submit() -> None:
    dongle = handed_over()
    dongle.turn(START, next={"reset_prompt": 1})
    say(dongle, "AT+CNMA=1,3")
    dongle.feed(b"000000\x1a", START)
    assert (dongle.fired["reset_prompt"], dongle.hidden) == (1, 0)


def test_direct_delivery_without_acknowledgement_is_switched_off_and_offered_again() -> None:
    dongle = ready()
    say(dongle, "AT+CSMS=1;+CNMI=2,2,0,0,0")
    assert "+CMT: ," in send(dongle, "2757", "satu")
    dongle.step(second(20))
    assert "+CNMI: 2,0,0,0,0" in say(dongle, "AT+CNMI?", second(20))
    assert '"SM",1,30' in say(dongle, "AT+CPMS?", second(20))


def test_direct_delivery_without_phase_2_needs_no_acknowledgement() -> None:
    dongle = ready()
    say(dongle, "AT+CNMI=2,2,0,0,0")
    send(dongle, "2757", "satu")
    assert "+CMT: ," in send(dongle, "2757", "dua")
    assert dongle.network.waiting("+628170000001") == 0


def test_indications_wait_in_mode_0() -> None:
    dongle = ready()
    say(dongle, "AT+CNMI=0,1,0,0,0")
    assert "+CMTI" not in send(dongle, "2757", "satu")
    assert say(dongle, "AT+CNMI=2,1,0,0,0") == '\r\n+CMTI: "SM",0\r\n\r\nOK\r\n'
    say(dongle, "AT+CNMI=0,1,0,0,0")
    send(dongle, "2757", "dua")
    assert say(dongle, "AT+CNMI=2,1,0,0,1") == "\r\nOK\r\n"


def test_indications_wait_while_a_text_is_entered() -> None:
    dongle = ready()
    say(dongle, "AT+CMGS=10")
    dongle.network.text("PROMO", "+628170000001", "murah", now=START)
    assert dongle.step(START) == b""
    assert dongle.feed(b"\x1b", START) == b'\r\nOK\r\n\r\n+CMTI: "SM",0\r\n'


def test_text_mode_reads_and_lists() -> None:
    dongle = ready()
    send(dongle, "2757", "satu")
    say(dongle, "AT+CMGF=1")
    head = '"2757",,"26/11/24,10:00:00+28"'
    assert say(dongle, 'AT+CMGL="REC UNREAD"') == (
        f'\r\n+CMGL: 0,"REC UNREAD",{head}\r\nhalo satu\r\n\r\nOK\r\n'
    )
    assert say(dongle, "AT+CMGR=0") == f'\r\n+CMGR: "REC READ",{head}\r\nhalo satu\r\n\r\nOK\r\n'
    assert say(dongle, 'AT+CSCS="UCS2"') == "\r\nOK\r\n"
    assert "\r\n00680061006C006F00200073006100740075\r\n" in say(dongle, "AT+CMGR=0")
    assert say(dongle, 'AT+CMGS="0032003700350037"') == "\r\n> "
    assert b"+CMGS: 2" in dongle.feed(b"006400750061\x1a", START)
    assert dongle.network.ledger[-1].text == "halo dua"


def test_text_mode_uses_the_gsm_alphabet() -> None:
    dongle = ready()
    say(dongle, 'AT+CSCS="GSM";+CMGF=1')
    assert say(dongle, 'AT+CMGS="+628990000001"') == "\r\n> "
    dongle.feed(b"a\x00b\x02\x1a", START)
    assert dongle.network.person("+628990000001").inbox[0].text == "a@b$"


def test_the_pin_and_the_puk() -> None:
    dongle = ready(pin="1234")
    assert say(dongle, "AT+CPIN?") == "\r\n+CPIN: SIM PIN\r\n\r\nOK\r\n"
    assert say(dongle, "AT+CIMI") == "\r\n+CME ERROR: 11\r\n"
    assert say(dongle, "AT+CMGL=4") == "\r\n+CMS ERROR: 311\r\n"
    assert say(dongle, "AT+CREG?") == "\r\n+CREG: 0,0\r\n\r\nOK\r\n"
    for _ in range(3):
        assert say(dongle, 'AT+CPIN="0000"') == "\r\n+CME ERROR: 16\r\n"
    assert say(dongle, "AT+CPIN?") == "\r\n+CPIN: SIM PUK\r\n\r\nOK\r\n"
    assert say(dongle, 'AT+CPIN="1234"') == "\r\n+CME ERROR: 12\r\n"
    assert say(dongle, 'AT+CPIN="99999999","4321"') == "\r\nOK\r\n"
    assert say(dongle, "AT+CREG?") == "\r\n+CREG: 0,1\r\n\r\nOK\r\n"
    dongle.unplug(START)
    dongle.plug(START)
    say(dongle, "ATE0")
    assert say(dongle, 'AT+CPIN="4321";+CLCK="SC",2') == "\r\n+CLCK: 1\r\n\r\nOK\r\n"
    assert say(dongle, 'AT+CLCK="SC",0,"4321";+CLCK="SC",2') == "\r\n+CLCK: 0\r\n\r\nOK\r\n"


def test_a_full_store_keeps_texts_in_the_network() -> None:
    dongle = ready(sm_slots=2)
    for text in ("satu", "dua", "tiga"):
        send(dongle, "2757", text)
    assert '"SM",2,2' in say(dongle, "AT+CPMS?")
    assert dongle.network.waiting("+628170000001") == 1
    assert say(dongle, "AT+CMGD=0") == '\r\nOK\r\n\r\n+CMTI: "SM",0\r\n'
    assert [entry.text for entry in dongle.network.ledger if entry.kind == "received"] == [
        "halo satu",
        "halo dua",
        "halo tiga",
    ]
    assert dongle.fill(START) == 0


def test_cmgd_flags() -> None:
    dongle = ready()
    for text in ("satu", "dua"):
        send(dongle, "2757", text)
    say(dongle, "AT+CMGR=0")
    say(dongle, "AT+CMGD=0,1")
    assert say(dongle, "AT+CMGD=?") == "\r\n+CMGD: (1),(0-4)\r\n\r\nOK\r\n"
    say(dongle, "AT+CMGD=0,4")
    assert say(dongle, "AT+CMGL=4") == "\r\nOK\r\n"


def test_a_reset_forgets_the_session_but_not_the_messages() -> None:
    dongle = ready(maker="ETSI")
    send(dongle, "2757", "satu")
    assert say(dongle, "AT+CFUN=1,1") == "\r\nOK\r\n"
    assert say(dongle, "AT+CNMI?") == "AT+CNMI?\r\r\n+CNMI: 0,0,0,0,0\r\n\r\nOK\r\n"
    assert '"SM",1,30' in say(dongle, "AT+CPMS?")


# -- knobs -------------------------------------------------------------------------------------------


def test_latency_and_radio_time() -> None:
    dongle = ready()
    dongle.turn(START, latency=0.5)
    assert say(dongle, "AT") == ""
    assert say(dongle, "AT+CSQ") == ""
    assert dongle.network.due == second(0.5)
    assert dongle.step(second(0.5)) == b"\r\nOK\r\n"
    assert dongle.step(second(1)) == b"\r\n+CSQ: 20,99\r\n\r\nOK\r\n"
    dongle.turn(second(1), latency=0, radio=3)
    assert send(dongle, "2757", "satu", second(1)) == "\r\n> "
    assert dongle.network.ledger == []
    assert dongle.step(second(4)) == b'\r\n+CMGS: 1\r\n\r\nOK\r\n\r\n+CMTI: "SM",0\r\n'


@pytest.mark.parametrize("sends", [True, False])
def test_silence_after_ctrl_z(sends: bool) -> None:
    dongle = ready()
    dongle.network.subscriber("2757", lambda sender, text, now: [])
    dongle.turn(START, silence=1, silent_sends=sends)
    assert send(dongle, "2757", "satu") == "\r\n> "
    assert [entry.text for entry in dongle.network.ledger if entry.kind == "submitted"] == ["satu"] * sends
    assert say(dongle, "AT") == "\r\nOK\r\n"
    assert "+CMGS: " in send(dongle, "2757", "dua")


def test_a_late_cmgs_is_on_the_air_at_once() -> None:
    dongle = ready()
    dongle.turn(START, late_cmgs=40)
    assert send(dongle, "2757", "satu") == '\r\n> \r\n+CMTI: "SM",0\r\n'
    assert say(dongle, "AT", second(1)) == ""
    assert dongle.step(second(40)) == b"\r\n+CMGS: 1\r\n\r\nOK\r\n\r\nOK\r\n"
    dongle.turn(second(40), answers_while_sending=True)
    send(dongle, "2757", "dua", second(40))
    assert say(dongle, "AT", second(41)) == "\r\nOK\r\n"


def test_errors_in_place_of_the_prompt_and_after_it() -> None:
    dongle = ready()
    dongle.turn(START, submit_errors=1, submit_error=38)
    assert send(dongle, "2757", "satu").endswith("\r\n+CMS ERROR: 38\r\n")
    dongle.turn(START, prompt_errors=1)
    assert say(dongle, "AT+CMGS=10") == "\r\n+CMS ERROR: 38\r\n"
    assert dongle.network.ledger == []
    assert "+CMGS: 1" in send(dongle, "2757", "dua")


def test_lost_and_bare_prompts() -> None:
    dongle = ready()
    dongle.turn(START, no_prompt=1, bare_prompt=True)
    assert say(dongle, "AT+CMGS=10") == ""
    assert say(dongle, "AT") == ""
    assert dongle.feed(b"\x1b", START) == b"\r\nOK\r\n"
    assert say(dongle, "AT+CMGS=10") == "\r\n>"


def test_without_network_nothing_is_sent() -> None:
    dongle = ready()
    say(dongle, "AT+CREG=1")
    dongle.turn(START, registration=2)
    assert dongle.step(START) == b"\r\n+CREG: 2\r\n"
    assert say(dongle, "AT+CREG?") == "\r\n+CREG: 1,2\r\n\r\nOK\r\n"
    assert send(dongle, "2757", "satu").endswith("\r\n+CMS ERROR: 331\r\n")
    assert dongle.network.ledger == []


def test_lost_indications_and_reports() -> None:
    dongle = ready()
    dongle.turn(START, lose_cmti=1, report_status=None)
    assert send(dongle, "2757", "satu", report=True) == "\r\n> \r\n+CMGS: 1\r\n\r\nOK\r\n"
    assert '"SM",1,30' in say(dongle, "AT+CPMS?")


def test_noise_storm_and_split_change_only_what_they_should() -> None:
    dongle = ready()
    dongle.turn(START, storm=1)
    assert say(dongle, "AT+CGSN").startswith(("\r\n^RSSI:20\r\n99", "\r\n^MODE:", "\r\n^DSFLOWRPT:"))
    dongle.turn(START, storm=0, noise=1)
    dirty = dongle.feed(b"AT\r", START)
    assert dirty != b"\r\nOK\r\n"
    assert dirty.translate(None, bytes((0, *range(0x80, 0x100)))) == b"\r\nOK\r\n"
    dongle.turn(START, noise=0, split=1)
    first = dongle.feed(b"AT+CGSN\r", START)
    rest = b""
    now = START
    while dongle.network.due is not None:
        now = dongle.network.due
        piece = dongle.step(now)
        assert piece
        rest += piece
    assert now > START
    assert first + rest == b"\r\n990000000000011\r\n\r\nOK\r\n"


def test_knobs_that_do_not_exist_or_fit_change_nothing() -> None:
    knobs = Knobs()
    with pytest.raises(ValueError, match="no knob 'rado'; there are latency"):
        knobs.turn({"radio": 2, "rado": 1})
    with pytest.raises(ValueError, match="takes no 'much'"):
        knobs.turn({"noise": "much"})
    with pytest.raises(ValueError, match="takes no True"):
        knobs.turn({"silence": True})
    assert knobs == Knobs()


def test_unplugged_it_says_nothing_and_texts_wait() -> None:
    dongle = ready()
    plugs: list[bool] = []
    dongle.on_plug = plugs.append
    dongle.turn(START, radio=2)
    send(dongle, "2757", "satu")
    dongle.unplug(second(1), timedelta(seconds=5))
    dongle.network.text("PROMO", "+628170000001", "murah", now=second(1))
    assert say(dongle, "AT", second(2)) == ""
    assert dongle.step(second(4)) == b""
    assert dongle.network.ledger == []
    dongle.step(second(6))
    assert plugs == [False, True]
    assert say(dongle, "ATE0", second(6)).startswith("ATE0\r")
    assert '"SM",1,30' in say(dongle, "AT+CPMS?", second(6))


def test_parts_carry_their_place() -> None:
    dongle = ready()
    dongle.network.text("PROMO", "+628170000001", "é" + "a" * 200, part_order=(2, 1), now=START)
    lines = say(dongle, "AT+CMGL=4").split("\r\n")
    parts = [decode(line) for line in lines if line.startswith("08")]
    assert [part.concat for part in parts if isinstance(part, Deliver)] == [
        Concat(1, 8, 2, 2),
        Concat(1, 8, 2, 1),
    ]
