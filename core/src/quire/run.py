"""A run's folder on disk, written so that a crash loses nothing."""

from __future__ import annotations

import datetime
import importlib.metadata
import os
import platform
import re
import shutil
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from quire import registry
from quire.errors import DataError, RunError, Where
from quire.hooks import Hooks
from quire.storage import lock, read_json, recover_folder, write_json

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from quire.dataset import Dataset
    from quire.model import Model
    from quire.runtime import Runtime

State = Literal["new", "running", "interrupted", "failed", "done"]
LATEST = "latest"  # the link to the newest run


class DataSource(BaseModel):
    """Which data a run was trained on, so that it can be opened again."""

    model_config = ConfigDict(frozen=True)

    dataset: str = Field(description="registry name of the data set's class")
    path: str = Field(description="the folder or file, absolute")
    split: str = "train"
    validation_split: str | None = None
    options: dict[str, Any] = {}
    fingerprint: str | None = Field(default=None, description="content hash of the training split")
    labels: tuple[str, ...] = ()
    counts: dict[str, int] = Field(default={}, description="samples per split that was used")
    on_error: Literal["raise", "skip"] = Field(default="raise", description="what a bad training sample does")

    def open(self, split: str | None = None, *, on_error: Literal["raise", "skip"] = "raise") -> Dataset:
        """Open a split of the data, the training split by default."""
        reader: type[Dataset] = registry.get(self.dataset, "dataset")
        return reader.open(Path(self.path), split=split or self.split, on_error=on_error, **self.options)


class RunInfo(BaseModel):
    """The content of run.json."""

    format: Literal[1] = 1
    model: str
    distribution: str
    config: dict[str, Any] = {}
    data: DataSource | None = None
    seed: int = 0
    runtime: dict[str, Any] = {}
    versions: dict[str, str] = {}
    state: State = "new"
    reason: str = ""
    created: str
    updated: str
    progress: dict[str, Any] = {}
    throughput: dict[str, Any] = {}
    results: dict[str, float | None] = {}


class Run:
    """One training and what came of it: run.json, metrics.jsonl, checkpoint/, model/, report.json, report.html.

    `writing()` locks the folder: two processes can't write the same run.
    """

    def __init__(self, path: Path, info: RunInfo) -> None:
        self.path = path
        self.info = info
        self.hooks = Hooks()

    @classmethod
    def create(
        cls,
        root: Path,
        *,
        model: str,
        config: Mapping[str, Any],
        data: DataSource | None = None,
        runtime: Runtime | None = None,
        name: str | None = None,
    ) -> Self:
        """A new run in a folder of its own under `root`, which `root/latest` points to from now on."""
        if name is not None and (name == LATEST or not re.fullmatch(r"\w[\w.-]*", name)):
            raise RunError(
                f"{name!r} can't be a run's name",
                remedy=f"Use letters, digits, '-', '_' and '.', with no '.' or '-' in front, and not {LATEST!r}.",
            )
        now = _now()
        distribution = registry.describe(model, "model").distribution
        path = _new_folder(root, name or f"{model}-{datetime.datetime.now():%Y%m%d-%H%M%S}", unique=name is None)
        info = RunInfo(
            model=model,
            distribution=distribution,
            config=dict(config),
            data=data,
            seed=runtime.seed if runtime is not None else 0,
            runtime=runtime.describe() if runtime is not None else {},
            versions=_versions(distribution),
            created=now,
            updated=now,
        )
        run = cls(path, info)
        run._write()
        _point_latest(root, path)
        return run

    @classmethod
    def open(cls, path: Path) -> Self:
        """The run that stands at `path`, which may be a link such as runs/latest."""
        path = Path(path).resolve()
        if not (path / "run.json").is_file():
            raise RunError("there is no run here", where=Where(file=path), remedy="`quire runs` lists the runs.")
        recover_folder(path / "model")
        try:
            info = RunInfo.model_validate(read_json(path / "run.json"))
        except DataError as error:
            raise RunError(error.message, where=error.where) from None
        except ValidationError as error:
            fault = error.errors()[0]
            field = ".".join(map(str, fault["loc"])) or None
            raise RunError(fault["msg"], where=Where(file=path / "run.json", field=field)) from None
        return cls(path, info)

    @property
    def model_path(self) -> Path:
        """The folder of the saved model."""
        return self.path / "model"

    @property
    def checkpoint_path(self) -> Path:
        """The file from which training can continue."""
        return self.path / "checkpoint" / "state.safetensors"

    @property
    def metrics_path(self) -> Path:
        """One JSON object a line, one line for each report of the training loop."""
        return self.path / "metrics.jsonl"

    @contextmanager
    def writing(self) -> Iterator[Self]:
        """Hold the run's lock; RunError naming the other process when there is one."""
        with lock(self.path / "run.lock", purpose=f"run {self.path.name}"):
            yield self

    def update(self, **fields: Any) -> None:
        """Change fields of run.json."""
        self.info = RunInfo.model_validate({**self.info.model_dump(), **fields, "updated": _now()})
        self._write()

    def discard(self) -> None:
        """Remove the folder; `latest` points to the newest run that is left, or is no more."""
        root = self.path.parent
        shutil.rmtree(self.path)
        left = list_runs(root)
        if left:
            _point_latest(root, left[0].path)
        else:
            (root / LATEST).unlink(missing_ok=True)

    def load_model(self, *, runtime: Runtime | None = None) -> Model:
        """The trained model. RunError if the training has not come to its end."""
        recover_folder(self.model_path)
        if not self.model_path.is_dir():
            raise RunError(
                f"the run is {self.info.state} and has no model yet",
                where=Where(file=self.path),
                remedy=f"Continue it with: quire train --resume {self.path}",
            )
        model_class = registry.get(self.info.model, "model")
        model: Model = model_class.load(self.model_path, runtime=runtime)
        return model

    def _write(self) -> None:
        write_json(self.path / "run.json", self.info.model_dump(mode="json"))


def list_runs(root: Path) -> list[Run]:
    """All runs under `root`, newest first; a folder that is no readable run is left out."""
    runs = []
    for path in sorted(Path(root).glob("*/run.json")):
        if path.parent.is_symlink():
            continue
        with suppress(RunError):
            runs.append(Run.open(path.parent))
    return sorted(runs, key=lambda run: run.info.created, reverse=True)


def _new_folder(root: Path, name: str, *, unique: bool) -> Path:
    """Make the folder; with `unique`, a number is appended until the name is free."""
    for number in range(1_000):
        path = Path(root) / (f"{name}-{number}" if number else name)
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            if not unique:
                raise RunError(
                    "there is a run of this name already",
                    where=Where(file=path),
                    remedy=f"Choose another name, or continue it with: quire train --resume {path}",
                ) from None
        else:
            return path.resolve()
    raise RunError(f"there are a thousand runs named {name}", where=Where(file=Path(root)))


def _point_latest(root: Path, path: Path) -> None:
    """Let root/latest point to the run, atomically; where links are not to be had, there is no `latest`."""
    link = Path(root) / f".{LATEST}.{os.getpid()}"
    with suppress(OSError):
        link.unlink(missing_ok=True)
        link.symlink_to(path.name, target_is_directory=True)
        link.replace(Path(root) / LATEST)


def _versions(distribution: str) -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in dict.fromkeys(["quire-core", distribution, "torch", "numpy"]):
        with suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return versions


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="microseconds")
