"""A real PostgreSQL from Debian's package, for the time of a test run."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text


def _postgresql_programs() -> Path | None:
    versions = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    return versions[-1].parent if versions else None


def _unprivileged() -> dict[str, int]:
    """Who runs the server: PostgreSQL refuses to be root."""
    if os.geteuid() != 0:
        return {}
    account = pwd.getpwnam("nobody")
    return {"user": account.pw_uid, "group": account.pw_gid}


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """A PostgreSQL server of our own on a Unix socket; the URL of its main database."""
    programs = _postgresql_programs()
    if programs is None:
        pytest.skip("no PostgreSQL server here: install Debian's package `postgresql`")
    who = _unprivileged()
    # Short, because a socket's path has 107 bytes; not below tmp_path, which others cannot enter.
    home = Path(tempfile.mkdtemp(prefix="gxpg", dir="/tmp"))
    data = home / "data"
    if who:
        os.chown(home, who["user"], who["group"])
    run = {"check": True, "capture_output": True, "cwd": home, **who}
    try:
        subprocess.run(
            [programs / "initdb", "-D", data, "-U", "slo", "-A", "trust", "-E", "UTF8", "-N"],
            **run,
        )
        options = f"-c listen_addresses= -c unix_socket_directories={home} -c fsync=off"
        pg_ctl = [programs / "pg_ctl", "-D", data, "-w", "-o", options]
        subprocess.run([*pg_ctl, "-l", home / "log", "start"], **run)
        try:
            yield f"postgresql+psycopg://slo@/postgres?host={home}"
        finally:
            subprocess.run([*pg_ctl, "-m", "immediate", "stop"], **run)
    finally:
        shutil.rmtree(home)


@contextmanager
def database(main_url: str, name: str, template: str) -> Iterator[str]:
    engine = create_engine(main_url, isolation_level="AUTOCOMMIT")
    with engine.connect() as conn:
        conn.execute(text(f"CREATE DATABASE {name} TEMPLATE {template}"))
    yield main_url.replace("/postgres?", f"/{name}?")
    with engine.connect() as conn:
        conn.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    engine.dispose()
