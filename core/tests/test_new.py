"""`quire new`: whatever it writes works as it is, and what it can't write it leaves alone."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema  # type: ignore[import-untyped]
import pytest
from hypothesis import given
from hypothesis import strategies as st

from quire.cli import new, run_command_line
from quire.cli.schemas import SCHEMAS
from quire.errors import ConfigError, MissingExtra, PluginError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytest.importorskip("copier", reason="the extra [new] is not installed")
MODELS = ("classifier", "embedder", "generator", "transform")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, toy_plugin: Path) -> Path:
    """An empty folder to work in."""
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def contents(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_text() for path in files}


def quire(*arguments: object) -> int:
    return run_command_line([str(argument) for argument in arguments])


@pytest.mark.slow
@pytest.mark.parametrize("kind", new.KINDS)
def test_a_new_plugin_passes_its_own_tests(here: Path, installed: Callable[[Path], Path], kind: str) -> None:
    """Among them the conformance suite, on everything that the plugin offers."""
    assert quire("new", "mine", "--kind", kind) == 0
    installed(Path("mine"))
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    done = subprocess.run(command, cwd=here / "mine", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout
    assert " passed" in done.stdout


@pytest.mark.parametrize("kind", MODELS)
def test_a_new_model_goes_from_sample_to_predictions(here: Path, installed: Callable[[Path], Path], kind: str) -> None:
    assert quire("new", "mine", "--kind", kind) == 0
    installed(Path("mine"))
    assert quire("sample", "mine", "data") == 0
    assert quire("train", "mine", "--data", "data", "--device", "cpu") == 0
    assert quire("evaluate", "runs/latest") == 0
    metrics = json.loads(Path("runs/latest/report.json").read_text())["metrics"]
    name, least = ("accuracy", 0.9) if kind in ("classifier", "embedder") else ("r2", 0.7)
    assert metrics[name]["value"] > least
    files = sorted(path for path in Path("data").iterdir() if "train" not in path.name)
    assert quire("predict", "runs/latest", *files, "--output", "predictions.jsonl") == 0
    assert Path("predictions.jsonl").read_text().count("\n") == (40 if name == "accuracy" else 30)


def test_the_commands_that_come_next_are_told(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert quire("new", "my-method", "--folder", "work/my method") == 0
    assert capsys.readouterr().out.splitlines() == [
        "work/my method  (classifier, quire-my-method, Apache-2.0)",
        "next:",
        "  pip install -e 'work/my method'",
        "  quire check my-method",
        "  quire sample my-method my-method-data",
        "  quire train my-method --data my-method-data",
    ]


def test_the_result_as_json(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert quire("new", "mine", "--kind", "tester", "--json") == 0
    made = json.loads(capsys.readouterr().out)
    jsonschema.validate(made, SCHEMAS["new"])
    assert (made["package"], made["distribution"], made["next"][-1]) == (
        "quire_mine",
        "quire-mine",
        "quire test mine --target RUN",
    )
    assert set(made["files"]) == set(contents(Path("mine")))


@pytest.mark.parametrize("kind", new.KINDS)
@pytest.mark.parametrize("license_", new.LICENSES)
def test_the_manifest_says_what_was_answered(here: Path, kind: str, license_: str) -> None:
    summary, author = 'A "quoted" \\ line 😀', 'Zoë "Z" Ö'
    made = new.new_plugin(
        "mine", Path("mine"), {"kind": kind, "summary": summary, "license": license_, "author": author}
    )
    files = contents(Path("mine"))
    project: dict[str, Any] = tomllib.loads(files["pyproject.toml"])["project"]
    assert (project["name"], project["description"], project["license"]) == ("quire-mine", summary, license_)
    assert project["authors"] == [{"name": author}]
    group = "quire.testers" if kind == "tester" else "quire.models"
    assert project["entry-points"][group]["mine"].startswith("quire_mine.")
    assert (author in files["LICENSE"]) == (license_ != "Apache-2.0")
    assert {"README.md", "tox.ini", "src/quire_mine/py.typed", "tests/test_conformance.py", ".gitignore"} <= set(files)
    assert not [name for name, text in files.items() if "{{" in text or "{%" in text or name.endswith(".jinja")]
    for name, text in files.items():
        if name.endswith(".py"):
            compile(text, name, "exec")
    assert made["kind"] == kind


@pytest.mark.parametrize("kind", new.KINDS)
def test_the_code_keeps_its_own_style(here: Path, kind: str) -> None:
    ruff = pytest.importorskip("ruff", reason="ruff is not installed").find_ruff_bin()
    for name in ("a", "quite-a-long-name-for-a-method"):
        new.new_plugin(name, Path(name), {"kind": kind})
        for command in (["check", "--no-cache"], ["format", "--check"]):
            done = subprocess.run([ruff, *command, name], capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.slow
def test_the_code_is_fully_typed(here: Path) -> None:
    pytest.importorskip("mypy", reason="mypy is not installed")
    for kind in new.KINDS:
        new.new_plugin(f"a-{kind}", Path(kind), {"kind": kind})
    sources = [f"{kind}/src" for kind in new.KINDS]
    core = str(Path(new.__file__).parents[2])
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", "--cache-dir", os.devnull, *sources],
        env={**os.environ, "MYPYPATH": os.pathsep.join([*sources, core])},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["My_Method"], "'My_Method' can't be the name of a plugin (did you mean 'my-method'?)"),
        (["2nd"], "'2nd' can't be the name of a plugin (did you mean 'nd'?)"),
        (["a--b"], "'a--b' can't be the name of a plugin (did you mean 'a-b'?)"),
        (["ä"], "'ä' can't be the name of a plugin. It is lower-case"),
        (["quire-mine"], "'quire-mine' can't be the name of a plugin (did you mean 'mine'?)"),
        (["../mine"], "'../mine' can't be the name of a plugin (did you mean 'mine'?)"),
        (["toy"], "the name 'toy' is taken by the model of quire-toy 0.1.0"),
        (["folder"], "the name 'folder' is taken by the dataset of quire-core"),
        (["core"], "a package quire-core is installed already"),
        (["tim"], "the name 'tim' is that of quire-tim"),
        (["mine", "--kind", "clasifier"], "--kind is 'clasifier' (did you mean 'classifier'?)"),
        (["mine", "--license", "mit"], "--license is 'mit'"),
        (["mine", "--summary", "two\nlines"], "--summary is 'two\\nlines'. Write one line."),
        (["mine", "--author", " "], "--author is ' '. Write one line."),
        (["mine", "--folder", "full"], "full: is not an empty folder. Name another one with --folder."),
        (["mine", "--folder", "full/file"], "full/file: is not an empty folder."),
    ],
)
def test_what_can_not_be_is_one_sentence(
    here: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], message: str
) -> None:
    Path("full").mkdir()
    Path("full/file").write_text("mine")
    assert quire("new", *arguments) == 2
    error = capsys.readouterr().err
    assert error.startswith(f"error: {message}")
    assert error.count("\n") == 1
    assert contents(here) == {"full/file": "mine"}
    assert [path.name for path in here.iterdir()] == ["full"]


def test_an_empty_folder_is_as_good_as_none(here: Path) -> None:
    Path("mine").mkdir()
    assert quire("new", "mine") == 0
    assert Path("mine/pyproject.toml").is_file()


def test_nothing_is_left_half_written(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    render = new._render

    def breaks(part: str, *arguments: Any, **options: Any) -> dict[str, Any]:
        if part != "common":
            raise KeyboardInterrupt
        return render(part, *arguments, **options)

    monkeypatch.setattr(new, "_render", breaks)
    assert quire("new", "mine") == 130
    assert list(here.iterdir()) == []


def test_without_the_extra_the_install_command_is_named(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "copier", None)
    with pytest.raises(MissingExtra, match=r"pip install 'quire-core\[new\]'"):
        new.new_plugin("mine", Path("mine"), {})
    assert list(here.iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="there is no pseudo-terminal")
def test_on_a_terminal_what_is_not_given_is_asked_for(here: Path) -> None:
    """The second kind of the list is chosen with the arrow key; everything else is taken as it is offered."""
    import pty

    terminal, end = pty.openpty()
    command = [sys.executable, "-m", "quire.cli", "new", "mine", "--license", "MIT"]
    with subprocess.Popen(command, stdin=end, stdout=end, stderr=end, env={**os.environ, "TERM": "xterm"}) as process:
        os.close(end)
        shown = ""
        for question, answer in (("offer", b"\x1b[B\r"), ("in a line", b"\r"), ("copyright", b"\x15Ada\r")):
            shown += "".join(read_until(terminal, question))
            os.write(terminal, answer)
        shown += "".join(read_until(terminal, "quire train"))
        assert process.wait(timeout=60) == 0
    os.close(terminal)
    assert "licence" not in shown
    project = tomllib.loads(Path("mine/pyproject.toml").read_text())["project"]
    assert (project["license"], project["authors"]) == ("MIT", [{"name": "Ada"}])
    assert "Embedder" in Path("mine/src/quire_mine/model.py").read_text()


def read_until(terminal: int, text: str) -> Iterator[str]:
    """What the terminal shows, up to where `text` has come."""
    seen = ""
    while text not in seen:
        part = os.read(terminal, 4096).decode(errors="replace")
        seen += part
        yield part


@pytest.mark.parametrize(
    ("version", "requirement"),
    [("0.1.0", ">=0.1,<0.2"), ("0.9.3", ">=0.9,<0.10"), ("2.4.1", ">=2.4,<3"), ("1.0.0rc1", ">=1.0,<2")],
)
def test_a_plugin_is_built_for_the_installed_core(version: str, requirement: str) -> None:
    assert new.compatible(version) == requirement


def test_the_requirement_admits_the_core_that_wrote_it(toy_plugin: Path) -> None:
    from packaging.specifiers import SpecifierSet

    version = importlib.metadata.version("quire-core")
    assert SpecifierSet(new.compatible(version)).contains(version, prereleases=True)


def test_class_names_hide_nothing_that_the_modules_use() -> None:
    assert new.class_name("my-method") == "MyMethod"
    for name in ("classifier", "model", "path", "any", "value-error", "exception", "curves"):
        assert new.class_name(name).endswith("Method")


@given(st.text())
def test_a_name_is_usable_or_refused(name: str) -> None:
    try:
        new.require_name(name)
    except (ConfigError, PluginError):
        return
    assert f"quire_{name.replace('-', '_')}".isidentifier()
    assert new.class_name(name).isidentifier()
