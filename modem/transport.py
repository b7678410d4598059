"""Bytes to lines over one pyserial port, in place of the library's SerialComms (which loses lines, hangs and dies silently)."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Sequence
from typing import Any

import serial
from gsmmodem.exceptions import TimeoutException
from gsmmodem.serial_comms import SerialComms

from modem import at
from modem.port import ModemError, ModemLost

if "modem.simulated" not in serial.protocol_handler_packages:
    serial.protocol_handler_packages.append("modem.simulated")  # imported only when such a URL is opened

ESC, CTRL_Z = "\x1b", "\x1a"

_READ_SECONDS = 1.0  # how long one read blocks; cancel_read ends it early
_READ_SECONDS_WITHOUT_CANCEL = 0.2  # socket:// and rfc2217:// have no cancel_read: close waits so long
_WRITE_SECONDS = 10.0  # a command line takes 4 ms at 115200 baud; a port that takes none for so long is stuck
_OK_SECONDS = 5.0  # behind +CMGS its OK follows at once
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


class _Pending:
    """A command in flight. With a mark, nothing counts before the line that begins with it."""

    def __init__(self, command: str, mark: str | None = None) -> None:
        self.command = command
        self.mark = mark
        self.lines: list[str] = []
        self.done = False
        self.sent = False

    def take(self, event: str) -> None:
        if self.mark is not None and not self.lines and not event.startswith(self.mark):
            return
        self.lines.append(event)
        self.sent = self.sent or at.message_reference(event) is not None
        self.done = event == at.PROMPT or at.is_final(event)

    def asks_for(self, line: str) -> bool:
        return line.split(":", 1)[0] in self.command


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
    ) -> None:
        super().__init__(port, baudrate, notifyCallbackFunc, fatalErrorCallbackFunc)
        self.changed = threading.Condition()
        """Guards and announces everything that the reader changes."""
        self.rxThread: threading.Thread | None = None
        self.late_references: list[int] = []
        self.death: PortDied | None = None
        self._urcs = tuple(urcs)
        self._drain_seconds = drain_seconds
        self._lines = at.LineBuffer()
        self._pending: _Pending | None = None
        self._header: str | None = None
        self._stray_ok = False

    def connect(self) -> None:
        """Open the port and start the reader. Raises ModemError `port_missing`, `port_denied`, `port_busy` or `not_a_modem`."""
        self.serial = open_port(self.port, self.baudrate)
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
        self.serial.close()

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
            return self._ask(_Pending(data), timeout, prompt=expectedResponseTermSeq is not None)

    def resync(self) -> None:
        """After a timeout: ESC, then marked queries until one is answered in step. Raises PortDied where none is."""
        with self._txLock:
            for mark in _MARKS:
                self._send(ESC)
                try:
                    self._ask(_Pending(f"AT{mark}?\r", f"{mark}:"), self._drain_seconds)
                except TimeoutException:
                    continue
                return
            self._die(
                "out_of_step",
                "the modem no longer answers: it is opened again; if that fails, plug it in again",
            )
            self.check()

    def _ask(self, pending: _Pending, timeout: float, *, prompt: bool = False) -> list[str]:
        with self.changed:
            self.check()
            self._pending = pending
            self._lines.prompt = prompt
        try:
            self._send(pending.command)
            with self.changed:
                self.changed.wait_for(lambda: pending.done or pending.sent or self.death is not None, timeout)
                if pending.sent:
                    self.changed.wait_for(
                        lambda: pending.done or self.death is not None, min(timeout, _OK_SECONDS)
                    )
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
        try:
            self.serial.write(data.encode("latin-1"))
        except (
            OSError,
            TypeError,
        ) as cause:  # SerialException is an OSError; TypeError: pyserial, closed meanwhile
            self._die("port_lost", f"the port failed while writing ({cause}): plug the stick in again")
            self.check()

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
                        self._sort(event)
                    self.changed.notify_all()

    def _sort(self, event: str) -> None:
        """URCs to the session, lines of an answer to who waits for it, a given-up +CMGS to `late_references`."""
        header, self._header = self._header, None
        if header is not None:
            if at.is_hex(event):
                self.notifyCallback([header, event])
                return
            self.notifyCallback([header])
        pending = self._pending
        if event.startswith(at.DIRECT):
            self._header = event
        elif at.is_urc(event, self._urcs) and not (pending and pending.asks_for(event)):
            self.notifyCallback([event])
        elif (reference := at.message_reference(event)) is not None and not (
            pending and pending.command == CTRL_Z
        ):
            self.late_references.append(reference)
            self._stray_ok = True
        elif self._stray_ok and event == "OK":
            self._stray_ok = False
        elif pending is not None and not pending.done:
            pending.take(event)


def open_port(url: str, baud: int) -> Any:
    """Open a pyserial URL, exclusively, without flow control. Raises ModemError with a sentence that says what is wrong."""
    options: dict[str, Any] = {"exclusive": True, "rtscts": False, "dsrdtr": False, "xonxoff": False}
    if not url.startswith("rfc2217:"):  # its port knows no write timeout
        options["write_timeout"] = _WRITE_SECONDS
    try:
        port = serial.serial_for_url(url, baudrate=baud, timeout=_READ_SECONDS, **options)
    except (OSError, ValueError) as cause:
        raise _cannot_open(url, cause) from cause
    if not hasattr(port, "cancel_read"):
        port.timeout = _READ_SECONDS_WITHOUT_CANCEL
    return port


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
