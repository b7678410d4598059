"""Modems by people whom we never met: one byte peer, and what each kind does otherwise, told as data with its public source.

A kind is played on a pty, or behind a terminal server. Its codec is that of `odd_modems`, so nothing here is the gateway's own.
"""

from __future__ import annotations

import os
import re
import select
import socket
import threading
import time
import tty
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from odd_modems import Sent, make_deliver, parse_submit

ICCID, IMSI, IMEI = "89990000000000000012", "510110000000001", "990000000000019"
WAIT = 10.0

Say = str | bytes | None
Rule = Callable[["Stranger", re.Match[str]], Say]


@dataclass(frozen=True, slots=True)
class Kind:
    """What one modem does otherwise than the standard's example, and who said so.

    rules: patterns of whole commands, first match wins; what it says to them: lines, bytes, or a function of both, whose
    None means the usual answer · wire: what the line makes of all that it says · ear: what reaches it of what it is told
    · verdict: said after Ctrl-Z, `{n}` is the reference · takes: what it says to a PDU instead · listed, read, hint: headers
    · same: its storages are one · doubt: it lets nobody know whether an SMS went
    · keeps: it lets nobody remove an SMS     · patience: seconds until it is taken to be silent, short where it is
    """

    name: str
    source: str
    rules: Mapping[str, Say | Rule] = field(default_factory=dict)
    wire: Callable[[bytes], bytes] = bytes
    ear: Callable[[Stranger, bytes], bytes] = lambda stick, data: data
    prompt: bytes = b"\r\n> "
    verdict: str | bytes = "+CMGS: {n}\nOK"
    takes: Callable[[Stranger, str], Say] = lambda stick, pdu: None
    listed: str = "+CMGL: {index},{stat},,{length}"
    read: str = "+CMGR: {stat},,{length}"
    hint: str = '+CMTI: "{storage}",{index}'
    storages: Sequence[str] = ("SM", "ME")
    same: bool = False
    incoming: str = "SM"
    slots: Sequence[int] = range(1, 21)
    banner: bytes = b""
    echo: bool = True
    on_socket: bool = False
    doubt: bool = False
    keeps: bool = False
    patience: float = 5.0


class Stranger:
    """One modem of a kind. `answer` plays the service: what is texted back for what was sent."""

    def __init__(self, kind: Kind, answer: Callable[[Sent], Sequence[str]] = lambda sent: ()) -> None:
        self.kind = kind
        self.url = ""
        self.sent: list[Sent] = []
        self.heard: list[str] = []
        self.memory: dict[str, object] = {}
        """What a rule remembers."""
        self.storages: dict[str, dict[int, str]] = {name: {} for name in kind.storages}
        if kind.same:
            self.storages = dict.fromkeys(kind.storages, self.storages[kind.storages[0]])
        self.read_already: set[str] = set()
        self.echo = kind.echo
        self.current = kind.incoming
        self.hints = False
        self.reference = 40
        self._answer_sms = answer
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._out: list[tuple[float, bytes]] = []
        self._wake_read, self._wake_write = os.pipe()
        self._stopping = False
        self._line = ""
        self._text: str | None = None
        self._length = 0
        self._connected = threading.Event()

    # -- what a test does and sees

    def deliver(self, text: str, sender: str = "2757") -> None:
        self.store(make_deliver(sender, text))

    def store(self, pdu: str) -> None:
        """A PDU comes into the storage for what is received, with a hint if hints were asked for."""
        with self._lock:
            storage = self.storages[self.kind.incoming]
            index = next(n for n in self.kind.slots if n not in storage)
            storage[index] = pdu
            if self.hints and self.kind.hint:
                self.say(self.kind.hint.format(storage=self.kind.incoming, index=index))

    def until(self, true: Callable[[], bool]) -> bool:
        with self._changed:
            return self._changed.wait_for(true, WAIT)

    def say(self, said: str | bytes, after: float = 0.0) -> None:
        """Lines, or bytes as they are; in the order in which they are said."""
        with self._lock:
            data = said if isinstance(said, bytes) else lines(said)
            at = max([time.monotonic() + after, *(due for due, _ in self._out[-1:])])
            self._out.append((at, self.kind.wire(data)))
            os.write(self._wake_write, b"x")

    def restart(self, banner: bytes) -> None:
        """As after a brown-out: what lies in the storages stays, every setting is gone."""
        with self._lock:
            self.echo, self.hints, self._text, self._line = self.kind.echo, False, None, ""
            self.current = self.kind.incoming
            self.say(banner)

    @property
    def left(self) -> list[str]:
        with self._lock:
            return [pdu for storage in self.storages.values() for pdu in storage.values()]

    # -- the port

    @contextmanager
    def plugged_in(self) -> Iterator[Stranger]:
        if self.kind.on_socket:
            server = socket.create_server(("127.0.0.1", 0))
            self.url = f"socket://127.0.0.1:{server.getsockname()[1]}"
            thread = threading.Thread(target=self._serve, args=(server,), daemon=True)
            ends: list[int] = []
        else:
            ours, theirs = os.openpty()
            tty.setraw(theirs)
            self.url, ends = os.ttyname(theirs), [ours, theirs]
            thread = threading.Thread(target=self._run, args=(ours,), daemon=True)
            self.say(self.kind.banner)
        thread.start()
        try:
            yield self
        finally:
            with self._lock:
                self._stopping = True
                os.write(self._wake_write, b"x")
            thread.join()
            for end in (*ends, self._wake_read, self._wake_write):
                os.close(end)
            if self.kind.on_socket:
                server.close()

    def _serve(self, server: socket.socket) -> None:
        while not self._stopping:
            ready, _, _ = select.select([server.fileno(), self._wake_read], [], [])
            if self._wake_read in ready:
                os.read(self._wake_read, 1)
            if server.fileno() in ready:
                connection, _ = server.accept()
                with connection:
                    self.say(self.kind.banner)
                    self._run(connection.fileno())

    def _run(self, line: int) -> None:
        while not self._stopping:
            with self._lock:
                due = [at for at, _ in self._out[:1]]
            timeout = max(0.0, due[0] - time.monotonic()) if due else None
            ready, _, _ = select.select([line, self._wake_read], [], [], timeout)
            if self._wake_read in ready:
                os.read(self._wake_read, 64)
            with self._changed:
                if line in ready:
                    data = b""
                    with suppress(OSError):
                        data = os.read(line, 4096)
                    if not data:
                        return
                    for char in self.kind.ear(self, data).decode("latin-1"):
                        self._typed(char)
                while self._out and self._out[0][0] <= time.monotonic():
                    with suppress(OSError):
                        os.write(line, self._out.pop(0)[1])
                self._changed.notify_all()

    # -- the interpreter

    def _typed(self, char: str) -> None:
        if self._text is not None:
            self._entered(char)
            return
        if self.echo and char != "\x1b":
            self.say(char.encode("latin-1"))
        if char == "\r":
            command, self._line = self._line.strip(), ""
            if found := re.search(r"AT.*", command, re.IGNORECASE):
                self._command(found[0])
        elif char == "\x1b":
            self._line = ""
        elif char >= " ":
            self._line += char

    def _entered(self, char: str) -> None:
        if char == "\x1b":
            self._text = None
            self.say("OK")
        elif char == "\x1a":
            pdu, self._text = self._text or "", None
            self._submitted(pdu)
        else:
            self._text = (self._text or "") + char.strip()

    def _submitted(self, pdu: str) -> None:
        said = self.kind.takes(self, pdu)
        if said is not None:
            self.say(said)
            return
        try:
            sent = parse_submit(pdu, self._length)
        except (ValueError, IndexError, KeyError):
            self.say("+CMS ERROR: 304")
            return
        self.went(sent)
        verdict = self.kind.verdict
        if isinstance(verdict, bytes):
            self.say(verdict.replace(b"{n}", str(self.reference).encode()))
        else:
            self.say(verdict.format(n=self.reference))
        self.answer(sent)

    def answer(self, sent: Sent) -> None:
        for text in self._answer_sms(sent):
            self.deliver(text, sent.address)

    def went(self, sent: Sent) -> None:
        self.reference = self.reference % 255 + 1
        self.sent.append(sent)

    def parse(self, pdu: str) -> Sent:
        return parse_submit(pdu, self._length)

    def _command(self, command: str) -> None:
        self.heard.append(command)
        for pattern, rule in self.kind.rules.items():
            if found := re.fullmatch(pattern, command, re.IGNORECASE):
                said = rule(self, found) if callable(rule) else rule
                if said is not None:
                    self.say(said)
                    return
        self.say(self.usual(command))

    def usual(self, command: str) -> str | bytes:
        """What the standards' example says."""
        plain = {
            "AT+CPIN?": "+CPIN: READY",
            "AT+CGSN": IMEI,
            "AT+CIMI": IMSI,
            "AT+CCID": f"+CCID: {ICCID}",
            "AT+CGMI": "STRANGER",
            "AT+CGMM": "S-1",
            "AT+CGMR": "1.0",
            "AT+CMEE?": "+CMEE: 1",
            "AT+CMGF?": "+CMGF: 0",
            "AT+CSMS?": "+CSMS: 0,1,1,1",
            "AT+CREG?": "+CREG: 0,1",
            "AT+CGREG?": "+CGREG: 0,1",
            "AT+CSQ": "+CSQ: 17,99",
            "AT+COPS?": '+COPS: 0,0,"XL Axiata"',
            "AT+CNMI=?": "+CNMI: (0-2),(0-3),(0,2),(0,1),(0,1)",
            "AT+CNMI?": f"+CNMI: {'2,1' if self.hints else '0,0'},0,0,0",
        }
        upper = command.upper()
        if upper in plain:
            return f"{plain[upper]}\nOK"
        if upper in ("ATE0", "ATE1"):
            self.echo = upper == "ATE1"
            return "OK"
        if found := re.fullmatch(r"AT\+(CPMS|CNMI|CMG[SLRD])(\?|=.*)", upper):
            said: str | bytes = getattr(self, f"_{found[1].lower()}")(found[2])
            return said
        if re.fullmatch(r"AT|AT\+(CMEE|CMGF|COPS|CSMS|CSCS)=[^?]*|AT(Q0V1|H|\+CHUP)", upper):
            return "OK"
        return "ERROR"

    def _cpms(self, rest: str) -> str:
        if rest == "=?":
            names = ",".join(f'"{name}"' for name in self.storages)
            return f"+CPMS: ({names}),({names}),({names})\nOK"
        if rest == "?":
            counts = (
                f'"{name}",{len(self.storages[name])},20'
                for name in (self.current, self.current, self.kind.incoming)
            )
            return f"+CPMS: {','.join(counts)}\nOK"
        names_set = re.findall(r'"(\w+)"', rest)
        if not names_set or any(name not in self.storages for name in names_set):
            return "+CMS ERROR: 302"
        self.current = names_set[0]
        used = f"{len(self.storages[self.current])},20"
        return f"+CPMS: {used},{used},{used}\nOK"

    def _cnmi(self, rest: str) -> str:
        if not re.fullmatch(r"=[0-2],[0-3](,[02](,[0-2](,[01])?)?)?", rest):
            return "+CMS ERROR: 303"
        self.hints = rest[3] == "1"
        return "OK"

    def _cmgs(self, rest: str) -> bytes:
        self.expect_pdu(int(rest[1:]))
        return self.kind.prompt

    def expect_pdu(self, length: int) -> None:
        self._length, self._text = length, ""

    def _cmgl(self, rest: str) -> str:
        if rest == "=?":
            return "+CMGL: (0-4)\nOK"
        return "\n".join([*self.listing(), "OK"])

    def listing(self, *, but: Callable[[int], bool] = lambda index: False) -> list[str]:
        said = []
        for index, pdu in sorted(self.storages[self.current].items()):
            if not but(index):
                said += [self.header(self.kind.listed, index, pdu), pdu]
        return said

    def header(self, form: str, index: int, pdu: str) -> str:
        stat = int(pdu in self.read_already)
        self.read_already.add(pdu)
        return form.format(index=index, stat=stat, length=length(pdu))

    def _cmgr(self, rest: str) -> str:
        index = int(rest[1:])
        pdu = self.storages[self.current].get(index)
        if pdu is None:
            return "+CMS ERROR: 321"
        return f"{self.header(self.kind.read, index, pdu)}\n{pdu}\nOK"

    def _cmgd(self, rest: str) -> str:
        if rest == "=?":
            return f"+CMGD: ({','.join(map(str, sorted(self.storages[self.current])))}),(0-4)\nOK"
        index = int(rest[1:].split(",")[0])
        return "OK" if self.storages[self.current].pop(index, None) else "+CMS ERROR: 321"


def lines(text: str) -> bytes:
    return "".join(f"\r\n{line}\r\n" for line in text.split("\n")).encode("latin-1")


def length(pdu: str) -> int:
    """Octets of the TPDU, without its service centre."""
    return len(pdu) // 2 - 1 - int(pdu[:2], 16)
