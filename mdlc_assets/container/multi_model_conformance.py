"""Checks a container command against SageMaker's contract for many models behind one server.

    POST /models, GET /models, GET and DELETE /models/{name}, POST /models/{name}/invoke

From AWS's developer guide: "Custom Containers Contract for Multi-Model Endpoints". Part of `conformance`
(`--multi-model`): what was trained there is loaded here under several names.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path

import httpx

from mdlc_assets.container.conformance import ANSWER_SECONDS, PING_SECONDS, Container, Finding, Sample, serving

MULTI_MODEL = {"SAGEMAKER_MULTI_MODEL": "true"}
_MOST_LOADED = 50
_HEADERS = {"accept": "application/json"}


def check_multi_model(
    container: Container, sample: Sample, model: Path, environment: Mapping[str, str] | None = None
) -> Iterator[Finding]:
    """Loading, listing, asking, unloading; and what the service unloads models for: 507."""
    with serving(container, None, {**MULTI_MODEL, **(environment or {})}) as (root, client):
        ping = client.get("/ping", timeout=PING_SECONDS)
        yield Finding("multi-model: /ping answers 200 with nothing loaded", ping.status_code == 200, _seen(ping))
        yield _is("multi-model: nothing is listed before anything is loaded", _listed(client), [])
        folder = root / "models" / "first" / "model"
        shutil.copytree(model, folder)
        yield _answers("multi-model: POST /models loads a folder", _load(client, "first", folder), 200)
        yield _answers("multi-model: POST /models of a loaded name answers 409", _load(client, "first", folder), 409)
        about = {"modelName": "first", "modelUrl": str(folder)}
        yield _is("multi-model: GET /models lists names and folders", _listed(client), [about])
        got = client.get("/models/first", headers=_HEADERS)
        yield _is("multi-model: GET /models/{name} tells both", _content(got), about)
        for method, path in (("GET", "/models/absent"), ("DELETE", "/models/absent")):
            rule = f"multi-model: {method} /models/{{name}} of what is not loaded answers 404"
            yield _answers(rule, client.request(method, path), 404)
        yield from _asked(client, sample)
        yield from _room(client, sample, root, model)


def _asked(client: httpx.Client, sample: Sample) -> Iterator[Finding]:
    answer = _invoke(client, sample, "first")
    yield _answers("multi-model: POST /models/{name}/invoke answers 200", answer, 200)
    yield Finding("multi-model: it answers something", bool(answer.content), f"{len(answer.content)} bytes")
    rule = "multi-model: POST /models/{name}/invoke of what is not loaded answers 404"
    yield _answers(rule, _invoke(client, sample, "absent"), 404)
    spoilt = client.post("/models", content=b"{ spoilt", headers={"content-type": "application/json"})
    refused = 400 <= spoilt.status_code < 500
    yield Finding("multi-model: a spoilt order to load is the caller's mistake", refused, _seen(spoilt))


def _room(client: httpx.Client, sample: Sample, root: Path, model: Path) -> Iterator[Finding]:
    """Load until there is no room; then unload one, which makes room for another."""
    names, answer = ["first"], None
    while len(names) <= _MOST_LOADED:
        name = f"more{len(names)}"
        folder = root / "models" / name / "model"
        shutil.copytree(model, folder)
        answer = _load(client, name, folder)
        if not answer.is_success:
            break
        names.append(name)
    full = answer is not None and not answer.is_success
    seen = f"{_seen(answer)} after {len(names)}" if full and answer else f"it had room for {len(names)}"
    kept = not full or (answer is not None and answer.status_code == 507)
    yield Finding("multi-model: POST /models without room answers 507", kept, seen)
    again = _invoke(client, sample, "first")
    yield _answers("multi-model: what is loaded still answers", again, 200)
    yield _answers("multi-model: DELETE /models/{name} unloads", client.delete("/models/first"), 200)
    yield _answers("multi-model: what was unloaded answers 404", _invoke(client, sample, "first"), 404)
    folder = root / "models" / "first" / "model"
    yield _answers("multi-model: it can be loaded again", _load(client, "first", folder), 200)


def _load(client: httpx.Client, name: str, folder: Path) -> httpx.Response:
    order = {"model_name": name, "url": str(folder)}
    return client.post("/models", json=order, headers=_HEADERS, timeout=ANSWER_SECONDS)


def _listed(client: httpx.Client) -> object:
    content = _content(client.get("/models", headers=_HEADERS))
    return content.get("models") if isinstance(content, dict) else content


def _content(answer: httpx.Response) -> object:
    try:
        return answer.json()
    except ValueError:
        return answer.text


def _invoke(client: httpx.Client, sample: Sample, name: str) -> httpx.Response:
    headers = {"content-type": sample.content_type, "x-amzn-sagemaker-target-model": f"{name}.tar.gz"}
    return client.post(f"/models/{name}/invoke", content=sample.body, headers=headers, timeout=ANSWER_SECONDS)


def _answers(rule: str, answer: httpx.Response, status: int) -> Finding:
    return Finding(rule, answer.status_code == status, _seen(answer))


def _is(rule: str, found: object, wanted: object) -> Finding:
    return Finding(rule, found == wanted, str(found)[:200])


def _seen(answer: httpx.Response) -> str:
    return str(answer.status_code)
