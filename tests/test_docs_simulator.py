"""docs/simulator.md tells the truth: its orders are obeyed, and every knob and order stands in it."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from dataclasses import fields
from datetime import timedelta
from pathlib import Path

import pytest

from app.simulation import build_world
from modem.simulated import FAULTS
from modem.simulated.knobs import Knobs
from modem.simulated.pty import CONTROL, control, serve

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "simulator.md").read_text("utf-8")
ORDERS = [json.loads(order) for order in re.findall(r'(?m)^\| `(\{"do".*?\})` \|', PAGE)]


@pytest.fixture(scope="module")
def stand(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Two sticks on ptys, with their control socket."""
    folder, stop = tmp_path_factory.mktemp("sticks"), threading.Event()
    world = build_world(2, late=timedelta(seconds=30), reply_after=timedelta(seconds=1))
    thread = threading.Thread(target=serve, args=(folder, world.network, world.dongles, stop))
    thread.start()
    try:
        for _ in range(1000):
            if (folder / CONTROL).is_socket():
                break
            stop.wait(0.01)
        yield folder
    finally:
        stop.set()
        thread.join()


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: order["do"])
def test_every_order_of_the_page_is_obeyed(stand: Path, order: dict[str, object]) -> None:
    assert control(stand, order, timeout=30.0)


def test_every_order_that_is_obeyed_stands_in_the_page() -> None:
    source = (ROOT / "modem" / "simulated" / "pty.py").read_text("utf-8")
    known = set(re.findall(r'wanted == "(\w+)"', source))
    assert len(known) > 10
    assert {order["do"] for order in ORDERS} == known


def test_every_knob_stands_in_the_page() -> None:
    section = PAGE[PAGE.index("## Knobs") : PAGE.index("## Add a fault")]
    assert {one.name for one in fields(Knobs)} <= set(re.findall(r"`(\w+)`", section))


def test_the_fault_of_the_example_is_one() -> None:
    [turned] = [order["set"]["next"] for order in ORDERS if order["do"] == "knobs"]
    assert set(turned) <= set(FAULTS)
