"""Modems that are not ours: AT sticks of several makers at the level of bytes, with a PDU code of their own.

What each does is public knowledge of such sticks; nothing here uses the gateway's codec, its dialect or its simulated dongle.
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

_ODD_LETTERS = {"@": 0x00, "$": 0x02, "\n": 0x0A, "_": 0x11}  # 3GPP TS 23.038 §6.2.1, where it is not ASCII
_LETTERS = {
    chr(n): n for n in (*range(0x20, 0x24), *range(0x25, 0x40), *range(0x41, 0x5B), *range(0x61, 0x7B))
}
_LETTERS |= _ODD_LETTERS
_SIGNS = {code: letter for letter, code in _LETTERS.items()}
_DIGITS = "0123456789*#abc"
_CENTRE = "0791269900000000"  # +62 99…: nobody's
_STAMP = "62111421436582"  # 2026-11-24 12:34:56 +07


@dataclass(frozen=True, slots=True)
class Sent:
    """An SMS-SUBMIT as it was taken: address digits, their type-of-address octet, text, TP-SRR."""

    address: str
    toa: int
    text: str
    report: bool = False


def parse_submit(pdu: str, length: int) -> Sent:
    """Read an SMS-SUBMIT (3GPP TS 23.040 §9.2.2.2). ValueError where the announced length or the layout is wrong."""
    octets = bytes.fromhex(pdu)
    tpdu = octets[1 + octets[0] :]
    if len(tpdu) != length or tpdu[0] & 3 != 1:
        raise ValueError("not the SMS-SUBMIT that was announced")
    digits, toa = tpdu[2], tpdu[3]
    end = 4 + (digits + 1) // 2
    address = "".join(
        _DIGITS[half] for octet in tpdu[4:end] for half in (octet & 15, octet >> 4) if half < 15
    )
    coding = tpdu[end + 1]
    at = end + 2 + {0: 0, 2: 1}.get(tpdu[0] >> 3 & 3, 7)
    count, data = tpdu[at], tpdu[at + 1 :]
    header = data[0] + 1 if tpdu[0] & 0x40 else 0
    if coding & 0x0C == 8:
        text = data[header:count].decode("utf-16-be")
    else:
        bits = int.from_bytes(data, "little")
        text = "".join(_SIGNS[bits >> 7 * n & 127] for n in range((header * 8 + 6) // 7, count))
    return Sent(address, toa, text, bool(tpdu[0] & 0x20))


def make_deliver(sender: str, text: str, part: tuple[int, int, int] | None = None) -> str:
    """An SMS-DELIVER (3GPP TS 23.040 §9.2.2.1), in hex; `part` is reference, total, number. Other letters go as UCS2."""
    if sender.isdigit():
        padded = sender + "F" * (len(sender) % 2)
        swapped = "".join(padded[n + 1] + padded[n] for n in range(0, len(padded), 2))
        origin = f"{len(sender):02X}81{swapped}"
    else:
        name = _packed(sender, 0)
        origin = f"{(len(sender) * 7 + 3) // 4:02X}D0{name.hex()}"
    header = b"" if part is None else bytes([5, 0, 3, *part])
    if all(letter in _LETTERS for letter in text):
        skipped = (len(header) * 8 + 6) // 7
        packed = _packed(text, skipped)
        body = f"00{_STAMP}{skipped + len(text):02X}{(header + packed[len(header) :]).hex()}"
    else:
        data = header + text.encode("utf-16-be")
        body = f"08{_STAMP}{len(data):02X}{data.hex()}"
    return f"{_CENTRE}{0x44 if part else 0x04:02X}{origin}00{body}".upper()


def _packed(text: str, skipped: int) -> bytes:
    bits = sum(_LETTERS[letter] << 7 * (skipped + n) for n, letter in enumerate(text))
    return int(bits).to_bytes(((skipped + len(text)) * 7 + 7) // 8, "little")


@dataclass(frozen=True, slots=True)
class Habits:
    """What one kind of stick does otherwise than the standard's example. Seconds are real ones."""

    name: str
    on_socket: bool = False
    end: str = "\r\n"
    boot: Sequence[str] = ()
    chatter: Sequence[str] = ()
    echo: bool = True
    echo_for_ever: bool = False
    slow: float = 0.0
    slow_commands: str = r"AT\+(?:CMG|CPMS|CNMI).*"
    byte_by_byte: bool = False
    storages: Sequence[Sequence[str]] = (("SM", "ME"), ("SM", "ME"), ("SM", "ME"))
    storages_test: str | None = ""
    incoming: str = "SM"
    hint: str = ""
    first_slot: int = 1
    indications: str = r"[0-3],[0-2],[0-3],[0-2](?:,[01])?"
    indications_test: str | None = "(0-3),(0-2),(0-3),(0-2),(0,1)"
    errors: str = "number"
    refused: Sequence[str] = ()
    answers: Mapping[str, str] = field(default_factory=dict)
    iccid_by: str = "AT+CCID"
    busy: int = 0
    starting: int = 0
    sim_starting: int = 0
    ussd: str = ""
    prompt: str = "\r\n> "
    prompt_in_echo: bool = False
    echoes_pdu: bool = False
    sent_as: str = "+CMGS: {n}"
    sent_after: float = 0.0
    direct: bool = False
    answers_first: bool = False


class OddModem:
    """One stick behind one port. `answer` plays the service: what is texted back for what was sent."""

    def __init__(self, habits: Habits, answer: Callable[[Sent], Sequence[str]] = lambda sent: ()) -> None:
        self.habits = habits
        self.url = ""
        self.sent: list[Sent] = []
        self.heard: list[str] = []
        self.acknowledged = 0
        self.slots: dict[str, dict[int, str]] = {name: {} for name in habits.storages[0]}
        self._answer_sms = answer
        self._changed = threading.Condition()
        self._commands = threading.RLock()
        self._reference = 41
        self._busy = habits.busy
        self._starting = habits.starting
        self._sim_starting = habits.sim_starting
        self._numbers = ("510110000000001", "89990000000000000012")
        self._waiting: list[str] = []
        self._out: list[tuple[float, bytes]] = []
        self._wake_read, self._wake_write = os.pipe()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"odd {habits.name}", daemon=True)
        self._reset()

    # -- what a test does and sees

    def until(self, true: Callable[[], bool], seconds: float = 8.0) -> bool:
        with self._changed:
            return self._changed.wait_for(true, seconds)

    def deliver(self, sender: str, *texts: str, split: bool = False) -> None:
        """Texts come in from the network; with `split` they are the parts of one."""
        with self._commands:
            for number, text in enumerate(texts, 1):
                part = (77, len(texts), number) if split else None
                self._take_in(make_deliver(sender, text, part))

    def restart(self) -> None:
        """As after a brown-out: every setting is forgotten, echo is on again; what lies in the SIM stays."""
        with self._commands:
            self._reset()
            self._boot()

    def forget_settings(self) -> None:
        """As after a reset of which nothing is said and which leaves the echo off."""
        with self._commands:
            self._indicates = False

    def swap_sim(self, imsi: str, iccid: str) -> None:
        """Another SIM is in it now, which it does not say."""
        with self._commands:
            self._numbers = (imsi, iccid)
            for slots in self.slots.values():
                slots.clear()

    def says(self, *lines: str) -> None:
        """Lines that nobody asked for."""
        with self._commands:
            self._say(*lines)

    @property
    def empty(self) -> bool:
        with self._commands:
            return not any(self.slots.values()) and not self._waiting

    # -- the port

    @contextmanager
    def plugged_in(self) -> Iterator[OddModem]:
        if self.habits.on_socket:
            with socket.create_server(("127.0.0.1", 0)) as server:
                self.url = f"socket://127.0.0.1:{server.getsockname()[1]}"
                with self._running(server, None):
                    yield self
            return
        ours, theirs = os.openpty()
        tty.setraw(theirs)
        self.url = os.ttyname(theirs)
        try:
            with self._running(None, ours):
                yield self
        finally:
            os.close(ours)
            os.close(theirs)

    @contextmanager
    def _running(self, server: socket.socket | None, line: int | None) -> Iterator[None]:
        self._server, self._line = server, line
        self._thread.start()
        try:
            yield
        finally:
            self._stop.set()
            os.write(self._wake_write, b"x")
            self._thread.join()
            os.close(self._wake_read)
            os.close(self._wake_write)

    def _run(self) -> None:
        talk = time.monotonic() + 0.5
        connection: socket.socket | None = None
        while not self._stop.is_set():
            line = connection.fileno() if connection else self._line
            sources = [
                s for s in (line, self._server if line is None else None, self._wake_read) if s is not None
            ]
            with self._commands:
                due = min([talk, *(at for at, _ in self._out[:1])])
            ready, _, _ = select.select(sources, [], [], max(0.0, due - time.monotonic()))
            if self._wake_read in ready:
                os.read(self._wake_read, 64)
            if self._server in ready and self._server is not None:
                connection, _ = self._server.accept()
                self._reset()
                self._boot()
            if line in ready and line is not None:
                data = b""
                with suppress(OSError):
                    data = os.read(line, 4096)
                if not data and connection is not None:
                    connection.close()
                    connection = None
                with self._commands:
                    for char in data.decode("latin-1"):
                        self._typed(char)
            if time.monotonic() >= talk:
                talk = time.monotonic() + 0.5
                with self._commands:
                    for urc in self.habits.chatter:
                        self._say(urc)
            if line is not None:
                self._flush(connection.fileno() if connection else line)
            with self._changed:
                self._changed.notify_all()
        if connection is not None:
            connection.close()

    def _flush(self, line: int) -> None:
        while True:
            with self._commands:
                if not self._out or self._out[0][0] > time.monotonic():
                    return
                data = self._out.pop(0)[1]
            step = 1 if self.habits.byte_by_byte else len(data) or 1
            with suppress(OSError):
                for at in range(0, len(data), step):
                    os.write(line, data[at : at + step])

    def _put(self, text: str, after: float = 0.0) -> None:
        """Bytes go out in the order in which they were put, none earlier than the one before it."""
        at = max([time.monotonic() + after, *(at for at, _ in self._out[-1:])])
        self._out.append((at, text.encode("latin-1")))
        if threading.current_thread() is not self._thread:
            os.write(self._wake_write, b"x")

    def _say(self, *lines: str, after: float = 0.0) -> None:
        end = self.habits.end
        self._put("".join(f"{end}{line}{end}" for line in lines), after)

    # -- the interpreter

    def _reset(self) -> None:
        first = self.habits.storages[0][-1]
        self._echo = self.habits.echo
        self._line_so_far = ""
        self._text: str | None = None
        self._length = 0
        self._memories = [first, first, self.habits.incoming]
        self._indicates = False
        self._full_errors = False

    def _boot(self) -> None:
        if self.habits.boot:
            self._say(*self.habits.boot)

    def _typed(self, char: str) -> None:
        if self._text is not None:
            self._entered(char)
            return
        if self._echo and char != "\x1b":
            self._put(char)
        if char == "\r":
            command, self._line_so_far = self._line_so_far.strip(), ""
            found = re.search(
                r"AT.*", command, re.IGNORECASE
            )  # what stands before AT is passed over (V.250 §5.2.1)
            if found:
                self._command(found[0])
        elif char >= " ":
            self._line_so_far += char

    def _entered(self, char: str) -> None:
        if self._echo and self.habits.echoes_pdu:
            self._put(char)
        if char == "\x1b":
            self._text = None
            self._say("OK")
        elif char == "\x1a":
            pdu, self._text = self._text or "", None
            self._submitted(pdu)
        else:
            self._text = (self._text or "") + char.strip()

    def _submitted(self, pdu: str) -> None:
        try:
            sent = parse_submit(pdu, self._length)
        except (ValueError, IndexError, KeyError):
            self._refuse("CMS", 304)
            return
        self._reference = self._reference % 255 + 1
        texts = self._answer_sms(sent)
        first = len(texts) if self.habits.answers_first else 0
        for text in texts[:first]:
            self._take_in(make_deliver(sent.address, text))
        self._say(self.habits.sent_as.format(n=self._reference), "OK", after=self.habits.sent_after)
        with self._changed:
            self.sent.append(sent)
        for text in texts[first:]:
            self._take_in(make_deliver(sent.address, text))

    def _refuse(self, family: str, code: int) -> None:
        texts = {
            14: "SIM busy",
            304: "Invalid PDU mode parameter",
            321: "Invalid memory index",
            4: "Operation not supported",
        }
        if self.habits.errors == "bare":
            self._say("ERROR")
        else:
            said = texts[code] if self.habits.errors == "text" else str(code)
            self._say(f"+{family} ERROR: {said}")

    def _command(self, command: str) -> None:
        self.heard.append(command)
        habits, upper = self.habits, command.upper()
        if self._starting:
            self._starting -= 1
            self._say(*habits.boot)
            return
        after = habits.slow if habits.slow and re.fullmatch(habits.slow_commands, upper) else 0.0
        if after:
            self._put("", after)
        for urc in habits.chatter:  # also every half second, and always where it may do harm
            self._say(urc)
        if upper in habits.answers:
            self._say(*habits.answers[upper].split("\n"))
        elif any(upper.startswith(refused) for refused in habits.refused):
            self._say("ERROR")
        elif upper == "AT+CPIN?" and self._busy:
            self._busy -= 1
            self._refuse("CME", 14)
        elif upper == "AT+CPIN?" and self._sim_starting:
            self._sim_starting -= 1
            self._say("+CPIN: NOT READY", "OK")
        elif upper.startswith("AT+CUSD=1,"):
            self._ussd(upper)
        elif upper == "ATE0":
            self._say("OK")
            self._echo = habits.echo_for_ever
        elif (found := re.match(r"AT\+(CPMS|CNMI|CMG[SLRD]|CNMA|CRSM)(.*)", upper)) is not None:
            getattr(self, f"_{found[1].lower()}")(found[2])
        elif (answer := self._plain_answer(upper)) is not None:
            self._say(*answer, "OK")
        else:
            self._refuse("CME", 4)

    def _plain_answer(self, command: str) -> Sequence[str] | None:
        known: dict[str, Sequence[str]] = {
            "AT+CPIN?": ["+CPIN: READY"],
            "AT+CGSN": ["990000000000019"],
            "AT+CIMI": [self._numbers[0]],
            "AT+CGMI": [self.habits.name],
            "AT+CGMM": ["ODD-1"],
            "AT+CGMR": ["1.0"],
            "AT+CMEE?": [f"+CMEE: {int(self._full_errors)}"],
            "AT+CMGF?": ["+CMGF: 0"],
            "AT+CSMS?": [f"+CSMS: {int(self.habits.direct)},1,1,1"],
            "AT+CREG?": ["+CREG: 0,1"],
            "AT+CGREG?": ["+CGREG: 0,1"],
            "AT+CSQ": ["+CSQ: 17,99"],
            "AT+COPS?": ['+COPS: 0,0,"XL Axiata"'],
            "AT+CNUM": [],
            self.habits.iccid_by: [self._numbers[1]],
        }
        if command == "AT+CMEE=1":
            self._full_errors = True
        if command in known:
            return known[command]
        return [] if re.fullmatch(r"AT|AT\+(?:CMEE|CMGF|COPS|CSMS)=.*", command) else None

    def _cpms(self, rest: str) -> None:
        habits = self.habits
        if rest == "=?":
            groups = ",".join(
                "(" + ",".join(f'"{name}"' for name in group) + ")" for group in habits.storages
            )
            if habits.storages_test is None:
                self._refuse("CMS", 4)
            else:
                self._say(f"+CPMS: {habits.storages_test or groups}", "OK")
        elif rest == "?":
            counts = (
                f'"{name}",{len(self.slots[name])},20' for name in self._memories[: len(habits.storages)]
            )
            self._say("+CPMS: " + ",".join(counts), "OK")
        else:
            names = re.findall(r'"(\w+)"', rest)
            if (
                not names
                or len(names) > len(habits.storages)
                or any(name not in group for name, group in zip(names, habits.storages, strict=False))
            ):
                self._refuse("CMS", 4)
                return
            self._memories[: len(names)] = names
            counts = (f"{len(self.slots[name])},20" for name in self._memories[: len(habits.storages)])
            self._say("+CPMS: " + ",".join(counts), "OK")

    def _cnmi(self, rest: str) -> None:
        if rest == "=?" and self.habits.indications_test is not None:
            self._say(f"+CNMI: {self.habits.indications_test}", "OK")
        elif rest == "?":
            self._say(f"+CNMI: 2,{int(self._indicates)},0,0,0", "OK")
        elif re.fullmatch(self.habits.indications, rest[1:]):
            self._indicates = True
            self._say("OK")
        else:
            self._refuse("CMS", 4)

    def _cmgs(self, rest: str) -> None:
        self._length, self._text = int(rest[1:]), ""
        if self.habits.prompt_in_echo:
            # The echo of the line has gone out already, but its CR: the prompt stands right behind it.
            at, echoed = self._out[-1]
            self._out[-1] = (at, echoed.removesuffix(b"\r"))
        self._put(self.habits.prompt)

    def _cmgl(self, rest: str) -> None:
        lines = []
        for index, pdu in sorted(self.slots[self._memories[0]].items()):
            lines += [f"+CMGL: {index},1,,{_length(pdu)}", pdu]
        self._say(*lines, "OK")

    def _cmgr(self, rest: str) -> None:
        pdu = self.slots[self._memories[0]].get(int(rest[1:]))
        if pdu is None:
            self._refuse("CMS", 321)
        else:
            self._say(f"+CMGR: 1,,{_length(pdu)}", pdu, "OK")

    def _cmgd(self, rest: str) -> None:
        if self.slots[self._memories[0]].pop(int(rest[1:].split(",")[0]), None) is None:
            self._refuse("CMS", 321)
        else:
            self._say("OK")

    def _cnma(self, rest: str) -> None:
        if not self._waiting:
            self._refuse("CMS", 4)
            return
        self._waiting.pop(0)
        self.acknowledged += 1
        self._say("OK")
        if self._waiting:
            self._hand_over()

    def _ussd(self, command: str) -> None:
        """One code, *123#, in the one form that this stick takes; its credit comes a little later."""
        code, answer = {
            "": ("", ""),
            "text": ('AT+CUSD=1,"*123#",15', '"Pulsa Rp 5.000",15'),
            "packed": ('AT+CUSD=1,"AA986C3602",15', '"D03A7B1E0649E1A09A0B068301",15'),
            "ucs2": (
                'AT+CUSD=1,"002A0031003200330023",15',
                '"00500075006C0073006100200052007000200035002E003000300030",72',
            ),
        }[self.habits.ussd]
        if command == code:
            self._say("OK")
            self._say(f"+CUSD: 0,{answer}", after=0.05)
        else:
            self._refuse("CME", 4)

    def _crsm(self, rest: str) -> None:
        if self.habits.iccid_by == "AT+CRSM":
            self._say('+CRSM: 144,0,"98990000000000000021"', "OK")
        else:
            self._refuse("CME", 4)

    # -- the network's side

    def _take_in(self, pdu: str) -> None:
        if self.habits.direct:
            self._waiting.append(pdu)
            if len(self._waiting) == 1:  # the next comes when this one was acknowledged
                self._hand_over()
            return
        slots = self.slots[self._memories[2]]
        index = next(n for n in range(self.habits.first_slot, 99) if n not in slots)
        slots[index] = pdu
        if self._indicates:
            self._say(f'+CMTI: "{self.habits.hint or self._memories[2]}",{index}')

    def _hand_over(self) -> None:
        pdu = self._waiting[0]
        self._put(f"\r\n+CMT: ,{_length(pdu)}\r\n{pdu}\r\n")


def _length(pdu: str) -> int:
    return len(pdu) // 2 - 1 - int(pdu[:2], 16)
