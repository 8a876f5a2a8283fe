"""What the agent's tests share."""

import pytest

from gatewayx.slo.agent import AgentConfig


@pytest.fixture
def config(tmp_path):
    """A configuration for tests: quick to retry, nothing served, no health check."""

    def make(**changes):
        return AgentConfig.model_validate(
            {
                "cluster_id": "c1",
                "agent_name": "a1",
                "otel_metrics_url": "http://127.0.0.1:1/metrics",
                "otel_health_url": None,
                "master_url": "http://127.0.0.1:1",
                "state_dir": tmp_path / "state",
                "metrics_address": None,
                "backoff_min": 0.01,
                "backoff_max": 0.05,
            }
            | changes
        )

    return make
