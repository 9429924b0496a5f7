"""What others refuse in the midst of a command, as a sentence with its mend instead of a traceback."""

from __future__ import annotations

import errno

# What a person can do something about; anything else is a fault of ours, and its traceback is wanted.
_OF_FILES = {
    errno.EACCES: "give this user the right to write there, or name another place",
    errno.EPERM: "give this user the right to write there, or name another place",
    errno.EROFS: "name a place that can be written",
    errno.ENOSPC: "make room on this disk",
    errno.ENOTDIR: "name a folder that can be made: a part of this path is a file",
}
_OF_AWS = {
    "NoCredentialsError": "log in (`aws sso login`), or set AWS_PROFILE",
    "PartialCredentialsError": "set both AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE alone",
    "ProfileNotFound": "correct AWS_PROFILE; `aws configure list-profiles` names those there are",
    "NoRegionError": "set AWS_DEFAULT_REGION, such as eu-west-1",
    "InvalidRegionError": "correct AWS_DEFAULT_REGION, such as eu-west-1",
    "EndpointConnectionError": "correct AWS_DEFAULT_REGION, or see that this machine reaches AWS",
}


def in_words(error: Exception) -> str:
    """The sentence for an error that a person can mend; empty for any other."""
    module, said = type(error).__module__, " ".join(str(error).split())
    if module.startswith("mdlc_assets."):
        return str(error) if "Mend:" in said else ""
    if module.startswith("botocore."):
        return _of_aws(error, said)
    if isinstance(error, OSError) and error.errno in _OF_FILES and error.filename:
        return f"{error.filename}: {error.strerror}. Mend: {_OF_FILES[error.errno]}."
    return ""


def _of_aws(error: Exception, said: str) -> str:
    if "Mend:" in said:
        return said
    mend = _OF_AWS.get(type(error).__name__)
    return f"AWS: {said.rstrip('.')}. Mend: {mend}." if mend else ""
