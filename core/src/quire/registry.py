"""Names to classes, from entry points; nothing of a plugin is imported until it is asked for."""

from __future__ import annotations

import importlib.metadata
import logging
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from quire.errors import ConfigError, PluginError, QuireError, nearest

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from importlib.metadata import EntryPoint, PackageMetadata

KINDS = ("model", "dataset", "evaluator", "task", "tester", "study", "command", "weights", "hook")
PREFIX = "quire."
"""A plugin that is extensible itself has an entry-point group of its own, such as quire.NAME: a kind by its whole name."""
CORE = "quire-core"
OFFICIAL = {
    name: f"quire-{name}"
    for name in (
        "amsoftmax",
        "deepseek",
        "diffusion-inversion",
        "duo",
        "memefier",
        "metagrl",
        "neti",
        "rawaudiovae",
        "srh",
        "tim",
        "tsc",
    )
}

GROUPS = {kind: f"quire.{kind}s" for kind in KINDS} | {"study": "quire.studies", "weights": "quire.weights"}
_KINDS = {group: kind for kind, group in GROUPS.items()}

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Description:
    """What is known of a plugin without importing it.

    `summary`, `version`, `paper` (the project URL labelled "Paper") and `requires_core` (the versions of quire-core
    that it is built for) come from the distribution's metadata; `target` is "package.module:Attribute".
    """

    name: str
    kind: str
    summary: str
    distribution: str
    version: str
    target: str
    paper: str | None = None
    requires_core: str | None = None


@dataclass(frozen=True)
class Problem:
    """A name that can't be used, with the message that `get` would raise."""

    name: str
    kind: str
    distributions: tuple[str, ...]
    message: str


def names(kind: str | None = None) -> list[str]:
    """The names of everything installed, or of one kind, sorted. ConfigError if there is no such kind.

    A kind is one of KINDS, or the whole name of an entry-point group that a plugin has for extensions of its own, such
    as "quire.fusion_rules"; those are not among "everything".
    """
    return sorted({description.name for description in descriptions(kind)})


def descriptions(kind: str | None = None) -> list[Description]:
    """Every name that an installed distribution offers, sorted by kind and name.

    A name that two distributions claim stands here twice. ConfigError if there is no such kind.
    """
    _require_kind(kind)
    found = [entry for entry in _installed() if _is_of(entry, kind)]
    return sorted(found, key=lambda entry: (_rank(entry.kind), entry.name, entry.distribution))


def describe(name: str, kind: str | None = None) -> Description:
    """The description of `name`, searched over all kinds if none is given.

    Raises PluginError if the name is unknown, stands for several kinds, or is claimed by two distributions.
    """
    _require_kind(kind)
    installed = list(_installed())
    claims = [entry for entry in installed if entry.name == name and _is_of(entry, kind)]
    if not claims:
        raise _unknown(name, kind, installed)
    kinds = list(dict.fromkeys(entry.kind for entry in claims))
    if len(kinds) > 1:
        raise PluginError(
            f"{name!r} is the name of {' and '.join(map(_a, kinds))}",
            remedy=f"Say which: {' or '.join(f'kind={each!r}' for each in kinds)}.",
        )
    if len(claims) > 1:
        raise _claimed_twice(claims)
    return claims[0]


def get(name: str, kind: str | None = None) -> Any:
    """The object that `name` stands for (a class; a module or a plain object for hooks, tasks, weights and commands).

    Raises PluginError as `describe` does, and if the plugin is built for another quire-core or can't be imported.
    """
    description = describe(name, kind)
    _check_core(description)
    return _load(description)


def create(name: str, /, kind: str = "model", **config: Any) -> Any:
    """An instance of the class `name` with the options `config`.

    Raises PluginError as `get` does, and ConfigError for an unknown option or a value that an option does not take.
    """
    found = get(name, kind)
    schema = getattr(found, "Config", None) or getattr(found, "Options", None)
    if schema is not None:
        from quire.config import parse_options

        return found(parse_options(schema, config, owner=name))
    if config:
        raise ConfigError(f"{name} has no option {next(iter(config))!r}: it has none at all")
    return found()


def problems() -> list[Problem]:
    """Every name that can't be used: claimed twice, built for another core, or broken. Imports every plugin."""
    found = []
    claims: dict[tuple[str, str], list[Description]] = {}
    for entry in descriptions():
        claims.setdefault((entry.kind, entry.name), []).append(entry)
    for (kind, name), rivals in claims.items():
        try:
            if len(rivals) > 1:
                raise _claimed_twice(rivals)
            _check_core(rivals[0])
            _load(rivals[0])
        except QuireError as error:
            found.append(Problem(name, kind, tuple(entry.distribution for entry in rivals), str(error)))
    return found


def _is_of(entry: Description, kind: str | None) -> bool:
    """Whether `entry` is of the kind; None stands for all kinds of core's."""
    return entry.kind == kind or (kind is None and entry.kind in KINDS)


def _rank(kind: str) -> int:
    return KINDS.index(kind) if kind in KINDS else len(KINDS)


def _require_kind(kind: str | None) -> None:
    if kind is not None and kind not in KINDS and not kind.startswith(PREFIX):
        raise ConfigError(f"there is no kind {kind!r}{nearest(kind, KINDS)}", remedy=f"Kinds are {', '.join(KINDS)}.")


def _installed() -> Iterator[Description]:
    """Read from the metadata of the distributions that offer something, and of no other.

    stevedore's cache is no shorter way: it keeps no distributions, holds two claims with one target for one, and misses
    a reinstallation within two minutes (it keeps modification times as 32-bit floats).
    """
    seen = set()
    for distribution in importlib.metadata.distributions():
        text = distribution.read_text("entry_points.txt")
        if not text or "[quire." not in text:
            continue
        metadata = distribution.metadata
        try:
            project = _normal(metadata["Name"])
            points = [point for point in distribution.entry_points if point.group.startswith(PREFIX)]
            offered = [_describe(point, metadata) for point in points]
        except (KeyError, TypeError, ValueError):
            log.warning("a package in %s is damaged and left out; install it again", distribution.locate_file(""))
            continue
        if project not in seen:  # else a copy further down on sys.path, which Python would not import
            seen.add(project)
            yield from offered


def _describe(point: EntryPoint, metadata: PackageMetadata) -> Description:
    return Description(
        name=point.name,
        kind=_KINDS.get(point.group, point.group),
        summary="".join(metadata.get_all("Summary", [])),
        distribution=metadata["Name"],
        version=metadata["Version"],
        target=point.value,
        paper=_paper(metadata.get_all("Project-URL", [])),
        requires_core=_required_core(metadata.get_all("Requires-Dist", [])),
    )


def _normal(project: str) -> str:
    return re.sub(r"[-_.]+", "-", project).lower()


def _paper(urls: Iterable[str]) -> str | None:
    for url in urls:
        label, _, address = url.partition(",")
        if label.strip().lower() == "paper":
            return address.strip()
    return None


def _required_core(requirements: Iterable[str]) -> str | None:
    """The version specifiers on quire-core that hold without any extra, joined; None if there is none."""
    lines = [line for line in requirements if re.match(r"quire[-_.]+core(?![\w.-])", line, re.IGNORECASE)]
    if not lines:
        return None
    from packaging.requirements import Requirement

    needed = [Requirement(line) for line in lines]
    holding = [each for each in needed if each.marker is None or each.marker.evaluate({"extra": ""})]
    return ",".join(str(each.specifier) for each in holding if each.specifier) or None


def _check_core(description: Description) -> None:
    """PluginError if the installed quire-core is not one that the plugin is built for."""
    if description.requires_core is None:
        return
    from packaging.specifiers import SpecifierSet

    try:
        version = importlib.metadata.version(CORE)
    except importlib.metadata.PackageNotFoundError:  # core runs from its source tree: there is no version to compare
        return
    if not SpecifierSet(description.requires_core).contains(version, prereleases=True):
        raise PluginError(
            f"{_named(description)} is built for {CORE} {description.requires_core}, and {CORE} {version} is installed",
            remedy=f"Install a pair that fits: pip install --upgrade {CORE} {description.distribution}",
        )


def _load(description: Description) -> Any:
    from stevedore.driver import DriverManager

    group = GROUPS.get(description.kind, description.kind)
    point = importlib.metadata.EntryPoint(description.name, description.target, group)

    class Driver(DriverManager):  # type: ignore[type-arg]  # stevedore 5.4's is no generic class
        """Loads the entry point that was described, not one that stevedore's cache holds under the name."""

        def list_entry_points(self) -> list[EntryPoint]:
            return [point]

    try:
        return Driver(group, description.name).driver
    except (Exception, SystemExit) as error:  # whatever a plugin does when it is imported, the others keep working
        cause = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise PluginError(
            f"{_named(description)} can't be imported ({cause})",
            remedy=f"Repair it with: pip install --upgrade {description.distribution}",
        ) from error


def _unknown(name: str, kind: str | None, everything: Iterable[Description]) -> PluginError:
    others = [entry for entry in everything if entry.name == name]
    if others:
        kinds = " and ".join(_a(entry.kind) for entry in others)
        return PluginError(f"there is no {kind} named {name!r}; it is the name of {kinds}")
    if name in OFFICIAL:
        return PluginError(f"{name!r} is not installed", remedy=f"Install it with: pip install {OFFICIAL[name]}")
    known = [entry.name for entry in everything if _is_of(entry, kind)]
    extension = kind is not None and kind.startswith(PREFIX)
    similar = nearest(name, known) if extension else nearest(name.lower().replace("_", "-"), [*known, *OFFICIAL])
    return PluginError(
        f"there is no {kind or 'plugin'} named {name!r}{similar}",
        remedy="`quire list` shows what is installed.",
    )


def _claimed_twice(claims: list[Description]) -> PluginError:
    first = claims[0]
    return PluginError(
        f"the {first.kind} {first.name!r} is claimed by {' and by '.join(_project(entry) for entry in claims)}",
        remedy=f"Remove one of them, for example with: pip uninstall {claims[-1].distribution}",
    )


def _a(kind: str) -> str:
    return "weights" if kind == "weights" else f"{'an' if kind[0] in 'aeiou' else 'a'} {kind}"


def _named(description: Description) -> str:
    return f"the {description.kind} {description.name!r} of {_project(description)}"


def _project(description: Description) -> str:
    return f"{description.distribution} {description.version}"
