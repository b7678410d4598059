"""`simulated://NAME` for pyserial: a port class over a dongle of this process, byte for byte as a tty."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any
from urllib.parse import urlsplit

import serial

from modem.simulated.channel import Channel
from modem.simulated.dongle import Dongle
from modem.simulated.network import Network
from modem.simulated.personality import CONTROL


def utc_now() -> datetime:
    """The real time, for what is not told its own."""
    return datetime.now(UTC)


class Ticker:
    """Calls `network.step` in real time, woken when something is planned; a context manager."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._wake = threading.Event()
        self._stopped = False
        self._thread = threading.Thread(target=self._run, name="simulated-network", daemon=True)

    def __enter__(self) -> Ticker:
        self._network.on_work = self._wake.set
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End the thread; what was planned stays planned."""
        self._stopped = True
        self._wake.set()
        if self._thread.is_alive():
            self._thread.join()
        self._network.on_work = None

    def _run(self) -> None:
        while not self._stopped:
            self._wake.clear()
            due = self._network.step(utc_now())
            self._wake.wait(None if due is None else max(0.0, (due - utc_now()).total_seconds()))


class _Line:
    """The cable between one port of a dongle and whoever has it open."""

    def __init__(self, channel: Channel, clock: Callable[[], datetime]) -> None:
        self.channel = channel
        self.dongle = channel.dongle
        self.clock = clock
        self.readable = threading.Condition()
        self.buffer = bytearray()
        self.owner: object | None = None
        channel.on_output = self.pump
        channel.on_plug = self.plugged

    def pump(self) -> None:
        """Take what the port said; lost where nobody has the port open, as on a tty."""
        self.put(self.channel.drain())

    def put(self, data: bytes) -> None:
        if not data:
            return
        with self.readable:
            if self.owner is not None:
                self.buffer += data
                self.readable.notify_all()

    def plugged(self, there: bool) -> None:
        if there:
            return
        with self.readable:
            self.owner = None
            self.buffer.clear()
            self.readable.notify_all()


_lines: dict[str, _Line] = {}


def attach(name: str, dongle: Dongle, *, clock: Callable[[], datetime] = utc_now) -> None:
    """Let `simulated://NAME` be this dongle's control port, and `simulated://NAME.ROLE` its others.

    What is delayed happens only while a `Ticker` or somebody steps its network.
    """
    detach(name)
    for role, channel in dongle.channels.items():
        _lines[port_name(name, role)] = _Line(channel, clock)


def detach(name: str) -> None:
    """Take the name away; an open port of it is gone as if pulled out."""
    control = _lines.get(name)
    if control is None:
        return
    for role in control.dongle.channels:
        line = _lines.pop(port_name(name, role), None)
        if line is not None:
            line.plugged(False)
            line.channel.on_output = line.channel.on_plug = None


def port_name(name: str, role: str) -> str:
    """How a port is called: the control port as its dongle, the others with their role behind it."""
    return name if role == CONTROL else f"{name}.{role}"


def lookup(name: str) -> Dongle | None:
    """The dongle behind a name."""
    line = _lines.get(name)
    return None if line is None else line.dongle


class SimulatedPort(serial.SerialBase):
    """The pyserial port class of `simulated://NAME`. A second opener is told that it is busy, exclusive or not."""

    _line: _Line | None = None

    def open(self) -> None:
        """Raises SerialException with the errno a tty would give: ENOENT, EBUSY."""
        if self.is_open:
            raise serial.SerialException("Port is already open.")
        url = str(self.portstr)
        parts = urlsplit(url)
        name = parts.netloc + parts.path
        line = _lines.get(name)
        if line is None or not line.dongle.plugged:
            raise serial.SerialException(errno.ENOENT, f"could not open port {url}: no such simulated dongle")
        with line.readable:
            if line.owner is not None:
                raise serial.SerialException(
                    errno.EBUSY, f"could not open port {url}: device or resource busy"
                )
            line.owner = self
            line.buffer.clear()
        self._cancelled = False
        self._line = line
        self.is_open = True

    def close(self) -> None:
        line = self._line
        self.is_open = False
        self._line = None
        if line is not None:
            with line.readable:
                if line.owner is self:
                    line.owner = None
                line.readable.notify_all()

    def _mine(self) -> _Line:
        line = self._line
        if line is None:
            raise serial.PortNotOpenError
        if line.owner is not self:
            raise serial.SerialException(errno.EIO, "device disconnected")
        return line

    @property
    def in_waiting(self) -> int:
        return len(self._mine().buffer)

    def read(self, size: int = 1) -> bytes:
        """At most `size` bytes: fewer, or none, when the timeout runs out."""
        line = self._mine()
        with line.readable:
            line.readable.wait_for(
                lambda: len(line.buffer) >= size or line.owner is not self or self._cancelled, self.timeout
            )
            self._cancelled = False
            if line.owner is not self:
                self._mine()
            taken = bytes(line.buffer[:size])
            del line.buffer[: len(taken)]
            return taken

    def write(self, data: Any, /) -> int:
        line = self._mine()
        sent = bytes(data)
        with line.dongle.network.lock:
            line.put(line.channel.feed(sent, line.clock()))
        return len(sent)

    def cancel_read(self) -> None:
        """End a blocked read of another thread."""
        line = self._line
        if line is not None:
            with line.readable:
                self._cancelled = True
                line.readable.notify_all()

    def cancel_write(self) -> None:
        """Nothing: a write never blocks."""

    def flush(self) -> None:
        self._mine()

    @property
    def out_waiting(self) -> int:
        self._mine()
        return 0

    def reset_input_buffer(self) -> None:
        line = self._mine()
        with line.readable:
            line.buffer.clear()

    def reset_output_buffer(self) -> None:
        self._mine()

    def send_break(self, duration: float = 0.25) -> None:
        self._mine()

    @property
    def cts(self) -> bool:
        return True

    @property
    def dsr(self) -> bool:
        return True

    @property
    def ri(self) -> bool:
        return False

    @property
    def cd(self) -> bool:
        return False

    def _reconfigure_port(self, force_update: bool = False) -> None:
        """Speed and framing mean nothing here."""

    def _update_rts_state(self) -> None:
        """Nor do the control lines."""

    def _update_dtr_state(self) -> None:
        """Nor do the control lines."""

    def _update_break_state(self) -> None:
        """Nor do the control lines."""
