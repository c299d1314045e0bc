"""quire's own protocol: what a server of a classifier answers, so that a tester can aim at its bare address.

`GET URL/describe` is optional. It answers what `Declaration` holds, all of which may be left out, and more:

    {"protocol": "quire-1",
     "task": "text-classification",           the name of an installed task, or else
     "fields": {"text": "text"},              field -> kind of modality, and
     "optional": [],                          those of the fields that a sample may lack
     "labels": ["ham", "spam"], "label_kind": "multiclass", "toxic_labels": ["spam"], "thresholds": {"spam": 0.7},
     "limits": {"batch": 32}, "deterministic": true, "cost_per_call": null,
     "version": "..."}                        changes whenever an answer may: the model's fingerprint

`POST URL/predict` takes samples, whose fields are what `Task.encode` gives (no id, no target), and answers:

    {"samples": [{"text": "hello"}, ...]}
    {"labels": ["ham", "spam"], "probabilities": [[0.9, 0.1], null, ...], "errors": [{"index": 1, "reason": "..."}]}

with one row a sample, in order; a sample without an answer has null for its row and its reason among `errors`, which may
be left out where there is none. Statuses: 401 and 403 credentials, 413 and 422 the samples are at fault, 429 and 503 (with
Retry-After) come back later. `description` and `reply` are the server's half, the rest of this module the tester's.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from quire.errors import ConfigError, InvalidSample, PluginError, TargetError
from quire.model import ItemError
from quire.registry import names
from quire.target.answers import Refusal, require_labels, shown
from quire.target.external import Declaration
from quire.target.transport import Unreachable

if TYPE_CHECKING:
    from quire.modality import Sample
    from quire.model import Classifier
    from quire.target.transport import Transport
    from quire.task import Task

PROTOCOL = "quire-1"
BATCH = 16  # samples in a request, where the server does not say
UNDESCRIBED = frozenset({404, 405, 501})


def described(transport: Transport, url: str, headers: dict[str, str], *, who: str) -> tuple[Declaration, str]:
    """What the server says of itself and its version: an empty declaration if it says nothing.

    Raises TargetError where nobody answers, or something else than a server of this protocol does.
    """
    try:
        status, body = transport.send("GET", f"{url}/describe", accept=UNDESCRIBED, hasty=True, headers=headers)
    except Unreachable as error:
        raise TargetError(f"{who} can't be reached: {error.reason}", remedy="Is the server running?") from error
    except Refusal as error:
        raise TargetError(f"{who} does not describe itself: {error.reason}") from error
    if status in UNDESCRIBED:
        return Declaration(), ""
    try:
        answer = parsed(body)
    except Refusal as error:
        raise TargetError(f"{who} does not speak the protocol {PROTOCOL}: {error.reason}") from None
    if not isinstance(answer, dict) or answer.get("protocol") != PROTOCOL:
        raise TargetError(f"{who} does not speak the protocol {PROTOCOL}: {shown(answer)}")
    version = str(answer.pop("version", None) or "")
    known = {name: answer[name] for name in Declaration.model_fields if answer.get(name) is not None}
    try:
        known = _with_installed_task(known)
        return Declaration.parse(known, owner=who), version
    except (ConfigError, PluginError) as error:
        raise TargetError(f"{who} describes itself wrongly: {error}") from error


def _with_installed_task(known: dict[str, Any]) -> dict[str, Any]:
    """Without the task's name if no such task is installed here and the fields are told."""
    if known.get("fields") and known.get("task") not in names("task"):
        return {name: value for name, value in known.items() if name != "task"}
    return known


def request(task: Task, samples: list[Sample]) -> dict[str, Any]:
    """The body that asks for `samples`."""
    return {"samples": [task.encode(sample) for sample in samples]}


def answers(body: bytes, n_samples: int, labels: tuple[str, ...], *, who: str) -> list[object]:
    """A row or a Refusal for each sample. Refusal for what is no answer, TargetError for other labels or counts."""
    answer = parsed(body)
    if not isinstance(answer, dict) or not isinstance(answer.get("probabilities"), list):
        raise Refusal(f"the answer has no probabilities: {shown(answer)}")
    require_labels(answer.get("labels"), labels, who=who)
    rows: list[object] = answer["probabilities"]
    if len(rows) != n_samples:
        raise TargetError(f"{who} gave {len(rows)} answers for {n_samples} samples: {shown(answer)}")
    reasons = {}
    for error in answer.get("errors") or ():
        if isinstance(error, dict):
            reasons[error.get("index")] = shown(error.get("reason", "no reason given"))
    return [Refusal(reasons.get(index, "no reason given")) if row is None else row for index, row in enumerate(rows)]


def parsed(body: bytes) -> Any:
    """The JSON in an answer. Refusal where it is none; NaN is let through, to be found as a score."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        raise Refusal(f"the answer is no JSON: {shown(body.decode(errors='replace'))}") from None


def description(model: Classifier) -> dict[str, Any]:
    """What a server of `model` answers at /describe."""
    task = model.task
    return {
        "protocol": PROTOCOL,
        "task": task.name,
        "fields": {name: modality.kind for name, modality in task.inputs.items()},
        "optional": sorted(model.optional_fields),
        "labels": list(model.labels),
        "label_kind": model.label_kind,
        "toxic_labels": sorted(model.toxic_labels),
        "thresholds": dict(model.thresholds),
        "limits": {name: bound for name, bound in asdict(model.limits).items() if bound is not None},
        "deterministic": model.deterministic,
        "cost_per_call": model.cost_per_call,
        "version": model.fingerprint(),
    }


def reply(model: Classifier, body: Any) -> dict[str, Any]:
    """What a server of `model` answers at /predict to the JSON `body`. InvalidSample for what is no such request.

    A sample that can't be read or judged has its reason among the errors, and costs no other its answer.
    """
    if not isinstance(body, dict) or not isinstance(body.get("samples"), list):
        raise InvalidSample('a request is {"samples": [...]}')
    rows: list[list[float] | None] = [None] * len(body["samples"])
    errors: list[dict[str, Any]] = []
    readable: list[tuple[int, Sample]] = []
    for index, encoded in enumerate(body["samples"]):
        try:
            readable.append((index, model.task.decode(encoded)))
        except InvalidSample as error:
            errors.append({"index": index, "reason": str(error)})
    given = model.answer_each([sample for _, sample in readable])
    for (index, _), answer in zip(readable, given, strict=True):
        if isinstance(answer, ItemError):
            errors.append({"index": index, "reason": answer.reason})
        else:
            rows[index] = answer.tolist()
    return {"labels": list(model.labels), "probabilities": rows, "errors": errors}
