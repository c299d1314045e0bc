"""The manual's page of every paper: its README, and its options from the model's schema.

Run it in an environment with all plugins after a change of a README or of options; a test holds the pages against it.

    python .ci/paper_pages.py          # writes docs/papers/*.md
"""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PAGES = ROOT / "docs/papers"
NOTE = "<!-- Made by .ci/paper_pages.py from the plugin's README and options. -->"


def pages() -> dict[str, str]:
    """File name -> text, for every plugin of the workspace, and the index."""
    plugins = sorted(path.parent for path in (ROOT / "plugins").glob("*/pyproject.toml"))
    made = {f"{plugin.name}.md": page(plugin) for plugin in plugins}
    rows = [f"| [{plugin.name}]({plugin.name}.md) | {project(plugin)['description']} |" for plugin in plugins]
    table = "\n".join(["| paper | what it is |", "|---|---|", *rows])
    return {
        "index.md": f"{NOTE}\n# Papers\n\nEvery paper is a package of its own, with the same verbs.\n\n{table}\n",
        **made,
    }


def project(plugin: Path) -> dict[str, Any]:
    return tomllib.loads((plugin / "pyproject.toml").read_text())["project"]


def page(plugin: Path) -> str:
    """The README with links that work in the manual, then the options of each of its models and testers."""
    readme = (plugin / "README.md").read_text().rstrip()
    offered = project(plugin)["entry-points"]
    names = [(name, kind) for kind in ("model", "tester") for name in offered.get(f"quire.{kind}s", {})]
    return "\n\n".join([NOTE, within_manual(readme), *(options(name, kind) for name, kind in names)]) + "\n"


def within_manual(text: str) -> str:
    """`text` without links to files of the repository, which the manual does not hold."""

    def told(found: re.Match[str]) -> str:
        label, target = found["label"], found["target"]
        return found[0] if re.match(r"https?:|#|mailto:", target) else label

    return re.sub(r"(?<!!)\[(?P<label>[^\]]+)\]\((?P<target>[^)]+)\)", told, text)


def options(name: str, kind: str) -> str:
    """A table of the options, those of groups with dots in their names."""
    from quire import registry

    found = registry.get(name, kind)
    schema = (getattr(found, "Config", None) or found.Options).model_json_schema()
    rows = [
        f"| `{option}` | {cell(shown(field))} | {cell(field.get('description', ''))} |"
        for option, field in fields(schema, schema)
    ]
    table = "\n".join(["| option | default | meaning |", "|---|---|---|", *rows]) if rows else "It takes no options."
    how = f"As `option=value` on the command line, or in a YAML file; `quire show {name}` says the same."
    return f"## Options of {name}\n\n{how}\n\n{table}"


def fields(part: dict[str, Any], whole: dict[str, Any], prefix: str = "") -> list[tuple[str, dict[str, Any]]]:
    found = []
    for option, field in part.get("properties", {}).items():
        group = referred(field, whole)
        if group is not None and "properties" in group:
            found += fields(group, whole, f"{prefix}{option}.")
        else:
            found.append((f"{prefix}{option}", field))
    return found


def referred(field: dict[str, Any], whole: dict[str, Any]) -> dict[str, Any] | None:
    """The group of options that `field` is, None for a value."""
    reference = field.get("$ref") or next((one["$ref"] for one in field.get("allOf", ()) if "$ref" in one), None)
    return None if reference is None else whole["$defs"][reference.rpartition("/")[2]]


def shown(field: dict[str, Any]) -> str:
    if "default" not in field:
        return "required"
    return f"`{json.dumps(field['default'], ensure_ascii=False)}`"


def cell(text: str) -> str:
    return " ".join(text.replace("|", "\\|").split())


def write() -> None:
    PAGES.mkdir(exist_ok=True)
    for name, text in pages().items():
        (PAGES / name).write_text(text)


if __name__ == "__main__":
    write()
