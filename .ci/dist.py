"""Build the wheels of all parts, install them without the sources into a fresh environment, and use them there."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TEMPLATE = "quire/template/"


def main(work: Path) -> None:
    """Everything is written below `work`."""
    wheels = build(work / "wheels")
    for wheel in wheels:
        inspect(wheel)
    environment = work / "environment"
    run("uv", "venv", "--quiet", "--clear", "--python", sys.executable, environment)
    run("uv", "pip", "install", "--quiet", "--python", environment, *wheels)
    use(environment / ("Scripts" if os.name == "nt" else "bin"), work)


def build(folder: Path) -> list[Path]:
    """The wheels of core, every plugin and the package that names them all."""
    run("uv", "build", "--quiet", "--wheel", "--all-packages", "--clear", "--out-dir", folder, cwd=ROOT)
    wheels = sorted(folder.glob("*.whl"))
    parts = 2 + len(list((ROOT / "plugins").glob("*/pyproject.toml")))
    if len(wheels) != parts:
        raise SystemExit(f"{len(wheels)} wheels of {parts} parts: {', '.join(wheel.name for wheel in wheels)}")
    return wheels


def inspect(wheel: Path) -> None:
    """A wheel holds its licence, says that it is typed, and brings no tests but those of the template for plugins."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    code = [name for name in names if name.endswith(".py")]
    if not any(name.endswith("licenses/LICENSE") for name in names):
        raise SystemExit(f"{wheel.name} has no licence")
    if code and not any(name.endswith("py.typed") for name in names):
        raise SystemExit(f"{wheel.name} does not say that it is typed")
    if any({"test", "tests"}.intersection(Path(name).parts) for name in names if not name.startswith(TEMPLATE)):
        raise SystemExit(f"{wheel.name} brings its tests")
    print(f"{wheel.name}: {len(names)} files, {wheel.stat().st_size / 1024:.0f} KiB", flush=True)


def use(scripts: Path, work: Path) -> None:
    """The installed command lists every part, finds nothing wrong, and takes a sample to predictions."""
    quire, data = scripts / "quire", work / "data"
    listed = run(quire, "list", cwd=work)
    for plugin in sorted((ROOT / "plugins").glob("*/pyproject.toml")):
        if f"quire-{plugin.parent.name} " not in listed:
            raise SystemExit(f"`quire list` does not show {plugin.parent.name}:\n{listed}")
    run(quire, "doctor", cwd=work)
    run("uv", "pip", "check", "--python", scripts.parent)
    run(quire, "demo", "--folder", data, cwd=work)


def run(*command: str | Path, cwd: Path | None = None) -> str:
    """The output of `command`, which is shown too; ends everything if the command fails."""
    shown = [str(part) for part in command]
    print("$", *(Path(part).name if part.startswith(os.sep) else part for part in shown), flush=True)
    done = subprocess.run(shown, cwd=cwd, stdout=subprocess.PIPE, text=True, check=False)
    print(done.stdout, end="", flush=True)
    if done.returncode:
        raise SystemExit(done.returncode)
    return done.stdout


if __name__ == "__main__":
    main(Path(sys.argv[1]))
