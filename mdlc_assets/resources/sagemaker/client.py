"""`SageMaker`, the resource: which client requests go to, where inputs and outputs lie, under which role."""

from __future__ import annotations

import os
from typing import Any, Literal

import dagster as dg
from pydantic import Field

from mdlc_assets.resources.sagemaker.local_state import ACCOUNT, LocalBuckets, LocalState
from mdlc_assets.resources.storage import S3Storage, Storage

Service = Literal["sagemaker", "sagemaker-runtime", "cloudwatch", "application-autoscaling"]


class SageMaker(dg.ConfigurableResource):
    """SageMaker on this machine (`local`, its state in `root`) or on AWS.

    What is empty is taken from the environment: region AWS_REGION or AWS_DEFAULT_REGION, role
    MDLC_SAGEMAKER_ROLE, bucket MDLC_SAGEMAKER_BUCKET, image MDLC_SAGEMAKER_IMAGE. Nothing connects before it
    is used.
    """

    form: Literal["local", "aws"] = "local"
    root: str = Field(default="", description="The folder of the local form's state.")
    region: str = ""
    role: str = Field(default="", description="The role that jobs and models run under: an ARN.")
    bucket: str = Field(default="", description="Where inputs and outputs lie: s3://bucket/prefix.")
    image: str = Field(default="", description="The platform's own image, which trains and serves.")
    commands: dict[str, list[str]] = Field(
        default={}, description="Local form: the command that stands in for an image, by the image's address."
    )
    endpoint_url: str = Field(default="", description="Another address of AWS's services, such as moto's.")

    def client(self, service: Service = "sagemaker", seconds: float | None = None) -> Any:
        """The client of a service: boto3's, or the local one with the same methods. With `seconds` boto3 asks once,
        and waits so long."""
        if self.form == "local":
            from mdlc_assets.resources.sagemaker.local_client import LocalClient

            return LocalClient(service, self.state())
        import boto3
        from botocore.config import Config

        # Pauses that grow, and no more calls than the service takes; `requests` goes on where this gives up.
        attempts = 5 if seconds is None else 1
        settings = Config(region_name=self.region_name(), retries={"mode": "standard", "total_max_attempts": attempts})
        if seconds is not None:
            settings = settings.merge(Config(read_timeout=seconds, connect_timeout=seconds))
        return boto3.client(service, endpoint_url=self.endpoint_url or None, config=settings)

    def state(self) -> LocalState:
        """What the local form remembers."""
        if not self.root:
            raise SettingError("root", "the local form of SageMaker needs a folder", "give `root`")
        return LocalState(self.root, self.region_name(), self.commands)

    def storage(self, prefix: str = "") -> Storage:
        """Where inputs and outputs lie; its locations are s3:// addresses in either form."""
        address = f"{self.bucket_address()}/{prefix}".rstrip("/")
        if self.form == "local":
            return LocalBuckets(self.state(), address)
        return S3Storage(address, self._s3())

    def read(self, address: str) -> bytes:
        """The bytes at an s3:// address. Raises FileNotFoundError."""
        if self.form == "local":
            return self.state().s3_path(address).read_bytes()
        root, _, name = address.rpartition("/")
        return S3Storage(root, self._s3()).read(name)

    def _s3(self) -> Any:
        from mdlc_assets.resources.aws import aws_client

        return aws_client("s3", region_name=self.region_name(), endpoint_url=self.endpoint_url or None)

    def region_name(self) -> str:
        """The region requests are for."""
        named = self.region or os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        if named:
            return named
        if self.form == "local":
            return "us-east-1"
        raise SettingError("region", "no region is named", "set AWS_REGION, or give `region`")

    def role_arn(self) -> str:
        """The role that jobs run under."""
        return self._setting("role", "MDLC_SAGEMAKER_ROLE", f"arn:aws:iam::{ACCOUNT}:role/mdlc-local")

    def bucket_address(self) -> str:
        """s3://bucket/prefix, without a slash at the end."""
        return self._setting("bucket", "MDLC_SAGEMAKER_BUCKET", "s3://mdlc-local").rstrip("/")

    def own_image(self) -> str:
        """The image made from this package (deploy/), by its registry address."""
        local = f"{ACCOUNT}.dkr.ecr.{self.region_name()}.amazonaws.com/mdlc-assets:local"
        return self._setting("image", "MDLC_SAGEMAKER_IMAGE", local)

    def _setting(self, name: str, variable: str, local: str) -> str:
        value = getattr(self, name) or os.environ.get(variable)
        if value:
            return value
        if self.form == "local":
            return local
        raise SettingError(name, "AWS needs it", f"set {variable}, or give `{name}`")


class SettingError(ValueError):
    """A setting of the resource that is missing."""

    def __init__(self, field: str, message: str, mend: str) -> None:
        super().__init__(f"sagemaker.{field}: {message} (found nothing). Mend: {mend}.")
