"""Sending through SerialModem: three results, each with its proof, against a scripted byte peer."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace

import byte_peer
import pytest
from byte_peer import (
    ANSWERS,
    LONG,
    PART,
    PARTS,
    SOON,
    Peer,
    on_pty,
    on_socket,
    opened,
    settings_for,
    yes,
)

from modem import (
    MaybeSubmitted,
    ModemError,
    ModemLost,
    NotSubmitted,
    SerialModem,
)

peer, modem, hasty = byte_peer.peer, byte_peer.modem, byte_peer.hasty


def test_between_two_submits_there_is_no_other_command(peer: Peer) -> None:
    steps: list[str] = []
    with opened(settings_for(peer.url), steps) as modem:
        peer.heard.clear()
        for _ in range(2):
            assert modem.submit([PART], yes) == [5]
        assert peer.heard == [f"AT+CMGS={PART.length}", "CTRL-Z"] * 2
        assert peer.submitted == [PART.pdu] * 2
        assert steps == ["cmgs", "pdu", "ctrl-z"] * 2


@pytest.mark.parametrize(
    "verdict",
    [
        b"\r\n+CMGS:5\r\n\r\nOK\r\n",
        b'\r\n+CMGS: 5,"26/11/23,12:00:00+28"\r\n\r\nOK\r\n',
        b'\r\n+CMTI: "SM",3\r\n\r\n+CMGS: 5\r\n\r\n^RSSI:18\r\n\r\nOK\r\n',
        b"\xff\x80\r\n\xff+CMGS: 5\0\r\n\r\nOK\r\n",
        b"\r\n+CMGS: 5\r\n",  # and its OK never comes
    ],
)
@pytest.mark.parametrize("prompt", [b"\r\n> ", b"\r\n>", b'\r\n+CMTI: "SM",9\r\n\r\n> '])
def test_every_form_of_sent(hasty: SerialModem, peer: Peer, verdict: bytes, prompt: bytes) -> None:
    peer.prompt = prompt
    peer.verdicts = [verdict]
    assert hasty.submit([PART], yes) == [5]
    assert hasty.hinted() == {
        ("SM", int(line)) for line in ("3", "9") if f'"SM",{line}'.encode() in prompt + verdict
    }


@pytest.mark.parametrize(
    ("verdict", "kind", "code", "retryable"),
    [
        (b"\r\n+CMS ERROR: 38\r\n", NotSubmitted, "network_out_of_order", True),
        (b"\r\n+CMS ERROR: 8\r\n", NotSubmitted, "operator_determined_barring", False),
        (b"\r\n+CMS ERROR: 515\r\n", NotSubmitted, "please_wait", True),
        (b"\r\n+CME ERROR: 30\r\n", NotSubmitted, "no_network_service", True),
        (b"\r\n+CMS ERROR: 332\r\n", MaybeSubmitted, "network_timeout", False),
        (b"\r\n+CMS ERROR: 500\r\n", MaybeSubmitted, "unknown_error", False),
        (b"\r\nERROR\r\n", MaybeSubmitted, "error", False),
        (b"\r\nOK\r\n", MaybeSubmitted, "no_reference", False),
        (b"", MaybeSubmitted, "no_verdict", False),
    ],
)
def test_every_form_of_not_sent(
    hasty: SerialModem, peer: Peer, verdict: bytes, kind: type[ModemError], code: str, retryable: bool
) -> None:
    peer.verdicts = [verdict, b"\r\n+CMGS: 6\r\n\r\nOK\r\n"]
    with pytest.raises(ModemError) as refusal:
        hasty.submit([PART], yes)
    assert type(refusal.value) is kind
    assert (refusal.value.code, refusal.value.retryable) == (code, retryable)
    assert peer.submitted == [PART.pdu]
    assert hasty.submit([PART], yes) == [6]


@pytest.mark.parametrize(
    ("prompt", "code"),
    [(b"", "no_prompt"), (b"\r\n+CMS ERROR: 302\r\n", "operation_not_allowed"), (b"\r\nERROR\r\n", "error")],
)
def test_without_a_prompt_nothing_goes_out(hasty: SerialModem, peer: Peer, prompt: bytes, code: str) -> None:
    peer.prompt = prompt
    with pytest.raises(NotSubmitted) as refusal:
        hasty.submit([PART], yes)
    assert refusal.value.code == code
    assert peer.submitted == []
    peer.prompt = b"\r\n> "
    assert hasty.submit([PART], yes) == [5]


def test_called_off_before_ctrl_z(modem: SerialModem, peer: Peer) -> None:
    with pytest.raises(NotSubmitted) as refusal:
        modem.submit([PART], lambda: False)
    assert (refusal.value.code, refusal.value.retryable) == ("stood_down", True)
    with pytest.raises(ZeroDivisionError):
        modem.submit([PART], lambda: 1 // 0 == 0)
    assert peer.submitted == []
    assert "CTRL-Z" not in peer.heard
    assert modem.submit([PART], yes) == [5]


def test_parts_go_in_order_and_go_is_asked_once(modem: SerialModem, peer: Peer) -> None:
    peer.verdicts = [b"\r\n+CMGS: 5\r\n\r\nOK\r\n", b"\r\n+CMGS: 6\r\n\r\nOK\r\n"]
    asked: list[int] = []

    def go() -> bool:
        asked.append(len(peer.submitted))
        return True

    assert modem.submit(PARTS, go) == [5, 6]
    assert asked == [0]
    assert peer.submitted == [part.pdu for part in PARTS]


def test_a_later_part_that_is_refused_leaves_a_doubt(modem: SerialModem, peer: Peer) -> None:
    peer.verdicts = [b"\r\n+CMGS: 5\r\n\r\nOK\r\n", b"\r\n+CMS ERROR: 38\r\n"]
    with pytest.raises(MaybeSubmitted, match="part 2 of 2"):
        modem.submit(PARTS, yes)


def test_a_late_reference_is_remembered_and_confuses_nobody(hasty: SerialModem, peer: Peer) -> None:
    peer.verdicts = [b""]
    with pytest.raises(MaybeSubmitted):
        hasty.submit([PART], yes)
    assert hasty.late_references() == []
    peer.answers["AT+CSQ"] = b"\r\n+CMGS: 41\r\n\r\nOK\r\n" + ANSWERS["AT+CSQ"]
    assert hasty.status().signal == 20
    assert hasty.late_references() == [41]
    assert hasty.late_references() == []


@pytest.mark.parametrize("line", [on_pty, on_socket], ids=["pty", "socket"])
def test_unplugged_while_waiting_for_the_verdict(line: Callable[[], AbstractContextManager[Peer]]) -> None:
    with line() as peer, opened(settings_for(peer.url)) as modem:
        peer.verdicts = [b""]

        def unplug() -> None:
            peer.hears("CTRL-Z")
            peer.unplug()

        pull = threading.Thread(target=unplug)
        begun = time.monotonic()
        pull.start()
        with pytest.raises(MaybeSubmitted) as doubt:
            modem.submit([PART], yes)
        pull.join()
        assert time.monotonic() - begun < 5
        assert doubt.value.code == "port_lost"
        for call in (modem.status, modem.inbox, modem.usage, lambda: modem.wait(LONG)):
            with pytest.raises(ModemLost):
                call()
        with pytest.raises(NotSubmitted):
            modem.submit([PART], yes)


def test_unplugged_right_before_ctrl_z(modem: SerialModem, peer: Peer) -> None:
    def pull() -> bool:
        peer.unplug()
        with pytest.raises(ModemLost):
            modem.wait(LONG)
        return True

    with pytest.raises(NotSubmitted) as refusal:
        modem.submit([PART], pull)
    assert refusal.value.code == "port_lost"


SENT = b"\r\n+CMGS: %d\r\n\r\nOK\r\n"
REFUSED = b"\r\n+CMS ERROR: 38\r\n"


def counting_until_silence(hasty: SerialModem, peer: Peer) -> None:
    """Two that went, so that it is known to count, and one whose verdict does not come."""
    peer.verdicts = [SENT % 41, SENT % 42, b"", b"\r\nnothing that is known\r\n"]
    assert [hasty.submit([PART], yes), hasty.submit([PART], yes)] == [[41], [42]]
    with pytest.raises(MaybeSubmitted, match="no_verdict"):
        hasty.submit([PART], yes)


@pytest.mark.parametrize(
    ("verdict", "reference", "late"),
    [
        (SENT % 44, 44, []),  # it went on counting: the one in doubt had taken 43
        (SENT % 43 + SENT % 44, 44, [43]),
        (SENT % 7 + SENT % 44, 44, [7]),
        (SENT % 7, 7, []),  # no other one comes, and it is not what the one in doubt would have
        (REFUSED + SENT % 44, 44, []),
    ],
)
def test_after_a_doubt_a_verdict_is_believed_that_tells_whose_it_is(
    hasty: SerialModem, peer: Peer, verdict: bytes, reference: int, late: list[int]
) -> None:
    counting_until_silence(hasty, peer)
    peer.verdicts = [verdict, SENT % (reference + 1)]
    assert hasty.submit([PART], yes) == [reference]
    assert hasty.late_references() == late
    assert hasty.submit([PART], yes) == [reference + 1]


@pytest.mark.parametrize("verdict", [SENT % 43, REFUSED, SENT % 43 + REFUSED])
def test_after_a_doubt_a_verdict_that_may_be_the_other_one_s_is_a_doubt(
    hasty: SerialModem, peer: Peer, verdict: bytes
) -> None:
    counting_until_silence(hasty, peer)
    peer.verdicts = [verdict]
    with pytest.raises(MaybeSubmitted, match="unclear_verdict"):
        hasty.submit([PART], yes)


@pytest.mark.parametrize("late", [SENT % 43, REFUSED, b"\r\n+CMGS ERROR: 38\r\n"])
def test_a_doubt_whose_verdict_came_casts_no_other(hasty: SerialModem, peer: Peer, late: bytes) -> None:
    counting_until_silence(hasty, peer)
    peer.answers["AT+CREG?"] = late + ANSWERS["AT+CREG?"]
    status = hasty.status()
    assert (status.registration, status.signal) == ("home", 20)
    peer.verdicts = [REFUSED]
    with pytest.raises(NotSubmitted):
        hasty.submit([PART], yes)


@pytest.mark.parametrize(
    ("verdict", "reference"),
    [(SENT % 41 + SENT % 42, 42), (REFUSED + SENT % 42, 42), (SENT % 42, 42)],
)
def test_a_verdict_that_the_session_before_was_owed_is_not_taken_for_this_one_s(
    peer: Peer, verdict: bytes, reference: int
) -> None:
    with opened(replace(settings_for(peer.url, SOON), verdict_owed=True)) as modem:
        peer.verdicts = [verdict, SENT % 43]
        assert modem.submit([PART], yes) == [reference]
        assert modem.submit([PART], yes) == [43]


@pytest.mark.parametrize("verdict", [REFUSED, SENT % 41 + REFUSED])
def test_a_refusal_that_may_be_for_the_session_before_is_a_doubt(peer: Peer, verdict: bytes) -> None:
    with opened(replace(settings_for(peer.url, SOON), verdict_owed=True)) as modem:
        peer.verdicts = [verdict]
        with pytest.raises(MaybeSubmitted, match="unclear_verdict"):
            modem.submit([PART], yes)


def test_what_the_session_before_was_owed_may_come_while_this_one_opens(peer: Peer) -> None:
    peer.answers["AT+CIMI"] = SENT % 41 + ANSWERS["AT+CIMI"]
    with opened(replace(settings_for(peer.url, SOON), verdict_owed=True)) as modem:
        peer.verdicts = [REFUSED]
        with pytest.raises(NotSubmitted):
            modem.submit([PART], yes)


def test_a_busy_modem_is_asked_again_for_its_prompt_but_never_given_a_pdu_twice(
    modem: SerialModem, peer: Peer
) -> None:
    peer.turns[f"AT+CMGS={PART.length}"] = [b"\r\n+CMS ERROR: 515\r\n", b"\r\n+CMS ERROR: SIM busy\r\n"]
    peer.verdicts = [b"\r\n+CMS ERROR: 515\r\n"]
    with pytest.raises(NotSubmitted, match="please_wait"):
        modem.submit([PART], yes)
    assert peer.heard == [f"AT+CMGS={PART.length}"] * 3 + ["CTRL-Z"]


def test_what_went_of_a_text_in_doubt_is_told(hasty: SerialModem, peer: Peer) -> None:
    for second in (b"", REFUSED, b"\r\nERROR\r\n"):
        peer.verdicts = [SENT % 5, second]
        with pytest.raises(MaybeSubmitted) as doubt:
            hasty.submit(PARTS, yes)
        assert doubt.value.references == (5,)
        hasty.late_references()
    peer.verdicts = [b"\r\nOK\r\n"]
    with pytest.raises(MaybeSubmitted) as doubt:
        hasty.submit(PARTS, yes)
    assert doubt.value.references == ()


@pytest.mark.parametrize(
    ("verdict", "kind", "code"),
    [
        (b"\r\n+CMS ERROR: SMSC address unknown\r\n", NotSubmitted, "smsc_address_unknown"),
        (b"\r\n+CMS ERROR: no network service\r\n", NotSubmitted, "no_network_service"),
        (b"\r\n+CMS ERROR: Network timeout\r\n", MaybeSubmitted, "network_timeout"),
        (b"\r\n+CMS ERROR: unknown error\r\n", MaybeSubmitted, "unknown_error"),
        (b"\r\n+CMS ERROR: it broke\r\n", MaybeSubmitted, "cms_error"),
        (b"\r\n+CMS ERROR: 605\r\n", MaybeSubmitted, "cms_605"),
        (b"\r\n+CMS ERROR: 17\r\n", NotSubmitted, "cms_17"),
        (b"\r\nCOMMAND NOT SUPPORT\r\n", MaybeSubmitted, "error"),
    ],
)
def test_verdicts_in_words(
    modem: SerialModem, peer: Peer, verdict: bytes, kind: type[ModemError], code: str
) -> None:
    peer.verdicts = [verdict]
    with pytest.raises(ModemError) as refusal:
        modem.submit([PART], yes)
    assert (type(refusal.value), refusal.value.code) == (kind, code)
