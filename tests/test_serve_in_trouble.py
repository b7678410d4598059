"""`serve` as a process: signals, a disk that takes nothing any more, log lines that nobody takes."""

from __future__ import annotations

import fcntl
import json
import os
import re
import resource
import signal
import sqlite3
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import IO

import httpx
import psycopg
import pytest
from http_serving import serving as http_serving

from app.runtime import LogLines

ROOT = Path(__file__).parent.parent
PATIENCE = 30.0  # seconds for anything that must come
KPJ = "99012345678"
THREADS = 40  # that wait for the database at once (anyio's default)
READERS = THREADS + 10


def until(true: Callable[[], object]) -> None:
    """Look again and again until it is true."""
    end, pause = time.monotonic() + PATIENCE, threading.Event()
    while not true():
        assert time.monotonic() < end
        pause.wait(0.02)


class Serving:
    """`bpjs-sms serve --simulated 1` in a folder; `log` collects what it says where that is read."""

    def __init__(self, process: subprocess.Popen[str], http: httpx.Client) -> None:
        self.process = process
        self.http = http
        self.log: list[str] = []

    def ready(self) -> bool:
        with suppress(httpx.TransportError):
            return self.http.get("/health/ready").status_code == 200
        return False

    def ask(self, kpj: str) -> httpx.Response:
        body = {"service": "bpjstk-balance", "fields": {"kpj": kpj}}
        return self.http.post("/v1/checks", json=body, headers={"Prefer": "wait=30"})

    def said(self, words: str) -> int:
        return sum(words in line for line in self.log)

    def end(self, number: signal.Signals) -> int:
        self.process.send_signal(number)
        return self.process.wait(PATIENCE)


def heed_signals() -> None:
    """Whoever started the tests may ignore what ends a program."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


@contextmanager
def serving(folder: Path, stderr: int | IO[bytes], *before: str) -> Iterator[Serving]:
    """The key and the URL stand on its standard output. `before`: a command that runs it."""
    command = [
        *before,
        sys.executable, "-m", "app", "--json", "serve", "--simulated", "1", "--port", "0", "--with-key",
    ]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        command,
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=stderr,
        text=True,
        preexec_fn=None if before else heed_signals,
    ) as process:
        try:
            assert process.stdout is not None
            offered = json.loads("".join(iter(process.stdout.readline, "}\n")) + "}")
            headers = {"Authorization": f"Bearer {offered['key']}"}
            with httpx.Client(base_url=offered["url"], headers=headers, timeout=60) as http:
                one = Serving(process, http)
                until(one.ready)
                yield one
        finally:
            process.kill()


def test_a_full_disk_loses_nothing_and_is_told_of_once_and_a_closed_terminal_ends_it_well(
    tmp_path: Path,
) -> None:
    with serving(tmp_path, subprocess.PIPE) as one:
        assert one.process.stderr is not None
        reader = threading.Thread(target=lambda: one.log.extend(one.process.stderr or ()))
        reader.start()
        assert one.ask(KPJ).json()["outcome"] == "found"

        def file_size(limit: int) -> None:
            """The most that the process may write into a file: 0 is a disk without space."""
            resource.prlimit(one.process.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))

        file_size(0)
        until(lambda: not one.ready())  # the lease has run out
        refused = one.ask("99012345601")
        assert (refused.status_code, refused.json()["code"]) == (503, "unavailable")
        assert one.http.get("/health/live").status_code == 200
        until(lambda: one.said("a step failed") and one.said("the lease could not be renewed"))
        file_size(resource.RLIM_INFINITY)
        until(one.ready)
        until(lambda: one.said("over: the lease") and one.said("over: a step"))
        assert one.said("[error") == 2
        assert one.ask("99012345602").json()["outcome"] == "found"
        assert one.end(signal.SIGHUP) == 0  # the terminal was closed: as if it were told to end
        reader.join(PATIENCE)
    with closing(sqlite3.connect(tmp_path / "bpjs-sms.db")) as database:
        lanes = list(database.execute("SELECT reason, owner FROM lanes"))
    assert lanes == [("the gateway is not running", None)]


def test_under_nohup_the_end_of_the_terminal_is_no_end_and_a_log_that_takes_nothing_no_matter(
    tmp_path: Path,
) -> None:
    with open("/dev/full", "wb") as full, serving(tmp_path, full, "nohup") as one:
        one.process.send_signal(signal.SIGHUP)
        assert one.ask(KPJ).json()["outcome"] == "found"
        assert one.end(signal.SIGINT) == 0


def test_what_hangs_keeps_the_process_no_longer_than_that(tmp_path: Path) -> None:
    script = (
        "import signal, threading, uvicorn\n"
        "from app.runtime import HttpServer\n"
        "HttpServer(uvicorn.Config(None), last=0.1).handle_exit(signal.SIGTERM, None)\n"
        "threading.Event().wait()\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert (done.returncode, "cut off" in done.stdout) == (1, True)


def test_whether_it_is_ready_is_told_while_the_database_hangs(tmp_path: Path, postgres_server: str) -> None:
    name = f"t{uuid.uuid4().hex}"
    address = postgres_server.replace("+psycopg", "")
    with psycopg.connect(f"{address}/postgres", autocommit=True) as admin:
        admin.execute(f'CREATE DATABASE "{name}"')
        with (
            http_serving(tmp_path, database=f"{postgres_server}/{name}") as gateway,
            gateway.client("lanes:read") as http,
            ThreadPoolExecutor(READERS) as pool,
            psycopg.connect(f"{address}/{name}") as other,
        ):
            assert http.get("/v1/lanes").status_code == 200
            other.execute("LOCK TABLE lanes")
            waiting = [pool.submit(http.get, "/v1/lanes") for _ in range(READERS)]
            blocked = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
            until(lambda: admin.execute(blocked).fetchall()[0][0] >= THREADS)
            assert http.get("/health/ready").status_code == 200
            assert not any(one.done() for one in waiting)
            other.rollback()
            assert {one.result().status_code for one in waiting} == {200}
        admin.execute(f'DROP DATABASE "{name}" WITH (FORCE)')


@pytest.mark.parametrize("gone", [True, False])
def test_lines_that_nobody_takes_are_left_out(gone: bool) -> None:
    ours, theirs = os.pipe()
    lines = LogLines(theirs)
    if gone:
        os.close(ours)
        lines.write("nobody reads this\n")
        os.close(theirs)
        return
    size = fcntl.fcntl(theirs, fcntl.F_GETPIPE_SZ)
    for number in range(
        size // 1000 + 3
    ):  # more than a pipe holds: without a bound the last would wait for ever
        lines.write(f"{number:0999d}\n")
    taken = os.read(ours, size)
    assert re.match(rb"0+\n0+1\n", taken)
    lines.write("again\n")
    assert os.read(ours, size).endswith(b"again\n")
    os.close(ours)
    os.close(theirs)
