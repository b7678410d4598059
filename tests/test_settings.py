"""Settings: what is read from where, and what is said of everything that is wrong."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from app.domain.durations import format_duration, parse_duration
from app.domain.errors import SettingsError
from app.settings import LaneSettings, Settings, load_settings, masked, merged

LANE = '[[lanes]]\nname = "xl-1"\nport = "/dev/ttyUSB2"\n'

WHOLE = """\
database = "sqlite:///data/bpjs.db"
services = "mine"
ports = ["/dev/ttyUSB7"]
[server]
host = "0.0.0.0"
port = 8080
[sealing]
keys_file = "secret/keys"
[[lanes]]
name = "xl-1"
port = "/dev/ttyUSB2"
baud = 9600
pin_file = "xl-1.pin"
pace = "0s"
per_hour = 0
per_day = 5
[[lanes]]
name = "tsel-2"
port = "auto"
usb = "1-1.2"
flow_control = true
network_mode = "2g"
sms_over = "cs_first"
number_type = "national"
bar_calls = true
urcs = ["^XYZ:", "+ABC:"]
cmgs_timeout = "3m"
boot_timeout = "30s"
[service.bpjstk-balance]
timeout = "5m"
late = "1h"
settle = "60s"
require_evidence = "echo"
enabled = false
ask_again = 1
[webhooks]
allow_private = true
[phone]
enabled = true
open = true
[client]
url = "http://gateway.invalid:8000/"
key_file = ""
[retention]
texts = "30d"
records = "365d"
[log]
level = "debug"
json = true
"""


@pytest.fixture
def written(tmp_path: Path) -> Callable[[str], Path]:
    def write(text: str) -> Path:
        file = tmp_path / "settings.toml"
        file.write_text(text, "utf-8")
        return file

    return write


def test_without_anything_the_defaults_hold(tmp_path: Path, written: Callable[[str], Path]) -> None:
    found = load_settings(written(""), {})
    assert (found.server.host, found.server.port, found.server.max_body) == ("127.0.0.1", 8000, 1_048_576)
    assert found.server.max_batch == 33_554_432
    assert found.database == f"sqlite:///{tmp_path}/bpjs-sms.db"
    assert found.sealing.keys_file == tmp_path / "bpjs-sms.keys"
    assert (found.lanes, found.service, found.services) == ((), {}, None)
    assert (found.phone.enabled, found.phone.open, found.phone.per_day) == (False, False, 10)
    assert found.retention.texts == timedelta(days=30)
    assert found.client.read_key() is None


def test_every_key_of_the_file_arrives_and_paths_are_relative_to_it(
    tmp_path: Path, written: Callable[[str], Path]
) -> None:
    (tmp_path / "mine").mkdir()
    found = load_settings(written(WHOLE), {})
    first, second = found.lanes
    assert found.database == f"sqlite:///{tmp_path}/data/bpjs.db"
    assert found.services == tmp_path / "mine"
    assert found.sealing.keys_file == tmp_path / "secret/keys"
    assert (first.baud, first.pin_file, first.pace, first.per_hour, first.per_day) == (
        9600,
        tmp_path / "xl-1.pin",
        timedelta(),
        0,
        5,
    )
    assert (second.usb, second.pace, second.per_hour, second.per_day) == (
        "1-1.2",
        timedelta(seconds=20),
        60,
        200,
    )
    assert found.ports == ("/dev/ttyUSB7",)
    assert (second.flow_control, second.bar_calls, second.urcs) == (True, True, ("^XYZ:", "+ABC:"))
    assert (second.network_mode, second.sms_over, second.number_type) == ("2g", "cs_first", "national")
    assert (second.cmgs_timeout, second.boot_timeout) == (timedelta(minutes=3), timedelta(seconds=30))
    assert (first.network_mode, first.sms_over, first.number_type) == (None, None, "unknown")
    assert found.overrides() == {
        "bpjstk-balance": {
            "timeout": timedelta(minutes=5),
            "late": timedelta(hours=1),
            "settle": timedelta(seconds=60),
            "require_evidence": "echo",
            "enabled": False,
            "ask_again": 1,
        }
    }
    assert (found.client.url, found.client.key_file) == ("http://gateway.invalid:8000", None)
    assert (found.log.level, found.log.as_json) == ("debug", True)


def test_a_folder_of_services_that_is_not_there_is_none(written: Callable[[str], Path]) -> None:
    assert load_settings(written('services = "nowhere"'), {}).services is None
    assert load_settings(written('services = ""'), {}).services is None


def test_environment_is_over_the_file_and_overrides_over_both(written: Callable[[str], Path]) -> None:
    file = written(
        '[server]\nport = 1\nhost = "file"\n[service.bpjstk-balance]\nlate = "2h"\ntimeout = "1m"\n' + LANE
    )
    environ = {
        "BPJS_SMS_SERVER__PORT": "2",
        "BPJS_SMS_SERVICE__BPJSTK_BALANCE__TIMEOUT": "20s",
        "BPJS_SMS_LANES": json.dumps([{"name": "env", "port": "simulated://a", "pace": "1s"}]),
        "BPJS_SMS_PHONE": '{"enabled": true}',
        "BPJS_SMS_LOG__JSON": "true",
        "UNRELATED": "x",
    }
    found = load_settings(file, environ)
    assert (found.server.port, found.server.host) == (2, "file")
    assert [lane.name for lane in found.lanes] == ["env"]
    assert found.phone.enabled
    assert found.log.as_json
    assert found.overrides()["bpjstk-balance"] == {
        "timeout": timedelta(seconds=20),
        "late": timedelta(hours=2),
    }
    assert load_settings(file, environ, {"server": {"port": 0}}).server.port == 0


def test_the_file_may_be_named_by_the_environment(written: Callable[[str], Path]) -> None:
    assert load_settings(None, {"BPJS_SMS_CONFIG": str(written("[server]\nport = 7\n"))}).server.port == 7


def test_secrets_may_come_from_files(tmp_path: Path, written: Callable[[str], Path]) -> None:
    (tmp_path / "url").write_text("postgresql+psycopg://u:p@h/n\n")
    (tmp_path / "key").write_text("bsk_fake\n")
    (tmp_path / "pin").write_text("1234\n")
    found = load_settings(
        written(LANE + 'pin_file = "pin"\n'),
        {"BPJS_SMS_DATABASE_FILE": str(tmp_path / "url"), "BPJS_SMS_CLIENT__KEY_FILE": "key"},
    )
    assert found.database == "postgresql+psycopg://u:p@h/n"
    assert found.client.read_key() == "bsk_fake"
    assert found.lanes[0].read_pin() == "1234"


@pytest.mark.parametrize(
    ("content", "words"), [(None, "cannot be read"), ("", "empty"), ("12a4", "4 to 8 digits")]
)
def test_a_file_without_a_pin_is_told(tmp_path: Path, content: str | None, words: str) -> None:
    file = tmp_path / "pin"
    if content is not None:
        file.write_text(content)
    with pytest.raises(SettingsError, match=words):
        LaneSettings(name="a", port="/dev/null", pin_file=file).read_pin()


BAD_FILES = [
    ("databse = 'x'", ["databse is not a setting: did you mean database?"]),
    ("[sever]\nport = 1", ["sever is not a setting: did you mean server?"]),
    ("[server]\nprot = 1", ["server.prot is not a setting: did you mean port?"]),
    ('pace = "1s"', ["pace is not a setting here: it belongs under [[lanes]]"]),
    ('[server]\ndatabase = "sqlite:///x"', ["database belongs at the top"]),
    ("[log]\nas_jsn = true", ["log.as_jsn is not a setting"]),
    ("[server]\nport = 99999", ["server.port = 99999 must be at most 65535"]),
    ('[server]\nport = "abc"', ['server.port = "abc" must be a whole number']),
    ("[server]\nopen_metrics = 3", ["must be true or false"]),
    ("server = 5", ["server", "[server]"]),
    ("[[server]]\nport = 1", ["server", "[server]"]),
    ('lanes = "a"', ["write [[lanes]]"]),
    ('database = "mysql://x"', ["sqlite:///FILE"]),
    ('[client]\nurl = "gateway:8000"', ["http://"]),
    ('[log]\nlevel = "loud"', ['log.level = "loud"', "'warning'"]),
    ("[[lanes]]\nport = 'x'", ["[[lanes]] number 1, name is missing: write name = …"]),
    ("[[lanes]]\nname = 'XL_1'\nport = 'x'", ["lower case letters, digits and hyphens"]),
    ("[[lanes]]\nname = 'a'\nport = ''", ["port", "must not be empty"]),
    ("[[lanes]]\nname = 'a'\nport = 'auto'", ["iccid"]),
    ("[[lanes]]\nname = 'a'\nport = 'auto'\niccid = '8999'", ["iccid that is none"]),
    ("[[lanes]]\nname = 'a'\nport = 'x'\nusb = '1-1'", ["leave usb out"]),
    (
        "[[lanes]]\nname = 'a'\nport = 'auto'\nusb = '1-1'\n[[lanes]]\nname = 'b'\nport = 'auto'\nusb = '1-1'",
        ["usb = 1-1 more than once"],
    ),
    ("[[lanes]]\nname = 'a'\nport = 'x'\ncmgs_timeout = '30s'", ["two minutes", '"2m"']),
    ("[[lanes]]\nname = 'a'\nport = 'x'\nnetwork_mode = '5g'", ["must be 'auto'"]),
    ("[[lanes]]\nname = 'a'\nport = 'x'\nurcs = '^XYZ'", ["urcs", "must be a list"]),
    ("[[lanes]]\nname = 'a'\nport = 'x'\npace = 20", ['pace = 20 must be text with a unit: "20s"']),
    ("[[lanes]]\nname = 'a'\nport = 'x'\npace = '-1s'", ["is no duration"]),
    ("[[lanes]]\nname = 'a'\nport = 'x'\nper_hour = -1", ["per_hour = -1 must be at least 0"]),
    ("[[lanes]]\nname = 'a'\nport = 'x'\npin = '12'", ["pin must be 4 to 8 digits"]),
    ("[[lanes]]\nname = 'a'\nport = 'x'\npin = '1234'\npin_file = 'f'", ["keep one"]),
    ("[[lanes]]\nname = 'a'\nport = 'x'\n[[lanes]]\nname = 'a'\nport = 'y'", ["more than once"]),
    ("[service.bpjstk-balance]\ntimeout = '5m'\nlate = '1m'", ['late = "1m", less than timeout = "5m"']),
    ("[service.bpjstk-balance]\ntimeout = '0s'", ["no answer could ever come in time"]),
    ("[service.bpjstk-balance]\nrequire_evidence = 'ech'", ["must be 'any' or 'echo'"]),
    (
        "[service.bpjstk-balance]\ntimout = '5m'",
        ["service.bpjstk-balance.timout is not a setting: did you mean timeout?"],
    ),
    ("[retention]\ntexts = '30 days'", ['"30 days" is no duration']),
    ("not toml", ["is not TOML"]),
    ("services = 'settings.toml'", ["is a file, write a folder"]),
]


@pytest.mark.parametrize(
    ("text", "words"), BAD_FILES, ids=[text.replace("\n", " ")[:40] for text, _ in BAD_FILES]
)
def test_a_wrong_file_is_told_with_the_key_and_what_to_write(
    written: Callable[[str], Path], text: str, words: list[str]
) -> None:
    file = written(text)
    with pytest.raises(SettingsError) as caught:
        load_settings(file, {})
    for word in [str(file), *words]:
        assert word in caught.value.detail


BAD_ENVIRONMENTS = [
    ({"BPJS_SMS_SEVER__PORT": "1"}, "did you mean BPJS_SMS_SERVER__PORT?"),
    ({"BPJS_SMS_SERVER__PROT": "1"}, "did you mean BPJS_SMS_SERVER__PORT?"),
    ({"BPJS_SMS_SERVER__PORT__X": "1"}, "did you mean BPJS_SMS_SERVER__PORT?"),
    (
        {"BPJS_SMS_SERVICE__BPJSTK_BALANCE__TIMOUT": "1s"},
        "did you mean BPJS_SMS_SERVICE__BPJSTK_BALANCE__TIMEOUT?",
    ),
    ({"BPJS_SMS_XYZZY": "1"}, "BPJS_SMS_XYZZY (environment) is not a setting; unset it"),
    (
        {"BPJS_SMS_SERVER__PORT": "abc"},
        'BPJS_SMS_SERVER__PORT (environment): server.port = "abc" must be a whole number',
    ),
    ({"BPJS_SMS_LANES": "["}, "BPJS_SMS_LANES (environment) must be JSON"),
    (
        {"BPJS_SMS_LANES": '[{"name": "a"}]'},
        "BPJS_SMS_LANES (environment): [[lanes]] number 1, port is missing",
    ),
    ({"BPJS_SMS_SERVER": "8000"}, "BPJS_SMS_SERVER (environment)"),
    ({"BPJS_SMS_DATABASE_FILE": "missing"}, "BPJS_SMS_DATABASE_FILE names"),
    ({"BPJS_SMS_DATABASE_FILE": "x", "BPJS_SMS_DATABASE": "sqlite:///y"}, "keep one of the two"),
    ({"BPJS_SMS_CONFIG": "missing.toml"}, "BPJS_SMS_CONFIG names missing.toml, and there is no such file"),
]


@pytest.mark.parametrize(
    ("environ", "words"), BAD_ENVIRONMENTS, ids=[next(iter(e)) for e, _ in BAD_ENVIRONMENTS]
)
def test_a_wrong_variable_is_told_by_its_name(
    written: Callable[[str], Path], environ: dict[str, str], words: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        load_settings(None if "BPJS_SMS_CONFIG" in environ else written(""), environ)
    assert words in caught.value.detail


def test_all_faults_come_at_once(written: Callable[[str], Path]) -> None:
    file = written('databse = "x"\n[server]\nport = 99999\n' + LANE + "pace = 20\n")
    with pytest.raises(SettingsError) as caught:
        load_settings(file, {"BPJS_SMS_SEVER__PORT": "1", "BPJS_SMS_PHONE__PER_DAY": "0"})
    assert len(caught.value.detail.splitlines()) == 5


def test_no_fault_repeats_a_secret(written: Callable[[str], Path]) -> None:
    file = written("database = 'mysql://u:hunter2@h'\n[[lanes]]\nname = 'a'\nport = 'x'\npin = '990099009'\n")
    with pytest.raises(SettingsError) as caught:
        load_settings(file, {})
    assert "hunter2" not in caught.value.detail
    assert "990099009" not in caught.value.detail


def test_a_named_file_that_is_not_there_or_not_text_is_told(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="--config names"):
        load_settings(tmp_path / "missing.toml", {})
    (tmp_path / "binary.toml").write_bytes(b"\xff\x00")
    with pytest.raises(SettingsError, match="not UTF-8"):
        load_settings(tmp_path / "binary.toml", {})


def test_what_is_printed_is_read_back_the_same_but_for_the_secrets(
    tmp_path: Path, written: Callable[[str], Path]
) -> None:
    (tmp_path / "mine").mkdir()
    found = load_settings(written(WHOLE), {})
    again = tmp_path / "again.toml"
    again.write_text(merged(found), "utf-8")
    assert load_settings(again, {}) == found


def test_what_is_printed_holds_no_secret(written: Callable[[str], Path]) -> None:
    found = load_settings(
        written(LANE + 'pin = "4711"\n'),
        {"BPJS_SMS_CLIENT__KEY": "bsk_hidden", "BPJS_SMS_DATABASE": "postgresql+psycopg://u:hunter2@h/n"},
    )
    for printed in (merged(found), json.dumps(masked(found)), repr(found.lanes), repr(found.client)):
        assert not any(secret in printed for secret in ("4711", "bsk_hidden", "hunter2"))
    assert tomllib.loads(merged(found)) == {
        name: value for name, value in masked(found).items() if value != {}
    }


def test_settings_are_frozen() -> None:
    with pytest.raises(ValueError, match="frozen"):
        Settings().database = "x"  # type: ignore[misc]


@pytest.mark.parametrize(
    ("text", "duration"),
    [
        ("20s", timedelta(seconds=20)),
        ("10m", timedelta(minutes=10)),
        ("1h30m", timedelta(minutes=90)),
        ("7d", timedelta(days=7)),
        ("500ms", timedelta(milliseconds=500)),
        ("0s", timedelta()),
        (" 3H ", timedelta(hours=3)),
    ],
)
def test_durations_are_read(text: str, duration: timedelta) -> None:
    assert parse_duration(text) == duration


@pytest.mark.parametrize(
    "text", ["", "s", "5", "1.5h", "-1s", "1m1h", "1s1s", "٣s", "1 h", "999999999d999999999h9"]
)
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="duration"):
        parse_duration(text)


@given(st.integers(0, 10**11))
@settings(max_examples=100, deadline=None)
def test_durations_come_back_as_they_were_written(milliseconds: int) -> None:
    duration = timedelta(milliseconds=milliseconds)
    assert parse_duration(format_duration(duration)) == duration


@given(st.text(max_size=20))
@settings(max_examples=200, deadline=None)
def test_any_text_is_a_duration_or_a_value_error(text: str) -> None:
    with suppress(ValueError):
        assert parse_duration(text) >= timedelta()


def test_simulated_answers_never_mix_with_real_lanes() -> None:
    from app.runtime import simulated_settings

    real = Settings(lanes=(LaneSettings(name="real", port="/dev/ttyUSB2"),))
    with pytest.raises(SettingsError, match="must not mix"):
        simulated_settings(real, 2)
    assert [lane.name for lane in simulated_settings(Settings(), 2).lanes] == ["xl-1", "xl-2"]
