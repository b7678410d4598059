"""People with phones: what they may write, the one SMS that they get back, and how often, through the simulated network."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lanes_playing import BALANCE, STATUS, TEMPLATES, LaneLook, Stage, card, staged

from app.domain.services import Catalogue, parts_of
from app.domain.states import State
from app.faces.phone import LONGEST, fit, rupiah, understand
from app.simulation import balance_of, member_of
from app.store import phones
from app.store import tables as t
from modem.simulated.traffic import Text

SITI = "+6281299900001"
BUDI = "+6281299900002"
KPJ = card(1)
JKN = "0009900000001"
CATALOGUE = Catalogue.load(TEMPLATES)
INVITED = {"open_to_all": False, "per_day": 10}


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """Siti is let in."""
    with staged(tmp_path, phone=INVITED) as one:
        let_in(one, SITI)
        yield one


def let_in(stage: Stage, number: str, language: str | None = None, allowed: bool = True) -> None:
    stage.store.write(
        lambda tx: phones.allow(tx, number, allowed=allowed, now=stage.clock.now, language=language)
    )


def inbox(stage: Stage, number: str = SITI) -> list[str]:
    return [text.text for text in stage.network.person(number).inbox]


def texts(stage: Stage, text: str, number: str = SITI, seconds: float = 12) -> list[str]:
    """A person texts our SIM; what they get back."""
    before = len(inbox(stage, number))
    stage.text(text, sender=number)
    stage.run(seconds=seconds)
    return inbox(stage, number)[before:]


def one_sms(text: str) -> None:
    assert len(text) <= LONGEST
    assert parts_of(text) == 1
    assert text.isascii()


# -- what a text asks ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "service", "number"),
    [
        (f"SALDO {KPJ}", BALANCE, KPJ),
        (f"saldo#{KPJ}#", BALANCE, KPJ),
        (f"  Cek  Saldo : {KPJ[:5]} {KPJ[5:]} ", BALANCE, KPJ),
        (f"CEK.SALDO/{KPJ[:3]}-{KPJ[3:]}", BALANCE, KPJ),
        (f"STATUS\n{JKN}", STATUS, JKN),
        (f"cek_status*{JKN}.", STATUS, JKN),
    ],
)
def test_words_and_a_number_are_understood_however_they_are_set(text: str, service: str, number: str) -> None:
    asked = understand(text, CATALOGUE)
    assert asked is not None
    assert asked.request is not None
    assert (asked.service.name, asked.request.subject) == (service, number)


@pytest.mark.parametrize("text", [f"SALDO {KPJ[:-1]}", "SALDO", "STATUS abc", f"STATUS {JKN}1"])
def test_a_number_that_does_not_fit_is_told_from_a_text_that_asks_nothing(text: str) -> None:
    asked = understand(text, CATALOGUE)
    assert asked is not None
    assert asked.request is None


@pytest.mark.parametrize("text", ["", "halo", KPJ, f"SALDOKU {KPJ}", f"tolong SALDO {KPJ}", "CEK", "#"])
def test_what_begins_with_no_words_of_a_service_asks_nothing(text: str) -> None:
    assert understand(text, CATALOGUE) is None


@given(
    words=st.sampled_from(["SALDO", "CEK SALDO", "STATUS", "CEK STATUS"]),
    digits=st.text("0123456789", min_size=6, max_size=8),
    ending=st.text("0123456789", min_size=3, max_size=3),
    separators=st.lists(st.text(" .,:;#*/_-\n", min_size=1, max_size=3), min_size=6, max_size=6),
    upper=st.booleans(),
)
def test_separators_and_case_change_nothing(
    words: str, digits: str, ending: str, separators: list[str], upper: bool
) -> None:
    number = ("0009900000"[: 13 - 3] if "STATUS" in words else "99" + digits[:6].ljust(6, "0")) + ending
    gaps = iter(separators)
    text = (
        next(gaps).join(["", *words.split()]) + next(gaps) + number[:4] + next(gaps) + number[4:] + next(gaps)
    )
    asked = understand(text if upper else text.lower(), CATALOGUE)
    assert asked is not None
    assert asked.request is not None
    assert asked.request.subject == number


@given(st.text(max_size=200))
def test_any_text_at_all_is_understood_or_not(text: str) -> None:
    asked = understand(text, CATALOGUE)
    assert asked is None or text.upper().strip(" \t\r\n.,:;#*/_-")[:3] in ("SAL", "CEK", "STA")


@given(
    st.lists(st.text(max_size=250), min_size=1, max_size=6).filter(
        lambda pieces: any(p.strip() for p in pieces)
    )
)
def test_whatever_is_said_fits_one_sms(pieces: list[str]) -> None:
    one_sms(fit(pieces))


@given(st.lists(st.text("abcXYZ [{^~|\\€é`", min_size=1, max_size=220), min_size=1, max_size=3).filter(lambda pieces: bool(pieces[0].strip())))  # fmt: skip
def test_characters_that_count_twice_fit_too(pieces: list[str]) -> None:
    one_sms(fit(pieces))


@given(st.integers(0, 10**15))
def test_money_is_grouped_with_dots(amount: int) -> None:
    text = rupiah(amount)
    assert int(text.removeprefix("Rp").replace(".", "")) == amount
    assert all(len(group) == 3 for group in text.split(".")[1:])


# -- answers ------------------------------------------------------------------------------------------------------


def test_a_person_gets_the_balance_in_one_sms(stage: Stage) -> None:
    (answer,) = texts(stage, f"SALDO {KPJ}")
    one_sms(answer)
    assert f"saldo {rupiah(balance_of(KPJ))}" in answer
    assert KPJ not in answer  # whoever holds the phone sees no whole number
    assert KPJ[-3:] in answer
    (message, reply) = stage.messages()
    assert (message.state, message.reason, reply.state) == ("phone", "asked", "attributed")
    (ask,) = stage.rows(t.phone_asks)
    assert ask.state == "sent"


def test_a_person_gets_the_status_in_the_language_that_was_set(stage: Stage) -> None:
    let_in(stage, BUDI, "en")
    (indonesian,) = texts(stage, f"STATUS {JKN}")
    (english,) = texts(stage, f"status {JKN}", BUDI, seconds=90)
    member = member_of(JKN)
    said = {"AKTIF": ("AKTIF", "ACTIVE")}.get(member["status"], ("TIDAK AKTIF", "INACTIVE"))
    assert f"kartu JKN 000" in indonesian  # noqa: F541
    assert said[0] in indonesian
    assert said[1] in english
    assert "JKN card number" in english
    one_sms(indonesian)
    one_sms(english)


@pytest.mark.parametrize(
    ("ending", "words"),
    [
        (90, "tidak ditemukan"),
        (91, "belum kami kenal"),
        (94, "Rp"),
        (98, "sedang sibuk"),
        (99, "Rp"),
    ],
)
def test_every_outcome_is_worded(stage: Stage, ending: int, words: str) -> None:
    (answer,) = texts(stage, f"SALDO {card(5, ending)}", seconds=40)
    one_sms(answer)
    assert words in answer


def test_silence_is_said_at_the_deadline(stage: Stage) -> None:
    (answer,) = texts(stage, f"SALDO {card(5, 93)}", seconds=320)
    one_sms(answer)
    assert "belum dijawab" in answer


def test_a_late_answer_is_sent_on_once(stage: Stage) -> None:
    none, late = texts(stage, f"SALDO {card(5, 92)}", seconds=620)
    assert "belum dijawab" in none
    assert late.startswith("Jawaban susulan:")
    assert rupiah(balance_of(card(5, 92))) in late
    one_sms(late)
    stage.text(f"Saldo JHT KPJ {card(5, 92)} per 31-10-2026 Rp 5.")  # amended: not sent on again
    stage.run(minutes=2)
    assert len(inbox(stage)) == 2


def test_two_people_asking_the_same_share_one_question_and_both_get_it(stage: Stage) -> None:
    let_in(stage, BUDI)
    stage.text(f"SALDO {KPJ}", sender=SITI)
    stage.text(f"SALDO {KPJ}", sender=BUDI)
    stage.run(seconds=15)
    assert inbox(stage, SITI) == inbox(stage, BUDI)
    assert len(inbox(stage)) == 1
    assert stage.asked().count(f"BALANCE#{KPJ}#") == 1


# -- who gets none ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "sender", ["2757", "5555", "PROMO", "+6287775500400", "+12025550100", "+622129990001"]
)
def test_short_codes_names_services_and_foreign_numbers_get_no_answer(tmp_path: Path, sender: str) -> None:
    with staged(tmp_path, phone={"open_to_all": True, "per_day": 10}) as stage:
        for text in ("halo", f"SALDO {KPJ}"):
            stage.text(text, sender=sender)
            stage.run(seconds=10)
        assert stage.asked() == []
        assert {m.state for m in stage.messages()} == {"unmatched"}


def test_who_is_not_let_in_hears_nothing_and_causes_nothing(stage: Stage) -> None:
    assert texts(stage, f"SALDO {KPJ}", BUDI) == []
    let_in(stage, BUDI, allowed=False)
    assert texts(stage, "halo", BUDI) == []
    assert stage.asked() == []
    assert [(m.state, m.reason) for m in stage.messages()] == [("phone", "not_let_in")] * 2
    let_in(stage, BUDI)
    assert len(texts(stage, f"SALDO {KPJ}", BUDI)) == 1


def test_without_the_setting_phones_are_strangers(tmp_path: Path) -> None:
    with staged(tmp_path) as stage:
        assert texts(stage, f"SALDO {KPJ}") == []
        assert [m.reason for m in stage.messages()] == ["unknown_sender"]


# -- how often ----------------------------------------------------------------------------------------------------


def test_the_format_is_told_once_a_day(stage: Stage) -> None:
    (how,) = texts(stage, "halo")
    one_sms(how)
    assert "SALDO" in how
    assert "STATUS" in how
    assert texts(stage, "apa?") == []
    assert texts(stage, "hei") == []
    assert len(texts(stage, f"SALDO {KPJ}")) == 1
    stage.clock.advance(hours=25)
    stage.turn()
    assert len(texts(stage, "halo lagi")) == 1


def test_two_robots_do_not_talk_for_ever(stage: Stage) -> None:
    """The person's phone answers every text of ours with the same words."""

    def robot(sender: str, _text: str, _now: object) -> list[object]:
        stage.network.text(
            SITI, sender, "Saya sedang sibuk.", now=stage.clock.now, after=timedelta(seconds=1)
        )
        return []

    stage.network.subscriber(SITI, robot)  # type: ignore[arg-type]
    stage.text("halo", sender=SITI)
    stage.run(minutes=5)
    assert len(stage.asked()) == 1


def test_ten_a_day_and_then_one_last_word(tmp_path: Path) -> None:
    with staged(tmp_path, phone={"open_to_all": True, "per_day": 3}) as stage:
        for n in range(3):
            (answer,) = texts(stage, f"SALDO {card(n)}", seconds=20)
            assert "saldo Rp" in answer
        (last,) = texts(stage, f"SALDO {card(3)}")
        assert "3 kali" in last
        one_sms(last)
        assert texts(stage, f"SALDO {card(4)}") == []
        assert texts(stage, "halo") == []
        assert len(texts(stage, f"SALDO {card(4)}", BUDI)) == 1
        stage.clock.advance(hours=25)
        stage.turn()
        assert len(texts(stage, f"SALDO {card(6)}")) == 1


# -- sending ------------------------------------------------------------------------------------------------------


def test_a_refused_answer_is_tried_again_with_pauses(stage: Stage) -> None:
    stage.dongles["xl-1"].knobs.turn({"submit_errors": 3, "submit_error": 42})
    assert len(texts(stage, "halo", seconds=4)) == 0
    tries = stage.rows(t.submissions)
    assert len(tries) == 1
    stage.run(minutes=5)
    assert len(inbox(stage)) == 1
    opened = [row.opened_at for row in stage.rows(t.submissions)]
    pauses = [(b - a).total_seconds() for a, b in itertools.pairwise(opened)]
    assert len(pauses) == 3
    assert pauses == sorted(pauses)
    assert pauses[0] >= 10


def test_an_answer_that_may_have_gone_out_is_not_repeated(tmp_path: Path) -> None:
    look = LaneLook(status_reports=False, cmgs_timeout=timedelta(milliseconds=400))
    with staged(tmp_path, phone=INVITED, looks={"xl-1": look}) as stage:
        let_in(stage, SITI)
        stage.dongles["xl-1"].knobs.turn({"silence": 1, "silent_sends": False})
        assert texts(stage, "halo", seconds=60) == []
        (ask,) = stage.rows(t.phone_asks)
        assert ask.state == "uncertain"


def test_an_answer_waits_for_a_paused_lane_and_not_for_a_held_conversation(stage: Stage) -> None:
    one = stage.ask(card(9, 93))
    stage.turn()
    assert len(texts(stage, "halo", seconds=2)) == 1
    assert stage.state(one) is State.AWAITING_REPLY


def test_an_answer_comes_from_the_sim_that_was_asked(tmp_path: Path) -> None:
    with staged(tmp_path, phone=INVITED, looks={"xl-1": LaneLook(), "xl-2": LaneLook()}) as stage:
        let_in(stage, SITI)
        stage.run(seconds=1)
        for n in range(2):
            stage.text(f"SALDO {card(n)}", sender=SITI, name=f"xl-{n + 1}")
            stage.run(seconds=15)
        received: list[Text] = stage.network.person(SITI).inbox
        assert [text.sender for text in received] == ["+6281700000001", "+6281700000002"]
        assert date.fromisoformat("2026-11-24") == received[0].at.date()
