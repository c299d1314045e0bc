"""The manual's code blocks, run in the order in which a reader meets them.

- ```python: runs; the blocks of one page share a namespace.
- any block with title="FILE": is written to that file.
- ```console: every line after "$ " runs in a shell; the lines below it are what it prints, with "..." for anything.
- anything else (```text, ```sh, ```ini): is for the eye alone.

Each page has a new empty folder as its working directory. `pip install .` builds the wheel and unpacks it where the
page's later commands find it, as an installer does, but takes nothing from a network.
The page for authors is read by test_writing_a_plugin.py.
"""

from __future__ import annotations

import os
import re
import runpy
import subprocess
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[1]
PAPERS = ROOT / "docs/papers"
PAGES = [
    ROOT / "README.md",
    *sorted(page for page in (ROOT / "docs").rglob("*.md") if not page.is_relative_to(PAPERS)),
]
TO_THE_LETTER = ROOT / "docs/writing-a-plugin.md"
"""The page that test_writing_a_plugin.py reads, in a new environment."""
FENCE = re.compile(r"^```(?P<language>\w+)(?: title=\"(?P<title>[^\"]+)\")?[^\n]*\n(?P<text>.*?)^```$", re.M | re.S)


@dataclass(frozen=True)
class Block:
    """A fenced block of code and the line on which its code begins."""

    language: str
    title: str | None
    text: str
    line: int


def blocks(page: Path) -> list[Block]:
    content = page.read_text()
    return [
        Block(found["language"], found["title"], found["text"], content[: found.start("text")].count("\n") + 1)
        for found in FENCE.finditer(content)
    ]


def shows(printed: str, output: str) -> bool:
    """Whether `output` is what the page prints.

    "..." alone on a line is any number of lines, as a word any number of words, in a word any text. Blanks don't count.
    """
    pattern = ""
    for line in plain(printed):
        words = re.sub(r" \.\.\.(?= |$)", "\0", line)
        text = re.escape(words).replace(re.escape("..."), ".*").replace(re.escape("\0"), "(?: .*)?")
        pattern += r"(?:.*\n)*?" if line == "..." else f"{text}\n"
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in plain(output))) is not None


def plain(text: str) -> list[str]:
    return [" ".join(line.split()) for line in text.splitlines() if line.strip()]


class Reader:
    """Does what the page says, in a folder and with a namespace of its own."""

    def __init__(self, page: Path, folder: Path) -> None:
        self.page = page
        self.folder = folder
        self.site = folder / ".site"
        self.namespace: dict[str, Any] = {"__name__": "__main__"}
        self.environment = {
            **os.environ,
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONPATH": str(self.site),
            "QUIRE_CACHE": str(folder / ".cache"),
            "COLUMNS": "200",
            "PYTHONWARNINGS": "ignore",
        }

    def do(self, block: Block) -> None:
        if block.title is not None:
            path = self.folder / block.title
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text)
        elif block.language == "python":
            source = "\n" * (block.line - 1) + block.text
            exec(compile(source, str(self.page), "exec"), self.namespace)
        elif block.language == "console":
            for exchange in re.split(r"^\$ ", block.text, flags=re.M)[1:]:
                command, _, printed = exchange.partition("\n")
                self.run(command, printed)

    def run(self, command: str, printed: str) -> None:
        if re.fullmatch(r"pip install (-e )?\.", command):
            self.install(command)
            return
        self.execute(command, printed)

    def execute(self, command: str, printed: str) -> None:
        done = subprocess.run(
            ["bash", "-c", command],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        assert done.returncode == (2 if printed.startswith("error:") else 0), f"$ {command}\n{done.stdout}"
        if printed.strip() and not shows(printed, done.stdout):
            pytest.fail(f"{self.page.name} says that `{command}` prints\n{printed}\nbut it prints\n{done.stdout}")

    def install(self, command: str) -> None:
        build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", ".wheels"]
        subprocess.run(build, cwd=self.folder, check=True, capture_output=True)
        for wheel in (self.folder / ".wheels").glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(self.site)


@pytest.mark.slow
@pytest.mark.parametrize(
    "page", [page for page in PAGES if page != TO_THE_LETTER], ids=lambda page: page.relative_to(ROOT).as_posix()
)
def test_page_does_what_it_says(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    reader = Reader(page, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(reader.site)
    for block in blocks(page):
        reader.do(block)


def test_every_fence_is_read() -> None:
    """A fence that the expression above does not match would never run."""
    for page in PAGES:
        content = page.read_text()
        assert len(re.findall(r"^\s*```", content, flags=re.M)) == 2 * len(blocks(page)), page


def test_output_that_differs_is_noticed(tmp_path: Path) -> None:
    reader = Reader(ROOT / "README.md", tmp_path)
    reader.run("echo one; echo two", "one\n...\n")
    reader.run("echo one two three", "one ... two ...\n")
    reader.run("echo one two three", "o... th...ee\n")
    with pytest.raises(pytest.fail.Exception, match="says that"):
        reader.run("echo one", "two\n")
    with pytest.raises(AssertionError):
        reader.run("exit 3", "")


def test_the_pages_of_papers_are_those_of_their_readmes_and_options() -> None:
    module = runpy.run_path(str(ROOT / ".ci/paper_pages.py"))
    made = module["pages"]()
    kept = {page.name: page.read_text() for page in PAPERS.glob("*.md")}
    assert kept == made, "run: python .ci/paper_pages.py"
