"""Finding simulated dongles behind ptys with the real driver: by SIM, by socket, after they were pulled out, and in silence to others."""

from __future__ import annotations

import os
import threading
import time
import tty
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from modem import SerialModem
from modem.discovery import Finder
from modem.port import Identity, ModemError, PortSettings
from modem.simulated import Dongle, Network, Sim
from modem.simulated.pty import CONTROL, control, serve
from tests.host_folder import HostFolder

A, B = "8999000000000000017", "8999000000000000025"
IMEI = "990000000000011"
LIMIT = 15.0  # seconds for what takes half a second; the machine may be busy


def settings(url: str) -> PortSettings:
    quick = timedelta(seconds=0.4)
    return PortSettings(url, may_offer_pin=False, wake_timeout=quick, drain_timeout=quick, boot_timeout=quick)


def identify(url: str) -> Identity:
    modem = SerialModem(settings(url))
    try:
        return modem.open()
    finally:
        modem.close()


class Deaf:
    """A pty whose other end never answers; `heard` is what was written to it."""

    def __init__(self) -> None:
        self.ours, self.theirs = os.openpty()
        tty.setraw(self.theirs)
        os.set_blocking(self.ours, False)
        self.name = os.ttyname(self.theirs)

    def heard(self) -> bytes:
        try:
            return os.read(self.ours, 65536)
        except BlockingIOError:
            return b""

    def close(self) -> None:
        os.close(self.ours)
        os.close(self.theirs)


class Stage:
    """A host folder, two dongles of one IMEI in a folder of ptys, and a finder that opens them with the real driver."""

    def __init__(self, path: Path, stack: ExitStack) -> None:
        self.stack = stack
        self.host = HostFolder(path / "host")
        self.ptys = path / "ptys"
        network = Network()
        self.dongles = {
            "one": Dongle(network, Sim(A, "510110000000001", "+628170000001"), imei=IMEI),
            "two": Dongle(network, Sim(B, "510110000000002", "+628170000002", pin="9999"), imei=IMEI),
        }
        stop = threading.Event()
        server = threading.Thread(target=serve, args=(self.ptys, network, self.dongles, stop))
        server.start()
        stack.callback(server.join, LIMIT)
        stack.callback(stop.set)
        self.until((self.ptys / CONTROL).exists)
        self.finder = Finder(identify, root=self.host.root, clock=time.monotonic)

    def deaf(self) -> Deaf:
        port = Deaf()
        self.stack.callback(port.close)
        return port

    def plug(self, name: str, usb_path: str, first: int) -> None:
        """The dongle on its third port, beside two deaf ones, as a stick of no known layout."""
        ports: dict[int, str | Path | None] = {0: self.deaf().name, 1: self.deaf().name, 2: self.ptys / name}
        self.until((self.ptys / name).exists)
        self.host.stick(usb_path, "12d1", "1003", ports=ports, first=first, serial="same")

    def until(self, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + LIMIT
        while not done():
            assert time.monotonic() < deadline
            threading.Event().wait(0.01)

    def find(self, *, iccid: str | None = None, usb: str | None = None) -> tuple[str, str | None]:
        """Ask as a lane does, until the port is there."""
        deadline = time.monotonic() + LIMIT
        while True:
            try:
                device, usb_path = self.finder.port_for(iccid=iccid, usb=usb)
            except ModemError as error:
                if not error.retryable or time.monotonic() > deadline:
                    raise
                threading.Event().wait(0.05)
            else:
                return Path(device).name, usb_path


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with ExitStack() as stack:
        yield Stage(tmp_path, stack)


@contextmanager
def opened(stage: Stage, device: str) -> Iterator[SerialModem]:
    url = str(stage.host.root / "dev" / device)
    stage.finder.in_use(url)
    modem = SerialModem(settings(url))
    try:
        yield modem
    finally:
        modem.close()
        stage.finder.released(url)


def test_a_lane_finds_its_sim_and_can_send_also_after_the_stick_moved(stage: Stage) -> None:
    stage.plug("one", "1-1", 0)
    assert stage.find(iccid=A) == ("ttyUSB2", "1-1")
    with opened(stage, "ttyUSB2") as modem:
        assert modem.open().iccid == A
        assert modem.status().can_send
        control(stage.ptys, {"do": "unplug", "dongle": "one"})
        stage.host.unplug("1-1")
    control(stage.ptys, {"do": "plug", "dongle": "one"})
    stage.plug("one", "2-3.1", 7)
    assert stage.find(iccid=A) == ("ttyUSB9", "2-3.1")
    with opened(stage, "ttyUSB9") as modem:
        assert modem.open().iccid == A
        assert modem.status().can_send


def test_two_sticks_with_one_imei_and_one_serial_number_are_told_apart_one_of_them_locked(
    stage: Stage,
) -> None:
    stage.plug("one", "1-1", 0)
    stage.plug("two", "1-2", 3)
    assert stage.find(iccid=A) == ("ttyUSB2", "1-1")
    assert stage.find(usb="1-2") == ("ttyUSB5", "1-2")
    assert stage.dongles["two"].sim.pin_left == 3


def test_not_a_byte_goes_to_what_is_no_known_stick(stage: Stage) -> None:
    ups, reader, board = stage.deaf(), stage.deaf(), stage.deaf()
    stage.host.stick("1-3", "051d", "0002", ports={0: ups.name}, tty="ttyACM", driver="cdc_acm")
    stage.host.stick("1-4", "067b", "2303", ports={0: reader.name}, driver="pl2303", first=20)
    stage.host.stick("1-5", "1a86", "7523", ports={0: board.name}, driver="ch341", first=30)
    stage.plug("one", "1-1", 0)
    assert stage.find(iccid=A) == ("ttyUSB2", "1-1")
    for usb in ("1-3", "1-4", "1-5"):
        with pytest.raises(ModemError, match="stick_unknown"):
            stage.finder.port_for(usb=usb)
    assert [port.heard() for port in (ups, reader, board)] == [b"", b"", b""]
