"""How an HTTP endpoint is asked and what its answers mean, as a user writes it down in YAML."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path  # noqa: TC003 - pydantic reads the annotations
from typing import TYPE_CHECKING, Any, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, NonNegativeInt, PositiveFloat, field_serializer, model_validator

from quire.config import Config
from quire.errors import ConfigError, Where
from quire.modality import Label, Text
from quire.target.answers import Refusal, require_labels, shown
from quire.target.external import Declaration
from quire.target.transport import without_secrets
from quire.values import read_mapping

if TYPE_CHECKING:
    from collections.abc import Mapping

    from quire.modality import Sample
    from quire.task import Task

VARIABLE = re.compile(r"\$\{(\w+)\}")
SECRET = re.compile("auth|key|token|secret|cookie|password|session", re.IGNORECASE)
MEDIA_TYPES = {".png": "image/png", ".wav": "audio/wav", ".npy": "application/octet-stream", ".txt": "text/plain"}


class Reading(Config):
    """Where in a JSON answer its meaning stands.

    A path is keys and positions joined by dots, such as results.0.scores. One of `scores` and `flag` is needed.
    """

    scores: str | dict[str, str] | None = Field(
        None,
        description="path of the scores: a list in the order of the labels, a mapping label -> score, or a list of "
        "objects with label and score; or label -> the path of its score",
    )
    labels: str | None = Field(None, description="path of the list of labels that the scores are in the order of")
    flag: str | None = Field(None, description="path of true for a sample that is flagged, false for one that passes")
    label_key: str = Field("label", description="in a list of objects, the key of the label")
    score_key: str = Field("score", description="in a list of objects, the key of the score")
    names: dict[str, str] = Field(default={}, description="the endpoint's name of a label -> ours")
    rest: str | None = Field(None, description="a label that gets what the scores leave of one")
    scale: PositiveFloat = Field(1.0, description="the endpoint's score for certainty, such as 100")

    @model_validator(mode="after")
    def _one_meaning(self) -> Self:
        if (self.scores is None) == (self.flag is None):
            raise ValueError("an answer's meaning is either in `scores` or in `flag`")
        return self


class Endpoint(Declaration):
    """An HTTP endpoint. Without `body` and `form` it speaks quire's own protocol (see quire.target.protocol).

    In url, headers, body and form, ${NAME} is the environment variable NAME. In body and form, {FIELD} is a field of the
    sample: text as it is; in a body a medium as base64 of its file and numbers as a list, in a form a medium as a file.
    A key whose value is a field that the sample lacks is left out.
    """

    url: str = Field("", description="the address, with http:// or https://")
    method: Literal["POST", "PUT"] = Field("POST", description="the HTTP method")
    headers: dict[str, str] = Field(default={}, description="headers of every request")
    body: Any = Field(None, description="the JSON that asks for one sample")
    form: dict[str, str] | None = Field(None, description="the parts of a multipart form that asks for one sample")
    response: Reading | None = Field(None, description="what an answer means")
    timeout: PositiveFloat = Field(30.0, description="seconds that an answer may take")
    retries: NonNegativeInt = Field(3, description="how often a request that failed is repeated")
    rps: PositiveFloat | None = Field(
        None, description="requests a second; by default 1, and no limit for a server on this machine"
    )
    ca_file: Path | None = Field(None, description="certificates to trust instead of the system's, a PEM file")
    authorised: bool = Field(False, description="you state that you operate the endpoint or are authorised to test it")

    @model_validator(mode="after")
    def _whole(self) -> Self:
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.netloc:
            raise ValueError("an address begins with http:// or https:// and a host")
        if self.body is not None and self.form is not None:
            raise ValueError("a request has a `body` or a `form`, not both")
        if not self.templated and (parts.query or parts.fragment):
            raise ValueError(
                "the address of a server of quire's protocol has no query: describe it by `body` or `form`"
            )
        if self.templated and self.response is None:
            raise ValueError("`response` must say where in an answer the scores stand")
        return self

    @field_serializer("url")
    def _public_url(self, url: str) -> str:
        return without_secrets(url)  # a configuration is shown in reports

    @field_serializer("headers")
    def _public_headers(self, headers: dict[str, str]) -> dict[str, str]:
        return {name: "..." if SECRET.search(name) and "${" not in text else text for name, text in headers.items()}

    @property
    def templated(self) -> bool:
        """Whether requests are made from the user's template."""
        return self.body is not None or self.form is not None

    def read(self, answer: Any, labels: tuple[str, ...], *, who: str) -> object:
        """The scores in an answer, as `External.ask` gives them. Refusal where they don't stand where they should."""
        reading = self.response or Reading(scores="scores")
        if reading.flag is not None:
            flag = _at(answer, reading.flag)
            if not isinstance(flag, bool):
                raise Refusal(f"{reading.flag} is neither true nor false: {shown(answer)}")
            return [1.0 - flag, float(flag)]
        scores = _scores(answer, reading)
        if reading.labels is not None:
            require_labels([_ours(name, reading) for name in _listed(answer, reading.labels)], labels, who=who)
        if reading.rest is None:
            return scores
        if not isinstance(scores, dict):
            labelled = [label for label in labels if label != reading.rest]
            if len(scores) != len(labelled):
                return scores  # a fault that is found where all rows are checked
            scores = dict(zip(labelled, scores, strict=True))
        left = 1 - sum(score for score in scores.values() if isinstance(score, int | float))
        return {**scores, reading.rest: max(0.0, left)}


def usual_labels(endpoint: Endpoint) -> Endpoint:
    """`endpoint` with the labels that its reading implies, where the user named none."""
    reading = endpoint.response
    if endpoint.labels or reading is None:
        return endpoint
    if reading.flag is not None:
        update: dict[str, Any] = {"labels": ("passed", "flagged")}
        return endpoint.model_copy(update=update | ({} if endpoint.toxic_labels else {"toxic_labels": ("flagged",)}))
    if isinstance(reading.scores, dict):
        rest = (reading.rest,) if reading.rest is not None else ()
        return endpoint.model_copy(update={"labels": (*reading.scores, *rest)})
    return endpoint


def read_endpoint(path: Path, options: Mapping[str, Any]) -> Endpoint:
    """The endpoint described in a YAML file, `options` on top. ConfigError names the file and the option."""
    try:
        return Endpoint.parse({**read_mapping(path), **options}, owner="an HTTP target")
    except ConfigError as error:
        if error.where is not None and error.where.file is not None:
            raise
        where = Where(file=path, field=error.where.field if error.where else None)
        raise ConfigError(error.message, where=where) from None


def expanded(text: str) -> str:
    """`text` with environment variables for ${NAME}. ConfigError for one that is not set."""

    def value(found: re.Match[str]) -> str:
        name = found[1]
        if name not in os.environ:
            raise ConfigError(f"the environment variable {name} is not set", remedy=f"Set it: export {name}=...")
        return os.environ[name]

    return VARIABLE.sub(value, text)


def json_body(template: Any, task: Task, sample: Sample) -> Any:
    """The JSON template with the sample's fields in it."""
    if isinstance(template, dict):
        filled = {key: json_body(value, task, sample) for key, value in template.items()}
        return {key: value for key, value in filled.items() if value is not _ABSENT}
    if isinstance(template, list):
        filled_items = [json_body(value, task, sample) for value in template]
        return [value for value in filled_items if value is not _ABSENT]
    if not isinstance(template, str):
        return template
    whole = _field(template, task)
    if whole is not None:
        return _json_value(whole, task, sample)
    return _filled(expanded(template), task, sample)


def form_parts(template: dict[str, str], task: Task, sample: Sample) -> dict[str, Any]:
    """Arguments of a request whose body is the form with the sample's fields in it."""
    data: dict[str, str] = {}
    files: dict[str, tuple[str, bytes, str]] = {}
    for key, text in template.items():
        name = _field(text, task)
        if name is None:
            data[key] = _filled(expanded(text), task, sample)
        elif sample.get(name) is not None:
            modality = task.inputs[name]
            if isinstance(modality, Text | Label):
                data[key] = sample[name]
            else:
                suffix = modality.writes[0]
                media_type = MEDIA_TYPES.get(suffix, "application/octet-stream")
                files[key] = (f"{name}{suffix}", modality.to_bytes(sample[name], suffix), media_type)
    # httpx makes a form with boundaries only where there is a file
    return {"files": files, "data": data} if files else {"files": {key: (None, text) for key, text in data.items()}}


_ABSENT = object()  # the value of a key that is left out


def _field(text: str, task: Task) -> str | None:
    """The field that `text` is the placeholder of, and nothing else."""
    return text[1:-1] if text[:1] == "{" and text[-1:] == "}" and text[1:-1] in task.inputs else None


def _json_value(name: str, task: Task, sample: Sample) -> Any:
    if sample.get(name) is None:
        return _ABSENT
    encoded = task.inputs[name].encode(sample[name])
    return encoded["data"] if isinstance(encoded, dict) and "data" in encoded else encoded


def _filled(text: str, task: Task, sample: Sample) -> str:
    """Fields inside a longer text; one that the sample lacks is an empty text there.

    All at once, so that a field's own text is never taken for a placeholder.
    """

    def value(found: re.Match[str]) -> str:
        content = _json_value(found[1], task, sample)
        if content is _ABSENT:
            return ""
        return content if isinstance(content, str) else json.dumps(content)

    names = "|".join(map(re.escape, task.inputs))
    return re.sub(rf"\{{({names})\}}", value, text)


def _at(answer: Any, path: str) -> Any:
    """What stands at a path of an answer."""
    found = answer
    for part in path.split(".") if path else ():
        try:
            found = found[int(part)] if isinstance(found, list) else found[part]
        except (KeyError, IndexError, TypeError, ValueError):
            raise Refusal(f"the answer has no {path}: {shown(answer)}") from None
    return found


def _listed(answer: Any, path: str) -> list[Any]:
    found = _at(answer, path)
    if not isinstance(found, list):
        raise Refusal(f"{path} is no list: {shown(answer)}")
    return found


def _scores(answer: Any, reading: Reading) -> dict[str, Any] | list[Any]:
    """Label -> score, or a list of scores, on a scale from 0 to 1."""
    if isinstance(reading.scores, dict):
        return {label: _scaled(_at(answer, path), reading.scale) for label, path in reading.scores.items()}
    found = _at(answer, reading.scores or "")
    if isinstance(found, dict):
        return {_ours(name, reading): _scaled(score, reading.scale) for name, score in found.items()}
    if not isinstance(found, list):
        if isinstance(found, int | float) and not isinstance(found, bool):
            return [_scaled(found, reading.scale)]
        raise Refusal(f"{reading.scores} holds no scores: {shown(answer)}")
    if found and all(isinstance(item, dict) for item in found):
        try:
            pairs = [(item[reading.label_key], item[reading.score_key]) for item in found]
            return {_ours(name, reading): _scaled(score, reading.scale) for name, score in pairs}
        except (KeyError, TypeError):
            raise Refusal(f"an entry has no {reading.label_key} or {reading.score_key}: {shown(answer)}") from None
    return [_scaled(score, reading.scale) for score in found]


def _ours(name: Any, reading: Reading) -> Any:
    """Our name for one of the endpoint's labels."""
    return reading.names.get(name, name) if isinstance(name, str) else name


def _scaled(score: Any, scale: float) -> Any:
    return score / scale if isinstance(score, int | float) and not isinstance(score, bool) else score
