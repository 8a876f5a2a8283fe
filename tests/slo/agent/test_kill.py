"""kill -9 at any moment: nothing acknowledged is lost, nothing counts twice, no spike.

The agent is a real process between a real collector and a real master. It is killed in the middle
of a scrape, in the middle of a post, after the master stored a snapshot but before its answer came,
and at moments that nobody chose; each time it starts again from its own disk.
"""

import multiprocessing
import os
import random
import signal
import sys
import time

import pytest
import yaml

from gatewayx.slo.agent import main
from tests.slo.agent.servers import RecordingMaster, Reply, Server

PATIENCE_S = 60.0

# Forked from a process that has imported the agent: the test is about kills, not about imports.
_AGENTS = multiprocessing.get_context("forkserver")
_AGENTS.set_forkserver_preload(["gatewayx.slo.agent"])


def work(config_path):
    """The agent, as the command runs it."""
    sys.exit(main(config_path))


class Scene:
    """A counter that grows with every scrape, a master, and an agent to be killed."""

    def __init__(self, tmp_path):
        self.master = RecordingMaster()
        self.growing = True
        self.value = 1000
        self.shown = []
        self.hooks = {}
        self.collector_server = Server(self._show)
        self.master_server = Server(self._take)
        self._config = tmp_path / "agent.yaml"
        self._config.write_text(
            yaml.safe_dump(
                {
                    "cluster_id": "c1",
                    "otel_metrics_url": f"{self.collector_server.url}/metrics",
                    "otel_health_url": None,
                    "master_url": self.master_server.url,
                    "state_dir": str(tmp_path / "state"),
                    "metrics_address": None,
                    "interval": 0.01,
                    "backoff_min": 0.01,
                    "backoff_max": 0.05,
                }
            )
        )
        self.process = None

    def _show(self, _):
        self.value += 7 * self.growing
        self.shown.append(self.value)
        text = f'gateway_requests_total{{proxy="p",status="200"}} {self.value}\n'
        self._reach("scrape")
        return Reply(200, text.encode())

    def _take(self, request):
        self._reach("post")
        reply = self.master.answer(request)
        self._reach("stored")
        return reply

    def _reach(self, moment):
        hook = self.hooks.get(moment)
        if hook is not None:
            hook()

    def kill_at(self, moment, number):
        """Kills the agent when it reaches `moment` for the `number`-th time from now."""
        remaining = iter(range(number - 1, -1, -1))
        self.hooks[moment] = lambda: self.kill() if next(remaining, None) == 0 else None

    def start(self):
        assert self.process is None or not self.process.is_alive()
        self.process = _AGENTS.Process(target=work, args=(self._config,))
        self.process.start()

    def kill(self):
        os.kill(self.process.pid, signal.SIGKILL)

    def wait_for(self, condition):
        deadline = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline, "it never came true"
            time.sleep(0.01)

    def stop(self):
        self.process.terminate()
        assert self.wait() == 0

    def wait(self):
        """The status that the agent ends with."""
        self.process.join(PATIENCE_S)
        return self.process.exitcode

    def close(self):
        if self.process is not None and self.process.is_alive():
            self.process.kill()
            self.process.join()
        self.collector_server.close()
        self.master_server.close()


@pytest.fixture
def scene(tmp_path):
    made = Scene(tmp_path)
    yield made
    made.close()


MOMENTS = ("scrape", "post", "stored", "any", "post", "any")


def test_no_kill_loses_or_repeats_anything(scene):
    source = random.Random(9)
    for moment in MOMENTS:
        known = len(scene.master.stored)
        if moment != "any":
            scene.start()
            scene.kill_at(moment, source.randint(3, 6))
        else:
            scene.start()
            scene.wait_for(lambda known=known: len(scene.master.stored) > known + 2)
            time.sleep(source.uniform(0, 0.05))
            scene.kill()
        assert scene.wait() == -signal.SIGKILL
        scene.hooks.clear()
    scene.growing = False
    known = len(scene.shown)
    scene.start()
    scene.wait_for(lambda: len(scene.shown) > known)
    scene.wait_for(lambda: scene.master.total() == scene.value - scene.shown[0])
    scene.stop()
    stored = sorted(scene.master.stored.items(), key=lambda item: item[0][1])
    assert [number for (_, number), _ in stored] == list(range(1, len(stored) + 1))
    assert len({agent for (agent, _), _ in stored}) == 1
    level = scene.shown[0]
    for _, snapshot in stored:
        level += sum(each["requests"][0]["delta"] for each in snapshot["ingress"])
        assert level in scene.shown
    assert level == scene.value
    assert scene.master.repeats > 0
