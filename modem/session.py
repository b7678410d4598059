"""One session's command core: the library's, over our transport, with errors told by the standards' codes."""

from __future__ import annotations

import logging
import re
import threading
from collections.abc import Callable

from gsmmodem.exceptions import TimeoutException
from gsmmodem.modem import GsmModem

from modem import at, verdicts
from modem.port import ModemError, ModemLost, PortSettings
from modem.transport import Transport

# Seconds, before each repetition of a command that the SIM or the modem was too busy for.
BUSY_PAUSES = (0.2, 0.5, 1.0, 2.0, 3.0)

_FIFO = 16  # bytes that a UART holds (NS16550A) …
_FIFO_SECONDS = 0.02  # … and longer than it takes to fetch them at 9600 baud

_ANSWERS = (
    "+CMGL:",
    "+CMGR:",
    "+CPMS:",
    "+CMGF:",
    "+CNMI:",
    "+COPS:",
    "+CMEE:",
    "+CSMS:",
    "+CRSM:",
)  # never unasked
_TELLS = re.compile(r"AT[+^#].*\?|AT\+(?:CGSN|CIMI|CGMI|CGMM|CGMR|CSQ|CCID|CMGR=\d+)")

_silent = logging.Logger("modem.silent", logging.CRITICAL + 1)  # the library would log PINs and texts


class Silence(Exception):
    """No result came in time. `lines` had come until then."""

    def __init__(self, lines: list[str]) -> None:
        super().__init__("no result in time")
        self.lines = lines


class Session(GsmModem, Transport):  # type: ignore[misc]
    """The library's `write` over our transport; what nobody asked for goes to one function, in the reader's thread."""

    log = _silent

    def __init__(self, settings: PortSettings, on_urc: Callable[[list[str]], None]) -> None:
        self._on_urc = on_urc
        self._quiet: bool | None = None  # None: ATE0 was not yet said
        self._closed = threading.Event()
        self.answer_seconds = settings.answer_timeout.total_seconds()
        self._unknown: set[str] = set()
        self._says_nothing: set[str] = set()
        self.sim_failed = False
        """A command failed by the SIM since this was last set to False: it may be another one."""
        super().__init__(
            settings.url,
            settings.baud,
            urcs=settings.urcs,
            drain_seconds=settings.drain_timeout.total_seconds(),
            flow_control=settings.flow_control,
            trace=settings.trace,
        )

    def _handleModemNotification(self, lines: list[str]) -> None:
        self._on_urc(lines)

    def connect(self) -> None:
        """Only the port; the library's own opening does much that is not wanted."""
        Transport.connect(self)

    def close(self) -> None:
        self._closed.set()
        Transport.close(self)

    def pause(self, seconds: float) -> None:
        """Wait, but not beyond the session's end."""
        self._closed.wait(seconds)

    def ask(self, text: str, timeout: float, *, end: str = "\r", prompt: bool = False) -> list[str]:
        """The lines of the answer, its result (or PROMPT) last. Raises Silence or PortDied."""
        try:
            lines: list[str] = GsmModem.write(
                self,
                text,
                timeout=timeout,
                parseError=False,  # the library repeats errors 14 and 515 for ever, and sleeps
                writeTerm=end,
                expectedResponseTermSeq=">" if prompt else None,
            )
        except TimeoutException as silence:
            raise Silence(silence.data or []) from None
        if text == "ATE0":
            self._quiet = False
        elif self._quiet and text in lines:
            self.end("modem_restarted", "the modem started anew by itself: it is opened again")
            self.check()
        elif self._quiet is False and end and not prompt:
            self._quiet = not any(line.upper().startswith("AT") for line in lines)
        return lines

    def put(self, text: str) -> None:
        """Bytes, without waiting for anything."""
        GsmModem.write(self, text, waitForResponse=False, writeTerm="")

    def put_slowly(self, text: str) -> None:
        """Bytes in small pieces, for a UART that loses some of many at once."""
        for start in range(0, len(text), _FIFO):
            self.put(text[start : start + _FIFO])
            self.pause(_FIFO_SECONDS)

    def end(self, code: str, detail: str) -> None:
        """The session is over for this reason; every call from now on raises it."""
        self._die(code, detail)

    @property
    def set_up(self) -> bool:
        return self._quiet is not None

    def command(self, command: str, timeout: float | None = None) -> list[str]:
        """One command; the lines of its answer, with the OK. Raises ModemError for a refusal, ModemLost when out of step."""
        pauses = iter(BUSY_PAUSES)
        repeated = False
        while True:
            try:
                lines = self.ask(command, timeout or self.answer_seconds)
            except Silence as silence:
                self.resync()
                if _is_told(command, silence.lines):
                    return silence.lines
                raise ModemError(
                    "no_answer", f"the modem did not answer {_name(command)} in time", retryable=True
                ) from silence
            foreign = _is_anothers(command, lines)
            if foreign or self._is_bare(command, lines):
                self.resync()
                if not repeated and _may_be_repeated(command):
                    repeated = True
                    continue
                if foreign:
                    raise ModemError(
                        "no_answer", f"another command's answer came to {_name(command)}", retryable=True
                    )
                self._says_nothing.add(_name(command))
            verdict = verdicts.verdict(lines[-1])
            if verdict is None:
                return lines
            pause = next(pauses, None) if verdict.code in verdicts.BUSY else None
            if pause is None:
                self.sim_failed = self.sim_failed or verdict.blame == "sim"
                raise ModemError(
                    verdict.code, verdict.detail, blame=verdict.blame, retryable=verdict.retryable
                )
            self.pause(pause)

    def glance(self, command: str) -> list[str]:
        """The answer as it is, a refusal too. Raises ModemError `no_answer`, or ModemLost when out of step."""
        try:
            lines = self.ask(command, self.answer_seconds)
            if lines == ["OK"]:
                self.resync()  # it may be a stray one, with the answer behind it
            return lines
        except Silence as silence:
            self.resync()
            raise ModemError(
                "no_answer", f"the modem did not answer {_name(command)} in time", retryable=True
            ) from silence

    def attempt(self, command: str, timeout: float | None = None) -> list[str]:
        """The answer, or nothing where the modem refuses the command."""
        try:
            return self.command(command, timeout)
        except ModemLost:
            raise
        except ModemError:
            return []

    def query(self, command: str) -> list[str]:
        """Like `attempt`, and a command that the modem does not know is not asked again."""
        if command in self._unknown:
            return []
        try:
            return self.command(command)
        except ModemLost:
            raise
        except ModemError as no:
            if no.code in verdicts.UNKNOWN_COMMAND:
                self._unknown.add(command)
            return []

    def _is_bare(self, command: str, lines: list[str]) -> bool:
        """An OK alone to a question: it may be a stray one, behind which every answer would be the one before."""
        return (
            [line for line in lines if line != command] == ["OK"]
            and _TELLS.fullmatch(command) is not None
            and _name(command) not in self._says_nothing
        )


def _is_anothers(command: str, lines: list[str]) -> bool:
    return any(line.startswith(_ANSWERS) and line.split(":")[0] not in command for line in lines)


def _may_be_repeated(command: str) -> bool:
    """Not what removes or spends: the slot may be filled anew, a PIN has three tries."""
    return at.is_read_only(command) or command.startswith(
        ("AT+CMGR=", "AT+CMGL=", "AT+CPMS=", "AT+CMGF=", "AT+CNMI=")
    )


def _is_told(command: str, lines: list[str]) -> bool:
    """Some give no OK behind +CPIN: Wavecom."""
    return command == "AT+CPIN?" and any(line.startswith("+CPIN:") for line in lines)


def _name(command: str) -> str:
    """The command without its arguments, which may be a PIN."""
    return command.split("=")[0]
