"""gammu, gammu-smsd, smstools and python-gsmmodem-new, each with its own way to do what is asked of all."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from program_seats import ENVIRONMENT, PERSON, Absent, Seat, containing, daemon, end, file_with, run, wait_for

from modem.ussd import PACKED, TEXT, UCS2, encode

SHORT = "Saldo {seat} cek 12"
LONG = "Pesan panjang untuk {seat}: " + "BPJS Kesehatan dan Ketenagakerjaan. " * 9 + "Selesai."
UNICODE = "Halo {seat}, dunia ✓ 你好"
REPORT = "Laporan untuk {seat}"
COMING = "Kabar untuk {seat}"
STORED = ("Simpanan satu {seat}", "Simpanan dua {seat} é")


class Gammu:
    """Debian's gammu: one process for each action."""

    name = "gammu"

    def __init__(self, seat: Seat) -> None:
        self.seat = seat
        direct = "atgen_setcnmi = ,,,1\n" if seat.stick.name == "huawei" else ""
        (seat.folder / "rc").write_text(f"[gammu]\ndevice = {seat.port}\nconnection = at\n{direct}")

    @staticmethod
    def version() -> str:
        return containing(run(["gammu", "--version"], Path("/")), "Gammu version").strip("[]")

    @contextmanager
    def running(self) -> Iterator[None]:
        yield

    def gammu(self, *arguments: str) -> str:
        return run(["gammu", "-c", "rc", *arguments], self.seat.folder)

    def send(self, text: str, *options: str, parts: int = 1) -> tuple[str, str]:
        said = self.gammu("sendsms", "TEXT", PERSON, *options, "-text", text)
        noted = self.seat.sent(text, parts=parts)
        return containing(said, "OK, message reference="), noted

    def identify(self) -> tuple[str, str]:
        said = containing(self.gammu("identify"), self.seat.imsi, self.seat.imei)
        return said, self.seat.silent()

    def short(self) -> tuple[str, str]:
        return self.send(self.seat.say(SHORT))

    def long(self) -> tuple[str, str]:
        text = self.seat.say(LONG)
        return self.send(text, "-len", str(len(text)), parts=3)

    def unicode(self) -> tuple[str, str]:
        return self.send(self.seat.say(UNICODE), "-unicode")

    def receive(self) -> tuple[str, str]:
        text = self.seat.say(COMING)
        noted = self.seat.text(text)
        return containing(self.gammu("getallsms"), PERSON, text), noted

    def list(self) -> tuple[str, str]:
        noted = [self.seat.text(self.seat.say(one)) for one in STORED]
        said = self.gammu("geteachsms")
        return containing(said, *map(self.seat.say, STORED)), ", ".join(noted)

    def delete(self) -> tuple[str, str]:
        self.gammu("deleteallsms", "1")
        if self.seat.stored():
            self.gammu("deleteallsms", "3")
        return containing(self.gammu("getallsms"), "0 SMS parts in 0 SMS sequences"), self.seat.emptied()

    def report(self) -> tuple[str, str]:
        text = self.seat.say(REPORT)
        (self.seat.folder / "batch").write_text(
            f'monitor 1\nsendsms TEXT {PERSON} -report -text "{text}"\nmonitor 1\n'
        )
        said = self.gammu("batch", "batch")
        noted = self.seat.noted("report", text)
        reference = f"Reference number     : {self.seat.reference(text)}"
        return containing(said, "SMS status report", reference, "Delivery status      : Delivered"), noted

    def ussd(self) -> tuple[str, str]:
        return containing(self.gammu("getussd", self.seat.code), self.seat.answer), self.seat.asked()


class GammuSmsd:
    """Debian's gammu-smsd with its files backend, gammu-smsd-inject and gammu-smsd-monitor."""

    name = "gammu-smsd"
    _FOLDERS = ("inbox", "outbox", "sent", "error")

    def __init__(self, seat: Seat) -> None:
        self.seat = seat
        for name in self._FOLDERS:
            (seat.folder / name).mkdir()
        paths = "".join(
            f"{key}path = {seat.folder / name}/\n"
            for key, name in zip(("inbox", "outbox", "sentsms", "errorsms"), self._FOLDERS, strict=True)
        )
        (seat.folder / "rc").write_text(
            f"[gammu]\ndevice = {seat.port}\nconnection = at\natgen_setcnmi = ,,,1\n"
            f"[smsd]\nservice = files\n{paths}logfile = {seat.folder / 'log'}\ndebuglevel = 1\n"
            "inboxformat = detail\noutboxformat = detail\ncommtimeout = 1\nreceivefrequency = 1\nstatusfrequency = 1\n"
            "loopsleep = 1\nchecksecurity = 0\ncheckbattery = 0\ndeliveryreport = log\n"
        )
        self.before: list[str] = []
        self.process: subprocess.Popen[str] | None = None

    @staticmethod
    def version() -> str:
        return containing(run(["gammu-smsd", "--version"], Path("/")), "Gammu-smsd version")

    @contextmanager
    def running(self) -> Iterator[None]:
        self.before = [self.seat.text(self.seat.say(one)) for one in STORED]
        with daemon(["gammu-smsd", "-c", "rc"], self.seat.folder) as self.process:
            yield

    def log(self, *wanted: str, times: int = 1) -> str:
        """The line of the log with all that is wanted, for the so-manieth time, waited for."""

        def find() -> str | None:
            path = self.seat.folder / "log"
            lines = path.read_text(errors="replace").splitlines() if path.exists() else []
            return next(
                iter([one for one in lines if all(part in one for part in wanted)][times - 1 :]), None
            )

        return wait_for(find, f"{wanted} in the log of gammu-smsd").partition("]: ")[2]

    def found(self, text: str) -> str:
        """The file of a received text: each part's in UCS2, in hex, over several lines."""
        file_with(self.seat.folder / "inbox", text, PERSON)
        return f"inbox has {text!r} from {PERSON}"

    def send(self, text: str, *options: str, parts: int = 1) -> tuple[str, str]:
        run(
            ["gammu-smsd-inject", "-c", "rc", "TEXT", PERSON, *options, "-text", text],
            self.seat.folder,
        )
        noted = self.seat.sent(text, parts=parts)
        return self.log("SMS sent on device", "status=0", f"reference={self.seat.reference(text)}"), noted

    def identify(self) -> tuple[str, str]:
        def find() -> str | None:
            command = ["gammu-smsd-monitor", "-c", "rc", "-n", "1", "-d", "0"]
            try:
                said = run(command, self.seat.folder)
            except Absent:  # it reads the daemon's shared memory, and may come before that is made
                return None
            return said if self.seat.imsi in said else None

        return containing(wait_for(find, "the IMSI"), self.seat.imei, self.seat.imsi), self.seat.silent()

    def list(self) -> tuple[str, str]:
        return "; ".join(self.found(self.seat.say(one)) for one in STORED), ", ".join(self.before)

    def delete(self) -> tuple[str, str]:
        return self.found(self.seat.say(STORED[1])), self.seat.emptied()

    def short(self) -> tuple[str, str]:
        return self.send(self.seat.say(SHORT))

    def long(self) -> tuple[str, str]:
        text = self.seat.say(LONG)
        return self.send(text, "-len", str(len(text)), parts=3)

    def unicode(self) -> tuple[str, str]:
        return self.send(self.seat.say(UNICODE), "-unicode")

    def receive(self) -> tuple[str, str]:
        noted = self.seat.text(self.seat.say(COMING))
        return self.found(self.seat.say(COMING)), noted

    def report(self) -> tuple[str, str]:
        text = self.seat.say(REPORT)
        self.send(text, "-report")
        noted = self.seat.noted("report", text)
        return self.log("Delivery report: Delivered", PERSON), noted

    def ussd(self) -> tuple[str, str]:
        """The daemon has no USSD; it lends its port to gammu between SIGUSR1 and SIGUSR2."""
        assert self.process is not None
        self.process.send_signal(signal.SIGUSR1)
        self.log("Terminating communication")
        said = containing(
            run(["gammu", "-c", "rc", "getussd", self.seat.code], self.seat.folder), self.seat.answer
        )
        self.process.send_signal(signal.SIGUSR2)
        self.log("Starting phone communication", times=2)
        return said, self.seat.asked()


class Smstools:
    """Debian's smstools: smsd with its folders."""

    name = "smstools"
    _FOLDERS = ("outgoing", "checked", "incoming", "failed", "sent", "report")

    def __init__(self, seat: Seat) -> None:
        self.seat = seat
        for name in self._FOLDERS:
            (seat.folder / name).mkdir()
        paths = "".join(f"{name} = {seat.folder / name}\n" for name in self._FOLDERS)
        code = encode(seat.code, PACKED) if seat.stick.ussd == PACKED else seat.code
        convert = {TEXT: 0, UCS2: 1, PACKED: 2}[seat.stick.ussd]
        memories = "primary_memory = SM\nsecondary_memory = SR\nsecondary_memory_max = 20\n"
        kept = (2, memories) if seat.keeps_reports else (1, "primary_memory = SM\n")
        (seat.folder / "smsd.conf").write_text(
            f"devices = GSM1\n{paths}logfile = {seat.folder / 'log'}\ninfofile = {seat.folder / 'info'}\n"
            f"pidfile = {seat.folder / 'pid'}\nloglevel = 7\ndelaytime = 1\nautosplit = 3\n"
            f"[GSM1]\ndevice = {seat.port}\ninit = AT+CNMI=2,1,0,{kept[0]},0\nincoming = high\nreport = no\n"
            f"{kept[1]}memory_start = {seat.stick.first_index}\n"
            f"check_network = 1\nrtscts = no\nregular_run_interval = 3\nussd_convert = {convert}\n"
            f'regular_run_cmd = AT+CUSD=1,"{code}",15\nregular_run_statfile = {seat.folder / "ussd"}\n'
        )
        self.before: list[str] = []

    @staticmethod
    def version() -> str:
        return containing(run(["smsd", "-V"], Path("/")), "Version").partition(",")[0]

    @contextmanager
    def running(self) -> Iterator[None]:
        self.before = [self.seat.text(self.seat.say(one)) for one in STORED]
        with daemon(["smsd", "-t", "-c", "smsd.conf"], self.seat.folder):
            yield

    def found(self, text: str) -> str:
        wanted = text.encode("utf-16-be") if not text.isascii() else text.encode()

        def find() -> bool:
            paths = (self.seat.folder / "incoming").glob("GSM1.*")
            files = [path.read_bytes() for path in paths if path.suffix != ".LOCK"]
            sender = f"From: {PERSON[1:]}".encode()
            return any(sender in one and (wanted in one or text.encode("latin-1") in one) for one in files)

        wait_for(find, f"{text!r} in incoming")
        return f"incoming has {text!r} from {PERSON[1:]}"

    def send(self, text: str, headers: str = "", parts: int = 1) -> tuple[str, str]:
        outgoing = self.seat.folder / "message"
        outgoing.write_text(f"To: {PERSON[1:]}\n{headers}\n{text}", encoding="utf-8")
        outgoing.replace(self.seat.folder / "outgoing" / f"{time.monotonic_ns()}")
        noted = self.seat.sent(text, parts=parts)
        said = file_with(self.seat.folder / "sent", f"\n{text}", "Sent: ")
        return containing(said, "Sent: "), noted

    def identify(self) -> tuple[str, str]:
        said = file_with(self.seat.folder / "incoming", f"IMEI: {self.seat.imei}", f"IMSI: {self.seat.imsi}")
        return containing(said, f"IMEI: {self.seat.imei}"), self.seat.silent()

    def list(self) -> tuple[str, str]:
        return "; ".join(self.found(self.seat.say(one)) for one in STORED), ", ".join(self.before)

    def delete(self) -> tuple[str, str]:
        return self.found(self.seat.say(STORED[1])), self.seat.emptied()

    def short(self) -> tuple[str, str]:
        return self.send(self.seat.say(SHORT))

    def long(self) -> tuple[str, str]:
        return self.send(self.seat.say(LONG), parts=3)

    def unicode(self) -> tuple[str, str]:
        return self.send(self.seat.say(UNICODE), "Alphabet: UTF-8\n")

    def receive(self) -> tuple[str, str]:
        noted = self.seat.text(self.seat.say(COMING))
        return self.found(self.seat.say(COMING)), noted

    def report(self) -> tuple[str, str]:
        text = self.seat.say(REPORT)
        self.send(text, "Report: yes\n")
        noted = self.seat.noted("report", text)
        wanted = f"Message_id: {self.seat.reference(text)}\n"
        said = file_with(self.seat.folder / "report", "SMS STATUS REPORT", wanted, "Status: 0,")
        return containing(said, "Status: 0,"), noted

    def ussd(self) -> tuple[str, str]:
        said = wait_for(
            lambda: next(
                (
                    line
                    for line in (self.seat.folder / "log").read_text(errors="replace").splitlines()
                    if self.seat.answer in line
                ),
                None,
            ),
            f"{self.seat.answer!r} in the log of smstools",
        )
        return said, self.seat.asked()


class Gsmmodem:
    """The unmodified python-gsmmodem-new in a process of its own (tests/gsmmodem_peer.py), spoken to in JSON lines."""

    name = "python-gsmmodem-new"

    def __init__(self, seat: Seat) -> None:
        self.seat = seat
        self.process: subprocess.Popen[str] | None = None
        self.answers: list[dict[str, Any]] = []

    @staticmethod
    def version() -> str:
        return run([sys.executable, "-c", _VERSION], Path("/")).strip()

    @contextmanager
    def running(self) -> Iterator[None]:
        peer = Path(__file__).with_name("gsmmodem_peer.py")
        with (self.seat.folder / "said").open("w") as said:
            self.process = subprocess.Popen(
                [sys.executable, str(peer), self.seat.port],
                env=ENVIRONMENT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=said,
                text=True,
                start_new_session=True,
            )
            reader = threading.Thread(target=self._read, args=(self.process,))
            reader.start()
            try:
                yield
            finally:
                if self.process.poll() is None:
                    os.killpg(self.process.pid, signal.SIGKILL)
                reader.join()
                end(self.process)

    def _read(self, process: subprocess.Popen[str]) -> None:
        assert process.stdout is not None
        for line in process.stdout:
            self.answers.append(json.loads(line))

    def ask(self, do: str, **values: object) -> dict[str, Any]:
        process = self.process
        assert process is not None
        assert process.stdin is not None
        process.stdin.write(json.dumps({"do": do, **values}) + "\n")
        process.stdin.flush()
        wait_for(lambda: self.answers or process.poll() is not None, f"an answer to {do}")
        if not self.answers:
            raise Absent(f"it ended: …{(self.seat.folder / 'said').read_text()[-400:]!r}")
        answer = self.answers.pop(0)
        if "error" in answer:
            raise Absent(f"{do}: {answer['error']}")
        return answer

    def send(self, text: str, parts: int = 1) -> tuple[str, str]:
        answer = self.ask("send", to=PERSON, text=text)
        noted = self.seat.sent(text, parts=parts)
        if answer["reference"] != self.seat.reference(text) and parts == 1:
            raise Absent(f"it says reference {answer['reference']}")
        return json.dumps(answer), noted

    def identify(self) -> tuple[str, str]:
        said = json.dumps(self.ask("identify"))
        return containing(said, self.seat.imsi, self.seat.imei), self.seat.silent()

    def short(self) -> tuple[str, str]:
        return self.send(self.seat.say(SHORT))

    def long(self) -> tuple[str, str]:
        return self.send(self.seat.say(LONG), parts=3)

    def unicode(self) -> tuple[str, str]:
        return self.send(self.seat.say(UNICODE))

    def receive(self) -> tuple[str, str]:
        self.ask("callback", on=True)
        noted = self.seat.text(self.seat.say(COMING))
        answer = self.ask("received")
        if (answer["number"], answer["text"]) != (PERSON, self.seat.say(COMING)):
            raise Absent(f"its callback was given {answer}")
        return json.dumps(answer), noted

    def list(self) -> tuple[str, str]:
        self.ask("callback", on=False)
        noted = [self.seat.text(self.seat.say(one)) for one in STORED]
        answer = self.ask("list")
        wanted = sorted(map(self.seat.say, STORED))
        if sorted(answer["texts"]) != wanted:
            raise Absent(f"it lists {answer['texts']}")
        return json.dumps(answer, ensure_ascii=False), ", ".join(noted)

    def delete(self) -> tuple[str, str]:
        return json.dumps(self.ask("delete")), self.seat.emptied()

    def report(self) -> tuple[str, str]:
        text = self.seat.say(REPORT)
        self.send(text)
        noted = self.seat.noted("report", text)
        answer = self.ask("report", reference=self.seat.reference(text))
        return containing(json.dumps(answer), '"delivered": true'), noted

    def ussd(self) -> tuple[str, str]:
        answer = self.ask("ussd", code=self.seat.code)
        spelled = encode(self.seat.answer, UCS2) if self.seat.stick.ussd == UCS2 else self.seat.answer
        if answer["text"] != spelled:
            raise Absent(f"it says {answer['text']!r}")
        return json.dumps(answer), self.seat.asked()


_VERSION = (
    "from importlib.metadata import version; print('python-gsmmodem-new', version('python-gsmmodem-new'))"
)
Program = type[Gammu] | type[GammuSmsd] | type[Smstools] | type[Gsmmodem]
PROGRAMS: tuple[Program, ...] = (Gammu, GammuSmsd, Smstools, Gsmmodem)
