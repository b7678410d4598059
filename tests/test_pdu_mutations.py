"""A bounded run of the mutation loop: nothing but values and PduError, and every class of PDU gets through."""

from __future__ import annotations

from pdu_mutations import run


def test_only_values_and_pdu_errors_come_out_and_every_class_gets_through() -> None:
    tally = run(20_000, seed=20_261_124)
    print(tally.table())
    axes = {axis for axis, _ in tally.tried}
    assert axes == {"kind", "type", "DCS group", "alphabet", "header"}
    assert len([name for axis, name in tally.tried if axis == "DCS group"]) == 16
    assert tally.share(("kind", "valid")) == 1
    assert 0 < tally.share(("kind", "random octets")) < 0.5
    repaired = tally.tried["kind", "mutated, lengths repaired"]
    assert repaired == 10_000
    for one in tally.tried:
        if one[0] != "kind":
            assert tally.decoded[one] > repaired / 50
            assert tally.share(one) > 0.9
    assert min(tally.found.values()) > 20_000 / 10


def test_the_same_seed_gives_the_same_run() -> None:
    assert run(500, seed=7) == run(500, seed=7) != run(500, seed=8)
