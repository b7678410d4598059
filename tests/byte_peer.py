"""A modem of bytes on a pty or a socket: it answers by a table, and notes what it was told."""

from __future__ import annotations

import os
import select
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta

import pytest

from modem import PortSettings, SerialModem, encode_deliver, encode_submit

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
PDU = encode_deliver("2757", "Saldo JHT KPJ 99012345678 Rp 1.000", NOON)
OTHER = encode_deliver("2757", "lain", NOON)
(PART,) = encode_submit("2757", "BALANCE#99012345678#", validity=None, report=False, concat_reference=0)
PARTS = encode_submit("2757", "x" * 200, validity=None, report=False, concat_reference=0)
SOON = timedelta(milliseconds=400)  # where silence is what is tested
LONG = timedelta(seconds=10)

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
        self.turns: dict[
            str, list[bytes]
        ] = {}  # what a command is answered before it is answered by the table
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
        usual = self.prompt if command.startswith("AT+CMGS=") else self.answers.get(command, b"\r\nOK\r\n")
        turns = self.turns.get(command)
        said = turns.pop(0) if turns else usual
        if command.startswith("AT+CMGS=") and b">" in said:
            self._text = ""
        if command.startswith("AT+CMGD=") and said == b"\r\nOK\r\n":
            self.answers.pop(command.replace("CMGD", "CMGR"), None)
        self._hear(command)  # before it answers, for who asked goes on at once
        self.say(said)

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


def listed(kind: str, *slots: int, pdu: str = PDU) -> bytes:
    lines = b""
    for slot in slots:
        head = f"{slot},1" if kind == "L" else "1"
        lines += f"\r\n+CMG{kind}: {head},,{len(pdu) // 2 - 1}\r\n{pdu}".encode()
    return lines + b"\r\n\r\nOK\r\n"
