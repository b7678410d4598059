from __future__ import annotations

from importlib.resources import files

import pytest

from app.domain.lint import lint
from app.domain.reading import read
from app.domain.services import Catalogue, Example, Service

CATALOGUE = Catalogue.load(files("templates_sms"))
EXAMPLES = [
    pytest.param(service, example, id=f"{service.name}-{place}-{example.reply or 'nothing'}")
    for service in CATALOGUE
    for place, example in enumerate(service.examples, 1)
]


def test_the_shipped_catalogue_has_no_problem() -> None:
    assert lint(CATALOGUE) == []


@pytest.mark.parametrize(("service", "example"), EXAMPLES)
def test_an_example_is_read_as_the_file_says(service: Service, example: Example) -> None:
    reading = read(service, example.text)
    assert (reading.reply or "") == example.reply
    assert reading.record == example.record


@pytest.mark.parametrize(("service", "example"), EXAMPLES)
def test_an_example_is_read_in_any_case(service: Service, example: Example) -> None:
    if any(word in example.record for word in ("clinic", "name")):
        assert read(service, example.text.upper()).outcome == read(service, example.text).outcome
        return
    for text in (example.text.upper(), example.text.lower()):
        reading = read(service, text)
        assert (reading.reply or "") == example.reply
        assert {**reading.record, "status_text": ""} == {**example.record, "status_text": ""}


def test_the_literal_forms_of_the_brief_are_shipped_and_enabled() -> None:
    status, balance = CATALOGUE["bpjskes-status"], CATALOGUE["bpjstk-balance"]
    assert status.render({"number": "0009912345678"}).text == "STATUS BPKS0009912345678#"
    assert (status.address, status.enabled) == ("087775500400", True)
    assert balance.render({"kpj": "99012345678"}).text == "BALANCE#99012345678#"
    assert (balance.address, balance.enabled) == ("2757", True)
    assert CATALOGUE.conversation_of("+6287775500400") == status.conversation
    assert CATALOGUE.conversation_of("+2757") == balance.conversation
    assert status.conversation != balance.conversation


def test_no_wording_is_claimed_to_be_real() -> None:
    assert {example.provenance for service in CATALOGUE for example in service.examples} == {"synthetic"}
