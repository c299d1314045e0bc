"""Servers as targets: a real one that throttles, fails, dawdles and lies, and what becomes of every sample."""

from __future__ import annotations

import base64
import io
import json
import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.message import EmailMessage
from email.parser import BytesParser
from email.policy import HTTP
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from PIL import Image

from quire.errors import ConfigError, InvalidSample, MissingExtra, TargetError
from quire.modality import Audio, Waveform
from quire.model import ItemError
from quire.target import CallableDeclaration, CallableTarget, Endpoint, HttpTarget, open_target, protocol
from quire.target.transport import is_loopback, without_secrets
from quire.task import IMAGE_TEXT_CLASSIFICATION, TEXT_CLASSIFICATION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

pytest.importorskip("httpx2", reason="the extra [http] is not installed")
pytest.importorskip("tenacity", reason="the extra [http] is not installed")

LABELS = ["ham", "spam"]
DESCRIPTION = {
    "protocol": "quire-1",
    "task": "text-classification",
    "fields": {"text": "text"},
    "labels": LABELS,
    "toxic_labels": ["spam"],
    "thresholds": {"spam": 0.5},
    "limits": {"batch": 4, "text_characters": 1000},
    "deterministic": True,
    "version": "7",
}


@dataclass
class Request:
    """What the server was asked."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    at: float = field(default_factory=time.monotonic)

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Answer = tuple[int, Any] | tuple[int, Any, dict[str, str]]  # status, content, headers


class Server:
    """Answers with what `answer` makes of a request; a description, where there is one, at /describe."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.describes: Any = DESCRIPTION
        self.answer: Callable[[Request], Answer] = judge
        server = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                status = 404 if server.describes is None else 200
                self._send(server.describes if isinstance(server.describes, tuple) else (status, server.describes))

            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                request = Request("POST", self.path, dict(self.headers), body)
                server.requests.append(request)
                self._send(server.answer(request))

            def _send(self, answer: Answer) -> None:
                status, content, headers = answer if len(answer) == 3 else (*answer, {})
                data = content if isinstance(content, bytes) else json.dumps(content).encode()
                try:
                    self.send_response(status)
                    for name, value in headers.items():
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(data)))
                    self.end_headers()
                    self.wfile.write(data)
                except OSError:
                    pass  # the client has gone

            def log_message(self, *_: Any) -> None:
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.http.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        self.thread.start()
        self.url = f"http://127.0.0.1:{self.http.server_port}"

    def close(self) -> None:
        self.http.shutdown()
        self.http.server_close()


def judge(request: Request) -> Answer:
    """Spam where the text holds "bad"."""
    rows = [[float("bad" not in s["text"]), float("bad" in s["text"])] for s in request.json["samples"]]
    return 200, {"labels": LABELS, "probabilities": rows}


@pytest.fixture
def server() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


@dataclass
class Sleeps:
    """Collects what would have been slept."""

    slept: list[float] = field(default_factory=list)

    def __call__(self, seconds: float) -> None:
        self.slept.append(seconds)


def opened(server: Server, sleep: Any = None, **options: Any) -> HttpTarget:
    endpoint = Endpoint(**{"url": server.url, **options})
    return HttpTarget(endpoint, sleep=Sleeps() if sleep is None else sleep)


def texts(*values: str) -> list[Any]:
    return [{"text": value, "id": f"secret-{number}"} for number, value in enumerate(values)]


def reasons(answers: Any) -> list[str | None]:
    return [answer.reason if isinstance(answer, ItemError) else None for answer in answers]


# --- quire's own protocol ---------------------------------------------------------------------------------------------


def test_a_server_that_describes_itself_needs_no_more_than_its_address(server: Server) -> None:
    target = open_target(server.url)
    assert target.task == TEXT_CLASSIFICATION
    assert target.labels == ("ham", "spam")
    assert target.toxic_labels == {"spam"}
    assert dict(target.thresholds) == {"spam": 0.5}
    assert target.deterministic
    assert (target.limits.batch, target.limits.text_characters) == (4, 1000)
    answers = target.predict_proba(texts("bad", "fine", "a", "b", "so bad"))
    assert answers.tolist() == [[0, 1], [1, 0], [1, 0], [1, 0], [0, 1]]
    assert [len(request.json["samples"]) for request in server.requests] == [4, 1]
    assert {request.path for request in server.requests} == {"/predict"}
    assert server.requests[0].json["samples"][0] == {"text": "bad"}  # no id, which may tell what is expected


def test_a_path_and_a_final_slash_belong_to_the_address(server: Server) -> None:
    open_target(f"{server.url}/models/one/").predict(texts("bad"))
    assert server.requests[0].path == "/models/one/predict"


def test_a_server_that_says_nothing_is_described_by_the_user(server: Server) -> None:
    server.describes = None
    with pytest.raises(ConfigError, match=r"does not say what it takes. Name its task with --task"):
        open_target(server.url)
    with pytest.raises(ConfigError, match="does not say its labels"):
        open_target(server.url, task="text-classification")
    target = open_target(server.url, task="text-classification", labels=LABELS, toxic_labels=["spam"])
    assert target.limits.batch == protocol.BATCH
    assert target.predict(texts("bad", "fine")) == ["spam", "ham"]


def test_a_task_that_is_not_installed_is_made_of_its_fields(server: Server) -> None:
    server.describes = {**DESCRIPTION, "task": "post-moderation", "fields": {"text": "text", "image": "image"}}
    target = open_target(server.url)
    assert target.required_fields == {"text", "image"}
    server.describes = {**DESCRIPTION, "task": "post-moderation", "fields": {"text": "smell"}}
    with pytest.raises(ConfigError, match=r"no modality .smell..*, or name an installed task"):
        open_target(server.url)


@pytest.mark.parametrize(
    ("description", "message"),
    [
        ({"hello": "world"}, "does not speak the protocol quire-1"),
        (b"<html>", "does not speak the protocol quire-1: the answer is no JSON: <html>"),
        ((401, "who are you?"), r"refuses the credentials \(401\): .*who are you"),
        ((302, "", {"Location": "https://elsewhere.example/?key=1"}), r"leads to https://elsewhere.example/\?\.\.\. "),
        ({**DESCRIPTION, "label_kind": "many"}, "describes itself wrongly"),
        ({**DESCRIPTION, "toxic_labels": ["eggs"]}, "'eggs' is none of the target's labels"),
    ],
)
def test_a_server_that_can_not_be_a_target(server: Server, description: Any, message: str) -> None:
    server.describes = description
    with pytest.raises((TargetError, ConfigError), match=message):
        open_target(server.url)


def test_labels_that_the_server_does_not_have_are_refused(server: Server) -> None:
    with pytest.raises(TargetError, match=r"has the labels ham, spam, not spam, ham. Leave out --labels"):
        open_target(server.url, labels=["spam", "ham"])


def test_nobody_there(server: Server) -> None:
    server.close()
    begun = time.monotonic()
    with pytest.raises(TargetError, match=r"can't be reached: the connection failed.*Is the server running"):
        open_target(server.url)
    assert time.monotonic() - begun < 5
    server.thread.join()


def test_single_samples_that_a_server_refuses(server: Server) -> None:
    def choosy(request: Request) -> Answer:
        rows = [None if s["text"] == "odd" else [1.0, 0.0] for s in request.json["samples"]]
        errors = [{"index": n, "reason": "odd"} for n, row in enumerate(rows) if row is None]
        return 200, {"labels": LABELS, "probabilities": rows, "errors": errors}

    server.answer = choosy
    assert reasons(opened(server).answer_each(texts("a", "odd", "b"))) == [None, "odd", None]
    with pytest.raises(InvalidSample, match=r"sample secret-1: http.* gave no answer: odd"):
        opened(server).predict_proba(texts("a", "odd"))


# --- failures ---------------------------------------------------------------------------------------------------------


def after(failures: list[Answer]) -> Callable[[Request], Answer]:
    """Fails so often, then judges."""
    return lambda request: failures.pop(0) if failures else judge(request)


def test_a_server_that_throttles_is_asked_again_when_it_says(server: Server) -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=90), usegmt=True)
    server.answer = after([(429, "slow down", {"Retry-After": "17"}), (503, "", {"Retry-After": date}), (429, "")])
    sleep = Sleeps()
    target = opened(server, sleep)
    assert target.predict(texts("bad")) == ["spam"]
    assert sleep.slept[0] == 17
    assert 80 < sleep.slept[1] <= 90
    assert 4 <= sleep.slept[2] <= 5
    assert target.transport.requests == 5  # with that for the description


def test_backoff_grows_and_then_the_samples_are_inconclusive(server: Server) -> None:
    server.answer = lambda _: (503, "overloaded")
    sleep = Sleeps()
    answers = opened(server, sleep).answer_each(texts("bad", "fine"))
    assert reasons(answers) == ['the server failed (503): "overloaded"'] * 2
    assert len(server.requests) == 4
    assert all(base <= wait <= base + 1 for base, wait in zip((1, 2, 4), sleep.slept, strict=True))


def test_who_asks_to_come_back_tomorrow_is_not_waited_for(server: Server) -> None:
    server.answer = lambda _: (429, "quota", {"Retry-After": "86400"})
    sleep = Sleeps()
    assert reasons(opened(server, sleep).answer_each(texts("bad"))) == ['the server failed (429): "quota"']
    assert sleep.slept == []


def test_one_sample_that_a_server_fails_on_costs_no_other(server: Server) -> None:
    def fragile(request: Request) -> Answer:
        return (500, "boom") if any(s["text"] == "crash" for s in request.json["samples"]) else judge(request)

    server.answer = fragile
    answers = opened(server, retries=1).answer_each(texts("bad", "crash", "fine"))
    assert reasons(answers) == [None, 'the server failed (500): "boom"', None]


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_request_that_is_declined_is_divided_and_not_repeated(server: Server, status: int) -> None:
    def strict(request: Request) -> Answer:
        return (status, "no") if any(s["text"] == "long" for s in request.json["samples"]) else judge(request)

    server.answer = strict
    answers = opened(server).answer_each(texts("bad", "long"))
    assert reasons(answers) == [None, f'the server declines it ({status}): "no"']
    assert len(server.requests) == 3


@pytest.mark.parametrize(
    ("status", "message"), [(401, "refuses the credentials"), (403, "refuses"), (404, "can't be asked")]
)
def test_what_every_sample_would_meet_ends_the_work_at_once(server: Server, status: int, message: str) -> None:
    server.answer = lambda _: (status, "no")
    with pytest.raises(TargetError, match=message):
        opened(server).answer_each(texts("a", "b"))
    assert len(server.requests) == 1


def test_a_slow_server_costs_its_sample_and_no_more(server: Server) -> None:
    def slow(request: Request) -> Answer:
        if request.json["samples"][0]["text"] == "slow":
            time.sleep(0.6)
        return judge(request)

    server.describes = {**DESCRIPTION, "limits": {"batch": 1}}
    server.answer = slow
    answers = opened(server, timeout=0.2, retries=1).answer_each(texts("bad", "slow", "fine"))
    assert reasons(answers) == [None, "no answer within 0.2 seconds", None]
    assert len(server.requests) == 4


def test_an_endless_trickle_is_too_slow(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    class Trickle(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.send_response(200)
            self.end_headers()
            for _ in range(40):
                try:
                    self.wfile.write(b" ")
                    self.wfile.flush()
                except OSError:
                    return
                time.sleep(0.05)

        def log_message(self, *_: Any) -> None:
            pass

    target = opened(server, timeout=0.3, retries=0)
    server.http.RequestHandlerClass = Trickle
    target.transport.client.close()
    target = HttpTarget(
        Endpoint(url=server.url, body={"q": "{text}"}, response={"flag": "f"}, timeout=0.3, retries=0),
        task=TEXT_CLASSIFICATION,
    )
    assert reasons(target.answer_each(texts("a"))) == ["no whole answer within 0.3 seconds"]


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"{oops", "the answer is no JSON: {oops"),
        (b"[" * 100_000, "the answer is no JSON"),
        (["ham"], "the answer has no probabilities: ['ham']"),
        ({"labels": LABELS, "probabilities": {"0": [1, 0]}}, "the answer has no probabilities"),
        ({"labels": LABELS, "probabilities": ["ham"]}, "the answer has no scores: ham"),
        ({"labels": LABELS, "probabilities": [["high", "low"]]}, "the scores are not all numbers"),
    ],
)
def test_malformed_answers_are_their_samples(server: Server, answer: Any, reason: str) -> None:
    server.answer = lambda _: (200, answer)
    (told,) = reasons(opened(server).answer_each(texts("a")))
    assert told is not None
    assert told.startswith(reason)


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ({"labels": ["spam", "ham"], "probabilities": [[1, 0]]}, r"other labels than ham, spam: \['spam', 'ham'\]"),
        ({"labels": ["ham", "eggs"], "probabilities": [[1, 0]]}, "other labels"),
        ({"probabilities": [[1, 0]]}, "other labels than ham, spam: None"),
        ({"labels": LABELS, "probabilities": [[1, 0], [1, 0]]}, "gave 2 answers for 1 samples"),
        ({"labels": LABELS, "probabilities": [[0.5, 0.25, 0.25]]}, "3 scores for 2 labels"),
        ({"labels": LABELS, "probabilities": [[float("nan"), 0.5]]}, r"no probability: \[nan, 0.5\]"),
        ({"labels": LABELS, "probabilities": [[1.2, -0.2]]}, r"no probability: \[1.2, -0.2\]"),
        ({"labels": LABELS, "probabilities": [[0.9, 0.9]]}, "add up to 1.8, not to one"),
    ],
)
def test_lies_end_the_work_with_the_raw_answer(server: Server, answer: Any, message: str) -> None:
    server.answer = lambda _: (200, answer)
    with pytest.raises(TargetError, match=message):
        opened(server).answer_each(texts("a"))


def test_labels_that_change_between_calls_end_the_work(server: Server) -> None:
    calls = iter([LABELS, LABELS[::-1]])
    server.describes = {**DESCRIPTION, "limits": {"batch": 1}}
    server.answer = lambda _: (200, {"labels": next(calls), "probabilities": [[1, 0]]})
    with pytest.raises(TargetError, match="other labels"):
        opened(server).answer_each(texts("a", "b"))


def test_a_server_that_dies_leaves_samples_without_an_answer(server: Server) -> None:
    target = opened(server, retries=1)
    server.close()
    server.http.socket.close()
    target.transport.client.close()
    fresh = HttpTarget(
        Endpoint(url=server.url, body={"q": "{text}"}, response={"flag": "f"}, retries=1),
        task=TEXT_CLASSIFICATION,
        sleep=Sleeps(),
    )
    (reason,) = reasons(fresh.answer_each(texts("a")))
    assert reason is not None
    assert reason.startswith("the connection failed")
    assert fresh.transport.requests == 2


def test_requests_keep_the_rate(server: Server) -> None:
    server.describes = {**DESCRIPTION, "limits": {"batch": 1}}
    target = opened(server, time.sleep, rps=20)
    target.answer_each(texts(*"abcdefghijk"))
    gaps = np.diff([request.at for request in server.requests])
    assert len(server.requests) == 11
    assert gaps.sum() >= 10 / 20 * 0.95


def test_this_machine_is_asked_without_a_limit_and_others_once_a_second(server: Server) -> None:
    assert opened(server).transport.bucket.rate is None
    elsewhere = Endpoint(url="https://moderation.example/v1", body={}, response={"flag": "f"}, authorised=True)
    assert HttpTarget(elsewhere, task=TEXT_CLASSIFICATION, allow_network=True).transport.bucket.rate == 1


# --- the network ------------------------------------------------------------------------------------------------------


def test_another_machine_is_asked_only_with_leave() -> None:
    given: dict[str, Any] = {"task": "text-classification", "labels": LABELS}
    with pytest.raises(ConfigError, match=r"is on another machine. Allow it with --allow-network"):
        open_target("https://moderation.example", **given)
    with pytest.raises(ConfigError, match="Pass --authorised if you operate it"):
        open_target("https://moderation.example", allow_network=True, **given)


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("http://127.0.0.1:80", True),
        ("http://localhost/x", True),
        ("http://[::1]:8000", True),
        ("http://127.8.1.2", True),
        ("http://user@127.0.0.1@evil.example", False),
        ("http://127.0.0.1.evil.example", False),
        ("http://0.0.0.0", False),
        ("http://10.0.0.1", False),
        ("http://localhost.evil.example", False),
    ],
)
def test_what_this_machine_is(url: str, here: bool) -> None:
    assert is_loopback(url) is here


def test_secrets_are_not_told(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "hunter2")
    target = opened(
        server,
        url=f"{server.url}/x?key=hunter4",
        headers={"Authorization": "Bearer ${TOKEN}", "X-Api-Key": "hunter5", "Accept-Language": "en"},
        body={"q": "{text}"},
        response={"flag": "f"},
        task="text-classification",
    )
    server.answer = lambda _: (403, "no")
    with pytest.raises(TargetError) as refused:
        target.predict(texts("a"))
    shown = target.config.model_dump_json() + target.name + str(refused.value)
    assert "hunter" not in shown
    assert target.config.model_dump()["headers"]["Authorization"] == "Bearer ${TOKEN}"
    assert target.config.model_dump()["headers"]["Accept-Language"] == "en"
    assert server.requests[0].headers["Authorization"] == "Bearer hunter2"
    server.answer = lambda _: (200, {"f": True})
    basic = {"url": server.url.replace("//", "//me:hunter3@"), "body": {}, "response": {"flag": "f"}}
    named = opened(server, **basic, task="text-classification")
    named.predict(texts("a"))
    assert "hunter" not in named.config.model_dump_json() + named.name
    assert base64.b64decode(server.requests[-1].headers["Authorization"].split()[1]) == b"me:hunter3"
    assert without_secrets("https://a:b@c.example:8/d?e=f#g") == "https://c.example:8/d?..."


def test_a_variable_that_is_not_set(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TOKEN", raising=False)
    with pytest.raises(ConfigError, match=r"the environment variable TOKEN is not set. Set it: export TOKEN="):
        opened(server, headers={"Authorization": "${TOKEN}"})


def test_without_the_extra_its_command_is_named(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "httpx2", None)
    with pytest.raises(MissingExtra, match=r"quire-core\[http\]"):
        opened(server)


# --- described endpoints ----------------------------------------------------------------------------------------------

IMAGE = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(4, 4, 3))


def described(folder: Path, server: Server, text: str) -> Path:
    path = folder / "endpoint.yaml"
    path.write_text(f"url: {server.url}/v1/moderate\n{text}")
    return path


def test_a_template_asks_and_paths_read_the_answer(server: Server, tmp_path: Path) -> None:
    path = described(
        tmp_path,
        server,
        """
task: image-text-classification
headers: {X-Version: "3"}
body:
  requests:
    - post: "{text}"
      picture: {content: "{image}", link: "data:image/png;base64,{image}"}
      features: [nudity, 3]
      note: "say {text} and ${WORD}"
response:
  scores: {rude: "results.0.rude.value", ad: "results.0.ad.value"}
  scale: 100
label_kind: multilabel
toxic_labels: [rude]
thresholds: {rude: 0.7}
""",
    )
    server.answer = lambda _: (200, {"results": [{"rude": {"value": 80}, "ad": {"value": 55}}]})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("WORD", "please")
        target = open_target(path)
        assert target.labels == ("rude", "ad")
        answers = target.predict_proba([{"text": "a ${WORD} {image}", "image": IMAGE, "id": "1"}, {"text": "alone"}])
    assert answers.tolist() == [[np.float32(0.8), np.float32(0.55)]] * 2
    first, second = (request.json["requests"][0] for request in server.requests)
    assert server.requests[0].path == "/v1/moderate"
    assert server.requests[0].headers["X-Version"] == "3"
    assert first["post"] == "a ${WORD} {image}"
    assert first["note"] == "say a ${WORD} {image} and please"  # a sample's text is no template
    assert first["features"] == ["nudity", 3]
    picture = Image.open(io.BytesIO(base64.b64decode(first["picture"]["content"])))
    assert np.array_equal(np.asarray(picture), np.asarray(IMAGE))
    assert first["picture"]["link"] == f"data:image/png;base64,{first['picture']['content']}"
    assert second["picture"] == {"link": "data:image/png;base64,"}


def test_a_form_carries_media_as_files(server: Server, tmp_path: Path) -> None:
    path = described(
        tmp_path,
        server,
        """
fields: {text: text, image: image, sound: audio}
optional: [image, sound]
form: {caption: "{text}", picture: "{image}", voice: "{sound}", model: fast}
response: {flag: flagged}
""",
    )
    server.answer = lambda _: (200, {"flagged": True})
    target = open_target(path)
    assert target.labels == ("passed", "flagged")
    assert target.toxic_labels == {"flagged"}
    sound = Waveform(np.linspace(-1, 1, 100, dtype=np.float32)[None], 8000)
    assert target.predict([{"text": "hello", "image": IMAGE, "sound": sound}, {"text": "alone"}]) == ["flagged"] * 2
    first, second = (parts_of(request) for request in server.requests)
    assert (first["caption"], second["caption"]) == ((None, b"hello"), (None, b"alone"))
    assert first["model"] == second["model"] == (None, b"fast")
    assert first["picture"][0] == "image.png"
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(first["picture"][1]))), np.asarray(IMAGE))
    assert np.array_equal(Audio().read(first["voice"][1]).samples, sound.samples)
    assert set(second) == {"caption", "model"}


def parts_of(request: Request) -> dict[str, tuple[str | None, bytes]]:
    head = f"Content-Type: {request.headers['Content-Type']}\r\n\r\n".encode()
    message = BytesParser(policy=HTTP).parsebytes(head + request.body)
    assert isinstance(message, EmailMessage)
    return {
        str(part.get_param("name", header="content-disposition")): (part.get_filename(), part.get_payload(decode=True))  # type: ignore[misc]
        for part in message.iter_parts()
    }


@pytest.mark.parametrize(
    ("response", "answer", "row"),
    [
        ({"scores": "scores"}, {"scores": [0.25, 0.75]}, [0.25, 0.75]),
        ({"scores": "a.b"}, {"a": {"b": {"spam": 0.75, "ham": 0.25}}}, [0.25, 0.75]),
        ({"scores": ""}, [[0.25, 0.75]][0], [0.25, 0.75]),
        ({"scores": "0"}, [[{"label": "spam", "score": 0.75}, {"label": "ham", "score": 0.25}]], [0.25, 0.75]),
        (
            {"scores": "r", "label_key": "name", "score_key": "p", "names": {"JUNK": "spam", "OK": "ham"}},
            {"r": [{"name": "JUNK", "p": 0.75}, {"name": "OK", "p": 0.25}]},
            [0.25, 0.75],
        ),
        ({"scores": "toxicity", "rest": "ham"}, {"toxicity": 0.75}, [0.25, 0.75]),
        ({"scores": {"spam": "t"}, "rest": "ham"}, {"t": 0.75}, [0.25, 0.75]),
        ({"scores": "s", "labels": "l"}, {"s": [0.25, 0.75], "l": ["ham", "spam"]}, [0.25, 0.75]),
        ({"flag": "blocked"}, {"blocked": False}, [1, 0]),
    ],
)
def test_answers_of_many_shapes(server: Server, response: Any, answer: Any, row: list[float]) -> None:
    server.answer = lambda _: (200, answer)
    target = opened(server, body={"q": "{text}"}, response=response, labels=LABELS, task="text-classification")
    assert target.predict_proba(texts("x")).tolist() == [row]


@pytest.mark.parametrize(
    ("response", "answer", "reason"),
    [
        ({"scores": "a.0.b"}, {"a": []}, "the answer has no a.0.b: {'a': []}"),
        ({"scores": "a"}, {"a": "high"}, "a holds no scores"),
        ({"scores": "a"}, {"a": [{"name": "spam"}]}, "an entry has no label or score"),
        ({"flag": "f"}, {"f": "yes"}, "f is neither true nor false"),
        ({"scores": "s", "labels": "l"}, {"s": [1, 0], "l": "ham"}, "l is no list"),
    ],
)
def test_answers_that_do_not_hold_what_they_should(server: Server, response: Any, answer: Any, reason: str) -> None:
    server.answer = lambda _: (200, answer)
    target = opened(server, body={}, response=response, labels=LABELS, task="text-classification")
    (told,) = reasons(target.answer_each(texts("x")))
    assert told is not None
    assert told.startswith(reason)


def test_labels_in_another_order_end_the_work(server: Server) -> None:
    server.answer = lambda _: (200, {"s": [1, 0], "l": ["spam", "ham"]})
    target = opened(server, body={}, response={"scores": "s", "labels": "l"}, labels=LABELS, task="text-classification")
    with pytest.raises(TargetError, match="other labels than ham, spam"):
        target.answer_each(texts("x"))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("bdoy: {}", r"endpoint.yaml: an HTTP target has no option 'bdoy' \(did you mean 'body'\?\)"),
        ("body: {}", "endpoint.yaml: .*`response` must say where"),
        ("body: {}\nform: {}\nresponse: {flag: f}", "a `body` or a `form`, not both"),
        ("body: {}\nresponse: {}", "field response: .*either in `scores` or in `flag`"),
        ("rps: 0", "field rps: input should be greater than 0"),
        ("body: [", "can't be read as YAML"),
        ("- url", "this is no mapping|can't be read as YAML"),
    ],
)
def test_a_description_that_is_wrong_names_file_and_option(
    server: Server, tmp_path: Path, text: str, message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        open_target(described(tmp_path, server, text))


def test_a_description_that_is_not_there() -> None:
    with pytest.raises((ConfigError, OSError), match=r"nowhere\.yaml"):
        open_target("nowhere.yaml")


def test_a_described_server_may_speak_quire_s_protocol(server: Server, tmp_path: Path) -> None:
    path = tmp_path / "server.yaml"
    path.write_text(f"url: {server.url}\nheaders: {{Authorization: token}}\nrps: 1000\ntoxic_labels: [ham]\n")
    target = open_target(path)
    assert target.predict(texts("bad")) == ["spam"]
    assert target.toxic_labels == {"ham"}
    assert server.requests[0].headers["Authorization"] == "token"


def test_the_fingerprint_follows_address_template_and_version(server: Server) -> None:
    def prints(**options: Any) -> str:
        return opened(server, **options).fingerprint()

    first = prints()
    assert prints(timeout=3, rps=100, retries=0) == first
    server.describes = {**DESCRIPTION, "version": "8"}
    assert prints() != first
    template: dict[str, Any] = {"body": {"q": "{text}"}, "response": {"flag": "f"}, "task": "text-classification"}
    assert prints(**template) != prints(**{**template, "body": {"p": "{text}"}})
    assert prints(**template) == prints(**template)


def test_tasks_with_media_travel_whole(server: Server) -> None:
    server.describes = {**DESCRIPTION, "task": IMAGE_TEXT_CLASSIFICATION.name}
    seen = []

    def look(request: Request) -> Answer:
        seen.extend(IMAGE_TEXT_CLASSIFICATION.decode(sample) for sample in request.json["samples"])
        return 200, {"labels": LABELS, "probabilities": [[1, 0] for _ in request.json["samples"]]}

    server.answer = look
    opened(server).predict([{"image": IMAGE}, {"image": IMAGE, "text": "t", "target": "ham"}])
    assert [set(sample) for sample in seen] == [{"image"}, {"image", "text"}]
    assert np.array_equal(np.asarray(seen[0]["image"]), np.asarray(IMAGE))


# --- the server's half ------------------------------------------------------------------------------------------------


def local(**declared: Any) -> CallableTarget:
    """A classifier to be served, which can't judge "odd"."""

    def judge_texts(samples: list[Any]) -> Any:
        if any(sample.get("text") == "odd" for sample in samples):
            raise ValueError("odd")
        weights = np.array([[1 / (1 + len(sample.get("text", ""))), 1 / 3, 0.2] for sample in samples])
        return (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)

    config = {"labels": ("a", "b", "c"), "toxic_labels": ("c", "b"), "thresholds": {"b": 0.25}, **declared}
    return CallableTarget(judge_texts, CallableDeclaration(**config), task=IMAGE_TEXT_CLASSIFICATION)


def serve(server: Server, model: Any) -> None:
    server.describes = protocol.description(model)
    server.answer = lambda request: (200, protocol.reply(model, request.json))


def test_a_served_classifier_answers_as_it_does_here(server: Server) -> None:
    model = local(limits={"batch": 3, "text_characters": 50}, cost_per_call=0.5, deterministic=True)
    serve(server, model)
    target = open_target(server.url)
    for name in (
        "task",
        "labels",
        "label_kind",
        "toxic_labels",
        "thresholds",
        "limits",
        "deterministic",
        "cost_per_call",
    ):
        assert getattr(target, name) == getattr(model, name), name
    samples: list[Any] = [{"text": "x" * n, "id": str(n)} for n in range(7)] + [{"image": IMAGE}, {"text": "odd"}]
    here, there = model.answer_each(samples), target.answer_each(samples)
    assert np.array_equal(here[:-1], there[:-1])
    assert reasons(there)[-1] == reasons(here)[-1]


def test_what_a_server_can_not_read_is_told_for_each_sample() -> None:
    answer = protocol.reply(local(), {"samples": [{"text": "x"}, {"txt": "x"}, {"text": 3}, 7]})
    assert [row is None for row in answer["probabilities"]] == [False, True, True, True]
    assert [error["index"] for error in answer["errors"]] == [1, 2, 3]
    assert "there is no field 'txt' (did you mean 'text'?)" in answer["errors"][0]["reason"]
    for body in ([], {}, {"samples": {}}, None):
        with pytest.raises(InvalidSample, match="a request is"):
            protocol.reply(local(), body)


def test_a_served_version_changes_the_fingerprint(server: Server) -> None:
    serve(server, local())
    before = open_target(server.url).fingerprint()
    serve(server, local(toxic_labels=("a",)))
    assert open_target(server.url).fingerprint() != before
