"""Where in an AWS account the exported workflows find what they name."""

from __future__ import annotations

import re
from dataclasses import dataclass

_ROLE = re.compile(r"^arn:(aws[a-z-]*):iam::(\d{12}):role/\S+$")
_BUCKET = re.compile(r"^s3://[a-z0-9.-]{3,63}(/[\w./=-]*)?$")


class PlaceError(ValueError):
    """A place that cannot be used; the text names it, and says what to write."""


@dataclass(frozen=True)
class Places:
    """Names follow from `prefix`, as the stacks in deploy/cloudformation give them."""

    region: str
    role: str
    """What SageMaker's jobs and models run under."""
    image: str
    bucket: str
    """s3://bucket/prefix of models, scores and reports."""
    lake: str
    """s3://bucket/prefix of the lake, whose features are scored."""
    prefix: str = "mdlc"
    approval_days: int = 7
    poll_seconds: int = 30

    def __post_init__(self) -> None:
        if not _ROLE.match(self.role):
            raise PlaceError(
                f"role: this is no role's ARN (found {self.role!r}). Mend: write arn:aws:iam::<account>:role/<name>."
            )
        for name in ("bucket", "lake"):
            value = getattr(self, name)
            if not _BUCKET.match(value):
                raise PlaceError(f"{name}: this is no address on S3 (found {value!r}). Mend: write s3://bucket/prefix.")

    @property
    def partition(self) -> str:
        return self._account()[0]

    @property
    def account(self) -> str:
        return self._account()[1]

    def _account(self) -> tuple[str, str]:
        found = _ROLE.match(self.role)
        assert found
        return found[1], found[2]

    @property
    def approvals(self) -> str:
        """The URL of the queue that asks for approval."""
        domain = "amazonaws.com.cn" if self.partition == "aws-cn" else "amazonaws.com"
        return f"https://sqs.{self.region}.{domain}/{self.account}/{self.prefix}-approvals"

    @property
    def alerts(self) -> str:
        """The topic that failures and alarms are told to."""
        return f"arn:{self.partition}:sns:{self.region}:{self.account}:{self.prefix}-alerts"

    def role_named(self, what: str) -> str:
        """A role of the stack `roles`."""
        return f"arn:{self.partition}:iam::{self.account}:role/{self.prefix}-{what}"

    def machine(self, name: str) -> str:
        """The ARN of a state machine."""
        return f"arn:{self.partition}:states:{self.region}:{self.account}:stateMachine:{name}"

    def champion(self, lifecycle: str) -> str:
        """The parameter that names the model in service: written by training, read by the others."""
        return f"/{self.prefix}/{lifecycle}/champion"

    @staticmethod
    def in_bucket(address: str) -> tuple[str, str]:
        """Bucket, and what keys begin with: empty, or ending in a slash."""
        bucket, _, prefix = address.removeprefix("s3://").partition("/")
        return bucket, f"{prefix.strip('/')}/" if prefix.strip("/") else ""
