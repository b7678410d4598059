"""What the contract of the modem port is tried on: simulated sticks of every personality, in this process and on ptys, or a real one."""

from __future__ import annotations

import socket
import tempfile
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TypeVar

from modem import (
    Deliver,
    Observer,
    PduError,
    PortSettings,
    SerialModem,
    Stored,
    Submit,
    decode,
    encode_submit,
)
from modem.simulated import Dongle, Entry, Network, Sim, Ticker, attach, detach
from modem.simulated.dialogue import push
from modem.simulated.menus import Menu
from modem.simulated.personality import personalities
from modem.simulated.pty import CONTROL, control, serve

OWN = "+628170000001"
PIN = "1234"
QUICK = timedelta(seconds=5)  # no simulated stick takes so long
SOON = timedelta(milliseconds=150)  # where silence is what is tried
ON_THE_AIR = timedelta(seconds=90)  # what an SMS to oneself may take in a real network
_LOOK = timedelta(milliseconds=250)  # between two looks into the inbox, where no hint came

PERSONALITIES = tuple(personalities())
LINES = ("simulated", "pty")

Found = TypeVar("Found")


@dataclass(slots=True)
class Bench:
    """A stick, the number of its SIM, and how long an SMS to oneself may take. `left_out`: what it could not do, in words."""

    settings: PortSettings
    own_number: str = OWN
    patience: timedelta = QUICK
    left_out: list[str] = field(default_factory=list)
    written: set[str] = field(default_factory=set)

    def text(self, beginning: str) -> str:
        """A text that no other is taken for. Nothing but such texts is ever removed from a SIM."""
        made = f"{beginning} {uuid.uuid4().hex[:10]}"
        self.written.add(made)
        return made

    def parts(self, text: str, *, report: bool = False) -> list[Submit]:
        """A text to oneself."""
        reference = int(uuid.uuid4()) % 256
        return encode_submit(self.own_number, text, validity=None, report=report, concat_reference=reference)

    def ours(self, modem: SerialModem) -> list[tuple[Stored, Deliver]]:
        """What came in of the texts that were written here."""
        found = []
        for stored in modem.inbox():
            with suppress(PduError):
                read = decode(stored.pdu, outgoing=stored.stat >= 2)
                if isinstance(read, Deliver) and any(read.text in text for text in self.written if read.text):
                    found.append((stored, read))
        return found

    def arrived(self, modem: SerialModem, count: int = 1) -> list[tuple[Stored, Deliver]]:
        """Wait until so many parts of what was written here have come; what has, at the end of patience."""
        return self.until(modem, lambda: self.ours(modem), lambda found: len(found) >= count)

    def until(self, modem: SerialModem, look: Callable[[], Found], good: Callable[[Found], bool]) -> Found:
        """Look at every hint, and now and then, until it is good or patience is over."""
        deadline = time.monotonic() + self.patience.total_seconds()
        while not good(found := look()) and time.monotonic() < deadline:
            modem.wait(_LOOK)
            modem.hinted()
        return found

    @contextmanager
    def opened(
        self, observer: Observer | None = None, *, settings: PortSettings | None = None
    ) -> Iterator[SerialModem]:
        """A session; at its end what was written here is removed from the SIM again."""
        with closing(SerialModem(settings or self.settings, observer)) as modem:
            modem.open()
            yield modem
            with suppress(Exception):  # the session may be over
                for stored, _ in self.ours(modem):
                    modem.forget(stored)


@dataclass(slots=True)
class Played(Bench):
    """A simulated stick: the world around it can be told what to do."""

    network: Network = field(default_factory=Network)
    dongle: Dongle = field(kw_only=True)
    folder: Path | None = None

    def tell(self, do: str, **more: object) -> None:
        """`unplug`, `plug`, `reset`, `text`, `call`, …: by the control socket where the stick is on a pty, else at once."""
        dongle, now = self.dongle, datetime.now(UTC)
        if self.folder is not None:
            control(self.folder, {"do": do, "dongle": "stick", **more})
        elif do == "knobs":
            changes = more["set"]
            assert isinstance(changes, dict)
            dongle.turn(now, **changes)
        elif do == "text":
            self.network.text(str(more["from"]), self.own_number, str(more["text"]), now=now)
        elif do == "call":
            dongle.call(str(more["from"]), now)
        elif do == "ussd":
            push(dongle, str(more["text"]), now)
        elif do == "reset":
            dongle.start_anew(now)
        elif do == "plug":
            dongle.plug(now)
        elif do == "unplug":
            dongle.unplug(now)
        else:
            raise ValueError(do)

    def turn(self, **knobs: object) -> None:
        self.tell("knobs", set=knobs)

    def send_in(self, text: str, sender: str = "PROMO") -> str:
        self.written.add(text)
        self.tell("text", **{"from": sender, "to": self.own_number, "text": text})
        return text

    @contextmanager
    def hurried(self) -> Iterator[None]:
        """The network's time runs ahead: what is planned for the next second happens at once."""
        stop = threading.Event()

        def run() -> None:
            while not stop.wait(0.001):
                with self.network.lock:
                    due = self.network.due
                    if due is not None and due - self.network.now < timedelta(seconds=1):
                        self.network.step(due)

        thread = threading.Thread(target=run, daemon=True)
        thread.start()
        try:
            yield
        finally:
            stop.set()
            thread.join()

    def ledger(self, kind: str) -> list[Entry]:
        with self.network.lock:
            return [entry for entry in self.network.ledger if entry.kind == kind]

    def asked(self) -> list[str]:
        """The texts that went on the air."""
        return [entry.text for entry in self.ledger("submitted")]


def settings_for(url: str, patience: timedelta = QUICK) -> PortSettings:
    return PortSettings(
        url,
        cmgs_timeout=patience,
        prompt_timeout=patience,
        answer_timeout=patience,
        wake_timeout=patience,
        drain_timeout=patience,
        boot_timeout=patience,
    )


@contextmanager
def played(personality: str, line: str, *, pin: str | None = None) -> Iterator[Played]:
    """A simulated stick of this personality, at the end of this line."""
    network = Network(seed=11)
    sim = Sim("89990000000000000011", "510110000000001", OWN, pin=pin)
    dongle = Dongle(network, sim, imei="990000000000019", personality=personality)
    network.ussd |= {"*123#": "Pulsa Rp 12.345", "*100#": Menu("1 Kuota 2 Pulsa", {"2": Menu("Rp 12.345")})}
    if line == "simulated":
        name = f"contract-{uuid.uuid4().hex[:8]}"
        attach(name, dongle)
        with Ticker(network):
            try:
                yield Played(settings_for(f"simulated://{name}"), network=network, dongle=dongle)
            finally:
                detach(name)
        return
    with tempfile.TemporaryDirectory(prefix="port-") as made, _served(Path(made), network, dongle) as folder:
        yield Played(settings_for(f"{folder}/stick"), network=network, dongle=dongle, folder=folder)


@contextmanager
def _served(folder: Path, network: Network, dongle: Dongle) -> Iterator[Path]:
    stop, failures = threading.Event(), list[BaseException]()

    def run() -> None:
        try:
            serve(folder, network, {"stick": dongle}, stop)
        except BaseException as failure:
            failures.append(failure)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    while not (folder / "stick").exists() and thread.is_alive():
        stop.wait(0.001)
    try:
        yield folder
    finally:
        stop.set()
        with (
            socket.socket(socket.AF_UNIX) as knock,
            suppress(OSError),
        ):  # it looks at `stop` when somebody comes
            knock.connect(str(folder / CONTROL))
        thread.join(5)
    assert not failures
    assert not thread.is_alive()


def altered(hexadecimal: str) -> str:
    """The same PDU with one octet changed at its end."""
    return hexadecimal[:-2] + f"{int(hexadecimal[-2:], 16) ^ 1:02X}"


def texts(found: Sequence[tuple[Stored, Deliver]]) -> list[str]:
    return [read.text for _, read in found]
