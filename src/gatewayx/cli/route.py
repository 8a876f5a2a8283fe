"""`gatewayx route explain`: which proxy gets a request, and why.

The answer is worked out from the proxies that are in force, by the rules of the engine: a host that
matches wins over none; there the longest path of whole segments wins.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, urlsplit

import click

from gatewayx.cli import report
from gatewayx.cli.options import admin_options
from gatewayx.cli.output import output_option, show

if TYPE_CHECKING:
    from gatewayx.cli.client import AdminClient

Proxy = dict[str, Any]


@click.group()
def route() -> None:
    """How requests find their proxy."""


@route.command("explain")
@click.argument("method")
@click.argument("url")
@output_option
@admin_options
def explain_route(method: str, url: str, client: AdminClient, output: str) -> int:
    """Say which proxy gets METHOD URL, by which rules, with which headers, and why."""
    parts = urlsplit(url if "://" in url else f"http://localhost{url}")
    if not parts.hostname or parts.scheme not in ("http", "https"):
        raise click.UsageError("URL must be http://HOST/PATH, or just /PATH")
    entries = client.get("/api/gateway/proxies")["proxies"]
    answer = explain([entry["proxy"] for entry in entries if entry["in_force"]], method, parts)
    show(answer, output, ("WHAT", "HOW"), lambda: _rows(answer))
    return report.DONE if answer["proxy"] else report.FAILED


def explain(proxies: list[Proxy], method: str, url: SplitResult) -> dict[str, Any]:
    """The proxy that gets a request, and what happens to it on the way."""
    host, path = url.hostname or "", url.path or "/"
    off = [proxy["name"] for proxy in proxies if not proxy["active"]]
    proxies = [proxy for proxy in proxies if proxy["active"]]
    same_host = [proxy for proxy in proxies if (proxy["host"] or "").strip("[]") == host]
    any_host = [proxy for proxy in proxies if proxy["host"] is None]
    for candidates, why_host in (
        (same_host, f"its host is {host}"),
        (any_host, f"no proxy for the host {host} matches, and it takes any host"),
    ):
        matching = [proxy for proxy in candidates if _matches(proxy["path"], path)]
        if not matching:
            continue
        found = max(matching, key=lambda proxy: len(proxy["path"]))
        others = sorted(proxy["name"] for proxy in matching if proxy is not found)
        why = [why_host, f"{found['path']} is the longest path that {path} begins with"]
        if others:
            why.append(f"less specific: {', '.join(others)}")
        if off:
            why.append(f"switched off, as if not there: {', '.join(off)}")
        return _told(found, method, url, why)
    return {"proxy": None, "why": [f"no proxy matches {host}{path}: 404, no_route"]}


def _told(proxy: Proxy, method: str, url: SplitResult, why: list[str]) -> dict[str, Any]:
    path = url.path or "/"
    if proxy["strip_path"] and proxy["path"] != "/":
        path = path[len(proxy["path"]) :] or "/"
    upstreams = proxy["upstreams"] or [proxy["upstream"]]
    target = path + (f"?{url.query}" if url.query else "")
    breaker = proxy["circuit_breaker"]
    return {
        "proxy": proxy["name"],
        "why": why,
        "access_rule": proxy["access_rule"],
        "rules": {
            "max_concurrent": proxy["max_concurrent"] or None,
            "queue": (proxy["queue"] or {}).get("size"),
            "circuit_breaker": breaker["failure_threshold"] if breaker["enabled"] else None,
            "retry": (proxy["retry"] or {}).get("attempts"),
        },
        "requests": [f"{method.upper()} {upstream.rstrip('/')}{target}" for upstream in upstreams],
        "headers": {
            **proxy["headers"],
            "Host": url.netloc if proxy["pass_host"] else urlsplit(upstreams[0]).netloc,
        },
    }


def _matches(prefix: str, path: str) -> bool:
    return prefix == "/" or path == prefix or path.startswith(f"{prefix}/")


def _rows(answer: dict[str, Any]) -> list[tuple[object, object]]:
    rows: list[tuple[object, object]] = [("proxy", answer["proxy"])]
    rows += [("because", reason) for reason in answer["why"]]
    if answer["proxy"]:
        rows.append(("access rule", answer["access_rule"]))
        rows += [(f"{name}", value) for name, value in answer["rules"].items() if value is not None]
        rows += [("forwards", request) for request in answer["requests"]]
        rows += [("header", f"{name}: {value}") for name, value in answer["headers"].items()]
    return rows
