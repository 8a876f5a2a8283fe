"""A small upstream to try the gateway with: an answer, a stream, and a slow answer.

/                 what arrived: method, path and fields, as JSON
/stream?events=N  N server-sent events, one every 200 ms (10)
/slow?seconds=S   an answer after S seconds (2)
"""

import argparse
import asyncio
from collections.abc import AsyncIterator

import uvicorn
from fastapi import FastAPI, Request
from fastapi.responses import StreamingResponse

EVENT_SECONDS = 0.2

app = FastAPI(title="demo upstream")


@app.get("/stream")
async def stream(events: int = 10) -> StreamingResponse:
    """Server-sent events; through the gateway each arrives when it is sent, not at the end."""

    async def numbered() -> AsyncIterator[str]:
        for number in range(events):
            yield f"data: event {number}\n\n"
            await asyncio.sleep(EVENT_SECONDS)

    return StreamingResponse(numbered(), media_type="text/event-stream")


@app.get("/slow")
async def slow(seconds: float = 2.0) -> dict[str, float]:
    """A late answer; past the gateway's response_header timeout the caller sees 504."""
    await asyncio.sleep(seconds)
    return {"seconds": seconds}


@app.api_route("/{path:path}", methods=["GET", "POST", "PUT", "PATCH", "DELETE"])
async def echo(request: Request) -> dict[str, object]:
    """What arrived here, after the gateway has cleaned it."""
    body_bytes = len(await request.body())
    return {
        "method": request.method,
        "path": request.url.path,
        "fields": request.headers.items(),
        "body_bytes": body_bytes,
    }


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8001)
    uvicorn.run(app, port=parser.parse_args().port, loop="uvloop", log_level="warning")
