from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from importlib.resources import files
from random import Random
from typing import Any, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.attribution import Candidate, Decision, Reason, decide, hold_after
from app.domain.identifiers import find, fits, mask
from app.domain.reading import read
from app.domain.services import Catalogue, Reply, Service
from app.domain.states import Outcome

NOW = datetime(2026, 11, 23, 2, 0, tzinfo=UTC)
A, B, C = "99012345678", "99012399999", "99077777778"
SOME = Catalogue.load(files("templates_sms"))["bpjstk-balance"]
UNANSWERING = (Outcome.INTERIM, Outcome.UNRECOGNISED)


def _echoing(replies: Sequence[Reply]) -> tuple[Reply, ...]:
    return tuple(r if r.outcome in UNANSWERING else r.model_copy(update={"echo": True}) for r in replies)


ALWAYS = SOME.model_copy(update={"name": "always", "replies": _echoing(SOME.replies)})
NEVER = SOME.model_copy(update={"name": "never", "replies": tuple(r for r in SOME.replies if not r.echo)})
STRICT = SOME.model_copy(update={"name": "strict", "require_evidence": "echo"})
NIK = SOME.model_copy(
    update={"name": "nik", "fields": {"kpj": SOME.fields["kpj"].model_copy(update={"kind": "nik"})}}
)
SERVICES = {service.name: service for service in (SOME, ALWAYS, NEVER, STRICT, NIK)}

FOUND_A, FOUND_B = f"Saldo KPJ {A} Rp 5.000", f"Saldo KPJ {B} Rp 6.000"
BARE, OTHER_BARE = "Saldo JHT Anda Rp 5.000", "Saldo JHT Anda Rp 7.000"
GONE, INTERIM, ODD = "Data tidak ditemukan", "Permintaan sedang diproses", "Selamat pagi"


def asked(
    question: str = "q1", subject: str = A, ago: int = 30, service: Service = SOME, **state: Any
) -> Candidate:
    """A submission `ago` seconds ago, in flight and held unless said otherwise."""
    state = {"in_flight": True, "held": True, **state}
    return Candidate(
        f"sub-{question}-{ago}",
        question,
        service.name,
        subject,
        service.subject_field.kind,
        NOW - timedelta(seconds=ago),
        **state,
    )


def answered(text: str, evidence: str = "sole", ago: int = 60, since: int = 10, **state: Any) -> Candidate:
    state = {"in_flight": False, "held": evidence != "echo", "question": "q1", "subject": A, **state}
    service = state.get("service", SOME)
    return asked(
        ago=ago,
        answered=True,
        evidence=evidence,
        answered_at=NOW - timedelta(seconds=since),
        answer_text=text,
        outcome=read(service, text).outcome.value,
        **state,
    )


def decided(
    text: str, *candidates: Candidate, stamped: datetime | None = None, **services: Service
) -> Decision:
    known = (
        {s.name: s for s in services.values()}
        or {c.service: SERVICES[c.service] for c in candidates}
        or {SOME.name: SOME}
    )
    readings = {name: read(service, text) for name, service in known.items()}
    decision = decide(readings, text, stamped, candidates, known, NOW)
    assert decide(readings, text, stamped, candidates[::-1], known, NOW) == decision
    return decision


def unmatched(decision: Decision) -> Reason | None:
    assert decision.kind == "unmatched"
    assert decision.evidence is None
    return decision.reason


# Rule 1: the text names a card


def test_a_text_goes_to_the_question_whose_card_it_names() -> None:
    decision = decided(FOUND_A, asked("q2", B), asked("q1", A, ago=90, in_flight=False, held=False))
    assert (decision.kind, decision.question_id, decision.evidence) == ("answer", "q1", "echo")
    assert decision.late
    assert decision.end_hold_after == timedelta()


def test_an_answer_in_time_is_not_late() -> None:
    assert not decided(FOUND_A, asked()).late


@pytest.mark.parametrize("form", ["9901 2345 678", "9901.2345.678", "990*****678", "9901**5678"])
def test_spaced_dotted_and_masked_forms_name_a_card(form: str) -> None:
    decision = decided(f"Saldo KPJ {form} Rp 5.000", asked(), asked("q2", B, in_flight=False))
    assert (decision.kind, decision.question_id, decision.evidence) == ("answer", "q1", "echo")


def test_a_text_that_names_another_card_stays_unmatched() -> None:
    assert unmatched(decided(FOUND_B, asked())) is Reason.NAMES_ANOTHER
    assert unmatched(decided("Saldo KPJ 990*****999 Rp 5.000", asked())) is Reason.NAMES_ANOTHER
    assert unmatched(decided(FOUND_B)) is Reason.NAMES_ANOTHER


def test_of_several_named_cards_the_one_still_held_is_meant() -> None:
    both = f"Saldo: KPJ {A} Rp 5.000; KPJ {B} Rp 6.000"
    idle = asked("q2", B, ago=900, in_flight=False, held=False)
    assert decided(both, asked(), idle).question_id == "q1"
    assert unmatched(decided(both, asked(), replace(idle, held=True))) is Reason.AMBIGUOUS
    assert unmatched(decided(both, asked(in_flight=False, held=False), idle)) is Reason.AMBIGUOUS


def test_a_mask_that_fits_several_cards_means_the_one_still_held() -> None:
    text = "Saldo KPJ 990*****678 Rp 5.000"
    idle = asked("q2", "99011111678", ago=900, in_flight=False, held=False)
    assert decided(text, asked(), idle).question_id == "q1"
    assert unmatched(decided(text, asked(), replace(idle, held=True))) is Reason.AMBIGUOUS


def test_the_newest_unanswered_question_about_a_card_gets_its_text() -> None:
    old = asked("q1", ago=900, in_flight=False)
    assert decided(FOUND_A, old, asked("q2", ago=20)).question_id == "q2"
    assert decided(FOUND_A, old, answered(FOUND_A, "echo", question="q3", ago=20)).question_id == "q1"


def test_an_interim_text_that_names_the_card_is_only_kept() -> None:
    decision = decided(f"KPJ {A} sedang diproses", asked())
    assert (decision.kind, decision.question_id, decision.end_hold_after) == ("interim", "q1", None)


def test_a_text_that_names_the_card_and_cannot_be_read_is_an_answer() -> None:
    decision = decided(f"KPJ {A} selamat pagi", asked())
    assert (decision.kind, decision.evidence) == ("answer", "echo")


def test_a_second_text_about_an_answered_card() -> None:
    first = answered(FOUND_A, "echo")
    assert decided(FOUND_A, first).kind == "double"
    assert decided(f"Saldo KPJ {A} Rp 9.000", first).kind == "amendment"
    assert decided(f"KPJ {A} tidak ditemukan", first).kind == "amendment"
    assert decided(f"KPJ {A} sedang diproses", first).kind == "note"
    assert decided(f"KPJ {A} selamat pagi", first).kind == "note"
    assert decided(f"KPJ {A} sistem sibuk", first).kind == "note"


def test_an_echo_replaces_what_a_sole_candidate_was_given() -> None:
    decision = decided(FOUND_A, answered(BARE), asked("q2", B))
    assert (decision.kind, decision.question_id, decision.evidence) == ("amendment", "q1", "echo")
    assert decision.end_hold_after == timedelta()


def test_only_a_number_of_the_subjects_own_kind_names_a_card() -> None:
    text = f"NIK 9901014101900001: {BARE}"
    assert decided(text, asked()).evidence == "sole"
    mixed = decided(FOUND_B, asked("q1", A, in_flight=False), asked("q2", "9901014101900001", service=NIK))
    assert (mixed.question_id, mixed.evidence) == ("q2", "sole")


def test_of_two_services_about_one_card_the_one_that_reads_the_text_is_meant() -> None:
    deaf = SOME.model_copy(update={"name": "deaf", "replies": SOME.replies[3:4]})
    candidate = replace(asked("q2", ago=10), service="deaf")
    assert (
        decided(FOUND_A, asked("q1", ago=600, in_flight=False), candidate, a=SOME, b=deaf).question_id == "q1"
    )


# Rule 2: it names none, and nothing without a card may be given


@pytest.mark.parametrize("service", [ALWAYS, STRICT])
def test_a_service_that_must_name_the_card_gets_no_text_without_one(service: Service) -> None:
    assert unmatched(decided(BARE, asked(service=service))) is Reason.NO_CARD
    assert unmatched(decided(BARE, s=service)) is Reason.NO_CARD


def test_beside_a_service_that_always_names_the_card_another_is_the_only_candidate() -> None:
    decision = decided(BARE, asked("q1", service=ALWAYS, in_flight=False), asked("q2", B, service=NEVER))
    assert (decision.kind, decision.question_id, decision.evidence) == ("answer", "q2", "sole")


# Rule 3: it names none: who may have caused it


def test_nobody_asked() -> None:
    assert unmatched(decided(BARE)) is Reason.UNSOLICITED
    assert unmatched(decided(BARE, asked(in_flight=False, held=False))) is Reason.UNSOLICITED
    assert unmatched(decided(BARE, answered(FOUND_A, "echo", held=True))) is Reason.UNSOLICITED


def test_two_that_are_held_are_ambiguous() -> None:
    decision = decided(BARE, asked(), asked("q2", B, ago=900, in_flight=False))
    assert unmatched(decision) is Reason.AMBIGUOUS
    assert decision.candidates == 2


def test_a_copy_of_what_was_found_within_the_hour_is_ambiguous_too() -> None:
    first = answered(BARE, held=False, since=3500)
    assert unmatched(decided(BARE, first, asked("q2", B))) is Reason.AMBIGUOUS
    assert decided(BARE, first).kind == "double"
    assert (
        decided(BARE, replace(first, answered_at=NOW - timedelta(seconds=3700)), asked("q2", B)).question_id
        == "q2"
    )
    assert decided(GONE, answered(GONE, held=False), asked("q2", B)).question_id == "q2"


def test_what_was_submitted_after_the_text_was_stamped_did_not_cause_it() -> None:
    old, new = asked("q1", ago=3000, in_flight=False), asked("q2", B, ago=20)
    stamped = NOW - timedelta(seconds=400)
    assert decided(BARE, old, new, stamped=stamped).question_id == "q1"
    assert unmatched(decided(BARE, new, stamped=stamped)) is Reason.UNSOLICITED
    assert decided(BARE, new, stamped=NOW - timedelta(seconds=310)).question_id == "q2"


def test_a_question_from_before_our_clock_was_set_back_is_not_judged_by_stamps() -> None:
    ahead = asked("q1", ago=-3600)
    assert decided(BARE, ahead, stamped=NOW).question_id == "q1"
    assert decided(BARE, ahead, asked("q2", B), stamped=NOW).reason is Reason.AMBIGUOUS


def test_two_submissions_of_one_question_are_one_candidate() -> None:
    decision = decided(BARE, asked(ago=20), asked(ago=3700, in_flight=False))
    assert (decision.kind, decision.submission_id) == ("answer", "sub-q1-20")


# Rule 4: exactly one, in flight


@pytest.mark.parametrize(
    ("text", "settles"), [(BARE, 1), (GONE, 3), ("Sistem sibuk", 3), ("Format salah", 3)]
)
def test_the_sole_candidate_gets_a_text_that_is_read(text: str, settles: int) -> None:
    decision = decided(text, asked())
    assert (decision.kind, decision.question_id, decision.evidence) == ("answer", "q1", "sole")
    assert decision.end_hold_after == settles * SOME.timing.settle
    assert not decision.late


def test_the_sole_candidate_keeps_waiting_after_anything_else() -> None:
    assert decided(INTERIM, asked()).kind == "interim"
    assert decided(ODD, asked()).kind == "note"
    assert decided(ODD, asked()).end_hold_after is None


# Rule 5: exactly one, no longer in flight


def test_a_late_text_without_a_card_is_nobodys() -> None:
    decision = decided(BARE, asked(in_flight=False))
    assert unmatched(decision) is Reason.LATE_WITHOUT_CARD
    assert (decision.submission_id, decision.end_hold_after) == ("sub-q1-30", SOME.timing.settle)


def test_an_advertisement_does_not_end_a_hold() -> None:
    decision = decided(ODD, asked(in_flight=False))
    assert unmatched(decision) is Reason.LATE_WITHOUT_CARD
    assert decision.end_hold_after is None


def test_a_second_text_without_a_card() -> None:
    first = answered(BARE)
    assert decided(BARE, first).kind == "double"
    assert decided(ODD, first).kind == "note"
    assert decided(INTERIM, first).kind == "note"
    decision = decided(OTHER_BARE, first)
    assert unmatched(decision) is Reason.CONTRADICTION
    assert decision.withdraw
    assert decision.question_id == "q1"
    assert decision.end_hold_after == SOME.timing.late - timedelta(seconds=60)


def test_what_a_person_attached_is_not_withdrawn() -> None:
    decision = decided(OTHER_BARE, answered(BARE, "person"))
    assert unmatched(decision) is Reason.CONTRADICTION
    assert not decision.withdraw
    assert decision.question_id is None


@pytest.mark.parametrize(
    ("ended", "service", "outcome", "seconds"),
    [
        ("echo", SOME, Outcome.FOUND, 0),
        ("refused", SOME, None, 0),
        ("sole", SOME, Outcome.FOUND, 60),
        ("sole", SOME, Outcome.NOT_FOUND, 180),
        ("note", SOME, None, 60),
        ("late_without_card", SOME, None, 60),
        ("no_reply", SOME, None, 3600 - 300),
        ("no_reply", NEVER, None, 3600 - 300),
        ("no_reply", ALWAYS, None, 0),
    ],
)
def test_holds(ended: Any, service: Service, outcome: Outcome | None, seconds: int) -> None:
    opened = NOW - timedelta(minutes=5)
    assert hold_after(ended, service, opened_at=opened, now=NOW, outcome=outcome) == timedelta(
        seconds=seconds
    )


# Properties

TEXTS = (FOUND_A, FOUND_B, f"Saldo KPJ {mask('kpj', A)} Rp 5.000", BARE, OTHER_BARE, GONE, INTERIM, ODD,
         f"KPJ {B} tidak ditemukan", f"Saldo: KPJ {A} Rp 5.000; KPJ {B} Rp 6.000", f"KPJ {C} sedang diproses")  # fmt: skip


@st.composite
def worlds(draw: st.DrawFn) -> list[Candidate]:
    made = []
    for place in range(draw(st.integers(0, 5))):
        service = draw(st.sampled_from([SOME, ALWAYS, NEVER, STRICT]))
        subject, ago = draw(st.sampled_from([A, B, C])), draw(st.integers(1, 80_000))
        if draw(st.booleans()):
            text, evidence = (
                draw(st.sampled_from(TEXTS)),
                draw(st.sampled_from(["echo", "sole", "note", "person"])),
            )
            made.append(answered(text, evidence, ago, draw(st.integers(0, ago)), question=f"q{place}", subject=subject,
                                 service=service, held=draw(st.booleans())))  # fmt: skip
        else:
            flying = draw(st.booleans())
            made.append(
                asked(
                    f"q{place}", subject, ago, service, in_flight=flying, held=flying or draw(st.booleans())
                )
            )
    return made


stamps = st.none() | st.integers(0, 90_000).map(lambda seconds: NOW - timedelta(seconds=seconds))


@settings(max_examples=400, deadline=None)
@given(worlds(), st.sampled_from(TEXTS), stamps, st.randoms())
def test_no_text_ever_goes_to_a_card_that_it_contradicts(
    world: list[Candidate], text: str, stamped: datetime | None, random: Random
) -> None:
    readings = {name: read(service, text) for name, service in SERVICES.items()}
    decision = decide(readings, text, stamped, world, SERVICES, NOW)
    shuffled = random.sample(world, len(world))
    assert decide(readings, text, stamped, shuffled, SERVICES, NOW) == decision
    if not world:
        assert decision.kind == "unmatched"
    if decision.kind == "unmatched":
        assert decision.reason is not None
        assert decision.evidence is None
        return
    chosen = next(c for c in world if c.submission_id == decision.submission_id)
    named = [f.value for f in find(text)]
    assert not named or any(fits(value, chosen.subject) for value in named)
    assert (decision.evidence == "echo") == bool(named)
    if decision.evidence == "sole":
        assert not SERVICES[chosen.service].needs_echo
        assert not [c for c in world if c.in_flight and c.question_id != chosen.question_id
                    and not SERVICES[c.service].needs_echo
                    and (stamped is None or c.opened_at <= stamped)]  # fmt: skip
    if decision.kind in ("double", "amendment"):
        assert chosen.answered


# A small world: one SIM, one conversation, replies that are late, doubled, lost or nobody's


@dataclass
class Question:
    card: str
    opened: datetime
    held_until: datetime
    in_flight: bool = True
    text: str | None = None
    about: str | None = None
    evidence: str | None = None
    outcome: str | None = None
    at: datetime | None = None
    noted: bool = False

    def candidate(self, place: int, service: Service, now: datetime) -> Candidate:
        return Candidate(f"s{place:06d}", f"q{place:06d}", service.name, self.card, "kpj", self.opened, self.in_flight,
                         self.in_flight or self.held_until > now, self.outcome is not None, self.evidence, self.at,
                         self.text, self.outcome)  # fmt: skip


def simulate(service: Service, echo: str, hours: int, seed: int) -> tuple[int, int]:
    """Answers given and wrong ones among them. `echo`: which replies name their card: all, found, none."""
    random = Random(seed)
    now, end = NOW, NOW + timedelta(hours=hours)
    asked_: list[Question] = []
    coming: list[tuple[datetime, int, str, str | None]] = []
    right = wrong = 0

    def send(after: float, text: str, about: str | None) -> None:
        coming.append((now + timedelta(seconds=after), len(asked_), text, about))

    def ask() -> None:
        card = f"99{len(asked_):09d}"
        asked_.append(Question(card, now, now + service.timing.late))
        delay = random.choices((8.0, 90.0, 900.0, 10_800.0), (0.85, 0.12, 0.027, 0.003))[0] * random.uniform(
            0.5, 1.5
        )
        found = random.random() < 0.7
        name = f" KPJ {card}" if echo == "all" or (echo == "found" and found) else ""
        # A third of the balances are alike, so that equal texts of two cards do occur.
        balance = random.choice((0, random.randrange(10**5), random.randrange(10**9)))
        text = f"Saldo JHT{name} Rp {balance:,}".replace(",", ".") if found else f"Data{name} tidak ditemukan"
        if random.random() > 0.02:
            send(delay, text, card)
            if random.random() < 0.02:
                send(delay + random.uniform(1, 60), text, card)
            if random.random() < 0.02:
                send(delay * random.random(), f"Permintaan{name} sedang diproses", card)

    while now < end:
        if random.random() < 1 / 400:
            send(
                0, random.choice(("Ayo cek saldo di JMO", "Menangkan undian saldo Rp 5.000.000 gratis")), None
            )
        for arrival in sorted(coming):
            if arrival[0] > now:
                break
            coming.remove(arrival)
            stamped, _, text, about = arrival
            recent = [(p, q) for p, q in enumerate(asked_) if now - q.opened < timedelta(hours=24)]
            candidates = [q.candidate(p, service, now) for p, q in recent]
            reading = read(service, text)
            decision = decide(
                {service.name: reading}, text, stamped, candidates, {service.name: service}, now
            )
            if decision.question_id is None:
                continue
            question = asked_[int(decision.question_id[1:])]
            if decision.end_hold_after is not None:
                question.held_until = now + decision.end_hold_after
            if decision.withdraw:
                question.text = question.about = question.evidence = question.outcome = question.at = None
            elif decision.kind in ("answer", "amendment"):
                question.text, question.about, question.at = text, about, now
                question.evidence, question.outcome, question.in_flight = (
                    decision.evidence,
                    reading.outcome.value,
                    False,
                )
            elif decision.kind == "note":
                question.noted = True
        for question in asked_[-1:]:
            if question.in_flight and now >= question.opened + service.timing.timeout:
                question.in_flight = False
                ended: Literal["note", "no_reply"] = "note" if question.noted else "no_reply"
                question.held_until = now + hold_after(ended, service, opened_at=question.opened, now=now)
                if question.noted:
                    question.evidence, question.outcome, question.at = "note", "unrecognised", now
        if not any(q.in_flight or q.held_until > now for q in asked_):
            ask()
        now += timedelta(seconds=5)
    for question in asked_:
        if question.outcome in ("found", "not_found"):
            right += question.about == question.card
            wrong += question.about != question.card
    return right, wrong


def test_no_record_is_wrong_where_every_reply_names_its_card() -> None:
    right, wrong = simulate(ALWAYS, "all", hours=6, seed=1)
    assert right > 500
    assert wrong == 0


@pytest.mark.parametrize(("service", "echo"), [(SOME, "all"), (SOME, "found"), (NEVER, "none")])
def test_hardly_a_record_is_wrong_where_replies_seldom_name_their_card(service: Service, echo: str) -> None:
    right, wrong = simulate(service, echo, hours=24, seed=2)
    assert right > 80
    assert wrong * 100 <= right
