"""The standalone master: `gatewayx slo master`."""

from __future__ import annotations

import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn
from fastapi import FastAPI, Response

from gatewayx.slo.master.api import create_router
from gatewayx.slo.master.http import install_errors
from gatewayx.slo.master.master import Master
from gatewayx.slo.master.settings import MasterSettings

# Longest wait for exchanges in flight at the end; an ingest takes half a second.
SHUTDOWN_S = 10


def create_app(master: Master, *, background: bool = True) -> FastAPI:
    """An application that serves one master and runs its background steps."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        if background:
            master.start()
        try:
            yield
        finally:
            master.close()

    app = FastAPI(title="GatewayX SLO master", lifespan=lifespan)
    install_errors(app)
    app.include_router(create_router(master))

    @app.get("/healthz", tags=["operation"])
    def healthz() -> dict[str, str]:
        """Whether the process answers."""
        return {"status": "ok"}

    @app.get("/metrics", tags=["operation"])
    def metrics() -> Response:
        """The master's own metrics."""
        return Response(master.metrics.exposition(), media_type="text/plain; version=0.0.4")

    return app


def serve_master(settings: MasterSettings, host: str, port: int) -> None:
    """Serve until SIGTERM or SIGINT, then end the process with status 0."""
    # uvicorn raises the signal that ended it once more: that is then the end of the process.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: sys.exit(0))
    uvicorn.run(
        create_app(Master(settings)),
        host=host,
        port=port,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=SHUTDOWN_S,
    )
