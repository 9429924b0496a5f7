"""`mdlc serve` and `mdlc stop`: the decision service, and the end of an endpoint."""

from __future__ import annotations

import os
import socket
from urllib.parse import urlsplit

import click

from mdlc_assets.commands.answer import answer, for_scripts, work
from mdlc_assets.commands.shared import find_lifecycle, of_a_lifecycle, refuse_taken_port, refuse_used_data

_PORTS = {"http": 80, "https": 443}
_REGISTRY_SECONDS = 5


@click.command()
@click.argument("lifecycle")
@click.option("--host", default="127.0.0.1", show_default=True, help="Another address needs MDLC_TOKEN.")
@click.option("--port", type=click.IntRange(0, 65_535), default=0, show_default=True, help="0 takes a free one.")
def serve(lifecycle: str, host: str, port: int) -> None:
    """Decide events of LIFECYCLE over HTTP: features, score, rules, action."""
    from mdlc_assets.features.online import OnlineFeatures
    from mdlc_assets.home import Home
    from mdlc_assets.production import UnsetError, resources_here
    from mdlc_assets.realtime.serve import run_service, service_state, token_for
    from mdlc_assets.resources.endpoint_state import ExposedError

    try:
        token_for(host)
        home = Home()
        resources = resources_here(home, os.environ)
    except (ExposedError, UnsetError) as error:
        raise click.ClickException(str(error)) from None
    chosen = find_lifecycle(lifecycle)
    refuse_used_data(chosen.declaration, "serve {uses}")
    if port:
        refuse_taken_port(host, port)
    _tell_silent_registry(resources["registry"].tracking_uri)
    store = resources["online_store"]
    source = OnlineFeatures(chosen.declaration, store.store)
    state = service_state(
        chosen.declaration,
        resources["registry"],
        source,
        home.captured_decisions / lifecycle,
        resources["outboxes"].open(lifecycle),
        at_hand=store.form == "embedded",
        read=lambda: find_lifecycle(lifecycle).declaration,
        store_there=lambda: store.store.newest(source.space) is not None,
        sagemaker=resources["sagemaker"],
        captured=os.environ.get("MDLC_CAPTURED"),
    )
    run_service(state, host, port, click.echo)


def _tell_silent_registry(address: str) -> None:
    """Say so before MLflow's client tries for minutes; the service itself waits for the registry."""
    place = urlsplit(address)
    if place.scheme not in ("http", "https") or not place.hostname:
        return
    try:
        with socket.create_connection((place.hostname, place.port or _PORTS[place.scheme]), timeout=_REGISTRY_SECONDS):
            return
    except OSError as error:
        shown = address.split("@")[-1]
        click.echo(
            f"MLFLOW_TRACKING_URI {shown}: nothing answers there ({error.strerror or error}), and the service waits "
            "for it. Mend: start MLflow, or correct the address.",
            err=True,
        )


@click.command()
@of_a_lifecycle
@for_scripts
def stop(lifecycle: str, as_json: bool) -> None:
    """End the endpoint: its processes here; in production the endpoint at SageMaker, with what belongs to it.

    A lifecycle whose declaration has no `real_time` any more leaves its endpoint as it is: this takes it down.
    """
    from mdlc_assets.home import Home
    from mdlc_assets.production import UnsetError, resources_here
    from mdlc_assets.resources.sagemaker.endpoint_requests import endpoint_of
    from mdlc_assets.resources.sagemaker.faults import ServiceError
    from mdlc_assets.resources.sagemaker.rollout import Rollout

    find_lifecycle(lifecycle)
    try:
        resources = resources_here(Home(), os.environ)
        service, there = resources["sagemaker"], True
        with work(as_json):
            if service.form == "aws":
                there = Rollout(service, tell=lambda text: click.echo(text, err=True)).retire(endpoint_of(lifecycle))
            else:
                resources["endpoints"].stop(lifecycle)
    except (ServiceError, UnsetError) as error:
        raise click.ClickException(str(error)) from None
    said = f"The endpoint of {lifecycle} is stopped." if there else f"There is no endpoint of {lifecycle}."
    answer(as_json, {"lifecycle": lifecycle, "done": there}, said)
