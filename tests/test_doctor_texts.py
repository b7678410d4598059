"""The doctor in two languages: every text is whole in both, each is said by something, and the command speaks what it is asked for."""

from __future__ import annotations

import io
import json
import re
import string
import threading
import tomllib
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import test_doctor_gateway as gateway
import test_doctor_host as folders
import test_doctor_port as ports
import typer
from host_folder import HostFolder
from rich.console import Console
from typer.testing import CliRunner

from app.domain.errors import Invalid
from app.faces.cli import doctor_texts
from app.faces.cli.commands import run
from app.faces.cli.doctor import confirming, language_of, show
from app.faces.cli.examining import Examined, examine
from app.faces.cli.gateway_findings import imei_findings
from app.faces.cli.lanes_asked import ask_lane, read_credit, request
from app.faces.cli.looping import Loop, run_loop
from app.faces.cli.output import Session
from app.faces.cli.ports_asked import Place, PortSeen, settings_for
from app.settings import LaneSettings, Settings
from app.store import lanes, requests
from app.store.diagnosis import Exchange
from app.store.engine import Store, open_store
from modem import PortSettings
from modem.discovery import known_sticks, sticks
from modem.doctor import (
    ADVICE,
    FAULT,
    WARNING,
    Both,
    Finding,
    Held,
    PortFacts,
    Texts,
    data_findings,
    held_finding,
    host_findings,
    kernel_findings,
    port_findings,
    wrong_port_finding,
)
from modem.doctor import texts as doctor_own
from modem.simulated import Dongle, Network, Sim, Ticker, attach, detach
from modem.simulated.ports import utc_now

SOURCES = {"modem": doctor_own.TEXTS, "gateway": doctor_texts.TEXTS}
LANGUAGES = ("en", "id")
NOWHERE = "socket://127.0.0.1:9"
Leaf = Mapping[str, str]


def leaves(texts: Texts) -> list[tuple[str, Leaf]]:
    """Every text by its path."""

    def walk(path: str, node: Mapping[str, Any]) -> Iterator[tuple[str, Leaf]]:
        if any(isinstance(value, str) for value in node.values()):
            yield path, node
            return
        for name, below in node.items():
            yield from walk(f"{path}.{name}" if path else name, below)

    return list(walk("", texts.table))


def placeholders(text: str) -> set[str]:
    return {name for _, name, _, _ in string.Formatter().parse(text) if name}


EVERY = [pytest.param(leaf, id=f"{name}:{path}") for name, t in SOURCES.items() for path, leaf in leaves(t)]


# -- the texts themselves -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("leaf", EVERY)
def test_a_text_is_whole_in_both_languages(leaf: Leaf) -> None:
    assert tuple(sorted(leaf)) == LANGUAGES
    en, id = leaf["en"], leaf["id"]
    assert en
    assert id
    assert placeholders(en) == placeholders(id)
    for kept in (
        r"`[^`]+`",  # commands
        r'\b[a-z_]+ = (?:"[^" ]*"|\{\w+\}|[\w…]+)',  # settings lines
        r"(?<![\w-])--[a-z][a-z-]*",  # options
        r"AT[+^][^ .;:]+",  # AT commands
        r"/(?:etc|dev|proc|sys|run)\b(?:[\w/.]*\w)?",  # files
    ):
        assert sorted(re.findall(kept, en)) == sorted(re.findall(kept, id))


def test_a_text_that_lacks_a_value_is_an_error() -> None:
    with pytest.raises(KeyError, match="speed"):
        doctor_own.fault("wrong_baud", "/dev/ttyUSB0", baud=115200)
    with pytest.raises(KeyError):
        doctor_own.said("words.nothing")


def test_values_in_both_languages_are_told_in_each() -> None:
    shown = doctor_own.few(["/dev/a", Both("the other", "yang lain"), "/dev/c"], 2)
    assert shown == ("/dev/a, the other and 1 more", "/dev/a, yang lain, dan 1 lagi")
    assert doctor_own.decimal(7.25) == ("7.2", "7,2")
    assert doctor_texts.day(date(2026, 12, 1)) == ("2026-12-01", "01-12-2026")
    assert doctor_texts.moment(datetime(2026, 12, 1, 9, 5)) == (
        "2026-12-01 09:05 UTC",
        "01-12-2026 09.05 UTC",
    )


def test_no_stick_keeps_an_english_name() -> None:
    named = [doctor_own.stick_named(stick.name) for stick in known_sticks().sticks.values()]
    assert all(one.en == stick.name for one, stick in zip(named, known_sticks().sticks.values(), strict=True))
    assert [
        one
        for one in named
        if re.search(r"\b(?:or|in|with|of|one|like|mode|a|stick)\b", one.id.replace("mode CD-ROM", ""))
    ] == []
    for words in doctor_own.TEXTS.table["stick_names"].values():
        assert any(words["id"] in one.id for one in named)


# -- a finding ----------------------------------------------------------------------------------------------------


def weak() -> Finding:
    (found,) = port_findings(ports.facts({"AT+CSQ": "+CSQ: 4,99|OK"}))
    return found


def test_a_finding_is_told_in_one_language_with_the_same_code_and_severity() -> None:
    english, indonesian = weak().told("en"), weak().told("id")
    assert (english.code, english.severity, english.about) == ("weak_signal", WARNING, ports.PORT)
    assert (indonesian.code, indonesian.severity, indonesian.about) == ("weak_signal", WARNING, ports.PORT)
    assert english.what.startswith("The signal is weak")
    assert indonesian.what.startswith("Sinyalnya lemah")
    for one in (english, indonesian):
        assert set(one.as_json()) == {"code", "severity", "about", "what", "how", "mend"}


def test_both_languages_cross_to_another_process() -> None:
    sent = json.loads(json.dumps(weak().as_json()))
    back = Finding.from_json(sent).elsewhere(*doctor_texts.lane_called("xl-1"))
    assert (back.told("en").about, back.told("id").about) == ("lane xl-1", "jalur xl-1")
    assert back.told("id").what == weak().told("id").what


@pytest.mark.parametrize("words", [None, "Sinyalnya lemah", ["only", "three", "words"], [1, 2, 3, 4], {}])
def test_what_an_older_process_found_is_told_in_english(words: object) -> None:
    old = {**weak().told("en").as_json(), "indonesian": words}
    found = Finding.from_json(old).elsewhere("lane xl-1", "jalur xl-1").told("id")
    assert (found.about, found.what) == ("lane xl-1", weak().what)


# -- each is said by something ------------------------------------------------------------------------------------


def by_the_host(root: Path) -> list[Finding]:
    """All that a folder and a log give."""
    found: list[Finding] = []

    def at(number: int) -> HostFolder:
        return HostFolder(root / f"{len(found)}-{number}")

    for number, (build, _, _) in enumerate(folders.FOLDERS):
        host = at(number)
        build(host)
        found += host_findings(host.root)
    host = at(100)
    folders.healthy(host)
    folders.process(host, 812, "", "/dev/ttyUSB2")
    host.attribute("1-1", "power/control", "auto")
    found += host_findings(host.root, listed=["/dev/ttyUSB7"])
    host = at(101)
    folders.nothing_plugged(host)
    found += host_findings(host.root, listed=["/dev/ttyUSB7"])
    host = at(102)
    folders.not_in_dev(host)
    folders.docker(host)
    found += host_findings(host.root)
    host = at(103)
    folders.hilink(host)
    found += host_findings(host.root, listed=["/dev/ttyUSB7"])
    for role in ("diag", "gps"):
        host = at(104)
        kind = next(s for s in known_sticks().sticks.values() if role in s.ports.values() and s.control)
        host.stick("1-1", kind.vendor, kind.product, ports=dict.fromkeys({*kind.ports, *kind.control}))
        (stick,) = sticks(host.root)
        wrong = next(p for p in stick.ports if p.role == role)
        found += host_findings(host.root, listed=[f"/dev/{Path(wrong.device).name}"])
        found.append(wrong_port_finding("/dev/ttyUSB0", "/dev/ttyUSB1", stick))
    found += by_rights(at(105), 0o660) + by_rights(at(106), 0o600)
    host = at(107)
    folders.nothing_plugged(host)
    host.link("dev/ttyUSB0", "/dev/pts/ptmx")
    found += host_findings(host.root, listed=["/dev/ttyUSB0"], uid=4711)
    found.append(held_finding("/dev/ttyS0", Held("/dev/ttyS0", 500, "ModemManager"), None))
    for log, _ in folders.LOGS:
        found += kernel_findings(log)
    found += kernel_findings(2 * "[ 9.0] usb usb1-port2: over-current condition\n")
    for number, (build, _) in enumerate(folders.DISKS, 200):
        host = at(number)
        build(host)
        found += data_findings(host.root, folders.DATABASE, folders.KEYS, free=1_000_000, copied=False)
    beside = folders.DATABASE.with_suffix(".keys")
    return found + data_findings(root, folders.DATABASE, beside, free=None, copied=False)


def by_rights(host: HostFolder, mode: int) -> list[Finding]:
    for number in range(1, 5):
        host.stick(f"1-{number}", *folders.HUAWEI, ports=folders.PORTS)
    for file in (host.root / "dev").iterdir():
        file.chmod(mode)
    gid = (host.root / "dev/ttyUSB0").stat().st_gid
    return host_findings(host.root, uid=4711, groups=[gid + 9])


def by_the_port() -> list[Finding]:
    """All that a modem's answers give."""
    refused = PortFacts(ports.PORT, refusal=("no_indications", "why"))
    facts = [ports.facts(answers) for answers, _, _ in ports.BYTES]
    facts.append(PortFacts(NOWHERE, refusal=("port_missing", "why")))
    facts += [PortFacts(ports.PORT, line=line) for line, _ in ports.LINES]
    facts += [PortFacts(ports.PORT, refusal=(code, "why")) for code, _ in ports.REFUSALS]
    facts += [
        refused,
        ports.facts(refusal=("error", "why"), opened=False),
        ports.facts(seconds={"AT+CSQ": 7.5}),
    ]
    facts.append(ports.facts({**ports.LOCKED, "AT+CPINR": "+CPINR: SIM PIN,2,3|OK"}))
    facts.append(ports.facts({**ports.NOT_IN, "AT+CSQ": ""}))
    facts.append(ports.facts({**ports.NOT_IN, "AT+CGREG?": "+CGREG: 0,4|OK"}))
    facts.append(ports.facts({**ports.IN_4G, "AT+CEREG?": "+CEREG: 0,5|OK"}))
    facts.append(ports.facts({**ports.NOT_IN, **ports.DEAF, "AT+WS46?": "+WS46: 28|OK"}))
    return [finding for one in facts for finding in port_findings(one)]


def by_the_tables() -> list[Finding]:
    """All that the gateway's rows give."""
    healthy = gateway.HEALTHY
    found = gateway.found(home=gateway.AXIS) + gateway.found(healthy, replace(healthy, name="xl-2"))
    for changes, _, _ in gateway.ROWS:
        found += gateway.found(replace(healthy, **changes))  # type: ignore[arg-type]
    found += gateway.found(replace(healthy, state="failed"))
    for last in (None, datetime(2026, 11, 2, 3, 4, tzinfo=UTC)):
        found += gateway.found(exchanges=[Exchange("xl-1", "bpjstk-balance", last, 6)])
    return found + imei_findings(
        [("/dev/ttyUSB2", ports.IMEI), (doctor_texts.lane_called("xl-2"), ports.IMEI)]
    )


@pytest.fixture
def given(tmp_path: Path) -> Settings:
    """Settings with two lanes that nobody can open."""
    return Settings(
        database=f"sqlite:///{tmp_path}/none.db",
        lanes=tuple(LaneSettings(name=f"xl-{n}", port=f"socket://127.0.0.1:{n}") for n in (1, 2)),
        services=None,
        sealing={"keys_file": tmp_path / "none.keys"},  # type: ignore[arg-type]
    )


@pytest.fixture
def store(given: Settings) -> Iterator[Store]:
    with closing(open_store(given.database, given.sealing.keys_file, serving=False)) as store:
        spec = lanes.LaneSpec("xl-1", NOWHERE, timedelta(0), 0, 0)
        store.write(lambda tx: lanes.register(tx, [spec], utc_now()))
        yield store


@contextmanager
def answering(store: Store, state: str, said: Mapping[str, Any]) -> Iterator[None]:
    """A lane that answers whatever it is asked with this."""
    ended, still = threading.Event(), threading.Event()

    def play() -> None:
        while not ended.is_set():
            for one in store.read(lambda tx: requests.open_requests(tx, "xl-1")):
                store.write(partial(requests.take, request_id=one.id))
                store.write(partial(requests.answer, request_id=one.id, state=state, said=said))
            still.wait(0.02)

    thread = threading.Thread(target=play, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def by_lanes(store: Store) -> tuple[list[Finding], list[Both]]:
    """All that asking a lane gives, and what is said of lanes that do not answer."""
    lane = replace(gateway.HEALTHY, sim_id=None)
    found = ask_lane(store, "xl-1", 0.1).findings
    said = [request(store, "xl-1", "ussd", {}, within=0.1, taken_within=600)[1]]  # nobody took it yet
    for answer in ("it has no modem", None):
        with answering(store, "refused", {"detail": answer} if answer else {}):
            found += read_credit(store, lane, "*123#")
            found += ask_lane(store, "xl-1", 10).findings
    with answering(store, "done", {"text": "Menu: 1. Paket"}):
        found += read_credit(store, lane, "*123#")
    return found, [one for one in said if one is not None]


def as_shown(examined: Examined, looped: dict[str, Any] | None, language: str) -> str:
    out = io.StringIO()
    session = Session()
    session.out = Console(file=out, width=150)
    show(session, examined, looped, language)
    return out.getvalue()


def screens(language: str) -> list[str]:
    """What stands on the screen, in every case."""
    finding = {s: Finding("code", s, "lane xl-1", s, s, s) for s in (FAULT, WARNING, ADVICE)}
    many = [Finding("many", FAULT, f"/dev/tty{n}", "what", f"how {n}", "mend") for n in range(9)]
    stick = doctor_own.said("about.stick", name="Huawei", ids="12d1:1001", socket="1-1")
    seen = [
        PortSeen(f"/dev/ttyUSB{n}", "1-1", stick, role, signal=18, lane="xl-1")
        for n, role in enumerate(("control", "dialling", "diagnostics", "positions"))
    ]
    exchange = Exchange("xl-1", "bpjstk-balance", datetime(2026, 11, 2, 3, 4, tzinfo=UTC), 2)
    told = {"delay_seconds": 7.5, "centre_ahead_seconds": -3, "storage": "", "cost": None}
    cases: list[tuple[Examined, dict[str, Any] | None]] = [
        (Examined(many, [*seen, PortSeen("socket://x")], ["[[lanes]]"]), told),
        (Examined([finding[FAULT], finding[WARNING], replace(finding[WARNING], code="b")]), None),
        (Examined([finding[WARNING]]), None),
        (Examined([finding[WARNING], replace(finding[WARNING], code="b")], [PortSeen(NOWHERE)]), None),
        (Examined([finding[ADVICE]], exchanges=[exchange, replace(exchange, last_reply=None)]), None),
        (Examined(), {"error": {}}),
    ]
    return [as_shown(*case, language) for case in cases]


def by_the_loop(given: Settings, store: Store, language: str) -> tuple[list[Finding], list[str]]:
    """What is found and said around the SMS to itself."""
    said: list[str] = []
    wanted = Loop(
        number="+62990000009",
        confirm=lambda question: said.append(question) is None,  # type: ignore[func-returns-value]
        progress=lambda sentence: said.append(sentence.told(language)),
        language=language,
    )
    # A lane is waited for as long as both take: so it gives up before anybody could have taken it.
    brief = replace(wanted, sending=timedelta(seconds=600), patience=timedelta(seconds=-599.9))
    looped, found = run_loop(given, brief, free={}, held={"xl-1"})
    assert looped["error"]["code"] == "loop_not_received"
    sim = Sim(iccid="8999000000000000001", imsi="510110000000001", own_number="")
    network = Network(7)
    attach("texts", Dongle(network, sim, imei=ports.IMEI))
    free = {"here": PortSettings("simulated://texts")}
    try:
        with Ticker(network):
            for asked in (
                partial(
                    run_loop, given, replace(wanted, confirm=lambda question: False), free=free, held=set()
                ),
                partial(run_loop, given, replace(wanted, number=None), free=free, held=set()),
                partial(run_loop, given, wanted, free={}, held=set()),
                partial(run_loop, given, wanted, free=free, held={"xl-1"}),
            ):
                with pytest.raises(Invalid) as refused:
                    asked()
                said.append(refused.value.detail)
            found += run_loop(given, replace(wanted, number="12"), free=free, held=set())[1]
    finally:
        detach("texts")
    return found, said


def by_examining(given: Settings, store: Store, root: Path, language: str) -> tuple[list[Finding], list[str]]:
    """What is found and said on the way by the whole."""
    said: list[str] = []
    host = HostFolder(root / language)
    folders.wsl(host)
    place = Place(root=host.root, uid=4711, groups=frozenset())
    look = partial(examine, progress=lambda sentence: said.append(sentence.told(language)), language=language)
    examined = look(given, None, "*123#", place=place)
    found = examined.findings + look(given, "xl-2", None, place=place).findings
    said.append(as_shown(examined, None, language))
    with pytest.raises(Invalid) as refused:
        look(given, "xl-9", place=place)
    said.append(refused.value.detail)
    bare = given.model_copy(update={"lanes": (), "database": f"sqlite:///{root}/{language}.db"})
    with pytest.raises(Invalid) as refused:
        look(bare, "xl-9", place=place)
    said.append(refused.value.detail)
    gone = tuple(lane.model_copy(update={"pin_file": root / "no-pin"}) for lane in given.lanes)
    found += look(given.model_copy(update={"lanes": gone}), "xl-2", place=place).findings
    found.append(doctor_texts.warning("port_held_by_gateway", "/dev/ttyUSB0", port="/dev/ttyUSB0", pid=900))
    (root / f"{language}.db").write_text("no database")
    found += look(bare, None, place=place).findings
    away = given.model_copy(update={"database": f"sqlite:///{root}/away/none.db"})
    return found + look(away, None, place=place).findings, said


def pattern(text: str) -> re.Pattern[str]:
    """What a text looks like once it is filled in."""
    parts = [
        re.escape(literal) + (".*" if name else "")
        for literal, name, _, _ in string.Formatter().parse(" ".join(text.split()))
    ]
    return re.compile("".join(parts), re.DOTALL)


def says_something(leaf: Leaf, language: str) -> bool:
    return bool(re.sub(r"\{\w+\}", "", leaf[language]).strip(" ;,:."))


def cases_of(texts: Texts) -> Iterator[tuple[str, str, dict[str, Leaf]]]:
    """Every finding that the texts have: its code, its variant, and the three texts of that one."""
    for code, table in texts.table.items():
        if "how" not in table:
            continue
        variants = [name for name in table if name not in ("what", "how", "mend")]
        for variant in [*variants, ""] if {"what", "how", "mend"} <= set(table) else variants:
            three = {**table, **(table[variant] if variant else {})}
            yield code, variant, {part: three[part] for part in ("what", "how", "mend")}


def test_every_text_is_said_by_something(
    tmp_path: Path,
    given: Settings,
    store: Store,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PATH", "")  # so there is no dmesg
    plugged = HostFolder(tmp_path / "plugged")
    folders.healthy(plugged)
    asked, busy = by_lanes(store)
    found = by_the_host(tmp_path / "hosts") + by_the_port() + by_the_tables() + asked
    said: dict[str, list[str]] = {language: screens(language) for language in LANGUAGES}
    for language in LANGUAGES:
        (stick,) = sticks(plugged.root)
        said[language] += settings_for(stick, "/dev/ttyUSB2", (), (), language)
        for more, words in (
            by_the_loop(given, store, language),
            by_examining(given, store, tmp_path, language),
        ):
            found += more
            said[language] += words
        said[language] += [one.told(language) for one in busy]
        file = tmp_path / "bpjs-sms.toml"
        file.write_text('database = "sqlite:///kept.db"\n')
        assert run(["doctor", "--language", language, "--key-copied", "--config", str(file)]) == 0
        said[language].append(capsys.readouterr().out)
    for language in LANGUAGES:
        told = [finding.told(language) for finding in found]
        said[language] += [text for one in told for text in (one.about, one.what, one.how, one.mend)]
        flat = [" ".join(text.split()) for text in said[language]]
        unsaid = [
            f"{code}.{variant}"
            for texts in SOURCES.values()
            for code, variant, three in cases_of(texts)
            if not any(
                one.code == code
                and all(
                    pattern(leaf[language]).fullmatch(" ".join(getattr(one, part).split()))
                    for part, leaf in three.items()
                )
                for one in told
            )
        ]
        findings = {code for texts in SOURCES.values() for code, _, _ in cases_of(texts)} | {"stick_names"}
        unsaid += [
            path
            for texts in SOURCES.values()
            for path, leaf in leaves(texts)
            if path.split(".")[0] not in findings
            and says_something(leaf, language)
            and not any(pattern(leaf[language]).search(text) for text in flat)
        ]
        assert unsaid == []


def test_the_lines_to_write_differ_in_their_comments_alone(tmp_path: Path) -> None:
    host = HostFolder(tmp_path)
    folders.healthy(host)
    (stick,) = sticks(host.root)
    told = {language: settings_for(stick, "/dev/ttyUSB2", (), (), language) for language in LANGUAGES}
    assert told["en"][3] == 'usb = "1-1"    # this socket, whatever the port is called (/dev/ttyUSB2 now)'
    assert "menurut colokan ini" in told["id"][3]
    assert "menurut kartu SIM" in told["id"][4]
    assert len({str(tomllib.loads("\n".join(lines))) for lines in told.values()}) == 1


# -- the command --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("asked", "environment", "spoken"),
    [
        (None, {}, "en"),
        (None, {"LANG": "id_ID.UTF-8"}, "id"),
        (None, {"LANG": "id"}, "id"),
        (None, {"LANG": "ID_id"}, "id"),
        (None, {"LANG": "ido_XX"}, "en"),
        (None, {"LANG": "en_US.UTF-8"}, "en"),
        (None, {"LANG": "de_DE.UTF-8"}, "en"),
        (None, {"LANG": "id_ID.UTF-8", "LC_MESSAGES": "en_US.UTF-8"}, "en"),
        (None, {"LANG": "en_US.UTF-8", "LC_MESSAGES": "id_ID.UTF-8"}, "id"),
        (None, {"LANG": "id_ID", "LC_MESSAGES": "id_ID", "LC_ALL": "C"}, "en"),
        (None, {"LANG": "C", "LC_ALL": "id_ID.UTF-8"}, "id"),
        (None, {"LANG": "id_ID.UTF-8", "LC_ALL": ""}, "id"),
        ("en", {"LC_ALL": "id_ID.UTF-8"}, "en"),
        ("id", {"LC_ALL": "C"}, "id"),
    ],
)
def test_which_language_is_spoken(asked: str | None, environment: Mapping[str, str], spoken: str) -> None:
    assert language_of(asked, environment) == spoken


Command = Callable[..., tuple[int, str]]


@pytest.fixture
def command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """`doctor` on a lane whose port is not there, in some environment."""
    file = tmp_path / "bpjs-sms.toml"
    file.write_text('database = "sqlite:///none.db"\n[[lanes]]\nname = "xl-1"\nport = "/dev/no-such-port"\n')

    def call(*arguments: str, **environment: str) -> tuple[int, str]:
        for name in ("LC_ALL", "LC_MESSAGES", "LANG"):
            monkeypatch.delenv(name, raising=False)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)
        status = run(["doctor", "--lane", "xl-1", *arguments, "--config", str(file)])
        printed = capsys.readouterr()
        return status, printed.out + printed.err

    return call


def test_the_command_speaks_the_language_of_the_terminal(command: Command) -> None:
    status, said = command(LANG="id_ID.UTF-8")
    assert status == 11
    assert "MASALAH" in said
    assert "Portnya tidak bisa dibuka." in said
    assert "1 masalah. Yang bermasalah belum bisa dipakai" in said
    assert "FAULT" not in said
    assert command(LANG="id_ID.UTF-8", LC_ALL="C") == command()
    assert "FAULT" in command()[1]


def test_the_command_speaks_the_language_that_it_is_asked_for(command: Command) -> None:
    assert command("--language", "id", LANG="en_US.UTF-8") == command(LANG="id_ID.UTF-8")
    assert command("--language", "en", LANG="id_ID.UTF-8") == command()
    status, said = command("--language", "fr")
    assert status == 2
    assert "--language" in said


def test_json_is_english_whatever_the_terminal_speaks_and_indonesian_when_asked(command: Command) -> None:
    plain = command("--json")
    assert command("--json", LANG="id_ID.UTF-8", LC_ALL="id_ID.UTF-8") == plain
    english = json.loads(plain[1])
    indonesian = json.loads(command("--json", "--language", "id")[1])
    assert english["findings"][0]["what"] == "The port cannot be opened."
    assert indonesian["findings"][0]["what"] == "Portnya tidak bisa dibuka."
    for one, other in zip(english["findings"], indonesian["findings"], strict=True):
        assert set(one) == set(other) == {"code", "severity", "about", "what", "how", "mend"}
        assert (one["code"], one["severity"]) == (other["code"], other["severity"])
    assert {**english, "findings": []} == {**indonesian, "findings": []}


@pytest.mark.parametrize(("typed", "sent"), [("ya\n", True), ("Y\n", True), ("t\n", False), ("\n", False)])
def test_a_yes_is_understood_in_indonesian(typed: str, sent: bool) -> None:
    asking = typer.Typer()

    @asking.command()
    def ask() -> None:
        typer.echo(confirming(Session(), False, "id")("Kirim satu SMS?"))

    assert CliRunner().invoke(asking, input=typed).stdout.splitlines()[-1] == str(sent)


def test_nobody_is_asked_with_yes_or_with_json() -> None:
    for language in LANGUAGES:
        assert confirming(Session(), True, language)("Send?") is True
        assert confirming(Session(json=True), False, language)("Send?") is False
