"""One lane against the simulated dongle: opening, sending, silence, reading, budgets, a full disk."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import serial
from lanes_playing import AFTER, STATUS, LaneLook, Stage, card, make_sim, staged
from sqlalchemy import text

from app.domain.states import State
from app.store import lanes
from app.store import tables as t

QUICK = LaneLook(status_reports=False, cmgs_timeout=timedelta(milliseconds=400))
SECOND = timedelta(seconds=1)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with staged(tmp_path) as one:
        yield one


@pytest.fixture
def silent(tmp_path: Path) -> Iterator[Stage]:
    """A lane without status reports that soon gives a +CMGS up."""
    with staged(tmp_path, looks={"xl-1": QUICK}) as one:
        yield one


# -- opening ------------------------------------------------------------------------------------------------------


def test_a_question_goes_out_and_its_answer_comes_back(tmp_path: Path, database_url: str) -> None:
    with staged(tmp_path, url=database_url) as stage:
        one = stage.ask(card(1))
        view = stage.answered(one)
        assert stage.states(one) == ["queued", "submitting", "awaiting_reply", "answered"]
        assert (view.evidence, view.late, view.attempts, view.cost) == ("echo", False, 1, 350)
        assert view.record is not None
        assert view.record["kpj"] == card(1)
        lane = stage.lane()
        assert (lane.state, lane.registration, lane.operator, lane.signal) == ("registered", "home", "XL", 20)
        assert (lane.model, lane.imei, lane.own_number) == ("E173", "990000000000001", "+6281700000001")
        assert lane.last_sent_at == view.submitted_at
        assert lane.last_heard_at == view.answered_at
        assert not stage.dongles["xl-1"].sim.storage.slots
        assert not stage.dongles["xl-1"].sr.slots
        stage.judge()
        stage.all_kept()


def test_a_missing_port_is_said_and_opened_when_it_is_there(stage: Stage) -> None:
    dongle = stage.dongles["xl-1"]
    stage.pull()
    stage.run(minutes=2)
    lane = stage.lane()
    assert lane.state == "offline"
    assert lane.reason is not None
    assert "plug the stick in" in lane.reason
    ready, why = stage.workers["xl-1"].ready
    assert (ready, why) == (False, lane.reason)
    dongle.plug(stage.clock.now)
    assert stage.run(until=lambda: stage.workers["xl-1"].ready[0], seconds=2)
    assert stage.lane().reason is None


def test_a_busy_port_is_said_and_taken_when_it_is_free(tmp_path: Path) -> None:
    with staged(tmp_path, boot=False) as stage:
        other = serial.serial_for_url(f"simulated://{stage.port('xl-1')}")
        stage.boot()
        stage.run(seconds=30)
        lane = stage.lane()
        assert lane.state == "offline"
        assert lane.reason is not None
        assert "in use by another program" in lane.reason
        other.close()
        assert stage.run(until=lambda: stage.workers["xl-1"].ready[0], seconds=2)


def test_what_is_no_modem_is_said_and_tried_ever_less_often(tmp_path: Path) -> None:
    with staged(tmp_path, looks={"xl-1": LaneLook(port="loop://")}) as stage:
        pauses = []
        for _ in range(3):
            due = stage.workers["xl-1"].step(stage.clock.now)
            pauses.append(due - stage.clock.now)
            stage.clock.now = due
        assert pauses == [SECOND, 2 * SECOND, 4 * SECOND]
        assert stage.lane().state == "offline"
        assert "nothing answers AT" in str(stage.lane().reason)


def test_a_pin_opens_the_sim(tmp_path: Path) -> None:
    sim = make_sim(pin="4711")
    with staged(tmp_path, looks={"xl-1": LaneLook(pin="4711")}, sims={"xl-1": sim}) as stage:
        stage.answered(stage.ask(card(1)))
        for _ in range(2):  # a right one may be offered again and again
            stage.die()
            stage.pull()
            stage.dongles["xl-1"].plug(stage.clock.now)
            stage.boot()
            assert stage.run(until=lambda: stage.workers["xl-1"].ready[0], seconds=2)


def test_a_wrong_pin_is_offered_once_even_over_restarts(tmp_path: Path) -> None:
    sim = make_sim(pin="4711")
    with staged(tmp_path, looks={"xl-1": LaneLook(pin="9999")}, sims={"xl-1": sim}) as stage:
        for _ in range(3):
            stage.run(minutes=3)
            assert stage.lane().state == "locked"
            assert "pin_file" in str(stage.lane().reason)
            assert sim.pin_left == 2
            stage.die()
            stage.boot()
        stage.looks["xl-1"].pin = "4711"
        stage.die()
        stage.boot()
        assert stage.run(until=lambda: stage.workers["xl-1"].ready[0], seconds=2)


def test_a_sim_is_offered_a_wrong_pin_once_in_whichever_lanes_it_is_tried(tmp_path: Path) -> None:
    looks = {name: LaneLook(pin="9999") for name in ("xl-1", "xl-2")}
    sims = {"xl-1": make_sim(1, pin="4711"), "xl-2": make_sim(2, pin="9999")}
    with staged(tmp_path, looks=looks, sims=sims) as stage:
        stage.run(seconds=5)
        assert [stage.lane(name).state for name in looks] == ["locked", "registered"]
        assert sims["xl-1"].pin_left == 2
        for name in looks:
            stage.pull(name)
        one, two = stage.dongles["xl-1"], stage.dongles["xl-2"]
        one.sim, two.sim = two.sim, one.sim
        for dongle in (one, two):
            dongle.plug(stage.clock.now)
        stage.run(minutes=1)
        assert [stage.lane(name).state for name in looks] == ["registered", "locked"]
        assert sims["xl-1"].pin_left == 2


def test_a_sim_without_its_pin_says_what_to_set(tmp_path: Path) -> None:
    with staged(tmp_path, sims={"xl-1": make_sim(pin="4711")}) as stage:
        stage.run(minutes=1)
        assert stage.lane().state == "locked"
        assert "set pin_file" in str(stage.lane().reason)
        assert stage.dongles["xl-1"].sim.pin_left == 3


def test_nothing_is_sent_while_the_network_is_searched(stage: Stage) -> None:
    dongle = stage.dongles["xl-1"]
    dongle.turn(stage.clock.now, registration=2)
    one = stage.ask(card(1))
    stage.run(seconds=30)
    assert stage.lane().state == "searching"
    assert "searching" in str(stage.lane().reason)
    assert stage.state(one) is State.QUEUED
    dongle.turn(stage.clock.now, registration=5)
    stage.answered(one, seconds=15)
    assert stage.lane().registration == "roaming"


# -- refused ------------------------------------------------------------------------------------------------------


def test_a_retryable_refusal_is_tried_five_times_with_growing_pauses(stage: Stage) -> None:
    stage.dongles["xl-1"].knobs.turn({"submit_errors": 99, "submit_error": 42})
    one = stage.ask(card(1))
    assert stage.run(until=stage.ended(one), minutes=10)
    view = stage.check(one)
    assert (view.state, view.error_code, view.error_blame) == (State.FAILED, "congestion", "network")
    assert stage.states(one) == ["queued", *["submitting", "queued"] * 4, "submitting", "failed"]
    tries = [move.at for move in view.history if move.target == "submitting"]
    pauses = [round((b - a).total_seconds()) for a, b in itertools.pairwise(tries)]
    assert all(10 * 2**n <= pause <= 10 * 2**n + 6 for n, pause in enumerate(pauses)), pauses
    assert (view.attempts, view.cost) == (5, 0)
    assert stage.asked() == []


def test_after_refusals_it_may_still_go_out(stage: Stage) -> None:
    stage.dongles["xl-1"].knobs.turn({"submit_errors": 2, "submit_error": 192})
    one = stage.ask(card(1))
    view = stage.answered(one, minutes=2)
    assert (view.attempts, view.error_code, len(stage.asked())) == (3, None, 1)


@pytest.mark.parametrize(("error", "code", "blame"), [(8, "operator_determined_barring", "sim"), (21, "short_message_transfer_rejected", "network"), (330, "smsc_address_unknown", "sim")])  # fmt: skip
@pytest.mark.parametrize("where", ["submit_errors", "prompt_errors"])
def test_a_refusal_for_good_fails_at_once(
    stage: Stage, error: int, code: str, blame: str, where: str
) -> None:
    stage.dongles["xl-1"].knobs.turn({where: 1, "submit_error": error})
    one, two = stage.ask(card(1)), stage.ask(card(2))
    view = stage.check(one) if stage.run(until=stage.ended(one), seconds=5) else None
    assert view is not None
    assert (view.state, view.error_code, view.error_blame, view.attempts) == (State.FAILED, code, blame, 1)
    assert view.error_detail
    stage.answered(two)
    assert stage.asked() == [f"BALANCE#{card(2)}#"]


@pytest.mark.parametrize("error", [332, 500])
def test_an_error_that_leaves_it_open_is_uncertain_and_not_repeated(stage: Stage, error: int) -> None:
    stage.dongles["xl-1"].knobs.turn({"submit_errors": 1, "submit_error": error})
    one = stage.ask(card(1))
    assert stage.run(until=stage.ended(one), minutes=6)
    assert stage.states(one) == ["queued", "submitting", "uncertain", "no_reply"]
    assert stage.asked() == []


def test_a_lost_prompt_is_surely_nothing_sent(tmp_path: Path) -> None:
    with staged(tmp_path) as stage:
        worker = stage.workers["xl-1"]
        worker.step(stage.clock.now)
        stage.dongles["xl-1"].knobs.bare_prompt = True
        view = stage.answered(stage.ask(card(1)))
        assert view.attempts == 1


# -- silence ------------------------------------------------------------------------------------------------------


def test_silence_is_settled_by_the_reply(silent: Stage) -> None:
    silent.dongles["xl-1"].knobs.silence = 1
    one = silent.ask(card(1))
    silent.answered(one)
    assert silent.states(one) == ["queued", "submitting", "uncertain", "answered"]
    silent.judge()


def test_silence_is_settled_by_a_late_reference(silent: Stage) -> None:
    silent.dongles["xl-1"].knobs.turn({"late_cmgs": 3, "answers_while_sending": True})
    one = silent.ask(card(1))
    silent.turn()
    assert silent.state(one) is State.UNCERTAIN
    silent.answered(one)
    assert silent.states(one) == ["queued", "submitting", "uncertain", "awaiting_reply", "answered"]
    silent.judge()


def test_a_late_reference_settles_the_submission_it_belongs_to_and_no_later_one(silent: Stage) -> None:
    knobs = silent.dongles["xl-1"].knobs
    knobs.turn({"late_cmgs": 3, "answers_while_sending": True})
    one = silent.ask(card(1))
    silent.turn()
    knobs.turn({"late_cmgs": 0, "answers_while_sending": False, "silence": 1, "silent_sends": False})

    def late(step: str) -> None:
        if step == "cmgs":  # the first reference comes between the second question's claim and its Ctrl-Z
            silent.network.step(silent.clock.now + timedelta(seconds=3))

    silent.told = late
    two = silent.ask("0009900000101", STATUS)
    silent.workers["xl-1"].step(silent.clock.now)
    silent.told = lambda step: None
    silent.workers["xl-1"].step(silent.clock.now)
    assert (silent.states(one)[-1], silent.states(two)[-1]) == ("awaiting_reply", "uncertain")
    assert [row.tp_references for row in silent.rows(t.submissions)] == ["1", None]


def test_of_two_in_doubt_one_late_reference_settles_neither(silent: Stage) -> None:
    knobs = silent.dongles["xl-1"].knobs
    knobs.turn({"silence": 1, "silent_sends": False})
    one = silent.ask(card(1))
    silent.turn()
    knobs.turn({"late_cmgs": 3, "answers_while_sending": True})
    two = silent.ask("0009900000101", STATUS)
    silent.workers["xl-1"].step(silent.clock.now)
    silent.clock.advance(seconds=4)
    silent.network.step(silent.clock.now)
    for _ in range(2):
        silent.workers["xl-1"].step(silent.clock.now)
    assert [silent.states(check)[-1] for check in (one, two)] == ["uncertain", "uncertain"]
    silent.answered(two)


@pytest.mark.parametrize(("status", "then"), [(0, "awaiting_reply"), (0x46, "failed")])
def test_silence_is_settled_by_a_status_report(tmp_path: Path, status: int, then: str) -> None:
    with staged(tmp_path, looks={"xl-1": LaneLook(cmgs_timeout=QUICK.cmgs_timeout)}) as stage:
        stage.dongles["xl-1"].knobs.turn({"silence": 1, "report_status": status})
        one = stage.ask(card(1, 93))  # never answered
        stage.run(seconds=20)
        assert stage.states(one) == ["queued", "submitting", "uncertain", then]
        stage.judge()


@pytest.mark.parametrize("went_out", [True, False])
def test_silence_ends_at_the_deadline_and_is_not_sent_again(silent: Stage, went_out: bool) -> None:
    silent.dongles["xl-1"].knobs.turn({"silence": 1, "silent_sends": went_out})
    one = silent.ask(card(1, 93))
    assert silent.run(until=silent.ended(one), minutes=6)
    assert silent.states(one) == ["queued", "submitting", "uncertain", "no_reply"]
    silent.run(hours=1, stride=30)
    assert len(silent.asked()) == int(went_out)
    assert silent.check(one).cost == 350
    silent.judge()


# -- reading ------------------------------------------------------------------------------------------------------


def test_a_full_sim_is_emptied_and_what_waited_comes(tmp_path: Path) -> None:
    with staged(tmp_path, boot=False) as stage:
        count = stage.dongles["xl-1"].fill(stage.clock.now)
        stage.text("Saldo JHT Anda Rp 1.000")
        assert stage.network.waiting("+6281700000001") == 1
        stage.boot()
        stage.run(seconds=6)
        stage.answered(stage.ask(card(1)))
        adverts = [m for m in stage.messages("unmatched") if m.reason == "unknown_sender"]
        assert len(adverts) == count
        assert [m.reason for m in stage.messages("unmatched") if m.sender == "2757"] == ["unsolicited"]
        assert not stage.dongles["xl-1"].sim.storage.slots
        stage.judge()


def test_a_lost_indication_costs_five_seconds_at_most(stage: Stage) -> None:
    stage.run(seconds=1)
    stage.dongles["xl-1"].knobs.lose_cmti = 1.0
    one = stage.ask(card(1))
    view = stage.answered(one)
    assert view.submitted_at is not None
    assert view.answered_at is not None
    assert view.answered_at - view.submitted_at <= AFTER + timedelta(seconds=5)
    stage.all_kept()


def test_two_lanes_ask_the_same_service_at_once(tmp_path: Path) -> None:
    with staged(tmp_path, looks={"xl-1": LaneLook(), "xl-2": LaneLook()}, names_card=False) as stage:
        stage.run(seconds=1)
        checks = [stage.ask(card(n)) for n in range(1, 7)]
        assert stage.run(until=stage.ended(*checks), minutes=30)
        views = [stage.check(one) for one in checks]
        assert {view.state for view in views} == {State.ANSWERED}
        assert {view.evidence for view in views} == {"sole"}
        assert {view.lane for view in views} == {"xl-1", "xl-2"}
        first, second, third = (view.submitted_at for view in views[:3])
        assert first == second
        assert third is not None
        assert first is not None
        assert third - first >= AFTER + timedelta(seconds=60)  # held until a second text would have come
        stage.judge()
        stage.all_kept()


# -- budgets ------------------------------------------------------------------------------------------------------


def test_a_paused_lane_receives_but_does_not_send(stage: Stage) -> None:
    one = stage.ask(card(1))
    stage.turn()
    stage.store.write(lambda tx: lanes.set_lane(tx, "xl-1", now=stage.clock.now, paused=True))
    two = stage.ask(card(2))
    stage.answered(one)
    stage.run(minutes=2)
    assert stage.lane().state == "paused"
    assert stage.workers["xl-1"].ready == (False, "paused: `bpjs-sms lanes resume xl-1`")
    assert stage.state(two) is State.QUEUED
    stage.store.write(lambda tx: lanes.set_lane(tx, "xl-1", now=stage.clock.now, paused=False))
    stage.answered(two, seconds=14)


def test_the_pace_lies_between_two_messages(tmp_path: Path) -> None:
    with staged(tmp_path, looks={"xl-1": LaneLook(pace=timedelta(seconds=20))}) as stage:
        checks = [stage.ask(card(n)) for n in range(3)]
        stage.run(until=stage.ended(*checks), minutes=2)
        times = [view.submitted_at for view in map(stage.check, checks)]
        assert [b - a for a, b in itertools.pairwise(times) if a and b] == [timedelta(seconds=20)] * 2


@pytest.mark.parametrize(("cap", "span"), [({"per_hour": 2}, timedelta(hours=1)), ({"per_day": 2}, timedelta(days=1))])  # fmt: skip
def test_a_cap_counts_what_the_sim_sent(tmp_path: Path, cap: dict[str, int], span: timedelta) -> None:
    with staged(tmp_path, looks={"xl-1": LaneLook(**cap)}) as stage:  # type: ignore[arg-type]
        checks = [stage.ask(card(n)) for n in range(3)]
        stage.run(until=stage.ended(*checks[:2]), minutes=2)
        stage.run(minutes=1)
        assert stage.state(checks[2]) is State.QUEUED
        first = stage.check(checks[0]).submitted_at
        assert first is not None
        stage.clock.now = first + span - timedelta(seconds=10)
        stage.turn()
        assert stage.state(checks[2]) is State.QUEUED
        stage.answered(checks[2], seconds=30)


# -- a full disk --------------------------------------------------------------------------------------------------


def test_with_a_full_database_nothing_leaves_the_sim_unstored(stage: Stage) -> None:
    stage.answered(stage.ask(card(1)))
    sim = stage.dongles["xl-1"].sim

    def limit(pages: int) -> None:
        stage.store.write(lambda tx: tx.execute(text(f"PRAGMA max_page_count={pages}")).close())

    used = stage.store.read(lambda tx: tx.execute(text("PRAGMA page_count")).scalar_one())
    limit(used + 3)
    for n in range(40):
        stage.text(f"Saldo JHT KPJ {card(n + 50)} per 31-10-2026 Rp 1.0{n:02d} " + "x" * 70)
        stage.run(seconds=2)
        delivered = {e.text for e in stage.ledger("received")}
        stored = {m.text for m in stage.messages()}
        assert len(delivered - stored) == len(sim.storage.slots)
    assert sim.storage.slots
    limit(1_000_000)
    stage.run(seconds=10)
    assert not sim.storage.slots
    stage.answered(stage.ask(card(2)))
    stage.all_kept()
    assert len(stage.rows(t.tpdus)) >= 42
