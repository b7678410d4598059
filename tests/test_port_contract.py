"""The contract of `modem.port.Modem`, clause by clause, on every simulated stick; with `--dongle PORT --number OWN` on a real one.

A real stick sends about ten SMS to its own number. Nothing is removed from it but those, and its PIN is not touched.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from port_contract import LINES, OWN, PERSONALITIES, PIN, QUICK, SOON, Bench, Played, altered, played, texts

from modem import (
    MaybeSubmitted,
    Modem,
    ModemError,
    ModemLost,
    NotSubmitted,
    SerialModem,
    SimLocked,
    StatusReport,
    Stored,
    Ussd,
    decode,
    encode_deliver,
    join,
)
from modem.simulated import Sim

LONG = "Ini teks yang panjang, lebih dari satu bagian. " * 4
MOMENT = timedelta(milliseconds=20)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    if "stick" in metafunc.fixturenames:
        real = metafunc.config.getoption("--dongle") is not None
        sticks = ["real"] if real else [f"{name}-{line}" for name in PERSONALITIES for line in LINES]
        metafunc.parametrize("stick", sticks)
    if "kind" in metafunc.fixturenames:
        metafunc.parametrize("kind", PERSONALITIES)


@pytest.fixture
def bench(stick: str, real_bench: Bench | None) -> Iterator[Bench]:
    """What both kinds of stick can be asked."""
    if real_bench is not None:
        yield real_bench
        return
    name, line = stick.rsplit("-", 1)
    with played(name, line) as made:
        yield made


@pytest.fixture
def world(stick: str) -> Iterator[Played]:
    """A stick whose world does as it is told; a real one leaves these tests out."""
    name, line = stick.rsplit("-", 1)
    with played(name, line) as made:
        yield made


@pytest.fixture
def talkative(kind: str) -> Iterator[Played]:
    """A stick whose network answers USSD at once."""
    with played(kind, "simulated") as made, made.hurried():
        yield made


@pytest.fixture
def modem(bench: Bench) -> Iterator[SerialModem]:
    with bench.opened() as modem:
        yield modem


def yes() -> bool:
    return True


def until_lost(modem: SerialModem) -> None:
    """Wait for the end of the session."""

    def wait() -> None:
        while modem.wait(QUICK):
            modem.hinted()

    with pytest.raises(ModemLost):
        wait()


# -- who and how ------------------------------------------------------------------------------------------


def test_opening_tells_stick_and_sim(bench: Bench) -> None:
    with closing(SerialModem(bench.settings)) as modem:
        as_protocol: Modem = modem
        identity = as_protocol.open()
    assert identity.imei is not None
    assert identity.imei.isdigit()
    assert identity.imsi is not None
    assert identity.imsi.isdigit()
    assert identity.maker
    assert identity.model
    if identity.iccid is None:
        bench.left_out.append("tell the SIM's ICCID")


def test_a_second_opening_tells_the_same(bench: Bench) -> None:
    found = []
    for _ in range(2):
        with closing(SerialModem(bench.settings)) as modem:
            found.append(modem.open())
    assert found[0] == found[1]


def test_the_port_is_held_by_one_alone(bench: Bench, modem: SerialModem) -> None:
    with closing(SerialModem(bench.settings)) as second, pytest.raises(ModemError, match="port_busy"):
        second.open()
    assert modem.status().can_send


def test_status(modem: SerialModem) -> None:
    status = modem.status()
    assert status.can_send
    assert status.signal is None or 0 <= status.signal <= 31
    assert status.operator


def test_usage_counts_every_storage(modem: SerialModem) -> None:
    usage = modem.usage()
    assert usage
    assert len({one.storage for one in usage}) == len(usage)
    for one in usage:
        assert 0 <= one.used <= one.total
    assert sum(one.used for one in usage) >= len(modem.inbox())


# -- sending ----------------------------------------------------------------------------------------------


def test_a_short_text_goes_out_and_comes_in_once(bench: Bench, modem: SerialModem) -> None:
    text = bench.text("pendek @£_{€}")
    (reference,) = modem.submit(bench.parts(text), yes)
    assert 0 <= reference <= 255
    assert texts(bench.arrived(modem)) == [text]


def test_a_long_text_has_a_reference_for_each_part(bench: Bench, modem: SerialModem) -> None:
    text = bench.text(LONG)
    parts = bench.parts(text)
    references = modem.submit(parts, yes)
    assert len(references) == len(parts) == 2
    found = bench.arrived(modem, 2)
    assert join([read for _, read in found]) == text


def test_other_letters_go_as_ucs2(bench: Bench, modem: SerialModem) -> None:
    text = bench.text("Jawaban ÿ ` – 你好 😀")
    assert len(modem.submit(bench.parts(text), yes)) == 1
    assert texts(bench.arrived(modem)) == [text]


def test_called_off_at_the_prompt_nothing_goes_out(bench: Bench) -> None:
    steps: list[str] = []
    with bench.opened(lambda step, port: steps.append(step)) as modem:
        with pytest.raises(NotSubmitted, match="stood_down"):
            modem.submit(bench.parts(bench.text("tidak jadi")), lambda: False)
        assert "ctrl-z" not in steps
        assert modem.status().can_send


def test_the_last_word_is_asked_once_for_all_parts(bench: Bench, modem: SerialModem) -> None:
    asked: list[int] = []

    def once() -> bool:
        asked.append(1)
        return True

    modem.submit(bench.parts(bench.text(LONG)), once)
    assert asked == [1]


def test_a_status_report_comes_where_it_is_asked_for(bench: Bench, modem: SerialModem) -> None:
    (reference,) = modem.submit(bench.parts(bench.text("laporan"), report=True), yes)

    def reports() -> list[tuple[Stored, StatusReport]]:
        found = ((stored, decode(stored.pdu, outgoing=stored.stat >= 2)) for stored in modem.inbox())
        return [(stored, read) for stored, read in found if isinstance(read, StatusReport)]

    ours = [
        stored
        for stored, read in bench.until(modem, reports, bool)
        if (read.reference, read.status) == (reference, 0)
    ]
    if not ours and bench.patience > QUICK:
        bench.left_out.append("bring a status report")
        return
    assert len(ours) == 1
    assert modem.forget(ours[0])


def test_a_refused_text_surely_did_not_go_out(world: Played) -> None:
    world.turn(submit_errors=1, submit_error=38)
    with world.opened() as modem:
        with pytest.raises(NotSubmitted) as refusal:
            modem.submit(world.parts("ditolak"), yes)
        assert (refusal.value.code, refusal.value.retryable) == ("network_out_of_order", True)
        assert world.asked() == []
        assert len(modem.submit(world.parts("jalan"), yes)) == 1
    assert world.asked() == ["jalan"]


def test_a_text_refused_at_the_prompt_surely_did_not_go_out(world: Played) -> None:
    world.turn(prompt_errors=1, submit_error=302)
    with world.opened() as modem:
        with pytest.raises(NotSubmitted, match="operation_not_allowed"):
            modem.submit(world.parts("ditolak"), yes)
        assert len(modem.submit(world.parts("jalan"), yes)) == 1
    assert world.asked() == ["jalan"]


@pytest.mark.parametrize("went", [True, False], ids=["sent", "not sent"])
def test_silence_is_a_doubt(world: Played, went: bool) -> None:
    world.turn(silence=1, silent_sends=went)
    with world.opened(settings=replace(world.settings, cmgs_timeout=SOON, drain_timeout=SOON)) as modem:
        with pytest.raises(MaybeSubmitted):
            modem.submit(world.parts("ragu"), yes)
        assert len(modem.submit(world.parts("jalan"), yes)) == 1
    assert world.asked() == [*(["ragu"] if went else []), "jalan"]


def test_an_answer_that_leaves_it_open_is_a_doubt(world: Played) -> None:
    world.turn(submit_errors=1, submit_error=332)
    with world.opened() as modem, pytest.raises(MaybeSubmitted, match="network_timeout"):
        modem.submit(world.parts("ragu"), yes)


def test_nothing_follows_a_part_in_doubt(world: Played) -> None:
    world.turn(silence=1)
    with (
        world.opened(settings=replace(world.settings, cmgs_timeout=SOON)) as modem,
        pytest.raises(MaybeSubmitted),
    ):
        modem.submit(world.parts(LONG), yes)
    assert len(world.ledger("part")) == 1
    assert world.asked() == []


def test_a_later_part_that_is_refused_is_a_doubt(world: Played) -> None:
    steps: list[str] = []

    def tell(step: str, port: str) -> None:
        steps.append(step)
        if steps.count("cmgs") == 2 and step == "cmgs":
            world.turn(submit_errors=1, submit_error=38)

    with world.opened(tell) as modem, pytest.raises(MaybeSubmitted, match="network_out_of_order"):
        modem.submit(world.parts(LONG), yes)
    assert len(world.ledger("part")) == 1


def test_a_late_reference_is_told(world: Played) -> None:
    world.turn(late_cmgs=0.3, answers_while_sending=True)
    with world.opened(settings=replace(world.settings, cmgs_timeout=SOON)) as modem:
        with pytest.raises(MaybeSubmitted):
            modem.submit(world.parts("lambat"), yes)
        references: list[int] = []
        world.until(modem, lambda: references.extend(modem.late_references()), lambda _: bool(references))
        assert references == [world.ledger("submitted")[0].reference]
        assert modem.late_references() == []


# -- receiving --------------------------------------------------------------------------------------------


def test_a_hint_ends_the_wait(bench: Bench, modem: SerialModem) -> None:
    modem.inbox()
    modem.hinted()
    modem.submit(bench.parts(bench.text("ketuk")), yes)
    assert modem.wait(bench.patience)
    assert modem.hinted()
    assert bench.arrived(modem)


def test_without_a_hint_the_wait_is_as_long_as_asked(world: Played) -> None:
    with world.opened() as modem:
        assert not modem.wait(MOMENT)
        assert modem.hinted() == set()


def test_a_slot_reads_as_it_was_listed(bench: Bench, modem: SerialModem) -> None:
    modem.submit(bench.parts(bench.text("baca")), yes)
    for stored, _ in bench.arrived(modem):
        if stored.storage.startswith("+"):
            bench.left_out.append("keep an SMS in a slot")
        else:
            read = modem.read(stored.storage, stored.index)
            assert read is not None
            assert read.pdu == stored.pdu


def test_only_the_same_pdu_is_forgotten_and_once(bench: Bench, modem: SerialModem) -> None:
    text = bench.text("lupakan")
    modem.submit(bench.parts(text), yes)
    stored, _ = next(one for one in bench.arrived(modem) if one[1].text == text)
    assert not modem.forget(replace(stored, pdu=altered(stored.pdu)))
    assert stored.pdu in [one.pdu for one in modem.inbox()]
    assert modem.forget(stored)
    assert stored.pdu not in [one.pdu for one in modem.inbox()]
    assert not modem.forget(stored)


def test_a_slot_filled_anew_is_kept(world: Played) -> None:
    with world.opened() as modem:
        world.send_in("yang pertama")
        ((first, _),) = world.arrived(modem)
        assert modem.forget(first)
        world.send_in("yang kedua")
        ((second, read),) = world.arrived(modem)
        assert (second.storage, second.index) == (first.storage, first.index)
        assert not modem.forget(first)
        assert texts(world.ours(modem)) == [read.text] == ["yang kedua"]


def test_one_storage_or_all(world: Played) -> None:
    with world.opened() as modem:
        world.send_in("satu")
        ((stored, _),) = world.arrived(modem)
        for usage in modem.usage():
            assert bool(modem.inbox(usage.storage)) == (usage.storage == stored.storage)
        assert {usage.storage: usage.used for usage in modem.usage()}[stored.storage] == 1


def test_an_empty_slot_reads_as_none(world: Played) -> None:
    with world.opened() as modem:
        storage = modem.usage()[0].storage
        assert modem.read(storage, 7) is None


def test_texts_from_before_the_session_are_found(world: Played) -> None:
    for text in ("lama satu", "lama dua"):
        world.send_in(text)
    with world.opened() as modem:
        assert sorted(texts(world.arrived(modem, 2))) == ["lama dua", "lama satu"]


def test_what_is_delivered_directly_stays_until_it_is_forgotten(world: Played) -> None:
    with world.opened() as modem:
        with world.network.lock:
            world.dongle.indications[1] = 2
        world.send_in("langsung")
        assert modem.wait(QUICK)
        ((stored, read),) = world.ours(modem)
        assert (stored.storage, read.text) == ("+CMT", "langsung")
        assert texts(world.ours(modem)) == ["langsung"]
        assert modem.forget(stored)
        assert world.ours(modem) == []
        assert not modem.forget(stored)


def test_an_undecodable_pdu_is_handed_over_as_it_is(world: Played) -> None:
    good = encode_deliver("PROMO", "baik", world.network.now)
    world.written.add("baik")
    with world.network.lock:
        world.dongle.sim.storage.put("0011223344", 0)
        world.dongle.sim.storage.put(good, 0)
    with world.opened() as modem:
        assert sorted(stored.pdu for stored in modem.inbox()) == sorted(["0011223344", good])


# -- waiting and ending -----------------------------------------------------------------------------------


def test_an_interrupt_ends_the_wait(modem: SerialModem) -> None:
    modem.hinted()
    other = threading.Timer(MOMENT.total_seconds(), modem.interrupt)
    other.start()
    assert not modem.wait(QUICK * 4)
    other.join()
    assert modem.status().can_send


def test_closing_wakes_who_waits_and_may_be_repeated(bench: Bench) -> None:
    with closing(SerialModem(bench.settings)) as modem:
        modem.open()
        other = threading.Timer(MOMENT.total_seconds(), modem.close)
        other.start()
        until_lost(modem)
        other.join()
        modem.close()
        with pytest.raises(ModemLost):
            modem.status()


def test_an_unplugged_stick_ends_the_session_and_is_opened_anew(world: Played) -> None:
    with closing(SerialModem(world.settings)) as modem:
        modem.open()
        world.tell("unplug")
        with pytest.raises(ModemLost):
            modem.wait(QUICK)
        with pytest.raises(ModemLost):
            modem.status()
        with closing(SerialModem(world.settings)) as second, pytest.raises(ModemError, match="port_missing"):
            second.open()
        world.tell("plug")
        with world.opened() as third:
            assert third.status().can_send


def test_unplugged_before_the_last_word_nothing_went_out(world: Played) -> None:
    with closing(SerialModem(world.settings)) as modem:
        modem.open()

        def pulled() -> bool:
            world.tell("unplug")
            until_lost(modem)
            return True

        with pytest.raises(NotSubmitted):
            modem.submit(world.parts("tercabut"), pulled)
    assert world.asked() == []


def test_told_to_start_anew_the_session_ends_unless_that_takes_the_stick_away(world: Played) -> None:
    world.turn(back_after=0.05)
    with closing(SerialModem(world.settings)) as modem:
        modem.open()
        if not modem.restart():
            assert modem.status().can_send
            return
        with pytest.raises(ModemLost):
            modem.status()
    while not world.dongle.plugged:
        world.dongle.step(datetime.now(UTC))
    with world.opened() as modem:
        assert modem.status().can_send


# -- the SIM, calls, USSD, examining ----------------------------------------------------------------------


def test_the_same_sim_is_verified_quietly(bench: Bench, modem: SerialModem) -> None:
    modem.verify()
    modem.verify()
    assert modem.status().can_send


def test_another_sim_ends_the_session(world: Played) -> None:
    with closing(SerialModem(world.settings)) as modem:
        before = modem.open()
        world.dongle.insert(
            Sim("89990000000000000029", "510110000000002", "+628170000002"), datetime.now(UTC)
        )
        with pytest.raises(ModemLost, match="sim_changed"):
            modem.verify()
    with closing(SerialModem(world.settings)) as modem:
        after = modem.open()
    assert (after.imei, after.imsi) == (before.imei, "510110000000002")


def test_a_stick_that_forgot_its_settings_is_set_up_anew(world: Played) -> None:
    with closing(SerialModem(world.settings)) as modem:
        modem.open()
        with world.network.lock:
            world.dongle.indications[:] = [0, 0, 0, 0, 0]
        modem.verify()
        modem.hinted()
        world.send_in("setelah diperbaiki")
        assert modem.wait(QUICK)
        assert texts(world.ours(modem)) == ["setelah diperbaiki"]


def test_a_call_is_hung_up_and_counted(world: Played) -> None:
    with world.opened() as modem:
        assert modem.calls() == 0
        world.tell("call", **{"from": "+628990000099"})
        modem.wait(QUICK)
        assert modem.status().can_send
        assert not world.dongle.ringing
        assert modem.calls() == 1
        assert modem.calls() == 0


def test_a_ussd_code_is_answered(world: Played) -> None:
    with world.opened() as modem:
        assert modem.ussd("*123#", QUICK) == Ussd("Pulsa Rp 12.345")
        assert len(modem.submit(world.parts(world.text("sesudah ussd")), yes)) == 1


def test_a_ussd_menu_is_gone_through_or_left(talkative: Played) -> None:
    with talkative.opened() as modem:
        assert modem.ussd("*100#", QUICK) == Ussd("1 Kuota 2 Pulsa", more=True)
        assert modem.ussd("2", QUICK) == Ussd("Rp 12.345")
        assert modem.ussd("*100#", QUICK).more
        modem.ussd_cancel()
        modem.ussd_cancel()
        assert modem.ussd("*123#", QUICK) == Ussd("Pulsa Rp 12.345")


def test_a_ussd_code_that_nobody_knows_is_refused(talkative: Played) -> None:
    with talkative.opened() as modem:
        with pytest.raises(ModemError, match="ussd_") as refusal:
            modem.ussd("*999#", QUICK)
        assert refusal.value.blame in ("network", "modem")
        assert modem.status().can_send


def test_what_the_network_says_by_itself_is_no_answer_to_a_code(talkative: Played) -> None:
    with talkative.opened() as modem:
        talkative.tell("ussd", text="Promo hari ini")
        assert modem.ussd("*123#", QUICK) == Ussd("Pulsa Rp 12.345")
        assert modem.pushed() == ["Promo hari ini"]
        assert modem.pushed() == []


def test_only_queries_are_examined(modem: SerialModem) -> None:
    for command in ("AT+CMGD=1", 'AT+CPIN="1234"', "AT+CFUN=1,1", "ATZ", "AT+CMGF=1", "AT+CSQ;+CMGD=1"):
        with pytest.raises(ValueError, match=r"only queries|read"):
            modem.examine(["AT+CSQ", command])


def test_queries_are_answered_with_their_result_last(modem: SerialModem) -> None:
    answers = modem.examine(["AT+CSQ", "AT+CPMS?", "AT+NOSUCH?", "AT+CMGF?"])
    assert list(answers) == ["AT+CSQ", "AT+CPMS?", "AT+NOSUCH?", "AT+CMGF?"]
    for query in ("AT+CSQ", "AT+CPMS?", "AT+CMGF?"):
        assert answers[query][-1] == "OK"
    assert any(line.startswith("+CSQ:") for line in answers["AT+CSQ"])
    assert answers["AT+NOSUCH?"][-1] != "OK"


# -- the SIM's PIN ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("line", LINES)
@pytest.mark.parametrize("name", PERSONALITIES)
def test_a_pin_is_offered_once_and_only_if_it_may(name: str, line: str) -> None:
    with played(name, line, pin=PIN) as world:
        for pin, may, code in (
            (None, True, "sim_pin_required"),
            ("4321", False, "sim_pin_refused"),
            ("4321", True, "sim_pin_refused"),
        ):
            with closing(SerialModem(replace(world.settings, pin=pin, may_offer_pin=may))) as modem:
                with pytest.raises(SimLocked, match=code) as refusal:
                    modem.open()
                assert refusal.value.pin_was_offered == (pin is not None and may)
        assert world.dongle.sim.pin_left == 2
        with world.opened(settings=replace(world.settings, pin=PIN)) as modem:
            assert modem.status().can_send
        assert world.own_number == OWN
