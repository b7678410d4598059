"""Kill the gateway while it works, and count by the dongles' own ledger: lost, repeated, swapped.

The gateway runs as `bpjs-sms serve` on the ptys of a second process, `bpjs-sms simulate`; clients post checks with an
Idempotency-Key and count one as accepted when they have read its 202. `kill -9` comes at random moments.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field, fields
from pathlib import Path

import httpx

from app.simulation import balance_of, case_of

COMMAND = [sys.executable, "-m", "app"]
ANSWERED = {"found", "no_card", "doubled", "several", "interim"}  # cases with a balance, answered in time


@dataclass(slots=True)
class Report:
    """What the ledger and the gateway say of each other."""

    accepted: int = 0
    kills: int = 0
    seconds: float = 0.0
    lost: list[str] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    swapped: list[str] = field(default_factory=list)
    unanswered: list[str] = field(default_factory=list)
    uncertain: int = 0
    settled: Counter[str] = field(default_factory=Counter)
    states: Counter[str] = field(default_factory=Counter)
    roles: Counter[str] = field(default_factory=Counter)

    @property
    def clean(self) -> bool:
        return not (self.lost or self.repeated or self.swapped or self.unanswered)


def cards(count: int, rng: random.Random) -> list[str]:
    """Cards with a balance of their own: most found, some late, without the number, doubled, not found, unknown."""
    endings = ["92"] * 2 + ["97"] * 10 + ["95"] * 4 + ["90"] * 3 + ["91"] * 2
    made = []
    for n in range(count):
        ending = rng.choice(endings) if rng.random() < 0.25 else f"{rng.randrange(90):02d}"
        made.append(f"99{n:07d}{ending}")
    return made


class Gateway:
    """`bpjs-sms serve` as a process that can be killed and started again."""

    def __init__(self, folder: Path, lanes: int, database: str | None) -> None:
        self.folder = folder
        lines = [f'database = "{database}"'] if database else []
        lines += ["[server]", "port = 0", "[log]", 'level = "warning"']
        for lane in range(1, lanes + 1):
            port = folder / "ports" / f"xl-{lane}"
            lines += [
                "[[lanes]]",
                f'name = "xl-{lane}"',
                f'port = "{port}"',
                'pace = "0s"',
                "per_hour = 0",
                "per_day = 0",
            ]
        for service in ("bpjstk-balance", "bpjskes-status"):
            lines += [f"[service.{service}]", 'timeout = "4s"', 'late = "9s"', 'settle = "300ms"']
        (folder / "bpjs-sms.toml").write_text("\n".join(lines) + "\n")
        self.process: subprocess.Popen[bytes] | None = None
        self.url = ""

    def run(self, *arguments: str) -> str:
        done = subprocess.run(
            [*COMMAND, *arguments], cwd=self.folder, capture_output=True, check=True, text=True
        )
        return done.stdout

    def start(self, port: int) -> None:
        environment = {**os.environ, "BPJS_SMS_SERVER__PORT": str(port)}
        with open(self.folder / "serve.log", "ab") as log:
            self.process = subprocess.Popen(
                [*COMMAND, "serve"], cwd=self.folder, stderr=log, stdout=log, env=environment
            )
        self.url = f"http://127.0.0.1:{port}"
        until = time.monotonic() + 20
        with httpx.Client() as client:
            while time.monotonic() < until:
                with suppress(httpx.HTTPError):
                    if client.get(f"{self.url}/health/live").status_code == 200:
                        return
                time.sleep(0.02)
        raise RuntimeError(f"the gateway did not start: {(self.folder / 'serve.log').read_text()[-2000:]}")

    def kill(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.process.terminate()
            self.process.wait(20)


def free_port() -> int:
    """A port of loopback that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def run(
    *,
    checks: int = 1000,
    kills: int = 10,
    lanes: int = 4,
    seed: int = 1,
    clients: int = 3,
    database: str | None = None,
) -> Report:
    """One whole trial; the report says what was lost, repeated or swapped (by card)."""
    rng = random.Random(seed)
    report = Report()
    with tempfile.TemporaryDirectory(prefix="bpjs-kills-") as name:
        folder = Path(name)
        simulator = subprocess.Popen(
            [
                *COMMAND,
                "simulate",
                "--pty",
                str(folder / "ports"),
                "--sims",
                str(lanes),
                "--radio",
                "200ms",
                "--reply-after",
                "150ms",
                "--late",
                "6s",
            ],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        gateway = Gateway(folder, lanes, database)
        try:
            until = time.monotonic() + 10
            while not (folder / "ports" / f"xl-{lanes}").exists() and time.monotonic() < until:
                time.sleep(0.05)
            key = json.loads(gateway.run("keys", "create", "kills", "--scope", "*", "--json"))["key"]
            _trial(report, gateway, cards(checks, rng), kills, clients, key, rng)
            ledger = [
                json.loads(line) for line in (folder / "ports" / "ledger.ndjson").read_text().splitlines()
            ]
            _judge(report, ledger)
        finally:
            gateway.stop()
            simulator.terminate()
            simulator.wait(10)
    return report


_found: dict[str, dict[str, object]] = {}


def _trial(
    report: Report,
    gateway: Gateway,
    numbers: list[str],
    kills: int,
    clients: int,
    key: str,
    rng: random.Random,
) -> None:
    port = free_port()
    gateway.start(port)
    accepted: dict[str, str] = {}
    started = time.monotonic()
    stop = threading.Event()
    pace = min(0.02, 20.0 / len(numbers) * clients)

    def post(mine: list[str]) -> None:
        headers = {"Authorization": f"Bearer {key}"}
        with httpx.Client(headers=headers, timeout=5) as client:
            for number in mine:
                body = {"service": "bpjstk-balance", "fields": {"kpj": number}, "reference": number}
                while not stop.is_set():
                    with suppress(httpx.HTTPError):
                        answer = client.post(
                            f"{gateway.url}/v1/checks", json=body, headers={"Idempotency-Key": f"k-{number}"}
                        )
                        if answer.status_code == 202:
                            accepted[number] = answer.json()["id"]
                            break
                        if answer.status_code < 500:
                            raise AssertionError(f"{answer.status_code}: {answer.text}")
                    time.sleep(0.05)
                time.sleep(pace * rng.random())

    threads = [threading.Thread(target=post, args=(numbers[n::clients],)) for n in range(clients)]
    for thread in threads:
        thread.start()
    for _ in range(kills):
        time.sleep(rng.uniform(0.5, 3.0))
        gateway.kill()
        report.kills += 1
        gateway.start(port)
    for thread in threads:
        thread.join()
    report.accepted = len(accepted)
    _found.clear()
    headers = {"Authorization": f"Bearer {key}"}
    with httpx.Client(headers=headers, timeout=30) as client:
        until = time.monotonic() + 300
        while time.monotonic() < until:
            open_states = "queued,submitting,uncertain,awaiting_reply"
            left = client.get(f"{gateway.url}/v1/checks", params={"state": open_states, "limit": 1}).json()[
                "items"
            ]
            if not left:
                break
            time.sleep(0.25)
        time.sleep(4.0)  # late answers of the last ones
        cursor: str | None = None
        while True:
            page = client.get(
                f"{gateway.url}/v1/checks", params={"limit": 500, **({"cursor": cursor} if cursor else {})}
            ).json()
            for item in page["items"]:
                _found[item["reference"]] = item
            cursor = page["next"]
            if cursor is None:
                break
    for number, check_id in accepted.items():
        item = _found.get(number)
        if item is None or item["id"] != check_id:
            report.lost.append(number)
    report.seconds = time.monotonic() - started


def _judge(report: Report, ledger: list[dict[str, object]]) -> None:
    sent = Counter(_card_of(str(e["text"])) for e in ledger if e["kind"] == "submitted")
    report.repeated = [f"{number} x{count}" for number, count in sent.items() if count > 1]
    for number, item in _found.items():
        record = item["record"] or {}
        assert isinstance(record, dict)
        state = str(item["state"])
        report.states[state] += 1
        replies = item["replies"]
        assert isinstance(replies, list)
        report.roles.update(reply["role"] for reply in replies)
        if "balance" in record and record["balance"] != balance_of(number):
            report.swapped.append(number)
        history = item["history"]
        assert isinstance(history, list)
        if any(move["to"] == "uncertain" for move in history):
            report.uncertain += 1
            settled = next(
                (f"{m['to']} ({m['why'] or 'reply'})" for m in history if m["from"] == "uncertain"), "open"
            )
            report.settled[settled] += 1
        if case_of(number) in ANSWERED and sent[number] and (state != "answered" or "balance" not in record):
            report.unanswered.append(f"{number} {state} {item['outcome']}")
        if not sent[number] and state not in ("no_reply", "failed"):
            report.lost.append(f"{number} {state}, but never on the air")


def _card_of(text: str) -> str:
    return text.removeprefix("BALANCE#").removesuffix("#")


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--checks", type=int, default=1000)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--lanes", type=int, default=4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--database", help="a PostgreSQL address; SQLite without")
    options = parser.parse_args()
    report = run(**vars(options))
    values = {f.name: getattr(report, f.name) for f in fields(report)}
    shown = {name: value[:20] if isinstance(value, list) else value for name, value in values.items()}
    print(f"accepted {report.accepted}, kills {report.kills}, {report.seconds:.0f} s")
    print(
        f"lost {len(report.lost)}, repeated {len(report.repeated)}, swapped {len(report.swapped)}, ", end=""
    )
    print(f"answered in time but not so here {len(report.unanswered)}, uncertain {report.uncertain}")
    print(json.dumps(shown))
    return 0 if report.clean else 1


if __name__ == "__main__":
    sys.exit(main())
