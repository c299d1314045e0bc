"""JSON schemas (draft 2020-12) of what the verbs print with --json: `SCHEMAS[verb]`."""

from __future__ import annotations

from typing import Any

from quire.report import REPORT_SCHEMA

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_PATH: Schema = {"type": "string", "minLength": 1}
_MAYBE_TEXT: Schema = {"type": ["string", "null"]}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_OBJECT: Schema = {"type": "object"}


def _record(fields: dict[str, Schema], *, optional: tuple[str, ...] = ()) -> Schema:
    """An object with these fields and no others."""
    required = [name for name in fields if name not in optional]
    return {"type": "object", "properties": fields, "required": required, "additionalProperties": False}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _mapping(values: Schema) -> Schema:
    return {"type": "object", "additionalProperties": values}


_DESCRIPTION: dict[str, Schema] = {
    "name": _TEXT,
    "kind": _TEXT,
    "summary": _TEXT,
    "distribution": _TEXT,
    "version": _TEXT,
    "target": {"type": "string", "pattern": r"^[\w.]+(:[\w.]+)?$"},
    "paper": _MAYBE_TEXT,
    "requires_core": _MAYBE_TEXT,
}
_SCORES: Schema = _mapping({"type": ["number", "null"]})
_DATA: Schema = _record(
    {
        "dataset": _TEXT,
        "path": _PATH,
        "split": _TEXT,
        "validation_split": _MAYBE_TEXT,
        "options": _OBJECT,
        "fingerprint": _MAYBE_TEXT,
        "labels": _list(_TEXT),
        "counts": _mapping(_COUNT),
        "on_error": {"enum": ["raise", "skip"]},
    }
)
_RUN: dict[str, Schema] = {
    "format": {"const": 1},
    "model": _TEXT,
    "distribution": _TEXT,
    "config": _OBJECT,
    "data": {"anyOf": [_DATA, {"type": "null"}]},
    "seed": {"type": "integer"},
    "runtime": _OBJECT,
    "versions": _mapping(_TEXT),
    "state": {"enum": ["new", "running", "interrupted", "failed", "done"]},
    "reason": _TEXT,
    "created": _TEXT,
    "updated": _TEXT,
    "progress": _OBJECT,
    "throughput": _OBJECT,
    "results": _SCORES,
}
_ONE_RUN: Schema = _record({"run": _PATH, **_RUN})
_PREDICTION: Schema = {
    "type": "object",
    "properties": {"id": _TEXT, "prediction": True},
    "required": ["id", "prediction"],
    "patternProperties": {r"^p\(.*\)$": {"type": "number", "minimum": 0, "maximum": 1}},
    "additionalProperties": False,
}

SCHEMAS: dict[str, Schema] = {
    "list": _list(_record(_DESCRIPTION)),
    "show": _record({**_DESCRIPTION, "options": {"type": ["object", "null"]}}),
    "sample": _record({"dataset": _TEXT, "path": _PATH, "splits": {**_list(_TEXT), "minItems": 1}}),
    "train": _ONE_RUN,
    "evaluate": {**_mapping({**REPORT_SCHEMA, "$id": "urn:quire:report"}), "minProperties": 1},
    "predict": _record({"predictions": _list(_PREDICTION), "left_out": _list(_TEXT)}),
    "test": _record(
        {
            "tester": _TEXT,
            "target": _TEXT,
            "folder": _PATH,
            "page": _PATH,
            "failures": _COUNT,
            "report": {**REPORT_SCHEMA, "$id": "urn:quire:report"},
        }
    ),
    "runs": _list(_record({"path": _PATH, **_RUN})),
    "check": _list(
        _record(
            {"plugin": _TEXT, "check": _TEXT, "outcome": {"enum": ["passed", "failed", "skipped"]}, "message": _TEXT}
        )
    ),
    "new": _record(
        {
            **dict.fromkeys(("name", "kind", "distribution", "package", "license"), _TEXT),
            "folder": _PATH,
            "files": {**_list(_PATH), "minItems": 1},
            "next": _list(_TEXT),
        }
    ),
    "doctor": _record({"machine": _OBJECT, "extras": _mapping({"type": "boolean"}), "problems": _list(_TEXT)}),
    "demo": _mapping(
        _record(
            {"data": _PATH, "run": _PATH, "report": _PATH, "metrics": _SCORES, "predictions": _PATH},
            optional=("predictions",),
        )
    ),
    "export": _record({"run": _PATH, "format": _TEXT, "file": _PATH}),
    "import": _ONE_RUN,
}
