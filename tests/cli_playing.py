"""What the tests of the command line share: one call of it in this process, and settings for a gateway."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pytest

from app.faces.cli.commands import run

PROGRAM = [sys.executable, "-c", "from app.faces.cli import main; main()"]
FOUND = "99012345678"

SETTINGS = """\
database = "sqlite:///gateway.db"
[server]
port = {port}
[client]
url = "http://127.0.0.1:{port}"
key_file = "key"
[service.bpjstk-balance]
settle = "1s"
[service.bpjskes-status]
timeout = "2s"
late = "3s"
settle = "1s"
"""


@dataclass
class Said:
    """What one command printed, and how it ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> dict:  # type: ignore[type-arg]
        found = json.loads(self.out)
        assert isinstance(found, dict)
        return found


def one_line(capsys: pytest.CaptureFixture[str], *arguments: str | Path) -> Said:
    """Run one command line in this process."""
    status = run([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    return Said(status, captured.out, captured.err)


def write_settings(folder: Path) -> tuple[Path, int]:
    """Settings in a folder for a gateway on a free port: the file, and the port."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    file = folder / "settings.toml"
    file.write_text(SETTINGS.format(port=port))
    return file, port


@pytest.fixture
def say(capsys: pytest.CaptureFixture[str]) -> Callable[..., Said]:
    return partial(one_line, capsys)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """Settings whose gateway is not there."""
    file, _port = write_settings(tmp_path)
    (tmp_path / "key").write_text("bsk_none")
    return file
