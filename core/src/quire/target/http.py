"""A server as a target: by its bare address if it speaks quire's own protocol, else by the description of its endpoint."""

from __future__ import annotations

import time
import weakref
from dataclasses import replace
from typing import TYPE_CHECKING

from quire.errors import ConfigError, TargetError
from quire.storage import content_hash
from quire.target import protocol
from quire.target.answers import Refusal
from quire.target.endpoint import Endpoint, expanded, form_parts, json_body, usual_labels
from quire.target.external import Declaration, External
from quire.target.transport import Transport, is_loopback, without_secrets

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from quire.modality import Sample
    from quire.model import Limits
    from quire.runtime import Runtime
    from quire.task import Task

USUAL_RPS = 1.0


class HttpTarget(External):
    """Asks a server, at most `rps` times a second.

    A server on another machine is only asked with `allow_network`, and if the endpoint is `authorised`: the user states
    to operate it or to be authorised to test it. What the user declares goes before what the server says of itself.
    Raises ConfigError for what is missing, TargetError for a server that can't be reached. clock and sleep: of waiting.
    """

    config: Endpoint

    def __init__(
        self,
        endpoint: Endpoint,
        *,
        task: Task | None = None,
        runtime: Runtime | None = None,
        allow_network: bool = False,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.url = expanded(endpoint.url).rstrip("/")
        self.headers = {name: expanded(text) for name, text in endpoint.headers.items()}
        loopback = is_loopback(self.url)
        if not loopback:
            _require_permission(endpoint, without_secrets(self.url), allow_network)
        self.transport = Transport(
            timeout=endpoint.timeout,
            retries=endpoint.retries,
            rate=endpoint.rps or (None if loopback else USUAL_RPS),
            loopback=loopback,
            ca_file=endpoint.ca_file,
            clock=clock,
            sleep=sleep,
        )
        weakref.finalize(self, self.transport.close)
        self.version = ""
        if endpoint.templated:
            endpoint = usual_labels(endpoint)
        else:
            said, self.version = protocol.described(self.transport, self.url, self.headers, who=self.name)
            endpoint = _completed(endpoint, said, who=self.name)
        super().__init__(endpoint, task=task, runtime=runtime)

    @property
    def name(self) -> str:
        """Its address, without what is secret in it."""
        return without_secrets(self.url)

    @property
    def limits(self) -> Limits:
        """As declared; a server of quire's protocol is asked for protocol.BATCH samples at once by default."""
        limits = super().limits
        return replace(limits, batch=protocol.BATCH) if limits.batch is None and not self.config.templated else limits

    def ask(self, samples: list[Sample]) -> Sequence[object]:
        """One request for all of them in quire's protocol, one for each by a template."""
        if self.config.templated:
            return [self._ask_one(sample) for sample in samples]
        body = protocol.request(self.task, samples)
        _, answer = self.transport.send("POST", f"{self.url}/predict", json=body, headers=self.headers)
        return protocol.answers(answer, len(samples), self.labels, who=self.name)

    def _ask_one(self, sample: Sample) -> object:
        try:
            if self.config.form is not None:
                content = form_parts(self.config.form, self.task, sample)
            else:
                content = {"json": json_body(self.config.body, self.task, sample)}
            _, answer = self.transport.send(self.config.method, self.url, headers=self.headers, **content)
            return self.config.read(protocol.parsed(answer), self.labels, who=self.name)
        except Refusal as refusal:
            return refusal

    def fingerprint(self) -> str:
        """A hash of the address, the templates, the declaration and the version that the server states."""
        template = self.config.model_dump(mode="json", exclude={"url", "timeout", "retries", "rps", "ca_file"})
        return content_hash("http", self.config.url, template, self.task.name, self.version)

    def close(self) -> None:
        """Close the connections."""
        self.transport.close()


def _require_permission(endpoint: Endpoint, name: str, allow_network: bool) -> None:
    if not allow_network:
        raise ConfigError(f"{name} is on another machine", remedy="Allow it with --allow-network.")
    if not endpoint.authorised:
        raise ConfigError(
            f"{name} is on another machine",
            remedy="Pass --authorised if you operate it or are authorised to test it; test no others.",
        )


def _completed(endpoint: Endpoint, said: Declaration, *, who: str) -> Endpoint:
    """What the user declares, and where that says nothing, what the server says. TargetError where labels differ."""
    if endpoint.labels and said.labels and endpoint.labels != said.labels:
        raise TargetError(
            f"{who} has the labels {', '.join(said.labels)}, not {', '.join(endpoint.labels)}",
            remedy="Leave out --labels.",
        )
    theirs = {name: getattr(said, name) for name in said.model_fields_set - endpoint.model_fields_set}
    if "task" in endpoint.model_fields_set or "fields" in endpoint.model_fields_set:
        theirs = {name: value for name, value in theirs.items() if name not in ("task", "fields", "optional")}
    return endpoint.model_copy(update=theirs)
