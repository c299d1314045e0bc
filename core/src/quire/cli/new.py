"""`quire new NAME`: a complete plugin package, ready to be installed, checked and trained."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from quire.cli.options import Json, words

if TYPE_CHECKING:
    from collections.abc import Mapping

KINDS = ("classifier", "embedder", "generator", "transform", "tester")
LICENSES = ("Apache-2.0", "MIT", "BSD-3-Clause")
TEMPLATE = Path(__file__).parents[1] / "template"


def command(
    name: Annotated[str, typer.Argument(help="The plugin's name: lower-case letters, digits and single hyphens.")],
    kind: Annotated[
        str | None, typer.Option(help=f"What it offers: {', '.join(KINDS)}.", autocompletion=words(*KINDS))
    ] = None,
    folder: Annotated[Path | None, typer.Option(help="A new or empty folder for it; default: NAME.")] = None,
    summary: Annotated[str | None, typer.Option(help="What it does, in a line.")] = None,
    license_: Annotated[
        str | None, typer.Option("--license", help=f"{', '.join(LICENSES)}.", autocompletion=words(*LICENSES))
    ] = None,
    author: Annotated[str | None, typer.Option(help="Who holds the copyright.")] = None,
    defaults: Annotated[
        bool, typer.Option("--defaults", help="Ask nothing; what is not given has its default.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write a plugin package that works as it is: a small model or tester, its tests, and all that surrounds them."""
    import sys

    from quire.cli.output import print_json

    given = {"kind": kind, "summary": summary, "license": license_, "author": author}
    ask = not defaults and not as_json and sys.stdin.isatty()
    made = new_plugin(
        name, folder or Path(name), {key: value for key, value in given.items() if value is not None}, ask
    )
    if as_json:
        print_json(made)
        return
    print(f"{made['folder']}  ({made['kind']}, {made['distribution']}, {made['license']})")
    print("next:")
    for line in made["next"]:
        print(f"  {line}")


def new_plugin(name: str, folder: Path, answers: Mapping[str, str], ask: bool = False) -> dict[str, Any]:
    """Write the package of a plugin called `name` into `folder`, and tell what it is and which commands come next.

    `answers` are those of template/copier.yml that are known: kind, summary, license, author; the others are asked for
    on the terminal, or have their defaults. The folder appears once it is complete.
    Raises ConfigError for a name or an answer that can't be used, PluginError for a name that is taken, DataError for a
    folder that holds anything, MissingExtra without copier.
    """
    from quire.errors import require
    from quire.storage import atomic_folder

    require_name(name)
    _require_choice("--kind", answers.get("kind"), KINDS)
    _require_choice("--license", answers.get("license"), LICENSES)
    for option in ("summary", "author"):
        _require_line(f"--{option}", answers.get(option))
    _require_new(folder)
    require("copier", extra="new", purpose="`quire new`")
    facts = {**_facts(name), **answers}
    with atomic_folder(folder) as building:
        chosen = _render("common", building, facts, ask=ask)
        _render(chosen["kind"], building, chosen, ask=False)
        files = sorted(path.relative_to(building).as_posix() for path in building.rglob("*") if path.is_file())
    return {
        "name": name,
        "kind": chosen["kind"],
        "distribution": chosen["distribution"],
        "package": chosen["package"],
        "license": chosen["license"],
        "folder": str(folder),
        "files": files,
        "next": _next_commands(name, chosen["kind"], folder),
    }


def require_name(name: str) -> None:
    """ConfigError for a name that no plugin can have, PluginError for one that another plugin has."""
    import re
    from importlib import metadata

    from quire import registry
    from quire.errors import ConfigError, PluginError

    if not re.fullmatch(r"(?!quire-)[a-z][a-z0-9]*(-[a-z0-9]+)*", name):
        usable = re.sub(r"[^a-z0-9]+", "-", name.lower()).removeprefix("quire-").lstrip("-0123456789").rstrip("-")
        raise ConfigError(
            f"{name!r} can't be the name of a plugin" + (f" (did you mean {usable!r}?)" if usable else ""),
            remedy="It is lower-case letters, digits and single hyphens, a letter first; the package adds 'quire-' itself.",
        )
    taken = [entry for entry in registry.descriptions() if entry.name == name]
    if taken:
        raise PluginError(
            f"the name {name!r} is taken by the {taken[0].kind} of {taken[0].distribution} {taken[0].version}",
            remedy="Choose another one; `quire list` shows all that are taken.",
        )
    if name in registry.OFFICIAL:
        raise PluginError(f"the name {name!r} is that of {registry.OFFICIAL[name]}", remedy="Choose another one.")
    try:
        metadata.distribution(f"quire-{name}")
    except metadata.PackageNotFoundError:
        return
    raise PluginError(f"a package quire-{name} is installed already", remedy="Choose another name.")


def _require_choice(option: str, value: str | None, known: tuple[str, ...]) -> None:
    from quire.errors import ConfigError, nearest

    if value is not None and value not in known:
        raise ConfigError(f"{option} is {value!r}{nearest(value, known)}", remedy=f"Use {', '.join(known)}.")


def _require_line(option: str, value: str | None) -> None:
    from quire.errors import ConfigError

    if value is not None and (not value.strip() or not value.isprintable()):
        raise ConfigError(f"{option} is {value!r}", remedy="Write one line.")


def _require_new(folder: Path) -> None:
    from quire.errors import DataError, Where

    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DataError("is not an empty folder", where=Where(file=folder), remedy="Name another one with --folder.")


def _facts(name: str) -> dict[str, str]:
    """What the template needs to know beside the answers."""
    from datetime import UTC, datetime

    from quire import __version__

    return {
        "name": name,
        "distribution": f"quire-{name}",
        "package": f"quire_{name.replace('-', '_')}",
        "class_name": class_name(name),
        "core": compatible(__version__),
        "year": str(datetime.now(UTC).year),
    }


def class_name(name: str) -> str:
    """`name` in camel case; with "Method" after it where the plugin's modules use that name for something else."""
    import builtins

    import quire
    from quire import model

    written = "".join(part[:1].upper() + part[1:] for part in name.split("-"))
    used = {*quire.__all__, *model.__all__, *vars(builtins), "Any", "Field", "Path", "Self", "Tensor", "Optimization"}
    used |= {"Curves", "Finding", "Label", "Options", "Rows", "Sample", "Score", "Selection", "Sequence", "Vector"}
    return f"{written}Method" if written in used else written


def compatible(version: str) -> str:
    """The requirement on a core that speaks as `version` does: up to the next minor version of 0.x, else the next major."""
    from packaging.version import InvalidVersion, Version

    try:
        release = Version(version)
    except InvalidVersion:  # core runs from its source tree
        return ""
    upper = f"0.{release.minor + 1}" if release.major == 0 else str(release.major + 1)
    return f">={release.major}.{release.minor},<{upper}"


def _render(part: str, folder: Path, facts: Mapping[str, str], *, ask: bool) -> dict[str, Any]:
    """Render one folder of the template into `folder`, and tell all answers."""
    from copier import Settings, run_copy

    made = run_copy(
        str(TEMPLATE),
        folder,
        data={**facts, "part": part},
        settings=Settings(),  # not those of the user's other templates
        defaults=not ask,
        overwrite=True,
        quiet=True,
    )
    return {**facts, **{key: made.answers.combined[key] for key in ("kind", "summary", "license", "author")}}


def _next_commands(name: str, kind: str, folder: Path) -> list[str]:
    from shlex import quote

    from quire.cli.output import shown_path

    install = [f"pip install -e {quote(str(shown_path(folder)))}", f"quire check {name}"]
    if kind == "tester":
        return [*install, f"quire test {name} --target RUN"]
    return [*install, f"quire sample {name} {name}-data", f"quire train {name} --data {name}-data"]
