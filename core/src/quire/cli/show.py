"""`quire show NAME`: what a plugin is and which options it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from quire.cli.options import Json, kinds, names_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import BaseModel

_LONGEST_TYPE = 24  # a type of more characters stands in front of the option's meaning


def command(
    name: Annotated[str, typer.Argument(help="A name that `quire list` shows.", autocompletion=names_of())],
    kind: Annotated[
        str | None, typer.Option(help="Its kind, where several share the name.", autocompletion=kinds)
    ] = None,
    as_json: Json = False,
) -> None:
    """Show what a plugin is: its paper, its task and every option with its default."""
    from dataclasses import asdict

    from quire import registry
    from quire.cli.output import print_json, print_table
    from quire.task import Task

    description = registry.describe(name, kind)
    loaded = registry.get(name, description.kind)
    schema = getattr(loaded, "Config", None) or getattr(loaded, "Options", None)
    if as_json:
        print_json({**asdict(description), "options": schema.model_json_schema() if schema is not None else None})
        return
    print(f"{description.name}  ({description.kind}, {description.distribution} {description.version})")
    print(_summary(loaded) or description.summary)
    if description.paper:
        print(f"paper: {description.paper}")
    task = loaded if isinstance(loaded, Task) else getattr(loaded, "task", None)
    if isinstance(task, Task):
        print(f"task: {task.name} ({task.signature})")
    rows = list(option_rows(schema)) if schema is not None else []
    if rows:
        print()
        print_table(("option", "type", "default", "meaning"), rows)


def _summary(loaded: Any) -> str:
    """A task's own summary, or the first paragraph of what a class says of itself."""
    import inspect

    text = getattr(loaded, "summary", None)
    if not isinstance(text, str):
        text = inspect.cleandoc(loaded.__doc__ or "") if isinstance(loaded, type) else ""
    return " ".join(text.partition("\n\n")[0].split())


def option_rows(schema: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str, str, str]]:
    """One row per option: dotted name, type, default, description; groups of options are flattened."""
    from pydantic import BaseModel

    for name, field in schema.model_fields.items():
        nested = field.annotation
        if isinstance(nested, type) and issubclass(nested, BaseModel):
            yield from option_rows(nested, f"{prefix}{name}.")
            continue
        default = "(required)" if field.is_required() else _text(field.get_default(call_default_factory=True))
        kind, meaning = _type_name(nested), field.description or ""
        if len(kind) > _LONGEST_TYPE:
            kind, meaning = "", f"{kind}: {meaning}"
        yield f"{prefix}{name}", kind, default, meaning


def _text(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return {True: "true", False: "false", None: "none"}[value]
    return str(value)


def _type_name(annotation: Any) -> str:
    from types import NoneType, UnionType
    from typing import Annotated, Literal, Union, get_args, get_origin

    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _type_name(parts[0])
    if origin is Literal:
        return " | ".join(str(value) for value in parts)
    if origin in (Union, UnionType):
        return " | ".join(_type_name(part) for part in parts)
    if origin is not None:
        inner = ", ".join("..." if part is Ellipsis else _type_name(part) for part in parts)
        return f"{_type_name(origin)}[{inner}]"
    if annotation in (NoneType, Any):
        return "any" if annotation is Any else "none"
    return str(getattr(annotation, "__name__", annotation))
