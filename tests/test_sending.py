"""Texts of several parts: their references are counted in the database, and what surely went is kept where the rest is in doubt."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from lanes_playing import TEMPLATES, LaneLook, Stage, card, staged

from app.domain.services import Catalogue
from app.domain.states import State
from app.store import tables as t

LONG = "BALANCE#{kpj}# " + "mohon dijawab " * 20  # two parts


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    """A stage whose balance service wants a text of two parts."""
    folder = tmp_path / "services.d"
    folder.mkdir()
    shipped = (TEMPLATES / "bpjstk-balance.toml").read_text("utf-8")
    assert '"BALANCE#{kpj}#"' in shipped
    (folder / "bpjstk-balance.toml").write_text(shipped.replace('"BALANCE#{kpj}#"', f'"{LONG}"'), "utf-8")
    with staged(tmp_path, looks={"xl-1": LaneLook(status_reports=False)}, boot=False) as one:
        one.catalogue = Catalogue.load(TEMPLATES, folder)
        one.boot()
        yield one


def counted(stage: Stage) -> int:
    """The last concatenation reference that was given out."""
    (sim,) = stage.rows(t.sims)
    return int(sim.concat_reference)


def test_each_long_text_has_a_reference_of_its_own_also_after_a_restart(stage: Stage) -> None:
    one = stage.ask(card(1))
    stage.turn()
    assert counted(stage) == 1
    stage.die()
    stage.pull()
    stage.dongles["xl-1"].plug(stage.clock.now)
    stage.boot()
    stage.run(until=stage.ended(one), minutes=70, stride=20)
    two = stage.ask(card(2))
    stage.run(until=lambda: stage.state(two) is not State.QUEUED, minutes=70, stride=20)
    assert counted(stage) == 2
    assert [entry.text.split("#")[1] for entry in stage.ledger("submitted")] == [card(1), card(2)]
    assert len(stage.ledger("part")) == 4
    for row in stage.rows(t.submissions):
        assert len(str(row.tp_references).split(",")) == 2


def test_what_surely_went_is_kept_where_the_rest_is_in_doubt(stage: Stage) -> None:
    stage.run(seconds=1)
    stage.network.on_entry = lambda entry: (
        stage.dongles["xl-1"].knobs.turn({"submit_errors": 1, "submit_error": 331})
        if entry.kind == "part"
        else None
    )
    one = stage.ask(card(1))
    stage.turn()
    assert stage.state(one) is State.UNCERTAIN
    (row,) = stage.rows(t.submissions)
    assert (row.state, row.tp_references) == ("uncertain", "1")
    assert (len(stage.ledger("part")), stage.ledger("submitted")) == (1, [])
