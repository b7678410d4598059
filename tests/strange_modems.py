"""A modem on a pty as other makers build them, and as other programs leave them behind; written from logs of real ones."""

from __future__ import annotations

import heapq
import os
import re
import select
import threading
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count

IMEI, IMSI, ICCID = "990000000000019", "510990000000001", "89990000000000000012"
ESC, CTRL_Z = "\x1b", "\x1a"
GUARD = 0.8  # seconds of silence around +++, as long as the 1 s of V.250 allows for jitter


@dataclass(frozen=True, slots=True)
class Kind:
    """One model. `says`: patterns of commands and what comes instead, result included; a list is said one after the other, its last for ever."""

    name: str = "plain"
    maker: str = "Strange Works"
    model: str = "S1"
    says: dict[str, str | list[str]] = field(default_factory=dict)
    boot: tuple[str, ...] = ()
    boots_for: float = 0.0
    sleeps_for: int = 0  # so many command lines are lost
    latency: float = 0.0
    send_latency: float = 0.0
    memories: tuple[tuple[str, ...], ...] = (("SM", "ME"), ("SM", "ME"), ("SM", "ME"))
    cpms_takes: Callable[[list[str]], bool] = lambda names: True
    cnmi_takes: str = r"[0-2],[01](,0(,[0-2](,[01])?)?)?"
    cnmi_offers: str | None = "(0-2),(0,1),(0,2),(0-2),(0,1)"
    arrives_in: str = "SM"
    hint: str = '+CMTI: "{storage}",{index}'
    first_index: int = 1
    sent: str = "+CMGS: {n}"
    prompt: str = "\r\n> "
    frame: str = "\r\n{}\r\n"
    spread: Callable[[bytes], list[bytes]] = lambda data: [data]
    empty_slot: str = "OK"
    lists: str | None = None  # what +CMGL ends with, besides OK
    strict_escape: bool = False
    # as another program left it
    echo: bool = True
    quiet: bool = False
    numeric: bool = False
    text_mode: bool = False
    prompted: bool = False
    online: bool = False
    ucs2: bool = False
    end_of_line: str = "\r"


class StrangeModem:
    """It runs while in `plugged_in`. `sent` is what went on the air; `store` what it keeps."""

    def __init__(self, kind: Kind, reply: Callable[[str], str] | None = None) -> None:
        """reply: the PDU that comes in for one that goes out."""
        self.kind = kind
        self._reply = reply
        self.sent: list[str] = []
        self.commands: list[str] = []
        self.store: dict[str, dict[int, tuple[int, str]]] = {n: {} for group in kind.memories for n in group}
        self.changed = threading.Condition(threading.RLock())
        self.url = ""
        self._due: list[tuple[float, int, bytes, Callable[[], None] | None]] = []
        self._number = count()
        self._free_at = 0.0
        self._said: dict[str, int] = {}
        self._reference = 40
        self._set_back()
        self._prompt: int | None = 20 if kind.prompted else None
        self._online = kind.online
        self._lost = kind.sleeps_for
        self._last_byte = 0.0
        self._plus = 0.0

    def _set_back(self) -> None:
        kind = self.kind
        self._echo, self._quiet, self._numeric = kind.echo, kind.quiet, kind.numeric
        self._text, self._ucs2 = kind.text_mode, kind.ucs2
        self._end = kind.end_of_line
        self._cmee = 0
        self._cnmi = "0,0,0,0,0"
        self._memories = [group[0] for group in kind.memories]
        self._buffer = ""

    # the pty

    @contextmanager
    def plugged_in(self) -> Iterator[StrangeModem]:
        self._master, slave = os.openpty()
        tty.setraw(slave)
        self.url = os.ttyname(slave)
        self._end_read, self._end_write = os.pipe()
        self._booted = time.monotonic() + self.kind.boots_for
        self._last_byte = time.monotonic()
        step = self.kind.boots_for / max(1, len(self.kind.boot))
        for place, line in enumerate(self.kind.boot):
            self._later(f"\r\n{line}\r\n", step * (place + 1))
        thread = threading.Thread(target=self._run, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            os.write(self._end_write, b"x")
            thread.join()
            for number in (self._master, slave, self._end_read, self._end_write):
                os.close(number)

    def _run(self) -> None:
        while True:
            with self.changed:
                wait = max(0.0, self._due[0][0] - time.monotonic()) if self._due else 0.05
            ready, _, _ = select.select([self._master, self._end_read], [], [], min(wait, 0.05))
            if self._end_read in ready:
                return
            with self.changed:
                if self._master in ready:
                    self._hear(os.read(self._master, 4096).decode("latin-1"))
                now = time.monotonic()
                if self._plus and now - self._plus > GUARD:
                    self._plus, self._online = 0.0, False
                    self._result("OK")
                while self._due and self._due[0][0] <= now:
                    _, _, data, then = heapq.heappop(self._due)
                    os.write(self._master, data)
                    if then is not None:
                        then()
                self.changed.notify_all()

    def _later(self, text: str, seconds: float, then: Callable[[], None] | None = None) -> None:
        """Write it, behind everything that waits already."""
        at = max(time.monotonic() + seconds, self._free_at)
        self._free_at = at
        pieces = self.kind.spread(text.encode("latin-1")) if text else [b""]
        for piece in pieces:
            last = then if piece is pieces[-1] else None
            heapq.heappush(self._due, (self._free_at, next(self._number), piece, last))
            self._free_at += 0.001 if len(pieces) > 1 else 0.0

    # what other people do with it

    def arrive(self, pdu: str, hint: bool = True) -> int:
        """An SMS comes in."""
        with self.changed:
            storage = self.kind.arrives_in
            index = next(n for n in count(self.kind.first_index) if n not in self.store[storage])
            self.store[storage][index] = (0, pdu)
            if hint and self._cnmi.split(",")[1:2] == ["1"]:
                self._later(self.kind.frame.format(self.kind.hint.format(storage=storage, index=index)), 0)
            return index

    def say(self, text: str) -> None:
        with self.changed:
            self._later(text, 0)

    def start_anew(self) -> None:
        """Every setting is gone, and it says so as SIMCom's A76 does."""
        with self.changed:
            self._set_back()
            self._later("\r\n*ATREADY: 1\r\n\r\n+CPIN: READY\r\n\r\nSMS DONE\r\n", 0)

    def emptied(self, seconds: float) -> bool:
        """Wait until nothing is kept."""
        with self.changed:
            return self.changed.wait_for(lambda: not any(self.store.values()), seconds)

    @property
    def kept(self) -> int:
        with self.changed:
            return sum(map(len, self.store.values()))

    # the interpreter

    def _hear(self, text: str) -> None:
        now = time.monotonic()
        if self._online:
            if text == "+++" and now - self._last_byte > GUARD:
                self._plus = now
            else:
                self._plus = 0.0
            self._last_byte = now
            return
        self._last_byte = now
        if now < self._booted:
            return
        for character in text:
            self._character(character)

    def _character(self, character: str) -> None:
        if self._prompt is not None:
            if character == ESC:
                self._prompt, self._buffer = None, ""
            elif character == CTRL_Z:
                pdu, self._buffer, self._prompt = self._buffer, "", None
                self._take_pdu(pdu)
            else:
                self._buffer += character
            return
        if self._echo and self._lost <= 0:
            self._later(character, 0)
        if character == self._end:
            line, self._buffer = self._buffer, ""
            self._line(line)
        elif character == ESC and not self.kind.strict_escape:
            self._buffer = ""
        elif character != "\n":
            self._buffer += character

    def _line(self, line: str) -> None:
        line = line.strip()
        if not line:
            return
        if self._lost > 0:
            self._lost -= 1
            return
        if not line.upper().startswith("AT"):
            self._result("ERROR")
            return
        self.commands.append(line)
        self._command(line)

    def _command(self, line: str) -> None:
        for pattern, said in self.kind.says.items():
            if re.fullmatch(pattern, line, re.IGNORECASE):
                if isinstance(said, list):
                    turn = self._said.get(pattern, 0)
                    self._said[pattern] = turn + 1
                    said = said[min(turn, len(said) - 1)]
                if said == "-":  # as if it had no such habit
                    break
                self._answer(said)
                return
        name = re.match(r"AT(\+[A-Z]+)?", line.upper())
        extended = name[1] if name else None
        if extended is None:
            self._basic(line[2:].upper())
            return
        method = getattr(self, "_do_" + extended[1:].lower(), None)
        if method is None:
            self._error(100)
        else:
            method(line[2 + len(extended) :])

    def _basic(self, text: str) -> None:
        for letter, number in re.findall(r"([A-Z&]+?)(\d*(?:=\d+)?)(?=[A-Z&]|$)", text):
            value = int(number or 0) if "=" not in number else 0
            if letter == "E":
                self._echo = bool(value)
            elif letter == "Q":
                self._quiet = bool(value)
            elif letter == "V":
                self._numeric = not value
            elif letter == "S" and number.startswith("3="):
                self._end = chr(int(number[2:]))
        self._answer("OK")

    def _answer(self, said: str) -> None:
        """Lines, the last of them a result; nothing at all for an empty text."""
        if not said:
            return
        *lines, result = said.split("\n")
        for line in lines:
            self._info(line)
        if result:
            self._result(result)

    def _info(self, line: str) -> None:
        self._later(f"{line}\r\n" if self._numeric else self.kind.frame.format(line), self.kind.latency)

    def _result(self, result: str) -> None:
        if self._quiet:
            return
        digits = {"OK": "0", "ERROR": "4"}
        if self._numeric and result in digits:
            self._later(digits[result] + "\r", self.kind.latency)
        else:
            self._later(self.kind.frame.format(result), self.kind.latency)

    def _error(self, code: int, family: str = "CME") -> None:
        self._result(f"+{family} ERROR: {code}" if self._cmee or family == "CMS" else "ERROR")

    def _name(self, storage: str) -> str:
        return storage.encode("utf-16-be").hex().upper() if self._ucs2 else storage

    def _do_cmee(self, rest: str) -> None:
        if rest.startswith("=") and rest[1:] in "012":
            self._cmee = int(rest[1:])
        self._answer(f"+CMEE: {self._cmee}\nOK" if rest == "?" else "OK")

    def _do_cscs(self, rest: str) -> None:
        if rest.startswith('="'):
            self._ucs2 = rest[2:-1] == "UCS2"
        self._answer("OK")

    def _do_cgmi(self, rest: str) -> None:
        self._answer(f"{self.kind.maker}\nOK")

    def _do_cgmm(self, rest: str) -> None:
        self._answer(f"{self.kind.model}\nOK")

    def _do_cgmr(self, rest: str) -> None:
        self._answer("11.22.33\nOK")

    def _do_cgsn(self, rest: str) -> None:
        self._answer(f"{IMEI}\nOK")

    def _do_cimi(self, rest: str) -> None:
        self._answer(f"{IMSI}\nOK")

    def _do_ccid(self, rest: str) -> None:
        self._answer(f"+CCID: {ICCID}\nOK")

    def _do_cpin(self, rest: str) -> None:
        self._answer("+CPIN: READY\nOK")

    def _do_creg(self, rest: str) -> None:
        self._answer("+CREG: 0,1\nOK" if rest == "?" else "OK")

    def _do_csq(self, rest: str) -> None:
        self._answer("+CSQ: 20,99\nOK")

    def _do_cops(self, rest: str) -> None:
        self._answer(f'+COPS: 0,0,"{self._name("TELKOMSEL")}",7\nOK' if rest == "?" else "OK")

    def _do_cnum(self, rest: str) -> None:
        self._answer(f'+CNUM: "","{self._name("+62899000001")}",145\nOK')

    def _do_cmgf(self, rest: str) -> None:
        if rest.startswith("="):
            self._text = rest[1:] == "1"
        self._answer(f"+CMGF: {int(self._text)}\nOK" if rest == "?" else "OK")

    def _do_csms(self, rest: str) -> None:
        self._answer("+CSMS: 0,1,1,1\nOK" if rest == "?" else "+CSMS: 1,1,1\nOK")

    def _do_cnmi(self, rest: str) -> None:
        if rest == "?":
            self._answer(f"+CNMI: {self._cnmi}\nOK")
        elif rest == "=?":
            self._answer(f"+CNMI: {self.kind.cnmi_offers}\nOK" if self.kind.cnmi_offers else "ERROR")
        elif re.fullmatch(self.kind.cnmi_takes, rest[1:]):
            given = rest[1:].split(",")
            self._cnmi = ",".join(given + ["0"] * (5 - len(given)))
            self._answer("OK")
        else:
            self._error(303, "CMS")

    def _do_cpms(self, rest: str) -> None:
        if rest == "=?":
            groups = ",".join(
                "(" + ",".join(f'"{self._name(n)}"' for n in g) + ")" for g in self.kind.memories
            )
            self._answer(f"+CPMS: {groups}\nOK")
        elif rest == "?":
            counts = ",".join(f'"{self._name(n)}",{len(self.store[n])},30' for n in self._memories)
            self._answer(f"+CPMS: {counts}\nOK")
        else:
            names = re.findall(r'"([^"]*)"', rest)
            if self._ucs2 or not all(n in g for n, g in zip(names, self.kind.memories, strict=False)):
                self._error(302, "CMS")
            elif not self.kind.cpms_takes(names):
                self._result("ERROR")
            else:
                self._memories[: len(names)] = names
                counts = ",".join(f"{len(self.store[n])},30" for n in self._memories)
                self._answer(f"+CPMS: {counts}\nOK")

    def _do_cmgl(self, rest: str) -> None:
        for index, (stat, pdu) in sorted(self.store[self._memories[0]].items()):
            self._info(f"+CMGL: {index},{stat},,{_length(pdu)}\r\n{pdu}")
        self._answer("OK" if self.kind.lists is None else self.kind.lists)

    def _do_cmgr(self, rest: str) -> None:
        found = self.store[self._memories[0]].get(int(rest[1:]))
        if found is None:
            self._answer(self.kind.empty_slot)
        else:
            self._info(f"+CMGR: {found[0]},,{_length(found[1])}\r\n{found[1]}")
            self._result("OK")

    def _do_cmgd(self, rest: str) -> None:
        if not re.fullmatch(r"=\d+", rest):
            self._error(50)
        else:
            self.store[self._memories[0]].pop(int(rest[1:]), None)
            self._result("OK")

    def _do_cmgs(self, rest: str) -> None:
        if self._text:
            self._error(305, "CMS")
            return
        self._later(self.kind.prompt, self.kind.latency)
        self._prompt, self._buffer = int(rest[1:]), ""

    def _take_pdu(self, pdu: str) -> None:
        if _length(pdu) != self._expects(pdu):
            self._error(304, "CMS")
            return
        self._reference = (self._reference + 1) % 256
        self.sent.append(pdu)
        said = self.kind.sent.format(n=self._reference)
        self._later(self.kind.frame.format(said), self.kind.latency + self.kind.send_latency)
        self._result("OK")
        if self._reply is not None:
            self.arrive(self._reply(pdu))

    def _expects(self, pdu: str) -> int:
        return _length(pdu) if re.fullmatch(r"([0-9A-F]{2})+", pdu) else -1


def _length(pdu: str) -> int:
    try:
        return len(pdu) // 2 - 1 - int(pdu[:2], 16)
    except ValueError:
        return -2
