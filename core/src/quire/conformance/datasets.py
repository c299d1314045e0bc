"""Rules for data sets."""

from __future__ import annotations

import pickle
import shutil
from contextlib import chdir
from functools import partial
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from quire import registry
from quire.conformance.options import check_options_have_defaults
from quire.conformance.subject import NotApplicable, Subject, differences, listed, once, resting_on
from quire.dataset import sort_labels
from quire.discovery import reader_options
from quire.errors import ConfigError, DataError, InvalidSample, QuireError
from quire.modality import Label

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from quire.dataset import Dataset
    from quire.modality import Sample

NO_SUCH = "no-such-name"


class DatasetSubject(Subject):
    """A reader and the release that it samples."""

    cls: type[Dataset]

    def sampled(self, seed: int = 0) -> Path:
        """A new release."""
        return self.cls.sample(self.new_folder() / "release", seed=seed)

    @once
    def release(self) -> Path:
        """A release that no check changes."""
        with resting_on("check_sample"):
            return self.sampled()

    @once
    def options(self) -> dict[str, Any]:
        """What a reader of any task must be told: the first task by which it can read its own sample."""
        self.rest_on(check_options_have_defaults)
        if "task" not in self.cls.Options.model_fields:
            return {}
        for name in registry.names("task"):
            options = reader_options(self.cls, registry.get(name, "task"))
            try:
                self.cls.open(self.release, split=self.cls.splits(self.release)[0], **options)[0]
            except QuireError:
                continue
            return options
        raise NotApplicable("check_sample comes first: no installed task can read the sample")

    def open(self, path: Path | None = None, *, split: str | None = None) -> Dataset:
        """A split of a release, by default the first of the sampled one."""
        path = self.release if path is None else path
        split = self.cls.splits(path)[0] if split is None else split
        return self.cls.open(path, split=split, **self.options)

    @once
    def dataset(self) -> Dataset:
        """The first split of the release."""
        with resting_on("check_splits"):
            return self.open()

    @once
    def samples(self) -> list[Sample]:
        """Its samples, in order."""
        with resting_on("check_access"):
            return [self.dataset[index] for index in range(len(self.dataset))]


def check_sample(subject: DatasetSubject) -> None:
    """sample writes the same release for the same seed, and returns the path to open."""
    folders = [subject.new_folder() / "release" for _ in range(2)]
    paths = [subject.cls.sample(folder, seed=3) for folder in folders]
    mend = "Draw everything from numpy.random.default_rng(seed), and write no time."
    subject.require(
        all(
            Path(path).exists() and Path(path).is_relative_to(folder)
            for path, folder in zip(paths, folders, strict=True)
        ),
        f"returns {paths[0]} from sample, which it did not write",
        "Return the path that open takes.",
    )
    first, second = map(_contents, folders)
    different = sorted(name for name in first.keys() | second.keys() if first.get(name) != second.get(name))
    subject.require(not different, f"samples other files for the same seed: {listed(different)}", mend)


def check_sample_stays_inside(subject: DatasetSubject) -> None:
    """sample writes nothing outside the folder that it is given."""
    home, elsewhere = subject.new_folder(), subject.new_folder()
    with chdir(elsewhere):
        subject.cls.sample(home / "release", seed=0)
    strays = [path.name for folder in (home, elsewhere) for path in folder.iterdir() if path.name != "release"]
    subject.require(not strays, f"writes beside the folder of its sample: {listed(strays)}", "Write inside it only.")


def check_recognition(subject: DatasetSubject) -> None:
    """recognises says yes to the reader's own sample, and no to an empty folder."""
    mend = "Look for the file names of the release's layout in recognises."
    subject.require(subject.cls.recognises(subject.release), "does not recognise its own sample", mend)
    subject.require(not subject.cls.recognises(subject.new_folder()), "recognises an empty folder", mend)


def check_splits(subject: DatasetSubject) -> None:
    """Every split that splits names can be opened, and knows its name."""
    names = subject.cls.splits(subject.release)
    mend = "Return the names of the splits that the release has, each once."
    subject.require(bool(names) and len(set(names)) == len(names), f"has the splits {names!r}", mend)
    for name in names:
        opened = subject.open(split=name)
        subject.require(opened.split == name, f"opens {opened.split!r} as the split {name!r}", mend)


def check_access(subject: DatasetSubject) -> None:
    """A sample is the same in any order of access, and an iteration ends after the last one."""
    dataset, mend = subject.dataset, "Let __getitem__ depend on the index alone."
    forward = list(islice(dataset, len(dataset) + 1))
    subject.require(
        len(forward) == len(dataset),
        f"has {len(dataset)} samples, but an iteration over it does not end there",
        "Raise IndexError outside the data set: Dataset.position does.",
    )
    backward = [dataset[index] for index in reversed(range(len(dataset)))][::-1]
    different = list(differences(forward, backward))
    subject.require(not different, f"gives other samples in another order of access: {listed(different)}", mend)


def check_workers(subject: DatasetSubject) -> None:
    """Worker processes get the same samples."""
    from quire.runtime import Job, Runtime

    subject.rest_on(check_pickling)
    load = partial(_load, subject.dataset)
    jobs = [Job([index], (index,)) for index in range(len(subject.dataset))]
    loaded = [sample for batch in Runtime(device="cpu", workers=2).load(load, jobs) for sample in batch]
    different = list(differences(subject.samples, loaded))
    subject.require(
        not different,
        f"gives other samples in worker processes: {listed(different)}",
        "Let samples depend on nothing of the process; open files in __getitem__, not before.",
    )


def check_pickling(subject: DatasetSubject) -> None:
    """A pickled copy holds the same samples: that is how workers get it where processes are not forked."""
    subject.rest_on(check_access)
    mend = "Keep nothing in it that can't be pickled, such as open files or lambdas."
    try:
        copy = pickle.loads(pickle.dumps(subject.dataset))  # noqa: S301 - what was pickled just now
    except Exception as error:
        subject.require(False, f"can't be pickled: {error}", mend)
    different = list(differences(subject.samples, list(copy)))
    subject.require(not different, f"has other samples after pickling: {listed(different)}", mend)


def check_samples(subject: DatasetSubject) -> None:
    """Every sample has the task's fields in the form that their modalities give them, and a known label."""
    task = subject.dataset.task
    mend = "Give each value in its modality's form: Task.check and Modality.read do."
    for sample in subject.samples:
        try:
            checked = task.check(sample, need_target=True)
        except InvalidSample as error:
            subject.require(False, f"gives a sample that {task.name} does not admit: {error}", mend)
        different = list(differences(sample, checked))
        subject.require(not different, f"gives sample {sample.get('id')!r} in another form: {listed(different)}", mend)


def check_labels(subject: DatasetSubject) -> None:
    """The labels are those of all splits, in the order of sort_labels, in every split."""
    subject.rest_on(check_splits)
    if not isinstance(subject.dataset.task.target, Label):
        raise NotApplicable("its target is no label")
    labels = subject.dataset.labels
    mend = "Collect the labels of all splits and put them through quire.dataset.sort_labels."
    subject.require(labels == sort_labels(labels), f"has the labels {listed(labels)} in this order", mend)
    for name in subject.cls.splits(subject.release):
        split = subject.open(split=name)
        targets = {split.target(index) for index in range(len(split))}
        subject.require(split.labels == labels, f"has other labels in the split {name!r}", mend)
        subject.require(
            targets <= set(labels), f"has targets that are no labels: {listed(targets - set(labels))}", mend
        )


def check_ids(subject: DatasetSubject) -> None:
    """Every sample of a split has an id, a text that no other one has."""
    ids = [sample.get("id") for sample in subject.samples]
    bad = [repr(name) for name in ids if not isinstance(name, str) or ids.count(name) > 1]
    subject.require(not bad, f"gives ids that are not texts, or not unique: {listed(bad)}", "Number the samples.")


def check_target(subject: DatasetSubject) -> None:
    """target(i) is the target of sample i."""
    given = [sample.get("target") for sample in subject.samples]
    different = list(differences(given, [subject.dataset.target(index) for index in range(len(given))]))
    subject.require(
        not different, f"gives another target than the sample has: {listed(different)}", "Let both read the same place."
    )


def check_stable_fingerprint(subject: DatasetSubject) -> None:
    """The fingerprint is the same when the data are opened again, also as a copy elsewhere."""
    subject.rest_on(check_splits)
    folder = subject.new_folder() / "copy"
    source = subject.release if subject.release.is_dir() else subject.release.parent
    shutil.copytree(source, folder)
    copy = folder if subject.release.is_dir() else folder / subject.release.name
    prints = {subject.dataset.fingerprint(), subject.open().fingerprint(), subject.open(copy).fingerprint()}
    subject.require(
        len(prints) == 1,
        "has another fingerprint when it is opened again or stands elsewhere",
        "Hash the content of the samples (quire.storage.content_hash), not where they are or when they were read.",
    )


def check_telling_fingerprint(subject: DatasetSubject) -> None:
    """The fingerprint of other data is another one."""
    subject.rest_on(check_splits)
    other = subject.open(subject.sampled(seed=1))
    if not list(differences(subject.samples, [other[index] for index in range(len(other))])):
        raise NotApplicable("sample writes the same data for every seed")
    subject.require(
        other.fingerprint() != subject.dataset.fingerprint(),
        "has one fingerprint for different data",
        "Hash the content of the samples (quire.storage.content_hash).",
    )


def check_unknown_split(subject: DatasetSubject) -> None:
    """A split that does not exist is a DataError."""
    try:
        subject.open(split=NO_SUCH)
    except (DataError, ConfigError):
        return
    subject.require(False, f"opens a split {NO_SUCH!r}", "Leave open to Dataset, and write read.")


def check_unknown_option(subject: DatasetSubject) -> None:
    """An option that does not exist is a ConfigError."""
    try:
        subject.cls.open(
            subject.release,
            split=subject.cls.splits(subject.release)[0],
            **{**subject.options, NO_SUCH.replace("-", "_"): 1},
        )
    except ConfigError:
        return
    subject.require(False, "takes an option that does not exist", "Leave open to Dataset, and write read.")


def check_release_unchanged(subject: DatasetSubject) -> None:
    """Opening and reading leaves the user's folder as it is."""
    subject.rest_on(check_splits)
    path = subject.sampled()
    folder = path if path.is_dir() else path.parent
    before = _contents(folder)
    subject.cls.recognises(path)
    for name in subject.cls.splits(path):
        opened = subject.open(path, split=name)
        opened.fingerprint()
        for index in range(len(opened)):
            opened[index]
    after = _contents(folder)
    changed = sorted(name for name in before.keys() | after.keys() if before.get(name) != after.get(name))
    subject.require(
        not changed,
        f"changes the user's folder: {listed(changed)}",
        "Put what is computed under quire.storage.cache_root().",
    )


def _load(dataset: Dataset, indices: Sequence[int], _: np.random.Generator) -> list[Sample]:
    return [dataset[index] for index in indices]


def _contents(folder: Path) -> dict[str, bytes]:
    """Every file's content and every folder, by path."""
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() if path.is_file() else b"a folder"
        for path in Path(folder).rglob("*")
    }
