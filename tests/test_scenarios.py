"""What breaks a gateway with a cheap stick, one case a test: lines in the wrong place, late answers, noise, restarts, full and foreign memories."""

from __future__ import annotations

import gc
import os
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from port_contract import Played, played, settings_for, texts
from scripted_stick import CTRL_Z, ESC, ScriptedStick, scripted

from modem import (
    Deliver,
    MaybeSubmitted,
    ModemError,
    ModemLost,
    NotSubmitted,
    SerialModem,
    StatusReport,
    Stored,
    decode,
    encode_deliver,
    encode_status_report,
    encode_submit,
)
from modem.simulated import Reply

NOON = datetime(2026, 11, 23, 12, 0, tzinfo=UTC)
LONG = timedelta(seconds=10)
SHORT = timedelta(milliseconds=120)  # where silence is what is played
ANSWER = encode_deliver("2757", "Saldo JHT KPJ 99012345678 Rp 1.000", NOON)
REPORT = encode_status_report(5, "2757", NOON, NOON, 0)
(PART,) = encode_submit("2757", "BALANCE#99012345678#", validity=None, report=False, concat_reference=0)
PARTS = encode_submit("2757", "x" * 400, validity=None, report=False, concat_reference=0)
HINT = b'\r\n+CMTI: "SM",3\r\n'


def yes() -> bool:
    return True


def list_for_ever(modem: SerialModem) -> None:
    while True:
        modem.inbox()


def length(pdu: str) -> int:
    """Octets of the TPDU, which +CMGL and the like announce."""
    return len(pdu) // 2 - 1 - int(pdu[:2], 16)


@pytest.fixture
def stick() -> Iterator[ScriptedStick]:
    with scripted() as stick:
        yield stick


@contextmanager
def opened(stick: ScriptedStick, patience: timedelta = LONG) -> Iterator[SerialModem]:
    with closing(SerialModem(settings_for(stick.url, patience))) as modem:
        modem.open()
        stick.heard.clear()
        yield modem


@pytest.fixture
def modem(stick: ScriptedStick) -> Iterator[SerialModem]:
    with opened(stick) as modem:
        yield modem


@pytest.fixture
def hasty(stick: ScriptedStick) -> Iterator[SerialModem]:
    with opened(stick, SHORT) as modem:
        yield modem


@pytest.fixture
def world() -> Iterator[Played]:
    with played("huawei", "simulated") as world:
        world.network.subscriber("2757", lambda sender, text, now: [Reply(f"Saldo {text}")])
        yield world


def ask(modem: SerialModem, text: str) -> None:
    modem.submit(encode_submit("2757", text, validity=None, report=False, concat_reference=0), yes)


def take_in(world: Played, modem: SerialModem) -> list[str]:
    """Read and forget everything that is there; the texts."""
    found = []
    for stored in modem.inbox():
        read = decode(stored.pdu)
        assert isinstance(read, Deliver)
        assert modem.forget(stored)
        found.append(read.text)
    return found


# -- no reply is lost -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "answer",
    [
        HINT + b"\r\n+CSQ: 20,99\r\n\r\nOK\r\n",
        b"\r\n+CSQ: 20,99\r\n" + HINT + b"\r\nOK\r\n",
        b"\r\n+CSQ: 20,99\r\n\r\nOK\r\n" + HINT,
        b'\r\n+CMTI: "SM",3\r\n+CSQ: 20,99\r\nOK\r\n',
    ],
    ids=["before", "within", "behind", "without blank lines"],
)
def test_a_hint_near_an_answer_is_heard(modem: SerialModem, stick: ScriptedStick, answer: bytes) -> None:
    stick.answers["AT+CSQ"] = answer
    assert modem.status().signal == 20
    assert modem.wait(LONG)
    assert modem.hinted() == {("SM", 3)}


def test_a_hint_is_heard_though_half_a_line_follows_it(modem: SerialModem, stick: ScriptedStick) -> None:
    stick.say(HINT + b"\r\n^RS")
    assert modem.wait(LONG)
    assert modem.hinted() == {("SM", 3)}
    stick.say(b"SI:18\r\n")
    assert modem.status().signal == 20


def test_replies_that_come_while_commands_are_in_flight_all_arrive(world: Played) -> None:
    asked = [f"BALANCE#990123456{n:02d}#" for n in range(44)]
    got: list[str] = []
    with world.opened() as modem:
        for text in asked:
            ask(modem, text)
            modem.status()
            modem.usage()
            if modem.hinted():
                got += take_in(world, modem)
        got += take_in(world, modem)
        assert modem.inbox() == []
    assert sorted(got) == sorted(f"Saldo {text}" for text in asked)


def test_thirty_texts_at_once_all_arrive(world: Played) -> None:
    with world.opened() as modem:
        sent = [world.send_in(f"serentak {n}") for n in range(30)]
        assert modem.wait(LONG)
        assert sorted(take_in(world, modem)) == sorted(sent)
        assert modem.inbox() == []


def test_each_text_is_answered_while_the_next_ones_come(world: Played) -> None:
    with world.opened() as modem:
        answered: list[str] = []
        for n in range(4):
            world.send_in(f"tanya {n}", sender="081700000077")
        while len(answered) < 4:
            assert modem.wait(LONG)
            modem.hinted()
            for text in take_in(world, modem):
                modem.submit(
                    encode_submit(
                        "081700000077", f"jawab {text}", validity=None, report=False, concat_reference=0
                    ),
                    yes,
                )
                answered.append(text)
    assert sorted(world.asked()) == [f"jawab tanya {n}" for n in range(4)]


def test_a_full_store_is_read_at_the_start_and_what_waited_comes(world: Played) -> None:
    with world.network.lock:
        world.dongle.fill(world.network.now)
    world.send_in("yang menunggu")
    with world.opened() as modem:
        first = take_in(world, modem)
        assert "yang menunggu" not in first
        assert world.until(modem, lambda: take_in(world, modem), bool) == ["yang menunggu"]


def test_opening_reads_and_removes_nothing_by_itself(world: Played) -> None:
    world.send_in("lama")
    steps: list[str] = []
    for _ in range(2):
        with closing(SerialModem(world.settings, lambda step, port: steps.append(step))) as modem:
            modem.open()
            modem.wait(timedelta(milliseconds=20))
            assert texts(world.ours(modem)) == ["lama"]
    assert steps == []


@pytest.mark.parametrize(
    "odd",
    [
        "07919126990000000405811237" + "0000" + "00000000000000" + "03C8B40B",  # a time stamp of zeros
        "0791912699000000040081" + "0000" + "62111421436582" + "02C834",  # nobody as the sender
        "07919126990000000405811237",  # cut off
    ],
    ids=["no time", "no sender", "cut"],
)
def test_an_odd_pdu_hinders_neither_itself_nor_its_neighbour(
    modem: SerialModem, stick: ScriptedStick, odd: str
) -> None:
    lines = f"+CMGL: 1,0,,{length(odd)}\r\n{odd}\r\n+CMGL: 2,0,,{length(ANSWER)}\r\n{ANSWER}"
    stick.answers["AT+CMGL=4"] = f"\r\n{lines}\r\n\r\nOK\r\n".encode()
    assert modem.inbox("SM") == [Stored("SM", 1, odd, 0), Stored("SM", 2, ANSWER, 0)]


def test_outgoing_texts_and_reports_in_the_list_hinder_nobody(
    modem: SerialModem, stick: ScriptedStick
) -> None:
    there = [(1, 3, PART.pdu), (2, 1, REPORT), (3, 2, PARTS[0].pdu), (7, 0, ANSWER)]
    lines = "".join(f"\r\n+CMGL: {n},{stat},,{length(pdu)}\r\n{pdu}" for n, stat, pdu in there)
    stick.answers["AT+CMGL=4"] = f"{lines}\r\n\r\nOK\r\n".encode()
    assert modem.inbox("SM") == [Stored("SM", n, pdu, stat) for n, stat, pdu in there]
    assert isinstance(decode(REPORT), StatusReport)


def test_a_text_is_forgotten_in_its_own_storage_whichever_was_read_since(world: Played) -> None:
    with world.network.lock:
        index = world.dongle.sim.storage.put(ANSWER, 1)
        assert world.dongle.me.put(encode_deliver("2757", "di stik", NOON), 1) == index
    with world.opened() as modem:
        in_sim, in_stick = (modem.inbox(name)[0] for name in ("SM", "ME"))
        assert in_sim.index == in_stick.index
        assert modem.read("ME", in_stick.index) == in_stick
        assert modem.forget(in_sim)
        assert modem.inbox() == [in_stick]


def test_a_report_whose_pdu_comes_a_moment_after_its_header_is_whole(
    modem: SerialModem, stick: ScriptedStick
) -> None:
    stick.say(
        f"\r\n+CDS: {length(REPORT)}\r\n".encode(),
        REPORT[:9].encode(),
        f"{REPORT[9:]}\r\n".encode(),
        gap=0.01,
    )
    assert modem.wait(LONG)
    assert [(stored.storage, stored.pdu) for stored in modem.inbox()] == [("+CDS", REPORT)]


# -- nothing is sent twice, nothing sent is called not sent ----------------------------------------------------


def test_a_busy_answer_to_a_text_is_no_reason_to_say_it_again(
    modem: SerialModem, stick: ScriptedStick
) -> None:
    stick.once[CTRL_Z] = [b"\r\n+CMS ERROR: 515\r\n"]
    with pytest.raises(NotSubmitted) as refusal:
        modem.submit([PART], yes)
    assert (refusal.value.code, refusal.value.retryable) == ("please_wait", True)
    assert stick.submitted == [PART.pdu]
    assert modem.submit([PART], yes) == [5]
    assert stick.submitted == [PART.pdu] * 2


def test_after_one_busy_answer_nothing_is_slower(modem: SerialModem, stick: ScriptedStick) -> None:
    stick.once[CTRL_Z] = [b"\r\n+CMS ERROR: 515\r\n"]
    with pytest.raises(NotSubmitted):
        modem.submit([PART], yes)
    begun = time.monotonic()
    for _ in range(40):
        modem.submit([PART], yes)
    assert time.monotonic() - begun < 40 * 0.1  # seconds that each would take if it waited a little


@pytest.mark.parametrize(
    "prompt", [b"", b"\r\nOK\r\n", b"\r\n+CMS ERROR: 302\r\n", b"\r\nCOMMAND NOT SUPPORT\r\n"]
)
def test_where_no_prompt_comes_no_text_is_said_and_the_next_goes_out(
    hasty: SerialModem, stick: ScriptedStick, prompt: bytes
) -> None:
    stick.once["AT+CMGS"] = [prompt]
    with pytest.raises(NotSubmitted):
        hasty.submit([PART], yes)
    assert stick.submitted == []
    assert hasty.submit([PART], yes) == [5]
    assert stick.submitted == [PART.pdu]


def test_a_prompt_that_comes_too_late_is_left_by_escape(hasty: SerialModem, stick: ScriptedStick) -> None:
    waited = threading.Event()

    def dawdle(command: str) -> None:
        if command.startswith("AT+CMGS=") and not waited.is_set():
            waited.wait(SHORT.total_seconds() * 1.5)
            waited.set()

    stick.before_answer = dawdle
    with pytest.raises(NotSubmitted, match="no_prompt"):
        hasty.submit([PART], yes)
    assert stick.submitted == []
    assert ESC in stick.heard
    assert hasty.submit([PART], yes) == [5]
    assert stick.submitted == [PART.pdu]


def test_the_answer_of_a_slow_network_confuses_nothing_that_is_asked_next(
    hasty: SerialModem, stick: ScriptedStick
) -> None:
    stick.once[CTRL_Z] = [b""]
    with pytest.raises(MaybeSubmitted):
        hasty.submit([PART], yes)
    stick.answers["AT+CSQ"] = b"\r\n+CMGS: 1\r\n\r\nOK\r\n\r\n+CSQ: 20,99\r\n\r\nOK\r\n"
    assert hasty.status().signal == 20
    assert hasty.late_references() == [1]
    assert hasty.status().operator == "XL Axiata"


def test_the_parts_before_the_doubt_are_not_said_again(modem: SerialModem, stick: ScriptedStick) -> None:
    assert len(PARTS) == 3
    stick.once[CTRL_Z] = [b"\r\n+CMGS: 7\r\n\r\nOK\r\n", b"\r\n+CMS ERROR: 38\r\n"]
    with pytest.raises(MaybeSubmitted):
        modem.submit(PARTS, yes)
    assert stick.submitted == [PARTS[0].pdu, PARTS[1].pdu]


def test_several_threads_that_submit_at_once_do_not_mix(world: Played) -> None:
    with world.opened() as modem:
        failed: list[BaseException] = []

        def submit(thread: int) -> None:
            try:
                for n in range(6):
                    ask(modem, f"utas {thread} nomor {n}")
            except BaseException as failure:
                failed.append(failure)

        threads = [threading.Thread(target=submit, args=(thread,)) for thread in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failed == []
    assert sorted(world.asked()) == sorted(f"utas {t} nomor {n}" for t in range(4) for n in range(6))


def test_no_line_changes_what_is_not_ours_to_change(stick: ScriptedStick) -> None:
    """No other character set, no service centre, no PIN is written; nothing is removed by a flag; a submit is two lines."""
    answer = f"\r\n+CMGL: 1,1,,{length(ANSWER)}\r\n{ANSWER}\r\n\r\nOK\r\n".encode()
    stick.answers |= {"AT+CMGL=4": answer, "AT+CMGR=1": answer.replace(b"+CMGL: 1,", b"+CMGR: ")}
    with closing(SerialModem(settings_for(stick.url))) as modem:
        modem.open()
        for text in ("biasa", "你好 😀", "panjang " * 40):
            ask(modem, text)
        modem.status()
        modem.usage()
        assert [modem.forget(stored) for stored in modem.inbox("SM")] == [True]
    said = " ".join(stick.heard)
    for never in (
        '+CSCS="U',
        "+CSCA=",
        "+CPIN=",
        "+CMGD=1,",
        "+CLCK=",
        "+CPWD=",
        "ATZ",
        "AT&",
        "+CMGW",
        "+CMSS",
    ):
        assert never not in said
    sending = [line for line in stick.heard if line == CTRL_Z or line.startswith("AT+CMGS=")]
    first, last = (stick.heard.index(sending[0]), len(stick.heard) - 1 - stick.heard[::-1].index(CTRL_Z))
    assert stick.heard[first : last + 1] == sending


# -- no hang, nothing out of step -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    "noise", [b"\xff", b"\x80", b"\xc3\x28", b"\x00" * 40, bytes(range(128, 256)), b"\xff" * 9000]
)
def test_bytes_that_are_no_text_make_nobody_deaf(
    modem: SerialModem, stick: ScriptedStick, noise: bytes
) -> None:
    stick.say(noise + HINT)
    assert modem.wait(LONG)
    assert modem.hinted() == {("SM", 3)}
    stick.answers["AT+CSQ"] = noise + b"\r\n+CSQ: 20,99\r\n" + noise + b"\r\nOK\r\n"
    assert modem.status().signal == 20
    assert modem.submit([PART], yes) == [5]


def test_pulled_out_while_it_talks_the_session_ends_at_once(world: Played) -> None:
    for round_ in range(30):
        with closing(SerialModem(world.settings)) as modem:
            modem.open()
            pull = threading.Timer(round_ / 20000, world.tell, ["unplug"])
            pull.start()
            with pytest.raises(ModemLost):
                list_for_ever(modem)
            pull.join()
        world.tell("plug")


def test_who_waits_for_an_answer_is_woken_by_close(modem: SerialModem, stick: ScriptedStick) -> None:
    stick.answers["AT+CMGL=4"] = b""

    def close() -> None:
        assert stick.hears("AT+CMGL=4")
        modem.close()

    other = threading.Thread(target=close)
    other.start()
    with pytest.raises(ModemLost):
        modem.inbox("SM")
    other.join()


def test_answers_at_the_very_deadline_are_never_taken_for_others(stick: ScriptedStick) -> None:
    settings = replace(settings_for(stick.url), answer_timeout=timedelta(milliseconds=50))
    wait = threading.Event()

    def dawdle(command: str) -> None:
        if command.startswith("AT+CMGR="):
            wait.wait(int(command.split("=")[1]) % 5 * 0.0125 + 0.0125)

    for n in range(40):
        pdu = encode_deliver("2757", f"isi {n}", NOON)
        stick.answers[f"AT+CMGR={n}"] = f"\r\n+CMGR: 1,,{length(pdu)}\r\n{pdu}\r\n\r\nOK\r\n".encode()
    stick.before_answer = dawdle
    right = late = 0
    with closing(SerialModem(settings)) as modem:
        modem.open()
        for n in range(40):
            try:
                read = modem.read("SM", n)
            except ModemError:
                late += 1
            else:
                assert read is not None
                assert read.pdu == encode_deliver("2757", f"isi {n}", NOON)
                right += 1
    assert right
    assert late


def test_other_lines_before_the_answer_are_not_the_answer(stick: ScriptedStick) -> None:
    junk = b"\r\n^RSSI:18\r\n\r\nATX4\r\n\r\nPaket SHARING Anda\r\n"
    for command in ("AT+CGSN", "AT+CIMI", "AT+CCID", "AT+CSQ", "AT+COPS?", "AT+CREG?", "AT+CPMS?"):
        stick.answers[command] = junk + stick.answers[command]
    with closing(SerialModem(settings_for(stick.url))) as modem:
        identity = modem.open()
        assert (identity.imei, identity.imsi) == ("990000000000019", "510110000000001")
        assert identity.iccid == "89990000000000000012"
        status = modem.status()
        assert (status.registration, status.signal, status.operator) == ("home", 20, "XL Axiata")
        assert [usage.total for usage in modem.usage()] == [30, 100]


@pytest.mark.parametrize("result", ["+CME ERROR: SIM failure", '+CMS ERROR: "SIM failure"', "+CME ERROR: 13"])
def test_an_error_in_words_ends_the_answer(modem: SerialModem, stick: ScriptedStick, result: str) -> None:
    stick.answers["AT+CMGR=1"] = f"\r\n{result}\r\n".encode()
    with pytest.raises(ModemError, match="sim_failure"):
        modem.read("SM", 1)
    assert stick.heard == ["AT+CMGR=1"]


@pytest.mark.parametrize(
    "busy", [b"\r\n+CMS ERROR: 314\r\n", b"\r\n+CME ERROR: 14\r\n", b"\r\n+CME ERROR: SIM busy\r\n"]
)
def test_a_sim_that_is_busy_while_it_starts_is_waited_for(stick: ScriptedStick, busy: bytes) -> None:
    stick.once = {"AT+CPIN?": [busy], "AT+CPMS=?": [busy], "AT+CNMI=?": [busy]}
    with opened(stick) as modem:
        assert [usage.storage for usage in modem.usage()] == ["SM", "ME"]


def test_a_word_that_holds_ring_is_no_call(modem: SerialModem, stick: ScriptedStick) -> None:
    stick.say(b'\r\n+CUSD: 0,"Paket SHARING Anda habis. RING",15\r\n')
    assert not modem.wait(timedelta(milliseconds=50))
    assert modem.status().signal == 20


# -- the life of a session ------------------------------------------------------------------------------------


def test_failed_openings_leave_nothing_behind(stick: ScriptedStick) -> None:
    stick.answers["AT+CPIN?"] = b"\r\n+CPIN: SIM PUK\r\n\r\nOK\r\n"
    files, threads = len(os.listdir("/proc/self/fd")), threading.active_count()
    for _ in range(15):
        modem = SerialModem(settings_for(stick.url))
        with pytest.raises(ModemError):
            modem.open()
        modem.close()
    assert len(os.listdir("/proc/self/fd")) == files
    assert threading.active_count() == threads
    stick.answers["AT+CPIN?"] = b"\r\n+CPIN: READY\r\n\r\nOK\r\n"
    with opened(stick) as modem:
        assert modem.status().signal == 20


def test_a_port_that_is_missing_can_be_closed(world: Played) -> None:
    modem = SerialModem(replace(world.settings, url="simulated://nobody"))
    with pytest.raises(ModemError, match="port_missing"):
        modem.open()
    modem.close()
    modem.close()


def test_a_closed_session_is_freed(world: Played) -> None:
    modem = SerialModem(world.settings)
    modem.open()
    modem.close()
    there = weakref.ref(modem)
    del modem
    gc.collect()
    assert there() is None


def opening_lines() -> list[str]:
    with scripted() as stick, closing(SerialModem(settings_for(stick.url))) as modem:
        modem.open()
        return [line for line in dict.fromkeys(stick.heard) if line.startswith("AT")]


def opens_and_sends(line: str, answer: bytes, patience: timedelta = SHORT) -> bool:
    """Whether a stick does that answers this line so."""
    with scripted() as stick:
        stick.answers[line] = answer
        with closing(SerialModem(settings_for(stick.url, patience))) as modem:
            with suppress(ModemError):
                modem.open()
                return modem.submit([PART], yes) == [5]
            return False


@pytest.mark.parametrize("answer", [b"\r\nERROR\r\n", b""], ids=["refused", "unanswered"])
def test_only_pdu_mode_is_indispensable(answer: bytes) -> None:
    opening = opening_lines()
    assert "AT+CNMI=?" in opening
    failed = [line for line in opening if not opens_and_sends(line, answer)]
    # Once more with patience: a busy machine misses short deadlines too.
    assert [line for line in failed if not opens_and_sends(line, answer, SHORT * 8)] == ["AT+CMGF=0"]


@pytest.mark.parametrize("answer", [b"", b"\r\n+CME ERROR: 100\r\n"])
def test_a_right_pin_whose_answer_is_lost_is_not_called_wrong(stick: ScriptedStick, answer: bytes) -> None:
    stick.once["AT+CPIN?"] = [b"\r\n+CPIN: SIM PIN\r\n\r\nOK\r\n"]
    stick.once['AT+CPIN="1234"'] = [answer]
    settings = replace(settings_for(stick.url, SHORT), pin="1234", answer_timeout=SHORT)
    with closing(SerialModem(settings)) as modem:
        modem.open()
        assert modem.status().can_send
    assert stick.heard.count('AT+CPIN="1234"') == 1


def test_a_session_that_opens_another_sim_writes_nothing_of_the_first_to_it(stick: ScriptedStick) -> None:
    with opened(stick):
        pass
    stick.answers["AT+CIMI"] = b"\r\n510110000000002\r\n\r\nOK\r\n"
    stick.answers["AT+CCID"] = b"\r\n+CCID: 89990000000000000029\r\n\r\nOK\r\n"
    stick.heard.clear()
    with closing(SerialModem(settings_for(stick.url))) as modem:
        identity = modem.open()
    assert (identity.imsi, identity.iccid) == ("510110000000002", "89990000000000000029")
    assert not [line for line in stick.heard if "0000001" in line or line.startswith("AT+CSCA")]
