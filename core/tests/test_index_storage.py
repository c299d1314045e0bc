"""An index's life: changes, readers beside a writer, and what a crash at any moment leaves."""

from __future__ import annotations

import inspect
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import quire
from quire.errors import DataError, RunError
from quire.index import VectorIndex, segments
from quire.index.manifest import Manifest

if TYPE_CHECKING:
    from collections.abc import Callable

DIM = 3
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(quire.__file__).parents[1]), "OMP_NUM_THREADS": "1"}


def vector_of(number: int) -> list[float]:
    return [float(number % 17), float(number % 5), float(number)]


def add(index: Any, numbers: range | list[int], *, replace: bool = False) -> None:
    vectors = np.array([vector_of(number) for number in numbers]).reshape(-1, DIM)
    index.add([f"n{number}" for number in numbers], vectors, {"number": list(numbers)}, replace=replace)


def create(folder: Path, **options: Any) -> VectorIndex:
    return VectorIndex.create(folder, dim=DIM, metric="l2", columns={"number": "int64"}, segment_bytes=200, **options)


def content(index: VectorIndex) -> dict[str, list[float]]:
    """What is in the index, read in every way; they must agree."""
    ids = index.ids()
    vectors = index.get(ids)
    table = index.table()
    assert table["id"].tolist() == ids.tolist()
    assert [an_id in index for an_id in ids] == [True] * len(index)
    if len(index):
        hits = index.search(vectors, len(index) + 1)
        assert hits.found.sum() == len(index) ** 2
        assert (hits.scores[:, 0] == 0).all()
    return dict(zip(ids.tolist(), vectors.tolist(), strict=True))


# A program that is killed leaves what it wrote to the system; waiting for the disk would only make its steps rare.
PROGRAM = (
    "from __future__ import annotations\nimport sys\nfrom pathlib import Path\nimport numpy as np\n"
    "import quire.storage.files; quire.storage.files.sync = lambda _: None\n"
    "from quire.index import VectorIndex\n"
    f"DIM = {DIM}\n{inspect.getsource(vector_of)}\n{inspect.getsource(add)}\n"
    "index = VectorIndex.open(Path(sys.argv[1]), writable=True)\nprint('ready', flush=True)\n"
)


# --------------------------------------------------------------------------------------------------------------- changes


class Life(RuleBasedStateMachine):
    """Any series of changes leaves what a dict would hold."""

    @initialize()
    def begin(self) -> None:
        self.folder = Path(os.environ["PYTEST_INDEX_FOLDER"]) / f"{random.getrandbits(64):x}"
        self.index = create(self.folder)
        self.model: dict[str, list[float]] = {}

    numbers = st.lists(st.integers(0, 40), max_size=12, unique=True)

    @rule(numbers=numbers)
    def add(self, numbers: list[int]) -> None:
        known = [number for number in numbers if f"n{number}" in self.model]
        if known:
            with pytest.raises(DataError, match="is already in the index"):
                add(self.index, numbers)
            numbers = [number for number in numbers if number not in known]
        add(self.index, numbers)
        self.model |= {f"n{number}": vector_of(number) for number in numbers}

    @rule(numbers=numbers, shift=st.integers(0, 100))
    def replace(self, numbers: list[int], shift: int) -> None:
        vectors = [vector_of(number + shift) for number in numbers]
        ids = [f"n{number}" for number in numbers]
        self.index.add(ids, np.array(vectors).reshape(-1, DIM), {"number": numbers}, replace=True)
        for an_id, vector in zip(ids, vectors, strict=True):
            self.model.pop(an_id, None)  # it goes to the end
            self.model[an_id] = vector

    @rule(numbers=numbers)
    def remove(self, numbers: list[int]) -> None:
        gone = [f"n{number}" for number in numbers]
        assert self.index.remove(gone, missing="ignore") == sum(
            self.model.pop(an_id, None) is not None for an_id in gone
        )

    @rule(numbers=numbers)
    def begin_and_give_up(self, numbers: list[int]) -> None:
        with pytest.raises(KeyboardInterrupt), self.index.transaction() as transaction:  # noqa: PT012
            add(transaction, numbers, replace=True)
            transaction.remove(list(self.model)[:3])
            raise KeyboardInterrupt

    @rule()
    def several_at_once(self) -> None:
        before = self.index.generation
        with self.index.transaction() as transaction:
            for number in (100, 101):
                add(transaction, [number], replace=True)
            transaction.remove(["n100"])
        assert self.index.generation == before + 1
        self.model.pop("n101", None)
        self.model["n101"] = vector_of(101)

    @rule()
    def compact(self) -> None:
        self.index.compact()
        assert self.index.n_removed == 0

    @rule()
    def reopen(self) -> None:
        self.index.close()
        self.index = VectorIndex.open(self.folder, writable=True)

    @invariant()
    def as_the_dict(self) -> None:
        if hasattr(self, "index"):
            assert list(content(self.index).items()) == list(self.model.items())
            assert list(content(VectorIndex.open(self.folder)).items()) == list(self.model.items())
            assert self.index.verify() == []

    def teardown(self) -> None:
        if hasattr(self, "index"):
            self.index.close()
            shutil.rmtree(self.folder)


def test_a_life(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTEST_INDEX_FOLDER", str(tmp_path))
    monkeypatch.setattr(segments, "sync", lambda _: None)  # the disk's patience is not what is tested
    from hypothesis.stateful import run_state_machine_as_test

    run_state_machine_as_test(Life, settings=settings(max_examples=15, stateful_step_count=12, deadline=None))


def test_order_and_segments_survive_any_cut_into_batches(tmp_path: Path) -> None:
    whole, pieces = create(tmp_path / "whole"), create(tmp_path / "pieces")
    add(whole, range(100))
    for start in range(0, 100, 7):
        add(pieces, range(start, min(100, start + 7)))
    files = [
        {path.name: path.read_bytes() for path in (tmp_path / name / "segments").iterdir()}
        for name in ("whole", "pieces")
    ]
    assert files[0] == files[1]
    assert len(Manifest.read(tmp_path / "whole").segments) > 1
    add(whole, range(200, 230))
    whole.remove([f"n{number}" for number in range(200, 230)])
    whole.compact()
    assert list(content(whole).items()) == list(content(pieces).items())


# --------------------------------------------------------------------------------------------------------------- readers


def test_a_reader_keeps_its_state_until_it_refreshes(tmp_path: Path) -> None:
    writer = create(tmp_path / "i")
    add(writer, range(30))
    reader = VectorIndex.open(tmp_path / "i")
    before = content(reader)
    writer.remove(["n3"])
    add(writer, [4, 50], replace=True)
    writer.compact()
    add(writer, range(60, 90))
    assert content(reader) == before
    assert reader.refresh()
    assert not reader.refresh()
    assert content(reader) == content(writer)
    assert len(reader) == 60


def test_one_writer_at_a_time(tmp_path: Path) -> None:
    writer = create(tmp_path / "i")
    with pytest.raises(RunError, match=f"the index .* is in use by process {os.getpid()}"):
        VectorIndex.open(tmp_path / "i", writable=True)
    with pytest.raises(RunError, match="is in use"):
        VectorIndex.create(tmp_path / "i", dim=3)
    with writer.transaction(), pytest.raises(RunError, match="a transaction is open already"), writer.transaction():
        pass
    writer.close()
    with pytest.raises(RunError, match="open for reading"):
        add(writer, [1])
    with VectorIndex.open(tmp_path / "i", writable=True) as again:
        add(again, [1])
    with pytest.raises(DataError, match="there is an index already"):
        VectorIndex.create(tmp_path / "i", dim=3)
    with pytest.raises(DataError, match="there is no index here"):
        VectorIndex.open(tmp_path)


def test_readers_open_while_a_writer_compacts(tmp_path: Path) -> None:
    """A manifest may name files that compaction removes before the reader has opened them."""
    create(tmp_path / "i").close()
    code = PROGRAM + "while True:\n    add(index, range(60), replace=True); index.compact()\n"
    arguments = [sys.executable, "-c", code, str(tmp_path / "i")]
    with subprocess.Popen(arguments, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            generations: set[int] = set()
            end = time.monotonic() + 30
            while len(generations) < 8 and time.monotonic() < end:
                index = VectorIndex.open(tmp_path / "i")
                generations.add(index.generation)
                assert len(index) in (0, 60)
                assert len(content(index)) == len(index)
        finally:
            process.kill()
    assert len(generations) == 8


# --------------------------------------------------------------------------------------------------------------- crashes


WRITER = PROGRAM + (
    "first = int(sys.argv[2])\n"
    "for batch in range(first, first + 10**6):\n"
    "    with index.transaction() as transaction:\n"
    "        add(transaction, range(20 * batch, 20 * batch + 20))\n"
    "        if batch: transaction.remove([f'n{20 * batch - 1}'])\n"
    "    if batch % 7 == 6: index.compact()\n"
    "    print(batch, flush=True)\n"
)


def after_batch(last: int) -> list[str]:
    numbers = [n for n in range(20 * (last + 1)) if n % 20 != 19 or n == 20 * last + 19]
    return [f"n{n}" for n in numbers]


@pytest.mark.skipif(os.name == "nt", reason="needs SIGKILL")
def test_a_writer_that_is_killed_leaves_what_it_committed(tmp_path: Path) -> None:
    create(tmp_path / "i").close()
    random_ = random.Random(0)
    last = -1
    for _ in range(5):
        arguments = [sys.executable, "-c", WRITER, str(tmp_path / "i"), str(last + 1)]
        with subprocess.Popen(arguments, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "ready\n"
            time.sleep(random_.uniform(0, 0.25))
            process.send_signal(signal.SIGKILL)
            told = [int(line) for line in process.stdout.read().splitlines()]
        last = told[-1] if told else last
        index = VectorIndex.open(tmp_path / "i")
        assert index.verify() == []
        found = list(content(index))
        if found != (after_batch(last) if last >= 0 else []):  # committed, and killed before it could say so
            last += 1
            assert found == after_batch(last)
    assert last > 3


class Moments:
    """Copies a folder before every step by which a program changes files below it: each is what a crash may leave."""

    def __init__(self, folder: Path, copies: Path) -> None:
        self.folder, self.copies = folder, copies
        self.active = False
        self.names: list[str] = []
        sys.addaudithook(self.hook)

    def hook(self, event: str, arguments: tuple[Any, ...]) -> None:
        if not self.active or event not in ("open", "os.rename", "os.remove", "os.truncate"):
            return
        if not str(arguments[0]).startswith(str(self.folder)) or ".lock" in str(arguments[0]):
            return
        self.active = False
        name = f"{len(self.names):03d}"
        shutil.copytree(self.folder, self.copies / name, ignore=shutil.ignore_patterns("*.lock*"))
        self.names.append(name)
        self.active = True


CHANGES: dict[str, Callable[[VectorIndex], Any]] = {
    "add": lambda index: add(index, range(100, 140)),
    "replace": lambda index: add(index, range(10), replace=True),
    "remove": lambda index: index.remove(["n2", "n3"]),
    "compact": lambda index: index.compact(),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_crash_at_any_step_leaves_the_state_before_or_after(
    tmp_path: Path, change: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(segments, "sync", lambda _: None)
    folder = tmp_path / "i"
    with create(folder) as index:
        add(index, range(30))
        index.remove(["n0", "n20"])
        before, generation = list(content(index).items()), index.generation
        moments = Moments(folder, tmp_path / "copies")
        moments.active = True
        CHANGES[change](index)
        moments.active = False
        after = list(content(index).items())
    rng = np.random.default_rng(0)
    seen = set()
    assert len(moments.names) >= 4
    for name in moments.names:
        copy = tmp_path / "copies" / name
        committed = {
            segment.path(copy, file): state.bytes for segment, file, state in segments.files_of(Manifest.read(copy))
        }
        for path in (copy / "segments").iterdir():  # of what was not committed, any part may have reached the disk
            size = path.stat().st_size
            os.truncate(path, rng.integers(committed.get(path, 0), size + 1))
        state = list(content(VectorIndex.open(copy)).items())
        assert state in (before, after)
        seen.add(VectorIndex.open(copy).generation)
        with VectorIndex.open(copy, writable=True) as index:
            assert index.verify() == []
            add(index, range(1000, 1040))
            assert list(content(index).items())[:-40] == state
            assert index.verify() == []
        left = set((copy / "segments").iterdir())
        assert left == {segment.path(copy, file) for segment, file, _ in segments.files_of(Manifest.read(copy))}
    assert seen == {generation, generation + 1} or seen == {generation}


def test_a_disk_that_fills_up_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    index = create(tmp_path / "i")
    add(index, range(30))
    before = content(index)
    for victim in ("_append", "sync"):
        for failing in range(1, 5):
            calls = 0
            real = getattr(segments, victim)

            def full(*arguments: Any, real: Any = real, failing: int = failing) -> Any:
                nonlocal calls
                calls += 1
                if calls == failing:
                    raise OSError(28, "No space left on device")
                return real(*arguments)

            with monkeypatch.context() as patch:
                patch.setattr(segments, victim, full)
                with pytest.raises(OSError, match="No space left"):
                    add(index, range(20, 90), replace=True)
            assert content(index) == before
            assert content(VectorIndex.open(tmp_path / "i")) == before
            assert index.verify() == []
    add(index, range(30, 40))
    assert len(content(index)) == 40


# --------------------------------------------------------------------------------------------------------------- damage


def files(folder: Path) -> list[Path]:
    return sorted(path for path in (folder / "segments").iterdir() if path.stat().st_size)


def test_verify_names_every_file_that_was_changed(tmp_path: Path) -> None:
    with create(tmp_path / "i") as index:
        add(index, range(30))
        index.remove(["n1"])
    assert VectorIndex.open(tmp_path / "i").verify() == []
    for path in files(tmp_path / "i"):
        whole = path.read_bytes()
        index = VectorIndex.open(tmp_path / "i")
        path.write_bytes(bytes([whole[0] ^ 1]) + whole[1:])
        assert any(str(path) in fault and "checksum" in fault for fault in index.verify()), path
        path.write_bytes(whole)
    assert VectorIndex.open(tmp_path / "i").verify() == []


def test_files_that_are_cut_or_missing_are_named(tmp_path: Path) -> None:
    with create(tmp_path / "i") as index:
        add(index, range(30))
    for path in files(tmp_path / "i"):
        whole = path.read_bytes()
        path.write_bytes(whole[:-1])
        with pytest.raises(DataError, match=f"{path}: is damaged: {len(whole) - 1} bytes are left of {len(whole)}"):
            VectorIndex.open(tmp_path / "i")
        path.unlink()
        with pytest.raises(DataError, match=f"{path}: a file of the index is missing"):
            VectorIndex.open(tmp_path / "i", writable=True)
        path.write_bytes(whole)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda value: value.update(format=2), "of another format than 1"),
        (lambda value: value.pop("format"), "not an index's manifest"),
        (lambda value: value["spec"].update(metric="far"), "'far' is not one of"),
        (lambda value: value["spec"].update(colour="red"), "does not describe an index"),
        (lambda value: value.update(segments=[{}]), "not an index's manifest"),
        (lambda value: value.pop("generation") and value.update(more=1), "not an index's manifest"),
        (lambda value: value["segments"][0].update(rows=5), "5 rows of vectors take"),
    ],
)
def test_a_manifest_that_is_none(tmp_path: Path, edit: Callable[[dict[str, Any]], Any], message: str) -> None:
    with create(tmp_path / "i") as index:
        add(index, range(3))
    path = tmp_path / "i" / "manifest.json"
    value = json.loads(path.read_text())
    edit(value)
    path.write_text(json.dumps(value))
    with pytest.raises(DataError, match=message) as caught:
        VectorIndex.open(tmp_path / "i")
    assert "manifest.json" in str(caught.value)
