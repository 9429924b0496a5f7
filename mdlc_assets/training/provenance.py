"""What made a model besides its data: the code and the installed distributions."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import platform
import subprocess
from pathlib import Path

_PACKAGE = Path(__file__).parents[1]


@functools.cache
def code_tags() -> dict[str, str]:
    """The package's version, the digest of its source, and the git commit where it is a checkout.

    A commit with `+` after it had changes that were not committed; the digest tells which source it really was.
    """
    tags = {"mdlc.code": importlib.metadata.version("mdlc-assets"), "mdlc.code_digest": source_digest()}
    commit = _git("rev-parse", "HEAD")
    if commit and _git("ls-files", str(_PACKAGE / "__init__.py")):
        tags["mdlc.git_commit"] = commit + ("+" if _git("status", "--porcelain", "--", str(_PACKAGE)) else "")
    return tags


@functools.cache
def environment_lock() -> str:
    """Interpreter, platform and every installed distribution with its version, a line each, sorted."""
    found = {(item.metadata["Name"] or "").lower(): item.version for item in importlib.metadata.distributions()}
    lines = [f"{name}=={version}" for name, version in sorted(found.items()) if name]
    about = f"# Python {platform.python_version()} on {platform.system()} {platform.machine()}"
    return "\n".join([about, *lines]) + "\n"


def environment_digest() -> str:
    """SHA-256 of the lock, in hex."""
    return hashlib.sha256(environment_lock().encode()).hexdigest()


@functools.cache
def source_digest() -> str:
    """SHA-256 in hex over the package's own source files."""
    total = hashlib.sha256()
    for path in sorted(_PACKAGE.rglob("*.py")):
        total.update(f"{path.relative_to(_PACKAGE).as_posix()}\n".encode())
        total.update(path.read_bytes())
    return total.hexdigest()


def _git(*arguments: str) -> str:
    """What git answers; nothing where there is no git or no checkout."""
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        ran = subprocess.run(
            ["git", "-C", str(_PACKAGE), *arguments], capture_output=True, text=True, timeout=10, check=False
        )
        return ran.stdout.strip() if ran.returncode == 0 else ""
    return ""
