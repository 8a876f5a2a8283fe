"""What every route of the API shares: bodies, tokens, and errors as the gateway writes them."""

from __future__ import annotations

import hmac
import zlib
from collections.abc import Callable
from http import HTTPStatus

from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from pydantic import SecretStr
from pydantic_core import to_json

from gatewayx.slo.master.ingest import Refused
from gatewayx.slo.master.mesh import NotReported
from gatewayx.slo.master.names import UnknownCluster
from gatewayx.slo.master.plan import BadRange


class Problem(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, reason: str, details: str, **extra: object) -> None:
        super().__init__(details)
        self.status = status
        self.body = {
            "error": HTTPStatus(status).phrase,
            "details": details,
            "reason": reason,
            **extra,
        }


def respond(answer: object, status: int = 200) -> Response:
    """JSON, serialised once."""
    return Response(to_json(answer), status, media_type="application/json")


def require_token(expected: SecretStr | None) -> Callable[[Request], None]:
    """A dependency that wants `Authorization: Bearer` with one token; None asks for nothing."""

    def check(request: Request) -> None:
        if expected is None:
            return
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        wanted = expected.get_secret_value().encode()
        known = hmac.compare_digest(given.strip().encode("utf-8", "surrogateescape"), wanted)
        if scheme.lower() != "bearer" or not known:
            raise Problem(401, "unauthorized", "a valid bearer token is required")

    return check


def problem_of(error: Exception) -> Problem | None:
    """The answer to an exception that the caller is to blame for; None for any other."""
    match error:
        case Problem():
            return error
        case Refused(next_seq=None):
            return Problem(error.status, error.reason, error.details)
        case Refused():
            return Problem(error.status, error.reason, error.details, next_seq=error.next_seq)
        case UnknownCluster():
            return Problem(404, "not_found", f"this master does not serve {error.args[0]!r}")
        case NotReported():
            return Problem(404, "not_found", f"nothing has been reported about {error.args[0]}")
        case BadRange():
            return Problem(422, "bad_range", str(error))
        case RequestValidationError():
            faults = (
                f"{'.'.join(map(str, item['loc']))}: {item['msg']}" for item in error.errors()
            )
            return Problem(422, "bad_request", "; ".join(faults))
    return None


def install_errors(app: FastAPI) -> None:
    """Make an application answer the errors of the routes as the gateway writes errors."""

    def answer(_: Request, error: Exception) -> Response:
        problem = problem_of(error)
        if problem is None:
            raise error
        return respond(problem.body, problem.status)

    for kind in (Problem, Refused, UnknownCluster, NotReported, BadRange, RequestValidationError):
        app.add_exception_handler(kind, answer)


async def read_body(request: Request, limit_bytes: int) -> bytes:
    """The request's body, unpacked if it is gzipped, never more than the limit in memory."""
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limit_bytes:
            raise Problem(413, "too_large", f"a body has at most {limit_bytes} bytes")
        parts.append(part)
    body = b"".join(parts)
    encoding = request.headers.get("content-encoding", "identity").lower()
    if encoding == "identity":
        return body
    if encoding != "gzip":
        raise Problem(415, "bad_encoding", f"content-encoding {encoding!r} is not gzip")
    return await run_in_threadpool(_gunzip, body, limit_bytes)


def _gunzip(body: bytes, limit_bytes: int) -> bytes:
    stream = zlib.decompressobj(wbits=31)
    try:
        plain = stream.decompress(body, limit_bytes + 1)
    except zlib.error as error:
        raise Problem(400, "bad_encoding", f"the body is not gzip: {error}") from error
    if len(plain) > limit_bytes:
        raise Problem(413, "too_large", f"a body unpacks to at most {limit_bytes} bytes")
    if not stream.eof or stream.unused_data:
        raise Problem(400, "bad_encoding", "the gzipped body is truncated or has a tail")
    return plain
