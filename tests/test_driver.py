"""SerialModem's session against a scripted byte peer on a pty or a socket, and against the simulated dongle."""

from __future__ import annotations

import fcntl
import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import byte_peer
import pytest
from byte_peer import (
    ANSWERS,
    LONG,
    PART,
    PDU,
    SOON,
    Peer,
    listed,
    on_pty,
    on_socket,
    opened,
    settings_for,
    yes,
)

from modem import (
    MaybeSubmitted,
    Modem,
    ModemError,
    ModemLost,
    PortSettings,
    SerialModem,
    SimLocked,
    Status,
    Stored,
    Usage,
    decode,
    encode_submit,
)
from modem.simulated import Dongle, Knobs, Network, Reply, Sim, Ticker, attach, detach

peer, modem, hasty = byte_peer.peer, byte_peer.modem, byte_peer.hasty

# Opening


@pytest.mark.parametrize("line", [on_pty, on_socket], ids=["pty", "socket"])
def test_opening_tells_who_is_on_the_line(line: Callable[[], AbstractContextManager[Peer]]) -> None:
    with line() as peer, closing(SerialModem(settings_for(peer.url))) as modem:
        as_protocol: Modem = modem
        identity = as_protocol.open()
        assert (identity.imei, identity.imsi) == ("990000000000019", "510110000000001")
        assert identity.iccid == "89990000000000000012"
        assert (identity.maker, identity.model, identity.own_number) == ("huawei", None, None)
        assert modem.status() == Status("home", 20, "XL Axiata")
        assert modem.usage() == [Usage("SM", 2, 30), Usage("ME", 0, 100)]
        assert modem.submit([PART], yes) == [5]
        assert peer.heard[0] == "ESC"
        assert "AT+CNMI=2,1,0,1" in peer.heard  # no SR, so no reports into SR
        assert 'AT+CPMS="SM","ME","SM"' in peer.heard


def test_a_command_that_the_modem_does_not_know_is_asked_once(modem: SerialModem, peer: Peer) -> None:
    for _ in range(3):
        modem.status()
    assert peer.heard.count("AT+CEREG?") == 1
    assert peer.heard.count("AT+CREG?") == 3


def test_indications_as_far_as_they_are_offered(peer: Peer) -> None:
    peer.answers["AT+CPMS=?"] = b'\r\n+CPMS: ("SM","SR"),("SM"),("SM")\r\n\r\nOK\r\n'
    peer.answers["AT+CNMI=?"] = b"\r\n+CNMI: (1),(0,1),(0),(0,2),(0)\r\n\r\nOK\r\n"
    with opened(settings_for(peer.url)):
        assert "AT+CNMI=1,1,0,2" in peer.heard


@pytest.mark.parametrize(
    ("state", "code"),
    [
        (b"\r\n+CPIN: SIM PIN\r\n\r\nOK\r\n", "sim_pin_required"),
        (b"\r\n+CME ERROR: 11\r\n", "sim_pin_required"),
        (b"\r\n+CME ERROR: SIM PIN required\r\n", "sim_pin_required"),
        (b"\r\n+CPIN: SIM PUK\r\n\r\nOK\r\n", "sim_puk_required"),
        (b"\r\n+CME ERROR: 12\r\n", "sim_puk_required"),
        (b"\r\n+CPIN: PH-NET PIN\r\n\r\nOK\r\n", "sim_network_locked"),
        (b"\r\n+CME ERROR: 10\r\n", "sim_not_inserted"),
    ],
)
def test_a_sim_that_wants_something(peer: Peer, state: bytes, code: str) -> None:
    peer.answers["AT+CPIN?"] = state
    with closing(SerialModem(settings_for(peer.url))) as modem, pytest.raises(ModemError) as refusal:
        modem.open()
    assert (refusal.value.code, refusal.value.blame) == (code, "sim")


@pytest.mark.parametrize("state", [b"\r\n+CPIN: SIM PUK\r\n\r\nOK\r\n", b"\r\n+CPIN: SIM PIN\r\n\r\nOK\r\n"])
def test_a_pin_is_offered_neither_for_a_puk_nor_when_it_may_not(peer: Peer, state: bytes) -> None:
    peer.answers["AT+CPIN?"] = state
    settings = replace(settings_for(peer.url), pin="1234", may_offer_pin=b"PUK" in state)
    with closing(SerialModem(settings)) as modem, pytest.raises(SimLocked) as refusal:
        modem.open()
    assert not refusal.value.pin_was_offered
    assert not any(line.startswith("AT+CPIN=") for line in peer.heard)


def test_a_wrong_pin_is_offered_once(peer: Peer) -> None:
    peer.answers["AT+CPIN?"] = b"\r\n+CPIN: SIM PIN\r\n\r\nOK\r\n"
    peer.answers['AT+CPIN="1234"'] = b"\r\n+CME ERROR: 16\r\n"
    with (
        closing(SerialModem(replace(settings_for(peer.url), pin="1234"))) as modem,
        pytest.raises(SimLocked) as refusal,
    ):
        modem.open()
    assert refusal.value.pin_was_offered
    assert "1234" not in str(refusal.value)
    assert peer.heard.count('AT+CPIN="1234"') == 1


def test_ports_that_cannot_be_opened(peer: Peer, modem: SerialModem) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        nobody = f"socket://127.0.0.1:{server.getsockname()[1]}"
    for url, code in [
        (peer.url, "port_busy"),
        (os.devnull, "not_a_modem"),
        (os.devnull + "-missing", "port_missing"),
        (nobody, "port_missing"),
        ("simulated://nobody", "port_missing"),
        ("nonsense://x", "port_missing"),
    ]:
        other = SerialModem(settings_for(url))
        with pytest.raises(ModemError) as refusal:
            other.open()
        other.close()
        assert refusal.value.code == code, url
        assert url in refusal.value.detail
        assert ":" in refusal.value.detail  # what is wrong: what to do


def test_a_port_that_answers_nothing_is_not_a_modem() -> None:
    ours, theirs = os.openpty()
    with (
        closing(SerialModem(settings_for(os.ttyname(theirs), SOON))) as modem,
        pytest.raises(ModemError) as refusal,
    ):
        modem.open()
    os.close(ours)
    os.close(theirs)
    assert refusal.value.code == "not_a_modem"
    assert "wrong baud rate" in refusal.value.detail


# Out of step


def test_a_late_answer_is_not_taken_for_the_next_one(hasty: SerialModem, peer: Peer) -> None:
    peer.answers["AT+CMGR=1"] = b""
    with pytest.raises(ModemError, match="no_answer"):
        hasty.read("SM", 1)
    peer.answers["AT+CMGR=2"] = b""
    peer.answers["AT+CMEE?"] = (
        b"\r\n+CMGR: 1,,20\r\n" + PDU.encode() + b"\r\n\r\nOK\r\n" + ANSWERS["AT+CMEE?"]
    )
    with pytest.raises(ModemError, match="no_answer"):
        hasty.read("SM", 2)
    assert hasty.status().signal == 20


def test_a_modem_that_stays_silent_is_lost(hasty: SerialModem, peer: Peer) -> None:
    for command in ("AT+CSQ", "AT+CMEE?", "AT+CMGF?", "AT+CPMS?", "AT+CNMI?"):
        peer.answers[command] = b""
    with pytest.raises(ModemLost, match="out_of_step"):
        hasty.status()
    with pytest.raises(ModemLost, match="out_of_step"):
        hasty.wait(LONG)


def test_a_busy_sim_is_asked_again(modem: SerialModem, peer: Peer) -> None:
    peer.answers["AT+CMGR=1"] = b"\r\n+CMS ERROR: 314\r\n"

    def recover() -> None:
        peer.hears("AT+CMGR=1")
        peer.answers["AT+CMGR=1"] = listed("R", 1)

    other = threading.Thread(target=recover)
    other.start()
    assert modem.read("SM", 1) == Stored("SM", 1, PDU, 1)
    other.join()


# Against the simulated dongle


@contextmanager
def simulated(
    name: str, knobs: Knobs | None = None, pin: str | None = None
) -> Iterator[tuple[Network, Dongle, PortSettings]]:
    network = Network(seed=7)
    network.subscriber(
        "2757", lambda sender, text, now: [Reply(f"Saldo {text}", after=timedelta(0), sender=None)]
    )
    sim = Sim("89990000000000000011", "510110000000001", "+62817000001", pin=pin)
    dongle = Dongle(network, sim, imei="990000000000019", knobs=knobs or Knobs())
    attach(name, dongle)
    with Ticker(network):
        try:
            yield network, dongle, settings_for(f"simulated://{name}")
        finally:
            detach(name)


def receive(modem: SerialModem, count: int) -> list[str]:
    texts: list[str] = []
    while len(texts) < count:
        modem.wait(timedelta(seconds=0.5))  # a lost +CMTI costs only this
        modem.hinted()
        for stored in modem.inbox():
            texts.append(decode(stored.pdu).text)  # type: ignore[union-attr]
            assert modem.forget(stored)
    return texts


@pytest.mark.parametrize(
    "knobs",
    [
        Knobs(),
        Knobs(split=1.0, noise=0.3, storm=0.5),
        Knobs(bare_prompt=True, lose_cmti=1.0),
        Knobs(latency=timedelta(milliseconds=2), radio=timedelta(milliseconds=10)),
    ],
    ids=["plain", "noise", "no hints", "slow"],
)
def test_ten_questions_get_their_answers(knobs: Knobs) -> None:
    with (
        simulated("driver-ten", knobs) as (_, _, settings),
        opened(settings) as modem,
    ):
        asked = [f"BALANCE#9901234567{n}#" for n in range(10)]
        for text in asked:
            parts = encode_submit("2757", text, validity=None, report=False, concat_reference=0)
            assert len(modem.submit(parts, yes)) == 1
        assert sorted(receive(modem, 10)) == sorted(f"Saldo {text}" for text in asked)
        assert modem.inbox() == []


def test_a_pin_unlocks_the_simulated_sim() -> None:
    with simulated("driver-pin", pin="1234") as (_, _, settings):
        with closing(SerialModem(settings)) as modem, pytest.raises(SimLocked):
            modem.open()
        with opened(replace(settings, pin="1234")) as modem:
            assert modem.status().can_send


def test_silence_after_ctrl_z_is_a_doubt_and_the_next_goes_on() -> None:
    with (
        simulated("driver-silence", Knobs(silence=1)) as (_, _, settings),
        opened(replace(settings, cmgs_timeout=SOON, drain_timeout=SOON)) as modem,
    ):
        with pytest.raises(MaybeSubmitted):
            modem.submit([PART], yes)
        assert len(modem.submit([PART], yes)) == 1
        assert len(receive(modem, 2)) == 2


def test_an_unplugged_dongle_is_busy_then_missing_then_back() -> None:
    with simulated("driver-unplug") as (_, dongle, settings), opened(settings) as modem:
        with closing(SerialModem(settings)) as second, pytest.raises(ModemError, match="port_busy"):
            second.open()
        dongle.unplug(datetime.now(UTC))
        with pytest.raises(ModemLost):
            modem.wait(LONG)
        with closing(SerialModem(settings)) as third, pytest.raises(ModemError, match="port_missing"):
            third.open()
        dongle.plug(datetime.now(UTC))
        with opened(settings) as fourth:
            assert fourth.status().can_send


def test_a_port_is_ours_alone_while_it_is_open_and_anybody_s_afterwards(peer: Peer) -> None:
    def exclusive() -> int:
        flag = fcntl.ioctl(looking, 0x80045440, b"\0" * 4)  # TIOCGEXCL of Linux, which Python does not name
        return int.from_bytes(flag, "little")

    looking = os.open(peer.url, os.O_RDWR | os.O_NOCTTY)
    try:
        with opened(settings_for(peer.url)):
            assert exclusive() == 1
            with pytest.raises(BlockingIOError):
                fcntl.flock(looking, fcntl.LOCK_EX | fcntl.LOCK_NB)
        assert exclusive() == 0
        fcntl.flock(looking, fcntl.LOCK_EX | fcntl.LOCK_NB)
    finally:
        os.close(looking)
