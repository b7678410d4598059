"""What stands in the pages but is made by the program: `python tests/pictures.py` makes it anew.

The demo's picture; ARCHITECTURE.md's state diagram, from the table of moves; the table of the simulated cards in both
READMEs, from the simulation. `tests/test_docs.py` compares the last two with what stands there.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console

from app.domain.states import FINAL, MOVES, State
from app.faces.cli.demo import play
from app.faces.cli.demo_show import Show
from app.runtime import set_up_logs
from app.settings import Log, Settings
from app.simulation import OUTCOME_CARDS

ROOT = Path(__file__).parents[1]
DEMO = ROOT / "docs" / "demo.svg"
WIDTH = 120  # columns of the demo's picture: the widest that it prints

COMES_OUT = {
    "not_found": "`answered`, `not_found`",
    "unknown": "`answered`, `unrecognised`",
    "late": "`no_reply` → `answered`, `found`, `late: true`",
    "silent": "`no_reply`",
    "several": "`answered`, `found`",
    "doubled": "`answered`, `found`; `double`",
    "garbled": "`answered`, `unrecognised`",
    "no_card": "`answered`, `found`; `sole`",
    "busy": "`answered`, `unavailable`",
    "interim": "`interim` → `answered`, `found`",
}
"""The state and the outcome that each simulated card brings about, and its role or evidence where that is the point."""


def demo_picture() -> str:
    """The demo's report as an SVG that needs nothing from elsewhere."""
    set_up_logs(Settings(log=Log(level="error")))
    console = Console(record=True, width=WIDTH, file=io.StringIO(), force_terminal=True)
    Show(console).tell(play())
    picture = console.export_svg(title="make demo")
    picture = picture.replace(
        "<!-- Generated with Rich https://www.textualize.io -->",
        "<!-- A recorded run of make demo, all of it simulated. tests/pictures.py makes it anew. -->",
    )
    picture = re.sub(r"\s*@font-face \{.*?\}\n", "", picture, flags=re.DOTALL)
    picture = picture.replace("Fira Code, monospace", "monospace").replace("Fira Code", "monospace")
    return "".join(line.rstrip() + "\n" for line in picture.splitlines())


def state_diagram() -> str:
    """The table of moves as a Mermaid state diagram; states that are final have a class of their own."""
    lines = ["```mermaid", "stateDiagram-v2", "    [*] --> queued"]
    lines += [f"    {origin} --> {target}" for origin in State for target in State if target in MOVES[origin]]
    lines += ["    classDef final fill:#dfeede,stroke:#3b7a3b,color:#1d3d1d"]
    lines += [f"    class {', '.join(state for state in State if state in FINAL)} final", "```"]
    return "\n".join(lines)


def cards(language: str) -> str:
    """The simulated cards, one a row: what the number's end makes the services do, and what comes out."""
    head = {
        "en": ("ends in", "KPJ", "JKN card", "what the service does", "what comes out"),
        "id": ("akhiran", "KPJ", "kartu JKN", "yang dilakukan layanan", "hasilnya"),
    }[language]
    usual = {
        "en": ("any other", "the service finds the card"),
        "id": ("lainnya", "layanan menemukan kartunya"),
    }
    rows = [head, ("---",) * len(head)]
    rows += [
        (
            f"`{card.ending}`",
            f"`990123456{card.ending}`",
            f"`00099123456{card.ending}`",
            {"en": card.en, "id": card.id}[language],
            COMES_OUT[card.case],
        )
        for card in OUTCOME_CARDS
    ]
    other, finds = usual[language]
    rows.append((other, "`99012345678`", "`0009912345678`", finds, "`answered`, `found`"))
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def blocks() -> Iterator[tuple[Path, str, str]]:
    """Every made part of a page: the page, the part's name in its markers, and its text."""
    yield ROOT / "ARCHITECTURE.md", "states", state_diagram()
    yield ROOT / "README.md", "cards", cards("en")
    yield ROOT / "README.id.md", "cards", cards("id")


def between(page: str, name: str) -> re.Match[str]:
    """The part `name` of a page: its text is the group `made`. Raises LookupError where its two markers are missing."""
    found = re.search(rf"<!-- {name} begin[^>]*-->\n(?P<made>.*?)\n<!-- {name} end -->", page, re.DOTALL)
    if found is None:
        raise LookupError(f"the page has no markers {name} begin and {name} end")
    return found


def main() -> None:
    for page, name, made in blocks():
        text = page.read_text("utf-8")
        found = between(text, name)
        page.write_text(text[: found.start("made")] + made + text[found.end("made") :], "utf-8")
    DEMO.parent.mkdir(exist_ok=True)
    DEMO.write_text(demo_picture(), "utf-8")


if __name__ == "__main__":
    main()
