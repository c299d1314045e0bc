"""Requests that wait for their turn, are repeated where that can help, and end in an answer or a reason."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from ipaddress import ip_address
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from quire.errors import ConfigError, TargetError, require
from quire.target.answers import Refusal, shown
from quire.target.rate import TokenBucket

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import httpx2
    import tenacity

LARGEST_ANSWER = 2**26  # bytes
LONGEST_WAIT = 120.0  # seconds that Retry-After may ask for; who asks for more gets no other request for this sample
LONGEST_BACKOFF = 30.0
PURPOSE = "Asking a target over HTTP"

OVERLOADED = frozenset({408, 425, 429, 500, 502, 503, 504})
"""Statuses that may be another at the next try; of the rest of 5xx that is not known, and they are tried again too."""
UNWILLING = frozenset({400, 406, 409, 411, 413, 414, 415, 422, 431, 451})
"""Statuses by which a server declines what it was sent."""


class Transient(Refusal):
    """A failure that another try may not have. `after`: seconds that the server asks to wait."""

    def __init__(self, reason: str, *, after: float = 0.0, divisible: bool = False) -> None:
        super().__init__(reason, divisible=divisible)
        self.after = after


class Unreachable(Transient):
    """No connection, or one that broke."""


class Transport:
    """Sends requests to one server, of which each takes a turn of `rate` a second, repetitions too.

    timeout: seconds for a whole answer. retries: how often a request is repeated after 429, 5xx, a timeout or a broken
    connection, after 1, 2, 4 ... seconds (at most LONGEST_BACKOFF) and up to one more at random, or what the server's
    Retry-After asks for, if that is longer. Certificates are always verified, by `ca_file` where one is given.
    Redirects are not followed, and on this machine no proxy is used.
    """

    def __init__(
        self,
        *,
        timeout: float,
        retries: int,
        rate: float | None,
        loopback: bool,
        ca_file: Path | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        http: Any = require("httpx2", extra="http", purpose=PURPOSE)
        require("tenacity", extra="http", purpose=PURPOSE)
        verify = _ssl_context(ca_file) if ca_file is not None else True
        self.client: httpx2.Client = http.Client(timeout=timeout, verify=verify, trust_env=not loopback)
        self.timeout = timeout
        self.retries = retries
        self.requests = 0
        self.bucket = TokenBucket(rate, clock=clock, sleep=sleep)
        self._sleep = sleep

    def send(
        self, method: str, url: str, *, accept: frozenset[int] = frozenset(), hasty: bool = False, **content: Any
    ) -> tuple[int, bytes]:
        """Status and body of an answer with a status of 2xx or one of `accept`. `hasty`: a broken connection ends it.

        Raises Refusal where no try had an answer or the server declines the content, TargetError where it wants other
        credentials (401, 403), leads elsewhere, or has nothing of the kind here.
        """
        import tenacity

        def again(error: BaseException) -> bool:
            if not isinstance(error, Transient) or error.after > LONGEST_WAIT:
                return False
            return not (hasty and isinstance(error, Unreachable))

        retrying = tenacity.Retrying(
            stop=tenacity.stop_after_attempt(1 + self.retries),
            wait=_Wait(),
            retry=tenacity.retry_if_exception(again),
            sleep=self._sleep,
            reraise=True,
        )
        return retrying(self._send_once, method, url, accept, content)

    def _send_once(self, method: str, url: str, accept: frozenset[int], content: dict[str, Any]) -> tuple[int, bytes]:
        import httpx2

        self.bucket.take()
        self.requests += 1
        begun = time.monotonic()
        body = bytearray()
        try:
            with self.client.stream(method, url, **content) as response:
                for chunk in response.iter_bytes():
                    body += chunk
                    if len(body) > LARGEST_ANSWER:
                        raise Refusal(f"the answer is larger than {LARGEST_ANSWER} bytes")
                    if time.monotonic() - begun > self.timeout:  # a server may send a byte now and then for ever
                        raise Transient(f"no whole answer within {self.timeout:g} seconds")
        except httpx2.TimeoutException:
            raise Transient(f"no answer within {self.timeout:g} seconds") from None
        except httpx2.TransportError as error:
            raise Unreachable(f"the connection failed ({_cause(error)})") from error
        except (httpx2.DecodingError, httpx2.InvalidURL, httpx2.UnsupportedProtocol) as error:
            raise Refusal(f"the answer can't be read ({_cause(error)})") from error
        if response.status_code not in accept:
            _require_success(response, bytes(body), url)
        return response.status_code, bytes(body)

    def close(self) -> None:
        """Close the connections."""
        self.client.close()


class _Wait:
    """Exponential backoff with jitter, or what the server asks for, if that is longer."""

    def __call__(self, state: tenacity.RetryCallState) -> float:
        import tenacity

        backoff = tenacity.wait_exponential_jitter(max=LONGEST_BACKOFF)(state)
        error = state.outcome.exception() if state.outcome is not None else None
        return max(backoff, error.after) if isinstance(error, Transient) else backoff


def _require_success(response: httpx2.Response, body: bytes, url: str) -> None:
    status = response.status_code
    if 200 <= status < 300:
        return
    said = shown(body.decode(errors="replace")) or response.reason_phrase
    where = without_secrets(url)
    if status in (401, 403):
        raise TargetError(
            f"{where} refuses the credentials ({status}): {said}",
            remedy="Give the right ones in its headers; ${NAME} stands for an environment variable.",
        )
    if status in OVERLOADED or status >= 500:
        after = _seconds(response.headers.get("Retry-After"))
        raise Transient(f"the server failed ({status}): {said}", after=after, divisible=status == 500)
    if status in UNWILLING:
        raise Refusal(f"the server declines it ({status}): {said}", divisible=True)
    if 300 <= status < 400:
        target = without_secrets(response.headers.get("Location", "nowhere"))
        raise TargetError(f"{where} leads to {target} ({status})", remedy="Name that address, if you mean it.")
    raise TargetError(f"{where} can't be asked ({status}): {said}", remedy="Check address and method.")


def _seconds(retry_after: str | None) -> float:
    """What a Retry-After header asks for: seconds, or a date."""
    if retry_after is None:
        return 0.0
    try:
        return max(0.0, float(retry_after))
    except ValueError:
        pass
    try:
        moment = parsedate_to_datetime(retry_after)
    except ValueError:
        return 0.0
    moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
    return max(0.0, (moment - datetime.now(UTC)).total_seconds())


def is_loopback(url: str) -> bool:
    """Whether `url` is of this machine: localhost or a loopback address; no name is looked up."""
    host = urlsplit(url).hostname or ""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def without_secrets(url: str) -> str:
    """`url` less user, password and the query's values, for messages."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "..." if parts.query else "", ""))


def _ssl_context(ca_file: Path) -> Any:
    import ssl

    try:
        return ssl.create_default_context(cafile=str(ca_file))
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(f"{ca_file} is no file of certificates ({error})", remedy="Give a PEM file.") from error


def _cause(error: Exception) -> str:
    return str(error) or type(error).__name__
