"""Scores of an endpoint for who cannot wait: one request, one try, through a client that is made once."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
from botocore.exceptions import BotoCoreError, ClientError

from mdlc_assets.resources.sagemaker.client import SageMaker
from mdlc_assets.resources.sagemaker.faults import AnswerError


class EndpointScores:
    """Asks the endpoint of a lifecycle; `target` names a model of a multi-model one."""

    def __init__(self, sagemaker: SageMaker, endpoint: str, seconds: float, target: str = "") -> None:
        self.client = sagemaker.client("sagemaker-runtime", seconds)
        self.request = {
            "EndpointName": endpoint.replace("_", "-"),
            "ContentType": "application/json",
            "Accept": "application/json",
            **({"TargetModel": target} if target else {}),
        }

    def ask(self, features: Sequence[str], rows: np.ndarray) -> tuple[np.ndarray, int]:
        """The scores of rows, and the version that gave them. Raises `AnswerError`."""
        body = json.dumps({"columns": list(features), "data": rows.tolist()}).encode()
        try:
            answer = json.loads(self.client.invoke_endpoint(Body=body, **self.request)["Body"].read())
            scores, version = np.array(answer["scores"], np.float64), int(answer["model_version"])
        except (ClientError, BotoCoreError) as error:
            raise AnswerError(f"the endpoint gave no answer ({type(error).__name__})") from None
        except (ValueError, KeyError, TypeError):
            raise AnswerError("the endpoint's answer has no scores and version") from None
        if scores.shape != (len(rows),) or not ((scores >= 0) & (scores <= 1)).all():
            raise AnswerError("the endpoint's answer has not one score from 0 to 1 for each row")
        return scores, version
