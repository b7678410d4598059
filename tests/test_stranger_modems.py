"""Modems by people whom we never met, each from a public source, spend a day with the driver: nothing lost, nothing twice, nothing untrue."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from stranger_modems import ICCID, IMSI, Kind, Stranger
from stranger_modems_kinds import GATEWAY_ONLY, KINDS
from stranger_modems_owner import FIRST, SECOND, THIRD, Owner, spend_a_day


@pytest.fixture
def owner(stick: Stranger) -> Iterator[Owner]:
    with Owner.of(stick) as owner:
        yield owner


@pytest.fixture
def stick(kind: Kind) -> Iterator[Stranger]:
    with Stranger(kind).plugged_in() as stick:
        stick.deliver(FIRST)
        stick.deliver(SECOND)
        yield stick


@pytest.mark.parametrize(
    "kind", [pytest.param(kind, id=kind.name) for kind in KINDS if kind.name not in GATEWAY_ONLY]
)
def test_a_day_with_a_modem_that_we_never_met(kind: Kind, stick: Stranger, owner: Owner) -> None:
    spend_a_day(stick, owner)
    assert sorted(owner.received) == [FIRST, SECOND, THIRD]
    assert {identity.iccid or identity.imsi for identity in owner.identities} <= {ICCID, IMSI}
    texts = [sent.text for sent in stick.sent]
    assert len(texts) == len(set(texts))
    assert owner.sent <= len(texts) <= owner.sent + owner.maybe
    assert kind.doubt or not owner.maybe
    assert kind.keeps or not stick.left
