"""Simulated dongles as ptys in a folder, for any program that opens a serial port; with a control socket and a ledger file."""

from __future__ import annotations

import json
import os
import selectors
import socket
import termios
import threading
import tty
from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime, timedelta
from pathlib import Path
from typing import IO

from modem.simulated.channel import Channel
from modem.simulated.dialogue import push
from modem.simulated.dongle import Dongle
from modem.simulated.faults import FAULTS
from modem.simulated.network import Network
from modem.simulated.ports import port_name, utc_now
from modem.simulated.traffic import Entry

CONTROL, LEDGER = "control.sock", "ledger.ndjson"
_STOP_LOOK = 0.1  # seconds between two looks at `stop`
_STALE = timedelta(
    seconds=5
)  # output that nobody read for so long is dropped, as on a port that nobody has open
_PEER_WAIT = (
    2.0  # seconds that a control client may take to read its answer; the dongles stand still meanwhile
)
_ENTRIES = 5000  # ledger entries in one answer; ask again for more
_CHUNK = 65536
_LONGEST_MESSAGE = 1 << 20


class ControlError(Exception):
    """The control socket refused; the sentence says why."""


class _Port:
    """One port of a dongle on a pty of its own. Whoever has the dongle may plug it, so each call holds the network's lock."""

    def __init__(
        self, folder: Path, name: str, channel: Channel, selector: selectors.BaseSelector, talking: set[_Port]
    ) -> None:
        self.channel = channel
        self.lock = channel.dongle.network.lock
        self.talking = talking
        self.link = folder / name
        self.selector = selector
        self.master = self.slave = -1
        self.pending = bytearray()
        self.taken_at: datetime | None = None
        self._writing = False
        channel.on_output = self.collect
        channel.on_plug = self.plugged
        self.plugged(channel.dongle.plugged)

    def plugged(self, there: bool) -> None:
        """Make the pty and its name, or let both vanish: readers get end of file or EIO, as when a stick is pulled out."""
        with self.lock:
            if there and self.master < 0:
                self._make()
            elif not there and self.master >= 0:
                self._remove()

    def _make(self) -> None:
        self.master, self.slave = os.openpty()
        # The slave is kept open, so that it stays raw and a peer may close it and come back.
        tty.setraw(self.slave)
        os.set_blocking(self.master, False)
        self.selector.register(self.master, selectors.EVENT_READ, self)
        new = self.link.with_name(f".{self.link.name}.new")
        new.unlink(missing_ok=True)
        new.symlink_to(os.ttyname(self.slave))
        new.replace(self.link)

    def _remove(self) -> None:
        self.selector.unregister(self.master)
        self._writing = False
        self.link.unlink(missing_ok=True)
        os.close(self.master)
        os.close(self.slave)
        self.master = self.slave = -1
        self.pending.clear()

    def close(self) -> None:
        with self.lock:
            self.channel.on_output = self.channel.on_plug = None
            self.plugged(False)

    def collect(self) -> None:
        with self.lock:
            self.pending += self.channel.drain()
            self.talking.add(self)

    def receive(self, now: datetime) -> None:
        with self.lock:
            if self.master < 0:
                return
            try:
                data = os.read(self.master, _CHUNK)
            except BlockingIOError:
                return
            self.pending += self.channel.feed(data, now)
            self.talking.add(self)

    def send(self, now: datetime) -> None:
        """Write what the pty takes; the rest when it takes more."""
        with self.lock:
            if self.pending:
                self._write(now)
            if not self.pending:
                self.talking.discard(self)

    def _write(self, now: datetime) -> None:
        try:
            written = os.write(self.master, self.pending)
        except BlockingIOError:
            written = 0
        if written:
            del self.pending[:written]
            self.taken_at = now
        elif self.taken_at is not None and now - self.taken_at > _STALE:
            self.pending.clear()
            termios.tcflush(self.slave, termios.TCIFLUSH)
        wanted = bool(self.pending)
        if wanted != self._writing:
            self._writing = wanted
            events = selectors.EVENT_READ | (selectors.EVENT_WRITE if wanted else 0)
            self.selector.modify(self.master, events, self)


class _Peer:
    """One program at the control socket."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.buffer = bytearray()


class _Stand:
    """Everything that one folder serves."""

    def __init__(self, folder: Path, network: Network, dongles: Mapping[str, Dongle]) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.network = network
        self.dongles = dongles
        self.selector = selectors.DefaultSelector()
        self.path = folder / CONTROL
        self.path.unlink(missing_ok=True)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.path))
        self.listener.listen()
        self.listener.setblocking(False)
        self.selector.register(self.listener, selectors.EVENT_READ, None)
        self.peers: set[_Peer] = set()
        self.ledger: IO[str] = (folder / LEDGER).open("a", encoding="utf-8")
        with network.lock:
            for entry in network.ledger:
                self.write(entry)
            network.on_entry = self.write
        self.talking: set[_Port] = set()
        self.ports = [
            _Port(folder, port_name(name, role), channel, self.selector, self.talking)
            for name, dongle in dongles.items()
            for role, channel in dongle.channels.items()
        ]

    def write(self, entry: Entry) -> None:
        self.ledger.write(json.dumps(entry.as_json(), ensure_ascii=False) + "\n")

    def close(self) -> None:
        self.network.on_entry = None
        for port in self.ports:
            port.close()
        for peer in list(self.peers):
            self.drop(peer)
        self.selector.close()
        self.listener.close()
        self.path.unlink(missing_ok=True)
        self.ledger.close()

    def round(self) -> None:
        """Do what is due and what came in. The ledger is on file before a byte of what it tells goes out."""
        now = utc_now()
        due = self.network.step(now)
        self.flush(now)
        wait = _STOP_LOOK if due is None else min(_STOP_LOOK, max(0.0, (due - now).total_seconds()))
        for key, events in self.selector.select(wait):
            now = utc_now()
            if key.data is None:
                connection, _ = self.listener.accept()
                connection.settimeout(_PEER_WAIT)
                peer = _Peer(connection)
                self.peers.add(peer)
                self.selector.register(connection, selectors.EVENT_READ, peer)
            elif isinstance(key.data, _Peer):
                self.listen(key.data, now)
            elif events & selectors.EVENT_READ:
                key.data.receive(now)
        self.flush(now)

    def flush(self, now: datetime) -> None:
        with self.network.lock:
            self.ledger.flush()
            for port in list(self.talking):
                port.send(now)

    def drop(self, peer: _Peer) -> None:
        self.selector.unregister(peer.connection)
        self.peers.discard(peer)
        peer.connection.close()

    def listen(self, peer: _Peer, now: datetime) -> None:
        try:
            data = peer.connection.recv(_CHUNK)
        except ConnectionError:
            data = b""
        if not data or len(peer.buffer) > _LONGEST_MESSAGE:
            self.drop(peer)
            return
        peer.buffer += data
        while b"\n" in peer.buffer:
            line, _, rest = bytes(peer.buffer).partition(b"\n")
            peer.buffer[:] = rest
            try:
                answer = self.obey(json.loads(line), now)
            except (KeyError, TypeError, ValueError) as error:
                answer = {"error": f"not understood: {error}"}
            try:
                peer.connection.sendall(json.dumps(answer).encode() + b"\n")
            except OSError:
                self.drop(peer)
                return

    def obey(self, message: dict[str, object], now: datetime) -> dict[str, object]:
        """One control message, one answer."""
        wanted = message.get("do")
        if wanted == "ledger":
            after = int(str(message.get("after", 0)))
            return {"entries": [entry.as_json() for entry in self.network.ledger[after : after + _ENTRIES]]}
        if wanted == "text":
            text = str(message["text"])
            ids = self.network.text(
                str(message["from"]),
                str(message["to"]),
                text,
                now=now,
                copies=int(str(message.get("copies", 1))),
                flash=message.get("flash") is True,
            )
            return {"delivery_ids": ids}
        if wanted == "stats":
            return {"dongles": {name: self.stats(dongle) for name, dongle in self.dongles.items()}}
        if wanted == "faults":
            return {"faults": dict(FAULTS)}
        dongle = self.dongle(message.get("dongle"))
        if wanted == "knobs":
            changes = message.get("set", {})
            if not isinstance(changes, dict):
                raise ValueError("`set` is an object of knobs")
            dongle.turn(now, **changes)
            return {
                "knobs": {one.name: _plain(getattr(dongle.knobs, one.name)) for one in fields(dongle.knobs)}
            }
        if wanted == "unplug":
            seconds = message.get("seconds")
            dongle.unplug(now, None if seconds is None else timedelta(seconds=float(str(seconds))))
            return {"plugged": dongle.plugged}
        if wanted == "plug":
            dongle.plug(now)
            return {"plugged": dongle.plugged}
        if wanted == "fill":
            return {"filled": dongle.fill(now)}
        if wanted == "call":
            return {"rings": dongle.call(str(message["from"]), now)}
        if wanted == "ussd":
            push(dongle, str(message["text"]), now)
            return {"said": dongle.plugged and dongle.registered}
        if wanted == "reset":
            dongle.start_anew(now)
            return {"plugged": dongle.plugged}
        if wanted == "swap":
            other = self.dongle(message.get("with"))
            mine, theirs = dongle.sim, other.sim
            dongle.insert(theirs, now)
            other.insert(mine, now)
            return {"own_number": dongle.sim.own_number}
        if wanted == "pin":
            dongle.sim.pin = str(message["pin"]) if message.get("pin") else None
            dongle.sim.pin_left = int(str(message.get("left", 3)))
            return {"pin_left": dongle.sim.pin_left}
        if wanted == "credit":
            dongle.sim.credit = int(str(message["rupiah"]))
            return {"credit": dongle.sim.credit}
        if wanted == "schedule":
            dongle.schedule(now, _steps(message["steps"]))
            return {"scheduled": True}
        raise ValueError(f"there is nothing to do called {wanted!r}")

    def dongle(self, name: object) -> Dongle:
        if str(name) not in self.dongles:
            raise ValueError(f"there is no dongle {name!r}; there are {', '.join(self.dongles)}")
        return self.dongles[str(name)]

    def stats(self, dongle: Dongle) -> dict[str, object]:
        return {
            "personality": dongle.personality.name,
            "plugged": dongle.plugged,
            "registered": dongle.registered,
            "own_number": dongle.sim.own_number,
            "stored": {one.name: len(one.slots) for one in (dongle.sim.storage, dongle.me, dongle.sr)},
            "waiting": self.network.waiting(dongle.sim.own_number),
            "credit": dongle.sim.credit,
            "pin_left": dongle.sim.pin_left,
            "calls": dongle.calls,
            "ringing": dongle.ringing,
            "fired": dict(dongle.fired),
            "hidden": dongle.hidden,
        }


def _steps(given: object) -> list[tuple[timedelta, dict[str, object]]]:
    """`[[seconds, {knob: value}], …]`. Raises ValueError for anything else."""
    if not isinstance(given, list) or not all(
        isinstance(step, list) and len(step) == 2 and isinstance(step[1], dict) for step in given
    ):
        raise ValueError("`steps` is a list of [seconds, {knob: value}]")
    return [(timedelta(seconds=float(step[0])), step[1]) for step in given]


def _plain(value: object) -> object:
    return value.total_seconds() if isinstance(value, timedelta) else value


def serve(folder: Path, network: Network, dongles: Mapping[str, Dongle], stop: threading.Event) -> None:
    """Serve every dongle as `folder/NAME`, with `control.sock` and `ledger.ndjson`, in real time, until `stop` is set."""
    stand = _Stand(folder, network, dongles)
    try:
        while not stop.is_set():
            stand.round()
    finally:
        stand.close()


def control(folder: Path, message: Mapping[str, object], *, timeout: float = 5.0) -> dict[str, object]:
    """Send one control message and read its answer. Raises ControlError, OSError if nobody serves, TimeoutError.

    `{"do": "knobs", "dongle": NAME, "set": {…}}` · `{"do": "schedule", "dongle": NAME, "steps": [[SECONDS, {knob: value}], …]}` ·
    `{"do": "unplug", "dongle": NAME, "seconds": 5}` · `plug` · `reset` · `fill` · `{"do": "swap", "dongle": NAME, "with": NAME}`
    (their SIMs) · `{"do": "text", "from": …, "to": …, "text": …, "copies": 1, "flash": false}` · `{"do": "call", "dongle": NAME,
    "from": …}` · `{"do": "ussd", "dongle": NAME, "text": …}` (unasked) · `{"do": "credit", "dongle": NAME, "rupiah": N}` ·
    `{"do": "pin", "dongle": NAME, "pin": "1234", "left": 3}` (from the next start on; 0 left asks for the PUK) ·
    `{"do": "ledger", "after": SEQ}` (5,000 at most) · `{"do": "stats"}` · `{"do": "faults"}`
    """
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(timeout)
        connection.connect(str(folder / CONTROL))
        connection.sendall(json.dumps(dict(message)).encode() + b"\n")
        with connection.makefile("rb") as stream:
            answer: dict[str, object] = json.loads(stream.readline())
    if "error" in answer:
        raise ControlError(str(answer["error"]))
    return answer
