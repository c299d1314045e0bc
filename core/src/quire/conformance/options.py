"""Rules for every class that a plugin offers: what it says of itself, and its options."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, get_args

from pydantic import BaseModel, ValidationError
from pydantic.errors import PydanticInvalidForJsonSchema

from quire.conformance.subject import listed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from quire.conformance.subject import Subject


def check_documentation(subject: Subject) -> None:
    """The class says in its docstring what it is: `quire show` begins with that."""
    text = vars(subject.cls).get("__doc__") or ""
    subject.require(bool(text.strip()), "has no docstring", "Say under the class line what it is, in a sentence.")


def check_options_are_described(subject: Subject) -> None:
    """Every option carries a description, for `quire show` lists it."""
    bare = [
        f"{path}{name}"
        for path, schema in _groups(subject.schema)
        for name, field in schema.model_fields.items()
        if not field.description
    ]
    subject.require(
        not bare, f"has options without a description: {listed(bare)}", "Write Field(..., description=...)."
    )


def check_options_are_strict(subject: Subject) -> None:
    """An unknown option is an error, in every group of options."""
    loose = [schema.__name__ for _, schema in _groups(subject.schema) if schema.model_config.get("extra") != "forbid"]
    subject.require(
        not loose,
        f"takes options that do not exist, in {listed(loose)}",
        "Derive the options from quire.config.Config.",
    )


def check_options_schema(subject: Subject) -> None:
    """The options have a JSON schema: `quire show NAME --json` prints it."""
    try:
        json.dumps(subject.schema.model_json_schema(), allow_nan=False)
    except (PydanticInvalidForJsonSchema, TypeError, ValueError) as error:
        subject.require(
            False,
            f"has options that no JSON schema describes: {str(error).splitlines()[0]}",
            "Give such an option a type that JSON has, or a json_schema_input_type to its validator.",
        )


def check_options_have_defaults(subject: Subject) -> None:
    """Every option has a default that is valid: the paper's."""
    needed = [name for name, field in subject.schema.model_fields.items() if field.is_required()]
    subject.require(not needed, f"has options without a default: {listed(needed)}", "Give each the paper's value.")
    try:
        subject.schema()
    except ValidationError as error:
        subject.require(False, f"has a default that is not valid: {error.errors()[0]['msg']}", "Mend the default.")


def _groups(schema: type[BaseModel], path: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """The schema and those of its nested groups, each with the dotted path that leads to it."""
    yield path, schema
    for name, field in schema.model_fields.items():
        for nested in _models_in(field.annotation):
            yield from _groups(nested, f"{path}{name}.")


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for part in get_args(annotation):
        yield from _models_in(part)
