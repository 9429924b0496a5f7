"""`mdlc serve` and `mdlc stop`: the decision service, and the end of an endpoint."""

from __future__ import annotations

import os

import click

from mdlc_assets.commands.answer import answer, for_scripts, work
from mdlc_assets.commands.shared import find_lifecycle, of_a_lifecycle, refuse_used_data


@click.command()
@click.argument("lifecycle")
@click.option("--host", default="127.0.0.1", show_default=True, help="Another address needs MDLC_TOKEN.")
@click.option("--port", default=0, show_default=True, help="0 takes a free one.")
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
