"""The whole doctor: a host folder with sticks on ptys, lanes of a running gateway, one SMS to itself, output and exit status."""

from __future__ import annotations

import fcntl
import io
import json
import os
import threading
import tty
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest
from host_folder import HostFolder
from odd_modems import OddModem
from rich.console import Console
from store_playing import open_lane
from test_doctor_port import stick

from app.domain.errors import Invalid
from app.faces.cli.commands import run
from app.faces.cli.doctor import alike, apart, show, status_of
from app.faces.cli.examining import Examined, at_once, confirm_key_copy, examine, in_order
from app.faces.cli.lanes_asked import ask_lane, request
from app.faces.cli.looping import Loop, run_loop
from app.faces.cli.output import Session
from app.faces.cli.ports_asked import Place
from app.runtime import Runtime, build
from app.settings import LaneSettings, Settings
from app.store import diagnosis, lanes, requests
from app.store import tables as t
from app.store.engine import Store, open_store
from modem import PortSettings, SerialModem
from modem.doctor import ADVICE, FAULT, WARNING, Finding, loop
from modem.port import ModemError
from modem.simulated import Dongle, Network, Sim, Ticker, attach, detach
from modem.simulated.ports import utc_now

HUAWEI = ("12d1", "1001")
KINDS = {0: "ff/01/01", 2: "ff/01/02"}
IMEI = "990000000000010"


@pytest.fixture(autouse=True)
def _spoken_in_english(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the language of whoever runs the tests."""
    monkeypatch.setenv("LC_ALL", "C.UTF-8")


@pytest.fixture
def host(tmp_path: Path) -> HostFolder:
    return HostFolder(tmp_path / "root")


@pytest.fixture
def plug(host: HostFolder) -> Iterator[Callable[..., OddModem]]:
    """Plug a stick in whose control port, interface 2, is played; interface 0 is a pty on which nobody speaks."""
    with ExitStack() as stack:

        def call(usb: str = "1-1.2", **answers: str) -> OddModem:
            modem = stack.enter_context(stick(**answers).plugged_in())
            ours, theirs = os.openpty()
            stack.callback(os.close, ours)
            stack.callback(os.close, theirs)
            tty.setraw(theirs)
            host.stick(usb, *HUAWEI, ports={0: os.ttyname(theirs), 2: modem.url}, kinds=KINDS)
            return modem

        yield call


def settings(tmp_path: Path, *lanes: LaneSettings) -> Settings:
    return Settings(
        database=f"sqlite:///{tmp_path}/none.db",
        lanes=lanes,
        services=None,
        sealing={"keys_file": tmp_path / "none.keys"},  # type: ignore[arg-type]
    )


def look(host: HostFolder, given: Settings, only: str | None = None) -> Examined:
    return examine(given, only, place=Place(root=host.root, log="", uid=0))


def codes(examined: Examined) -> list[str]:
    return [finding.code for finding in examined.findings]


def test_a_new_stick_and_no_idea(host: HostFolder, plug: Callable[..., OddModem], tmp_path: Path) -> None:
    plug()
    examined = look(host, settings(tmp_path))
    assert examined.findings == []
    assert status_of(examined.findings) == 0
    assert [(port.port, port.role) for port in examined.ports] == [
        ("/dev/ttyUSB0", "dialling"),
        ("/dev/ttyUSB1", "control"),
    ]
    assert examined.ports[1].model == "huawei E173"
    assert examined.settings_lines[:4] == [
        "[[lanes]]",
        'name = "lane-1"',
        'port = "auto"',
        examined.settings_lines[3],
    ]
    assert examined.settings_lines[3].startswith('usb = "1-1.2"')
    assert not (tmp_path / "none.db").exists()


def test_the_lines_to_write_are_settings(
    host: HostFolder, plug: Callable[..., OddModem], tmp_path: Path
) -> None:
    plug("1-1.2")
    plug("1-1.3", **{"AT+CGSN": "990000000000028|OK"})
    lines = look(host, settings(tmp_path)).settings_lines
    file = tmp_path / "written.toml"
    file.write_text("\n".join(lines))
    assert run(["config", "--config", str(file)]) == 0
    assert {'name = "lane-1"', 'name = "lane-2"'} <= set(lines)


def test_two_new_sticks_with_one_imei(
    host: HostFolder, plug: Callable[..., OddModem], tmp_path: Path
) -> None:
    plug("1-1.2")
    plug("1-1.3")
    examined = look(host, settings(tmp_path))
    assert codes(examined) == ["imei_doubled"]
    assert IMEI not in json.dumps(examined.as_json())
    assert status_of(examined.findings) == 10


def test_the_silent_port_of_a_stick_in_the_settings(
    host: HostFolder, plug: Callable[..., OddModem], tmp_path: Path
) -> None:
    plug()
    examined = look(host, settings(tmp_path, LaneSettings(name="xl-1", port="/dev/ttyUSB0")))
    assert codes(examined) == ["wrong_port"]
    assert 'port = "/dev/ttyUSB1"' in examined.findings[0].mend
    assert status_of(examined.findings) == 11


def test_a_lane_by_its_socket(host: HostFolder, plug: Callable[..., OddModem], tmp_path: Path) -> None:
    plug(**{"AT+CPIN?": "+CPIN: SIM PIN|OK"})
    lane = LaneSettings(name="xl-1", port="auto", usb="1-1.2")
    assert codes(look(host, settings(tmp_path, lane), "xl-1")) == ["sim_pin"]
    given = lane.model_copy(update={"pin_file": tmp_path / "pin"})
    assert codes(look(host, settings(tmp_path, given), "xl-1")) == ["pin_file_unusable"]
    (tmp_path / "pin").write_text("abcd\n")
    assert codes(look(host, settings(tmp_path, given), "xl-1")) == ["pin_file_unusable"]
    (tmp_path / "pin").write_text("1234\n")
    assert codes(look(host, settings(tmp_path, given), "xl-1")) == []


def test_a_port_that_is_gone_is_told_once(
    host: HostFolder, plug: Callable[..., OddModem], tmp_path: Path
) -> None:
    plug()
    examined = look(host, settings(tmp_path, LaneSettings(name="xl-1", port="/dev/ttyUSB9")))
    assert codes(examined) == ["port_missing"]


def test_a_port_that_another_program_has_is_not_spoken_to(
    host: HostFolder, plug: Callable[..., OddModem], tmp_path: Path
) -> None:
    modem = plug()
    host.file("proc/812/comm", "minicom\n")
    host.link("proc/812/fd/3", "/dev/ttyUSB1")
    assert codes(look(host, settings(tmp_path))) == ["port_held"]
    lane = LaneSettings(name="xl-1", port="/dev/ttyUSB1")
    assert codes(look(host, settings(tmp_path, lane), "xl-1")) == ["port_held"]
    assert modem.heard == []


def test_the_gateway_may_hold_its_ports_whatever_its_database(
    host: HostFolder, store: Store, tmp_path: Path, database_url: str
) -> None:
    """SQLite's lock file names the process that serves; PostgreSQL has nothing like it."""
    host.stick("1-1.2", *HUAWEI, ports={0: None, 2: None}, kinds=KINDS)
    host.file("proc/900/comm", "bpjs-sms\n")
    host.link("proc/900/fd/3", "/dev/ttyUSB1")
    lane = LaneSettings(name="xl-1", port="/dev/ttyUSB1")
    given = Settings(
        database=database_url,
        lanes=(lane,),
        services=None,
        sealing={"keys_file": tmp_path / "gateway.keys"},  # type: ignore[arg-type]
    )
    assert "port_held" in codes(look(host, given))
    open_lane(store, utc_now())
    change = t.lanes.update().values(state="failed", reason="no_storage")
    store.write(lambda tx: tx.execute(change))
    assert "port_held" not in codes(look(host, given))


def test_a_gateway_that_has_a_port_and_cannot_note_it_is_not_called_another_program(
    host: HostFolder, plug: Callable[..., OddModem], tmp_path: Path
) -> None:
    modem = plug()
    host.file("proc/900/comm", "bpjs-sms\n")
    host.link("proc/900/fd/3", "/dev/ttyUSB1")
    (tmp_path / "none.db.lock").write_text("process 900")
    lane = LaneSettings(name="xl-1", port="/dev/ttyUSB1")
    with open(modem.url, "rb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert codes(look(host, settings(tmp_path, lane), "xl-1")) == ["port_held_by_gateway"]
    assert codes(look(host, settings(tmp_path, lane), "xl-1")) == []


def test_a_port_that_is_no_serial_port_is_told_once(host: HostFolder, tmp_path: Path) -> None:
    host.file("dev/null")
    host.file("proc/812/comm", "bash\n")
    host.link("proc/812/fd/1", "/dev/null")
    (found,) = look(host, settings(tmp_path, LaneSettings(name="xl-1", port="/dev/null"))).findings
    assert found.code == "no_answer"
    assert "not a serial port" in found.how


def test_lanes_that_are_reached_over_a_network_need_no_stick(host: HostFolder, tmp_path: Path) -> None:
    with stick().plugged_in() as modem:
        lane = LaneSettings(name="xl-1", port=f"spy://{modem.url}")
        assert codes(look(host, settings(tmp_path, lane))) == []


def test_a_lane_that_is_not_there(host: HostFolder, tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="no lane 'xl-9'"):
        look(host, settings(tmp_path), "xl-9")


# -- beside a running gateway -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Runtime, Settings]]:
    tmp_path = tmp_path_factory.mktemp("gateway")
    given = Settings(
        database=f"sqlite:///{tmp_path}/gateway.db",
        services=None,
        sealing={"keys_file": tmp_path / "gateway.keys"},  # type: ignore[arg-type]
    )
    runtime = build(given, 2)
    runtime.start()
    try:
        for worker in runtime.workers:
            still = threading.Event()
            assert any(worker.ready[0] or still.wait(0.05) for _ in range(200))
        yield runtime, given
    finally:
        runtime.stop()


def test_held_lanes_are_asked_through_the_gateway_and_go_on(
    host: HostFolder, running: tuple[Runtime, Settings]
) -> None:
    runtime, given = running
    examined = look(host, given)
    assert [(port.lane, port.model, port.operator) for port in examined.ports] == [
        ("xl-1", "huawei E173", "XL"),
        ("xl-2", "huawei E173", "XL"),
    ]
    assert set(codes(examined)) == {"credit_unknown", "keys_without_copy"}
    assert status_of([finding for finding in examined.findings if finding.code == "credit_unknown"]) == 0
    assert "51011000000" not in json.dumps(examined.as_json())
    assert all(worker.ready[0] for worker in runtime.workers)


def test_a_held_lane_texts_itself_and_tells_the_price(
    host: HostFolder, running: tuple[Runtime, Settings]
) -> None:
    runtime, given = running
    assert runtime._world is not None
    network = runtime._world.network
    before = submits(network)
    network.ussd["*123#"] = "Pulsa Rp 25.000"
    examined = examine(given, "xl-1", place=Place(root=host.root, log="", uid=0))
    looped, failed = run_loop(given, sure(credit_code="*123#"), free={}, held=examined.answering)
    assert failed == []
    assert looped["storage"] == "SM"
    assert 0 <= looped["delay_seconds"] < 10
    assert abs(looped["centre_ahead_seconds"]) <= 2
    assert looped["cost"] == 0
    assert submits(network) == before + 1
    assert all(worker.ready[0] for worker in runtime.workers)


def test_the_credit_that_is_asked_around_the_loop_is_kept(
    running: tuple[Runtime, Settings], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runtime, given = running
    assert runtime._world is not None
    runtime._world.network.ussd["*124#"] = "Pulsa Rp 31.000"
    file = tmp_path / "bpjs-sms.toml"
    file.write_text(f'database = "{given.database}"\n[sealing]\nkeys_file = "{given.sealing.keys_file}"\n')
    asked = ["doctor", "--lane", "xl-1", "--loop", "--yes", "--credit-code", "*124#", "--json"]
    run([*asked, "--config", str(file)])
    said = json.loads(capsys.readouterr().out)
    assert said["loop"]["cost"] == 0
    assert not {"credit_unknown", "credit_not_told"} & {finding["code"] for finding in said["findings"]}
    seen = runtime.store.read(lambda tx: diagnosis.lanes_seen(tx, utc_now()))
    assert next(lane.credit for lane in seen if lane.name == "xl-1") == 31_000


def test_a_held_lane_sends_nothing_without_a_yes_or_to_what_is_no_number(
    running: tuple[Runtime, Settings],
) -> None:
    runtime, given = running
    assert runtime._world is not None
    before = submits(runtime._world.network)
    with pytest.raises(Invalid, match="Nothing was sent"):
        run_loop(given, Loop(), free={}, held={"xl-1"})
    looped, failed = run_loop(given, sure(number="12"), free={}, held={"xl-1"})
    assert looped["error"]["code"] == "loop_refused"
    assert [finding.code for finding in failed] == ["loop_failed"]
    assert submits(runtime._world.network) == before


def test_an_sms_of_a_held_lane_that_does_not_come_back(running: tuple[Runtime, Settings]) -> None:
    runtime, given = running
    assert runtime._world is not None
    network = runtime._world.network
    before = submits(network)
    network.interfere(lambda delivery: [])
    brief = timedelta(seconds=1)
    try:
        wanted = replace(sure(), patience=brief, sending=brief)
        looped, failed = run_loop(given, wanted, free={}, held={"xl-2"})
    finally:
        network.interfere(None)
    assert looped["error"]["code"] == "loop_not_received"
    assert [(finding.code, finding.about) for finding in failed] == [("loop_failed", "xl-2")]
    assert submits(network) == before + 1


def test_a_lane_that_does_not_answer(tmp_path: Path) -> None:
    given = settings(tmp_path)
    with closing(open_store(given.database, given.sealing.keys_file, serving=False)) as store:
        spec = lanes.LaneSpec("xl-1", "socket://127.0.0.1:9", timedelta(0), 0, 0)
        store.write(lambda tx: lanes.register(tx, [spec], utc_now()))
        told = ask_lane(store, "xl-1", 0.1)
    assert [finding.code for finding in told.findings] == ["lane_does_not_answer"]
    assert told.facts is None


def test_a_request_that_is_interrupted_before_it_is_taken_is_withdrawn(tmp_path: Path) -> None:
    given = settings(tmp_path)
    with closing(open_store(given.database, given.sealing.keys_file, serving=False)) as store:
        store.write(
            lambda tx: lanes.register(
                tx, [lanes.LaneSpec("xl-1", "socket://127.0.0.1:9", timedelta(0), 0, 0)], utc_now()
            )
        )
        answer, why = request(store, "xl-1", "loop", {"mark": "x"}, within=5, taken_within=0.1)
        assert answer is None
        assert why is not None
        assert "nothing was done" in why.en
        assert store.read(requests.lanes_asked) == []


def test_what_a_modem_of_a_held_lane_says_is_found(
    host: HostFolder, running: tuple[Runtime, Settings]
) -> None:
    runtime, given = running
    assert runtime._world is not None
    runtime._world.dongles["xl-2"].turn(utc_now(), signal=3)
    try:
        examined = look(host, given)
    finally:
        runtime._world.dongles["xl-2"].turn(utc_now(), signal=20)
    weak = [finding for finding in examined.findings if finding.code == "weak_signal"]
    assert [(one.about, one.told("id").about) for one in weak] == [("lane xl-2", "jalur xl-2")]


def test_credit_is_asked_kept_and_then_known(host: HostFolder, running: tuple[Runtime, Settings]) -> None:
    runtime, given = running
    assert runtime._world is not None
    runtime._world.network.ussd["*123#"] = "Pulsa Rp 25.000 aktif s.d. 31-12-2099"
    place = Place(root=host.root, log="", uid=0)
    examined = examine(given, "xl-1", "*123#", place=place)
    assert not {"credit_unknown", "credit_not_told", "credit_low"} & set(codes(examined))
    assert "credit_not_told" in codes(examine(given, "xl-1", "*999#", place=place))


def test_a_confirmed_copy_of_the_keys_is_remembered(host: HostFolder, tmp_path: Path) -> None:
    given = settings(tmp_path, LaneSettings(name="xl-1", port="socket://127.0.0.1:9"))
    with closing(open_store(given.database, given.sealing.keys_file, serving=False)):
        pass
    assert codes(look(host, given)) == ["port_missing", "keys_without_copy"]
    confirm_key_copy(given)
    assert codes(look(host, given)) == ["port_missing"]


# -- one SMS to itself --------------------------------------------------------------------------------------------


@pytest.fixture
def network() -> Iterator[Network]:
    network = Network(7)
    sim = Sim(iccid="8999000000000000001", imsi="510110000000001", own_number="+62990000001")
    attach("doctor", Dongle(network, sim, imei=IMEI))
    try:
        with Ticker(network):
            yield network
    finally:
        detach("doctor")


PORT = {"xl-1": PortSettings("simulated://doctor")}


def sure(number: str | None = None, credit_code: str | None = None) -> Loop:
    return Loop(number, credit_code, lambda question: True)


def submits(network: Network) -> int:
    return sum(1 for entry in network.ledger if entry.kind == "submitted")


def test_the_loop_proves_receiving_and_leaves_nothing_behind(network: Network, tmp_path: Path) -> None:
    asked: list[str] = []

    def confirm(question: str) -> bool:
        asked.append(question)
        return True

    wanted = Loop(confirm=confirm)
    looped, failed = run_loop(settings(tmp_path), wanted, free=PORT, held=set())
    assert submits(network) == 1
    assert len(asked) == 1
    assert looped["storage"] == "SM"
    assert 0 <= looped["delay_seconds"] < 10
    assert abs(looped["centre_ahead_seconds"]) <= 2
    assert looped["cost"] is None
    assert failed == []
    with_modem = SerialModem(PortSettings("simulated://doctor"))
    with_modem.open()
    try:
        assert with_modem.inbox() == []
    finally:
        with_modem.close()


def test_the_loop_reads_the_price_where_the_credit_is_told(network: Network, tmp_path: Path) -> None:
    network.ussd["*123#"] = "Pulsa Rp 25.000"
    looped, _ = run_loop(settings(tmp_path), sure(credit_code="*123#"), free=PORT, held=set())
    assert looped["cost"] == 0


def test_the_loop_sends_nothing_without_a_yes(network: Network, tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="Nothing was sent"):
        run_loop(settings(tmp_path), Loop(), free=PORT, held=set())
    assert submits(network) == 0


def test_the_loop_needs_exactly_one_modem_that_answers(tmp_path: Path) -> None:
    with pytest.raises(Invalid, match="there is none"):
        run_loop(settings(tmp_path), sure(), free={}, held=set())
    both = {"a": PortSettings("simulated://a"), "b": PortSettings("simulated://b")}
    with pytest.raises(Invalid, match="--lane"):
        run_loop(settings(tmp_path), sure(), free=both, held=set())
    with pytest.raises(Invalid, match="there are xl-1, xl-2: name one with --lane"):
        run_loop(settings(tmp_path), sure(), free={}, held={"xl-2", "xl-1"})


def test_an_sms_that_does_not_come_back_is_a_fault_and_is_not_sent_again(
    network: Network, tmp_path: Path
) -> None:
    modem = SerialModem(PortSettings("simulated://doctor"))
    modem.open()
    try:
        with pytest.raises(ModemError, match="loop_not_received"):
            loop(modem, "+62990000999", "nobody's", utc_now, patience=timedelta(seconds=0.3))
    finally:
        modem.close()
    assert submits(network) == 1
    said, failed = run_loop(settings(tmp_path), sure(number="12"), free=PORT, held=set())
    assert said["error"]["code"] == "number_invalid"
    assert [finding.code for finding in failed] == ["loop_failed"]
    assert submits(network) == 1


# -- the command --------------------------------------------------------------------------------------------------


def test_the_command_prints_json_and_ends_by_severity(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bpjs-sms.toml"
    file.write_text('database = "sqlite:///none.db"\n[[lanes]]\nname = "xl-1"\nport = "/dev/no-such-port"\n')
    status = run(["doctor", "--json", "--lane", "xl-1", "--config", str(file)])
    said = json.loads(capsys.readouterr().out)
    assert status == 11
    assert [finding["code"] for finding in said["findings"]] == ["port_missing"]
    assert set(said["findings"][0]) == {"code", "severity", "about", "what", "how", "mend"}
    assert [port["lane"] for port in said["ports"]] == ["xl-1"]
    assert run(["doctor", "--lane", "xl-1", "--config", str(file)]) == 11
    text = capsys.readouterr().out
    assert "FAULT" in text
    assert "mend" in text
    assert "1 fault" in text


def test_many_modems_are_asked_at_the_same_time_and_told_in_order() -> None:
    together = threading.Barrier(4)

    def ask(number: int) -> int:
        together.wait(10)
        return number

    assert at_once([lambda n=n: ask(n) for n in range(8)], 4) == list(range(8))  # type: ignore[misc]

    def fails() -> int:
        raise ModemError("port_lost", "gone")

    with pytest.raises(ModemError, match="port_lost"):
        at_once([lambda: 1, fails], 2)


def test_what_is_wrong_with_many_is_told_once() -> None:
    found = [
        Finding(
            "no_sim", FAULT, f"lane xl-{n}", "There is no SIM in the stick.", "AT+CPIN? said so", "put one in"
        )
        for n in range(24)
    ]
    other = Finding("weak_signal", WARNING, "lane xl-1", "The signal is weak.", "AT+CSQ said so", "move it")
    assert [len(group) for group in alike([*found, other])] == [24, 1]
    out = io.StringIO()
    session = Session()
    session.out = Console(file=out, width=80)
    show(session, Examined(findings=[*found, other]), None)
    lines = out.getvalue().splitlines()
    assert lines[0].startswith(" FAULT    lane xl-0, lane xl-1, lane xl-2, lane xl-3 and 20 more  no_sim")
    assert len(lines) < 15
    assert all(line == line.rstrip() for line in lines)
    assert lines[-1].startswith("24 faults and 1 warning.")


def test_advice_is_told_last_and_is_nothing_wrong() -> None:
    found = [
        Finding("credit_unknown", ADVICE, "lane xl-1", "Nobody knows.", "no credit was read", "ask"),
        Finding("weak_signal", WARNING, "lane xl-1", "The signal is weak.", "AT+CSQ said so", "move it"),
    ]
    assert [finding.code for finding in in_order(found)] == ["weak_signal", "credit_unknown"]
    assert (status_of(found), status_of(found[:1])) == (10, 0)


def test_a_lane_that_is_down_is_not_told_beside_its_cause(host: HostFolder, tmp_path: Path) -> None:
    given = settings(tmp_path, LaneSettings(name="xl-1", port="/dev/ttyUSB9"))
    runtime = build(given, 0)
    runtime.start()
    try:
        worker, still = runtime.workers[0], threading.Event()
        assert any("plug the stick in" in worker.ready[1] or still.wait(0.05) for _ in range(200))
        assert codes(look(host, given, "xl-1")) == ["port_missing"]
    finally:
        runtime.stop()


def test_a_database_without_a_folder(host: HostFolder, plug: Callable[..., OddModem], tmp_path: Path) -> None:
    plug()
    given = settings(tmp_path).model_copy(update={"database": f"sqlite:///{tmp_path}/away/none.db"})
    examined = look(host, given)
    assert codes(examined) == ["database_unusable"]
    assert f"mkdir -p {tmp_path}/away" in examined.findings[0].mend


def test_long_commands_stand_apart_so_that_they_can_be_copied() -> None:
    long = "sudo " + "x" * 60
    assert apart(f"first `{long}`, then `short`") == ("first (1), then `short`", [long])


def test_the_command_remembers_a_copy_of_the_keys(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "bpjs-sms.toml"
    file.write_text('database = "sqlite:///kept.db"\n')
    assert run(["doctor", "--key-copied", "--config", str(file)]) == 0
    assert "bpjs-sms.keys has a copy" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["--number", "08"], ["--yes"]])
def test_what_belongs_to_the_loop_is_not_ignored_without_it(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["doctor", *arguments]) == 2
    said = capsys.readouterr().err
    assert "--loop" in said
    assert arguments[0] in said


def test_the_command_names_a_lane_that_is_not_there(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "bpjs-sms.toml"
    file.write_text('database = "sqlite:///none.db"\n')
    assert run(["doctor", "--lane", "xl-9", "--config", str(file)]) == 2
    assert "xl-9" in capsys.readouterr().err
