"""What may go wrong with a simulated dongle: each fault does what it says, is counted, and the ledger stays the truth."""

from __future__ import annotations

import re
from collections import Counter
from datetime import datetime, timedelta

import pytest
from stick_playing import OWN, START, ready, say, second, send

from modem.pdu import Deliver, PduError, decode, encode_submit
from modem.simulated import FAULTS, HIDING, Dongle, Knobs, Network, Sim
from modem.simulated.faults import COMMAND, INBOUND, LINE, PROMPT, RARE, SUBMIT

OK = "\r\nOK\r\n"
SENT = "\r\n> \r\n+CMGS: 1\r\n" + OK


def faulty(*names: str, quiet: bool = True) -> Dongle:
    """A stick on which each of these happens at its next occasion."""
    dongle = ready()
    if quiet:
        dongle.network.subscriber("2757", lambda sender, text, now: [])
    dongle.turn(START, next=dict.fromkeys(names, 1))
    return dongle


def on_the_air(dongle: Dongle) -> int:
    return sum(entry.kind == "submitted" for entry in dongle.network.ledger)


def test_every_fault_has_a_sentence_and_an_occasion() -> None:
    groups = (COMMAND, PROMPT, SUBMIT, INBOUND, LINE, RARE)
    assert sum(map(len, groups)) == len(FAULTS)
    assert all(FAULTS.values())
    assert set(SUBMIT) | set(PROMPT) > HIDING


def test_a_fault_fires_as_often_as_told_and_is_counted() -> None:
    dongle = ready()
    dongle.turn(START, next={"error_bare": 2})
    assert [say(dongle, "AT") for _ in range(3)] == ["\r\nERROR\r\n"] * 2 + [OK]
    assert dongle.fired == {"error_bare": 2}


def test_faults_that_do_not_exist_are_refused() -> None:
    for changes, sentence in (
        ({"next": {"rain": 1}}, "no fault 'rain'; there are answer_lost"),
        ({"next": {"noise": 0.5}}, "takes no 0.5"),
        ({"chances": {"noise": "often"}}, "takes no 'often'"),
        ({"chances": 0.5}, "takes an object of faults"),
    ):
        with pytest.raises(ValueError, match=sentence):
            Knobs().turn(changes)


@pytest.mark.parametrize(
    ("fault", "said"),
    [
        ("error_bare", "\r\nERROR\r\n"),
        ("error_text", "\r\n+CME ERROR: SIM busy\r\n"),
        ("error_unsupported", "\r\nCOMMAND NOT SUPPORT\r\n"),
        ("busy_cme_14", "\r\n+CME ERROR: 14\r\n"),
        ("busy_cms_314", "\r\n+CMS ERROR: 314\r\n"),
        ("busy_515", "\r\n+CMS ERROR: 515\r\n"),
    ],
)
def test_errors_in_place_of_doing_it(fault: str, said: str) -> None:
    dongle = faulty(fault)
    assert say(dongle, "AT+CSCS=UCS2") == said
    assert dongle.profile.charset == "IRA"
    assert say(dongle, "AT") == OK


def test_an_answer_is_lost_late_or_doubled_but_the_command_is_done() -> None:
    dongle = faulty("answer_lost")
    assert say(dongle, 'AT+CSCS="UCS2"') == ""
    assert dongle.profile.charset == "UCS2"
    dongle = faulty("answer_late")
    assert say(dongle, "AT+CSQ") == ""
    assert say(dongle, "AT") == ""
    assert dongle.step(second(2)).decode() == "\r\n+CSQ: 20,99\r\n" + OK + OK
    dongle = faulty("answer_doubled")
    assert say(dongle, "AT+CSQ") == ("\r\n+CSQ: 20,99\r\n" + OK) * 2


def test_a_lost_answer_takes_no_unasked_line_with_it() -> None:
    dongle = faulty("answer_lost")
    say_before = dongle.network.text("PROMO", OWN, "satu", now=START)
    assert say_before == [1]
    dongle.drain()
    dongle.turn(START, next={"answer_lost": 1})
    assert say(dongle, "AT+CREG=1;+CFUN=4") == "\r\n+CREG: 0\r\n"


def test_it_is_stuck_for_a_while_or_for_good() -> None:
    dongle = faulty("stuck")
    assert say(dongle, "AT") == say(dongle, "AT", second(1)) == ""
    assert say(dongle, "AT", second(2)) == OK
    dongle.turn(second(3), stuck=True)
    assert say(dongle, "AT", second(100)) == ""
    dongle.network.text("PROMO", OWN, "satu", now=second(100))
    assert dongle.drain() == b""
    dongle.turn(second(101), stuck=False)
    assert '"SM",1,30' in say(dongle, "AT+CPMS?", second(101))


def test_it_goes_away_or_starts_anew_when_a_command_comes() -> None:
    dongle = faulty("unplug_idle")
    assert say(dongle, "AT") == ""
    assert not dongle.plugged
    dongle.step(second(2))
    assert dongle.plugged
    dongle = faulty("reset_idle")
    plugs: list[bool] = []
    dongle.on_plug = plugs.append
    assert say(dongle, "AT+CNMI?") == "\r\n+CNMI: 0,0,0,0,0\r\n" + OK
    assert say(dongle, "AT").startswith("AT\r")
    assert plugs == []


def test_the_network_is_lost_somebody_calls_and_echo_is_on() -> None:
    dongle = faulty("network_lost", "ring", "echo_on")
    say(dongle, "AT")
    assert dongle.registration == 2
    assert not dongle.ringing  # nobody can call a stick that is not registered
    assert say(dongle, "AT").startswith("AT\r")
    dongle.step(second(2))
    assert dongle.registered
    dongle.turn(second(3), next={"ring": 1})
    assert "\r\nRING\r\n" in say(dongle, "AT", second(3))


def test_another_sim_is_put_in_under_power() -> None:
    dongle = faulty("sim_changed")
    first = dongle.sim
    assert say(dongle, "AT") == OK  # there is no other one
    dongle.spare = Sim("8999000000000000025", "510110000000002", "+628170000002")
    dongle.turn(START, next={"sim_changed": 1})
    assert say(dongle, "AT+CIMI") == "\r\n510110000000002\r\n" + OK
    assert dongle.spare is first
    dongle.network.text("PROMO", OWN, "satu", now=START)
    assert dongle.network.waiting(OWN) == 1


def test_a_command_is_refused_or_unanswered_for_good() -> None:
    dongle = ready()
    dongle.turn(START, refuse={"AT+CPMS": "+CME ERROR: 4", "+clac": ""})
    assert say(dongle, 'AT+CPMS="SM"') == "\r\n+CME ERROR: 4\r\n"
    assert say(dongle, "AT+CLAC") == ""
    assert say(dongle, "AT+CSQ;+CPMS?;+CSQ") == "\r\n+CSQ: 20,99\r\n\r\n+CME ERROR: 4\r\n"
    with pytest.raises(ValueError, match="takes an object of commands"):
        dongle.turn(START, refuse={"+CPMS": 4})


def test_it_chatters_as_often_as_told_until_it_is_told_not_to() -> None:
    dongle = ready()
    dongle.turn(START, chatter_every=10)
    told = {dongle.as_it_is(line) for line in dongle.personality.chatter}
    for tick in (10, 20, 30):
        assert dongle.step(second(tick)).decode().strip() in told
    assert dongle.step(second(35)) == b""
    say(dongle, "AT^CURC=0", second(36))
    assert dongle.step(second(50)) == b""
    say(dongle, "AT^CURC=1", second(51))
    dongle.start_anew(second(52))
    assert dongle.step(second(62)).decode().strip() in told
    dongle.turn(second(63), chatter_every=0)
    assert dongle.step(second(200)) == b""


# -- sending -----------------------------------------------------------------------------------------


def test_prompts_are_lost_late_or_bare() -> None:
    dongle = faulty("prompt_lost")
    assert send(dongle, "2757", "satu") == SENT.removeprefix("\r\n> ")
    dongle = faulty("prompt_bare")
    assert send(dongle, "2757", "satu") == SENT.replace("> ", ">")
    dongle = faulty("prompt_late")
    assert say(dongle, "AT+CMGS=10") == ""
    assert dongle.feed(b"\x1b", second(1)) == b""
    assert dongle.step(second(2)) == b"\r\n> \r\nOK\r\n"
    dongle = faulty("prompt_error")
    assert say(dongle, "AT+CMGS=10") == "\r\n+CMS ERROR: 500\r\n"
    assert (on_the_air(dongle), dongle.hidden) == (0, 0)


@pytest.mark.parametrize("fault", ["unplug_prompt", "reset_prompt"])
def test_it_goes_away_within_a_pdu(fault: str) -> None:
    dongle = faulty(fault)
    said = send(dongle, "2757", "satu")
    assert "+CMGS:" not in said
    assert (on_the_air(dongle), dongle.hidden) == (0, 1)
    assert dongle.plugged == (fault == "reset_prompt")
    dongle.step(second(2))
    say(dongle, "\rATE0", second(2))
    assert send(dongle, "2757", "dua", second(3)) == SENT


@pytest.mark.parametrize("fault", [name for name in SUBMIT if name.startswith("submit_error")])
def test_errors_after_ctrl_z(fault: str) -> None:
    dongle = faulty(fault)
    assert re.fullmatch(r"\r\n> \r\n(\+CM[SE] ERROR: .*|ERROR)\r\n", send(dongle, "2757", "satu"))
    went = fault == "submit_error_sent"
    assert (on_the_air(dongle), dongle.hidden) == (went, went)
    assert "+CMGS: " in send(dongle, "2757", "dua")


@pytest.mark.parametrize(
    "fault", sorted(HIDING & set(SUBMIT) - {"submit_error_sent", "cmgs_lost", "ok_lost"})
)
def test_silence_after_ctrl_z(fault: str) -> None:
    dongle = faulty(fault)
    assert send(dongle, "2757", "satu") == "\r\n> "
    assert dongle.fired == {fault: 1}
    assert dongle.hidden == 1
    assert on_the_air(dongle) == (not fault.endswith("_unsent"))
    said = dongle.step(second(2)).decode()
    assert said == ("\r\n+CMGS: 1\r\n" + OK if fault == "cmgs_late" else "")
    say(dongle, "ATE0", second(3))
    assert "+CMGS: " in send(dongle, "2757", "dua", second(3))
    assert dongle.hidden == 1


@pytest.mark.parametrize(
    ("fault", "said", "hidden"),
    [
        ("cmgs_tight", "\r\n> \r\n+CMGS:1\r\n" + OK, 0),
        ("cmgs_stamped", '\r\n> \r\n+CMGS: 1,"26/11/24,10:00:00+28"\r\n' + OK, 0),
        ("cmgs_doubled", "\r\n> \r\n+CMGS: 1\r\n+CMGS: 1\r\n" + OK, 0),
        ("cmgs_lost", "\r\n> " + OK, 1),
        ("ok_lost", "\r\n> \r\n+CMGS: 1\r\n", 1),
    ],
)
def test_odd_verdicts_of_what_was_sent(fault: str, said: str, hidden: int) -> None:
    dongle = faulty(fault)
    assert send(dongle, "2757", "satu") == said
    assert (on_the_air(dongle), dongle.hidden) == (1, hidden)


def test_pulled_out_while_on_the_air_hides_the_verdict() -> None:
    dongle = faulty()
    dongle.turn(START, radio=3)
    send(dongle, "2757", "satu")
    dongle.unplug(second(1), timedelta(seconds=1))
    dongle.step(second(10))
    assert (on_the_air(dongle), dongle.hidden) == (0, 1)


def test_an_error_that_may_mean_anything_hides_the_verdict() -> None:
    dongle = faulty()
    dongle.turn(START, submit_errors=1)
    assert send(dongle, "2757", "satu").endswith("+CMS ERROR: 500\r\n")
    assert (dongle.fired["submit_error"], dongle.hidden) == (1, 1)


def test_noise_within_the_verdict_hides_it() -> None:
    dongle = faulty()
    say(dongle, "AT+CMGS=10")
    dongle.turn(START, next={"noise_inside": 1})
    said = dongle.feed(b"0001000481725700000161\x1a", START)
    assert b"\r\n+CMGS: 1\r\n" not in said or not said.endswith(b"\r\nOK\r\n")
    assert (on_the_air(dongle), dongle.hidden) == (1, 1)


# -- receiving ---------------------------------------------------------------------------------------


def received(*faults: str, stored: int = 0) -> tuple[Dongle, str]:
    dongle = faulty()
    for place in range(stored):
        dongle.network.text("2757", OWN, f"lama {place}", now=START)
    dongle.drain()
    dongle.turn(START, next=dict.fromkeys(faults, 1))
    dongle.network.text("2757", OWN, "baru", now=START)
    assert set(dongle.fired) == set(faults)
    assert dongle.network.ledger[-1].kind == "received"
    return dongle, dongle.drain().decode()


def read(dongle: Dongle, index: int) -> Deliver:
    found = decode(dongle.sim.storage.slots[index].pdu)
    assert isinstance(found, Deliver)
    return found


def test_indications_are_lost_doubled_or_name_another_storage() -> None:
    assert received("cmti_lost")[1] == ""
    assert received("cmti_doubled")[1] == '\r\n+CMTI: "SM",0\r\n' * 2
    assert received("cmti_misplaced")[1] == '\r\n+CMTI: "ME",0\r\n'


def test_bad_stamps_and_empty_senders() -> None:
    for fault in ("stamp_zero", "stamp_bad"):
        dongle, _ = received(fault)
        assert read(dongle, 0).service_centre_time is None
        assert read(dongle, 0).text == "baru"
    dongle, _ = received("sender_empty")
    assert (read(dongle, 0).sender, read(dongle, 0).text) == ("", "baru")


def test_junk_lies_beside_what_came() -> None:
    dongle, said = received("junk_stored")
    assert said == '\r\n+CMTI: "SM",0\r\n'
    assert read(dongle, 0).text == "baru"
    with pytest.raises(PduError):
        decode(dongle.sim.storage.slots[1].pdu)


def test_a_slot_is_taken_by_what_comes_and_its_message_moves() -> None:
    dongle, said = received("slot_moved", stored=2)
    assert said == '\r\n+CMTI: "SM",0\r\n'
    assert [read(dongle, index).text for index in range(3)] == ["baru", "lama 1", "lama 0"]


def test_the_storage_is_full_after_it() -> None:
    dongle, _ = received("storage_filled")
    assert dongle.sim.storage.full
    dongle.network.text("2757", OWN, "nanti", now=START)
    assert dongle.network.waiting(OWN) == 1


# -- the line ----------------------------------------------------------------------------------------


def test_unasked_lines_come_between_the_lines_of_an_answer() -> None:
    dongle, _ = received(stored=1)
    dongle.turn(START, next={"chatter": 2})
    lines = [line for line in say(dongle, "AT+CMGL=4").split("\r\n") if line]
    told = {dongle.as_it_is(line) for line in dongle.personality.chatter}
    assert [line in told for line in lines[:4]] == [True, False, True, False]
    assert lines[1].startswith("+CMGL: ")
    assert bytes.fromhex(lines[3])
    assert "OK" in say(dongle, "AT^CURC=0")
    dongle.turn(START, next={"chatter": 2})
    assert not any(line in told for line in say(dongle, "AT+CMGL=4").split("\r\n"))


def test_pieces_and_noise() -> None:
    dongle = faulty("split")
    first = say(dongle, "AT")
    assert first + dongle.step(second(1)).decode() == OK
    assert first != OK
    dongle = faulty("noise_inside")
    said = dongle.feed(b"AT\r", START)
    assert said != OK.encode()
    assert said.translate(None, bytes((0, *range(0x80, 0x100)))) == OK.encode()


# -- all of them -------------------------------------------------------------------------------------


class Host:
    """A program that sends, waits, and believes only what it reads whole."""

    def __init__(self, dongle: Dongle) -> None:
        self.dongle = dongle
        self.now: datetime = START
        self.found: dict[str, str] = {}

    def heard(self, data: bytes) -> str:
        """Write, and listen for ten seconds of the stick's time."""
        said = self.dongle.feed(data, self.now)
        for _ in range(10):
            self.now += timedelta(seconds=1)
            said += self.dongle.step(self.now)
        return said.decode("latin-1")

    def send(self, text: str) -> None:
        dongle = self.dongle
        self.now += timedelta(seconds=10)
        dongle.step(self.now)
        self.heard(b"\x1b")
        self.heard(b"\rATE0;+CMEE=1;+CNMI=2,1,0,0,0\r")
        part = encode_submit("2757", text, validity=None, report=False, concat_reference=0)[0]
        prompted = self.heard(f"AT+CMGS={part.length}\r".encode())
        if not re.search(r"\n> ?$", prompted):
            self.heard(b"\x1b")
            self.found[text] = "no"
            return
        said = self.heard(part.pdu.encode() + b"\x1a")
        lines = [line.strip() for line in said.split("\r\n")]
        if any(re.fullmatch(r'\+CMGS: ?\d+(,".*")?', line) for line in lines):
            self.found[text] = "yes"
        elif any(re.fullmatch(r"ERROR|\+CM[SE] ERROR: (?!332|500)[ -~]+", line) for line in lines):
            self.found[text] = "no"
        else:
            self.found[text] = "maybe"


def chaotic(seed: int, rounds: int) -> tuple[Dongle, Host]:
    network = Network(seed)
    dongle = ready(network=network)
    dongle.network.subscriber("2757", lambda sender, text, now: [])
    dongle.turn(START, chaos=0.04)
    host = Host(dongle)
    for place in range(rounds):
        host.send(f"t{place}")
        network.text("PROMO", OWN, f"p{place}", now=host.now)
        if place % 5 == 0:
            dongle.sim.storage.slots.clear()
            network.available(dongle.sim, host.now)
    dongle.turn(host.now, chaos=0)
    dongle.plug(host.now + timedelta(seconds=10))
    return dongle, host


@pytest.mark.parametrize("seed", range(3))
def test_with_all_faults_the_ledger_agrees_with_what_could_be_known(seed: int) -> None:
    dongle, host = chaotic(seed, 800)
    sent = Counter(entry.text for entry in dongle.network.ledger if entry.kind == "submitted")
    assert set(sent.values()) == {1}
    assert {text for text, found in host.found.items() if found == "yes"} <= set(sent)
    assert not {text for text, found in host.found.items() if found == "no"} & set(sent)
    assert 0 < sum(found == "maybe" for found in host.found.values()) <= dongle.hidden
    assert set(dongle.fired) >= set(FAULTS) - set(RARE)


def test_the_same_seed_gives_the_same_faults() -> None:
    (one, first), (other, second_) = chaotic(7, 60), chaotic(7, 60)
    assert (one.fired, first.found, one.network.ledger) == (other.fired, second_.found, other.network.ledger)
    assert chaotic(8, 60)[0].fired != one.fired
