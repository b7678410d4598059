"""The pages tell the truth: every name that the program knows stands in them, and what they show is what it does."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args

import pytest
import typer.main
from pictures import COMES_OUT, DEMO, between, blocks
from prometheus_client import Metric
from pydantic import BaseModel

from app.domain.attribution import Reason
from app.domain.errors import Blame
from app.domain.services import RECORD_FIELDS
from app.domain.states import LaneState, Outcome, Role, State
from app.faces.cli.commands import app as commands
from app.faces.cli.output import EXIT_STATUS
from app.faces.http.health import Metrics
from app.faces.http.problems import STATUS
from app.faces.http.resources import MessageState
from app.settings import LaneSettings, ServiceOverride, Settings, load_settings
from app.simulation import OUTCOME_CARDS
from app.store.clients import SCOPES
from app.store.engine import Store
from app.store.events import KINDS

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text("utf-8")
PAGES = sorted(
    [*ROOT.glob("*.md"), *ROOT.glob("deploy/*"), *ROOT.glob("docs/*"), ROOT / "templates_sms" / "README.md"]
)
MARKDOWN = [page for page in PAGES if page.suffix == ".md"]
BLOCK = r"(?s:```.*?```)"
SPAN = r"`(?:[^`\n]|\n(?!\n))+`"


def rows(page: str) -> list[list[str]]:
    """The cells of every table row of a page; a `|` in code is escaped in none of ours."""
    return [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in page.splitlines()
        if line.startswith("|")
    ]


def coded(page: str) -> set[str]:
    """Every word that stands in code on a page, in a line or in a block."""
    text = " ".join(re.findall(rf"{BLOCK}|{SPAN}", page))
    return set(re.findall(r"[a-z_*][a-z0-9_.:*-]*", text))


def settings_keys(model: type[BaseModel]) -> Iterator[tuple[str, Any]]:
    for name, field in model.model_fields.items():
        yield field.alias or name, field.annotation


# -- names ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "names"),
    [
        ("states", list(State)),
        ("outcomes", list(Outcome)),
        ("roles", list(Role)),
        ("lane states", list(LaneState)),
        ("states of messages", get_args(MessageState)),
        ("reasons of unmatched messages", list(Reason)),
        ("kinds of events", KINDS),
        ("scopes", SCOPES),
        ("who is to blame", list(Blame)),
        ("members of a record", RECORD_FIELDS),
    ],
)
def test_every_name_stands_in_the_readme(what: str, names: list[str]) -> None:
    missing = sorted({str(name) for name in names} - coded(README))
    assert not missing, f"README.md does not tell these {what}: {', '.join(missing)}"


def test_states_and_outcomes_are_explained_in_both_languages() -> None:
    for page in ("README.md", "README.id.md"):
        explained = {row[0].strip("`") for row in rows((ROOT / page).read_text("utf-8"))}
        assert {*State, *Outcome} <= explained, page


def test_every_error_code_stands_with_its_status() -> None:
    told: dict[str, int] = {}
    for row in rows(README):
        if re.fullmatch(r"[45]\d\d", row[0]):
            told |= {code: int(row[0]) for code in re.findall(r"`([a-z_]+)`", row[1])}
    assert told == {code: status for code, (status, _title) in STATUS.items()}


def test_every_exit_status_stands_with_its_meaning() -> None:
    told = {
        int(row[0]): row[1] for row in rows(README) if row[0].isdigit() and int(row[0]) not in range(400, 600)
    }
    assert told == EXIT_STATUS
    indonesian = (ROOT / "README.id.md").read_text("utf-8")
    summary = indonesian[indonesian.index("Kode keluarnya:") :].partition("\n\n")[0]
    assert {int(number) for number in re.findall(r"\b\d+\b", summary)} == set(EXIT_STATUS)


def test_every_metric_stands_with_its_labels(sqlite_store: Store) -> None:
    families: list[Metric] = list(Metrics(sqlite_store).registry.collect())
    told = {row[0].strip("`") for row in rows(README) if row[0].startswith("`bpjs_sms_")}
    assert told == {family.name for family in families}


def test_every_command_and_option_stands_in_the_readme() -> None:
    section = README[README.index("## Command line") : README.index("## Settings")]
    told = coded(section)

    def check(command: Any, path: str) -> None:
        options = [option for param in command.params for option in param.opts if option.startswith("-")]
        missing = [option for option in options if option not in section]
        assert not missing, f"{path}: {', '.join(missing)}"
        for name, inner in getattr(command, "commands", {}).items():
            assert name in told, f"{path} {name}"
            check(inner, f"{path} {name}")

    check(typer.main.get_command(commands), "bpjs-sms")


# -- settings -------------------------------------------------------------------------------------------------------


def shown_settings() -> str:
    found = re.search(r"```toml\n(database.*?)```", README, re.DOTALL)
    assert found is not None
    return found[1]


def test_every_setting_is_shown() -> None:
    told: dict[str, set[str]] = {"": set()}
    section = ""
    for line in shown_settings().splitlines():
        if heading := re.match(r"\[+([a-z]+)", line):
            section = heading[1]
            told[section] = set()
        elif key := re.match(r"#? ?([a-z_]+) = ", line):
            told[section].add(key[1])
    wanted: dict[str, set[str]] = {"": set()}
    for name, kind in settings_keys(Settings):
        inner = {"lanes": LaneSettings, "service": ServiceOverride}.get(name, kind)
        if isinstance(inner, type) and issubclass(inner, BaseModel):
            wanted[name] = {key for key, _kind in settings_keys(inner)}
        else:
            wanted[""].add(name)
    assert told == wanted


def test_the_settings_shown_load_and_are_the_defaults(tmp_path: Path) -> None:
    file = tmp_path / "bpjs-sms.toml"
    file.write_text(shown_settings(), "utf-8")
    shown = load_settings(file, {})
    file.write_text("", "utf-8")
    usual = load_settings(file, {})
    examples = {"lanes", "service"}
    assert shown.model_dump(exclude=examples) == usual.model_dump(exclude=examples)
    (lane,) = shown.lanes
    assert lane.model_dump(exclude={"pin_file"}) == LaneSettings(name=lane.name, port=lane.port).model_dump(
        exclude={"pin_file"}
    )
    assert shown.service["bpjstk-balance"].late == timedelta(hours=1)


def test_what_is_written_for_a_real_dongle_loads(tmp_path: Path) -> None:
    for page in ("README.id.md", "deploy/README.md"):
        text = (ROOT / page).read_text("utf-8")
        written = re.findall(r"```toml\n(.*?)```|<<'TOML'\n(.*?)\nTOML", text, re.DOTALL)
        assert written, page
        for block in written:
            file = tmp_path / "bpjs-sms.toml"
            file.write_text(re.sub(r"(?m)^ +", "", "".join(block)), "utf-8")
            load_settings(file, {})


# -- what is shown --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("page", "name", "made"), list(blocks()))
def test_what_the_program_makes_is_as_it_makes_it(page: Path, name: str, made: str) -> None:
    stands = between(page.read_text("utf-8"), name)["made"]
    assert stands == made, "run: .venv/bin/python tests/pictures.py"


def test_every_card_says_what_comes_out() -> None:
    assert {card.case for card in OUTCOME_CARDS} == set(COMES_OUT)


def test_the_picture_is_the_demo_and_marked_as_simulated() -> None:
    picture = DEMO.read_text("utf-8").replace("&#160;", " ")
    assert picture.startswith("<svg")
    assert "SIMULATED: this program plays the dongles" in picture
    assert "Every one of the 10 came out as it must" in picture
    assert "NOT" not in picture
    assert set(re.findall(r"https?://[^\s\"<]+", picture)) == {"http://www.w3.org/2000/svg"}
    for page in ("README.md", "README.id.md"):
        assert "](docs/demo.svg)" in (ROOT / page).read_text("utf-8")


def test_the_call_in_the_readme_is_the_one_that_serve_prints(tmp_path: Path) -> None:
    arguments = ["--config", "bpjs-sms.toml", "serve", "--simulated", "1", "--with-key", "--port", "0"]
    (tmp_path / "bpjs-sms.toml").write_text("", "utf-8")
    with subprocess.Popen(
        [sys.executable, "-c", "from app.faces.cli import main; main()", *arguments],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as served:
        try:
            assert served.stdout is not None
            printed = next(line for line in served.stdout if line.startswith("try "))
        finally:
            served.terminate()
    for page in ("README.md", "README.id.md"):
        [shown] = re.findall(r"(?m)^curl .*127\.0\.0\.1:8000.*$", (ROOT / page).read_text("utf-8"))
        assert simplified(shown) == simplified(printed.removeprefix("try ")), page


def simplified(call: str) -> list[str]:
    """The words of a call, without the key and the port, which differ each time."""
    return [
        re.sub(r"bsk_\S+", "KEY", re.sub(r"127\.0\.0\.1:\d+", "HERE", word)) for word in shlex.split(call)
    ]


# -- the pages themselves -------------------------------------------------------------------------------------------


def anchors(page: Path) -> set[str]:
    """The fragments that a page's headings can be reached by."""
    headings = re.findall(
        r"(?m)^#+ (.+)$", re.sub(r"```.*?```", "", page.read_text("utf-8"), flags=re.DOTALL)
    )
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", MARKDOWN, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page: Path) -> None:
    text = re.sub(rf"{BLOCK}|{SPAN}", "", page.read_text("utf-8"))
    for link in re.findall(r"\]\(([^)\s]+)\)", text):
        target, _, fragment = link.partition("#")
        if target.startswith("https://"):
            continue
        found = (page.parent / target).resolve() if target else page
        assert found.exists(), link
        assert not fragment or fragment in anchors(found), link


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_page_speaks_of_one_machine_or_one_writer(page: Path) -> None:
    text = page.read_text("utf-8")
    assert not re.search(r"(?<![\w./])/(?:home|root|Users|tmp|work|workspace)/", text)
    assert not re.search(r"(?i)\b(?:co-authored-by|language model|generated with|written by)\b", text)
    if page.suffix == ".md":
        assert max(map(len, text.splitlines())) < 300


def test_the_walks_name_what_there_is() -> None:
    page = (ROOT / "ARCHITECTURE.md").read_text("utf-8")
    walks = page[page.index("## Two walks") : page.index("## Who owns what")]
    sources = [
        file.read_text("utf-8") for folder in ("app", "modem") for file in (ROOT / folder).rglob("*.py")
    ]
    defined = set(re.findall(r"(?m)^\s*(?:async def|def|class) (\w+)", "\n".join(sources)))
    places = [place for row in rows(walks)[2:] for place in re.findall(r"`([^`]+)`", row[1])]
    files = [place for place in places if "/" in place]
    names = {part for place in places if "/" not in place for part in place.split(".")} - {"questions"}
    assert len(files) > 10
    assert all((ROOT / place).exists() or (ROOT / "app" / place).exists() for place in files)
    assert names - defined == set()


def test_make_targets_named_in_the_pages_exist() -> None:
    makefile = (ROOT / "Makefile").read_text("utf-8")
    targets = set(re.findall(r"(?m)^([a-z]+):.*##", makefile))
    for page in MARKDOWN:
        named = set(re.findall(r"(?m)(?:^|`)(?:\w+=\S+ )*make ([a-z]+)", page.read_text("utf-8")))
        assert named <= targets, page.name


def test_the_unit_names_what_the_gateway_has(tmp_path: Path) -> None:
    unit = (ROOT / "deploy" / "bpjs-sms.service").read_text("utf-8")
    values: Mapping[str, str] = dict(re.findall(r"(?m)^(\w+)=(.*)$", unit))
    assert values["ExecStart"].endswith("/bin/bpjs-sms serve")
    assert values["Environment"] == "BPJS_SMS_CONFIG=/etc/bpjs-sms/bpjs-sms.toml"
    assert values["SupplementaryGroups"] == "dialout"
    assert values["Restart"] == "always"
    assert set(re.findall(r"(?m)^DeviceAllow=(\S+)", unit)) == {"char-ttyUSB", "char-ttyACM"}


def test_the_licence_is_the_one_that_the_package_names() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
    text = (ROOT / "LICENSE").read_text("utf-8")
    assert project["license"] == "Apache-2.0"
    assert "Apache License" in text
    assert "Version 2.0, January 2004" in text
    assert f"## [{project['version']}]" in (ROOT / "CHANGELOG.md").read_text("utf-8")
