"""The quirks of makers: what the file may say, how its entries are merged, and that each of them finds its own stick."""

from __future__ import annotations

import re
from datetime import timedelta
from importlib.resources import files

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from modem.quirks import Entry, Quirks, merged, quirks_for, read_quirks

TEXT = (files("modem") / "quirks.toml").read_text("utf-8")
ENTRIES = read_quirks(TEXT)
COMMAND = re.compile(r"AT[+^!#*&$%]?[A-Z0-9]+(?:\?|=\?|=[^\r\n;]+)?")


def one(text: str) -> Quirks:
    return merged(read_quirks(text), "Maker", "Model 1")


@pytest.mark.parametrize("entry", ENTRIES, ids=lambda entry: f"{entry.examples[0]}-{sorted(entry.says)[0]}")
def test_every_entry_fits_its_examples_and_says_something_with_a_source(entry: Entry) -> None:
    assert entry.examples
    assert all(entry.fits(maker, model) for maker, model in entry.examples)
    assert entry.says
    assert len(entry.source) > 10
    assert not entry.fits(None, None)
    assert not entry.fits("Ericsson", "F3507g")


@pytest.mark.parametrize("entry", [entry for entry in ENTRIES if "pin_tries" in entry.says])
def test_the_pattern_for_pin_tries_reads_the_answers_beside_it(entry: Entry) -> None:
    assert entry.answers
    for maker, model in entry.examples:
        pattern = quirks_for(maker, model).pin_tries_pattern
        assert pattern is not None
        for line, tries in entry.answers:
            found = re.search(pattern, line)
            assert found is not None
            assert int(found["tries"]) == tries
        assert re.search(pattern, "+CPIN: SIM PIN") is None


def test_every_command_is_one_plain_at_command_that_sends_and_deletes_nothing() -> None:
    for entry in ENTRIES:
        quirks = merged([entry], *entry.examples[0])
        commands = [*quirks.setup, *quirks.network_modes.values(), *filter(None, [quirks.pin_tries])]
        for command in commands:
            assert COMMAND.fullmatch(command), command
            assert not re.match(r"AT(\+CM|\+CPIN|\+CLCK|\+CFUN|D|&W|Z)", command), command
        assert all(urc.isascii() and urc[0] in "+^#*" and not urc.endswith(" ") for urc in quirks.urcs)


def test_a_plain_modem_has_no_quirks() -> None:
    assert quirks_for(None, None) == quirks_for("Nobody", "X1") == Quirks()


def test_what_is_known_of_common_sticks() -> None:
    e173, e3372 = quirks_for("huawei", "E173"), quirks_for("huawei", "E3372")
    assert (e173.restart, e173.ussd, "4g" in e173.network_modes) == (False, "packed", False)
    assert (e3372.restart, e3372.ussd) == (True, "text")
    assert e3372.network_modes["4g"].startswith("AT^SYSCFGEX")
    assert e173.setup == e3372.setup == ("AT^CURC=0", "AT^PORTSEL=0")
    assert quirks_for("ZTE INCORPORATED", "MF190").network_modes["2g"] == "AT+ZSNT=1,0,0"
    assert quirks_for("Quectel", "EC25").cmgs_timeout == timedelta(seconds=120)
    assert "4g" in quirks_for("Quectel", "EC20F").network_modes
    assert not quirks_for("Quectel", "EC200U").network_modes, "its manual is another one"
    assert quirks_for("SIMCOM_Ltd", "SIMCOM_SIM800L").pin_tries == "AT+SPIC"
    assert not quirks_for("SIMCOM_Ltd", "SIMCOM_SIM800L").network_modes
    assert quirks_for("SIMCOM INCORPORATED", "SIMCOM_SIM7600E").network_modes["4g"] == "AT+CNMP=38"
    assert quirks_for("u-blox", "SARA-R410M").cmgs_timeout == timedelta(minutes=3)


def test_lists_are_joined_modes_added_and_of_the_rest_the_last_holds() -> None:
    quirks = one("""
        [[quirk]]
        maker = "maker"
        setup = ["AT+A=1", "AT+B=1"]
        urcs = ["+A:"]
        network_modes = { auto = "AT+M=0", 2g = "AT+M=1" }
        ussd = "packed"
        cmgs_seconds = 60
        source = "one"
        [[quirk]]
        maker = "other"
        setup = ["AT+X"]
        source = "two"
        [[quirk]]
        model = '^Model \\d$'
        setup = ["AT+B=1", "AT+C=1"]
        urcs = ["+B:", "+A:"]
        network_modes = { 2g = "AT+N=1" }
        ussd = "ucs2"
        restart = false
        pin_tries = "AT+T?"
        pin_tries_pattern = '(?P<tries>\\d)'
        source = "three"
    """)
    assert quirks == Quirks(
        setup=("AT+A=1", "AT+B=1", "AT+C=1"),
        network_modes={"auto": "AT+M=0", "2g": "AT+N=1"},
        restart=False,
        ussd="ucs2",
        cmgs_timeout=timedelta(seconds=60),
        urcs=("+A:", "+B:"),
        pin_tries="AT+T?",
        pin_tries_pattern=r"(?P<tries>\d)",
    )


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ('setup = "AT"', "not a list"),
        ("setup = [1]", "not a text"),
        ('setup = [""]', "not a text"),
        ('network_modes = { 5g = "AT" }', "not commands for auto 2g 3g 4g"),
        ("network_modes = { 2g = 1 }", "not a text"),
        ('restart = "no"', "neither true nor false"),
        ('ussd = "morse"', "not one of text packed ucs2"),
        ("cmgs_seconds = 0", "not a number of seconds"),
        ("cmgs_seconds = true", "not a number of seconds"),
        ("cmgs_seconds = 1.5", "not a number of seconds"),
        ("pin_tries_pattern = '(\\d)'", "no group `tries`"),
        ("pin_tries_pattern = '('", "not a pattern"),
        ("colour = 1", "colour is not known"),
        ('examples = [["Maker"]]', "not a maker and a model"),
        ('answers = [["+T: 1"]]', "not a line and a number"),
        ("model = '['", "not a pattern"),
        ("model = 3", "not a text"),
    ],
)
def test_what_is_wrong_in_the_file_is_named(line: str, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        read_quirks(f'[[quirk]]\nmaker = "maker"\nsource = "x"\n{line}\n')


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('[[quirk]]\nmaker = "x"\n', "without a source"),
        ('[[quirk]]\nsource = "x"\nrestart = false\n', "a quirk of nobody"),
        ("quirk = 1\n", "only tables"),
        ('[[qirk]]\nsource = "x"\n', "only tables"),
        ("[[quirk]\n", "."),
    ],
)
def test_a_file_of_another_shape_is_refused(text: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        read_quirks(text)


@given(st.none() | st.text(max_size=40), st.none() | st.text(max_size=40))
@settings(deadline=None, max_examples=100)
def test_any_maker_and_model_get_an_answer(maker: str | None, model: str | None) -> None:
    quirks = quirks_for(maker, model)
    assert quirks.ussd in ("text", "packed", "ucs2")
    assert set(quirks.network_modes) <= {"auto", "2g", "3g", "4g"}
