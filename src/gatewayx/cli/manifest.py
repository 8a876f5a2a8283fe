"""`gatewayx policy manifest`: Istio manifests for the Envoy plugin."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import click

from gatewayx.cli import report

if TYPE_CHECKING:
    from gatewayx.chaos.manifest import Kind

_HOST_PORT = re.compile(r"[a-z0-9.-]+:[0-9]{1,5}\Z")
_SHA256 = re.compile(r"[0-9a-f]{64}\Z")
_KINDS: dict[str, Kind] = {
    "wasmplugin": "WasmPlugin",
    "trafficextension": "TrafficExtension",
}


@click.command()
@click.option("--url", required=True, help="Of the plugin: oci://, https:// or file://.")
@click.option("-f", "--file", "place", metavar="FILE|DIR|-", help="Policies to put in.")
@click.option(
    "--control-plane",
    metavar="HOST:PORT",
    help="Whose /v1/policies to poll: the admin listener's full name in the cluster.",
)
@click.option("--token", help="The control plane's token; it stands in the manifest as it is.")
@click.option("--namespace", help="Whose workloads get it; without it the whole mesh.")
@click.option("--app", help="Only workloads with this app label; needs --namespace.")
@click.option("--name", default="gatewayx-faults", show_default=True, help="Of the manifests.")
@click.option("--sha256", help="Checksum of the plugin.")
@click.option(
    "--kind",
    type=click.Choice(list(_KINDS)),
    default="wasmplugin",
    show_default=True,
    help="trafficextension is for Istio 1.30 and newer.",
)
def manifest(
    url: str,
    place: str | None,
    control_plane: str | None,
    token: str | None,
    namespace: str | None,
    app: str | None,
    name: str,
    sha256: str | None,
    kind: str,
) -> int:
    """Print manifests that bring policies to Istio's sidecars: `... | kubectl apply -f -`."""
    import yaml

    from gatewayx.chaos import load_policies
    from gatewayx.chaos.manifest import Deployment, manifests
    from gatewayx.config import ConfigError

    if place is None and control_plane is None:
        raise click.UsageError("give -f FILE, --control-plane HOST:PORT, or both")
    if app is not None and namespace is None:
        raise click.UsageError("--app needs --namespace")
    if control_plane is not None and not _HOST_PORT.match(control_plane):
        raise click.UsageError("--control-plane must be HOST:PORT")
    if not url.startswith(("oci://", "https://", "http://", "file://")):
        raise click.UsageError("--url must begin with oci://, https://, http:// or file://")
    if sha256 is not None and not _SHA256.match(sha256):
        raise click.UsageError("--sha256 must be 64 hexadecimal digits")
    try:
        policies = load_policies(place) if place is not None else []
        deployment = Deployment(
            url=url,
            name=name,
            namespace=namespace,
            app=app,
            sha256=sha256,
            control_plane=control_plane,
            token=token if control_plane is not None else None,
        )
        found = manifests(deployment, policies, _KINDS[kind])
    except ConfigError as error:
        return report.faults(error.faults)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    print(yaml.safe_dump_all(found, sort_keys=False), end="")
    return report.DONE
