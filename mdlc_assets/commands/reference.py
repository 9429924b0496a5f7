"""`mdlc reference`: the pages of the documentation that are made from the code."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import click

_MADE = "<!-- Made by `mdlc reference`; change the code, not this page. -->"


@click.command(hidden=True)
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), default=Path("docs/reference"))
@click.pass_context
def reference(ctx: click.Context, out: Path) -> None:
    """Write the reference pages: every field of a declaration, every command, the test kit."""
    out.mkdir(parents=True, exist_ok=True)
    for name, text in pages(ctx.find_root().command).items():
        (out / name).write_text(text, encoding="utf-8")


def pages(commands: click.Command) -> dict[str, str]:
    """The pages by file name."""
    return {"declaration.md": _declaration(), "commands.md": _commands(commands), "testing.md": _testing()}


def _declaration() -> str:
    from mdlc_assets.declaration.schema import declaration_schema

    schema = declaration_schema()
    parts = {"LifecycleDeclaration": schema["properties"]["attributes"], **schema["$defs"]}
    lines = [_MADE, "", "# Every field of a declaration", ""]
    lines += ["The whole first, then its parts by name.", ""]
    for name, part in parts.items():
        objects = part["anyOf"][0] if "anyOf" in part and "properties" in part["anyOf"][0] else part
        if "properties" not in objects:
            continue
        lines += [f"## {name}", "", _oneline(objects.get("description", "")), ""]
        lines += ["| field | type | default | what |", "|---|---|---|---|"]
        required = objects.get("required", [])
        for field, spec in objects["properties"].items():
            default = "must be there" if field in required else _default(spec)
            what = spec.get("description") or _first_sentence(schema["$defs"], spec)
            lines.append(f"| `{field}` | {_type(spec)} | {default} | {_oneline(what)} |")
        lines.append("")
    return "\n".join(lines)


def _first_sentence(parts: Mapping[str, Any], spec: Mapping[str, Any]) -> str:
    """Of the part that a field holds, where the field itself says nothing."""
    part = parts.get(str(spec.get("$ref", "")).rsplit("/", 1)[-1], {})
    described = part["anyOf"][0] if "anyOf" in part else part
    return str(described.get("description", "")).partition("\n\n")[0]


def _type(spec: Mapping[str, Any]) -> str:
    if "$ref" in spec:
        name = spec["$ref"].rsplit("/", 1)[1]
        return f"[{name}](#{name.lower()})"
    if "allOf" in spec:
        return _type(spec["allOf"][0])
    if "anyOf" in spec:
        return " or ".join(dict.fromkeys(_type(part) for part in spec["anyOf"]))
    if "enum" in spec:
        return ", ".join(f"`{value}`" for value in spec["enum"])
    if "const" in spec:
        return f"`{spec['const']}`"
    if spec.get("type") == "array":
        return f"list of {_type(spec['items'])}" if "items" in spec else "list"
    if spec.get("type") == "object" and isinstance(spec.get("additionalProperties"), Mapping):
        return f"name: {_type(spec['additionalProperties'])}"
    bounds = [f"{sign} {spec[key]}" for key, sign in _BOUNDS.items() if key in spec]
    return " ".join([str(spec.get("format") or spec.get("type") or "any"), *bounds])


_BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


def _default(spec: Mapping[str, Any]) -> str:
    default = spec.get("default")
    if isinstance(default, Mapping) and default:
        return "its own defaults"
    if default is None or default in ("", [], {}):
        return "none"
    return f"`{str(default).lower() if isinstance(default, bool) else default}`"


def _oneline(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _commands(main: click.Command) -> str:
    lines = [_MADE, "", "# Every command", ""]
    for path, command in _walk(main, ("mdlc",)):
        context = click.Context(command, info_name=" ".join(path))
        lines += [f"## {' '.join(path)}", "", "```text", command.get_help(context).rstrip(), "```", ""]
    return "\n".join(lines)


def _walk(command: click.Command, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    if len(path) > 1 and not command.hidden:
        yield path, command
    if isinstance(command, click.Group):
        for name, below in sorted(command.commands.items()):
            yield from _walk(below, (*path, name))


def _testing() -> str:
    from mdlc_assets.testing import SamplePlatform, sample_labels, sample_platform, sample_rows

    lines = [_MADE, "", "# The test kit", "", "`from mdlc_assets.testing import sample_platform`", ""]
    for function in (sample_platform, sample_rows, sample_labels):
        lines += _described(function.__name__, function)
    lines += ["## SamplePlatform", "", inspect.getdoc(SamplePlatform) or "", ""]
    for name, member in vars(SamplePlatform).items():
        if not name.startswith("_"):
            found = member.fget if isinstance(member, property) else getattr(member, "__func__", member)
            if inspect.isfunction(found):
                lines += _described(f"SamplePlatform.{name}", found)
    return "\n".join(lines)


def _described(name: str, function: Any) -> list[str]:
    signature = str(inspect.signature(function)).replace("self, ", "").replace("(self)", "()").replace("'", "")
    return [f"### {name}", "", "```text", f"{name}{signature}", "```", "", inspect.getdoc(function) or "", ""]
