"""A day of believable traffic in a master, so that a newcomer sees something within a minute."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import uvicorn

from gatewayx.slo.generator import Day
from gatewayx.slo.master.app import create_app
from gatewayx.slo.master.ingest import epoch_ms
from gatewayx.slo.master.master import Master
from gatewayx.slo.master.settings import MasterSettings, system_clock

CLUSTER = "demo"
INTERVAL_S = 120.0
# Snapshots between two evaluations: status changes and alerts appear nearly as they would have.
EVALUATE_EVERY = 10
# Snapshots between two folds; once an hour costs a fifth of once in ten minutes.
ROLL_UP_EVERY = 30


class ReplayClock:
    """The time of the day that is being replayed; the real one once it has caught up."""

    def __init__(self) -> None:
        self.at_ms: int | None = None

    def __call__(self) -> int:
        return system_clock() if self.at_ms is None else self.at_ms


def fill(master: Master, clock: ReplayClock, day: Day) -> int:
    """Post a day as if it happened now; returns the number of snapshots."""
    count = 0
    for count, snapshot in enumerate(day.snapshots(), 1):
        clock.at_ms = epoch_ms(snapshot.interval_end)
        master.receive_json(snapshot.to_json())
        if count % ROLL_UP_EVERY == 0:
            master.roll_up()
        if count % EVALUATE_EVERY == 0:
            master.evaluate()
    master.roll_up()
    clock.at_ms = None
    return count


def run_demo(
    host: str,
    port: int,
    store_url: str | None,
    *,
    hours: int,
    seed: int,
    serve: bool,
    say: Callable[[str], object],
) -> None:
    """Fill a master with the last `hours` hours and serve it until a signal."""
    with tempfile.TemporaryDirectory(prefix="gatewayx-slo-demo-") as home:
        clock = ReplayClock()
        url = f"http://{host}:{port}"
        settings = MasterSettings(
            store_url=store_url or f"sqlite:///{Path(home) / 'demo.db'}",
            clusters=(CLUSTER,),
            external_url=url,
        )
        now = datetime.now(UTC).replace(second=0, microsecond=0)
        day = Day(
            seed=seed,
            start=now - timedelta(hours=hours),
            duration_s=hours * 3600,
            interval_s=INTERVAL_S,
            cluster_id=CLUSTER,
            agent_id=f"demo-{int(now.timestamp())}",
        )
        with Master(settings, clock=clock) as master:
            say(f"filling {settings.store_url} with {hours} h of traffic ...")
            say(f"{fill(master, clock, day)} snapshots stored")
            if not serve:
                return
            say(f"serving {url}; try: gatewayx slo top --url {url} --range 24h")
            app = create_app(master)
            uvicorn.run(app, host=host, port=port, log_level="warning", access_log=False)
