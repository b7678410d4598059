"""The doctor on the gateway's own tables: each row gives exactly one finding, healthy ones give none."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta
from importlib.resources import files

import pytest
from conftest import HandClock
from store_playing import answer, open_lane, receive, sent_question, time_out

from app.domain.operators import operator_of, operators
from app.domain.services import Catalogue
from app.faces.cli.gateway_findings import SILENT, imei_findings, lane_findings
from app.store import diagnosis
from app.store import tables as t
from app.store.diagnosis import Exchange, LaneSeen
from app.store.engine import Store
from modem.doctor import Finding, credit_in, valid_until

TODAY = date(2026, 11, 24)
SERVICES = list(Catalogue.load(files("templates_sms"), None, {}))
HEALTHY = LaneSeen(
    name="xl-1",
    port="/dev/ttyUSB2",
    state="registered",
    reason=None,
    held=True,
    sim_id="sim_1",
    imei="990000000000010",
    model="huawei E173",
    credit=50_000,
    active_until="2027-06-01",
    usb_path="1-1.2",
    delay=timedelta(seconds=4),
)
XL, AXIS = "51011", "51008"


def found(*lanes: LaneSeen, home: str | None = XL, exchanges: list[Exchange] | None = None) -> list[Finding]:
    seen = lanes or (HEALTHY,)
    return lane_findings(
        seen, SERVICES, dict.fromkeys((lane.name for lane in seen), home), exchanges or [], TODAY
    )


def codes(findings: list[Finding]) -> list[tuple[str, str]]:
    return [(finding.code, finding.severity) for finding in findings]


def test_a_healthy_lane_gives_nothing() -> None:
    assert found(exchanges=[Exchange("xl-1", "bpjstk-balance", datetime(2026, 11, 23), SILENT - 1)]) == []
    assert imei_findings([("xl-1", "990000000000010"), ("xl-2", "990000000000028")]) == []


ROWS: list[tuple[dict[str, object], str, str]] = [
    ({"paused": True}, "lane_paused", "warning"),
    ({"credit": None}, "credit_unknown", "advice"),
    ({"credit": 900}, "credit_low", "warning"),
    ({"credit": 0}, "credit_low", "fault"),
    ({"active_until": "2026-12-01"}, "sim_expires", "warning"),
    ({"active_until": "2026-11-01"}, "sim_expires", "fault"),
    ({"delay": timedelta(minutes=-5)}, "clock_off", "warning"),
    ({"delay": timedelta(hours=7)}, "clock_off", "warning"),
    ({"state": "locked", "reason": "the SIM refused this PIN before"}, "lane_locked", "fault"),
    ({"state": "locked", "pin_offered": True}, "pin_refused", "fault"),
    ({"state": "failed", "reason": "no_storage"}, "lane_failed", "fault"),
    ({"state": "offline", "reason": "port_missing"}, "lane_offline", "fault"),
]


@pytest.mark.parametrize(("changes", "code", "severity"), ROWS)
def test_a_row_gives_exactly_that_finding(changes: dict[str, object], code: str, severity: str) -> None:
    assert codes(found(replace(HEALTHY, **changes))) == [(code, severity)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [
        {"delay": None},
        {"delay": timedelta(minutes=20)},  # the quickest text may have been slow
        {"active_until": None},
        {"active_until": "soon"},
        {"pin_offered": True},  # offered just now
        {"state": "offline", "held": False},  # no gateway runs
        {"paused": True, "held": False},
        {"sim_id": None, "credit": None},  # there never was a SIM
    ],
)
def test_what_is_no_fault_gives_nothing(changes: dict[str, object]) -> None:
    assert found(replace(HEALTHY, **changes)) == []  # type: ignore[arg-type]


def test_an_operator_that_a_service_does_not_name() -> None:
    (finding,) = found(home=AXIS)
    assert (finding.code, finding.severity) == ("operator_not_served", "warning")
    assert "bpjstk-balance" in finding.what
    assert "Axis" in finding.what
    assert found(home="52501") == []


def test_two_lanes_with_one_sim() -> None:
    other = replace(HEALTHY, name="xl-2", imei="990000000000028")
    assert codes(found(HEALTHY, other)) == [("sim_in_two_lanes", "fault")]
    assert found(HEALTHY, replace(other, sim_id="sim_2")) == []


def test_two_sticks_with_one_imei() -> None:
    (finding,) = imei_findings([("/dev/ttyUSB2", "990000000000010"), ("lane xl-2", "990000000000010")])
    assert (finding.code, finding.about) == ("imei_doubled", "/dev/ttyUSB2, lane xl-2")
    assert "990000000000010" not in finding.how


def test_a_service_that_went_silent() -> None:
    silent = Exchange("xl-1", "bpjstk-balance", None, SILENT)
    assert codes(found(exchanges=[silent])) == [("silent", "warning")]
    assert found(exchanges=[replace(silent, lane="gone")]) == []


# -- from the tables ----------------------------------------------------------------------------------------------


def test_who_holds_a_lane(store: Store, clock: HandClock) -> None:
    open_lane(store, clock())
    (lane,) = store.read(lambda tx: diagnosis.lanes_seen(tx, clock()))
    assert (lane.name, lane.held, lane.port) == ("xl-1", True, "simulated://xl-1")
    later = clock.advance(minutes=1)
    if store.sqlite:  # PostgreSQL judges a lease by its own clock
        (lane,) = store.read(lambda tx: diagnosis.lanes_seen(tx, later))
        assert not lane.held


def test_last_replies_and_the_silence_since(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())
    assert store.read(diagnosis.exchanges) == []
    time_out(store, sent_question(store, lane, clock(), 1), clock())
    clock.advance(hours=3)
    answer(store, lane, sent_question(store, lane, clock(), 2), clock())
    replied = clock()
    for number in (3, 4):
        clock.advance(hours=3)
        time_out(store, sent_question(store, lane, clock(), number), clock())
    (one,) = store.read(diagnosis.exchanges)
    assert (one.lane, one.last_reply, one.unanswered) == ("xl-1", replied, 2)


def test_one_text_that_waited_for_its_lane_says_nothing_of_the_clock(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())

    def delay() -> timedelta | None:
        (seen,) = store.read(lambda tx: diagnosis.lanes_seen(tx, clock()))
        return seen.delay

    def text(number: int, late: timedelta) -> None:
        message = receive(store, lane, clock(), f"text {number}")
        changed = t.messages.update().where(t.messages.c.id == message)
        store.write(lambda tx: tx.execute(changed.values(service_centre_time=clock() - late)))

    for number in range(3):
        assert delay() is None
        text(number, timedelta(hours=2 + number))
    assert delay() == timedelta(hours=2)
    text(3, timedelta(minutes=-10))
    assert delay() == timedelta(minutes=-10)


def test_credit_is_kept(store: Store, clock: HandClock) -> None:
    lane = open_lane(store, clock())
    store.write(lambda tx: diagnosis.note_credit(tx, lane.sim_id, 12_500, "2027-01-31", clock()))
    store.write(lambda tx: diagnosis.note_credit(tx, lane.sim_id, 12_000, None, clock()))
    (seen,) = store.read(lambda tx: diagnosis.lanes_seen(tx, clock()))
    assert (seen.credit, seen.active_until) == (12_000, "2027-01-31")


def test_keys_are_confirmed_by_their_fingerprint(store: Store) -> None:
    assert store.read(diagnosis.keys_copied) is None
    for fingerprint in ("one", "two"):
        store.write(lambda tx, f=fingerprint: diagnosis.confirm_keys_copied(tx, f))  # type: ignore[misc]
        assert store.read(diagnosis.keys_copied) == fingerprint


# -- data and texts -----------------------------------------------------------------------------------------------


def test_every_operator_that_a_service_names_is_known() -> None:
    named = {operator for service in SERVICES for operator in service.operators}
    assert named <= {operator.name for operator in operators().values()}
    assert operator_of("510110000000001") == operators()[XL]
    assert operator_of("525010000000001") is None


@pytest.mark.parametrize(
    ("text", "credit", "until"),
    [
        ("Pulsa Rp 12.500 aktif s.d. 31-12-2026", 12_500, date(2026, 12, 31)),
        ("Sisa pulsa Anda Rp5000, berlaku sampai 01/02/27", 5000, date(2027, 2, 1)),
        ("Rp. 1,250,000", 1_250_000, None),
        ("Rp 0 s.d. 31.02.2027", 0, None),
        ("Menu: 1. Paket 2. Info", None, None),
    ],
)
def test_what_an_operator_says_of_credit(text: str, credit: int | None, until: date | None) -> None:
    assert (credit_in(text), valid_until(text)) == (credit, until)
