"""The simulated dongle behind pyserial URLs and on ptys, also under the library's own GsmModem."""

from __future__ import annotations

import errno
import json
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from queue import SimpleQueue

import pytest
import serial
from gsmmodem.modem import GsmModem, ReceivedSms
from gsmmodem.serial_comms import SerialComms

from modem.pdu import encode_submit
from modem.simulated import Dongle, Network, Reply, Sim, Ticker, attach, detach, lookup
from modem.simulated.pty import ControlError, control, serve

OWN = "+628170000001"


def new_dongle(network: Network | None = None, after: timedelta = timedelta(0)) -> Dongle:
    network = network or Network()
    network.step(datetime.now(UTC))
    network.subscriber("2757", lambda sender, text, now: [Reply("halo " + text, after)])
    return Dongle(network, Sim("8999000000000000017", "510110000000001", OWN), imei="990000000000011")


@contextmanager
def attached(dongle: Dongle, name: str = "t-1") -> Iterator[Dongle]:
    attach(name, dongle)
    try:
        yield dongle
    finally:
        detach(name)


def opened(name: str = "t-1", **options: object) -> serial.Serial:
    return serial.serial_for_url(f"simulated://{name}", **({"timeout": 5} | options))  # type: ignore[arg-type]


def test_reads_give_what_is_there_and_nothing_at_the_timeout() -> None:
    with attached(new_dongle()) as dongle, opened(timeout=0.05, exclusive=True, write_timeout=1) as port:
        assert lookup("t-1") is dongle
        assert port.read(1) == b""
        assert port.write(b"AT\r") == 3
        assert port.in_waiting == 9
        assert port.read(4) == b"AT\r\r"
        assert port.read(100) == b"\nOK\r\n"
        port.write(b"AT\r")
        port.reset_input_buffer()
        assert port.read(1) == b""


def test_a_blocked_read_ends_when_bytes_come_or_it_is_cancelled() -> None:
    with attached(new_dongle()), opened(timeout=None) as port:
        got: SimpleQueue[bytes] = SimpleQueue()
        reader = threading.Thread(target=lambda: [got.put(port.read(1)) for _ in range(2)])
        reader.start()
        port.write(b"AT")
        assert got.get(timeout=5) == b"A"
        assert got.get(timeout=5) == b"T"
        reader.join(5)
        reader = threading.Thread(target=lambda: got.put(port.read(1)))
        reader.start()
        port.cancel_read()
        assert got.get(timeout=5) == b""
        reader.join(5)


def test_missing_and_busy_ports_say_so() -> None:
    with pytest.raises(serial.SerialException) as missing:
        opened("nobody")
    assert missing.value.errno == errno.ENOENT
    with attached(new_dongle()):
        with opened(), pytest.raises(serial.SerialException) as busy:
            opened()
        assert busy.value.errno == errno.EBUSY
        with opened() as again:
            assert again.is_open


def test_unplugging_ends_a_blocked_read_and_the_port_for_good() -> None:
    with attached(new_dongle()) as dongle:
        port = opened(timeout=None)
        got: SimpleQueue[BaseException] = SimpleQueue()

        def read() -> None:
            try:
                port.read(1)
            except serial.SerialException as error:
                got.put(error)

        reader = threading.Thread(target=read)
        reader.start()
        dongle.unplug(datetime.now(UTC))
        assert isinstance(got.get(timeout=5), serial.SerialException)
        reader.join(5)
        with pytest.raises(serial.SerialException) as missing:
            opened()
        assert missing.value.errno == errno.ENOENT
        dongle.plug(datetime.now(UTC))
        with pytest.raises(serial.SerialException):
            port.write(b"AT\r")
        port.close()
        with pytest.raises(serial.SerialException):
            port.read(1)
        with opened(timeout=0.5) as again:
            again.write(b"AT\r")
            assert again.read(9) == b"AT\r\r\nOK\r\n"


def test_what_is_said_while_nobody_listens_is_lost() -> None:
    with attached(new_dongle()) as dongle:
        with opened() as port:
            port.write(b"ATE0;+CNMI=2,1,0,0,0\r")
        dongle.network.text("PROMO", OWN, "murah", now=datetime.now(UTC))
        with opened(timeout=0.05) as port:
            assert port.read(1) == b""
            dongle.network.text("PROMO", OWN, "murah", now=datetime.now(UTC))
            assert port.read(16) == b'\r\n+CMTI: "SM",1\r'


def test_the_ticker_brings_what_is_due() -> None:
    dongle = new_dongle(after=timedelta(milliseconds=30))
    with attached(dongle), Ticker(dongle.network), opened() as port:
        port.write(b"ATE0;+CNMI=2,1,0,0,0\r")
        part = encode_submit("2757", "tanya", validity=None, report=False, concat_reference=1)[0]
        port.write(f"AT+CMGS={part.length}\r".encode())
        port.write(part.pdu.encode() + b"\x1a")
        assert port.read_until(b"+CMTI").endswith(b"+CMTI")


class _UrlComms(SerialComms):  # type: ignore[misc]
    """The library's transport, which opens device files only, on a URL."""

    def connect(self) -> None:
        self.serial = serial.serial_for_url(self.port, baudrate=self.baudrate, timeout=self.timeout)
        self.alive = True
        self.rxThread = threading.Thread(target=self._readLoop, daemon=True)
        self.rxThread.start()


class _UrlModem(GsmModem, _UrlComms):  # type: ignore[misc]
    """The library's modem over it."""


def test_the_librarys_own_modem_connects_sends_and_receives() -> None:
    got: SimpleQueue[str] = SimpleQueue()

    def received(sms: ReceivedSms) -> None:
        got.put(sms.text)

    # The library loses an indication that comes within an answer, so the reply comes after it.
    dongle = new_dongle(after=timedelta(milliseconds=100))
    with attached(dongle), Ticker(dongle.network):
        modem = _UrlModem("simulated://t-1", smsReceivedCallbackFunc=received)
        modem.connect()
        try:
            assert modem.imei == "990000000000011"
            assert modem.imsi == "510110000000001"
            assert modem.networkName == "XL"
            assert modem.signalStrength == 20
            assert modem.sendSms("2757", "tanya").reference == 1
            assert got.get(timeout=5) == "halo tanya"
        finally:
            for thread in threading.enumerate():
                if "HandleModemNotification" in thread.name:  # the library's own: it deletes what it read
                    thread.join(5)
            modem.close()


def test_the_other_ports_of_a_stick_have_names_of_their_own() -> None:
    with (
        attached(new_dongle()) as dongle,
        opened() as control_port,
        opened("t-1.app") as app,
        opened("t-1.diag", timeout=0.02) as mute,
    ):
        for port in (control_port, app, mute):
            port.write(b"AT\r")
        assert control_port.read(9) == app.read(9) == b"AT\r\r\nOK\r\n"
        assert mute.read(1) == b""
        dongle.unplug(datetime.now(UTC))
        for port in (control_port, app, mute):
            with pytest.raises(serial.SerialException):
                port.read(1)
    with pytest.raises(serial.SerialException):
        opened("t-1.app")


# -- ptys --------------------------------------------------------------------------------------------


@contextmanager
def served(folder: Path, *dongles: Dongle) -> Iterator[Path]:
    stop = threading.Event()
    failed: list[BaseException] = []

    def run() -> None:
        try:
            named = {f"xl-{place}": dongle for place, dongle in enumerate(dongles, 1)}
            serve(folder, dongles[0].network, named, stop)
        except BaseException as error:
            failed.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    try:
        deadline = threading.Event()
        for _ in range(500):
            if (folder / "xl-1").is_symlink():
                break
            deadline.wait(0.01)
        yield folder
    finally:
        stop.set()
        thread.join(5)
    assert not failed


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[Path]:
    # A socket's path takes 107 octets at most, so it is named from inside.
    before = Path.cwd()
    os.chdir(tmp_path)
    yield Path("dongles")
    os.chdir(before)


def test_a_pty_speaks_survives_its_peer_and_keeps_the_ledger(folder: Path) -> None:
    with served(folder, new_dongle()):
        for reference in (1, 2):
            with serial.Serial(str(folder / "xl-1"), timeout=5, exclusive=True) as port:
                port.write(b"ATE0;+CNMI=2,1,0,0,0\r")
                assert port.read_until(b"OK\r\n").endswith(b"\r\nOK\r\n")
                part = encode_submit("2757", "tanya", validity=None, report=False, concat_reference=1)[0]
                port.write(f"AT+CMGS={part.length}\r".encode())
                assert port.read_until(b"> ") == b"\r\n> "
                port.write(part.pdu.encode() + b"\x1a")
                said = port.read_until(b"+CMTI")
                assert said == b"\r\n+CMGS: %d\r\n\r\nOK\r\n\r\n+CMTI" % reference
                # What the ledger tells is on file before the peer can know it.
                lines = (folder / "ledger.ndjson").read_text().splitlines()
                assert [json.loads(line)["kind"] for line in lines] == (
                    ["submitted", "delivered", "received"] * reference
                )
    assert sorted(path.name for path in folder.iterdir()) == ["ledger.ndjson"]


def test_another_thread_may_pull_the_stick_out_while_it_talks(folder: Path) -> None:
    dongle = new_dongle()
    with served(folder, dongle):
        for _ in range(1000):
            with serial.Serial(str(folder / "xl-1"), timeout=5, write_timeout=5) as port:
                port.write(b"ATI;+CGMR;+CGMI;+CGMM;+CGSN\r" * 10)
                while port.in_waiting < 100:
                    port.read(1)
                dongle.unplug(datetime.now(UTC))
            assert not (folder / "xl-1").is_symlink()
            dongle.plug(datetime.now(UTC))


def test_the_control_socket(folder: Path) -> None:
    with served(folder, new_dongle()):
        assert control(folder, {"do": "text", "from": "PROMO", "to": OWN, "text": "murah"}) == {
            "delivery_ids": [1]
        }
        entries = control(folder, {"do": "ledger", "after": 0})["entries"]
        assert isinstance(entries, list)
        assert [entry["text"] for entry in entries] == ["murah"]
        assert control(folder, {"do": "ledger", "after": 1}) == {"entries": []}
        knobs = control(folder, {"do": "knobs", "dongle": "xl-1", "set": {"radio": 2.5, "silence": 1}})[
            "knobs"
        ]
        assert isinstance(knobs, dict)
        assert (knobs["radio"], knobs["silence"]) == (2.5, 1)
        assert control(folder, {"do": "fill", "dongle": "xl-1"}) == {"filled": 29}
        stats = control(folder, {"do": "stats"})["dongles"]
        assert isinstance(stats, dict)
        assert stats["xl-1"]["stored"] == {"SM": 30, "ME": 0, "SR": 0}
        for wrong, sentence in (
            ({"do": "knobs", "dongle": "xl-1", "set": {"rado": 1}}, "no knob 'rado'"),
            ({"do": "knobs", "dongle": "xl-9"}, "no dongle 'xl-9'; there are xl-1"),
            ({"do": "dance", "dongle": "xl-1"}, "nothing to do called 'dance'"),
            ({"do": "text", "from": "PROMO", "to": "+62899", "text": "x"}, "no SIM has the number"),
        ):
            with pytest.raises(ControlError, match=sentence):
                control(folder, wrong)


def test_the_control_socket_plays_the_world(folder: Path) -> None:
    dongle = new_dongle()
    other = Dongle(
        dongle.network,
        Sim("8999000000000000025", "510110000000002", "+628170000002"),
        imei="9",
        personality="etsi",
    )
    with served(folder, dongle, other), serial.Serial(str(folder / "xl-1"), timeout=5) as port:

        def do(what: str, **more: object) -> dict[str, object]:
            return control(folder, {"do": what, "dongle": "xl-1", **more})

        def stats() -> dict[str, object]:
            found = control(folder, {"do": "stats"})["dongles"]
            assert isinstance(found, dict)
            one: dict[str, object] = found["xl-1"]
            return one

        port.write(b"ATE0;+CNMI=2,1,0,0,0\r")
        port.read_until(b"OK\r\n")
        assert do("call", **{"from": "+628990000001"}) == {"rings": True}
        assert port.read_until(b"RING\r\n") == b"\r\nRING\r\n"
        assert (stats()["calls"], stats()["ringing"]) == (1, True)
        port.write(b"ATH\r")
        assert port.read_until(b"OK\r\n") == b"\r\nOK\r\n"
        assert do("credit", rupiah=5000) == {"credit": 5000}
        assert do("ussd", text="Pulsa habis") == {"said": True}
        assert port.read_until(b",15\r\n").startswith(b'\r\n+CUSD: 0,"')
        control(
            folder, {"do": "text", "from": "PROMO", "to": OWN, "text": "kilat", "flash": True, "copies": 2}
        )
        assert port.read_until(b"+CMT: ").endswith(b"+CMT: ")
        do("schedule", steps=[[0, {"next": {"error_bare": 1}}]])
        port.reset_input_buffer()
        port.write(b"AT\r")
        assert port.read_until(b"ERROR\r\n").endswith(b"\r\nERROR\r\n")
        assert stats()["fired"] == {"error_bare": 1}
        assert do("swap", **{"with": "xl-2"}) == {"own_number": "+628170000002"}
        assert do("pin", pin="1234", left=2) == {"pin_left": 2}
        assert do("reset") == {"plugged": True}
        port.write(b"AT+CPIN?\r")
        assert b"SIM PIN" in port.read_until(b"OK\r\n")
        faults = control(folder, {"do": "faults"})["faults"]
        assert isinstance(faults, dict)
        assert "silence_sent" in faults
        for wrong in ([[1]], "soon", [[1, {"rado": 2}]]):
            with pytest.raises(ControlError):
                do("schedule", steps=wrong)


def test_a_stick_on_ptys_has_all_its_ports(folder: Path) -> None:
    with served(folder, new_dongle()):
        control(folder, {"do": "stats"})  # answered once every port has its name
        assert {path.name for path in folder.iterdir()} >= {"xl-1", "xl-1.app", "xl-1.diag"}
        with serial.Serial(str(folder / "xl-1.app"), timeout=5) as port:
            port.write(b"AT\r")
            assert port.read_until(b"OK\r\n") == b"AT\r\r\nOK\r\n"
        control(folder, {"do": "unplug", "dongle": "xl-1"})
        assert not any(path.is_symlink() for path in folder.iterdir())


def test_unplugging_a_pty_takes_its_name_away(folder: Path) -> None:
    with served(folder, new_dongle()):
        with serial.Serial(str(folder / "xl-1"), timeout=5) as port:
            assert control(folder, {"do": "unplug", "dongle": "xl-1"}) == {"plugged": False}
            assert not (folder / "xl-1").is_symlink()
            with pytest.raises(serial.SerialException):
                port.read(1)
        control(folder, {"do": "plug", "dongle": "xl-1"})
        with serial.Serial(str(folder / "xl-1"), timeout=5) as port:
            port.write(b"AT\r")
            assert port.read_until(b"OK\r\n") == b"AT\r\r\nOK\r\n"


def test_a_long_listing_comes_whole_through_a_slow_reader(folder: Path) -> None:
    dongle = new_dongle()
    dongle.fill(datetime.now(UTC))
    whole = dongle.feed(b"ATE0;+CMGL=4\r", datetime.now(UTC))
    with served(folder, dongle), serial.Serial(str(folder / "xl-1"), timeout=5) as port:
        port.write(b"AT+CMGL=4\r" * 10)
        said = b"".join(port.read(1000) for _ in range(10 * len(whole[9:]) // 1000))
        assert said.count(b"+CMGL: ") >= 290
