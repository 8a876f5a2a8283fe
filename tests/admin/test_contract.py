"""The whole OpenAPI document against a gateway that runs, with inputs that nobody thought of."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.stored import stored_gateway

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
)
EXAMPLES_COUNT = 8


@pytest.mark.timeout(400)
def test_no_server_error_and_no_undocumented_answer(tmp_path: Path) -> None:
    with stored_gateway(tmp_path) as gateway:
        command = [
            *(sys.executable, "-m", "schemathesis.cli", "run"),
            f"http://127.0.0.1:{gateway.admin_port}/openapi.json",
            *("--header", f"Authorization: Bearer {gateway.token}"),
            *("--checks", ",".join(CHECKS)),
            *("--exclude-path", "/api/gateway/drain"),
            # These two have no end.
            *("--exclude-path", "/api/gateway/events"),
            *("--exclude-path", "/v1/config/stream"),
            *("--max-examples", str(EXAMPLES_COUNT), "--seed", "1"),
            *("--generation-database", "none", "--no-color"),
        ]
        done = subprocess.run(
            command, cwd=tmp_path, capture_output=True, text=True, timeout=380, check=False
        )
        assert done.returncode == 0, done.stdout[-20000:]
        assert gateway.ask("GET", "/ready").status == 200
        assert "Traceback" not in gateway.output()
