"""The gateway as a real process, killed with -9 while it works, on both databases; judged by the dongles' ledger."""

from __future__ import annotations

from benchmarks.kills import run

CHECKS, KILLS = 60, 3


def test_kills_lose_repeat_and_swap_nothing(database_url: str) -> None:
    report = run(checks=CHECKS, kills=KILLS, lanes=4, seed=7, database=database_url)
    assert report.kills == KILLS
    assert report.accepted == sum(report.states.values()) == CHECKS
    assert report.clean, report
