"""Values as users write them: YAML in its version 1.2, where 1e-3 is a number, `no` a word and a key stands once."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, ClassVar

import yaml

from quire.errors import ConfigError, DataError, Where

if TYPE_CHECKING:
    from pathlib import Path


class _Loader(yaml.SafeLoader):
    """PyYAML reads version 1.1: 1e-3 is text to it, `no` is false, 12:30 is 750, and the last of two equal keys wins."""

    yaml_implicit_resolvers: ClassVar[dict[str, Any]] = {}  # type: ignore[misc]

    def construct_mapping(self, node: Any, deep: bool = False) -> dict[Any, Any]:
        """The mapping; ConstructorError for a key that stands twice."""
        mapping: dict[Any, Any] = super().construct_mapping(node, deep)
        if len(mapping) < len(node.value):
            seen = set()
            for key_node, _ in node.value:
                key = self.construct_object(key_node, deep=True)
                if key in seen:
                    raise yaml.constructor.ConstructorError(None, None, f"{key!r} stands twice", key_node.start_mark)
                seen.add(key)
        return mapping


for _tag, _pattern, _first in (
    ("null", r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    ("bool", r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)|0x[0-9a-fA-F]+", list("-+0123456789")),
    (
        "float",
        r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?|[-+]?[0-9]+[eE][-+]?[0-9]+"
        r"|[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN)",
        list("-+.0123456789"),
    ),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_pattern})$"), _first)


def read_yaml(text: str) -> Any:
    """The value that `text` stands for. Raises yaml.YAMLError."""
    return yaml.load(text, Loader=_Loader)  # noqa: S506 - a SafeLoader


def read_value(text: str) -> Any:
    """As `read_yaml`; `text` itself where it is no YAML."""
    try:
        return read_yaml(text)
    except yaml.YAMLError:
        return text


def read_mapping(path: Path) -> dict[str, Any]:
    """The mapping of options to values in a YAML file; an empty file holds none.

    Raises ConfigError with the line for what is no YAML or no mapping, DataError for what is not UTF-8.
    """
    try:
        values = read_yaml(path.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = Where(file=path, line=mark.line + 1 if mark else None)
        problem = getattr(error, "problem", None) or "it holds characters that no text has"
        raise ConfigError(f"can't be read as YAML: {problem}", where=where) from None
    except UnicodeDecodeError:
        raise DataError("the text is not UTF-8", where=Where(file=path)) from None
    if values is None:
        return {}
    if not isinstance(values, dict) or not all(isinstance(key, str) for key in values):
        raise ConfigError(
            "this is no mapping of options to values", where=Where(file=path), remedy="Write lines of `option: value`."
        )
    return values
