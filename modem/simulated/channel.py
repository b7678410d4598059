"""One port of the simulated dongle: bytes in, bytes out, with the session that a program has there (ITU-T V.250)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from modem.pdu import PduError
from modem.simulated import commands, messages
from modem.simulated.composing import TextParameters
from modem.simulated.grammar import Refused, cms
from modem.simulated.grammar import commands as parse
from modem.simulated.messages import Prompt
from modem.simulated.personality import SPEAKING

if TYPE_CHECKING:
    from modem.simulated.dongle import Dongle

LF, CR, CTRL_Z, ESC = 0x0A, 0x0D, 0x1A, 0x1B
LINE_LIMIT = 2048  # a command line longer than any command needs; real sticks have 256 to 2,048
_CONTROLS = bytes(code for code in range(32) if code not in (8, 9, 10, 13)) + b"\x7f"
_NOISE = (0, *range(0x80, 0x100))
_REPEAT = re.compile(
    rb"[\s\x00\x1a\x1b]*[Aa]/"
)  # V.250 §5.2.4: A/ repeats the last line, without a line ending
_NUMERIC = {
    "OK": "0",
    "CONNECT": "1",
    "RING": "2",
    "NO CARRIER": "3",
    "ERROR": "4",
    "NO DIALTONE": "6",
}  # V.250 §5.7.1
# V.250 §6.2.1 to §6.2.3, §6.3.8 to §6.3.12; what is left to the maker as Hayes had it
_REGISTERS = {0: 0, 3: 13, 4: 10, 5: 8, 6: 2, 7: 50, 8: 2, 10: 14}
_ANSWERS = ("answer_lost", "answer_late", "answer_doubled")
_ERRORS = {
    "error_bare": "ERROR",
    "error_text": "+CME ERROR: SIM busy",
    "error_unsupported": "COMMAND NOT SUPPORT",
    "busy_cme_14": "+CME ERROR: 14",
    "busy_cms_314": "+CMS ERROR: 314",
    "busy_515": "+CMS ERROR: 515",
}


@dataclass(slots=True)
class Profile:
    """The session's settings, as ATZ and AT&F leave them. What SMS are done with, `indications`, all ports share."""

    indications: list[int]
    echo: bool = True
    verbose: bool = True
    quiet: bool = False
    registers: dict[int, int] = field(default_factory=lambda: dict(_REGISTERS))
    cmee: int = 0
    text_mode: bool = False
    show_headers: bool = False
    charset: str = "IRA"
    text_parameters: TextParameters = field(default_factory=TextParameters)
    registration_urcs: dict[str, int] = field(default_factory=lambda: {"+CREG": 0, "+CGREG": 0, "+CEREG": 0})
    operator_format: int = 0
    more_messages: int = 0
    vendor_urcs: bool = True
    caller_shown: bool = False
    call_type_shown: bool = False
    phonebook: str = "SM"
    ussd_shown: int = 0
    ussd_hidden: bool = False
    kept: dict[str, str] = field(default_factory=dict)
    events: list[int] = field(default_factory=lambda: [0] * 5)
    told: tuple[int, ...] = ()
    broadcasts: tuple[int, str, str] = messages.NO_BROADCASTS


class Channel:
    """A port. Not thread-safe by itself: every call holds the network's lock.

    `feed` returns what the port says at once. Output that others cause waits: `on_output` tells, `drain` takes it.
    `on_plug(True)` and `on_plug(False)` tell that the port is there, or is gone. `verdict_due`: Ctrl-Z came, its result did not.
    """

    def __init__(self, dongle: Dongle, role: str) -> None:
        self.dongle: Dongle = dongle
        self.role: str = role
        self.mute: bool = role not in SPEAKING
        self.on_output: Callable[[], None] | None = None
        self.on_plug: Callable[[bool], None] | None = None
        self._out = bytearray()
        self.reset()

    def reset(self) -> None:
        """Forget the session, as a stick does that starts anew."""
        self.profile = Profile(self.dongle.indications)
        self._incoming = bytearray()
        self._line = bytearray()
        self._last_body = ""
        self._prompt: Prompt | None = None
        self._text = bytearray()
        self._line_feed_due = False
        self._going = ""
        self._busy = False
        self._quiet_until: datetime | None = None
        self._held: list[str] = []
        self._sink: list[str] | None = None
        self.verdict_due = False

    def fresh_profile(self) -> None:
        """ATZ and AT&F."""
        vendor_urcs = self.profile.vendor_urcs
        self.dongle.indications[:] = [0, 0, 0, 0, 0]
        self.dongle.service = 0
        self.profile = Profile(self.dongle.indications, vendor_urcs=vendor_urcs)

    # -- bytes --------------------------------------------------------------------------------------

    def feed(self, data: bytes, now: datetime) -> bytes:
        """Bytes that the host writes; what the port says to them at once."""
        dongle = self.dongle
        with dongle.network.lock:
            dongle.network.step(now)  # what was due before these bytes came
            if not dongle.plugged:
                return b""
            if not self.mute and not dongle.deaf:
                self._incoming += data
                self._work(now)
            dongle.network.step(now)
            return self.drain()

    def drain(self) -> bytes:
        """Take what the port has said and nobody has read."""
        said = bytes(self._out)
        self._out.clear()
        return said

    def _work(self, now: datetime) -> None:
        while self._incoming and not self._busy and self.dongle.plugged:
            if self._prompt is None:
                self._take_line(now)
            else:
                self._take_text(self._prompt, now)

    def _take_line(self, now: datetime) -> None:
        profile, buffer = self.profile, self._incoming
        end = self._line_end(buffer)
        chunk = bytes(buffer) if end < 0 else bytes(buffer[: end + 1])
        if len(self._line) < 8 and (slash := _REPEAT.match(self._line + chunk)):
            taken = slash.end() - len(self._line)
            self._line.clear()
            self._echo(bytes(buffer[:taken]))
            del buffer[:taken]
            self._run(self._last_body, now)
            return
        del buffer[: len(chunk)]
        self._echo(chunk)
        for byte in chunk if end < 0 else chunk[:-1]:
            if byte == profile.registers[5]:
                del self._line[-1:]
            elif len(self._line) <= LINE_LIMIT:
                self._line.append(byte)
        if end < 0:
            return
        line = bytes(self._line).translate(None, _CONTROLS).decode("latin-1")
        self._line.clear()
        start = next(
            (place for place, char in enumerate(line) if char.isascii() and char.isalnum()), len(line)
        )
        if line[start : start + 2].upper() == "AT":
            self._last_body = line[start + 2 :].strip()
            self._run(self._last_body, now)

    def _line_end(self, buffer: bytearray) -> int:
        """Where the character is that ends a command line (V.250 §5.2.1), and -1 where none is."""
        ends = {self.profile.registers[3]}
        if ends == {CR} and self.dongle.personality.line_feeds:
            ends.add(LF)
        return next((place for place, byte in enumerate(buffer) if byte in ends), -1)

    def _take_text(self, prompt: Prompt, now: datetime) -> None:
        buffer = self._incoming
        if self._line_feed_due:
            self._line_feed_due = False
            if buffer[0] == LF:
                del buffer[0]
                return
        if self._going:
            self._leave(prompt, now)
            return
        end = next((place for place, byte in enumerate(buffer) if byte in (CTRL_Z, ESC)), -1)
        stop = next((place for place, byte in enumerate(buffer) if byte == CR), -1)
        if self.profile.text_mode and stop >= 0 and (end < 0 or stop < end):
            self._text += buffer[: stop + 1]
            self._echo(bytes(buffer[: stop + 1]))
            del buffer[: stop + 1]
            self.say_raw("\r\n> ")
            return
        text = bytes(buffer) if end < 0 else bytes(buffer[:end])
        self._echo(text)
        self._text += text
        if end < 0:
            buffer.clear()
            return
        cancelled = buffer[end] == ESC
        del buffer[: end + 1]
        entered = bytes(self._text)
        self._text.clear()
        self._prompt = None
        if cancelled:
            self.result("OK")
        else:
            self._enter(prompt, entered, now)
        if self._held:
            self._say_held()

    def _leave(self, prompt: Prompt, now: datetime) -> None:
        """Go away, or start anew, when a text begins to come: whoever writes it to its end will not know."""
        text = bytes(self._incoming)
        self.verdict_due = prompt.send and not text.startswith(bytes((ESC,)))
        if self._going == "unplug_prompt":
            self.dongle.drop_out(now)
        else:
            self.dongle.start_anew(now)
            if not self.dongle.deaf:
                self._incoming += text  # it is a command line now

    def _echo(self, data: bytes) -> None:
        if self.profile.echo:
            self.say_raw(data.translate(None, b"\x00\x1a\x1b").decode("latin-1"))

    # -- commands -----------------------------------------------------------------------------------

    def _run(self, body: str, now: datetime) -> None:
        latency = self.dongle.knobs.latency
        if latency:
            self.busy_until(now + latency, lambda at: self._execute(body, at))
        else:
            self._execute(body, now)

    def busy_until(self, due: datetime, action: Callable[[datetime], None], *, busy: bool = True) -> None:
        """Take no command until then, do it, and go on with what came in meanwhile."""
        self._busy = busy

        def go_on(at: datetime) -> None:
            self._busy = False
            action(at)
            self._work(at)

        self.dongle.plan(due, go_on)

    def _execute(self, body: str, now: datetime) -> None:
        dongle = self.dongle
        if len(body) > LINE_LIMIT:
            self.result("ERROR")
            return
        if dongle.disturbed(self, now):
            return
        wrong = dongle.dice.first(tuple(_ERRORS))
        if wrong:
            self.result(_ERRORS[wrong])
            return
        fate = dongle.dice.first(_ANSWERS)
        if fate:
            self._sink = []
        finished = self._do(body, now)
        if fate:
            self._meet(fate, finished, now)

    def _do(self, body: str, now: datetime) -> bool:
        """Do a command line; False where its final result comes later."""
        try:
            for command in parse(body):
                refused = self.dongle.knobs.refuse.get(command.name)
                if refused is not None:
                    if refused:
                        self.result(refused)
                    return False
                lines = commands.handle(self, command, now)
                if lines is None:
                    return False
                if lines:
                    self.information(lines)
        except Refused as refused:
            self.refuse(refused)
        else:
            self.result("OK")
        return True

    def _meet(self, fate: str, finished: bool, now: datetime) -> None:
        said = "".join(self._sink or ())
        self._sink = None
        if not finished:
            self.say_raw(said)
        elif fate == "answer_doubled":
            self.say_raw(said + said)
        elif fate == "answer_late":
            self.busy_until(now + self.dongle.knobs.late_by, lambda at: self.say_raw(said))

    def ask(self, prompt: Prompt, now: datetime) -> None:
        """Wait for a text that ends with Ctrl-Z or ESC, and say so with `> `."""
        knobs, dice = self.dongle.knobs, self.dongle.dice
        if knobs.prompt_errors or dice.fires("prompt_error"):
            knobs.prompt_errors = max(0, knobs.prompt_errors - 1)
            raise cms(knobs.submit_error)
        self._prompt = prompt
        self._line_feed_due = True  # programs that end lines with CR LF do not mean the LF for the text
        self._going = dice.first(("unplug_prompt", "reset_prompt"))
        if knobs.no_prompt or dice.fires("prompt_lost"):
            knobs.no_prompt = max(0, knobs.no_prompt - 1)
            return
        shown = "\r\n>" if knobs.bare_prompt or dice.fires("prompt_bare") else "\r\n> "
        if dice.fires("prompt_late"):
            self.busy_until(now + knobs.late_by, lambda at: self.say_raw(shown))
        else:
            self.say_raw(shown)

    @property
    def entering(self) -> bool:
        """Whether it waits for the text of a message."""
        return self._prompt is not None

    def _enter(self, prompt: Prompt, entered: bytes, now: datetime) -> None:
        dongle = self.dongle
        try:
            if prompt.acknowledges is not None:
                dongle.acknowledge(messages.acknowledgement(prompt, entered), now)
                self.result("OK")
                return
            pdu, submit = messages.entered(self, prompt, entered)
            if not prompt.send:
                index = dongle.storage(dongle.memories[1]).put(pdu, prompt.stat)
                if index is None:
                    raise cms(322)
                self.information([f"+CMGW: {index}"])
                self.result("OK")
                return
        except PduError:
            self.refuse(cms(304))
        except Refused as refused:
            self.refuse(refused)
        else:
            if submit is not None:
                dongle.send(self, "+CMGS", submit, now)

    # -- what it says -------------------------------------------------------------------------------

    def information(self, lines: list[str]) -> None:
        """Information text of one command (V.250 §5.7.1); the maker's unasked lines may come between its lines."""
        end = self._ending
        text = "" if not self.profile.verbose else end
        for line in lines:
            text += self._chatter() + line + end
        self.say_raw(text)

    def _chatter(self) -> str:
        dongle = self.dongle
        told = dongle.personality.chatter
        if not told or not self.profile.vendor_urcs:
            return ""
        storm = dongle.knobs.storm
        if (storm and dongle.random.random() < storm) or dongle.dice.fires("chatter"):
            return f"{dongle.as_it_is(dongle.random.choice(told))}{self._ending}"
        return ""

    def result(self, code: str) -> None:
        """A final result code, or nothing after ATQ1."""
        if self.profile.quiet:
            return
        if self.profile.verbose:
            self.say_raw(f"{self._ending}{code}{self._ending}")
        else:
            self.say_raw(_NUMERIC.get(code, code) + chr(self.profile.registers[3]))

    def refuse(self, refused: Refused) -> None:
        self.result(refused.result(self.profile.cmee))

    def urc(self, line: str) -> None:
        """An unsolicited line, held back while a text is being entered."""
        if self.mute:
            return
        if self._prompt is not None:
            self._held.append(line)
        else:
            sink, self._sink = self._sink, None
            if line in _NUMERIC and not self.profile.verbose:
                self.result(line)
            else:
                self.say_raw(f"{self._ending}{line}{self._ending}")
            self._sink = sink

    def _say_held(self) -> None:
        held, self._held = self._held, []
        for line in held:
            self.urc(line)

    @property
    def _ending(self) -> str:
        registers = self.profile.registers
        if registers[3] == 13 and registers[4] == 10:
            return "\r\n"
        return chr(registers[3]) + chr(registers[4])

    def say_raw(self, text: str) -> None:
        """Bytes onto the line, chopped and dirtied as the knobs want it."""
        if self._sink is not None:
            self._sink.append(text)
            return
        dongle = self.dongle
        if dongle.deaf or not text:
            return
        data = text.encode("latin-1", "replace")
        knobs, random = dongle.knobs, dongle.random
        if (knobs.noise and random.random() < knobs.noise) or dongle.dice.fires("noise"):
            data = bytes(random.choice(_NOISE) for _ in range(3)) + data
        if len(data) > 1 and dongle.dice.fires("noise_inside"):
            place = random.randrange(1, len(data))
            data = data[:place] + bytes((random.choice(_NOISE),)) + data[place:]
            dongle.hide(self)
        cut = len(data) > 1 and (
            (knobs.split > 0 and random.random() < knobs.split) or dongle.dice.fires("split")
        )
        if not cut and self._quiet_until is None:
            self._out += data
            dongle.network.talking(self)
            return
        self._chop(data, cut=cut)

    def _chop(self, data: bytes, *, cut: bool) -> None:
        # Pieces keep their order: each is planned after the one before it, and whole output queues behind them.
        dongle = self.dongle
        due = max(self._quiet_until or dongle.network.now, dongle.network.now)
        pieces = [data]
        if cut:
            place = dongle.random.randrange(1, len(data))
            pieces = [data[:place], data[place:]]
        for place, piece in enumerate(pieces):
            if place:
                due += dongle.knobs.split_gap
            self._quiet_until = due
            dongle.plan(due, lambda at, piece=piece, due=due: self._pour(piece, due))  # type: ignore[misc]

    def _pour(self, piece: bytes, due: datetime) -> None:
        if self._quiet_until == due:
            self._quiet_until = None
        self._out += piece
        self.dongle.network.talking(self)
