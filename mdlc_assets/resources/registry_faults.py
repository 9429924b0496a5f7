"""What S3 refuses MLflow, which asks it by a client of its own: said with its mend."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from botocore.exceptions import BotoCoreError, ClientError

from mdlc_assets.resources.aws import mend_of, permission_of

_REFUSED = re.compile(r"\((\w+)\) when calling the (\w+) operation")
_SILENT = ("Max Retries Exceeded", "imeout on endpoint URL", "Could not connect to the endpoint URL")


class RegistryFilesError(RuntimeError):
    """The files of a version cannot be written or read; the text says what to do."""


@contextmanager
def refusals_explained() -> Iterator[None]:
    """While MLflow moves files. Raises `RegistryFilesError` for what S3 refuses or does not answer."""
    from boto3.exceptions import Boto3Error
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, Boto3Error, BotoCoreError, ClientError) as error:
        if mends := _mends(error):
            raise RegistryFilesError(f"{str(error).rstrip('.')}. Mend: {mends}.") from error
        raise


def _mends(error: BaseException) -> str:
    """From the texts of an error and of those behind it: MLflow keeps no more of several files at once."""
    texts, behind = [], error
    while behind is not None:
        texts.append(str(behind))
        behind = behind.__cause__ or behind.__context__  # type: ignore[assignment]
    said = "\n".join(texts)
    mends = [mend_of(code, permission_of("s3", operation)) for code, operation in _REFUSED.findall(said)]
    if any(words in said for words in _SILENT):
        mends.append("see that this machine reaches S3, which did not answer")
    return "; ".join(dict.fromkeys(mend for mend in mends if mend))
