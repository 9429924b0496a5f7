"""The exact requests of each workflow: as in the golden file, and right by botocore's service model."""

from __future__ import annotations

import json
import os
from pathlib import Path

import botocore.session
import pytest
from botocore.validate import ParamValidator

from mdlc_assets.resources.sagemaker.constraints import broken_constraints
from mdlc_assets.resources.sagemaker.requests import job_name
from mdlc_assets_tests.resources.sagemaker.plans import every_request

_GOLDEN = Path(__file__).parent / "golden" / "requests.json"


def test_requests_are_those_of_the_golden_file() -> None:
    made = {what: {method: request} for what, (method, request) in every_request().items()}
    if os.environ.get("MDLC_WRITE_GOLDEN"):
        _GOLDEN.write_text(json.dumps(made, indent=1) + "\n")
    assert made == json.loads(_GOLDEN.read_text())


@pytest.mark.parametrize("what", list(every_request()))
def test_each_is_right_by_the_service_model(what: str) -> None:
    method, request = every_request()[what]
    model = botocore.session.Session().get_service_model("sagemaker")
    operation = "".join(part.capitalize() for part in method.split("_"))
    shape = model.operation_model(operation).input_shape
    report = ParamValidator().validate(request, shape)
    assert not report.has_errors(), report.generate_report()
    assert list(broken_constraints(request, shape)) == []


def test_a_jobs_name_is_the_same_for_the_same_run() -> None:
    name = job_name("payments_fraud", "2018-08-21", "run-1", "digest")
    assert name == job_name("payments_fraud", "2018-08-21", "run-1", "digest")
    assert name != job_name("payments_fraud", "2018-08-21", "run-2", "digest")
    assert name.startswith("payments-fraud-2018-08-21-")
    assert len(job_name("l" * 41, "2018-08-21" * 3, "x")) <= 63
