"""The page of a report, opened in a browser: what is blurred, what a click shows, and that nothing comes from outside."""

from __future__ import annotations

import csv
import functools
import http.server
import json
import re
import shutil
import subprocess
import threading
from html.parser import HTMLParser
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from quire.dataset import InMemory
from quire.modality import Waveform
from quire.report import Report
from quire_duo.exhibits import choose
from quire_duo.plain import Plain
from quire_duo.rule import FusionRule, Slot
from quire_duo.task import CONTENT_MODERATION
from quire_duo.tester import Duo

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from types import SimpleNamespace

    from quire_duo.report import EfrReport


class AsItIs(FusionRule):
    """Shows a seed of one kind of content unchanged; the target of these tests passes what is not plain."""

    summary, guarantee = "unchanged", "carrier"

    def __init__(self, modality: str) -> None:
        self.id = f"X.{modality}"  # type: ignore[misc]
        self.slots = (Slot("seed", modality, "toxic"),)  # type: ignore[misc]
        self.produces = frozenset({modality})  # type: ignore[misc]

    def apply(self, parts: Any, parameters: Any, rng: Any, workshop: Any) -> Any:
        return Plain(self.slots[0].modality).apply(parts, parameters, rng, workshop)


def make_report(kit: SimpleNamespace, folder: Path | None = None) -> EfrReport:
    """Texts, pictures and sounds, all of which pass."""
    rng = np.random.default_rng(0)
    samples: list[dict[str, Any]] = [
        {"id": "words", "text": "glorps <script>alert(1)</script> & co", "target": "toxic"},
        {"id": "picture", "image": rng.integers(0, 255, (60, 90, 3), dtype=np.uint8), "target": "toxic"},
        {"id": "sound", "audio": Waveform(rng.normal(0, 0.1, (1, 4000)).astype(np.float32), 8000), "target": "toxic"},
    ]
    samples += [{**sample, "id": f"good-{sample['id']}", "target": "benign"} for sample in samples]
    target = kit.Told(
        lambda sample: 0.2, task=CONTENT_MODERATION, labels=("benign", "toxic"), toxic=frozenset({"toxic"})
    )
    rules = [AsItIs(modality) for modality in ("text", "image", "audio")]
    run = Duo(fusion_rules=rules, i_have_rights=True, seed_filter="all", validity=())
    report = run.test(target, InMemory(samples, task=CONTENT_MODERATION, name="three"), folder=folder)
    assert len(report.exhibits) == 3
    return report


class Links(HTMLParser):
    """Everything that a page would run or load."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.found: list[str] = re.findall(r"@import[^;]*|url\(\s*['\"]?(?!data:|#)[^)]*\)", text)
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in ("script", "iframe", "object", "embed", "link", "base"):
            self.found.append(tag)
        for name, value in attrs:
            if name.startswith("on") or (
                name in ("src", "srcset", "href", "poster") and not (value or "").startswith("data:")
            ):
                self.found.append(f"{name}={value}")


def test_the_page_needs_nothing_from_outside(duo_kit: SimpleNamespace) -> None:
    page = make_report(duo_kit).to_html()
    assert Links(page).found == []
    assert "default-src 'none'; img-src data:; media-src data:; style-src 'unsafe-inline'" in page
    assert "<script>" not in page
    assert "glorps &lt;script&gt;" in page


def test_rates_of_few_cases_are_grey(duo_kit: SimpleNamespace) -> None:
    target = duo_kit.Told(duo_kit.sees("glorp"))
    for per_rule, grey in ((19, 1), (20, 0)):
        run = Duo(fusion_rules=(duo_kit.Around(),), i_have_rights=True, per_rule=per_rule)
        page = run.test(target, duo_kit.make_seeds()).to_html()
        assert page.count('<tr class="few">') == grey


def test_what_is_written_beside_the_page(duo_kit: SimpleNamespace, tmp_path: Path) -> None:
    target = duo_kit.Told(duo_kit.sees("glorp"))
    report = Duo(fusion_rules=(duo_kit.Dots(),), i_have_rights=True).test(target, duo_kit.make_seeds())
    report.write(tmp_path)
    summary = json.loads((tmp_path / "summary.json").read_text())
    (rule,) = summary["rules"]
    with (tmp_path / "summary.csv").open() as file:
        (row,) = list(csv.DictReader(file))
    assert (int(row["n"]), int(row["errors"])) == (rule["efr"]["n"], rule["efr"]["hits"])
    assert float(row["control_fpr"]) == rule["control_fpr"]["rate"]
    read = Report.read(tmp_path)
    assert read["efr"] == report["efr"]
    assert {"Rules", "Yields", "Costs", "Findings"} <= {table.title for table in read.tables}
    assert not any(
        "very bad" in (tmp_path / name).read_text() for name in ("summary.json", "summary.csv", "report.json")
    )


def test_shown_cases_are_of_all_rules(duo_kit: SimpleNamespace) -> None:
    run = Duo(fusion_rules=(duo_kit.Dots(), duo_kit.Shuffle()), i_have_rights=True, seed_filter="all")
    report = run.test(duo_kit.Told(lambda sample: len(sample["text"]) / 1000), duo_kit.make_seeds())
    failing = [one for one in report.outcomes if one.error and one.rule != "identity"]
    shown = choose(failing, 10)
    assert [one.rule for one in shown] == ["X.dots", "X.shuffle"] * 5
    scores = [one.toxic_score for one in shown if one.rule == "X.dots"]
    assert scores == sorted(scores)  # type: ignore[type-var]
    assert min(one.toxic_score or 0 for one in failing if one.rule == "X.dots") == scores[0]


HARNESS = """<!doctype html><body><iframe id="page" src="report.html" style="width:1200px;height:4000px;border:0"></iframe>
<script>
const frame = document.getElementById("page");
frame.addEventListener("load", () => setTimeout(() => {
  const page = frame.contentDocument, view = frame.contentWindow;
  const look = () => [...page.querySelectorAll(".case > .veil .medium")].map(
    medium => [medium.tagName, view.getComputedStyle(medium).filter, view.getComputedStyle(medium).pointerEvents]);
  const sizes = [...page.querySelectorAll(".case > .veil img")].map(image => image.naturalWidth);
  const lengths = [...page.querySelectorAll(".case > .veil audio")].map(sound => sound.duration);
  const before = look();
  for (const veil of page.querySelectorAll(".case > .veil")) {
    const box = veil.getBoundingClientRect();
    page.elementFromPoint(box.x + box.width / 2, box.y + box.height / 2).click();
  }
  const after = look();
  const loaded = view.performance.getEntriesByType("resource").map(entry => entry.name);
  document.title = JSON.stringify({before, after, sizes, lengths, loaded: loaded.filter(name => !name.startsWith("data:"))});
}, 500));
</script></body>"""


@pytest.fixture
def browser() -> str:
    """The path of a Chromium."""
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    pytest.skip("there is no Chromium here: the page was not opened in a browser")


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[str, list[str]]]:
    """The address of a server of `tmp_path`, and what it was asked for."""
    asked: list[str] = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *arguments: Any) -> None:
            asked.append(self.path)

    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), functools.partial(Handler, directory=str(tmp_path))
    ) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{serving.server_port}", asked
        serving.shutdown()


def browse(browser: str, profile: Path, *arguments: str) -> str:
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"]
    command += [f"--user-data-dir={profile}", "--window-size=1280,2000", "--virtual-time-budget=8000", *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True, timeout=120).stdout


@pytest.mark.slow
def test_media_are_blurred_until_they_are_clicked(
    duo_kit: SimpleNamespace, tmp_path: Path, browser: str, server: tuple[str, list[str]]
) -> None:
    make_report(duo_kit).write(tmp_path)
    (tmp_path / "harness.html").write_text(HARNESS)
    address, asked = server
    dom = browse(browser, tmp_path / "profile", "--dump-dom", f"{address}/harness.html")
    title = re.search(r"<title>(.*?)</title>", dom, re.DOTALL)
    assert title is not None, dom[:2000]
    seen = json.loads(title.group(1).replace("&amp;", "&"))
    assert sorted(tag for tag, _, _ in seen["before"]) == ["AUDIO", "IMG", "SPAN"]
    assert all(blur.startswith("blur(") and pointer == "none" for _, blur, pointer in seen["before"])
    assert all((blur, pointer) == ("none", "auto") for _, blur, pointer in seen["after"])
    assert seen["sizes"] == [90]
    assert seen["lengths"] == [pytest.approx(0.5, abs=0.01)]
    assert seen["loaded"] == []
    assert [path for path in asked if "favicon" not in path] == ["/harness.html", "/report.html"]


@pytest.mark.slow
def test_a_picture_of_the_page(duo_kit: SimpleNamespace, tmp_path: Path, browser: str) -> None:
    """Blurred, the picture's noise is gone from the screenshot; the page as a whole is not empty."""
    from PIL import Image

    page = make_report(duo_kit).write(tmp_path / "report")
    bare = tmp_path / "bare.html"
    bare.write_text(re.sub(r"filter: blur\([^)]*\)( !important)?", "filter: none", page.read_text()))
    pictures = []
    for name, source in (("blurred", page), ("bare", bare)):
        browse(browser, tmp_path / "profile", f"--screenshot={tmp_path / name}.png", source.as_uri())
        with Image.open(tmp_path / f"{name}.png") as opened:
            pictures.append(np.asarray(opened.convert("L"), dtype=np.float64))
    blurred, sharp = pictures
    rough = [np.abs(np.diff(picture, axis=1)) for picture in pictures]
    changed = np.abs(blurred - sharp) > 8
    assert changed.sum() > 5_000
    assert rough[0][:, :][changed[:, 1:]].mean() < 0.35 * rough[1][changed[:, 1:]].mean()
    assert (blurred < 100).mean() > 0.002  # there are words on it
