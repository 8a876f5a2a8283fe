"""Learning of other nodes' changes: PostgreSQL tells, and is asked again where it may have told.

One thread and one connection of its own. A connection that breaks is made anew; whatever happened
in between is found by looking at the revision.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from gatewayx.store.store import CHANNEL, Store

log = logging.getLogger("gatewayx")

LOOK_SECONDS = 0.5
"""Between two looks at the connection, and between two attempts to make it."""


class ChangeWatch:
    """Calls back, from its own thread, between `start` and `stop`.

    Attributes:
        away: Whether the database does not answer.
    """

    def __init__(self, store: Store, on_change: Callable[[], None]) -> None:
        self._store = store
        self._on_change = on_change
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="store changes", daemon=True)
        self.away = False

    def start(self) -> None:
        """Begin. SQLite has one node and nothing to watch."""
        if not self._store.sqlite:
            self._thread.start()

    def stop(self) -> None:
        """End; returns when the thread has ended."""
        self._stop.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        import psycopg

        while not self._stop.is_set():
            try:
                with self._connect() as connection:
                    connection.execute(f"LISTEN {CHANNEL}")
                    if self.away:
                        log.info("the store answers again")
                    self.away = False
                    self._on_change()
                    self._listen(connection)
            except psycopg.Error as error:
                if not self.away:
                    reason = str(error).strip().partition("\n")[0]
                    log.warning("the store does not answer; serving what is known: %s", reason)
                self.away = True
                self._stop.wait(LOOK_SECONDS)

    def _listen(self, connection: Any) -> None:
        while not self._stop.is_set():
            if list(connection.notifies(timeout=LOOK_SECONDS, stop_after=1)):
                self._on_change()
            else:
                connection.execute("SELECT 1")

    def _connect(self) -> Any:
        import psycopg

        arguments, options = self._store.engine.dialect.create_connect_args(self._store.engine.url)
        # TCP's own patience with a silent server is minutes.
        patience = {"connect_timeout": 2, "tcp_user_timeout": 2000}
        return psycopg.connect(*arguments, **{**options, **patience}, autocommit=True)
