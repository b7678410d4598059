"""Where a program of somebody else sits: its dongle, its folder, what the dongle notes, and the program's process."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from modem.simulated.personality import Personality
from modem.simulated.pty import control

T = TypeVar("T")

PERSON = "+6289900000001"
_PATIENCE = 30.0  # seconds for anything that a program does by itself; gammu alone takes 4 to start
_LOOK = 0.1  # seconds between two looks


class Absent(Exception):
    """A program did not show, or the dongle did not note, what it should have; the sentence says what."""


def wait_for(find: Callable[[], T | None], what: str, seconds: float = _PATIENCE) -> T:
    """What `find` finds, looked for again and again. Raises Absent after `seconds`."""
    pause, end = threading.Event(), time.monotonic() + seconds
    while True:
        found = find()
        if found:
            return found
        if time.monotonic() > end:
            raise Absent(f"not within {seconds:.0f} s: {what}")
        pause.wait(_LOOK)


def containing(text: str, *wanted: str) -> str:
    """The last line with the last of what is wanted; all must be there. Raises Absent with the end of the text."""
    for one in wanted:
        if one not in text:
            raise Absent(f"no {one!r} in what it said: …{text[-400:]!r}")
    return next(line.strip() for line in reversed(text.splitlines()) if wanted[-1] in line)


class Ledger:
    """The ledger file of the stand, read as it grows."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._place = 0
        self._lock = threading.Lock()
        self._entries: dict[str | None, list[dict[str, Any]]] = {}

    def entries(self, own: str) -> list[dict[str, Any]]:
        """What it says of the SIM with this number, in order."""
        with self._lock:
            with self._path.open("rb") as stream:
                stream.seek(self._place)
                whole, _, _ = stream.read().rpartition(b"\n")
            if whole:
                self._place += len(whole) + 1
                for entry in map(json.loads, whole.splitlines()):
                    self._entries.setdefault(entry["sim"], []).append(entry)
            return list(self._entries.get(own, ()))


@dataclass
class Seat:
    """One dongle, the folder of the program that drives it, and what the dongle notes."""

    stand: Path
    name: str
    stick: Personality
    own: str
    imei: str
    imsi: str
    code: str
    answer: str
    folder: Path
    ledger: Ledger

    @property
    def port(self) -> str:
        return str(self.stand / self.name)

    @property
    def keeps_reports(self) -> bool:
        """Whether it can store status reports (SR); else they come as +CDS only."""
        return "SR" in self.stick.storages[0]

    def say(self, pattern: str) -> str:
        return pattern.format(seat=self.name)

    def entries(self) -> list[dict[str, Any]]:
        return self.ledger.entries(self.own)

    def noted(self, kind: str, text: str, **values: object) -> str:
        """The one entry of the ledger of this kind and text, waited for. Raises Absent; also if there are two."""

        def found() -> list[dict[str, Any]]:
            return [one for one in self.entries() if (one["kind"], one["text"]) == (kind, text)]

        entry, *more = wait_for(found, f"{kind} {text[:40]!r} in the ledger of {self.name}")
        if kind == "submitted" and more:
            raise Absent(f"{text[:40]!r} went out {1 + len(more)} times")
        for name, value in values.items():
            if entry[name] != value:
                raise Absent(f"the ledger has {name}={entry[name]!r}, not {value!r}, for {text[:40]!r}")
        return f"{kind} #{entry['seq']}" + (f" in {entry['parts']} parts" if entry["parts"] > 1 else "")

    def sent(self, text: str, *, parts: int = 1, to: str = PERSON) -> str:
        return self.noted("submitted", text, parts=parts, address=to)

    def reference(self, text: str) -> int:
        return int(
            next(one["reference"] for one in self.entries() if one["text"] == text and one["reference"])
        )

    def text(self, text: str) -> str:
        """Text this SIM and wait until it lies there, or was handed over."""
        control(self.stand, {"do": "text", "from": PERSON, "to": self.own, "text": text})
        return self.noted("received", text)

    def stored(self) -> int:
        stats: dict[str, Any] = control(self.stand, {"do": "stats"})
        stored: dict[str, int] = stats["dongles"][self.name]["stored"]
        return stored["SM"] + stored["ME"]

    def emptied(self) -> str:
        wait_for(lambda: self.stored() == 0, f"{self.name} has {self.stored()} messages stored")
        return "0 stored"

    def silent(self) -> str:
        """What was never sent cannot be in the ledger."""
        kinds = {one["kind"] for one in self.entries()} - {"received", "report"}
        if kinds:
            raise Absent(f"identifying put {kinds} on the air")
        return "nothing on the air"

    def asked(self) -> str:
        """The USSD request, as the ledger has it."""
        return self.noted("ussd", self.answer, address=self.code)


ENVIRONMENT = {"LC_ALL": "C.UTF-8", "PATH": os.environ["PATH"] + ":/usr/sbin", "PYTHONWARNINGS": "ignore"}


def run(command: Sequence[str], folder: Path, *, ends: float = 90.0) -> str:
    """Run to the end and give all it said. Raises Absent on an exit code, after `ends` seconds, or if it is missing."""
    if shutil.which(command[0], path=ENVIRONMENT["PATH"]) is None:
        raise Absent(f"{command[0]} is not installed")
    process: subprocess.Popen[str] = subprocess.Popen(
        command,
        cwd=folder,
        env=ENVIRONMENT | {"HOME": str(folder)},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    try:
        said, _ = process.communicate(timeout=ends)
    except subprocess.TimeoutExpired:
        raise Absent(f"{' '.join(command[:4])} did not end within {ends:.0f} s") from None
    finally:
        end(process)
    if process.returncode:
        raise Absent(f"{' '.join(command[:6])} ended with {process.returncode}: …{said[-400:]!r}")
    return said


def end(process: subprocess.Popen[str]) -> None:
    """End a program and whatever it started."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is None:
            os.killpg(process.pid, sign)
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                continue
    for pipe in (process.stdin, process.stdout):
        if pipe is not None:
            pipe.close()


@contextmanager
def daemon(command: Sequence[str], folder: Path) -> Iterator[subprocess.Popen[str]]:
    """A program that runs until it is ended; what it says stands in `folder/said`."""
    if shutil.which(command[0], path=ENVIRONMENT["PATH"]) is None:
        raise Absent(f"{command[0]} is not installed")
    with (folder / "said").open("w") as said:
        process = subprocess.Popen(
            command,
            cwd=folder,
            env=ENVIRONMENT | {"HOME": str(folder)},
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            yield process
        finally:
            end(process)


def file_with(folder: Path, *wanted: str) -> str:
    """The text of the file in a folder that contains everything wanted, waited for. Raises Absent."""

    def find() -> str | None:
        for path in folder.iterdir():
            try:
                text = path.read_bytes().decode("utf-8", "replace")
            except FileNotFoundError:  # renamed meanwhile
                continue
            if all(one in text for one in wanted):
                return text
        return None

    return wait_for(find, f"a file with {wanted} in {folder.name}")
