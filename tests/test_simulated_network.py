"""The simulated network: what arrives when, in which order, and what the ledger says of it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from modem.pdu import Deliver, StatusReport, StoredSubmit, decode
from modem.simulated import Delivery, Dongle, Network, Reply, Sim
from modem.simulated.traffic import canonical

START = datetime(2026, 11, 24, 3, 0, tzinfo=UTC)
ONE, TWO = "+628170000001", "+628170000002"


def second(count: float) -> datetime:
    return START + timedelta(seconds=count)


def new_network(seed: int = 0) -> tuple[Network, Dongle, Dongle]:
    network = Network(seed)
    network.step(START)
    dongles = [
        Dongle(network, Sim(f"899900000000000000{n}", f"51011000000000{n}", own), imei=f"99000000000000{n}")
        for n, own in ((1, ONE), (2, TWO))
    ]
    return network, dongles[0], dongles[1]


def submit(
    network: Network, dongle: Dongle, address: str, text: str, now: datetime = START, **options: object
) -> None:
    reference = dongle.sim.next_reference()
    network.submit(dongle.sim, StoredSubmit(address, text, reference, **options), reference, now)  # type: ignore[arg-type]
    network.step(now)


def kinds(network: Network) -> list[str]:
    return [entry.kind for entry in network.ledger]


def texts(dongle: Dongle) -> list[str]:
    found = [decode(slot.pdu) for _, slot in dongle.sim.storage.listed()]
    return [one.text for one in found if isinstance(one, Deliver)]


@pytest.mark.parametrize(
    ("number", "same"),
    [("+6287775500400", "087775500400"), ("6287775500400", "087775500400"), ("+2757", "2757"), ("XL", "XL")],
)
def test_one_spelling_per_number(number: str, same: str) -> None:
    assert canonical(number) == same


def test_a_reply_comes_when_it_should_from_whom_it_should() -> None:
    network, dongle, _ = new_network()
    asked: list[tuple[str, str, datetime]] = []

    def handler(sender: str, text: str, now: datetime) -> Sequence[Reply]:
        asked.append((sender, text, now))
        return [Reply("satu", timedelta(seconds=8), "BPJSTKU"), Reply("dua")]

    network.subscriber("2757", handler)
    network.transit = timedelta(seconds=1)
    submit(network, dongle, "2757", "tanya")
    assert kinds(network) == ["submitted"]
    assert network.step(second(1)) == second(9)
    assert asked == [(ONE, "tanya", second(1))]
    assert texts(dongle) == ["dua"]
    assert network.step(second(9)) is None
    assert texts(dongle) == ["dua", "satu"]
    last = network.ledger[-1]
    assert (last.kind, last.sim, last.address, last.text, last.at) == (
        "received",
        ONE,
        "BPJSTKU",
        "satu",
        second(9),
    )
    assert {entry.submit_id for entry in network.ledger} == {1}
    assert [entry.seq for entry in network.ledger] == [1, 2, 3, 4]
    assert json.loads(json.dumps(last.as_json()))["at"] == "2026-11-24T03:00:09Z"


def test_copies_and_parts_out_of_order() -> None:
    network, dongle, _ = new_network()
    long = "".join(f"{n:04d} " for n in range(80))
    network.subscriber(
        "2757",
        lambda sender, text, now: [
            Reply(long, part_order=(3, 1, 2), part_gap=timedelta(seconds=2)),
            Reply("ya", after=timedelta(seconds=9), copies=2),
        ],
    )
    submit(network, dongle, "2757", "tanya")
    network.step(second(2))
    assert kinds(network) == ["submitted", "delivered"]
    network.step(second(4))
    found = [decode(slot.pdu) for _, slot in dongle.sim.storage.listed()]
    parts = [one for one in found if isinstance(one, Deliver)]
    assert [one.concat.part for one in parts if one.concat] == [3, 1, 2]
    assert parts[1].text + parts[2].text + parts[0].text == long
    assert network.ledger[-1].text == long
    network.step(second(9))
    assert texts(dongle)[3:] == ["ya", "ya"]
    assert [entry.delivery_id for entry in network.ledger if entry.kind == "received"] == [1, 2, 3]


def test_interference_drops_swaps_and_doubles() -> None:
    network, dongle, _ = new_network()
    held: list[Delivery] = []

    def change(one: Delivery) -> Sequence[Delivery]:
        if one.text == "drop":
            return []
        if one.text == "double":
            return [one, one]
        if one.text == "first":
            held.append(one)
            return []
        if one.text == "second":
            return [one, *held]
        return [replace(one, text=one.text.upper())]

    network.interfere(change)
    for text in ("drop", "double", "first", "second", "change"):
        network.text("PROMO", ONE, text, now=START)
    assert texts(dongle) == ["double", "double", "second", "first", "CHANGE"]
    assert [entry.text for entry in network.ledger if entry.kind == "dropped"] == ["drop", "first"]
    received = [(entry.text, entry.delivery_id) for entry in network.ledger if entry.kind == "received"]
    assert [text for text, _ in received] == texts(dongle)
    assert len({number for _, number in received}) == 5
    network.interfere(None)
    network.text("PROMO", ONE, "drop", now=START)
    assert texts(dongle)[-1] == "drop"


def test_texts_for_an_unplugged_stick_wait_with_their_time() -> None:
    network, dongle, _ = new_network()
    dongle.unplug(START)
    network.text("PROMO", "08170000001", "murah", now=START, after=timedelta(seconds=1))
    network.step(second(1))
    assert (kinds(network), network.waiting(ONE)) == ([], 1)
    dongle.plug(second(60))
    found = decode(dongle.sim.storage.slots[0].pdu)
    assert isinstance(found, Deliver)
    assert found.service_centre_time == second(1)
    assert network.ledger[-1].at == second(60)


def test_a_text_to_nobody_and_one_that_cannot_be_sent_are_refused() -> None:
    network, _, _ = new_network()
    with pytest.raises(KeyError, match="no SIM has the number"):
        network.text("PROMO", "+62899", "murah", now=START)
    with pytest.raises(ValueError, match="11 characters"):
        network.text("PROMOTIONS ARE LONG", ONE, "murah", now=START)
    assert network.due is None


def test_validity_ends_what_cannot_be_delivered() -> None:
    network, dongle, _ = new_network()
    network.subscriber("2757", lambda sender, text, now: [Reply("ya")])
    network.switch("2757", False, START)
    submit(network, dongle, "2757", "satu", validity=timedelta(minutes=5), report_requested=True)
    submit(network, dongle, "2757", "dua")
    network.step(second(299))
    assert kinds(network) == ["submitted", "submitted"]
    network.step(second(300))
    assert kinds(network)[2:] == ["expired", "report"]
    report = decode(dongle.sim.storage.slots[0].pdu) if dongle.sim.storage.slots else None
    assert report is None  # +CNMI routes no reports yet
    network.switch("2757", True, second(400))
    assert kinds(network)[4:] == ["delivered", "received"]
    assert network.ledger[-1].submit_id == 2


def test_status_reports_tell_the_outcome() -> None:
    network, dongle, _ = new_network()
    dongle.feed(b"AT+CNMI=2,1,0,2,0\r", START)
    network.person("+628990000001")
    submit(network, dongle, "+628990000001", "satu", report_requested=True)
    dongle.turn(START, report_status=0x41)
    submit(network, dongle, "+628990000001", "dua", report_requested=True)
    dongle.turn(START, report_status=None)
    submit(network, dongle, "+628990000001", "tiga", report_requested=True)
    reports = [decode(slot.pdu) for _, slot in dongle.sr.listed()]
    assert [(one.reference, one.status) for one in reports if isinstance(one, StatusReport)] == [
        (1, 0),
        (2, 0x41),
    ]


def test_one_sim_texts_the_other() -> None:
    network, one, two = new_network()
    two.unplug(START)
    submit(network, one, TWO, "satu", validity=timedelta(minutes=5), report_requested=True)
    submit(network, one, TWO, "dua", report_requested=True)
    assert kinds(network) == ["submitted", "submitted"]
    network.step(second(300))
    assert kinds(network)[2:] == ["expired", "report"]
    two.plug(second(301))
    assert texts(two) == ["dua"]
    assert kinds(network)[4:] == ["received", "delivered", "report"]


def test_people_keep_what_they_are_sent() -> None:
    network, dongle, _ = new_network()
    submit(network, dongle, "081290000001", "halo")
    person = network.person("+6281290000001")
    assert [(mail.sender, mail.text) for mail in person.inbox] == [(ONE, "halo")]


def test_a_handler_may_text_too() -> None:
    network, dongle, _ = new_network()

    def handler(sender: str, text: str, now: datetime) -> Sequence[Reply]:
        network.text("PROMO", TWO, "murah", now=now)
        return [Reply("ya")]

    network.subscriber("2757", handler)
    submit(network, dongle, "2757", "tanya")
    assert kinds(network) == ["submitted", "delivered", "received", "received"]


def test_the_same_seed_is_the_same_world() -> None:
    def run(seed: int) -> list[dict[str, object]]:
        network, dongle, other = new_network(seed)
        for stick in (dongle, other):
            stick.feed(b"ATE0;+CNMI=2,1,0,0,0\r", START)
            stick.turn(START, lose_cmti=0.5, noise=0.3)
        said = []
        for step in range(40):
            network.text("PROMO", (ONE, TWO)[step % 2], f"teks {step}", now=second(step))
            said.append({"one": dongle.step(second(step)), "two": other.step(second(step))})
        return [*said, *(entry.as_json() for entry in network.ledger)]

    assert run(1) == run(1)
    assert run(1) != run(2)
