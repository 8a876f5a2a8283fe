"""The master put together: one object that an application opens, runs and closes."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

from gatewayx.slo.master import alerts
from gatewayx.slo.master.burn import evaluate
from gatewayx.slo.master.cleaner import Cleaner
from gatewayx.slo.master.faults import FaultWindowSource, StoredFaultWindows
from gatewayx.slo.master.ingest import Ingest, Receipt, Refused
from gatewayx.slo.master.names import Names
from gatewayx.slo.master.plan import range_before
from gatewayx.slo.master.reading import Readings
from gatewayx.slo.master.rollup import Rollup
from gatewayx.slo.master.settings import Clock, MasterSettings, system_clock
from gatewayx.slo.master.statuses import record_changes
from gatewayx.slo.master.store import Store
from gatewayx.slo.master.tables import HOUR_S
from gatewayx.slo.master.telemetry import MasterMetrics
from gatewayx.slo.master.webhook import Webhook

log = logging.getLogger(__name__)


class Master:
    """One master on one database.

    Opening brings the schema up to date. Nothing runs on its own until `start`; the steps that the
    background thread repeats (`roll_up`, `evaluate`, `clean`) may be called directly instead.
    """

    def __init__(
        self,
        settings: MasterSettings,
        *,
        clock: Clock = system_clock,
        faults: FaultWindowSource | None = None,
    ) -> None:
        self.settings = settings
        self.clock = clock
        self.faults = faults or StoredFaultWindows()
        self.metrics = MasterMetrics()
        self.store = Store(settings.store_url)
        self.store.migrate()
        self.names = Names(self.store, settings.clusters, settings.limits)
        self.readings = Readings(self.store, self.names, settings, clock)
        self._ingest = Ingest(self.store, self.names, settings.limits, clock)
        self._rollup = Rollup(self.store, self.names)
        self._cleaner = Cleaner(self.store, self.names, settings.retention, clock)
        self._webhook = Webhook(self.store, settings, clock)
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def receive_json(self, body: bytes) -> Receipt:
        """Take one posted snapshot.

        Raises:
            Refused: the sender is to blame, and the data is as it was.
        """
        began = time.perf_counter()
        try:
            receipt = self._ingest.receive_json(body)
        except Refused as error:
            self.metrics.snapshots.labels(error.reason).inc()
            raise
        self.metrics.snapshots.labels(receipt.status).inc()
        self.metrics.ingest_seconds.observe(time.perf_counter() - began)
        return receipt

    def roll_up(self) -> None:
        """Fold new snapshots into the rolled-up tables."""
        self._rollup.run()

    def evaluate(self) -> None:
        """Judge every target: record status changes, move alerts, tell the webhook."""
        for names in self.names.clusters():
            now_ms = self.clock()
            last_hour = range_before(now_ms, HOUR_S)
            # Looking takes long and writing does not: ingest waits for the writing only.
            with self.readings.open(names.cluster, last_hour) as reading:
                burns = evaluate(reading, self.settings.burn_rules)
                with self.store.write() as conn:
                    alerts.advance(conn, names.cluster_id, burns, now_ms)
                    record_changes(reading, conn)
            self._webhook.deliver(names)

    def clean(self) -> None:
        """Remove what is older than its retention."""
        self._cleaner.run()

    def start(self) -> None:
        """Run the steps in the background until `close`."""
        self._thread = threading.Thread(target=self._run, name="slo-master", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """End the background thread after its current step, and close the database."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        self.store.close()

    def _run(self) -> None:
        steps: list[tuple[str, float, Callable[[], None]]] = [
            ("roll_up", self.settings.rollup_interval_s, self.roll_up),
            ("evaluate", self.settings.evaluation_interval_s, self.evaluate),
            ("clean", self.settings.cleaner_interval_s, self.clean),
        ]
        due = {name: 0.0 for name, _, _ in steps}
        while not self._stop.is_set():
            for name, interval_s, step in steps:
                if time.monotonic() >= due[name] and not self._stop.is_set():
                    self._run_step(name, step)
                    due[name] = time.monotonic() + interval_s
            self._stop.wait(max(0.0, min(due.values()) - time.monotonic()))

    def _run_step(self, name: str, step: Callable[[], None]) -> None:
        began = time.perf_counter()
        try:
            step()
        except Exception:
            # A step that fails is repeated at its next turn; the master goes on taking snapshots.
            log.exception("SLO master: %s failed", name)
            self.metrics.task_failures.labels(name).inc()
        self.metrics.task_seconds.labels(name).set(time.perf_counter() - began)
