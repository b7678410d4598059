from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from app.domain.durations import format_duration, parse_duration
from app.domain.errors import Invalid, SettingsError
from app.domain.identifiers import Kind
from app.domain.lint import lint
from app.domain.services import Catalogue, Service, parse_service, parts_of

TOML = """
name = "test-balance"
agency = "test"
title = { id = "Saldo", en = "Balance" }
address = "2757"
senders = ["2757", "BPJSTKU*"]
phone = ["SALDO"]
conversation = "2757"
operators = ["xl"]
provenance = { trust = "seed", source = "a test", checked = 2026-11-23 }
[request]
text = "BALANCE#{kpj}#"
[fields.kpj]
kind = "kpj"
label = { id = "Nomor KPJ", en = "KPJ number" }
subject = true
[timing]
timeout = "5m"
late = "1h"
settle = "60s"
[price]
request = 350
[[replies]]
name = "balance"
outcome = "found"
echo = true
require = ["balance"]
pattern = '''saldo'''
[[examples]]
reply = "balance"
text = "Saldo KPJ 99012345678 Rp 5.000"
record = { kpj = "99012345678", balance = 5000 }
"""


def service(text: str = TOML, **override: object) -> Service:
    return parse_service(text, "test-balance.toml", override)


def refused(text: str, **override: object) -> str:
    with pytest.raises(SettingsError) as error:
        parse_service(text, "test-balance.toml", override)
    return error.value.detail


def written(folder: Path, **files: str) -> Path:
    folder.mkdir()
    for name, text in files.items():
        (folder / f"{name}.toml").write_text(text, encoding="utf-8")
    return folder


def test_a_file_becomes_a_service() -> None:
    made = service()
    assert (made.name, made.address, made.request_text) == ("test-balance", "2757", "BALANCE#{kpj}#")
    assert made.subject_field.name == "kpj"
    assert made.subject_field.kind is Kind.KPJ
    assert made.timing.timeout == timedelta(minutes=5)
    assert made.timing.late == timedelta(hours=1)
    assert (made.price.request, made.price.reply, made.price.confirmed_on) == (350, 0, "")
    assert made.enabled
    assert made.require_evidence == "any"


def test_a_request_is_rendered() -> None:
    rendered = service().render({"kpj": " 99-0123 45678"})
    assert rendered.text == "BALANCE#99012345678#"
    assert rendered.fields == {"kpj": "99012345678"}
    assert (rendered.subject, rendered.subject_kind) == ("99012345678", Kind.KPJ)


def test_every_fault_of_a_request_is_named_at_once() -> None:
    two = TOML.replace("BALANCE#{kpj}#", "BALANCE#{kpj}#{nik}#").replace(
        "[timing]", '[fields.nik]\nkind = "nik"\nlabel = { id = "NIK", en = "NIK" }\n[timing]'
    )
    with pytest.raises(Invalid) as error:
        service(two).render({"kpj": 99012345678, "knik": "9901014101900001"})
    assert error.value.code == "invalid"
    assert [(f["field"], f["code"]) for f in error.value.faults] == [
        ("kpj", "not_text"),
        ("knik", "unknown_field"),
        ("nik", "missing"),
    ]
    assert 'did you mean "nik"' in error.value.detail
    assert "fields are text, always" in error.value.detail
    with pytest.raises(Invalid) as error:
        service(two).render({"kpj": "9901234567", "nik": "9.9E+15"})
    assert [f["code"] for f in error.value.faults] == ["wrong_length", "spreadsheet_number"]


def test_an_optional_field_may_be_left_out() -> None:
    text = TOML.replace("BALANCE#{kpj}#", "BALANCE#{kpj}#{nik}").replace(
        "[timing]",
        '[fields.nik]\nkind = "nik"\nlabel = { id = "NIK", en = "NIK" }\nrequired = false\n[timing]',
    )
    assert service(text).render({"kpj": "99012345678"}).text == "BALANCE#99012345678#"


def test_what_asks_the_same_has_one_key() -> None:
    made = service()
    keys = {made.key(made.render({"kpj": raw}).fields) for raw in ("99012345678", "99 0123 45678")}
    assert len(keys) == 1
    assert made.key({"kpj": "99012345679"}) not in keys
    assert service(TOML.replace("test-balance", "test-other")).key({"kpj": "99012345678"}) not in keys


@pytest.mark.parametrize(
    ("address", "accepted"),
    [
        ("2757", True),
        ("+2757", True),
        ("bpjstku-info", True),
        ("BPJSTKU", True),
        ("27570", False),
        ("BPJS", False),
    ],
)
def test_senders(address: str, accepted: bool) -> None:
    assert service().accepts_sender(address) is accepted


def test_echo_follows_from_the_replies() -> None:
    bare = "\n[[replies]]\nname = \"bare\"\noutcome = \"{}\"\npattern = '''x'''\n"
    before, examples = TOML.split("[[examples]]")
    assert service().echo == "always"
    assert service().needs_echo
    assert service(before + bare.format("found")).echo == "some"
    assert service(before + bare.format("interim")).echo == "always"
    assert service(before.replace("echo = true", "echo = false")).echo == "never"
    assert service(before + bare.format("found"), require_evidence="echo").needs_echo
    assert examples


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ('agency = "test"', 'agencey = "test"', '"agencey" is unknown (did you mean "agency"?)'),
        ('timeout = "5m"', 'time_out = "5m"', 'did you mean "timeout"?'),
        ('kind = "kpj"', 'kind = "kjp"', "'kpj'"),
        ("subject = true", "subject = false", "subject = true"),
        ("{kpj}", "{kjp}", 'did you mean "kpj"?'),
        ("{kpj}", "{kpj", "expected '}'"),
        ("#{kpj}#", "", "never uses the field"),
        ('timeout = "5m"', 'timeout = "5 minutes"', "20s"),
        ('timeout = "5m"', "timeout = 300", "timing.timeout"),
        ('timeout = "5m"', 'timeout = "2h"', "late must be at least timeout"),
        ("'''saldo'''", "'''(saldo'''", "not a regular expression"),
        ("'''saldo'''", "'''(?P<balanse>[0-9]+)'''", 'did you mean "balance"?'),
        ('require = ["balance"]', 'require = ["balanse"]', 'did you mean "balance"?'),
        ('reply = "balance"', 'reply = "balanc"', 'did you mean "balance"?'),
        ('outcome = "found"', 'outcome = "fund"', "replies.0.outcome"),
        ('"BPJSTKU*"', '"27*"', "* is for names"),
        ('"BPJSTKU*"', '"BP*U"', "at the end"),
        ('address = "2757"', "address = 2757", "address"),
        ("request = 350", 'request = "350"', "price.request"),
        ('name = "test-balance"', 'title2 = "x"', '"name" is missing'),
        ('name = "test-balance"', "name = ", "not TOML"),
    ],
)
def test_a_wrong_file_is_refused_with_a_sentence(old: str, new: str, said: str) -> None:
    assert old in TOML
    detail = refused(TOML.replace(old, new))
    assert detail.startswith("test-balance.toml: ")
    assert said in detail


def test_settings_override_a_file() -> None:
    made = service(timeout="3s", late="5s", settle="0s", require_evidence="echo", enabled=False, ask_again=1)
    assert (made.timing.timeout, made.timing.late, made.timing.settle) == (
        timedelta(seconds=3),
        timedelta(seconds=5),
        timedelta(),
    )
    assert (made.require_evidence, made.enabled, made.timing.ask_again) == ("echo", False, 1)
    assert 'did you mean "timeout"?' in refused(TOML, timeot="3s")
    assert "late must be at least timeout" in refused(TOML, late="10s")


def test_a_catalogue_prefers_the_operators_own_files(tmp_path: Path) -> None:
    shipped = written(tmp_path / "shipped", one=TOML, two=TOML.replace("test-balance", "test-other"))
    own = written(tmp_path / "own", mine=TOML.replace('agency = "test"', 'agency = "mine"'))
    catalogue = Catalogue.load(shipped, own, {"test-other": {"settle": "9s"}})
    assert [s.name for s in catalogue] == ["test-balance", "test-other"]
    assert catalogue["test-balance"].agency == "mine"
    assert catalogue["test-other"].timing.settle == timedelta(seconds=9)
    assert len(Catalogue.load(shipped, tmp_path / "absent")) == 2
    with pytest.raises(Invalid) as error:
        catalogue["test-balanc"]
    assert error.value.code == "unknown_service"
    assert 'did you mean "test-balance"?' in error.value.detail
    with pytest.raises(SettingsError, match="there is no such service"):
        Catalogue.load(shipped, None, {"test-orher": {}})
    with pytest.raises(SettingsError, match=r"is in mine\.toml already"):
        Catalogue.load(shipped, written(tmp_path / "twice", mine=TOML, other=TOML))


def test_senders_lead_to_a_conversation(tmp_path: Path) -> None:
    other = (
        TOML.replace("test-balance", "test-other")
        .replace('"2757"', '"7070"')
        .replace('"BPJSTKU*"', '"SAMSAT"')
        .replace('phone = ["SALDO"]', 'phone = ["PAJAK"]')
    )
    catalogue = Catalogue.load(written(tmp_path / "s", one=TOML, two=other))
    assert [s.name for s in catalogue.by_sender("+2757")] == ["test-balance"]
    assert catalogue.conversation_of("samsat") == "7070"
    assert catalogue.conversation_of("+628123456789") is None
    assert sorted(catalogue.conversations) == ["2757", "7070"]
    assert lint(catalogue) == []


def test_lint_names_the_line_that_a_shared_sender_needs(tmp_path: Path) -> None:
    other = (
        TOML.replace("test-balance", "test-other")
        .replace('conversation = "2757"\n', "")
        .replace("BPJSTKU*", "BPJS*")
        .replace('phone = ["SALDO"]', 'phone = ["PAJAK"]')
    )
    (problem,) = lint(Catalogue.load(written(tmp_path / "s", one=TOML, two=other)))
    assert 'add the line `conversation = "2757"` to test-other.toml' in problem
    wide = other.replace('"2757"', '"7070"')
    (problem,) = lint(Catalogue.load(written(tmp_path / "w", one=TOML, two=wide)))
    assert "BPJSTKU*" in problem


def test_lint_names_a_phone_s_word_that_two_services_take(tmp_path: Path) -> None:
    other = TOML.replace("test-balance", "test-other").replace('phone = ["SALDO"]', 'phone = ["saldo"]')
    (problem,) = lint(Catalogue.load(written(tmp_path / "s", one=TOML, two=other)))
    assert 'both answer phones that text "saldo"' in problem


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("KPJ 99012345678 Rp", "Rp", "holds no kpj"),
        ("Rp 5.000", "5 juta", 'read by "", not by "balance"'),
        ("balance = 5000", "balance = 5001", "differs in balance"),
        ("BALANCE#", "SALDO " * 26, "takes 2 SMS"),
        ('senders = ["2757", ', "senders = [", 'add "2757" to senders'),
        ('[[examples]]\nreply = "balance"', '[[examples]]\nreply = ""', "no example"),
    ],
)
def test_lint_says_what_is_wrong(tmp_path: Path, old: str, new: str, said: str) -> None:
    assert old in TOML
    problems = lint(Catalogue.load(written(tmp_path / "s", one=TOML.replace(old, new))))
    assert any(said in problem for problem in problems), problems


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("", 1),
        ("a" * 160, 1),
        ("a" * 161, 2),
        ("a" * 306, 2),
        ("a" * 307, 3),
        ("€" * 80, 1),
        ("€" * 81, 2),
        ("ы" * 70, 1),
        ("ы" * 71, 2),
        ("😀" * 35, 1),
        ("😀" * 36, 2),
    ],
)
def test_parts(text: str, parts: int) -> None:
    assert parts_of(text) == parts


@pytest.mark.parametrize("text", ["20s", "10m", "3h", "1h30m", "0s", "500ms", "7d"])
def test_durations_are_read_back(text: str) -> None:
    assert format_duration(parse_duration(text)) == text
