"""Milliseconds a check beyond the radio, and checks a second: 1, 4 and 16 lanes on the dongles of another process.

No radio time, replies at once, shipped durability, database on disk; pace, caps and `settle` are 0. A check counts from its
202 to its answered state; in steady state each lane has one in flight.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from datetime import datetime
from pathlib import Path

import httpx
from kills import COMMAND, free_port


def settings(folder: Path, lanes: int, port: int, database: str | None) -> None:
    """A settings file without pace, caps or settle."""
    lines = [f'database = "{database}"'] if database else []
    lines += ["[server]", f"port = {port}", "[log]", 'level = "warning"']
    for lane in range(1, lanes + 1):
        lines += [
            "[[lanes]]",
            f'name = "xl-{lane}"',
            f'port = "{folder}/ports/xl-{lane}"',
            'pace = "0s"',
            "per_hour = 0",
        ]
        lines += ["per_day = 0", "status_reports = false"]
    for service in ("bpjstk-balance", "bpjskes-status"):
        lines += [f"[service.{service}]", 'settle = "0s"']
    (folder / "bpjs-sms.toml").write_text("\n".join(lines) + "\n")


def wait_for(client: httpx.Client, path: str) -> None:
    until = time.monotonic() + 30
    while time.monotonic() < until:
        try:
            if client.get(path).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.05)
    raise RuntimeError(f"{path} did not come up")


def measure(lanes: int, checks: int, database: str | None) -> dict[str, float]:
    """One gateway, one batch of `checks` cards: what each exchange took, and all together."""
    with tempfile.TemporaryDirectory(prefix="bpjs-bench-") as name:
        folder, port = Path(name), free_port()
        settings(folder, lanes, port, database)
        simulator = subprocess.Popen(
            [
                *COMMAND,
                "simulate",
                "--pty",
                str(folder / "ports"),
                "--sims",
                str(lanes),
                "--reply-after",
                "0s",
            ],
            cwd=folder,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        while not (folder / "ports" / f"xl-{lanes}").exists():
            time.sleep(0.05)
        key = json.loads(
            subprocess.run(
                [*COMMAND, "keys", "create", "bench", "--scope", "*", "--json"],
                cwd=folder,
                capture_output=True,
                check=True,
            ).stdout
        )["key"]
        gateway = subprocess.Popen([*COMMAND, "serve"], cwd=folder)
        try:
            with httpx.Client(
                base_url=f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {key}"}, timeout=60
            ) as client:
                wait_for(client, "/health/ready")
                time.sleep(1.0)
                return _drive(client, lanes, checks)
        finally:
            gateway.terminate()
            gateway.wait(20)
            simulator.terminate()
            simulator.wait(10)


def _drive(client: httpx.Client, lanes: int, checks: int) -> dict[str, float]:
    rows = "kpj\n" + "\n".join(f"99{n:07d}{n % 80:02d}" for n in range(checks)) + "\n"
    answer = client.post(
        "/v1/batches",
        params={"service": "bpjstk-balance"},
        content=rows.encode(),
        headers={"Content-Type": "text/csv"},
    )
    batch = answer.raise_for_status().json()["id"]
    until = time.monotonic() + 300
    while time.monotonic() < until:
        found = client.get(f"/v1/batches/{batch}").json()
        if found["state"] == "done":
            break
        time.sleep(0.5)
    spans, starts, ends = [], [], []
    cursor = None
    while True:
        page = client.get(
            "/v1/checks", params={"batch": batch, "limit": 500, **({"cursor": cursor} if cursor else {})}
        ).json()
        for item in page["items"]:
            if item["state"] == "answered":
                begun, done = _time(item["submitted_at"]), _time(item["answered_at"])
                spans.append((done - begun) * 1000)
                starts.append(begun)
                ends.append(done)
        cursor = page["next"]
        if cursor is None:
            break
    spans.sort()
    seconds = max(ends) - min(starts)
    return {
        "lanes": lanes,
        "checks": len(spans),
        "ms_median": round(statistics.median(spans), 2),
        "ms_p99": round(spans[int(len(spans) * 0.99) - 1], 2),
        "per_second": round(len(spans) / seconds, 1),
        "lane_ms_per_check": round(seconds * 1000 * lanes / len(spans), 2),
    }


def _time(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--lanes", type=int, nargs="*", default=[1, 4, 16])
    parser.add_argument(
        "--checks", type=int, default=0, help="checks a run; by default 400 for one lane, more for more"
    )
    parser.add_argument("--database", help="a PostgreSQL address; SQLite on disk without")
    options = parser.parse_args()
    results = [
        measure(lanes, options.checks or min(4000, 400 + 200 * lanes), options.database)
        for lanes in options.lanes
    ]
    columns = ["lanes", "checks", "ms_median", "ms_p99", "per_second", "lane_ms_per_check"]
    print("  ".join(f"{name:>17}" for name in columns))
    for result in results:
        print("  ".join(f"{result[name]:>17}" for name in columns))
    print(json.dumps(results))
    return 0


if __name__ == "__main__":
    sys.exit(main())
