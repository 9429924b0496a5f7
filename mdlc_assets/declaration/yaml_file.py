"""A declaration's file as YAML: what cannot be read is said with its line, as it stands there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from mdlc_assets.declaration.errors import DeclarationError, Problem

# LibYAML's loader reads ten times as fast; PyYAML has it where it was built with it.
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_LOADER):
    """Refuses a field that stands twice, of which YAML would keep the last without a word."""

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        seen: dict[str, int] = {}
        for key, _ in node.value if isinstance(node, yaml.MappingNode) else ():
            if key.value == "<<":
                continue
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"{key.value!r} stands there twice, first on line {seen[key.value]}", key.start_mark
                )
            seen[key.value] = key.start_mark.line + 1
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> dict[str, Any]:
    """The fields of a file. Raises `DeclarationError`."""
    try:
        text = path.read_bytes().decode("utf-8")
    except FileNotFoundError:
        raise _wrong(path, "nothing", "the file does not exist", "check the path") from None
    except IsADirectoryError:
        mend = f"name the file in it, such as {path / 'defs.yaml'}"
        raise _wrong(path, "a folder", "this is no file", mend) from None
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        raise _wrong(path, "other bytes", "this is not text in UTF-8", "save it as UTF-8", line) from None
    except OSError as error:
        raise _wrong(path, "nothing", f"it cannot be read: {error.strerror}", "check who may read it") from None
    try:
        content = yaml.load(text, Loader=_Loader)  # noqa: S506 - a safe loader's own kind
    except yaml.YAMLError as error:
        raise _not_yaml(path, text, error) from None
    if not isinstance(content, dict):
        found = "nothing" if content is None else type(content).__name__
        raise _wrong(path, found, "there are no fields in it", "write `name: ...` and so on, each on a line of its own")
    return content


def _not_yaml(path: Path, text: str, error: yaml.YAMLError) -> DeclarationError:
    mark = getattr(error, "problem_mark", None)
    said = getattr(error, "problem", None) or " ".join(str(error).split())
    if mark is None:
        return _wrong(path, "text", f"this is not YAML: {said}", "correct the indentation or quotes")
    lines = [*text.splitlines(), ""]
    line = lines[min(mark.line, len(lines) - 1)]
    value = repr(line.strip()[:60]) if line.strip() else "the end of the file"
    if "stands there twice" in said:
        return _wrong(path, value, said, "keep one of the two", mark.line + 1)
    mend = "indent it as deep as the fields beside it, and put text that holds a colon and a blank in quotes"
    if "\t" in line[: len(line) - len(line.lstrip())]:
        mend = "indent with blanks, not with tabs"
    elif not line.strip():
        mend = "close what was opened by [, { or a quote"
    elif line.count("'") % 2 or line.count('"') % 2:
        mend = "close the quotes"
    return _wrong(path, value, f"this is not YAML: {said}", mend, mark.line + 1)


def _wrong(path: Path, value: str, message: str, mend: str, line: int | None = None) -> DeclarationError:
    return DeclarationError(path, [Problem(f"line {line}" if line else "file", value, message, mend)])
