"""Files that survive what happens to them, and readers that give nothing away."""

from __future__ import annotations

import collections
import json
import os
import pickle
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

import quire
from quire import storage
from quire.errors import DataError, RunError

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(quire.__file__).parents[1])}


# ------------------------------------------------------------------------------------------- atomic files and folders


def test_a_file_is_replaced_only_when_the_block_ends(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.txt"
    with storage.atomic_file(path, "w") as file:
        file.write("first\n")
        assert not path.exists()
    with storage.atomic_file(path, "wb") as file:
        file.write(b"second\n")
        file.flush()
        assert path.read_text() == "first\n"
    assert path.read_bytes() == b"second\n"
    assert [each.name for each in path.parent.iterdir()] == ["file.txt"]


def test_a_write_that_fails_in_the_middle_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "file.json"
    storage.write_json(path, {"whole": True})
    with suppress(RuntimeError), storage.atomic_file(path) as file:
        file.write(b"half")
        raise RuntimeError
    with pytest.raises(ValueError, match="JSON compliant"):
        storage.write_json(path, {"loss": float("nan")})
    assert storage.read_json(path) == {"whole": True}
    assert [each.name for each in tmp_path.iterdir()] == ["file.json"]


def test_a_process_killed_in_the_middle_of_a_write_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")
    killed = subprocess.run(
        [
            sys.executable,
            "-c",
            "import os, signal\nfrom pathlib import Path\nfrom quire.storage import atomic_file\n"
            f"with atomic_file(Path({str(path)!r}), 'w') as file:\n"
            "    file.write('new'); file.flush(); os.kill(os.getpid(), signal.SIGKILL)",
        ],
        env=ENVIRONMENT,
        check=False,
    )
    assert killed.returncode == -signal.SIGKILL
    assert path.read_text() == "old"


@pytest.mark.skipif(os.name == "nt", reason="needs POSIX modes and links")
def test_a_file_gets_the_usual_mode_and_links_are_followed(tmp_path: Path) -> None:
    plain, target, link = tmp_path / "plain", tmp_path / "target", tmp_path / "link"
    plain.write_text("")
    link.symlink_to(target)
    with storage.atomic_file(link, "w") as file:
        file.write("through")
    assert link.is_symlink()
    assert target.read_text() == "through"
    assert target.stat().st_mode == plain.stat().st_mode


def test_json_keeps_order_and_text(tmp_path: Path) -> None:
    value: Any = {"z": [1, 2.5, None, True], "a": {"Grüße": "日本\n"}}
    storage.write_json(tmp_path / "x.json", value)
    assert storage.read_json(tmp_path / "x.json") == value
    assert list(storage.read_json(tmp_path / "x.json")) == ["z", "a"]
    assert "日本" in (tmp_path / "x.json").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("content", "place"),
    [(b'{\n "a": 1,\n "b": }\n', "line 3, column 7"), (b"", "line 1"), (b"\xff\xfe", ""), (None, "")],
)
def test_unreadable_json_names_its_place(tmp_path: Path, content: bytes | None, place: str) -> None:
    path = tmp_path / "x.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError) as caught:
        storage.read_json(path)
    assert str(path) in str(caught.value)
    assert place in str(caught.value)


def _write_folder(path: Path, text: str) -> None:
    with storage.atomic_folder(path) as folder:
        (folder / "a").write_text(text)
        (folder / "sub").mkdir()
        (folder / "sub" / "b").write_text(text)


def test_a_folder_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "model"
    _write_folder(path, "first")
    (path / "left-over").write_text("")
    _write_folder(path, "second")
    assert sorted(each.name for each in path.iterdir()) == ["a", "sub"]
    assert (path / "sub" / "b").read_text() == "second"
    with suppress(RuntimeError), storage.atomic_folder(path) as folder:
        (folder / "a").write_text("third")
        raise RuntimeError
    assert (path / "a").read_text() == "second"
    assert [each.name for each in tmp_path.iterdir()] == ["model"]


CRASH_EVERYWHERE = """
import json, os, signal, sys
from pathlib import Path
from quire import storage

path = Path(sys.argv[1])

def write(text):
    with storage.atomic_folder(path) as folder:
        (folder / "a").write_text(text)
        (folder / "sub").mkdir()
        (folder / "sub" / "b").write_text(text)

def write_and_die(after):
    child = os.fork()
    if child:
        return os.waitpid(child, 0)[1]
    touched = 0
    def count(event, arguments):
        nonlocal touched
        if event == "open" or event.startswith(("os.", "shutil.")):
            touched += 1
            if touched > after:
                os.kill(os.getpid(), signal.SIGKILL)
    sys.addaudithook(count)
    write("new")
    os._exit(0)

outcomes, status = [], None
while status != 0:
    write("old")
    status = write_and_die(len(outcomes))
    storage.recover_folder(path)
    outcomes.append([(path / "a").read_text(), (path / "sub" / "b").read_text()])
write("last")
print(json.dumps([outcomes, sorted(os.listdir(path.parent)), sorted(os.listdir(path))]))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_folder_is_whole_after_a_crash_at_any_moment(tmp_path: Path) -> None:
    command = [sys.executable, "-c", CRASH_EVERYWHERE, str(tmp_path / "model")]
    process = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=True)
    outcomes, beside, inside = json.loads(process.stdout)
    assert len(outcomes) > 10
    assert all(first == second for first, second in outcomes)
    states = [first for first, _ in outcomes]
    assert set(states) == {"old", "new"}
    assert states == sorted(states, reverse=True)  # once the new folder is there it stays
    assert beside == ["model"]
    assert inside == ["a", "sub"]


# --------------------------------------------------------------------------------------------------- locks and hashes

HOLD = """
import sys
from contextlib import suppress
from pathlib import Path
from quire.storage import lock
with lock(Path(sys.argv[1]), purpose="the run"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_lock_of_another_process_is_named_and_dies_with_it(tmp_path: Path) -> None:
    path = tmp_path / "run.lock"
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, env=ENVIRONMENT, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"held\n"
        with (
            pytest.raises(RunError, match=f"the run is in use by process {holder.pid}"),
            storage.lock(path, purpose="the run"),
        ):
            pytest.fail("held twice")
        holder.kill()
        holder.wait()
    with storage.lock(path, purpose="the run"):
        pass


def test_a_lock_holds_within_the_process_and_is_free_afterwards(tmp_path: Path) -> None:
    path = tmp_path / "run.lock"
    held = pytest.raises(RunError, match=f"run 7 is in use by process {os.getpid()}")
    with storage.lock(path, purpose="run 7"), held, storage.lock(path, purpose="run 7"):
        pytest.fail("held twice")
    with pytest.raises(KeyError), storage.lock(path, purpose="run 7"):
        raise KeyError
    with storage.lock(path, purpose="run 7"):
        pass


def test_hashes_tell_contents_kinds_and_boundaries_apart(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"ab")
    zeros = np.zeros((2, 3), np.float32)
    different: list[tuple[Any, ...]] = [
        (),
        ("",),
        ("ab",),
        ("a", "b"),
        (b"ab",),
        (tmp_path / "file",),
        (["a", "b"],),
        (["ab"],),
        (zeros,),
        (zeros.T,),
        (zeros.astype(np.int32),),
        (zeros.astype(np.float64),),
        (np.float32(0),),
        (0,),
        (0.0,),
        (None,),
        (False,),
        ({"a": 1},),
        ({"a": 1, "b": 2},),
    ]
    hashes = [storage.content_hash(*parts) for parts in different]
    assert len(set(hashes)) == len(hashes)
    assert storage.content_hash({"a": 1, "b": [2, 3]}) == storage.content_hash({"b": (2, 3), "a": 1})
    assert storage.content_hash(zeros) == storage.content_hash(np.asfortranarray(zeros))
    with pytest.raises(TypeError, match="objects"):
        storage.content_hash(np.array([object()]))


def test_a_hash_is_the_same_in_another_process() -> None:
    code = "from quire.storage import content_hash; print(content_hash({'b': 1, 'a': 'ü'}, 'x', b'y'))"
    other = subprocess.run([sys.executable, "-c", code], env=ENVIRONMENT, capture_output=True, text=True, check=True)
    assert other.stdout.strip() == storage.content_hash({"b": 1, "a": "ü"}, "x", b"y")


def test_a_folders_hash_is_that_of_its_names_and_contents(tmp_path: Path) -> None:
    def folder(name: str, **files: str) -> Path:
        for file, text in files.items():
            path = tmp_path / name / file.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return tmp_path / name

    base = storage.content_hash(folder("base", x="1", sub__y="2"))
    assert storage.content_hash(folder("same", sub__y="2", x="1")) == base
    for name, files in {
        "content": {"x": "1", "sub__y": "3"},
        "moved": {"x": "1", "sub2__y": "2"},
        "swapped": {"x": "2", "sub__y": "1"},
        "more": {"x": "1", "sub__y": "2", "z": ""},
    }.items():
        assert storage.content_hash(folder(name, **files)) != base


def test_the_cache_stands_where_the_user_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUIRE_CACHE", str(tmp_path))
    assert storage.cache_root() == tmp_path
    cache = storage.FeatureCache({})
    cache.put("a", {"x": np.ones(1)})
    assert tmp_path / "features" in cache.folder.parents
    monkeypatch.delenv("QUIRE_CACHE")
    assert storage.cache_root().name == "quire"


# -------------------------------------------------------------------------------------------------- the feature cache

PLAIN_ARRAYS = hnp.arrays(
    dtype=st.one_of(
        hnp.boolean_dtypes(),
        hnp.integer_dtypes(endianness="?"),
        hnp.floating_dtypes(endianness="?", sizes=(16, 32, 64)),
        hnp.unicode_string_dtypes(max_len=3),
    ),
    shape=hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)


def same(left: Any, right: Any) -> bool:
    return bool(left.dtype == right.dtype and left.shape == right.shape and left.tobytes() == right.tobytes())


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.dictionaries(st.text(max_size=5), PLAIN_ARRAYS, max_size=3), max_size=6), st.integers(1, 300))
def test_features_come_back_bit_for_bit(
    tmp_path_factory: pytest.TempPathFactory, entries: list[dict[str, Any]], shard_bytes: int
) -> None:
    root = tmp_path_factory.mktemp("cache")
    cache = storage.FeatureCache({"backbone": "b"}, root=root, shard_bytes=shard_bytes)
    half = len(entries) // 2
    cache.put_many((str(index), arrays) for index, arrays in enumerate(entries[:half]))
    for index, arrays in enumerate(entries[half:], half):
        cache.put(str(index), arrays)
    for reader in (cache, storage.FeatureCache({"backbone": "b"}, root=root)):
        assert reader.keys() == [str(index) for index in range(len(entries))]
        for index, arrays in enumerate(entries):
            found = reader.get(str(index))
            assert list(found) == list(arrays)
            assert all(same(found[name], array) for name, array in arrays.items())
            assert all(array.flags.aligned and not array.flags.writeable for array in found.values())


def feature(key: int) -> dict[str, Any]:
    return {"tokens": np.random.default_rng(key).normal(size=(7, key % 5 + 1)).astype(np.float32), "id": np.array(key)}


def test_a_cache_belongs_to_its_namespace(tmp_path: Path) -> None:
    cache = storage.FeatureCache({"backbone": "a", "size": 224}, root=tmp_path)
    cache.put("k", feature(1))
    assert "k" in storage.FeatureCache({"size": 224, "backbone": "a"}, root=tmp_path)
    other = storage.FeatureCache({"backbone": "b", "size": 224}, root=tmp_path)
    assert "k" not in other
    assert len(other) == 0
    assert not other.folder.exists()
    with pytest.raises(KeyError):
        other.get("k")


def test_what_stands_in_the_cache_stays(tmp_path: Path) -> None:
    cache = storage.FeatureCache({}, root=tmp_path)
    cache.put("k", feature(1))
    size = cache.size_bytes()
    cache.put("k", feature(2))
    assert same(cache.get("k")["tokens"], feature(1)["tokens"])
    assert cache.size_bytes() == size > feature(1)["tokens"].nbytes


@pytest.mark.parametrize("array", [np.array([None]), np.zeros(2, [("a", "f4")])], ids=["objects", "structures"])
def test_arrays_without_plain_bytes_are_refused(tmp_path: Path, array: Any) -> None:
    cache = storage.FeatureCache({}, root=tmp_path)
    with pytest.raises(ValueError, match="'x'"):
        cache.put("k", {"x": array})
    assert len(cache) == 0


def test_readers_see_what_others_put_and_clear(tmp_path: Path) -> None:
    writer, reader = (storage.FeatureCache({}, root=tmp_path, shard_bytes=64) for _ in range(2))
    assert "0" not in reader
    for key in range(4):
        writer.put(str(key), feature(key))
        assert same(reader.get(str(key))["tokens"], feature(key)["tokens"])
    kept = reader.get("3")
    writer.clear()
    assert len(writer) == len(reader) == 0
    assert same(kept["tokens"], feature(3)["tokens"])
    writer.put("3", feature(30))
    assert same(reader.get("3")["tokens"], feature(30)["tokens"])
    assert same(kept["tokens"], feature(3)["tokens"])


def test_a_cache_travels_to_a_worker(tmp_path: Path) -> None:
    cache = storage.FeatureCache({}, root=tmp_path)
    cache.put("k", feature(1))
    cache.get("k")
    assert same(pickle.loads(pickle.dumps(cache)).get("k")["tokens"], feature(1)["tokens"])


def test_an_index_cut_off_anywhere_keeps_all_whole_lines(tmp_path: Path) -> None:
    original = storage.FeatureCache({}, root=tmp_path)
    for key in range(3):
        original.put(str(key), feature(key))
    index = original.folder / "index.jsonl"
    content = index.read_bytes()
    for length in range(len(content)):
        index.write_bytes(content[:length])
        expected = max(content[:length].count(b"\n") - 1, 0)
        cache = storage.FeatureCache({}, root=tmp_path)
        assert cache.keys() == [str(key) for key in range(expected)]
        if length % 25 == 0:  # writing goes on behind the last whole line
            cache.put_many((str(key), feature(key)) for key in range(4))
            again = storage.FeatureCache({}, root=tmp_path)
            assert sorted(again.keys()) == ["0", "1", "2", "3"]
            assert all(same(again.get(str(key))["tokens"], feature(key)["tokens"]) for key in range(4))


@pytest.mark.parametrize("damage", ["removed", "cut"])
def test_features_whose_shard_is_damaged_are_computed_again(tmp_path: Path, damage: str) -> None:
    cache = storage.FeatureCache({}, root=tmp_path)
    cache.put_many((str(key), feature(key)) for key in range(3))
    (shard,) = cache.folder.glob("*.bin")
    if damage == "removed":
        shard.unlink()
    else:
        with shard.open("r+b") as file:
            file.truncate(100)
    cache = storage.FeatureCache({}, root=tmp_path)
    assert "2" not in cache
    cache.put_many((str(key), feature(key)) for key in range(3))
    for reader in (cache, storage.FeatureCache({}, root=tmp_path)):
        assert all(same(reader.get(str(key))["tokens"], feature(key)["tokens"]) for key in range(3))


FILL = """
import sys
from contextlib import suppress
from pathlib import Path
import numpy as np
from quire.storage import FeatureCache

cache = FeatureCache({}, root=Path(sys.argv[1]), shard_bytes=5_000)
for key in range(int(sys.argv[2]), int(sys.argv[3])):
    tokens = np.random.default_rng(key).normal(size=(7, key % 5 + 1)).astype(np.float32)
    cache.put(str(key), {"tokens": tokens, "id": np.array(key)})
    print(key, flush=True)
"""


def test_a_writer_killed_in_the_middle_leaves_everything_else(tmp_path: Path) -> None:
    command = [sys.executable, "-c", FILL, str(tmp_path), "0", "100000"]
    with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE) as writer:
        assert writer.stdout is not None
        confirmed = [int(writer.stdout.readline()) for _ in range(40)]
        writer.kill()
    cache = storage.FeatureCache({}, root=tmp_path, shard_bytes=5_000)
    assert {str(key) for key in confirmed} <= set(cache.keys())
    cache.put("after", feature(7))
    keys = cache.keys()
    for key in keys:
        assert same(cache.get(key)["tokens"], feature(7 if key == "after" else int(key))["tokens"])


def test_writers_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    ranges = [("0", "25"), ("15", "40")]
    writers = [
        subprocess.Popen([sys.executable, "-c", FILL, str(tmp_path), *each], env=ENVIRONMENT, stdout=subprocess.DEVNULL)
        for each in ranges
    ]
    assert [writer.wait() for writer in writers] == [0, 0]
    cache = storage.FeatureCache({}, root=tmp_path)
    assert set(cache.keys()) == {str(key) for key in range(40)}
    assert all(same(cache.get(str(key))["tokens"], feature(key)["tokens"]) for key in range(40))


# ----------------------------------------------------------------------------------------------- the restricted pickles


def _objects(items: list[Any]) -> Any:
    array = np.empty(len(items), object)
    array[:] = items
    return array


PICKLED_SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(max_size=5),
    st.binary(max_size=5),
    st.binary(max_size=5).map(bytearray),
    st.complex_numbers(allow_nan=False),
    st.frozensets(st.integers(), max_size=3),
)
STRUCTURES = [
    np.dtype([("a", "<f4"), ("b", ">i2"), ("c", "U3")]),
    np.dtype({"names": ["x", "inner"], "formats": ["?", [("y", "f8")]], "offsets": [0, 8], "itemsize": 16}),
]
PICKLED_ARRAYS = st.one_of(
    PLAIN_ARRAYS,
    PLAIN_ARRAYS.map(np.asfortranarray),
    hnp.arrays(hnp.byte_string_dtypes(max_len=3), hnp.array_shapes(max_side=3)),
    hnp.arrays(st.sampled_from(STRUCTURES), hnp.array_shapes(max_side=3)),
    st.lists(PICKLED_SCALARS, max_size=4).map(_objects),
)
PICKLED = st.recursive(
    PICKLED_SCALARS | PICKLED_ARRAYS | PLAIN_ARRAYS.filter(lambda a: a.ndim == 0).map(lambda a: a[()]),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(st.text(max_size=4) | st.integers(), inner, max_size=4),
        st.dictionaries(st.text(max_size=4), inner, max_size=3).map(collections.OrderedDict),
    ),
    max_leaves=12,
)


def alike(left: Any, right: Any) -> bool:
    if type(left) is not type(right):
        return False
    if isinstance(left, np.ndarray) and left.dtype == object:
        return left.shape == right.shape and alike(left.tolist(), right.tolist())
    if isinstance(left, np.ndarray) and left.dtype.names:  # what stands in the gaps does not count
        return left.dtype == right.dtype and left.shape == right.shape and alike(left.tolist(), right.tolist())
    if isinstance(left, np.ndarray | np.generic):
        return same(left, right)
    if isinstance(left, torch.Tensor):
        return left.dtype == right.dtype and left.shape == right.shape and _bits(left) == _bits(right)
    if isinstance(left, dict):
        return alike(list(left), list(right)) and alike(list(left.values()), list(right.values()))
    if isinstance(left, list | tuple):
        return len(left) == len(right) and all(map(alike, left, right))
    return repr(left) == repr(right)


def native(value: Any) -> Any:
    """Arrays in this machine's byte order, into which numpy brings some of them, depending on the protocol."""
    if isinstance(value, np.ndarray):
        if value.dtype == object:
            return _objects([native(item) for item in value])
        return value.astype(value.dtype.newbyteorder("="), order="K")
    if isinstance(value, dict):
        return type(value)((key, native(item)) for key, item in value.items())
    return type(value)(map(native, value)) if isinstance(value, list | tuple) else value


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(PICKLED, st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_admitted_pickles_are_read_as_pickle_reads_them(
    tmp_path_factory: pytest.TempPathFactory, value: Any, protocol: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "value.pkl"
    path.write_bytes(pickle.dumps(value, protocol))
    assert alike(storage.read_pickle(path), native(pickle.loads(path.read_bytes())))


def test_shared_and_cyclic_containers_stay_so(tmp_path: Path) -> None:
    array: Any = np.arange(3)
    loop: list[Any] = []
    loop.append(({"array": array}, loop))
    for _ in range(60):  # 2**60 paths to the same array
        array = (array, array)
    path = tmp_path / "value.pkl"
    path.write_bytes(pickle.dumps([array, array, loop]))
    first, second, found = storage.read_pickle(path)
    assert first is second
    assert found[0][1] is found
    assert found[0][0]["array"].tolist() == [0, 1, 2]


def test_arrays_can_be_written_to_and_are_of_numpys_own_class(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(pickle.dumps(np.zeros((2, 2), np.float32)))
    array: Any = storage.read_pickle(tmp_path / "x")
    array[0, 0] = 1
    assert type(array) is np.ndarray
    assert array.flags.owndata


def python2(data: bytes, shape: bytes) -> bytes:
    """What Python 2's cPickle.dump({"data": uint8 array, "labels": [3, 1], "names": ["caf\\xe9"]}, f, 2) writes."""

    def text(value: bytes) -> bytes:
        return b"U" + bytes([len(value)]) + value

    dtype = (
        b"cnumpy\ndtype\n"
        + text(b"u1")
        + b"K\x00K\x01\x87R(K\x03"
        + text(b"|")
        + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    )
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85"
        + text(b"b")
        + b"\x87R(K\x01"
        + shape
        + dtype
    )
    array += b"\x89" + text(data) + b"tb"
    return (
        b"\x80\x02}("
        + text(b"data")
        + array
        + text(b"labels")
        + b"](K\x03K\x01e"
        + text(b"names")
        + b"]"
        + text(b"caf\xe9")
        + b"au."
    )


@pytest.mark.parametrize(("encoding", "kind"), [("latin1", str), ("bytes", bytes)])
def test_python_2_pickles(tmp_path: Path, encoding: Any, kind: type) -> None:
    path = tmp_path / "batch"
    path.write_bytes(python2(bytes([0, 1, 127, 128, 254, 255]), b"K\x02K\x03\x86"))
    found: Any = storage.read_pickle(path, encoding=encoding)
    assert {type(key) for key in found} == {kind}
    data, labels, names = found.values()
    assert data.dtype == np.uint8
    assert data.tolist() == [[0, 1, 127], [128, 254, 255]]
    assert labels == [3, 1]
    assert names == ["café" if kind is str else b"caf\xe9"]


def test_cifars_python_version() -> None:
    root = os.environ.get("QUIRE_DATA")
    if root is None:
        pytest.skip("QUIRE_DATA is not set")
    folder = Path(root) / "srh" / "cifar-10-batches-py"
    if not folder.is_dir():
        pytest.skip(f"{folder} is not there")
    for path in sorted(folder.iterdir()):
        content: Any = storage.read_pickle(path, encoding="bytes")
        assert alike(content, pickle.loads(path.read_bytes(), encoding="bytes"))
        if b"data" in content:
            assert content[b"data"].shape == (len(content[b"labels"]), 3072)
            assert content[b"data"].dtype == np.uint8


class Reduced:
    """Pickles as a call of whatever it is given."""

    def __init__(self, *how: Any) -> None:
        self.how = how

    def __reduce__(self) -> Any:
        return self.how


RECONSTRUCT = np.zeros(1).__reduce__()[0]
LYING = Reduced(np.dtype, ("O8", False, True), (3, "|", None, None, None, -1, -1, 0))  # objects that say they are none
MALICIOUS = {
    "os.system": (Reduced(os.system, ("touch executed",)), f"{os.system.__module__}.system"),
    "nested": ({"data": [np.zeros(2), Reduced(os.system, ("touch executed",))]}, "system"),
    "eval": (Reduced(eval, ("open('executed', 'w')",)), ".eval"),
    "getattr": (Reduced(getattr, (dict, "__class__")), ".getattr"),
    "a class of ours": (Reduced(storage.FeatureCache, ({},)), "quire.storage.cache.FeatureCache"),
    "a subclass of arrays": (np.ma.masked_array([1, 2], [True, False]), "numpy.ma"),
    "an array of pointers": (Reduced(np.ndarray, ((1,), np.dtype(object), b"A" * 8)), "numpy.ndarray"),
    "a dtype that lies": (Reduced(RECONSTRUCT, (np.ndarray, (0,), b"b"), (1, (1,), LYING, False, b"A" * 8)), "objects"),
    "another codec": (Reduced(__import__("_codecs").encode, ("x", "zlib")), "zlib"),
    "a function as a value": ({"f": RECONSTRUCT}, "a function"),
    "dates": (np.array(["2020-01-01"], "M8[D]"), "M8"),
}


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
@pytest.mark.parametrize("name", MALICIOUS)
def test_everything_else_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, protocol: int
) -> None:
    monkeypatch.chdir(tmp_path)
    value, refused = MALICIOUS[name]
    path = tmp_path / "value.pkl"
    path.write_bytes(pickle.dumps(value, protocol))
    with pytest.raises(DataError) as caught:
        storage.read_pickle(path)
    assert str(path) in str(caught.value)
    assert refused in caught.value.message
    assert not (tmp_path / "executed").exists()


BUILD_ATTACKS = {  # BUILD sets attributes of what stands below it on the stack, which find_class gave
    "attributes of a stand-in": (
        b"cnumpy\ndtype\nN(X\x08\x00\x00\x00functionccollections\nOrderedDict\nd\x86b.",
        "change of",
    ),
    "state of a stand-in": (b"cnumpy\ndtype\n}X\x08\x00\x00\x00functionNsb.", "__dict__"),
    "attributes of a type": (b"cbuiltins\nset\nN}X\x03\x00\x00\x00popNs\x86b.", "immutable type"),
}


@pytest.mark.parametrize("name", BUILD_ATTACKS)
def test_a_pickle_can_not_change_its_reader(tmp_path: Path, name: str) -> None:
    attack, reason = BUILD_ATTACKS[name]
    (tmp_path / "x").write_bytes(attack)
    with pytest.raises(DataError, match=reason):
        storage.read_pickle(tmp_path / "x")
    (tmp_path / "x").write_bytes(pickle.dumps([np.float32(1), {2}]))
    assert storage.read_pickle(tmp_path / "x") == [1.0, {2}]


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_damaged_pickles_are_data_errors_or_plain_values(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    whole = pickle.dumps({"a": np.arange(4, dtype="f4"), "b": [np.float64(2), {"c"}]}, data.draw(st.integers(0, 5)))
    start = data.draw(st.integers(0, len(whole)))
    stop = data.draw(st.integers(start, len(whole)))
    path = tmp_path_factory.getbasetemp() / "damaged.pkl"
    path.write_bytes(whole[:start] + data.draw(st.binary(max_size=8)) + whole[stop:])
    with suppress(DataError):
        storage.read_pickle(path)


def test_a_missing_pickle_is_a_data_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="missing"):
        storage.read_pickle(tmp_path / "missing")


def test_checkpoints_of_authors(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    state = {"layer.weight": torch.randn(2, 3), "steps": torch.tensor(3)}
    torch.save({"state_dict": collections.OrderedDict(state), "epoch": 5}, tmp_path / "a.pth")
    save_file(state, tmp_path / "b.safetensors")
    found = storage.read_checkpoint(tmp_path / "a.pth")
    assert found["epoch"] == 5
    assert alike(dict(found["state_dict"]), state)
    safe = storage.read_checkpoint(tmp_path / "b.safetensors")
    assert alike({name: safe[name] for name in state}, state)


def test_checkpoints_that_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"x": Reduced(os.system, ("touch executed",))}, tmp_path / "evil.pth")
    torch.save([1, 2], tmp_path / "list.pt")
    torch.save({"a": torch.zeros(100)}, tmp_path / "whole.pt")
    (tmp_path / "torn.pt").write_bytes((tmp_path / "whole.pt").read_bytes()[:300])
    (tmp_path / "torn.safetensors").write_bytes(b"\x10\0\0\0")
    (tmp_path / "empty.pt").write_bytes(b"")
    for name, reason in {
        "evil.pth": f"{os.system.__module__}.system",
        "list.pt": "list",
        "torn.pt": "checkpoint",
        "torn.safetensors": "checkpoint",
        "empty.pt": "checkpoint",
        "missing.pt": "no such file",
    }.items():
        with pytest.raises(DataError, match=reason) as caught:
            storage.read_checkpoint(tmp_path / name)
        assert name in str(caught.value)
    assert not (tmp_path / "executed").exists()


# ---------------------------------------------------------------------------------------------------- trees of tensors

DTYPES = [
    torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.int32, torch.int16, torch.int8,
    torch.uint8, torch.bool, torch.complex64, torch.complex128,
]  # fmt: skip
SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)


@st.composite
def tensors(draw: Any) -> torch.Tensor:
    shape = draw(SHAPES)
    tensor = torch.from_numpy(draw(hnp.arrays(np.float32, shape))).to(draw(st.sampled_from(DTYPES)))
    chosen: torch.Tensor = draw(
        st.sampled_from([tensor, tensor.mT if tensor.ndim > 1 else tensor, tensor.reshape(-1)[::2], tensor.conj()])
    )
    return chosen


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=5),
    st.binary(max_size=5),
    st.complex_numbers(),
)
KEYS = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5) | st.binary(max_size=3)
)
TREES = st.recursive(
    SCALARS
    | tensors()
    | PLAIN_ARRAYS
    | PLAIN_ARRAYS.filter(lambda array: array.ndim == 0).map(lambda array: array[()]),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(KEYS | st.tuples(KEYS, KEYS), inner, max_size=4),
    ),
    max_leaves=15,
)


def _bits(tensor: torch.Tensor) -> bytes:
    dense = tensor.detach().resolve_conj().resolve_neg()
    fresh = torch.empty(dense.numel(), dtype=dense.dtype).copy_(dense.reshape(-1))
    return fresh.view(torch.uint8).numpy().tobytes()


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(TREES)
def test_trees_are_put_together_again(tmp_path_factory: pytest.TempPathFactory, tree: Any) -> None:
    parts, structure = storage.pack_tree(tree)
    assert alike(storage.unpack_tree(parts, json.loads(json.dumps(structure, allow_nan=False))), tree)
    path = tmp_path_factory.getbasetemp() / "tree.safetensors"
    storage.save_tree(path, tree)
    assert alike(storage.load_tree(path), tree)


@pytest.mark.parametrize("dtype", [torch.complex64, torch.complex128])
def test_complex_tensors_can_be_used_wherever_they_lie_in_the_file(tmp_path: Path, dtype: torch.dtype) -> None:
    tensor = torch.arange(5).to(dtype)
    for length in range(16):  # of the header
        storage.save_tree(tmp_path / "x", {"k" * length: tensor})
        (found,) = storage.load_tree(tmp_path / "x").values()
        assert torch.equal(found * found, tensor * tensor)


def test_tensors_that_share_memory(tmp_path: Path) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    tree = {"tied": [base, base.detach()], "rows": base[1:], "flat": base.view(-1), "step": base[0, 0]}
    storage.save_tree(tmp_path / "x", tree)
    found = storage.load_tree(tmp_path / "x")
    assert alike(found, tree)
    assert found["tied"][0] is found["tied"][1]
    found["tied"][0].add_(1)
    assert found["flat"][0] == 0
    found["rows"].mul_(2)  # what is loaded can be trained on


def test_states_of_modules_optimisers_and_generators(tmp_path: Path) -> None:
    module = torch.nn.Linear(2, 3)
    optimizer = torch.optim.Adam(module.parameters())
    module(torch.ones(1, 2)).sum().backward()
    optimizer.step()
    rng = np.random.default_rng(3)
    tree = {
        "module": module.state_dict(),
        "optimizer": optimizer.state_dict(),
        "torch": torch.get_rng_state(),
        "numpy": rng.bit_generator.state,
        "size": torch.Size([1, 2]),
    }
    storage.save_tree(tmp_path / "x", tree)
    found = storage.load_tree(tmp_path / "x")
    assert found["size"] == (1, 2)
    module.load_state_dict(found["module"])
    optimizer.load_state_dict(found["optimizer"])
    torch.set_rng_state(found["torch"])
    expected = rng.normal()
    rng.bit_generator.state = found["numpy"]
    assert rng.normal() == expected
    assert alike(found["optimizer"], optimizer.state_dict())


class Point(NamedTuple):
    x: int


@pytest.mark.parametrize(
    ("leaf", "reason"),
    [
        (object(), "object"),
        ({1, 2}, "set"),
        (Path(), "Path"),
        (Point(1), "Point"),
        (np.array([None]), "object"),
        (torch.eye(2).to_sparse(), "sparse"),
    ],
)
def test_other_things_are_refused_with_their_place(leaf: Any, reason: str) -> None:
    with pytest.raises(TypeError, match=reason) as caught:
        storage.pack_tree({"state": [0, leaf]})
    assert "['state'][1]" in str(caught.value)


def test_a_file_that_is_no_tree_is_a_data_error(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    storage.save_tree(tmp_path / "whole", {"a": torch.zeros(50), "b": [1, 2]})
    content = (tmp_path / "whole").read_bytes()
    save_file({"a": torch.zeros(1)}, tmp_path / "foreign")
    save_file({"a": torch.zeros(1)}, tmp_path / "other", {"quire.tree": '{"tensor": "b"}'})
    save_file({"a": torch.zeros(1)}, tmp_path / "odd", {"quire.tree": '{"code": "x"}'})
    (tmp_path / "torn").write_bytes(content[:-20])
    (tmp_path / "header").write_bytes(content[:10])
    (tmp_path / "empty").write_bytes(b"")
    for name in ["missing", "foreign", "other", "odd", "torn", "header", "empty"]:
        with pytest.raises(DataError) as caught:
            storage.load_tree(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)


def test_a_tree_is_replaced_only_as_a_whole(tmp_path: Path) -> None:
    storage.save_tree(tmp_path / "x", {"step": 1})
    with pytest.raises(TypeError):
        storage.save_tree(tmp_path / "x", {"step": 2, "bad": object()})
    assert storage.load_tree(tmp_path / "x") == {"step": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["x"]
