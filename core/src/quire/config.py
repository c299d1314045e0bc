"""Options that a user sets: strict pydantic models whose errors are one sentence each."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from quire.errors import ConfigError, Where, nearest

if TYPE_CHECKING:
    from collections.abc import Mapping


class Config(BaseModel):
    """The options of a model, a dataset, an evaluator or a tester.

    Unknown names are refused, instances are immutable, and every field carries a description.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

    @classmethod
    def parse(cls, values: Mapping[str, Any], *, owner: str) -> Self:
        """Validate `values`; `owner` is the plugin's name in messages. Raises ConfigError for the first fault."""
        return parse_options(cls, values, owner=owner)


OptionsT = TypeVar("OptionsT", bound=BaseModel)


def parse_options(schema: type[OptionsT], values: Mapping[str, Any], *, owner: str) -> OptionsT:
    """An instance of `schema` from `values`, or a ConfigError that names the option and its nearest match."""
    try:
        return schema.model_validate(dict(values))
    except ValidationError as error:
        fault = error.errors()[0]
        path = tuple(str(part) for part in fault["loc"])
        name = ".".join(path)
        if fault["type"] == "extra_forbidden":
            known = _names_beside(schema, path)
            raise ConfigError(
                f"{owner} has no option {name!r}{nearest(path[-1], known)}",
                remedy=f"`quire show {owner}` lists all options.",
            ) from None
        message = fault["msg"].removeprefix("Value error, ")
        given = "" if fault["type"] == "missing" or not name else f", not {fault['input']!r}"
        raise ConfigError(
            f"{message[:1].lower()}{message[1:]}{given}",
            where=Where(field=name) if name else None,
            remedy=f"`quire show {owner}` describes it.",
        ) from None


def set_option(values: dict[str, Any], path: str, value: Any) -> None:
    """Set the dotted option `path` ("optimizer.lr") in the nested dict `values`."""
    *parents, last = path.split(".")
    for parent in parents:
        below = values.setdefault(parent, {})
        if not isinstance(below, dict):
            raise ConfigError(f"{parent!r} is a value, not a group of options", where=Where(field=path))
        values = below
    values[last] = value


def _names_beside(schema: type[BaseModel], path: tuple[str, ...]) -> list[str]:
    """The options that stand beside the last part of `path`."""
    for part in path[:-1]:
        field = schema.model_fields.get(part)
        nested = field.annotation if field is not None else None
        if not (isinstance(nested, type) and issubclass(nested, BaseModel)):
            return []
        schema = nested
    return list(schema.model_fields)
