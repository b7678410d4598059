"""What the driver costs beyond the modem: a submit, an inbound line, a connect, and 64 idle sessions.

The sticks are another process (`bpjs-sms simulate`, on ptys, no radio time). What the modem itself takes is measured by a bare
loop of pyserial that says the same bytes to the same stick; the driver's cost is the difference. The idle sessions are a
process of their own, which asks what a lane asks: counts every 5 s, network every 30 s.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import serial

from modem import PortSettings, SerialModem, Submit, encode_submit
from modem.simulated.pty import control

COMMAND = [sys.executable, "-m", "app"]
SOMEBODY = "+6281700009999"  # a person of the simulated network, who texts nothing back
SECOND, MILLISECONDS = timedelta(seconds=1), 1000.0
COUNTS_EVERY, NETWORK_EVERY = 5, 30  # seconds, as app.exchange.lane asks


@contextmanager
def sticks(count: int) -> Iterator[Path]:
    """So many simulated sticks in another process; the folder with their ports."""
    with tempfile.TemporaryDirectory(prefix="bpjs-bench-") as name:
        folder = Path(name) / "ports"
        command = [*COMMAND, "simulate", "--pty", str(folder), "--sims", str(count), "--reply-after", "0s"]
        simulator = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            until = time.monotonic() + 60
            while not (folder / f"xl-{count}").exists() or not (folder / "control.sock").exists():
                if simulator.poll() is not None or time.monotonic() > until:
                    raise RuntimeError("the simulated sticks did not come up")
                time.sleep(0.02)
            yield folder
        finally:
            simulator.terminate()
            simulator.wait(10)


def message() -> Submit:
    return encode_submit(SOMEBODY, "BALANCE#99012345678#", validity=None, report=False, concat_reference=0)[0]


def told(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    return {
        "median": round(statistics.median(ordered) * MILLISECONDS, 3),
        "p99": round(ordered[int(len(ordered) * 0.99) - 1] * MILLISECONDS, 3),
    }


# -- the modem alone: the same bytes, no driver -----------------------------------------------------------


@contextmanager
def bare(port: str) -> Iterator[serial.Serial]:
    with serial.Serial(port, 115200, timeout=5, exclusive=True) as line:
        line.write(b"ATE0;+CMEE=1;+CMGF=0;+CNMI=2,1,0,0,0\r")
        until(line, b"OK\r\n")
        yield line


def until(line: serial.Serial, end: bytes) -> bytes:
    said = b""
    while not said.endswith(end):
        data = line.read(1)
        if not data:
            raise RuntimeError(f"the stick said {said!r} and no more")
        said += data + line.read(line.in_waiting)
    return said


def bare_submits(port: str, count: int) -> list[float]:
    part, taken = message(), []
    with bare(port) as line:
        for _ in range(count):
            begun = time.perf_counter()
            line.write(f"AT+CMGS={part.length}\r".encode())
            until(line, b"> ")
            line.write(part.pdu.encode())
            line.write(b"\x1a")
            until(line, b"OK\r\n")
            taken.append(time.perf_counter() - begun)
    return taken


def bare_hints(folder: Path, own: str, count: int) -> list[float]:
    with bare(f"{folder}/xl-1") as line:
        taken = [text_in(folder, own, lambda: until(line, b"\r\n")) for _ in range(count)]
        line.write(b"AT+CMGD=1,4\r")
        until(line, b"OK\r\n")
    return taken


def text_in(folder: Path, own: str, heard: Callable[[], object]) -> float:
    """Seconds from asking the stick's process for a text until its line was heard; the same way for both."""
    begun: list[float] = []
    order = {"do": "text", "from": "2757", "to": own, "text": "Saldo JHT KPJ 99012345678 Rp 1.000"}

    def ask() -> None:
        begun.append(time.perf_counter())
        control(folder, order)

    asking = threading.Thread(target=ask)
    asking.start()
    heard()
    taken = time.perf_counter() - begun[0]
    asking.join()
    return taken


# -- the driver -------------------------------------------------------------------------------------------


@contextmanager
def session(url: str) -> Iterator[SerialModem]:
    with closing(SerialModem(PortSettings(url))) as modem:
        modem.open()
        yield modem


def submits(port: str, count: int) -> tuple[list[float], float]:
    """Seconds of each, and CPU milliseconds of one."""
    part, taken = message(), []
    with session(port) as modem:
        cpu = time.process_time()
        for _ in range(count):
            begun = time.perf_counter()
            modem.submit([part], lambda: True)
            taken.append(time.perf_counter() - begun)
        cpu = time.process_time() - cpu
    return taken, cpu / count * MILLISECONDS


def hints(folder: Path, own: str, count: int) -> tuple[list[float], list[float]]:
    """Seconds to the hint, and from the hint to the PDU in hand."""
    to_hint, to_pdu = [], []
    with session(f"{folder}/xl-1") as modem:
        for old in modem.inbox():
            modem.forget(old)
        modem.hinted()
        for _ in range(count):
            to_hint.append(text_in(folder, own, lambda: modem.wait(5 * SECOND)))
            begun = time.perf_counter()
            ((storage, index),) = modem.hinted()
            stored = modem.read(storage, index)
            to_pdu.append(time.perf_counter() - begun)
            if stored is None or not modem.forget(stored):
                raise RuntimeError("the text is not where the hint says")
    return to_hint, to_pdu


def connects(port: str, count: int) -> list[float]:
    taken = []
    for _ in range(count):
        begun = time.perf_counter()
        with session(port):
            taken.append(time.perf_counter() - begun)
    return taken


def lines_said(folder: Path, log: Path, messages: int) -> tuple[list[str], list[str]]:
    """The AT lines of a connect, and those from the first of these submits to the last."""
    with session(f"spy://{folder}/xl-1?file={log}") as modem:
        opening = _said(log)
        for _ in range(messages):
            modem.submit([message()], lambda: True)
        return opening, _said(log)[len(opening) :]


def _said(log: Path) -> list[str]:
    """What pyserial's `spy://` wrote down as sent, line by line; ESC and Ctrl-Z as such."""
    sent = re.findall(r"^\S+ TX   [0-9A-F]{4}  ((?:[0-9A-F]{2} {1,2})+)", log.read_text(), re.MULTILINE)
    data = bytes.fromhex("".join(sent)).decode("latin-1")
    return [line for line in re.split(r"[\r\x1a\x1b]", data) if line]


# -- 64 idle sessions, in a process of their own ----------------------------------------------------------


def hold(folder: Path, count: int, seconds: float, asks: bool) -> dict[str, float]:
    """Open so many sessions, let each wait in a thread of its own, and measure this process."""
    before = memory()
    with ExitStack() as stack:
        begun = time.perf_counter()
        modems = [stack.enter_context(session(f"{folder}/xl-{n}")) for n in range(1, count + 1)]
        opened = time.perf_counter() - begun
        stop = threading.Event()
        threads = [threading.Thread(target=idle, args=(modem, stop, asks)) for modem in modems]
        for thread in threads:
            thread.start()
        stop.wait(2)
        cpu, begun = time.process_time(), time.perf_counter()
        stop.wait(seconds)
        cpu, span = time.process_time() - cpu, time.perf_counter() - begun
        after = memory()
        stop.set()
        for modem in modems:
            modem.interrupt()
        for thread in threads:
            thread.join()
    return {
        "opened_s": round(opened, 2),
        "cpu_percent": round(cpu / span * 100, 2),
        "memory_mib": round(after - before, 1),
        "process_mib": round(after, 1),
    }


def idle(modem: SerialModem, stop: threading.Event, asks: bool) -> None:
    rounds = 0
    while not stop.is_set():
        modem.wait(COUNTS_EVERY * SECOND if asks else 3600 * SECOND)
        rounds += 1
        if asks and not stop.is_set():
            modem.usage()
            if rounds % (NETWORK_EVERY // COUNTS_EVERY) == 0:
                modem.status()


def memory() -> float:
    """Resident MiB of this process."""
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def held(folder: Path, count: int, seconds: float, asks: bool) -> dict[str, float]:
    command = [
        sys.executable,
        __file__,
        "--hold",
        str(folder),
        "--lanes",
        str(count),
        "--seconds",
        str(seconds),
    ]
    answer = subprocess.run(
        [*command, *(["--asks"] if asks else [])], capture_output=True, check=True, text=True
    )
    found: dict[str, float] = json.loads(answer.stdout)
    return found


# -- all of it --------------------------------------------------------------------------------------------


def measure(messages: int, lanes: int, seconds: float) -> dict[str, Any]:
    with sticks(1) as folder, tempfile.TemporaryDirectory(prefix="bpjs-bench-") as scratch:
        port = f"{folder}/xl-1"
        stats = control(folder, {"do": "stats"})["dongles"]
        assert isinstance(stats, dict)
        own = stats["xl-1"]["own_number"]
        bare_submits(port, 20)
        alone, driven, cpu = list[float](), list[float](), 0.0
        for _ in range(4):  # by turns, so that what else the machine does falls on both
            alone += bare_submits(port, messages // 4)
            taken, cpu = submits(port, messages // 4)
            driven += taken
        line_alone = bare_hints(folder, own, 25)
        to_hint, to_pdu = hints(folder, own, messages // 4)
        line_alone += bare_hints(folder, own, 25)
        opening, between = lines_said(folder, Path(scratch) / "spy.log", 10)
        connecting = connects(port, 20)
    commands = [line for line in between if line.startswith("AT")]
    with sticks(lanes) as folder:
        waiting = held(folder, lanes, seconds, asks=False)
        asking = held(folder, lanes, seconds, asks=True)
    return {
        "submit_ms": told(driven),
        "submit_modem_alone_ms": told(alone),
        "submit_beyond_modem_ms": round(told(driven)["median"] - told(alone)["median"], 3),
        "submit_cpu_ms": round(cpu, 3),
        "lines_between_messages": len(commands) / 10 - 1,
        "hint_ms": told(to_hint),
        "hint_modem_alone_ms": told(line_alone),
        "hint_beyond_modem_ms": round(told(to_hint)["median"] - told(line_alone)["median"], 3),
        "hint_to_pdu_ms": told(to_pdu),
        "connect_ms": told(connecting),
        "connect_commands": len(opening),
        "idle_waiting": waiting,
        "idle_asking": asking,
        "lanes": lanes,
    }


def table(found: dict[str, Any]) -> str:
    lanes = found["lanes"]
    rows = [
        ("a submit, ms (median, p99)", f"{found['submit_ms']['median']}, {found['submit_ms']['p99']}", ""),
        ("  the modem alone", f"{found['submit_modem_alone_ms']['median']}", ""),
        ("  beyond the modem", f"{found['submit_beyond_modem_ms']}", "1"),
        ("  CPU", f"{found['submit_cpu_ms']}", ""),
        ("AT lines between two messages", f"{found['lines_between_messages']:g}", "0"),
        ("inbound line to the caller, ms", f"{found['hint_ms']['median']}, {found['hint_ms']['p99']}", "2"),
        ("  the modem alone", f"{found['hint_modem_alone_ms']['median']}", ""),
        ("  beyond the modem", f"{found['hint_beyond_modem_ms']}", ""),
        ("  from the hint to the PDU", f"{found['hint_to_pdu_ms']['median']}", ""),
        ("connect, ms", f"{found['connect_ms']['median']}, {found['connect_ms']['p99']}", ""),
        ("  AT lines", f"{found['connect_commands']}", ""),
        (f"{lanes} sessions waiting, % of a core", f"{found['idle_waiting']['cpu_percent']}", "1"),
        (f"{lanes} sessions asking as lanes do, %", f"{found['idle_asking']['cpu_percent']}", ""),
        (f"{lanes} sessions, MiB", f"{found['idle_asking']['memory_mib']}", ""),
        (f"{lanes} sessions opened one by one, s", f"{found['idle_asking']['opened_s']}", ""),
    ]
    return "\n".join(
        f"{name:<42}{value:>18}{goal:>8}" for name, value, goal in [("", "measured", "goal"), *rows]
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=800)
    parser.add_argument("--lanes", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=30.0, help="how long the idle sessions are watched")
    parser.add_argument("--hold", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--asks", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.hold:
        print(json.dumps(hold(options.hold, options.lanes, options.seconds, options.asks)))
        return 0
    found = measure(options.messages, options.lanes, options.seconds)
    print(table(found))
    print(json.dumps(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
