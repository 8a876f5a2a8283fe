"""The program as its users run it: a process, its arguments, streams and exit status."""

import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

VALID = """\
proxies:
  - {name: sidecar, path: /api, upstream: "http://127.0.0.1:8001"}
  - {name: other, host: other.example, upstream: "http://127.0.0.1:8002"}
"""
FAULTY = "worker: 1\nproxies:\n  - {name: a, upstream: nowhere}\n"


def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "gatewayx", *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        env=os.environ | environ,
        check=False,
    )


def run_on_terminal(*arguments: str) -> tuple[int, str]:
    """The same, with a pseudo terminal for every stream; colours are taken out of what it shows."""
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "gatewayx", *arguments],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env=os.environ | {"COLUMNS": "100", "TERM": "xterm-256color"},
    ) as process:
        os.close(theirs)
        shown = b""
        try:
            while piece := os.read(ours, 65536):
                shown += piece
        except OSError:  # a pseudo terminal ends with EIO
            pass
        finally:
            os.close(ours)
    assert b"\x1b[" in shown
    return process.returncode, re.sub(r"\x1b\[[0-9;]*m", "", shown.decode()).replace("\r", "")


@pytest.fixture
def valid(tmp_path: Path) -> Path:
    path = tmp_path / "valid.yaml"
    path.write_text(VALID)
    return path


@pytest.fixture
def faulty(tmp_path: Path) -> Path:
    path = tmp_path / "faulty.yaml"
    path.write_text(FAULTY)
    return path


def test_version() -> None:
    done = run("version")
    assert done.returncode == 0
    assert re.fullmatch(r"gatewayx \d+\.\d+\.\d+ \(\w+ 3\.\d+\.\S+, Linux \S+\)\n", done.stdout)


def test_version_loads_nothing_heavy() -> None:
    script = (
        "import sys, atexit\n"
        "from gatewayx.cli import main\n"
        "heavy = {'pydantic', 'fastapi', 'uvicorn', 'rich', 'yaml', 'asyncio', 'ssl', 'http'}\n"
        "atexit.register(lambda: print(sorted(heavy & sys.modules.keys())))\n"
        "sys.argv = ['gatewayx', 'version']\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1] == "[]"


def test_check_accepts(valid: Path) -> None:
    done = run("check", "-c", str(valid))
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == f"{valid}: valid: 1 listener, 2 proxies\n"


def test_check_names_every_fault_with_its_place(faulty: Path) -> None:
    done = run("check", "--config", str(faulty))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.splitlines() == [
        f"{faulty}:1:1: worker: unknown key; did you mean workers?",
        f"{faulty}:3:25: proxies[0].upstream: must be a URL, such as http://127.0.0.1:8001",
    ]


def test_check_reads_the_environment(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text('proxies: [{name: a, upstream: "http://a", headers: {X: "{env.GX_KEY}"}}]\n')
    assert "environment variable GX_KEY, which is unset" in run("check", "-c", str(path)).stderr
    assert run("check", "-c", str(path), GX_KEY="1").returncode == 0


def test_check_of_a_missing_file(tmp_path: Path) -> None:
    done = run("check", "-c", str(tmp_path / "none.yaml"))
    assert done.returncode == 2
    assert done.stderr == f"{tmp_path}/none.yaml: No such file or directory\n"


def test_check_on_a_terminal(valid: Path, faulty: Path) -> None:
    status, shown = run_on_terminal("check", "-c", str(valid))
    assert status == 0
    assert "valid: 1 listener, 2 proxies" in shown
    assert re.search(r"sidecar\s+any\s+/api\s+http://127\.0\.0\.1:8001", shown)
    assert re.search(r"other\s+other\.example\s+/\s+http://127\.0\.0\.1:8002", shown)
    status, shown = run_on_terminal("check", "-c", str(faulty))
    assert status == 2
    assert f"{faulty}:1:1: worker: unknown key; did you mean workers?\n" in shown
    assert "2 faults. Nothing was changed." in shown


def test_text_in_brackets_is_not_markup(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.write_text('proxies: [{name: "[red]x", upstream: "http://a"}]\n')
    _, shown = run_on_terminal("check", "-c", str(path))
    assert "proxies[0].name: must be" in shown


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nope"], "No such command 'nope'"),
        (["check"], "Missing option '-c'"),
        (["check", "-c", "a", "b"], "unexpected extra argument"),
        (["serve"], "give either -c FILE or --upstream URL"),
        (["serve", "-c", "a.yaml", "--upstream", "http://a"], "give either -c FILE or"),
        (["serve", "--upstream", "a:80"], "--upstream: must be a URL"),
        (["serve", "--upstream", "http://a", "--listen", "80"], "--listen: must be host:port"),
        (["serve", "--upstream", "http://a", "--admin", "x"], "--admin: must be host:port"),
        (["serve", "--upstream", "http://a", "--workers", "0"], "--workers: must be auto, or"),
        (["serve", "--upstream", "http://a", "--workers", "many"], "--workers: must be auto, or"),
        (["serve", "-c", "/nowhere/gateway.yaml"], "/nowhere/gateway.yaml: No such file"),
    ],
)
def test_wrong_use_is_status_2(arguments: list[str], said: str) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("arguments", [["-h"], ["--help"], ["serve", "-h"], ["check", "--help"]])
def test_help_is_status_0(arguments: list[str]) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("Usage: ")
