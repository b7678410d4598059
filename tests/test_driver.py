"""SerialModem against a scripted byte peer on a pty or a socket, and against the simulated dongle."""

from __future__ import annotations

import os
import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from modem import (
    MaybeSubmitted,
    Modem,
    ModemError,
    ModemLost,
    NotSubmitted,
    PortSettings,
    SerialModem,
    SimLocked,
    Status,
    Stored,
    Usage,
    decode,
    encode_deliver,
    encode_submit,
)
from modem.simulated import Dongle, Knobs, Network, Reply, Sim, Ticker, attach, detach

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
PDU = encode_deliver("2757", "Saldo JHT KPJ 99012345678 Rp 1.000", NOON)
OTHER = encode_deliver("2757", "lain", NOON)
(PART,) = encode_submit("2757", "BALANCE#99012345678#", validity=None, report=False, concat_reference=0)
PARTS = encode_submit("2757", "x" * 200, validity=None, report=False, concat_reference=0)
SOON = timedelta(milliseconds=400)  # where silence is what is tested
LONG = timedelta(seconds=30)

ANSWERS: dict[str, bytes] = {
    "AT+CPIN?": b"\r\n+CPIN: READY\r\n\r\nOK\r\n",
    "AT+CGSN": b"\r\n990000000000019\r\n\r\nOK\r\n",
    "AT+CIMI": b"\r\n510110000000001\r\n\r\nOK\r\n",
    "AT+CCID": b"\r\nERROR\r\n",
    "AT^ICCID?": b"\r\n^ICCID: 98990000000000000021\r\n\r\nOK\r\n",
    "AT+CGMI": b"\r\nhuawei\r\n\r\nOK\r\n",
    "AT+CNUM": b"\r\n+CME ERROR: 22\r\n",
    "AT+CMEE?": b"\r\n+CMEE: 1\r\n\r\nOK\r\n",
    "AT+CMGF?": b"\r\n+CMGF: 0\r\n\r\nOK\r\n",
    "AT+CPMS=?": b'\r\n+CPMS: ("SM","ME"),("SM","ME"),("SM")\r\n\r\nOK\r\n',
    "AT+CPMS?": b'\r\n+CPMS: "SM",2,30,"ME",0,100,"SM",2,30\r\n\r\nOK\r\n',
    "AT+CNMI=?": b"\r\n+CNMI: (0-2),(0-2),(0,2),(0-2),(0,1)\r\n\r\nOK\r\n",
    "AT+CREG?": b'\r\n+CREG: 2,2\r\n\r\n+CREG: 5,"00C3","A2B3"\r\n\r\nOK\r\n',
    "AT+CGREG?": b"\r\n+CGREG: 0,1\r\n\r\nOK\r\n",
    "AT+CEREG?": b"\r\nERROR\r\n",
    "AT+CSQ": b"\r\n^RSSI:18\r\n\r\n+CSQ: 20,99\r\n\r\nOK\r\n",
    "AT+COPS?": b'\r\n+COPS: 0,0,"XL Axiata",2\r\n\r\nOK\r\n',
}


class Peer:
    """A modem of bytes: answers by table, else OK; +CMGS with a prompt. What it was told is in `heard`."""

    def __init__(self, connect: Callable[[], int], url: str) -> None:
        self.url = url
        self._connect = connect
        self.answers = dict(ANSWERS)
        self.prompt = b"\r\n> "
        self.verdicts = [b"\r\n+CMGS: 5\r\n\r\nOK\r\n"]
        self.heard: list[str] = []
        self.submitted: list[str] = []
        self._fd = -1
        self._changed = threading.Condition()
        self._stop, self._stopper = os.pipe()
        self._text: str | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def say(self, data: bytes) -> None:
        os.write(self._fd, data)

    def unplug(self) -> None:
        os.write(self._stopper, b"x")
        if self._thread is not threading.current_thread():
            self._thread.join()

    def hears(self, what: str) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: what in self.heard, 5)

    def _run(self) -> None:
        rest = ""
        self._fd = self._connect()
        while self._stop not in select.select([self._fd, self._stop], [], [])[0]:
            try:
                data = os.read(self._fd, 4096)
            except OSError:  # the other end of a pty is not open
                break
            if not data:
                break
            for char in data.decode("latin-1"):
                if self._text is not None:
                    self._enter(char)
                elif char == "\r":
                    command, rest = rest, ""
                    self._answer(command)
                elif char == "\x1b":
                    self._hear("ESC")
                else:
                    rest += char
        os.close(self._fd)

    def _hear(self, what: str) -> None:
        with self._changed:
            self.heard.append(what)
            self._changed.notify_all()

    def _answer(self, command: str) -> None:
        if command.startswith("AT+CMGS=") and b">" in self.prompt:
            self._text = ""
        self._hear(command)  # before it answers, for who asked goes on at once
        self.say(self.prompt if command.startswith("AT+CMGS=") else self.answers.get(command, b"\r\nOK\r\n"))

    def _enter(self, char: str) -> None:
        if char == "\x1b":
            self._text = None
            self._hear("ESC")
            self.say(b"\r\nOK\r\n")
        elif char == "\x1a":
            self.submitted.append(self._text or "")
            self._text = None
            self._hear("CTRL-Z")
            self.say(self.verdicts.pop(0) if len(self.verdicts) > 1 else self.verdicts[0])
        else:
            self._text = (self._text or "") + char


@contextmanager
def on_pty() -> Iterator[Peer]:
    ours, theirs = os.openpty()
    peer = Peer(lambda: ours, os.ttyname(theirs))
    try:
        yield peer
    finally:
        peer.unplug()
        os.close(theirs)


@contextmanager
def on_socket() -> Iterator[Peer]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        peer = Peer(lambda: server.accept()[0].detach(), f"socket://127.0.0.1:{server.getsockname()[1]}")
        yield peer
        peer.unplug()


@pytest.fixture
def peer() -> Iterator[Peer]:
    with on_pty() as peer:
        yield peer


def settings_for(url: str, patience: timedelta = LONG) -> PortSettings:
    return PortSettings(
        url,
        cmgs_timeout=patience,
        prompt_timeout=patience,
        answer_timeout=patience,
        wake_timeout=patience,
        drain_timeout=patience,
    )


@contextmanager
def opened(settings: PortSettings, steps: list[str] | None = None) -> Iterator[SerialModem]:
    modem = SerialModem(settings, None if steps is None else lambda step, port: steps.append(step))
    with closing(modem):
        modem.open()
        yield modem


@pytest.fixture
def modem(peer: Peer) -> Iterator[SerialModem]:
    with opened(settings_for(peer.url)) as modem:
        peer.heard.clear()
        yield modem


@pytest.fixture
def hasty(peer: Peer) -> Iterator[SerialModem]:
    with opened(settings_for(peer.url, SOON)) as modem:
        peer.heard.clear()
        yield modem


def yes() -> bool:
    return True


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


# Sending


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


# Receiving


def listed(kind: str, *slots: int, pdu: str = PDU) -> bytes:
    lines = b""
    for slot in slots:
        head = f"{slot},1" if kind == "L" else "1"
        lines += f"\r\n+CMG{kind}: {head},,{len(pdu) // 2 - 1}\r\n{pdu}".encode()
    return lines + b"\r\n\r\nOK\r\n"


def test_the_inbox_is_read_over_all_storages(modem: SerialModem, peer: Peer) -> None:
    peer.answers["AT+CMGL=4"] = listed("L", 1, 7)
    assert modem.inbox() == [Stored(name, slot, PDU, 1) for name in ("SM", "ME") for slot in (1, 7)]
    assert peer.heard == ["AT+CMGL=4", 'AT+CPMS="ME"', "AT+CMGL=4"]
    assert modem.inbox("ME") == [Stored("ME", slot, PDU, 1) for slot in (1, 7)]
    assert peer.heard[3:] == ["AT+CMGL=4"]


def test_urcs_within_a_list_are_cut_out(modem: SerialModem, peer: Peer) -> None:
    urcs = b'\r\n+CMTI: "SM",9\r\n\r\n^RSSI:18\r\n\r\n+CDSI: "SR",2\r\n'
    direct = f"\r\n+CMT: ,{len(OTHER) // 2 - 1}\r\n{OTHER}\r\n".encode()
    plain = listed("L", 1, 2)
    middle = plain.index(PDU.encode())
    peer.answers["AT+CMGL=4"] = urcs + plain[:middle] + urcs + direct + plain[middle:] + urcs
    assert modem.inbox("SM") == [Stored("SM", 1, PDU, 1), Stored("SM", 2, PDU, 1)]
    assert modem.hinted() == {("SM", 9), ("", 0)}  # SR is no storage of this stick
    peer.answers["AT+CMGL=4"] = b"\r\nOK\r\n"
    assert modem.inbox() == [Stored("+CMT", 0, OTHER)]


def test_an_undecodable_pdu_is_kept_and_noise_is_read_once_more(modem: SerialModem, peer: Peer) -> None:
    whole = listed("L", 1, 2)
    peer.answers["AT+CMGL=4"] = whole.replace(PDU.encode(), b"00FF", 1).replace(
        PDU.encode(), PDU[:20].encode() + b"\x93", 1
    )
    peer.answers["AT+CMGR=1"] = b"\r\n+CMGR: 1,,20\r\n00FF\r\n\r\nOK\r\n"
    peer.answers["AT+CMGR=2"] = listed("R", 2)
    assert modem.inbox("SM") == [Stored("SM", 1, "00FF", 1), Stored("SM", 2, PDU, 1)]


def test_a_list_that_fails_is_read_slot_by_slot(modem: SerialModem, peer: Peer) -> None:
    peer.answers["AT+CMGL=4"] = b"\r\n+CMS ERROR: 320\r\n"
    peer.answers["AT+CMGR=0"] = b"\r\n+CMS ERROR: 321\r\n"
    peer.answers["AT+CMGR=3"] = listed("R", 3)
    peer.answers["AT+CMGR=5"] = listed("R", 5, pdu=OTHER)
    assert modem.inbox("SM") == [Stored("SM", 3, PDU, 1), Stored("SM", 5, OTHER, 1)]
    assert "AT+CMGR=6" not in peer.heard  # both that are there were found


def test_only_what_is_still_there_is_forgotten(peer: Peer) -> None:
    steps: list[str] = []
    with opened(settings_for(peer.url), steps) as modem:
        stored = Stored("SM", 4, PDU.lower(), 1)
        assert not modem.forget(stored)
        peer.answers["AT+CMGR=4"] = listed("R", 4, pdu=OTHER)
        assert not modem.forget(stored)
        assert steps == []
        peer.answers["AT+CMGR=4"] = listed("R", 4)
        assert modem.forget(stored)
        assert steps == ["cmgd"]
        assert [line for line in peer.heard if "CMGD" in line] == ["AT+CMGD=4"]


@pytest.mark.parametrize("acknowledges", [False, True])
def test_what_is_delivered_directly_stays_until_it_is_forgotten(peer: Peer, acknowledges: bool) -> None:
    if acknowledges:
        peer.answers["AT+CSMS=0"] = b"\r\nERROR\r\n"
        peer.answers["AT+CSMS?"] = b"\r\n+CSMS: 1,1,1,1\r\n\r\nOK\r\n"
    steps: list[str] = []
    with opened(settings_for(peer.url), steps) as modem:
        peer.say(f"\r\n+CDS: {len(OTHER) // 2 - 1}\r\n".encode())
        peer.say(f"{OTHER.lower()}\r\n".encode())
        assert modem.wait(LONG)
        assert modem.hinted() == {("", 0)}
        (stored,) = modem.inbox()
        assert stored == Stored("+CDS", 0, OTHER)
        assert modem.inbox("+CDS") == [stored]
        assert modem.inbox("SM") == []
        assert modem.forget(stored)
        assert not modem.forget(stored)
        assert modem.inbox() == []
        assert steps == (["cnma"] if acknowledges else [])


def test_a_burst_of_hints(modem: SerialModem, peer: Peer) -> None:
    peer.say(b"\xff\x00" + b"".join(b'\r\n+CMTI: "SM",%d\r\n' % slot for slot in range(10)) + b"\r\nRING\r\n")
    slots: set[tuple[str, int]] = set()
    while len(slots) < 10:
        assert modem.wait(LONG)
        slots |= modem.hinted()
    assert slots == {("SM", slot) for slot in range(10)}
    assert not modem.wait(timedelta(0))


def test_waiting_ends_by_an_interrupt_of_another_thread(modem: SerialModem) -> None:
    other = threading.Thread(target=modem.interrupt)
    other.start()
    assert not modem.wait(LONG)
    other.join()
    assert not modem.wait(timedelta(0))


def test_closing_wakes_who_waits_and_may_be_repeated(modem: SerialModem) -> None:
    other = threading.Thread(target=modem.close)
    other.start()
    with pytest.raises(ModemLost, match="closed"):
        modem.wait(LONG)
    other.join()
    modem.close()


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
