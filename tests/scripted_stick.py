"""A stick of bytes for what no stick does when asked politely: it answers by table, and says what it is told to say."""

from __future__ import annotations

import os
import select
import threading
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

CTRL_Z, ESC = "CTRL-Z", "ESC"

ANSWERS: dict[str, bytes] = {
    "AT+CPIN?": b"\r\n+CPIN: READY\r\n\r\nOK\r\n",
    "AT+CGSN": b"\r\n990000000000019\r\n\r\nOK\r\n",
    "AT+CIMI": b"\r\n510110000000001\r\n\r\nOK\r\n",
    "AT+CCID": b"\r\n+CCID: 89990000000000000012\r\n\r\nOK\r\n",
    "AT+CGMI": b"\r\nANYBODY\r\n\r\nOK\r\n",
    "AT+CGMM": b"\r\nS-1\r\n\r\nOK\r\n",
    "AT+CGMR": b"\r\n1.0\r\n\r\nOK\r\n",
    "AT+CNUM": b"\r\nOK\r\n",
    "AT+CMEE?": b"\r\n+CMEE: 1\r\n\r\nOK\r\n",
    "AT+CMGF?": b"\r\n+CMGF: 0\r\n\r\nOK\r\n",
    "AT+CSMS?": b"\r\n+CSMS: 0,1,1,1\r\n\r\nOK\r\n",
    "AT+CPMS=?": b'\r\n+CPMS: ("SM","ME"),("SM","ME"),("SM","ME")\r\n\r\nOK\r\n',
    "AT+CPMS?": b'\r\n+CPMS: "SM",0,30,"ME",0,100,"SM",0,30\r\n\r\nOK\r\n',
    "AT+CNMI=?": b"\r\n+CNMI: (0-2),(0-2),(0,2),(0-2),(0,1)\r\n\r\nOK\r\n",
    "AT+CNMI?": b"\r\n+CNMI: 2,1,0,0,0\r\n\r\nOK\r\n",
    "AT+CREG?": b"\r\n+CREG: 0,1\r\n\r\nOK\r\n",
    "AT+CSQ": b"\r\n+CSQ: 20,99\r\n\r\nOK\r\n",
    "AT+COPS?": b'\r\n+COPS: 0,0,"XL Axiata"\r\n\r\nOK\r\n',
    CTRL_Z: b"\r\n+CMGS: 5\r\n\r\nOK\r\n",
}


class ScriptedStick:
    """One stick on a pty. `answers` by command, `once` before them, in order; b"" is silence. What it was told is in `heard`."""

    def __init__(self, line: int, url: str) -> None:
        self.url = url
        self.answers = dict(ANSWERS)
        self.once: dict[str, list[bytes]] = {}
        self.prompt = b"\r\n> "
        self.heard: list[str] = []
        self.submitted: list[str] = []
        self.before_answer: Callable[[str], None] = lambda command: None
        self._line = line
        self._entering: str | None = None
        self._changed = threading.Condition()

    def say(self, *pieces: bytes, gap: float = 0.0) -> None:
        """Bytes onto the line, in pieces so many seconds apart."""
        for number, piece in enumerate(pieces):
            if number:
                threading.Event().wait(gap)
            os.write(self._line, piece)

    def hears(self, what: str, seconds: float = 5.0) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: what in self.heard, seconds)

    def type(self, char: str, line: str) -> str:
        """Take one character; the unfinished line."""
        if self._entering is not None and char not in "\x1a\x1b":
            self._entering += char
        elif char == "\x1b":
            self._entering = None
            self._answer(ESC, b"\r\nOK\r\n")
        elif char == "\x1a" and self._entering is not None:
            self.submitted.append(self._entering)
            self._entering = None
            self._answer(CTRL_Z, self.answers[CTRL_Z])
        elif char == "\r":
            self._answer(line, self.answers.get(line, b"\r\nOK\r\n"))
            return ""
        else:
            return line + char
        return line

    def _answer(self, command: str, usual: bytes) -> None:
        if command.startswith("AT+CMGS="):
            usual = self.prompt
        waiting = self.once.get(command.split("=")[0] if command.startswith("AT+CMGS=") else command)
        answer = waiting.pop(0) if waiting else usual
        if command.startswith("AT+CMGS=") and b">" in answer:
            self._entering = ""
        self.before_answer(command)
        with self._changed:  # before it answers, for who asked goes on at once
            self.heard.append(command)
            self._changed.notify_all()
        if command.startswith("AT+CMGD="):
            self.answers.pop(command.replace("CMGD", "CMGR"), None)
        if answer:
            self.say(answer)


@contextmanager
def scripted() -> Iterator[ScriptedStick]:
    ours, theirs = os.openpty()
    tty.setraw(theirs)
    stick = ScriptedStick(ours, os.ttyname(theirs))
    stop_read, stop_write = os.pipe()

    def run() -> None:
        line = ""
        while stop_read not in (ready := select.select([ours, stop_read], [], [])[0]):
            with suppress(OSError):
                for char in os.read(ready[0], 4096).decode("latin-1"):
                    line = stick.type(char, line)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield stick
    finally:
        os.write(stop_write, b"x")
        thread.join()
        for end in (ours, theirs, stop_read, stop_write):
            os.close(end)
