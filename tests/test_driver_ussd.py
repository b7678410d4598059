"""USSD through SerialModem, against a scripted byte peer: three forms, menus, the network's own texts, deadlines."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from datetime import timedelta

import byte_peer
import pytest
from byte_peer import ANSWERS, LONG, Peer, opened, settings_for

from modem import ModemError, ModemLost, SerialModem, Ussd

peer, modem = byte_peer.peer, byte_peer.modem

OK = b"\r\nOK\r\n"
MOMENT = timedelta(milliseconds=100)
TEXT = 'AT+CUSD=1,"*123#",15'
PACKED = 'AT+CUSD=1,"AA986C3602",15'
UCS2 = 'AT+CUSD=1,"002A0031003200330023",15'


@pytest.fixture
def plain(peer: Peer) -> Iterator[SerialModem]:
    """A modem of no known maker."""
    peer.answers["AT+CGMI"] = b"\r\nnobody\r\n\r\nOK\r\n"
    with opened(settings_for(peer.url)) as modem:
        peer.heard.clear()
        yield modem


@pytest.mark.parametrize(
    ("taken", "answer", "charset"),
    [
        (TEXT, b'+CUSD: 0,"Pulsa Rp 5.000",15', ["GSM"]),
        (PACKED, b'+CUSD: 0,"D03A7B1E0649E1A09A0B068301",15', ["GSM"]),
        (
            UCS2,
            b'+CUSD: 0,"00500075006C0073006100200052007000200035002E003000300030",72',
            ["GSM", "UCS2", "GSM"],
        ),
    ],
    ids=["text", "packed", "ucs2"],
)
def test_a_code_goes_out_in_the_form_that_is_taken(
    peer: Peer, plain: SerialModem, taken: str, answer: bytes, charset: list[str]
) -> None:
    for command in (TEXT, PACKED, UCS2):
        peer.answers[command] = b"\r\n+CME ERROR: 25\r\n"
    peer.answers[taken] = OK + b"\r\n" + answer + b"\r\n"
    said = plain.ussd("*123#", LONG)
    assert said == Ussd("Pulsa Rp 5.000")
    assert [heard[9:-1] for heard in peer.heard if heard.startswith("AT+CSCS=")] == charset
    peer.heard.clear()
    plain.ussd("*123#", LONG)
    assert [heard for heard in peer.heard if "CUSD" in heard] == [taken]  # the others are not tried again


def test_a_menu_is_answered_and_left(peer: Peer, plain: SerialModem) -> None:
    menu = b'\r\n+CUSD: 1,"Pilih:\r\n1. Pulsa\r\n2. Paket SHARING\r\nOK?",15\r\n'
    peer.answers[TEXT] = OK + menu
    peer.answers['AT+CUSD=1,"1",15'] = OK + b'\r\n+CUSD: 2,"Pulsa Rp 5.000",15\r\n'
    assert plain.ussd("*123#", LONG) == Ussd("Pilih:\n1. Pulsa\n2. Paket SHARING\nOK?", more=True)
    assert plain.ussd("1", LONG) == Ussd("Pulsa Rp 5.000")
    plain.ussd_cancel()
    assert "AT+CUSD=2" not in peer.heard
    plain.ussd("*123#", LONG)
    plain.ussd_cancel()
    plain.ussd_cancel()
    assert peer.heard.count("AT+CUSD=2") == 1
    assert plain.calls() == 0


def test_an_answer_before_the_ok_is_one_too(peer: Peer, plain: SerialModem) -> None:
    peer.answers[TEXT] = b'\r\n+CUSD: 0,"Pulsa",15\r\n' + OK
    assert plain.ussd("*123#", LONG).text == "Pulsa"


@pytest.mark.parametrize(
    ("said", "code", "retryable"),
    [
        (b"+CUSD: 2", "ussd_refused", False),
        (b"+CUSD: 3", "ussd_refused", False),
        (b"+CUSD: 4", "ussd_unsupported", False),
        (b'+CUSD: 4,"",15', "ussd_unsupported", False),
        (b"+CUSD: 5", "ussd_timeout", True),
    ],
)
def test_what_the_network_says_instead(
    peer: Peer, plain: SerialModem, said: bytes, code: str, retryable: bool
) -> None:
    peer.answers[TEXT] = OK + b"\r\n" + said + b"\r\n"
    with pytest.raises(ModemError) as refusal:
        plain.ussd("*123#", LONG)
    assert (refusal.value.code, refusal.value.blame, refusal.value.retryable) == (code, "network", retryable)


def test_a_code_that_no_form_is_taken_of(peer: Peer, plain: SerialModem) -> None:
    for command in (TEXT, PACKED, UCS2):
        peer.answers[command] = b"\r\nERROR\r\n"
    with pytest.raises(ModemError, match="ussd_refused"):
        plain.ussd("*123#", LONG)
    assert [heard for heard in peer.heard if "CUSD" in heard] == [TEXT, PACKED, UCS2]


def test_no_network_is_not_tried_in_other_forms(peer: Peer, plain: SerialModem) -> None:
    peer.answers[TEXT] = b"\r\n+CME ERROR: 30\r\n"
    with pytest.raises(ModemError, match="no_network_service"):
        plain.ussd("*123#", LONG)
    assert PACKED not in peer.heard


def test_a_late_answer_is_not_that_of_the_next_code(peer: Peer, plain: SerialModem) -> None:
    peer.answers[TEXT] = OK
    with pytest.raises(ModemError, match="ussd_timeout"):
        plain.ussd("*123#", MOMENT)
    assert peer.heard[-1] == "AT+CUSD=2"
    peer.answers["AT+CSQ"] = b'\r\n+CUSD: 0,"Pulsa lama",15\r\n' + ANSWERS["AT+CSQ"]
    assert plain.status().signal == 20
    peer.answers['AT+CUSD=1,"*888#",15'] = OK + b'\r\n+CUSD: 0,"baru",15\r\n'
    assert plain.ussd("*888#", LONG).text == "baru"
    assert plain.pushed() == ["Pulsa lama"]
    assert plain.pushed() == []


def test_a_text_may_have_lines_that_look_like_results(peer: Peer, plain: SerialModem) -> None:
    peer.answers[TEXT] = OK + b'\r\n+CUSD: 1,"Beli paket?\r\nOK\r\nERROR\r\n0 batal",15\r\n'
    answer = plain.ussd("*123#", LONG)
    assert (answer.text, answer.more) == ("Beli paket?\nOK\nERROR\n0 batal", True)
    assert plain.status().signal == 20


def test_a_text_that_was_cut_takes_nothing_with_it(peer: Peer, plain: SerialModem) -> None:
    peer.answers["AT+CSQ"] = b'\r\n+CUSD: 0,"Iklan\r\nhebat\r\n\r\n+CMTI: "SM",4\r\n' + ANSWERS["AT+CSQ"]
    assert plain.status().signal == 20
    assert plain.hinted() == {("SM", 4)}


@pytest.mark.parametrize("code", ["", 'x"', "*123#\r", "1" * 183])
def test_what_is_no_code_is_not_sent(peer: Peer, plain: SerialModem, code: str) -> None:
    with pytest.raises(ModemError, match="ussd_invalid"):
        plain.ussd(code, LONG)
    assert peer.heard == []


def test_a_stick_that_goes_while_the_network_is_asked(peer: Peer, plain: SerialModem) -> None:
    peer.answers[TEXT] = OK

    def pull() -> None:
        peer.hears(TEXT)
        peer.unplug()

    puller = threading.Thread(target=pull)
    puller.start()
    with pytest.raises(ModemLost, match="port_lost"):
        plain.ussd("*123#", LONG)
    puller.join()
