"""A SIM that a lane holds texts itself when it is asked: once, journalled before, and what comes back is nobody's to attribute."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from lanes_playing import Killed, LaneLook, Stage, card, staged
from test_crash_points import Death

from app.store import events, loops, requests
from app.store import tables as t
from app.store.requests import Request

MARK = f"{loops.MARK}0a1b2c3d"
OPEN = {"open_to_all": True, "per_day": 10}
OWN = "+6281700000001"


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """Anybody may text us, so the phone desk would answer what it is shown."""
    with staged(tmp_path, phone=OPEN) as one:
        one.run(seconds=1)
        yield one


def ask(stage: Stage, **arguments: Any) -> str:
    return stage.store.write(
        lambda tx: requests.ask(tx, "xl-1", "loop", {"mark": MARK, **arguments}, "doctor", stage.clock.now)
    )


def look(stage: Stage, request_id: str) -> Request:
    return stage.store.read(lambda tx: requests.look(tx, request_id))


def ended(stage: Stage, request_id: str, seconds: float = 30) -> Request:
    stage.run(until=lambda: look(stage, request_id).state in ("done", "refused"), seconds=seconds)
    return look(stage, request_id)


def detail(request: Request) -> str:
    assert request.state == "refused"
    assert request.answer is not None
    return str(request.answer["detail"])


def sent(stage: Stage) -> list[str]:
    return [entry.text for entry in stage.ledger("submitted")]


def test_it_comes_back_on_both_databases(tmp_path: Path, database_url: str) -> None:
    with staged(tmp_path, url=database_url) as stage:
        stage.run(seconds=1)
        assert ended(stage, ask(stage)).state == "done"
        assert [message.reason for message in stage.messages()] == ["loop"]


def test_it_comes_back_and_tells_what_it_took(stage: Stage) -> None:
    found = ended(stage, ask(stage))
    assert found.state == "done"
    assert found.answer is not None
    assert found.answer["storage"] == "SM"
    assert 0 <= found.answer["delay_seconds"] < 10
    assert abs(found.answer["centre_ahead_seconds"]) <= 10
    assert found.arguments == {}
    assert OWN.lstrip("+") not in str(found.answer)
    assert sent(stage) == [MARK]
    stage.all_kept()
    (submission,) = stage.rows(t.submissions)
    assert (submission.kind, submission.in_flight) == ("loop", False)
    assert submission.state in ("sent", "delivered")


def test_nobody_is_asked_to_attribute_it_and_no_phone_is_answered(stage: Stage) -> None:
    ended(stage, ask(stage))
    stage.run(seconds=60)
    (message,) = stage.messages()
    assert (message.state, message.reason, message.text) == ("phone", "loop", MARK)
    kinds = [event.kind for event in events.read_feed(stage.store, 0, 100)]
    assert "message.unmatched" not in kinds
    assert sent(stage) == [MARK]
    assert stage.rows(t.phone_asks) == []


def test_the_same_words_of_anybody_else_are_a_phones(stage: Stage) -> None:
    ended(stage, ask(stage))
    stage.text(MARK, sender="+6281299900009")
    stage.run(seconds=10)
    assert stage.messages()[-1].reason != "loop"


def test_other_words_of_the_own_number_are_a_phones(stage: Stage) -> None:
    ended(stage, ask(stage))
    stage.text(f"{loops.MARK}ffffffff", sender=OWN)
    stage.run(seconds=10)
    assert stage.messages()[-1].reason != "loop"


def test_a_number_that_the_sim_does_not_know_is_named(stage: Stage) -> None:
    stage.store.write(lambda tx: tx.execute(t.sims.update().values(own_number_sealed=None)))
    assert "--number" in detail(ended(stage, ask(stage)))
    assert sent(stage) == []
    assert ended(stage, ask(stage, number="081700000001")).state == "done"


def test_what_went_out_and_does_not_come_back_stays_taken(stage: Stage) -> None:
    stage.network.interfere(lambda delivery: [])
    found = ended(stage, ask(stage), seconds=200)
    assert found.state == "taken"
    assert sent(stage) == [MARK]


@pytest.mark.parametrize("number", ["12", "nobody", "12345678901234567890"])
def test_what_is_no_number_is_refused_and_nothing_goes_out(stage: Stage, number: str) -> None:
    ended(stage, ask(stage, number=number))
    assert sent(stage) == []


def test_a_paused_lane_and_one_whose_budget_is_used_up_send_nothing(tmp_path: Path) -> None:
    with staged(tmp_path, looks={"xl-1": LaneLook(per_hour=1, pace=timedelta(seconds=20))}) as stage:
        stage.run(seconds=1)
        stage.answered(stage.ask(card(1)))
        assert "per_hour" in detail(ended(stage, ask(stage)))
        stage.store.write(lambda tx: tx.execute(t.lanes.update().values(paused=True)))
        assert "lanes resume xl-1" in detail(ended(stage, ask(stage)))
        assert stage.rows(t.submissions, t.submissions.c.kind == "loop") == []


def test_it_counts_against_the_budget(tmp_path: Path) -> None:
    with staged(tmp_path, looks={"xl-1": LaneLook(per_hour=1)}) as stage:
        stage.run(seconds=1)
        ended(stage, ask(stage))
        check = stage.ask(card(1))
        assert not stage.run(until=stage.ended(check), minutes=30)
        assert sent(stage) == [MARK]


@pytest.mark.parametrize("kind", ["cmgs", "pdu", "ctrl-z", "cmgd", "commit"])
def test_a_lane_that_dies_at_any_step_never_sends_it_again(tmp_path: Path, kind: str) -> None:
    for nth in range(1, 100):
        (folder := tmp_path / str(nth)).mkdir()
        with staged(folder) as stage:
            stage.run(seconds=1)
            request_id = ask(stage)
            stage.told = Death(kind, nth)
            died = False
            try:
                stage.run(seconds=12)
            except Killed:
                died = True
                stage.die()
                stage.boot()
                stage.run(seconds=12)
            stage.told = lambda step: None
            found = look(stage, request_id)
            assert found.state in ("done", "refused")
            assert len(sent(stage)) <= 1
            assert found.state == "refused" or sent(stage) == [MARK]
            assert {row.state for row in stage.rows(t.submissions)} <= {"sent", "delivered", "uncertain"}
            stage.all_kept()
            assert [m.reason for m in stage.messages()] == ["loop"] * len(sent(stage))
        if not died:
            break
    assert nth > 1
