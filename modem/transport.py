"""Bytes to lines over one pyserial port, in place of the library's SerialComms (which loses lines, hangs and dies silently)."""

from __future__ import annotations

import errno
import fcntl
import os
import termios
import threading
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from typing import Any

import serial
from gsmmodem.exceptions import TimeoutException
from gsmmodem.serial_comms import SerialComms

from modem import at
from modem.port import ModemError, ModemLost
from modem.trace import redacted

if "modem.simulated" not in serial.protocol_handler_packages:
    serial.protocol_handler_packages.append("modem.simulated")  # imported only when such a URL is opened

ESC, CTRL_Z = "\x1b", "\x1a"

_READ_SECONDS = 1.0  # how long one read blocks; cancel_read ends it early
_READ_SECONDS_WITHOUT_CANCEL = 0.2  # socket:// and rfc2217:// have no cancel_read: close waits so long
_WRITE_SECONDS = 10.0  # a command line takes 4 ms at 115200 baud; a port that takes none for so long is stuck
_OK_SECONDS = 5.0  # behind +CMGS its OK follows at once
_BEHIND_SECONDS = 1.0  # where the two are said the other way round
_SMS_COMMANDS = (
    "AT+CM",
    "AT+CN",
    "AT+CP",
    "AT+CS",
    CTRL_Z,
)  # +CMGR, +CNMI, +CPMS, +CSCA, …; also +CPIN and +CSQ
_USSD_LINES = 40  # 182 octets (3GPP TS 23.038 §5) hold fewer lines that a person wrote
_MARKS = (
    "+CMEE",
    "+CMGF",
    "+CPMS",
    "+CNMI",
)  # queries that every SMS modem answers, each told from the other by its name


class PortDied(ModemLost):
    """The port is gone. `lines` are those of the interrupted answer that had come."""

    def __init__(self, code: str, detail: str, lines: Sequence[str] = ()) -> None:
        super().__init__(code, detail, retryable=True)
        self.lines = tuple(lines)


class Pending:
    """A command in flight. With a mark, nothing counts before the line that begins with it."""

    def __init__(self, command: str, mark: str | None = None) -> None:
        self.command = command
        self.mark = mark
        self.lines: list[str] = []
        self.done = False
        self.sent = False
        self.shaken = False

    def take(self, event: str) -> None:
        if self.mark is not None and not self.lines and not event.startswith(self.mark):
            return
        self.lines.append(event)
        self.sent = self.sent or at.message_reference(event) is not None
        self.done = event == at.PROMPT or at.is_final(event)

    def asks_for(self, line: str) -> bool:
        name = line.split(":", 1)[0]
        # The answer to a USSD code is never part of the answer to its command (3GPP TS 27.007 §7.15).
        return name in self.command and (name != "+CUSD" or "?" in self.command)


class Transport(SerialComms):  # type: ignore[misc]
    """The library's transport, replaced: one reader, URCs kept out of answers, one way to die that wakes every waiter."""

    def __init__(
        self,
        port: str,
        baudrate: int = 115200,
        notifyCallbackFunc: Callable[[list[str]], None] | None = None,
        fatalErrorCallbackFunc: Callable[[Exception], None] | None = None,
        *,
        urcs: Sequence[str] = (),
        drain_seconds: float = 3.0,
        flow_control: bool = False,
        trace: Callable[[str, str], None] | None = None,
    ) -> None:
        super().__init__(port, baudrate, notifyCallbackFunc, fatalErrorCallbackFunc)
        self.changed = threading.Condition()
        """Guards and announces everything that the reader changes."""
        self.rxThread: threading.Thread | None = None
        self.late_references: list[int] = []
        self.late_verdicts = 0
        """How many verdicts on a submit came when none was waited for: +CMGS or +CMS ERROR."""
        self.owed: int | None = None
        """`late_verdicts` as it was when a submit's verdict was given up; while the two are equal, that one may still come."""
        self.death: PortDied | None = None
        self.understood = False
        """A line came that only a modem says; what answers AT only later is starting."""
        self.flow_control = flow_control
        self._trace = trace
        self._urcs = tuple(urcs)
        self._drain_seconds = drain_seconds
        self._lines = at.LineBuffer()
        self._pending: Pending | None = None
        self._header: str | None = None
        self._text: list[str] = []
        self._stray_ok = False
        self._asked = ""

    def connect(self) -> None:
        """Open the port and start the reader. Raises ModemError `port_missing`, `port_denied`, `port_busy` or `not_a_modem`."""
        self.serial = open_port(self.port, self.baudrate, flow_control=self.flow_control)
        self.alive = True
        self.rxThread = threading.Thread(
            target=self._read_loop, args=(self.serial,), name=f"modem {self.port}", daemon=True
        )
        self.rxThread.start()

    def close(self) -> None:
        """End the session: waiters are woken, the reader is joined, the port is closed. May be called again."""
        self._die("closed", "the session was closed")
        reader, self.rxThread = self.rxThread, None
        if reader is None:
            return
        if hasattr(self.serial, "cancel_read"):
            self.serial.cancel_read()
        reader.join()
        _share(self.serial)
        self.serial.close()

    def expect_unasked(self, beginnings: Iterable[str]) -> None:
        """From now on lines that begin so are URCs too."""
        with self.changed:
            self._urcs = (*self._urcs, *beginnings)

    def write(
        self,
        data: str,
        waitForResponse: bool = True,
        timeout: float = 5,
        expectedResponseTermSeq: str | None = None,
    ) -> list[str] | None:
        """Write, and wait for the lines up to the final result, or for the prompt if a terminator is expected.

        Raises the library's TimeoutException with the lines that came, or PortDied.
        """
        with self._txLock:
            if not waitForResponse:
                self._send(data)
                return None
            return self._ask(Pending(data), timeout, prompt=expectedResponseTermSeq is not None)

    def take_paced(self) -> bool:
        """Whether XON or XOFF came since the last call."""
        with self.changed:
            paced, self._lines.paced = self._lines.paced, False
            return paced

    def resync(self) -> None:
        """After a timeout: ESC and marked queries until one is answered in step. Raises PortDied where none is."""
        with self._txLock:
            for number, mark in enumerate(_MARKS):
                if number % 2 == 0:  # some that were in no PDU take what follows ESC for rubbish
                    self._send(ESC)
                try:
                    self._ask(Pending(f"AT{mark}?\r", f"{mark}:"), self._drain_seconds)
                except TimeoutException:
                    continue
                self._stray_ok = False
                return
            self._die(
                "out_of_step",
                "the modem no longer answers: it is opened again; if that fails, plug it in again",
            )
            self.check()

    def behind_ok(self, known: int) -> int | None:
        """The +CMGS that some say behind the OK of their Ctrl-Z; None if none comes at once. `known`: late references before it."""
        with self.changed:
            self.changed.wait_for(
                lambda: len(self.late_references) > known or self.death is not None, _BEHIND_SECONDS
            )
            if len(self.late_references) <= known:
                return None
            self._stray_ok = False  # it came before
            return self.late_references.pop(known)

    def _ask(self, pending: Pending, timeout: float, *, prompt: bool = False) -> list[str]:
        with self.changed:
            self.check()
            self._pending = pending
            self._lines.prompt = prompt
        try:
            self._send(pending.command)
            with self.changed:
                self.changed.wait_for(
                    lambda: pending.done or pending.sent or pending.shaken or self.death is not None, timeout
                )
                if pending.sent or pending.shaken:
                    soon = _OK_SECONDS if pending.sent else self._drain_seconds
                    self.changed.wait_for(lambda: pending.done or self.death is not None, min(timeout, soon))
                if pending.done:
                    return pending.lines
                if self.death is not None:
                    raise PortDied(self.death.code, self.death.detail, pending.lines)
                raise TimeoutException(list(pending.lines))
        finally:
            with self.changed:
                self._pending = None
                self._lines.prompt = False

    def _send(self, data: str) -> None:
        self.check()
        if self._trace is not None:
            self._asked = data.strip()
            self._trace(">", redacted(data))
        try:
            self.serial.write(data.encode("latin-1"))
        except (
            OSError,
            TypeError,
        ) as cause:  # SerialException is an OSError; TypeError: pyserial, closed meanwhile
            self._die("port_lost", f"the port failed while writing ({cause}): plug the stick in again")
            self.check()

    def shake(self) -> bool:
        """The modem seems to have started anew: a command in flight is answered soon or never. The condition is held."""
        if self._pending is None:
            return False
        self._pending.shaken = True
        return True

    def check(self) -> None:
        """Raise PortDied if the session is over."""
        if self.death is not None:
            raise PortDied(self.death.code, self.death.detail)

    def _die(self, code: str, detail: str) -> None:
        with self.changed:
            self.alive = False
            self.death = self.death or PortDied(code, detail)
            self.changed.notify_all()

    def _read_loop(self, port: Any) -> None:
        while self.alive:
            try:
                data = port.read(1)
                if data and (more := port.in_waiting):
                    data += port.read(more)
            except (OSError, TypeError) as cause:
                self._die("port_lost", f"the port failed while reading ({cause}): plug the stick in again")
                return
            if data:  # an empty read is neither a timeout of a command nor a death
                with self.changed:
                    for event in self._lines.feed(data):
                        if self._trace is not None:
                            self._trace("<", redacted(event, self._asked))
                        self._sort(event)
                    self.changed.notify_all()

    def _sort(self, event: str) -> None:
        """URCs to the session, lines of an answer to who waits for it, a given-up +CMGS to `late_references`."""
        pending = self._pending
        if self._text:
            self._text_goes_on(event)
            return
        if self._header is not None and self._belongs_to_header(event):
            return
        unasked = at.is_urc(event, self._urcs)
        self.understood = self.understood or unasked or at.is_final(event)
        if event.startswith(at.DIRECT):
            self._header = event
        elif unasked and not (pending and pending.asks_for(event)):
            if at.is_open_text(event):
                self._text = [event]
            else:
                self.notifyCallback([event])
        elif (reference := at.message_reference(event)) is not None and not (
            pending and pending.command == CTRL_Z and not pending.done
        ):
            self.late_references.append(reference)
            self.late_verdicts += 1
            self._stray_ok = True
        elif self._stray_ok and event == "OK":
            self._stray_ok = False
        elif event.startswith(("+CMS ERROR", "+CMGS ERROR")) and (
            pending is None or pending.done or self._is_owed(pending)
        ):
            self.late_verdicts += 1
        elif pending is not None and not pending.done:
            pending.take(event)

    def _is_owed(self, pending: Pending) -> bool:
        """True for an error of SMS that another command than one of SMS cannot have caused (3GPP TS 27.005 §3.2.5)."""
        return self.owed == self.late_verdicts and not pending.command.startswith(_SMS_COMMANDS)

    def _belongs_to_header(self, event: str) -> bool:
        """The PDU that +CMT or +CDS announced, which other URCs and noise may come before; no other command's PDU is taken for it."""
        header = self._header or ""
        if at.is_hex(event) and at.is_announced(header, event):
            self._header = None
            self.notifyCallback([header, event])
            return True
        if at.is_final(event) or event.startswith(("+CMGL:", "+CMGR:", *at.DIRECT)) or at.is_hex(event):
            self._header = None
            self.notifyCallback([header])
        return False

    def _text_goes_on(self, event: str) -> None:
        """Lines of a USSD text, until its closing quote; an awaited result or another URC before it shows that it was cut."""
        awaited = self._pending is not None and not self._pending.done
        result = awaited and at.is_final(event)
        cut = result or at.is_urc(event, self._urcs) or len(self._text) > _USSD_LINES
        if not cut:
            self._text.append(event)
        if cut or at.ends_text(event):
            lines, self._text = self._text, []
            self.notifyCallback(["\n".join(lines)])
        if cut:
            self._sort(event)


def open_port(url: str, baud: int, *, flow_control: bool = False) -> Any:
    """Open a pyserial URL, for us alone. Raises ModemError with a sentence that says what is wrong.

    Alone: by flock, which programs that care for locks see, and by TIOCEXCL, by which no other user's open succeeds.
    """
    options: dict[str, Any] = {"exclusive": True, "rtscts": flow_control, "dsrdtr": False, "xonxoff": False}
    if not url.startswith("rfc2217:"):  # its port knows no write timeout
        options["write_timeout"] = _WRITE_SECONDS
    try:
        port = serial.serial_for_url(url, baudrate=baud, timeout=_READ_SECONDS, **options)
    except (OSError, ValueError) as cause:
        raise _cannot_open(url, cause) from cause
    if not hasattr(port, "cancel_read"):
        port.timeout = _READ_SECONDS_WITHOUT_CANCEL
    _on_tty(port, termios.TIOCEXCL)
    return port


def _share(port: Any) -> None:
    _on_tty(
        port, termios.TIOCNXCL
    )  # a pty, and a tty that somebody else has open, would stay closed to others


def _on_tty(port: Any, request: int) -> None:
    with suppress(OSError, AttributeError, ValueError, TypeError):  # no file, no tty, or gone already
        if os.isatty(port.fileno()):
            fcntl.ioctl(port.fileno(), request)


def _cannot_open(url: str, cause: Exception) -> ModemError:
    inner = cause.__context__ if getattr(cause, "errno", None) is None else cause
    number = getattr(inner, "errno", None)
    said = str(cause).lower()
    if number in (errno.EBUSY, errno.EAGAIN) or "busy" in said or "exclusively lock" in said:
        return ModemError(
            "port_busy",
            f"{url} is in use by another program: stop it (ModemManager, minicom, another gateway), then try again",
            retryable=True,
        )
    if number in (errno.EACCES, errno.EPERM):
        return ModemError(
            "port_denied", f"{url} may not be opened: add this user to the group of the port (dialout)"
        )
    if isinstance(cause, ValueError):
        return ModemError(
            "port_missing", f"{url} is not a port: name a device such as /dev/ttyUSB2, or a URL ({cause})"
        )
    if "could not configure port" in said or number in (errno.ENOTTY, errno.EISDIR):
        return ModemError("not_a_modem", f"{url} is not a serial port: name the control port of the stick")
    if number == errno.ECONNREFUSED:
        return ModemError(
            "port_missing", f"nobody listens at {url}: start the other side, then try again", retryable=True
        )
    return ModemError(
        "port_missing",
        f"{url} is not there: plug the stick in, or name another port ({cause})",
        retryable=True,
    )
