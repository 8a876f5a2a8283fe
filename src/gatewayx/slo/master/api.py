"""The HTTP API: `/api/v2/slo/...`.

Thin by design: a route reads its parameters, opens a reading and hands it to a query. Routes that
touch the database are plain functions, which FastAPI runs in its thread pool; answers are
serialised once, without a second validation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Depends, Query, Request, Response
from fastapi.concurrency import run_in_threadpool
from pydantic import TypeAdapter, ValidationError

from gatewayx.slo.master.alerts import alert_answer, list_alerts
from gatewayx.slo.master.budgets import TARGET_TYPES, budgets, targets_in_force
from gatewayx.slo.master.domains import domain_detail, domain_history, domains
from gatewayx.slo.master.figures import TargetType
from gatewayx.slo.master.http import Problem, read_body, require_token, respond
from gatewayx.slo.master.master import Master
from gatewayx.slo.master.mesh import service_detail, topology
from gatewayx.slo.master.plan import parse_range
from gatewayx.slo.master.reading import Reading
from gatewayx.slo.master.rules.openslo import openslo_documents
from gatewayx.slo.master.rules.prometheus import prometheus_rules
from gatewayx.slo.master.rules.promql import Sources
from gatewayx.slo.master.statuses import status_changes
from gatewayx.slo.master.tables import DAY_S
from gatewayx.slo.master.targets import (
    Target,
    TargetBody,
    load_targets,
    put_targets,
    split_service_key,
)

PREFIX = "/api/v2/slo"
TARGETS_MAX = 10_000

Answer = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Scope:
    """Which cluster and which time a request asks about."""

    cluster: str | None = None
    time_range: str | None = None
    start: datetime | None = None
    end: datetime | None = None


ClusterParam = Annotated[str | None, Query(description="the master's first one by default")]


def scope_of(
    cluster_id: ClusterParam = None,
    time_range: Annotated[str | None, Query(description="1h 6h 24h 7d 30d")] = None,
    start: Annotated[datetime | None, Query(alias="from")] = None,
    end: Annotated[datetime | None, Query(alias="to")] = None,
) -> Scope:
    """The scope in a request's parameters; checked when it is asked about."""
    return Scope(cluster_id, time_range, start, end)


ScopeParam = Annotated[Scope, Depends(scope_of)]


def create_router(master: Master, *, reader: Callable[..., Any] | None = None) -> APIRouter:
    """The routes of one master, for any FastAPI application that has `install_errors`.

    `reader` is the dependency that lets readers and operators in; without one the master's own
    reader token is asked for. Agents always present the agent token.
    """
    settings = master.settings
    agents = [Depends(require_token(settings.agent_token))]
    readers = [Depends(reader or require_token(settings.reader_token))]
    router = APIRouter(prefix=PREFIX, tags=["slo"])

    def served(cluster: str | None) -> str:
        return cluster or settings.clusters[0]

    def ask(asked: Scope, query: Callable[[Reading], Answer]) -> Response:
        time_range = parse_range(master.clock(), asked.time_range, asked.start, asked.end)
        with master.readings.open(served(asked.cluster), time_range) as reading:
            answer = query(reading)
        return respond(answer)

    @router.post("/snapshots", dependencies=agents, status_code=202)
    async def post_snapshot(request: Request) -> Response:
        """Take one snapshot; 202 when it is on disk, 200 when it already was."""
        body = await read_body(request, settings.limits.body_max_bytes)
        receipt = await run_in_threadpool(master.receive_json, body)
        return respond(
            {"status": receipt.status, "next_seq": receipt.next_seq},
            202 if receipt.status == "accepted" else 200,
        )

    @router.get("/mesh/topology", dependencies=readers)
    def mesh_topology(asked: ScopeParam) -> Response:
        """Services, and who calls whom."""
        return ask(asked, lambda reading: topology(reading, master.faults))

    @router.get("/mesh/service/detail", dependencies=readers)
    def mesh_service_detail(asked: ScopeParam, namespace: str, name: str) -> Response:
        """One service with its history and its neighbours."""
        return ask(
            asked,
            lambda reading: service_detail(reading, master.faults, namespace, name),
        )

    @router.get("/domains/v2", dependencies=readers)
    def all_domains(asked: ScopeParam) -> Response:
        """Every domain with its services."""
        return ask(asked, domains)

    @router.get("/domains/detail", dependencies=readers)
    def one_domain(asked: ScopeParam, domain: str) -> Response:
        """One domain with its services."""
        return ask(asked, lambda reading: domain_detail(reading, domain))

    @router.get("/domains/history", dependencies=readers)
    def one_domain_history(
        asked: ScopeParam, domain: str, service_key: str | None = None
    ) -> Response:
        """The history of a domain's services."""
        return ask(asked, lambda reading: domain_history(reading, domain, service_key))

    @router.get("/targets", dependencies=readers)
    def list_targets(cluster_id: ClusterParam = None) -> Response:
        """The targets that were set, and the default of all others."""
        cluster = served(cluster_id)
        names = master.names.cluster(cluster)
        with master.store.read() as conn:
            book = load_targets(conn, names.cluster_id, settings.target)
        return respond(
            {
                "cluster_id": cluster,
                "default": settings.target.model_dump(),
                "targets": [_target(target) for _, target in sorted(book.own.items())],
            }
        )

    @router.put("/targets", dependencies=readers)
    async def set_targets(request: Request, cluster_id: ClusterParam = None) -> Response:
        """Set one target or a list of them, all or none."""
        bodies = _target_bodies(await read_body(request, settings.limits.body_max_bytes))
        await run_in_threadpool(_store_targets, master, served(cluster_id), bodies)
        return await run_in_threadpool(list_targets, cluster_id)

    @router.get("/status/history", dependencies=readers)
    def status_history(
        asked: ScopeParam,
        target_type: TargetType | None = None,
        target: str | None = None,
        limit: Annotated[int, Query(ge=1, le=10_000)] = 1000,
    ) -> Response:
        """Changes of status, the newest first."""
        return ask(
            asked,
            lambda reading: (
                reading.header()
                | {
                    "changes": status_changes(
                        reading.conn,
                        reading.cluster.cluster_id,
                        reading.time_range,
                        target_type=target_type,
                        target_key=target,
                        limit=limit,
                    )
                }
            ),
        )

    @router.get("/budgets", dependencies=readers)
    def error_budgets(
        cluster_id: ClusterParam = None,
        target_type: TargetType | None = None,
        target: str | None = None,
    ) -> Response:
        """Error budgets, the most spent first."""
        if (target_type is None) != (target is None):
            raise Problem(422, "bad_request", "target_type and target go together")
        only = (target_type, target) if target_type and target else None
        return ask(
            Scope(cluster=cluster_id),
            lambda reading: {
                "cluster_id": reading.cluster.cluster,
                "budgets": budgets(reading, master.faults, only),
            },
        )

    @router.get("/alerts", dependencies=readers)
    def burn_alerts(
        cluster_id: ClusterParam = None,
        state: Literal["pending", "firing", "resolved"] | None = None,
        resolved_days: Annotated[int, Query(ge=0, le=180)] = 1,
    ) -> Response:
        """Alerts that are active, and those resolved lately."""
        cluster = served(cluster_id)
        names = master.names.cluster(cluster)
        since_ms = master.clock() - resolved_days * DAY_S * 1000
        with master.store.read() as conn:
            found = list_alerts(conn, names.cluster_id, state=state, resolved_since_ms=since_ms)
        return respond(
            {"cluster_id": cluster, "alerts": [alert_answer(cluster, row) for row in found]}
        )

    @router.get("/rules", dependencies=readers)
    def export_rules(
        cluster_id: ClusterParam = None,
        format: Literal["prometheus", "openslo"] = "prometheus",
        metric_prefix: Annotated[str, Query(pattern="^[a-zA-Z0-9_]{0,64}$")] = "",
    ) -> Response:
        """The targets as rules for other systems."""
        return Response(
            exported_rules(master, served(cluster_id), format, Sources(metric_prefix)),
            media_type="application/yaml",
        )

    return router


def exported_rules(
    master: Master, cluster: str, format: Literal["prometheus", "openslo"], sources: Sources
) -> str:
    """Rules in one of the formats; OpenSLO has a document for every target in force."""
    window = parse_range(master.clock(), "24h", None, None)
    with master.readings.open(cluster, window) as reading:
        if format == "prometheus":
            return prometheus_rules(cluster, master.settings, reading.targets, sources)
        targets = [
            target
            for target_type in TARGET_TYPES
            for _, target in sorted(
                targets_in_force(reading, target_type, _reported(reading, target_type)).items()
            )
        ]
        return openslo_documents(cluster, master.settings, targets, sources)


def _reported(reading: Reading, target_type: TargetType) -> Sequence[str]:
    found = reading.reader.totals(reading.conn, reading.plan, target_type)
    return [reading.key_of(target_type, identity) for identity in found]


_TARGETS: TypeAdapter[TargetBody | list[TargetBody]] = TypeAdapter(TargetBody | list[TargetBody])


def _target_bodies(body: bytes) -> list[TargetBody]:
    try:
        parsed = _TARGETS.validate_json(body)
    except ValidationError as error:
        details = "; ".join(
            f"{'.'.join(map(str, item['loc']))}: {item['msg']}"
            for item in error.errors(include_url=False, include_input=False)
        )
        raise Problem(422, "bad_target", details) from error
    bodies = parsed if isinstance(parsed, list) else [parsed]
    for one in bodies:
        if one.target_type == "service":
            try:
                split_service_key(one.target_key)
            except ValueError as error:
                raise Problem(422, "bad_target", str(error)) from error
    return bodies


def _store_targets(master: Master, cluster: str, bodies: list[TargetBody]) -> None:
    names = master.names.cluster(cluster)
    with master.store.write() as conn:
        default = master.settings.target
        put_targets(master.store, conn, names.cluster_id, bodies, default, master.clock())
        count = len(load_targets(conn, names.cluster_id, default).own)
        if count > TARGETS_MAX:
            raise Problem(422, "limit_reached", f"a cluster has at most {TARGETS_MAX} targets")


def _target(target: Target) -> Answer:
    return {
        "target_type": target.target_type,
        "target_key": target.target_key,
        "availability_percent": target.availability_percent,
        "p95_ms": target.p95_ms,
        "window_days": target.window_days,
        "events_min": target.events_min,
    }
