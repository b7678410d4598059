"""The finding that both READMEs show is what the doctor says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from host_folder import HostFolder

from modem.doctor import wrong_port_finding
from modem.sticks import sticks

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(("page", "language"), [("README.md", "en"), ("README.id.md", "id")])
def test_the_finding_in_the_readme_is_said_so(tmp_path: Path, page: str, language: str) -> None:
    host = HostFolder(tmp_path)
    host.stick("1-1.2", "12d1", "1001", ports={0: None, 1: None})
    [stick] = sticks(host.root)
    said = wrong_port_finding("/dev/ttyUSB0", "/dev/ttyUSB1", stick).told(language)
    [shown] = re.findall(r"(?s)```text\n(.*?)```", (ROOT / page).read_text("utf-8"))
    words = " ".join(shown.split())
    for text in (said.about, said.code, said.what, said.how, said.mend):
        assert text in words
