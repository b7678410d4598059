"""The simulated dongle: bytes in, bytes out, as a USB stick's control port speaks (ITU-T V.250, 3GPP TS 27.005, 27.007)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from modem.pdu import PduError, StoredSubmit, encode_deliver
from modem.simulated import commands, messages
from modem.simulated.grammar import Refused, cme, cms
from modem.simulated.grammar import commands as parse
from modem.simulated.knobs import NONE, Knobs
from modem.simulated.messages import Prompt
from modem.simulated.network import Network
from modem.simulated.sim import Sim, Storage
from modem.simulated.traffic import Taken

CTRL_Z, ESC = 0x1A, 0x1B
LINE_LIMIT = 2048  # a command line longer than any command needs; real sticks have 256 to 2,048
SR_SLOTS = 20
ACK_WAIT = timedelta(
    seconds=15
)  # 3GPP TS 27.005 §3.4.4 leaves it to the network; sticks wait about this long
_CONTROLS = bytes(code for code in range(32) if code not in (8, 9, 10, 13)) + b"\x7f"
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


@dataclass(slots=True)
class Profile:
    """The session's settings, as ATZ and AT&F leave them."""

    echo: bool = True
    verbose: bool = True
    quiet: bool = False
    registers: dict[int, int] = field(default_factory=lambda: {0: 0, 3: 13, 4: 10, 5: 8})
    cmee: int = 0
    text_mode: bool = False
    show_headers: bool = False
    charset: str = "IRA"
    service: int = 0
    indications: list[int] = field(default_factory=lambda: [0, 0, 0, 0, 0])
    text_parameters: list[int] = field(default_factory=lambda: [17, 167, 0, 0])
    registration_urcs: dict[str, int] = field(default_factory=lambda: {"+CREG": 0, "+CGREG": 0, "+CEREG": 0})
    operator_format: int = 0
    more_messages: int = 0
    vendor_urcs: bool = True


class Dongle:
    """One stick with one SIM. Not thread-safe by itself: every call holds the network's lock.

    `feed` and `step` return the bytes that the stick says. Output that others cause waits: `on_output` tells, `drain`
    takes it. `on_plug(True)` and `on_plug(False)` tell that the stick was put in or pulled out.
    """

    def __init__(
        self,
        network: Network,
        sim: Sim,
        *,
        imei: str,
        maker: str = "huawei",
        model: str = "E173",
        revision: str = "11.126.85.00.209",
        me_slots: int = 100,
        knobs: Knobs | None = None,
    ) -> None:
        self.network: Network = network
        self.sim: Sim = sim
        self.imei: str = imei
        self.maker: str = maker
        self.model: str = model
        self.revision: str = revision
        self.knobs = Knobs() if knobs is None else knobs
        self.on_output: Callable[[], None] | None = None
        self.on_plug: Callable[[bool], None] | None = None
        self.random = network.random(imei)
        self.me = Storage("ME", me_slots)
        self.sr = Storage("SR", SR_SLOTS)
        self.memories = ["SM", "SM", "SM"]
        self.plugged = False
        self._power = 0
        self.plug(network.now)

    # -- power --------------------------------------------------------------------------------------

    def plug(self, now: datetime) -> None:
        """Put the stick in: everything volatile is as after power-on. Nothing if it is in."""
        with self.network.lock:
            if self.plugged:
                return
            self.plugged = True
            self.boot()
            self.network.plug(self.sim, self, now)
            if self.on_plug is not None:
                self.on_plug(True)
            self.network.step(now)

    def boot(self) -> None:
        """Forget the session, as a reset does; plans of before come to nothing."""
        self._power += 1
        self.profile = Profile()
        self.function = 1
        self.unlocked = self.sim.pin is None
        self.memories = ["SM", "SM", "SM"]
        self._incoming = bytearray()
        self._out = bytearray()
        self._line = bytearray()
        self._last_body = ""
        self._prompt: Prompt | None = None
        self._text = bytearray()
        self._busy = False
        self._quiet_until: datetime | None = None
        self._held: list[str] = []
        self._kept: list[str] = []
        self._unacknowledged = 0

    def unplug(self, now: datetime, duration: timedelta | None = None) -> None:
        """Pull the stick out, for a while or until `plug`. SIM and own memory keep what they hold."""
        with self.network.lock:
            if not self.plugged:
                return
            self.plugged = False
            self._power += 1
            self._out.clear()
            self.network.plug(self.sim, None, now)
            if self.on_plug is not None:
                self.on_plug(False)
            if duration is not None:
                self.network.plan(now + duration, self.plug)

    def turn(self, now: datetime, **changes: object) -> None:
        """Set knobs by name; a change of registration is told, and what waited is delivered. Raises ValueError."""
        with self.network.lock:
            before = self.registration
            self.knobs.turn(changes)
            if self.plugged and self.registration != before:
                self.announce_registration(now)
            self.network.step(now)

    def fill(self, now: datetime) -> int:
        """Fill the SIM's storage with old advertisements; how many."""
        with self.network.lock:
            count = 0
            advert = encode_deliver("PROMO", "Paket data murah, hubungi *123#", now, centre=self.sim.centre)
            while self.sim.storage.put(advert, 1) is not None:
                count += 1
            return count

    # -- the network's side -------------------------------------------------------------------------

    @property
    def registration(self) -> int:
        """The `stat` of +CREG (3GPP TS 27.007 §7.2)."""
        return self.knobs.registration if self.function == 1 and self.unlocked else 0

    @property
    def registered(self) -> bool:
        return self.registration in (1, 5)

    @property
    def reachable(self) -> bool:
        return self.plugged and self.registered and not self._unacknowledged

    @property
    def report_status(self) -> int | None:
        return self.knobs.report_status

    def announce_registration(self, now: datetime) -> None:
        """Tell the session of a new registration, and the network that the stick may be reached."""
        for name, wanted in self.profile.registration_urcs.items():
            if wanted:
                self.urc(f"{name}: {self.registration}{commands.cell(self, wanted)}")
        self.network.available(self.sim, now)

    def receive(self, pdu: str, report: bool, now: datetime) -> Taken:
        """Take a TPDU from the network and route it as +CNMI says (3GPP TS 27.005 §3.4.1)."""
        kind = self.profile.indications[3 if report else 1]
        direct = kind == 1 if report else kind == 2
        if direct:
            self.indicate(messages.direct(self, pdu, report))
            if self.profile.service == 0:
                return Taken.YES
            self._unacknowledged += 1
            mark = (self._power, self._unacknowledged)
            self._plan(now + ACK_WAIT, lambda at: self._ack_missed(mark, at))
            return Taken.PENDING
        if report and kind == 0:
            return Taken.YES
        storage = self.sr if report else self.storage(self.memories[2])
        index = storage.put(pdu, 0)
        if index is None:
            return Taken.FULL
        if kind and not (self.knobs.lose_cmti and self.random.random() < self.knobs.lose_cmti):
            self.indicate(f'{"+CDSI" if report else "+CMTI"}: "{storage.name}",{index}')
        return Taken.YES

    def acknowledge(self, good: bool, now: datetime) -> None:
        """+CNMA. Raises Refused where nothing waits for it."""
        if not self._unacknowledged:
            raise cms(340)
        self._unacknowledged = 0
        self.network.acknowledged(self.sim, good, now)

    def _ack_missed(self, mark: tuple[int, int], now: datetime) -> None:
        if self._unacknowledged and mark == (self._power, self._unacknowledged):
            # 3GPP TS 27.005 §3.4.4: without an acknowledgement direct routing is switched off.
            self.profile.indications[1] = self.profile.indications[3] = 0
            self.acknowledge(False, now)

    def storage(self, name: str) -> Storage:
        """One of the storages. Raises Refused for a name that is none."""
        if name == "SM":
            return self.sim.storage
        if name == "ME":
            return self.me
        if name == "SR":
            return self.sr
        raise cms(302)

    # -- bytes --------------------------------------------------------------------------------------

    def feed(self, data: bytes, now: datetime) -> bytes:
        """Bytes that the host writes; what the stick says to them at once."""
        with self.network.lock:
            if not self.plugged:
                return b""
            self._incoming += data
            if self.knobs.split:
                self.network.step(now)
            self._work(now)
            self.network.step(now)
            return self.drain()

    def step(self, now: datetime) -> bytes:
        """Do what is due; what the stick says. `network.due` tells when to come again."""
        with self.network.lock:
            self.network.step(now)
            return self.drain()

    def drain(self) -> bytes:
        """Take what the stick has said and nobody has read."""
        said = bytes(self._out)
        self._out.clear()
        return said

    def _work(self, now: datetime) -> None:
        while self._incoming and not self._busy:
            if self._prompt is None:
                self._take_line(now)
            else:
                self._take_text(self._prompt, now)

    def _take_line(self, now: datetime) -> None:
        profile, buffer = self.profile, self._incoming
        end = buffer.find(profile.registers[3])
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

    def _take_text(self, prompt: Prompt, now: datetime) -> None:
        buffer = self._incoming
        end = next((place for place, byte in enumerate(buffer) if byte in (CTRL_Z, ESC)), -1)
        stop = next((place for place, byte in enumerate(buffer) if byte == 13), -1)
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

    def _echo(self, data: bytes) -> None:
        if self.profile.echo:
            self.say_raw(data.translate(None, b"\x00\x1a\x1b").decode("latin-1"))

    # -- commands -----------------------------------------------------------------------------------

    def _run(self, body: str, now: datetime) -> None:
        if self.knobs.latency:
            self._busy = True
            self._plan(now + self.knobs.latency, lambda at: self._resume(body, at))
        else:
            self._execute(body, now)

    def _resume(self, body: str, now: datetime) -> None:
        self._busy = False
        self._execute(body, now)
        self._work(now)

    def _execute(self, body: str, now: datetime) -> None:
        if len(body) > LINE_LIMIT:
            self.result("ERROR")
            return
        try:
            for command in parse(body):
                handler = commands.COMMANDS.get(command.name)
                if handler is None or (command.name[0] == "^" and self.maker.lower() != "huawei"):
                    raise Refused if command.name[0] not in "+^" else cme(4)
                lines = handler(self, command.op, command.arg, now)
                if lines is None:
                    return
                if lines:
                    self.information(lines)
        except Refused as refused:
            self.refuse(refused)
        else:
            self.result("OK")

    def ask(self, prompt: Prompt) -> None:
        """Wait for a text that ends with Ctrl-Z or ESC, and say so with `> `."""
        knobs = self.knobs
        if knobs.prompt_errors:
            knobs.prompt_errors -= 1
            raise cms(knobs.submit_error)
        self._prompt = prompt
        if knobs.no_prompt:
            knobs.no_prompt -= 1
        else:
            self.say_raw("\r\n>" if knobs.bare_prompt else "\r\n> ")

    def _enter(self, prompt: Prompt, entered: bytes, now: datetime) -> None:
        try:
            pdu, submit = messages.entered(self, prompt, entered)
            if not prompt.send:
                index = self.storage(self.memories[1]).put(pdu, prompt.stat)
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
                self.send("+CMGS", submit, now)

    def send(self, name: str, submit: StoredSubmit, now: datetime) -> None:
        """Put one SMS on the air, and answer `name` with its reference when its radio time is over."""
        if self.knobs.radio == NONE:
            self._submit(name, submit, now)
        else:
            self._wait(now + self.knobs.radio, lambda at: self._submit(name, submit, at))

    def _submit(self, name: str, submit: StoredSubmit, now: datetime) -> None:
        knobs = self.knobs
        if not self.registered:
            self.refuse(cms(331))
            return
        if knobs.submit_errors:
            knobs.submit_errors -= 1
            self.refuse(cms(knobs.submit_error))
            return
        silent = knobs.silence > 0 or (
            knobs.silence_chance > 0 and self.random.random() < knobs.silence_chance
        )
        if silent:
            knobs.silence = max(0, knobs.silence - 1)
            if knobs.silent_sends:
                self.network.submit(self.sim, submit, self.sim.next_reference(), now)
            return
        reference = self.sim.next_reference()
        self.network.submit(self.sim, submit, reference, now)
        if knobs.late_cmgs == NONE:
            self._sent(name, reference)
        else:
            self._wait(now + knobs.late_cmgs, lambda at: self._sent(name, reference))

    def _sent(self, name: str, reference: int) -> None:
        self.information([f"{name}: {reference}"])
        self.result("OK")

    def _wait(self, due: datetime, action: Callable[[datetime], None]) -> None:
        self._busy = not self.knobs.answers_while_sending

        def go_on(at: datetime) -> None:
            self._busy = False
            action(at)
            self._work(at)

        self._plan(due, go_on)

    def _plan(self, due: datetime, action: Callable[[datetime], None]) -> None:
        power = self._power

        def unless_reset(at: datetime) -> None:
            if power == self._power and self.plugged:
                action(at)

        self.network.plan(due, unless_reset)

    # -- what it says -------------------------------------------------------------------------------

    def information(self, lines: list[str]) -> None:
        """Information text of one command (V.250 §5.7.1); the `storm` knob puts URCs before it."""
        if self.knobs.storm and self.profile.vendor_urcs and self.random.random() < self.knobs.storm:
            self.say_raw(f"\r\n^RSSI:{self.random.randrange(10, 31)}\r\n")
        end = self._ending
        self.say_raw(("" if not self.profile.verbose else end) + end.join(lines) + end)

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

    def indicate(self, line: str) -> None:
        """An SMS indication; +CNMI mode 0 keeps it until the mode changes."""
        if self.profile.indications[0] == 0:
            self._kept.append(line)
        else:
            self.urc(line)

    def urc(self, line: str) -> None:
        """An unsolicited line, held back while a text is being entered."""
        if self._prompt is not None:
            self._held.append(line)
        else:
            end = self._ending
            self.say_raw(f"{end}{line}{end}")

    def later(self, due: datetime, line: str) -> None:
        """An unsolicited line that is said in the step at or after `due`."""
        self._plan(due, lambda at: self.urc(line))

    def release(self, *, forget: bool) -> None:
        """Say the indications that +CNMI mode 0 kept, or forget them (the bfr of AT+CNMI)."""
        kept, self._kept = self._kept, []
        for line in () if forget else kept:
            self.urc(line)

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
        data = text.encode("latin-1", "replace")
        knobs = self.knobs
        if knobs.noise and self.random.random() < knobs.noise:
            data = bytes(self.random.choice((0, *range(0x80, 0x100))) for _ in range(3)) + data
        if not knobs.split and self._quiet_until is None:
            self._out += data
            self.network.talking(self)
            return
        self._chop(data)

    def _chop(self, data: bytes) -> None:
        # Pieces keep their order: each is planned after the one before it, and whole output queues behind them.
        due = max(self._quiet_until or self.network.now, self.network.now)
        pieces = [data]
        if len(data) > 1 and self.random.random() < self.knobs.split:
            cut = self.random.randrange(1, len(data))
            pieces = [data[:cut], data[cut:]]
        for place, piece in enumerate(pieces):
            if place:
                due += self.knobs.split_gap
            self._quiet_until = due
            self._plan(due, lambda at, piece=piece, due=due: self._pour(piece, due))  # type: ignore[misc]

    def _pour(self, piece: bytes, due: datetime) -> None:
        if self._quiet_until == due:
            self._quiet_until = None
        self._out += piece
        self.network.talking(self)
