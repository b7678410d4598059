"""What comes in, through real PDUs: parts, rubbish, reports, doubles, amendments, withdrawals, and whose record is whose."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from datetime import datetime, timedelta
from itertools import permutations
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lanes_playing import BALANCE, SHORT, STATUS, LaneLook, Stage, card, staged
from store_playing import events_of

from app.domain.states import Outcome, Role, State
from app.simulation import BALANCE_ADDRESS, balance_of
from app.store import tables as t
from app.store.events import read_feed
from modem import PduError, decode, encode_deliver
from modem.pdu import Concat, encode_status_report, split
from modem.simulated import Delivery, Reply

OWN = "+6281700000001"
MINUTE = timedelta(minutes=1)


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    with staged(tmp_path) as one:
        yield one


@pytest.fixture
def nameless(tmp_path: Path) -> Iterator[Stage]:
    """The services' texts do not say which card they are about."""
    with staged(tmp_path, names_card=False) as one:
        yield one


def balance_text(kpj: str, rupiah: int, padding: str = "") -> str:
    return f"Saldo JHT KPJ {kpj} per 31-10-2026 Rp {rupiah}. {padding}"


def parts_of(text: str, reference: int, at: datetime) -> list[str]:
    texts = split(text)
    return [
        encode_deliver("2757", part, at, concat=Concat(reference, 8, len(texts), n))
        for n, part in enumerate(texts, 1)
    ]


def put(stage: Stage, pdu: str, name: str = "xl-1") -> None:
    """A TPDU reaches the stick."""
    stage.dongles[name].receive(pdu, False, stage.clock.now)


def texts(stage: Stage, *states: str) -> list[str]:
    return [message.text for message in stage.messages(*states)]


# -- parts --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("restart", [False, True])
def test_parts_join_in_any_order_with_others_between(stage: Stage, restart: bool) -> None:
    whole = []
    for n, order in enumerate(permutations(range(3))):
        text = balance_text(card(n + 20), 1000 + n, f"kalimat {n} " * 28)
        whole.append(text)
        pdus = parts_of(text, n, stage.clock.now)
        assert len(pdus) == 3
        for place in order:
            put(stage, pdus[place])
            put(stage, encode_deliver("2757", f"Info {n} {place}", stage.clock.now))
            stage.run(seconds=2)
            if restart:
                stage.die()
                stage.boot()
    stage.run(seconds=6)
    assert [text for text in texts(stage, "unmatched") if text.startswith("Saldo")] == whole
    assert sum(text.startswith("Info") for text in texts(stage, "unmatched")) == 18
    assert not texts(stage, "partial")


@pytest.mark.parametrize("repeated", [False, True])
def test_a_part_that_came_before_a_question_is_none_of_its_answer(tmp_path: Path, repeated: bool) -> None:
    """The same reference soon again: one part of the first answer is lost, or comes twice, and the next answer's come in another order."""
    first, second = card(1, 93), card(2, 93)  # the played service is silent about them

    def answer(stage: Stage, kpj: str) -> list[str]:
        text = f"KPJ {kpj}. {'Simpan bukti ini. ' * 9}Saldo JHT Rp {balance_of(kpj)}"
        return parts_of(text, 7, stage.clock.now)

    with staged(tmp_path, services={BALANCE: {"late": "6m"}}) as stage:
        one = stage.ask(first)
        stage.run(seconds=20)
        begun, ended = answer(stage, first)
        for pdu in (begun, ended, begun) if repeated else (begun,):
            put(stage, pdu)
        stage.run(minutes=1 if repeated else 7)
        two = stage.ask(second)
        stage.run(seconds=20)
        for pdu in reversed(answer(stage, second)):
            put(stage, pdu)
            stage.run(seconds=6)
        assert [stage.check(check).record is not None for check in (one, two)] == [repeated, True]
        stage.judge()


def test_parts_of_one_read_together_answer_once(stage: Stage) -> None:
    one = stage.ask(card(1))
    stage.turn()
    for pdu in reversed(parts_of(balance_text(card(1), 777, "x" * 300), 9, stage.clock.now)):
        put(stage, pdu)
    view = stage.answered(one, seconds=1)
    assert view.record is not None
    assert view.record["balance"] == 777
    assert events_of(stage.store, one) == ["check.answered"]


def test_a_reference_used_again_begins_another_message(stage: Stage) -> None:
    """The second part of the first text was lost; both parts of the next come under the same reference."""
    stage.run(seconds=1)
    lost = parts_of(balance_text(card(1), 1111, "a" * 200), 5, stage.clock.now)
    put(stage, lost[0])
    stage.run(minutes=2)
    text = balance_text(card(2), 2222, "b" * 200)
    for pdu in parts_of(text, 5, stage.clock.now):
        put(stage, pdu)
        stage.run(seconds=1)
    assert texts(stage, "unmatched") == [text]
    assert [(m.parts, m.parts_total) for m in stage.messages("partial")] == [(1, 2)]


def test_parts_far_apart_do_not_join(stage: Stage) -> None:
    first = parts_of(balance_text(card(1), 1111, "a" * 200), 5, stage.clock.now)
    second = parts_of(balance_text(card(1), 1111, "a" * 200), 5, stage.clock.now + 11 * MINUTE)
    put(stage, first[0])
    stage.run(minutes=11, stride=30)
    put(stage, second[1])
    stage.run(seconds=6)
    assert [m.state for m in stage.messages()] == ["partial", "partial"]


# -- rubbish ------------------------------------------------------------------------------------------------------

GOOD = encode_deliver("2757", "Saldo JHT Anda Rp 1.000", datetime.fromisoformat("2026-11-24T02:00:00+00:00"))
rubbish = st.one_of(
    st.binary(min_size=1, max_size=175).map(lambda data: "00" + data.hex().upper()),
    st.integers(2, len(GOOD) // 2 - 1).map(lambda octets: "00" + GOOD[16 : 16 + 2 * octets]),
    st.tuples(st.integers(8, len(GOOD) // 2 - 1), st.integers(0, 255)).map(
        lambda change: GOOD[: 2 * change[0]] + f"{change[1]:02X}" + GOOD[2 * change[0] + 2 :]
    ),
)


@settings(max_examples=15)
@given(pdus=st.lists(rubbish, min_size=1, max_size=6))
def test_what_cannot_be_decoded_hinders_nobody_and_is_listed(pdus: list[str]) -> None:
    with TemporaryDirectory() as folder, staged(Path(folder)) as stage:
        stage.run(seconds=1)
        for pdu in pdus:
            put(stage, pdu)
        stage.run(seconds=1)
        stage.answered(stage.ask(card(1)))
        rows = stage.rows(t.tpdus)
        assert all(row.decided_at is not None for row in rows)
        kept = Counter(stage.store.read(lambda tx: [tx.unseal("tpdus.raw", row.raw_sealed) for row in rows]))
        assert not Counter(pdus) - kept
        broken = 0
        for pdu in pdus:
            try:
                decode(pdu)
            except PduError:
                broken += 1
        assert len(stage.messages("undecodable")) == broken
        assert not stage.dongles["xl-1"].sim.storage.slots
        stage.judge()


# -- status reports -----------------------------------------------------------------------------------------------


def report(stage: Stage, reference: int, status: int) -> None:
    now = stage.clock.now
    stage.dongles["xl-1"].receive(encode_status_report(reference, "2757", now, now, status), True, now)


@pytest.fixture
def reporting(stage: Stage) -> Stage:
    """The network itself reports nothing; the tests do."""
    stage.dongles["xl-1"].knobs.report_status = None
    return stage


def test_a_report_that_the_network_gave_up_fails_the_question_and_a_reply_still_counts(
    reporting: Stage,
) -> None:
    one = reporting.ask(card(1))
    reporting.turn()
    report(reporting, reporting.dongles["xl-1"].sim.reference, 0x46)
    reporting.run(seconds=1)
    view = reporting.check(one)
    assert (view.state, view.error_code, view.error_blame) == (State.FAILED, "undelivered", "network")
    reporting.run(until=lambda: reporting.state(one) is State.ANSWERED, seconds=10)
    view = reporting.check(one)
    assert (view.state, view.late, view.error_code) == (State.ANSWERED, True, None)


@pytest.mark.parametrize("status", [0x20, 0x30, 0x00, 0x02])
def test_a_report_that_says_nothing_final_or_good_changes_no_wait(reporting: Stage, status: int) -> None:
    one = reporting.ask(card(1))
    reporting.turn()
    report(reporting, reporting.dongles["xl-1"].sim.reference, status)
    reporting.run(seconds=1)
    assert reporting.states(one) == ["queued", "submitting", "awaiting_reply"]
    reporting.answered(one)


def test_a_late_report_of_an_answered_question_changes_nothing(reporting: Stage) -> None:
    one = reporting.ask(card(1))
    reporting.answered(one)
    reference = reporting.dongles["xl-1"].sim.reference
    two = reporting.ask(card(2))
    reporting.turn()
    for status in (0x46, 0x00):
        report(reporting, reference, status)
    report(reporting, 200, 0x46)  # nobody's
    reporting.run(seconds=1)
    assert reporting.states(one)[-1] == "answered"
    assert reporting.state(two) is State.AWAITING_REPLY
    reporting.judge()


# -- second texts -------------------------------------------------------------------------------------------------


def test_a_text_that_comes_twice_is_a_double(stage: Stage) -> None:
    one = stage.ask(card(1, 95))
    stage.answered(one)
    stage.run(seconds=10)
    view = stage.check(one)
    assert [reply.role for reply in view.replies] == ["answer", "double"]
    first, second = stage.messages()
    assert (first.double_of, second.double_of) == (None, first.id)
    assert events_of(stage.store, one) == ["check.answered"]


def test_two_equal_texts_to_two_questions_are_two_answers(nameless: Stage) -> None:
    """Two "tidak ditemukan" in a row: the same bytes, but each has its own question."""
    one, two = nameless.ask(card(1, 90)), nameless.ask(card(2, 90))
    nameless.run(until=nameless.ended(one, two), minutes=10)
    views = [nameless.check(one), nameless.check(two)]
    assert [view.outcome for view in views] == ["not_found", "not_found"]
    assert views[0].replies[0].text == views[1].replies[0].text
    assert [len(view.replies) for view in views] == [1, 1]


def test_another_text_about_the_card_amends(stage: Stage) -> None:
    one = stage.ask(card(1))
    stage.answered(one)
    stage.text(balance_text(card(1), 4321))
    stage.run(seconds=2)
    view = stage.check(one)
    assert view.record is not None
    assert view.record["balance"] == 4321
    assert [reply.role for reply in view.replies] == ["answer", "amendment"]
    assert events_of(stage.store, one) == ["check.answered", "check.amended"]


def test_two_nameless_texts_that_contradict_take_the_record_back(nameless: Stage) -> None:
    one = nameless.ask(card(1))
    assert nameless.answered(one).evidence == "sole"
    nameless.text("Saldo JHT Anda per 31-10-2026 Rp 4.321.")
    nameless.run(seconds=2)
    view = nameless.check(one)
    assert (view.state, view.record, view.outcome) == (State.NO_REPLY, None, None)
    assert [(m.state, m.reason) for m in nameless.messages()] == [("unmatched", "contradiction")] * 2
    assert events_of(nameless.store, one) == ["check.answered", "check.detached"]
    two = nameless.ask(card(2))
    nameless.run(minutes=30, stride=30)
    assert nameless.state(two) is State.QUEUED  # a third text may come until `late`
    nameless.run(minutes=31, stride=20, until=lambda: nameless.state(two) is not State.QUEUED)
    nameless.answered(two)


def test_a_text_that_nothing_reads_is_a_note_until_the_deadline(nameless: Stage) -> None:
    one = nameless.ask(card(1, 91))
    nameless.run(seconds=30)
    assert nameless.state(one) is State.AWAITING_REPLY
    view = nameless.answered(one, minutes=6)
    assert (view.outcome, view.evidence, view.record) == ("unrecognised", "note", None)
    assert [reply.role for reply in view.replies] == [Role.NOTE]
    assert view.submitted_at is not None
    assert view.answered_at is not None
    assert view.answered_at - view.submitted_at >= 5 * MINUTE


def test_an_interim_text_alone_is_no_reply_that_says_so(stage: Stage) -> None:
    stage.network.interfere(lambda one: [one] if "diproses" in one.text else [])
    one = stage.ask(card(1, 99))
    stage.run(until=stage.ended(one), minutes=6)
    view = stage.check(one)
    assert (view.state, view.outcome) == (State.NO_REPLY, Outcome.INTERIM)
    assert [reply.role for reply in view.replies] == ["interim"]


def test_an_answer_after_an_interim_text_is_the_answer(stage: Stage) -> None:
    view = stage.answered(stage.ask(card(1, 99)))
    assert [reply.role for reply in view.replies] == ["interim", "answer"]


def test_a_late_text_with_a_card_answers_and_one_without_stays_unmatched(
    stage: Stage, tmp_path: Path
) -> None:
    one = stage.ask(card(1, 92))
    stage.run(until=stage.ended(one), minutes=6)
    assert stage.state(one) is State.NO_REPLY
    stage.run(until=lambda: stage.state(one) is State.ANSWERED, minutes=6)
    view = stage.check(one)
    assert (view.late, view.evidence) == (True, "echo")
    assert events_of(stage.store, one) == ["check.no_reply", "check.answered"]


def test_a_late_text_without_a_card_stays_unmatched_and_ends_the_hold(nameless: Stage) -> None:
    one = nameless.ask(card(1, 92))
    nameless.run(until=nameless.ended(one), minutes=6)
    two = nameless.ask(card(2))
    nameless.run(minutes=6, stride=5, until=lambda: bool(nameless.messages()))
    (message,) = nameless.messages()
    assert (message.state, message.reason) == ("unmatched", "late_without_card")
    assert nameless.state(one) is State.NO_REPLY
    came = nameless.clock.now
    view = nameless.answered(two)
    assert view.submitted_at is not None
    assert timedelta(0) <= view.submitted_at - came - MINUTE <= timedelta(seconds=10)
    nameless.judge()


def test_a_service_that_says_so_is_asked_again_once_when_nothing_can_come_any_more(tmp_path: Path) -> None:
    with staged(tmp_path, services={BALANCE: {**SHORT, "ask_again": 1}}) as stage:
        one = stage.ask(card(1, 93))
        stage.run(until=stage.ended(one), minutes=5)
        first, second = stage.ledger("submitted")
        assert second.at - first.at >= SHORT["late"]
        view = stage.check(one)
        assert (view.state, view.attempts, view.cost) == (State.NO_REPLY, 2, 700)
        stage.run(minutes=5, stride=20)
        assert len(stage.asked()) == 2


def test_texts_of_strangers_are_kept_for_a_person(stage: Stage) -> None:
    one = stage.ask(card(1))
    stage.turn()
    for sender in ("+6281299900001", "PROMO", "5555"):
        stage.text(balance_text(card(1), 5), sender=sender)
    stage.run(seconds=2)
    assert stage.state(one) is State.AWAITING_REPLY
    found = [(m.state, m.reason) for m in stage.messages()]
    assert found == [("unmatched", "unknown_sender")] * 3
    assert [e.kind for e in read_feed(stage.store, 0, 100)].count("message.unmatched") == 3
    stage.answered(one)


def test_a_text_about_a_card_that_nobody_asked_is_nobodys(stage: Stage) -> None:
    one = stage.ask(card(1))
    stage.turn()
    stage.text(balance_text(card(2), 5))
    stage.run(seconds=2)
    assert [(m.state, m.reason) for m in stage.messages()] == [("unmatched", "names_another")]
    view = stage.answered(one)
    assert view.record is not None
    assert view.record["balance"] == balance_of(card(1))


def test_a_nameless_text_from_before_the_question_is_nobodys(nameless: Stage) -> None:
    """It lay at the service centre while the SIM was away: its stamp is older than the question."""
    dongle = nameless.dongles["xl-1"]
    nameless.run(seconds=2)
    nameless.text("Saldo JHT Anda per 31-10-2026 Rp 9.")  # so that the centre's clock is known
    nameless.run(seconds=2)
    old = encode_deliver("2757", "Saldo JHT Anda per 31-10-2026 Rp 4.321.", nameless.clock.now - 20 * MINUTE)
    one = nameless.ask(card(1))
    nameless.turn()
    dongle.receive(old, False, nameless.clock.now)
    nameless.run(seconds=3)
    assert nameless.state(one) is State.AWAITING_REPLY
    assert [m.reason for m in nameless.messages("unmatched")] == ["unsolicited", "unsolicited"]
    nameless.answered(one)
    nameless.judge()


# -- whose record is whose ----------------------------------------------------------------------------------------

# What a service may say to one question: the second text within `settle` of the first (but for an interim one), and
# either both name the card or neither does. Beyond that no rule helps (design, section 4.1).
SAYS = [
    ["nameless"],
    ["nameless", "nameless"],
    ["interim", "nameless"],
    ["named"],
    ["named", "named"],
    ["interim", "named"],
    ["not_found"],
    ["nobody"],
    ["unread"],
    [],
]
replies = st.tuples(
    st.sampled_from(SAYS),
    st.sampled_from([0, 8, 29, 31, 40, 60, 85]),  # seconds; `timeout` is 30 s, `late` 90 s
    st.integers(0, 2),  # seconds until the second text
    st.sampled_from([1, 1, 2]),  # copies
)
worlds = st.tuples(
    st.integers(1, 2),  # SIMs
    st.lists(st.tuples(st.integers(1, 4), st.integers(0, 20)), min_size=3, max_size=6),  # card, pause
    st.lists(replies, min_size=6, max_size=6),
    st.lists(
        st.sampled_from([False, False, False, True]), min_size=6, max_size=6
    ),  # lost on its way to the SIM
)


@settings(max_examples=25)
@given(world=worlds)
def test_no_record_goes_to_a_card_whose_reply_it_was_not(
    world: tuple[int, list[tuple[int, int]], list[tuple[list[str], int, int, int]], list[bool]],
) -> None:
    sims, asks, plans, losses = world
    plan, lost = iter(plans), iter(losses)
    told: dict[int, str] = {}  # a balance for each reply, so that a record tells where it came from

    def answer(sender: str, text: str, now: datetime) -> list[Reply]:
        kpj = text.removeprefix("BALANCE#").removesuffix("#")
        said = []
        kinds, delay, gap, copies = next(plan, ([], 0, 0, 1))
        for nth, kind in enumerate(kinds):
            seconds = delay if nth == 0 else delay + gap
            if kind == "interim":
                seconds = min(delay, 5)
            told[balance := 10_000 + len(told)] = kpj
            words = {
                "named": balance_text(kpj, balance),
                "nameless": f"Saldo JHT Anda per 31-10-2026 Rp {balance}.",
                "not_found": f"Maaf, KPJ {kpj} tidak ditemukan.",
                "nobody": f"Maaf, nomor tidak ditemukan. Ref {balance}.",
                "unread": f"Info layanan {balance}.",
                "interim": "Permintaan Anda sedang diproses. Mohon tunggu.",
            }[kind]
            said.append(Reply(words, after=timedelta(seconds=seconds), copies=copies))
        return said

    def lose(one: Delivery) -> list[Delivery]:
        return [] if next(lost, False) else [one]

    looks = {f"xl-{n + 1}": LaneLook() for n in range(sims)}
    with (
        TemporaryDirectory() as folder,
        staged(Path(folder), looks=looks, services={BALANCE: SHORT, STATUS: SHORT}) as stage,
    ):
        stage.network.subscriber(BALANCE_ADDRESS, answer)
        stage.network.interfere(lose)
        checks = []
        for number, pause in asks:
            checks.append((stage.ask(card(number)), card(number)))
            stage.run(seconds=pause)
        stage.run(
            minutes=12,
            stride=1,
            until=lambda: stage.ended(*(c for c, _ in checks))() and not stage.network.due,
        )
        stage.run(seconds=6)
        for check_id, kpj in checks:
            view = stage.check(check_id)
            assert view.state in (State.ANSWERED, State.NO_REPLY)
            balance = (view.record or {}).get("balance")
            if balance is not None:
                assert told[balance] == kpj, view
            for reply in view.replies:
                if (found := re.search(r"(?:Rp|Ref) (\d+)", reply.text)) and reply.role != Role.NOTE:
                    assert told[int(found[1])] == kpj, view
        stage.all_kept()
