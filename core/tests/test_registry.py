"""Discovery in environments where real distributions are installed: sound, broken, rival and outdated ones."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
import json
import os
import subprocess
import sys
import tomllib
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

import quire

CORE = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
VERSION = CORE["version"]


@dataclass
class Package:
    """A distribution to be built: `files` by path, `points` by entry point group."""

    name: str
    points: dict[str, dict[str, str]]
    files: dict[str, str] = field(default_factory=dict)
    version: str = "1.0"
    requires: tuple[str, ...] = ()
    summary: str = "A plugin for a test"
    paper: str = ""

    def build(self, folder: Path) -> Path:
        stem = f"{self.name.replace('-', '_')}-{self.version}"
        metadata = [f"Metadata-Version: 2.1\nName: {self.name}\nVersion: {self.version}\nSummary: {self.summary}"]
        metadata += [f"Requires-Dist: {requirement}" for requirement in self.requires]
        metadata += ["Project-URL: Homepage, https://example.org"]
        metadata += [f"Project-URL: Paper, {self.paper}"] if self.paper else []
        groups = [
            f"[{group}]\n" + "\n".join(f"{k} = {v}" for k, v in each.items()) for group, each in self.points.items()
        ]
        content = {
            **self.files,
            f"{stem}.dist-info/METADATA": "\n".join(metadata) + "\n",
            f"{stem}.dist-info/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            f"{stem}.dist-info/entry_points.txt": "\n\n".join(groups) + "\n",
        }
        record = "".join(f"{name},sha256={_digest(text)},{len(text.encode())}\n" for name, text in content.items())
        content[f"{stem}.dist-info/RECORD"] = f"{record}{stem}.dist-info/RECORD,,\n"
        path = folder / f"{stem}-py3-none-any.whl"
        with zipfile.ZipFile(path, "w") as wheel:
            for name, text in content.items():
                wheel.writestr(name, text)
        return path


def _digest(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()


class Environment:
    """A folder that distributions are installed into, and Python processes that see it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.target = folder / "site"
        self.target.mkdir()

    def install(self, *packages: Package) -> None:
        wheels = [package.build(self.folder) for package in packages]
        if importlib.util.find_spec("pip") is None:
            for wheel in wheels:
                zipfile.ZipFile(wheel).extractall(self.target)
            return
        options = ["--no-deps", "--no-index", "--no-compile", "--upgrade", "--disable-pip-version-check", "--quiet"]
        command = [sys.executable, "-m", "pip", "install", *options, "--target", str(self.target)]
        subprocess.run([*command, *map(str, wheels)], check=True, capture_output=True)

    def run(self, code: str) -> Any:
        """What `code`, in a process of its own, leaves in `answer`."""
        source = Path(quire.__file__).parents[1]
        process = subprocess.run(
            [sys.executable, "-c", f"import json, sys\n{code}\nprint('\\n' + json.dumps(answer))"],
            env={
                **os.environ,
                "PYTHONPATH": os.pathsep.join([str(self.target), str(source)]),
                "XDG_CACHE_HOME": str(self.folder / "cache"),
            },
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
        )
        assert process.returncode == 0, process.stderr
        return json.loads(process.stdout.splitlines()[-1])

    def ask(self, *expressions: str) -> list[Any]:
        """The values of expressions about `registry`; an error is its class and message."""
        answers: list[Any] = self.run(
            f"""
from quire import registry
from quire.errors import QuireError
answer = []
for expression in {list(expressions)!r}:
    try:
        answer.append(eval(expression))
    except QuireError as error:
        answer.append([type(error).__name__, str(error)])
"""
        )
        return answers


MODEL = """
from pydantic import BaseModel, Field
class Config(BaseModel, extra="forbid"):
    channels: int = Field(default=4, gt=0)
class Sound:
    Config = Config
    def __init__(self, config): self.config = config
class Plain: pass
"""

PACKAGES = [
    Package("quire-core", CORE["entry-points"], version=VERSION, summary=CORE["description"]),
    Package(
        "quire-sound",
        {
            "quire.models": {"sound": "quire_sound.model:Sound", "both": "quire_sound.model:Plain"},
            "quire.datasets": {"noises": "quire_sound.model:Plain", "both": "quire_sound.model:Plain"},
            "quire.weights": {"tiny": "quire_sound:WEIGHTS"},
            "quire.hooks": {"listener": "quire_sound"},
        },
        {"quire_sound/__init__.py": "WEIGHTS = 'folder'\n", "quire_sound/model.py": MODEL},
        requires=(f"quire-core[audio] (>=0.0.1,<={VERSION})", "numpy", "quire-core>=99 ; extra == 'future'"),
        summary="Hears everything",
        paper="https://example.org/paper",
        version="2.3",
    ),
    Package(
        "quire-broken",
        {
            "quire.models": {
                "broken": "quire_broken:Model",
                "quitter": "quire_broken.quitter:Model",
                "hollow": "quire_broken.hollow:Model",
            }
        },
        {
            "quire_broken/__init__.py": "",
            "quire_broken/model.py": "",
            "quire_broken/quitter.py": "raise SystemExit('no licence')",
            "quire_broken/hollow.py": "import no_such_module",
        },
    ),
    Package(
        "twin-one", {"quire.models": {"twin": "twin_one:A", "copy": "twin_shared:A"}}, {"twin_one.py": "class A: pass"}
    ),
    Package(
        "twin-two", {"quire.models": {"twin": "twin_two:B", "copy": "twin_shared:A"}}, {"twin_two.py": "class B: pass"}
    ),
    Package(
        "quire-ancient",
        {"quire.models": {"ancient": "quire_ancient:Model"}},
        {"quire_ancient.py": "raise RuntimeError('must not be imported')"},
        requires=("Quire_Core<0.0.1",),
        version="0.3",
    ),
    Package("stranger", {"console_scripts": {"stranger": "stranger:main"}, "other.models": {"sound": "stranger:X"}}),
]


@pytest.fixture(scope="module")
def environment(tmp_path_factory: pytest.TempPathFactory) -> Environment:
    environment = Environment(tmp_path_factory.mktemp("environment"))
    environment.install(*PACKAGES)
    return environment


def test_listing_imports_no_plugin_and_nothing_heavy(environment: Environment) -> None:
    listed, loaded = environment.run(
        """
import quire
bare = set(sys.modules)
from quire import registry
listed = [registry.names("model"), registry.describe("sound").summary, len(registry.descriptions())]
loaded = [sorted({name.partition(".")[0] for name in modules}) for modules in (bare, sys.modules)]
answer = listed, loaded
"""
    )
    assert {"sound", "broken", "ancient"} <= set(listed[0])
    assert listed[1] == "Hears everything"
    assert not {"torch", "numpy", "pydantic", "stevedore", "packaging", "importlib.metadata"} & set(loaded[0])
    assert not {"torch", "numpy", "pydantic", "quire_sound", "quire_broken", "twin_one", "quire_ancient"} & set(
        loaded[1]
    )


def test_describes_plugins_and_core_from_their_metadata(environment: Environment) -> None:
    sound, tasks, core = environment.ask(
        "vars(registry.describe('sound'))", "registry.names('task')", "vars(registry.describe('folder', 'dataset'))"
    )
    assert sound == {
        "name": "sound",
        "kind": "model",
        "summary": "Hears everything",
        "distribution": "quire-sound",
        "version": "2.3",
        "target": "quire_sound.model:Sound",
        "paper": "https://example.org/paper",
        "requires_core": f"<={VERSION},>=0.0.1",
    }
    assert set(CORE["entry-points"]["quire.tasks"]) <= set(tasks)
    assert (core["distribution"], core["version"], core["requires_core"]) == ("quire-core", VERSION, None)


def test_gets_classes_modules_and_values(environment: Environment) -> None:
    assert environment.ask(
        "registry.get('sound').__name__",
        "registry.get('noises').__name__",
        "registry.get('tiny', 'weights')",
        "registry.get('listener', 'hook').__name__",
        "registry.get('both', 'dataset').__name__",
    ) == ["Sound", "Plain", "folder", "quire_sound", "Plain"]


def test_creates_with_a_validated_configuration(environment: Environment) -> None:
    default, given, plain, unknown, bad, none = environment.ask(
        "registry.create('sound').config.channels",
        "registry.create('sound', channels=7).config.channels",
        "type(registry.create('noises', 'dataset')).__name__",
        "registry.create('sound', chanels=7)",
        "registry.create('sound', channels=-1)",
        "registry.create('noises', 'dataset', loud=True)",
    )
    assert (default, given, plain) == (4, 7, "Plain")
    assert unknown[0] == bad[0] == none[0] == "ConfigError"
    assert "sound has no option 'chanels' (did you mean 'channels'?)" in unknown[1]
    assert "channels" in bad[1]
    assert "-1" in bad[1]
    assert "'loud'" in none[1]


def test_unknown_names(environment: Environment) -> None:
    close, cased, far, elsewhere, kind = environment.ask(
        "registry.get('soundd')",
        "registry.describe('SOUND', 'model')",
        "registry.get('xyzzy-plugh', 'evaluator')",
        "registry.get('noises', 'model')",
        "registry.names('modle')",
    )
    assert close == [
        "PluginError",
        "there is no plugin named 'soundd' (did you mean 'sound'?). `quire list` shows what is installed.",
    ]
    assert "did you mean 'sound'" in cased[1]
    assert far[1].startswith("there is no evaluator named 'xyzzy-plugh'. ")
    assert elsewhere[1] == "there is no model named 'noises'; it is the name of a dataset"
    assert kind[0] == "ConfigError"
    assert "'modle' (did you mean 'model'?)" in kind[1]


def test_official_plugins_that_are_missing_come_with_their_command(tmp_path: Path) -> None:
    from quire.registry import OFFICIAL

    assert len(OFFICIAL) == 11
    environment = Environment(tmp_path)
    environment.install(PACKAGES[0])
    answers = environment.ask(
        "registry.names()", *(f"str(registry.get({name!r}))" for name in OFFICIAL), "registry.get('metagrll')"
    )
    installed = answers[0]
    for (name, distribution), answer in zip(OFFICIAL.items(), answers[1:-1], strict=True):
        if name not in installed:  # the whole suite may run where all are
            message = f"{name!r} is not installed. Install it with: pip install {distribution}"
            assert answer == ["PluginError", message]
    assert "(did you mean 'metagrl'?)" in answers[-1][1]


def test_an_import_failure_names_plugin_distribution_and_cause_and_stays_alone(environment: Environment) -> None:
    missing, hollow, quitter, sound = environment.ask(
        "registry.get('broken')",
        "registry.get('hollow')",
        "registry.get('quitter')",
        "registry.get('sound').__name__",
    )
    assert missing[0] == hollow[0] == quitter[0] == "PluginError"
    assert missing[1].startswith("the model 'broken' of quire-broken 1.0 can't be imported (AttributeError: ")
    assert "'Model'" in missing[1]
    assert "(ModuleNotFoundError: No module named 'no_such_module')" in hollow[1]
    assert "(SystemExit: no licence)" in quitter[1]
    assert "pip install --upgrade quire-broken" in hollow[1]
    assert sound == "Sound"


@pytest.mark.parametrize("name", ["twin", "copy"])
def test_two_claims_name_both_and_neither_wins(environment: Environment, name: str) -> None:
    error, described, listed, imported, sound = environment.ask(
        f"registry.get({name!r})",
        f"registry.describe({name!r}, 'model')",
        f"[each.distribution for each in registry.descriptions('model') if each.name == {name!r}]",
        "[module for module in ('twin_one', 'twin_two') if module in sys.modules]",
        "registry.get('sound').__name__",
    )
    assert error[0] == "PluginError"
    assert error[1].startswith(f"the model {name!r} is claimed by twin-one 1.0 and by twin-two 1.0. ")
    assert described == error
    assert listed == ["twin-one", "twin-two"]
    assert imported == []
    assert sound == "Sound"


def test_another_core_names_both_versions_and_is_not_imported(environment: Environment) -> None:
    error, described, imported, sound = environment.ask(
        "registry.get('ancient')",
        "registry.describe('ancient').requires_core",
        "'quire_ancient' in sys.modules",
        "registry.get('sound').__name__",
    )
    assert error == [
        "PluginError",
        f"the model 'ancient' of quire-ancient 0.3 is built for quire-core <0.0.1, and quire-core {VERSION} is installed. "
        "Install a pair that fits: pip install --upgrade quire-core quire-ancient",
    ]
    assert described == "<0.0.1"
    assert not imported
    assert sound == "Sound"


def test_a_name_of_two_kinds_has_to_be_said_with_its_kind(environment: Environment) -> None:
    (error,) = environment.ask("registry.get('both')")
    assert error == [
        "PluginError",
        "'both' is the name of a model and a dataset. Say which: kind='model' or kind='dataset'.",
    ]


def test_problems_reports_everything_that_is_wrong_and_nothing_else(environment: Environment) -> None:
    # core's own entry points are imported as well; only those of the packages above are looked at
    (found,) = environment.ask("[vars(each) for each in registry.problems()]")
    messages = {each["name"]: each["message"] for each in found if each["distributions"] != ["quire-core"]}
    ours = {name for package in PACKAGES[1:] for group in package.points.values() for name in group}
    assert set(messages) & ours == {"broken", "quitter", "hollow", "twin", "copy", "ancient"}
    twin = next(each for each in found if each["name"] == "twin")
    assert (twin["kind"], twin["distributions"]) == ("model", ["twin-one", "twin-two"])
    expected = environment.ask(*(f"registry.get({name!r})" for name in ("broken", "twin", "ancient")))
    assert [messages[name] for name in ("broken", "twin", "ancient")] == [message for _, message in expected]


def test_a_reinstallation_is_seen_at_once(tmp_path: Path) -> None:
    """Even within the two minutes in which stevedore's cache still answers for the old one."""
    environment = Environment(tmp_path)
    files = {"quire_draft.py": "class Model: pass"}
    environment.install(Package("quire-draft", {"quire.models": {"first-name": "quire_draft:Model"}}, files))
    assert "first-name" in environment.ask("registry.names()")[0]
    environment.install(Package("quire-draft", {"quire.models": {"second-name": "quire_draft:Model"}}, files))
    names, found = environment.ask("registry.names()", "registry.get('second-name').__name__")
    assert "first-name" not in names
    assert found == "Model"


def test_a_damaged_installation_is_left_out_and_hurts_no_other(tmp_path: Path) -> None:
    environment = Environment(tmp_path)
    points = {"quire.models": {"whole": "quire_whole:Model"}}
    environment.install(Package("quire-whole", points, {"quire_whole.py": "class Model: pass"}))
    sound = "Metadata-Version: 2.1\nName: {}\nVersion: 1.0\n"
    for name, line, metadata in [
        ("garbled", "garbled", sound),
        ("demanding", "demanding = wreck:Model", sound + "Requires-Dist: quire-core =! 1\n"),
        ("nameless", "nameless = wreck:Model", ""),
    ]:
        wreck = environment.target / f"{name}-1.0.dist-info"
        wreck.mkdir()
        (wreck / "entry_points.txt").write_text(f"[quire.models]\n{line}\n")
        if metadata:
            (wreck / "METADATA").write_text(metadata.format(name))
    names, found = environment.ask("registry.names('model')", "registry.get('whole').__name__")
    assert found == "Model"
    assert "whole" in names
    assert not {"garbled", "demanding", "nameless"} & set(names)


def test_the_package_offers_what_it_says() -> None:
    assert set(quire.__all__) == {*quire._HOMES, "__version__", "registry"}
    for name in quire.__all__:
        assert getattr(quire, name) is not None
    assert set(quire.__all__) <= set(dir(quire))
    with pytest.raises(AttributeError, match="no_such_name"):
        quire.no_such_name  # noqa: B018


def test_a_plugin_may_have_an_entry_point_group_of_its_own(environment: Environment) -> None:
    environment.install(
        Package(
            "quire-shapes",
            {"quire.models": {"shapes": "quire_shapes:Shapes"}, "quire.corners": {"C.round": "quire_shapes:Round"}},
            {"quire_shapes.py": "class Shapes: pass\nclass Round: pass\n"},
        ),
        Package("extra-corners", {"quire.corners": {"C.sharp": "extra_corners:Sharp"}}, {"extra_corners.py": ""}),
    )
    answers = environment.ask(
        "registry.names('quire.corners')",
        "'C.round' in registry.names()",
        "registry.get('C.round', 'quire.corners').__name__",
        "registry.get('C.ruond', 'quire.corners')",
        "registry.get('C.sharp', 'quire.corners')",
        "registry.get('C.round')",
    )
    assert answers[:3] == [["C.round", "C.sharp"], False, "Round"]
    assert answers[3][1].startswith("there is no quire.corners named 'C.ruond' (did you mean 'C.round'?)")
    assert "extra-corners" in answers[4][1]
    assert answers[5][1].startswith("there is no plugin named 'C.round'") or "quire.corners" in answers[5][1]
