"""`quire show NAME`: what a plugin is and which options it takes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from quire.cli.options import Json

if TYPE_CHECKING:
    from collections.abc import Iterator

    from pydantic import BaseModel


def command(
    name: Annotated[str, typer.Argument(help="A name that `quire list` shows.")],
    kind: Annotated[str | None, typer.Option(help="Its kind, where several share the name.")] = None,
    as_json: Json = False,
) -> None:
    """Show what a plugin is: its paper, its task and every option with its default."""
    from quire import registry
    from quire.cli.listing import vars_of
    from quire.cli.output import console, print_json, print_table

    description = registry.describe(name, kind)
    loaded = registry.get(name, description.kind)
    schema = getattr(loaded, "Config", None) or getattr(loaded, "Options", None)
    rows = list(option_rows(schema)) if schema is not None else []
    if as_json:
        print_json({**vars_of(description), "options": schema.model_json_schema() if schema is not None else None})
        return
    print(f"{description.name}  ({description.kind}, {description.distribution} {description.version})")
    print(description.summary)
    if description.paper:
        print(f"paper: {description.paper}")
    task = getattr(loaded, "task", None)
    if task is not None and not isinstance(task, property):
        fields = ", ".join(f"{field}: {modality.kind}" for field, modality in task.inputs.items())
        print(f"task: {task.name} ({fields} -> {task.target.kind if task.target else 'nothing'})")
    if rows:
        console().print()
        print_table(("option", "type", "default", "meaning"), rows)


def option_rows(schema: type[BaseModel], prefix: str = "") -> Iterator[tuple[str, str, str, str]]:
    """One row per option: dotted name, type, default, description; groups of options are flattened."""
    from pydantic import BaseModel

    for name, field in schema.model_fields.items():
        nested = field.annotation
        if isinstance(nested, type) and issubclass(nested, BaseModel):
            yield from option_rows(nested, f"{prefix}{name}.")
            continue
        default = "(required)" if field.is_required() else _text(field.get_default(call_default_factory=True))
        yield f"{prefix}{name}", _type_name(nested), default, field.description or ""


def _text(value: Any) -> str:
    return "none" if value is None else str(value)


def _type_name(annotation: Any) -> str:
    from types import NoneType, UnionType
    from typing import Annotated, Literal, Union, get_args, get_origin

    if get_origin(annotation) is Annotated:
        return _type_name(get_args(annotation)[0])
    if get_origin(annotation) is Literal:
        return " | ".join(str(value) for value in get_args(annotation))
    if get_origin(annotation) in (Union, UnionType):
        return " | ".join(_type_name(part) for part in get_args(annotation))
    if annotation is NoneType:
        return "none"
    return getattr(annotation, "__name__", str(annotation))
