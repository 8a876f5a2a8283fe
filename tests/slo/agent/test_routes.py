"""Routes: from a file, from a Kubernetes API, and merged."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gatewayx.slo.agent.kubernetes import (
    INGRESS_ROUTES,
    INGRESSES,
    KubernetesRouteSource,
    routes_of_ingress,
    routes_of_ingress_route,
)
from gatewayx.slo.agent.routes import FileRoutes, FixedRoutes, RouteError, RouteTable
from gatewayx.slo.agent.traefik_rule import read_rule
from tests.slo.agent.servers import Reply, Server


@pytest.mark.parametrize(
    ("rule", "pairs"),
    [
        ("Host(`a.com`)", [("a.com", "/")]),
        ("Host(`A.com`) && PathPrefix(`/x`)", [("a.com", "/x")]),
        ("Host(`a.com`,`b.com`)", [("a.com", "/"), ("b.com", "/")]),
        ("Host(`a.com`) || Host(`b.com`) && Path(`/y`)", [("a.com", "/"), ("b.com", "/y")]),
        (
            "(Host(`a.com`) || Host(`b.com`)) && (PathPrefix(`/x`) || PathPrefix(`/y`))",
            [("a.com", "/x"), ("a.com", "/y"), ("b.com", "/x"), ("b.com", "/y")],
        ),
        ("Host(`a.com`) && Header(`k`, `v`) && !PathPrefix(`/x`)", [("a.com", "/")]),
        ('PathPrefix("/x")', [("", "/x")]),
        ("HostRegexp(`.+`)", [("", "/")]),
        ("Host(`a.com`) && ", []),
        ("Host(`a.com`", []),
        ("Host()", []),
        ("garbage", []),
        ("", []),
        ("Host(`a.com`) Host(`b.com`)", []),
        ("(" * 100 + "Host(`a`)" + ")" * 100, []),
        (" && ".join(["(Host(`a`) || Host(`b`))"] * 20), []),
    ],
)
def test_traefik_rules(rule, pairs):
    assert read_rule(rule) == pairs


@given(st.text(alphabet="Hostah()`&|!, \"'", max_size=60))
def test_no_rule_stops_it(rule):
    assert isinstance(read_rule(rule), list)


INGRESS = {
    "metadata": {"namespace": "shop", "name": "web"},
    "spec": {
        "tls": [{"hosts": ["a.com"]}],
        "defaultBackend": {"service": {"name": "rest", "port": {"number": 8080}}},
        "rules": [
            {
                "host": "a.com",
                "http": {
                    "paths": [
                        {
                            "path": "/",
                            "backend": {"service": {"name": "web", "port": {"number": 80}}},
                        },
                        {"path": "/b", "backend": {"resource": {"kind": "Bucket", "name": "b"}}},
                    ]
                },
            },
            {
                "host": "b.com",
                "http": {
                    "paths": [{"backend": {"service": {"name": "x", "port": {"name": "http"}}}}]
                },
            },
        ],
    },
}
INGRESS_ROUTE = {
    "metadata": {"namespace": "shop", "name": "web"},
    "spec": {
        "tls": {},
        "routes": [
            {
                "match": "Host(`c.com`) && PathPrefix(`/api`)",
                "services": [
                    {"name": "api", "port": 8000},
                    {"name": "api@internal", "kind": "TraefikService"},
                ],
            },
            {
                "match": "Host(`d.com`)",
                "services": [{"name": "d", "namespace": "x", "port": "web"}],
            },
        ],
    },
}


def shown(routes):
    return {(each.domain, each.path_prefix): (each.service_key, each.tls) for each in routes}


def test_an_ingress_is_its_rules_and_its_default():
    assert shown(routes_of_ingress(INGRESS)) == {
        ("", "/"): ("shop-rest-8080", False),
        ("a.com", "/"): ("shop-web-80", True),
        ("b.com", "/"): ("shop-x-http", False),
    }


def test_an_ingress_route_is_its_matches_times_its_services():
    assert shown(routes_of_ingress_route(INGRESS_ROUTE)) == {
        ("c.com", "/api"): ("shop-api-8000", True),
        ("d.com", "/"): ("x-d-web", True),
    }


@pytest.mark.parametrize(
    "item", [{}, {"metadata": {}}, {"metadata": {"namespace": 5}, "spec": []}, {"spec": None}]
)
def test_an_object_that_makes_no_sense_has_no_routes(item):
    assert routes_of_ingress(item) == []
    assert routes_of_ingress_route(item) == []


class Cluster:
    """A Kubernetes API with one page for each object, and Traefik under its older name."""

    def __init__(self):
        self.status = 200

    def answer(self, request):
        if request.headers.get("Authorization") != "Bearer secret":
            return Reply(401)
        path, _, query = request.path.partition("?")
        items = {INGRESSES: [INGRESS, {}], INGRESS_ROUTES[1]: [INGRESS_ROUTE]}.get(path)
        if items is None:
            return Reply(404)
        at = int(query.partition("continue=")[2] or 0)
        proceed = str(at + 1) if at + 1 < len(items) else ""
        page = {"items": items[at : at + 1], "metadata": {"continue": proceed}}
        return Reply(self.status, json.dumps(page).encode())


async def test_the_cluster_is_asked_page_by_page(tmp_path):
    (tmp_path / "token").write_text("secret\n")
    with Server(Cluster().answer) as server:
        routes = await KubernetesRouteSource(server.url, tmp_path).routes()
    assert set(shown(routes)) == {
        ("", "/"),
        ("a.com", "/"),
        ("b.com", "/"),
        ("c.com", "/api"),
        ("d.com", "/"),
    }
    assert [request.path.partition("?")[0] for request in server.requests] == [
        INGRESSES,
        INGRESSES,
        *INGRESS_ROUTES,
    ]


async def test_known_routes_stay_when_the_cluster_fails(tmp_path):
    (tmp_path / "token").write_text("secret")
    cluster = Cluster()
    with Server(cluster.answer) as server:
        table = RouteTable([KubernetesRouteSource(server.url, tmp_path)])
        assert await table.refresh()
        known = table.routes
        cluster.status = 500
        assert not await table.refresh()
        (tmp_path / "token").write_text("expired")
        assert not await table.refresh()
    assert not await table.refresh()
    assert table.routes == known
    assert len(known) == 5


async def test_a_file_is_read_anew_and_wins(tmp_path):
    path = tmp_path / "routes.yaml"
    path.write_text("[{domain: a.com, namespace: shop, service_name: web, service_port: 80}]")
    other = await FileRoutes(path).routes()
    table = RouteTable([FileRoutes(path), FixedRoutes(lambda: other)])
    assert await table.refresh()
    assert shown(table.routes) == {("a.com", "/"): ("shop-web-80", False)}
    path.write_text("[{domain: a.com, service_key: key, service_name: new, tls: true}]")
    assert await table.refresh()
    assert shown(table.routes) == {("a.com", "/"): ("key", True)}


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "routes.yaml"),
        ("5", "list"),
        ("[{domain: a.com}]", "0.service_name"),
        ("[{domain: a.com, service_name: x, path_prefix: y}]", "0.path_prefix"),
        ("[{domain: a.com, service_name: x, colour: red}]", "0.colour"),
    ],
)
async def test_a_wrong_file_is_refused_whole(tmp_path, text, problem):
    path = tmp_path / "routes.yaml"
    path.write_text(text)
    with pytest.raises(RouteError, match=problem):
        await FileRoutes(path).routes()


async def test_a_missing_file_is_an_error_of_that_source_only(tmp_path):
    table = RouteTable([FileRoutes(tmp_path / "none"), FixedRoutes(lambda: ())])
    assert not await table.refresh()
