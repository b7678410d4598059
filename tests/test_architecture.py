"""The rules of the layers, read from the sources themselves; each rule is also shown to notice when it is broken."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath

import pytest

ROOT = Path(__file__).parent.parent
LONGEST = 600  # lines of a file (design, section 3)

Sources = Mapping[str, str]
Rule = Callable[[Sources], list[str]]

# Which part may import which; `faces` is all faces but the command line, which starts what `runtime` builds.
MAY_IMPORT: dict[str, set[str]] = {
    "modem": set(),
    "app/domain": set(),
    "app/store": {"app/domain"},
    "app/exchange": {"app/domain", "app/store", "modem"},
    "app/settings": {"app/domain"},
    "app/simulation": {"app/domain", "modem"},
    "app/faces": {"app/domain", "app/store", "app/exchange", "app/settings"},
    "app/faces/cli": {
        "app/domain", "app/store", "app/exchange", "app/settings", "app/simulation", "app/faces", "app/runtime", "modem",
    },
    "app/runtime": {
        "app/domain", "app/store", "app/exchange", "app/settings", "app/simulation", "app/faces", "modem",
    },
    "app/__main__": {"app/faces/cli"},
    "app/__init__": set(),
}  # fmt: skip

# Files of one folder, low to high: each imports from lower ranks only. A file that is in no list is only kept from cycles.
RANKS: dict[str, list[set[str]]] = {
    "app/domain": [
        {"errors", "states", "quantities", "durations", "operators"},
        {"identifiers"},
        {"services"},
        {"reading", "capacity"},
        {"attribution", "lint"},
    ],
    "app/store": [
        {"tables", "sealing", "prepared"},
        {"engine"},
        {
            "questions",
            "checks",
            "clients",
            "events",
            "condition",
            "counts",
            "phones",
            "requests",
            "sims",
        },
        {"submissions"},
        {"inbox", "lanes", "batches"},
        {"replies", "diagnosis", "loops"},
    ],
    "app/exchange": [
        {"reception", "housekeeper", "batches", "webhooks", "health"},
        {"sending", "receiving", "answering", "opening"},
        {"lane"},
    ],
    "modem": [
        {"alphabet", "quirks"},
        {"at", "pdu", "ussd"},
        {"port", "verdicts", "trace", "sticks"},
        {"transport"},
        {"session"},
        {"opening", "inbox", "dialogue"},
        {"driver"},
        {"discovery"},
        {"doctor"},
    ],
}

HARDWARE = (
    "modem/transport.py",
    "modem/session.py",
    "modem/pdu.py",
    "modem/discovery.py",
    "modem/simulated/",
)
WEB = ("app/faces/http/", "app/faces/pages/", "app/runtime.py")
HOMES: dict[str, tuple[str, ...]] = {
    "gsmmodem": HARDWARE,
    "serial": HARDWARE,
    "sqlalchemy": ("app/store/",),
    "sqlmodel": ("app/store/",),
    "alembic": ("app/store/",),
    "psycopg": ("app/store/",),
    "cryptography": ("app/store/sealing.py",),
    "fastapi": WEB,
    "starlette": WEB,
    "uvicorn": ("app/runtime.py", "app/faces/cli/demo.py"),
    "typer": ("app/faces/cli/",),
    "rich": ("app/faces/cli/",),
}

# Where a thread is started or a request comes in (design, section 3).
CLOCKS = (
    "app/runtime.py",
    "app/faces/http/application.py",
    "app/faces/http/access.py",
    "app/faces/http/health.py",
    "app/faces/cli/",
    "modem/simulated/ports.py",
)
CLOCK_NAMES = {
    "time": {"time", "time_ns", "monotonic", "monotonic_ns", "perf_counter", "perf_counter_ns", "localtime", "gmtime"},
    "datetime": {"now", "utcnow", "today"},
    "date": {"today"},
}  # fmt: skip


# -- reading sources ----------------------------------------------------------------------------------------------


def sources(*folders: str) -> dict[str, str]:
    """Every Python file below these folders by its path, but the migrations, which are written once."""
    return {
        path.relative_to(ROOT).as_posix(): path.read_text()
        for folder in folders
        for path in sorted((ROOT / folder).rglob("*.py"))
        if "versions" not in path.parts
    }


def imported(tree: ast.AST, *, at_start: bool = False) -> Iterator[tuple[str, str | None]]:
    """(module, name taken from it); `at_start`: only what importing the module itself imports."""
    for node in _started(tree) if at_start else ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ((alias.name, None) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (("." * node.level + (node.module or ""), alias.name) for alias in node.names)


def _started(node: ast.AST) -> Iterator[ast.AST]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            continue
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test):
            continue
        yield child
        yield from _started(child)


def files_imported(path: str, text: str, known: Sources, *, at_start: bool = False) -> set[str]:
    """Which of the known files this one imports."""
    found = set()
    for module, name in imported(ast.parse(text), at_start=at_start):
        places = [module.replace(".", "/")] + ([f"{module}.{name}".replace(".", "/")] if name else [])
        found |= {f for place in places for f in (f"{place}.py", f"{place}/__init__.py") if f in known}
    return found - {path}


def part_of(path: str) -> str | None:
    """The longest part that a file lies in."""
    stem = path.removesuffix(".py")
    fitting = [part for part in MAY_IMPORT if stem == part or stem.startswith(f"{part}/")]
    return max(fitting, key=len, default=None)


# -- the rules ----------------------------------------------------------------------------------------------------


def arrows_go_down(files: Sources) -> list[str]:
    faults = []
    for path, text in files.items():
        part = part_of(path)
        if part is None:
            faults.append(f"{path} belongs to no part: say in MAY_IMPORT what it may import")
            continue
        for module, name in imported(ast.parse(text)):
            if module.startswith("."):
                faults.append(f"{path} imports {module}: write the whole name")
            if module.split(".")[0] not in ("app", "modem") or (module == "app" and name is None):
                continue
            target = part_of(f"{module}.{name}".replace(".", "/")) or part_of(module.replace(".", "/"))
            if target != part and target not in MAY_IMPORT[part]:
                faults.append(f"{path} imports {module}: {part} may not")
    return faults


def ranks_hold(files: Sources) -> list[str]:
    ranked = {
        f"{folder}/{name}": (folder, level)
        for folder, levels in RANKS.items()
        for level, names in enumerate(levels)
        for name in names
    }
    # A package among them has its rank as a whole: what its files do among themselves is their affair.
    rank = {
        path: ranked[place]
        for path in files
        for place in (path.removesuffix(".py"), path.rpartition("/")[0])
        if place in ranked
    }
    return [
        f"{path} imports {other} of no lower rank"
        for path, text in files.items()
        if path in rank
        for other in sorted(files_imported(path, text, files))
        if other in rank
        and rank[other][0] == rank[path][0]
        and rank[other][1] >= rank[path][1]
        and path.rpartition("/")[0] not in (ranked.keys() & {other.rpartition("/")[0]})
    ]


def no_cycles(files: Sources) -> list[str]:
    graph = {path: files_imported(path, text, files, at_start=True) for path, text in files.items()}
    # A package imports its files to offer them; that they lie in it is no arrow back.
    graph = {path: {o for o in others if not o.endswith("__init__.py")} for path, others in graph.items()}
    faults, done = [], set()

    def visit(path: str, way: list[str]) -> None:
        if path in way:
            faults.append(" -> ".join([*way[way.index(path) :], path]))
        elif path not in done:
            for other in sorted(graph[path]):
                visit(other, [*way, path])
            done.add(path)

    for path in graph:
        visit(path, [])
    return faults


def imports_are_at_home(files: Sources) -> list[str]:
    return [
        f"{path} imports {module}: its home is {', '.join(homes)}"
        for path, text in files.items()
        for module, _ in imported(ast.parse(text))
        if (homes := HOMES.get(module.split(".")[0])) and not path.startswith(homes)
    ]


def clock_is_passed_in(files: Sources) -> list[str]:
    return [
        f"{path}:{line} reads the clock ({what}): take `now`, or a clock"
        for path, text in files.items()
        if not path.startswith(CLOCKS)
        for line, what in _taken(ast.parse(text), CLOCK_NAMES)
    ]


def nobody_sleeps(files: Sources) -> list[str]:
    return [
        f"{path}:{line} sleeps: wait on an event, a condition or a socket"
        for path, text in files.items()
        for line, _ in _taken(ast.parse(text), {"time": {"sleep"}})
    ]


def _taken(tree: ast.AST, names: Mapping[str, set[str]]) -> Iterator[tuple[int, str]]:
    """Where these attributes are taken of these names, `time.sleep` or `from time import sleep` or `dt.datetime.now`."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            owner = ast.unparse(node.value).split(".")[-1]
            if node.attr in names.get(owner, ()):
                yield node.lineno, f"{owner}.{node.attr}"
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield from (
                (node.lineno, f"{node.module}.{alias.name}")
                for alias in node.names
                if alias.name in names.get(node.module, ())
            )


def files_are_short(files: Sources) -> list[str]:
    return [
        f"{path} has {lines} lines"
        for path, text in files.items()
        if (lines := len(text.splitlines())) >= LONGEST
    ]


def names_say_something(files: Sources) -> list[str]:
    faults = []
    for path, text in files.items():
        faults += [
            f"{path}: {part} says nothing"
            for part in PurePosixPath(path).with_suffix("").parts
            if re.fullmatch(r"(?i)(.*_)?(utils?|helpers?|managers?|misc|common)", part)
        ]
        faults += [
            f"{path}: class {node.name} says nothing"
            for node in ast.walk(ast.parse(text))
            if isinstance(node, ast.ClassDef) and re.search(r"(Manager|Helper|Util)s?$", node.name)
        ]
    return faults


def no_base_with_one_child(files: Sources) -> list[str]:
    classes = [
        (path, node)
        for path, text in files.items()
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.ClassDef)
    ]
    bases = [ast.unparse(base).split(".")[-1] for _, node in classes for base in node.bases]
    return [
        f"{path}: abstract {node.name} has {bases.count(node.name)} child"
        for path, node in classes
        if any(re.search(r"\bABC(Meta)?\b", ast.unparse(base)) for base in [*node.bases, *(k.value for k in node.keywords)])
        and bases.count(node.name) < 2
    ]  # fmt: skip


def nothing_is_left_to_do(files: Sources) -> list[str]:
    words = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X|HA" r"CK)\b")
    return [
        f"{path}:{number} says {found.group()}"
        for path, text in files.items()
        for number, line in enumerate(text.splitlines(), 1)
        if (found := words.search(line))
    ]


def mock_nothing(files: Sources) -> list[str]:
    faults = []
    for path, text in files.items():
        tree = ast.parse(text)
        faults += [
            f"{path} imports {module}"
            for module, name in imported(tree)
            if module.split(".")[0] in ("mock", "pytest_mock")
            or f"{module}.{name}".startswith("unittest.mock")
        ]
        faults += [
            f"{path}:{node.lineno} patches with {ast.unparse(node)}"
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute)
            and node.attr in ("setattr", "delattr", "patch")
            and isinstance(node.value, ast.Name)
            and node.value.id in ("monkeypatch", "mocker")
        ]
        faults += [
            f"{path}:{node.lineno} skips"
            for node in ast.walk(tree)
            if isinstance(node, ast.Attribute)
            and ast.unparse(node)
            in ("pytest.skip", "pytest.mark.skip", "pytest.mark.skipif", "pytest.mark.xfail")
        ]
    return faults


PRODUCT: list[Rule] = [
    arrows_go_down,
    ranks_hold,
    no_cycles,
    imports_are_at_home,
    clock_is_passed_in,
    nobody_sleeps,
    files_are_short,
    names_say_something,
    no_base_with_one_child,
    nothing_is_left_to_do,
]
TESTS: list[Rule] = [nobody_sleeps, names_say_something, nothing_is_left_to_do, mock_nothing]


@pytest.mark.parametrize("rule", PRODUCT)
def test_the_product_keeps_the_rule(rule: Rule) -> None:
    files = sources("app", "modem")
    assert len(files) > 50
    assert rule(files) == []


@pytest.mark.parametrize("rule", TESTS)
def test_the_tests_keep_the_rule(rule: Rule) -> None:
    files = sources("tests")
    assert "tests/test_architecture.py" in files
    assert rule(files) == []


def test_ranked_files_are_there() -> None:
    """A rank of a file that is gone, or not there yet, may only be one that the design names."""
    missing = {
        f"{folder}/{name}"
        for folder, levels in RANKS.items()
        for names in levels
        for name in names
        if not any((ROOT / folder / place).is_file() for place in (f"{name}.py", f"{name}/__init__.py"))
    }
    assert missing <= {"app/exchange/webhooks"}


BROKEN: list[tuple[Rule, dict[str, str]]] = [
    (arrows_go_down, {"modem/at.py": "from app.domain.errors import GatewayError"}),
    (arrows_go_down, {"modem/at.py": "import app.domain"}),
    (arrows_go_down, {"modem/at.py": "from app import domain"}),
    (arrows_go_down, {"app/domain/reading.py": "from app.store import tables as t"}),
    (arrows_go_down, {"app/domain/reading.py": "def f():\n    from modem import decode"}),
    (arrows_go_down, {"app/store/inbox.py": "from app.exchange.lane import LaneWorker"}),
    (arrows_go_down, {"app/store/inbox.py": "from modem.pdu import decode"}),
    (arrows_go_down, {"app/exchange/lane.py": "import app.faces.http.views"}),
    (arrows_go_down, {"app/exchange/lane.py": "from app import faces"}),
    (arrows_go_down, {"app/exchange/lane.py": "from app.settings import Settings"}),
    (arrows_go_down, {"app/faces/http/checks.py": "from app.faces.cli import main"}),
    (arrows_go_down, {"app/faces/http/checks.py": "import app.runtime"}),
    (arrows_go_down, {"app/faces/http/checks.py": "from modem import SerialModem"}),
    (arrows_go_down, {"app/runtime.py": "import app.faces.cli"}),
    (arrows_go_down, {"app/store/inbox.py": "from .questions import move"}),
    (arrows_go_down, {"app/elsewhere.py": ""}),
    (
        ranks_hold,
        {"app/store/tables.py": "from app.store.engine import Tx", "app/store/engine.py": ""},
    ),
    (
        ranks_hold,
        {"app/domain/services.py": "from app.domain import attribution", "app/domain/attribution.py": ""},
    ),
    (ranks_hold, {"modem/at.py": "from modem.pdu import decode", "modem/pdu.py": ""}),
    (no_cycles, {"modem/a.py": "import modem.b", "modem/b.py": "from modem import c", "modem/c.py": "import modem.a"}),
    (imports_are_at_home, {"app/exchange/lane.py": "import serial"}),
    (imports_are_at_home, {"modem/port.py": "from gsmmodem.pdu import encodeSmsSubmitPdu"}),
    (imports_are_at_home, {"app/exchange/lane.py": "from sqlalchemy import select"}),
    (imports_are_at_home, {"app/faces/http/views.py": "def f():\n    import sqlmodel"}),
    (imports_are_at_home, {"app/store/inbox.py": "from cryptography.fernet import Fernet"}),
    (imports_are_at_home, {"app/faces/phone.py": "from starlette.requests import Request"}),
    (imports_are_at_home, {"app/domain/lint.py": "from rich.table import Table"}),
    (clock_is_passed_in, {"app/store/lanes.py": "from datetime import datetime\nnow = datetime.now()"}),
    (clock_is_passed_in, {"app/store/lanes.py": "import datetime as dt\nnow = dt.datetime.utcnow()"}),
    (clock_is_passed_in, {"app/exchange/lane.py": "import time\nclock = time.monotonic"}),
    (clock_is_passed_in, {"modem/driver.py": "from time import perf_counter"}),
    (clock_is_passed_in, {"app/domain/reading.py": "from datetime import date\nyear = date.today().year"}),
    (nobody_sleeps, {"modem/driver.py": "import time\ntime.sleep(1)"}),
    (nobody_sleeps, {"tests/test_lane.py": "from time import sleep"}),
    (files_are_short, {"app/store/lanes.py": "x = 1\n" * LONGEST}),
    (names_say_something, {"app/store/utils.py": ""}),
    (names_say_something, {"app/helpers/lanes.py": ""}),
    (names_say_something, {"app/store/lane_manager.py": ""}),
    (names_say_something, {"app/store/lanes.py": "class LaneManager: ..."}),
    (names_say_something, {"app/store/lanes.py": "class SealHelper: ..."}),
    (
        no_base_with_one_child,
        {"app/store/a.py": "class Base(ABC): ...", "app/store/b.py": "class One(a.Base): ..."},
    ),
    (no_base_with_one_child, {"app/store/a.py": "class Base(metaclass=abc.ABCMeta): ..."}),
    (nothing_is_left_to_do, {"app/store/a.py": "# TO" "DO: later"}),
    (mock_nothing, {"tests/test_a.py": "from unittest import mock"}),
    (mock_nothing, {"tests/test_a.py": "from unittest.mock import patch"}),
    (mock_nothing, {"tests/test_a.py": "import pytest_mock"}),
    (mock_nothing, {"tests/test_a.py": "def test(monkeypatch):\n    monkeypatch.setattr(a, 'b', 1)"}),
    (mock_nothing, {"tests/test_a.py": "pytest.skip('not today')"}),
    (mock_nothing, {"tests/test_a.py": "@pytest.mark.xfail\ndef test(): ..."}),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "files"), BROKEN)
def test_a_broken_rule_is_noticed(rule: Rule, files: dict[str, str]) -> None:
    assert len(rule(files)) == 1


FINE: list[tuple[Rule, dict[str, str]]] = [
    (arrows_go_down, {"app/exchange/lane.py": "import json\nfrom modem import decode\nfrom app.store import lanes"}),
    (arrows_go_down, {"app/faces/cli/demo.py": "from app.runtime import build\nfrom app.faces import files"}),
    (arrows_go_down, {"app/runtime.py": "from app.faces.http.application import make"}),
    (ranks_hold, {"app/store/engine.py": "from app.store import tables as t", "app/store/tables.py": ""}),
    (
        no_cycles,
        {
            "modem/a.py": "import modem.b",
            "modem/b.py": "if TYPE_CHECKING:\n    import modem.a\ndef f():\n    import modem.a",
        },
    ),
    (imports_are_at_home, {"modem/simulated/ports.py": "import serial", "app/store/inbox.py": "import sqlalchemy"}),
    (clock_is_passed_in, {"app/runtime.py": "import time\ntime.monotonic()", "app/store/a.py": "self.now()"}),
    (nobody_sleeps, {"modem/driver.py": "event.wait(1)"}),
    (files_are_short, {"app/store/lanes.py": "x = 1\n" * (LONGEST - 1)}),
    (names_say_something, {"app/store/lanes.py": "class LaneWorker: ..."}),
    (
        no_base_with_one_child,
        {"app/a.py": "class Base(ABC): ...\nclass One(Base): ...\nclass Two(Base): ..."},
    ),
    (nothing_is_left_to_do, {"app/a.py": "todo = []"}),
    (mock_nothing, {"tests/test_a.py": "def test(monkeypatch):\n    monkeypatch.setenv('A', 'b')"}),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "files"), FINE)
def test_a_kept_rule_is_no_fault(rule: Rule, files: dict[str, str]) -> None:
    assert rule(files) == []
