"""What may happen to a session: a modem that starts, forgets or rings, a SIM that is not ready, locked, swapped or gone."""

from __future__ import annotations

from contextlib import closing, suppress
from dataclasses import replace
from datetime import timedelta

import byte_peer
import pytest
from byte_peer import ANSWERS, LONG, PART, SOON, Peer, opened, settings_for, yes

from modem import ModemError, ModemLost, NotSubmitted, SerialModem, SimLocked
from modem.port import Restart

peer, modem, hasty = byte_peer.peer, byte_peer.modem, byte_peer.hasty

OK = b"\r\nOK\r\n"
ERROR = b"\r\nERROR\r\n"
INDICATED = b"\r\n+CNMI: 2,1,0,1,0\r\n\r\nOK\r\n"
FORGOTTEN = b"\r\n+CNMI: 0,0,0,0,0\r\n\r\nOK\r\n"
MOMENT = timedelta(milliseconds=50)


def line(text: str) -> bytes:
    return f"\r\n{text}\r\n\r\nOK\r\n".encode()


def code_of_opening(peer: Peer, **settings: object) -> ModemError:
    chosen = replace(settings_for(peer.url), **settings)  # type: ignore[arg-type]
    with closing(SerialModem(chosen)) as modem, pytest.raises(ModemError) as refusal:
        modem.open()
    return refusal.value


# Starting


def test_a_modem_that_starts_is_waited_for(peer: Peer) -> None:
    """It has said what only a starting modem says, and answers no AT for longer than a silent port is given."""
    peer.turns["AT"] = [b"\r\nRDY\r\n", b"\r\n+CFUN: 1\r\n"]
    peer.turns["ATQ0V1"] = [b"", b""]
    settings = replace(settings_for(peer.url), wake_timeout=timedelta(seconds=0.5))
    with opened(settings) as modem:
        assert modem.submit([PART], yes) == [5]
    assert peer.heard.count("AT") == 3


def test_a_modem_that_starts_for_ever_is_given_up(peer: Peer) -> None:
    peer.answers["AT"] = peer.answers["ATQ0V1"] = b"\r\nRDY\r\n"
    refusal = code_of_opening(peer, wake_timeout=MOMENT, boot_timeout=timedelta(seconds=1))
    assert (refusal.code, refusal.retryable) == ("not_a_modem", True)
    assert [peer.heard.count(command) for command in ("AT", "ATQ0V1")] == [1, 1]


def test_a_sim_that_starts_is_waited_for(peer: Peer) -> None:
    peer.turns["AT+CPIN?"] = [line("+CPIN: NOT READY")]
    with opened(settings_for(peer.url)) as modem:
        assert modem.status().can_send


def test_a_sim_that_never_gets_ready_is_no_locked_one(peer: Peer) -> None:
    peer.answers["AT+CPIN?"] = line("+CPIN: NOT READY")
    refusal = code_of_opening(peer, boot_timeout=timedelta(0))
    assert (refusal.code, refusal.blame, refusal.retryable) == ("sim_not_ready", "sim", True)
    assert not isinstance(refusal, SimLocked)


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (line("+CPIN: NOT INSERTED"), "sim_not_inserted"),
        (b"\r\n+CME ERROR: SIM not inserted\r\n", "sim_not_inserted"),
        (line("+CPIN: PH-SIM PIN"), "sim_network_locked"),
        (b"\r\n+CME ERROR: 5\r\n", "sim_network_locked"),
        (b"\r\n+CME ERROR: 40\r\n", "sim_network_locked"),
        (b"\r\n+CME ERROR: network personalization PIN required\r\n", "sim_network_locked"),
        (b"\r\n+CMS ERROR: 312\r\n", "sim_network_locked"),
        (line("+CPIN: BLOCKED"), "sim_locked"),
    ],
)
def test_why_a_sim_cannot_be_used(peer: Peer, answer: bytes, code: str) -> None:
    peer.answers["AT+CPIN?"] = answer
    refusal = code_of_opening(peer, pin="4711")
    assert (refusal.code, refusal.blame) == (code, "sim")
    assert ":" in refusal.detail
    assert not any(heard.startswith("AT+CPIN=") for heard in peer.heard)


# The tries of a PIN


@pytest.mark.parametrize(
    ("maker", "query", "answer", "left"),
    [
        ("huawei", "AT^CPIN?", "^CPIN: SIM PIN,1,10,1,10,3", 1),
        ("huawei", "AT^CPIN?", "^CPIN: SIM PIN,3,10,3,10,3", 3),
        ("Telit", "AT#PCT", "#PCT: 1", 1),
        ("nobody", 'AT+CPINR="SIM PIN"', "+CPINR: SIM PIN,1,3", 1),
        ("nobody", 'AT+CPINR="SIM PIN"', "+CPINR: SIM PIN,2,3", 2),
        ("nobody", 'AT+CPINR="SIM PIN"', "", None),
    ],
)
def test_the_last_try_of_a_pin_is_left_to_a_person(
    peer: Peer, maker: str, query: str, answer: str, left: int | None
) -> None:
    peer.answers["AT+CGMI"] = line(maker)
    peer.turns["AT+CPIN?"] = [line("+CPIN: SIM PIN")]
    peer.answers[query] = line(answer) if answer else ERROR
    settings = replace(settings_for(peer.url), pin="4711")
    if left == 1:
        refusal = code_of_opening(peer, pin="4711")
        assert isinstance(refusal, SimLocked)
        assert (refusal.code, refusal.pin_was_offered) == ("sim_pin_too_few_tries", False)
    else:
        with opened(settings) as modem:
            assert modem.status().can_send
    assert peer.heard.count('AT+CPIN="4711"') == (0 if left == 1 else 1)
    assert query in peer.heard


# What is still as it was set


def as_set(peer: Peer) -> None:
    peer.answers["AT+CPMS?"] = line('+CPMS: "SM",2,30,"ME",0,100,"SM",2,30')
    peer.answers["AT+CNMI?"] = INDICATED


def test_verifying_what_is_in_order_only_asks(peer: Peer, modem: SerialModem) -> None:
    as_set(peer)
    modem.verify()
    assert peer.heard == ["AT^ICCID?", "AT+CIMI", "AT+CMGF?", "AT+CPMS?", "AT+CNMI?"]
    assert modem.hinted() == set()


@pytest.mark.parametrize(
    ("query", "answer"),
    [
        ("AT+CNMI?", FORGOTTEN),
        ("AT+CMGF?", line("+CMGF: 1")),
        ("AT+CPMS?", line('+CPMS: "ME",0,100,"ME",0,100,"ME",0,100')),
    ],
)
def test_a_modem_that_forgot_is_set_up_again_and_read(
    peer: Peer, modem: SerialModem, query: str, answer: bytes
) -> None:
    as_set(peer)
    peer.turns[query] = [answer]
    modem.verify()
    for command in ("AT+CMGF=0", 'AT+CPMS="SM","ME","SM"', "AT+CNMI=2,1,0,1"):
        assert command in peer.heard
    assert modem.wait(LONG)
    assert modem.hinted() == {("", 0)}


@pytest.mark.parametrize(
    ("query", "answer", "code"),
    [
        ("AT^ICCID?", line("^ICCID: 98990000000000000039"), "sim_changed"),
        ("AT+CIMI", line("510110000000002"), "sim_changed"),
        ("AT+CIMI", b"\r\n+CME ERROR: 10\r\n", "sim_not_inserted"),
        ("AT+CIMI", b"\r\n+CME ERROR: SIM failure\r\n", "sim_failure"),
    ],
)
def test_another_sim_or_none_ends_the_session(
    peer: Peer, modem: SerialModem, query: str, answer: bytes, code: str
) -> None:
    peer.answers[query] = answer
    with pytest.raises(ModemLost) as lost:
        modem.verify()
    assert lost.value.code == code
    with pytest.raises(ModemLost):
        modem.wait(LONG)


def test_a_sim_that_cannot_be_read_now_is_no_other_one(peer: Peer, modem: SerialModem) -> None:
    as_set(peer)
    peer.answers["AT^ICCID?"] = ERROR
    peer.answers["AT+CIMI"] = line("51011#000000001")
    modem.verify()


def test_after_an_error_of_the_sim_the_next_call_looks_whose_it_is(peer: Peer, modem: SerialModem) -> None:
    as_set(peer)
    peer.turns["AT+CMGR=1"] = [b"\r\n+CMS ERROR: 313\r\n"]
    with pytest.raises(ModemError, match="sim_failure"):
        modem.read("SM", 1)
    modem.status()
    assert peer.heard[1:3] == ["AT^ICCID?", "AT+CIMI"]
    peer.verdicts = [b"\r\n+CMS ERROR: 8\r\n", b"\r\n+CMGS: 5\r\n\r\nOK\r\n"]
    with pytest.raises(NotSubmitted):
        modem.submit([PART], yes)
    peer.answers["AT+CIMI"] = line("510110000000002")
    with pytest.raises(NotSubmitted, match="sim_changed"):
        modem.submit([PART], yes)
    assert len(peer.submitted) == 1


def test_a_start_that_changed_nothing_ends_nothing(peer: Peer, modem: SerialModem) -> None:
    """Some say RDY again and again while they work: each is looked into, none opens the lane anew."""
    as_set(peer)
    for _ in range(3):
        peer.say(b"\r\nRDY\r\n")
        assert not modem.wait(LONG)
        assert modem.submit([PART], yes) == [5]
    assert peer.heard.count("AT+CNMI?") == 3


def test_a_start_that_changed_something_is_mended(peer: Peer, modem: SerialModem) -> None:
    as_set(peer)
    peer.turns["AT+CNMI?"] = [FORGOTTEN]
    peer.say(b"\r\nRDY\r\n")
    assert modem.wait(LONG)
    assert "AT+CNMI=2,1,0,1" in peer.heard


def test_a_start_while_sending_does_not_hide_a_verdict_that_comes(peer: Peer, modem: SerialModem) -> None:
    as_set(peer)
    peer.verdicts = [b"\r\nRDY\r\n\r\n+CMGS: 5\r\n\r\nOK\r\n"]
    assert modem.submit([PART], yes) == [5]


# Calls


def test_a_call_is_hung_up_and_counted(peer: Peer, modem: SerialModem) -> None:
    peer.say(b"\r\nRING\r\n\r\nRING\r\n")
    assert not modem.wait(LONG)
    assert peer.heard == ["ATH"]
    assert modem.calls() == 1
    assert modem.calls() == 0


def test_a_call_is_hung_up_where_ath_is_refused_and_before_the_next_text(
    peer: Peer, modem: SerialModem
) -> None:
    peer.answers["ATH"] = ERROR
    peer.answers["AT+CSQ"] = b"\r\n+CRING: VOICE\r\n" + ANSWERS["AT+CSQ"]
    assert modem.status().signal == 20
    peer.heard.clear()
    assert modem.submit([PART], yes) == [5]
    assert peer.heard[:2] == ["ATH", "AT+CHUP"]
    assert peer.heard[2].startswith("AT+CMGS=")


def test_a_call_that_goes_on_is_hung_up_the_other_way(peer: Peer, modem: SerialModem) -> None:
    for _ in range(2):
        peer.say(b"\r\nRING\r\n")
        assert not modem.wait(LONG)
    assert peer.heard == ["ATH", "AT+CHUP"]


def test_calls_are_barred_once_where_that_is_wished(peer: Peer) -> None:
    peer.answers['AT+CLCK="AI",1,"0000"'] = b"\r\n+CME ERROR: 16\r\n"
    with opened(replace(settings_for(peer.url), bar_calls=True)) as modem:
        assert modem.status().can_send
        modem.status()
        assert peer.heard.count('AT+CLCK="AI",1,"0000"') == 1


# Settings of the network, what is asked, starting anew


def test_network_mode_and_the_way_of_sms_are_set_as_the_maker_wants_it(peer: Peer) -> None:
    peer.answers["AT+CGSMS=3"] = ERROR
    with opened(replace(settings_for(peer.url), network_mode="2g", sms_over="cs_first")):
        assert any(heard.startswith("AT^SYSCFG=13,") for heard in peer.heard)
        assert "AT+CGSMS=3" in peer.heard


def test_only_what_changes_nothing_is_examined(peer: Peer, hasty: SerialModem) -> None:
    peer.answers["AT+CSCA?"] = b"\r\n+CME ERROR: 4\r\n"
    peer.answers["AT+CLAC"] = b""
    assert hasty.examine(["AT+CSQ", "AT+CLAC", "AT+CSCA?"]) == {
        "AT+CSQ": ["+CSQ: 20,99", "OK"],
        "AT+CLAC": [],
        "AT+CSCA?": ["+CME ERROR: 4"],
    }
    peer.heard.clear()
    for command in ('AT+CPIN="4711"', "AT+CSQ;+CFUN=0", "ATD123;", "AT+CMGD=1,4", "AT&F", "AT+CFUN=1,1"):
        with pytest.raises(ValueError, match="may change"):
            hasty.examine(["AT+CSQ", command])
    assert peer.heard == []


@pytest.mark.parametrize("gone", [True, False])
def test_starting_anew_ends_the_session(peer: Peer, gone: bool) -> None:
    peer.answers["AT+CGMI"] = line("nobody")
    peer.answers["AT+CFUN=1,1"] = b"" if gone else OK
    with opened(settings_for(peer.url, SOON)) as modem:
        assert modem.restart()
        assert "AT+CFUN=1,1" in peer.heard
        with pytest.raises(ModemLost, match="restarting"):
            modem.status()


@pytest.mark.parametrize(
    ("model", "restart", "sim", "told"),
    [
        ("nothing known", "first", "+CPIN: READY", True),
        ("nothing known", "stuck", "+CME ERROR: SIM wrong", True),
        ("nothing known", "stuck", "+CPIN: READY", False),
        ("nothing known", "stuck", "+CPIN: SIM PIN", False),
        ("E173", "first", "+CPIN: READY", False),
        ("E173", "stuck", "+CME ERROR: SIM wrong", False),
    ],
)
def test_a_modem_is_told_to_start_anew_while_it_is_opened(
    peer: Peer, model: str, restart: Restart, sim: str, told: bool
) -> None:
    peer.answers["AT+CGMM"] = line(model)
    peer.answers["AT+CPIN?"] = line(sim) if sim.startswith("+CPIN") else f"\r\n{sim}\r\n".encode()
    modem = SerialModem(replace(settings_for(peer.url, SOON), restart=restart))
    with closing(modem), suppress(ModemError):
        modem.open()
    assert ("AT+CFUN=1,1" in peer.heard) is told


def test_a_modem_that_refuses_to_start_anew_goes_on(peer: Peer, modem: SerialModem) -> None:
    peer.answers["AT+CFUN=1,1"] = ERROR
    assert not modem.restart()
    assert modem.status().can_send


def test_a_stick_that_would_vanish_is_not_told_to_start_anew(peer: Peer) -> None:
    peer.answers["AT+CGMM"] = line("E173")
    with opened(settings_for(peer.url)) as modem:
        assert not modem.restart()
        assert modem.status().can_send
    assert not any("CFUN" in heard for heard in peer.heard)
