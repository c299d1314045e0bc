"""The `.ts` format of sktime and aeon: a header of @keys, then one case a line, channels apart by colons."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from quire.errors import ConfigError, DataError, InvalidSample, Where, nearest
from quire.storage import atomic_file

from .collection import Case, Float32, Float64, SeriesCollection, collect, normal_label
from .text import parse_numbers, read_lines, require_increasing

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from quire.dataset import OnError

_KEYS = {
    "problemname", "timestamps", "missing", "univariate", "dimensions", "equallength", "serieslength", "classlabel",
    "targetlabel", "data",
}  # fmt: skip
_SPELLINGS = {"dimension": "dimensions", "targetlabel": "classlabel"}
_COLON_OUTSIDE_STAMP = re.compile(r":(?![^()]*\))")
_STAMPED_VALUE = re.compile(r"\(([^(),]+),([^(),]+)\)")
_STAMPED_CHANNEL = re.compile(r"\([^()]*\)(,\([^()]*\))*")


@dataclass(frozen=True)
class _Header:
    time_stamps: bool
    missing: bool | None
    univariate: bool | None
    dimensions: int | None
    equal_length: bool | None
    series_length: int | None
    labelled: bool
    classes: tuple[str, ...]


def load_ts(path: str | Path, *, on_error: OnError = "raise") -> SeriesCollection:
    """Read a `.ts` file, with or without time stamps; "?" and NaN are missing values; labels keep their capitals.

    Series may differ in length unless the header says otherwise; the channels of one case may not. Time stamps have
    to increase, and are not kept. DataError for a fault of the header; InvalidSample, naming line and value, for a
    case that contradicts the header or holds what is no number.
    """
    path = Path(path)
    header, lines = _read_header(path)
    first_length: list[int] = []

    def parse(row: tuple[int, tuple[int, str]]) -> Case:
        number, (line, text) = row
        where = Where(file=path, line=line, sample=number)
        case = _parse_case(text, header, where, f"{path.stem}:{number}")
        length = case.series.shape[1]
        if header.equal_length and header.series_length is None and length != (first_length or [length])[0]:
            raise InvalidSample(
                f"@equalLength is true, but this series has {length} values and the first one {first_length[0]}",
                where=where,
                remedy="Write @equalLength false, or correct the case.",
            )
        first_length.append(length)
        return case

    return collect(path, enumerate(lines, start=1), parse, on_error=on_error, classes=header.classes)


def _read_header(path: Path) -> tuple[_Header, Iterator[tuple[int, str]]]:
    """The header, and the lines of the cases."""
    lines = iter(
        [(number, line.strip()) for number, line in read_lines(path) if not line.lstrip().startswith(("#", "%"))]
    )
    found: dict[str, tuple[list[str], Where]] = {}
    for number, line in lines:
        where = Where(file=path, line=number)
        if not line.startswith("@"):
            raise DataError("the header ends without @data", where=where, remedy="Put @data before the first case.")
        key, *words = line[1:].split() or [""]
        key = key.lower()
        if key == "data":
            break
        if key not in _KEYS and nearest(key, _KEYS) and key not in _SPELLINGS:
            raise DataError(f"@{key} is no key of the .ts format{nearest(key, _KEYS)}", where=where)
        found[_SPELLINGS.get(key, key)] = (words, where)
    else:
        raise DataError("there is no @data", where=Where(file=path), remedy="Put @data before the first case.")
    if "classlabel" not in found:
        raise DataError(
            "the header has no @classLabel",
            where=Where(file=path),
            remedy="Write @classLabel true with the classes, or @classLabel false.",
        )
    labelled = bool(_flag(found, "classlabel"))
    words, where = found["classlabel"]
    classes = tuple(normal_label(word, where) for word in words[1:]) if labelled else ()
    return _Header(
        time_stamps=bool(_flag(found, "timestamps")),
        missing=_flag(found, "missing"),
        univariate=_flag(found, "univariate"),
        dimensions=_whole_number(found, "dimensions"),
        equal_length=_flag(found, "equallength"),
        series_length=_whole_number(found, "serieslength"),
        labelled=labelled,
        classes=classes,
    ), lines


def _flag(found: dict[str, tuple[list[str], Where]], key: str) -> bool | None:
    if key not in found:
        return None
    words, where = found[key]
    value = {"true": True, "false": False}.get(words[0].lower() if words else "")
    if value is None:
        raise DataError(f"@{key} is neither true nor false", where=where, remedy=f"Write @{key} true or @{key} false.")
    return value


def _whole_number(found: dict[str, tuple[list[str], Where]], key: str) -> int | None:
    if key not in found:
        return None
    words, where = found[key]
    if len(words) != 1 or not words[0].isdecimal() or int(words[0]) == 0:
        raise DataError(f"@{key} is not a number above 0", where=where, remedy=f"Write @{key} with one whole number.")
    return int(words[0])


def _parse_case(text: str, header: _Header, where: Where, name: str) -> Case:
    parts = _COLON_OUTSIDE_STAMP.split(text)
    label = None
    if header.labelled:
        if len(parts) < 2:
            raise InvalidSample(
                "the case has no label", where=where, remedy="Put a colon and the label at the line's end."
            )
        label = normal_label(parts.pop(), where)
    expected = 1 if header.univariate else header.dimensions
    if expected is not None and len(parts) != expected:
        key = "@univariate true" if header.univariate else f"@dimensions {expected}"
        raise InvalidSample(
            f"the header says {key}, but this case has {len(parts)} channel{'s' if len(parts) > 1 else ''}",
            where=where,
            remedy="Correct the header or the case.",
        )
    channels = [_parse_channel(part, index, header, where) for index, part in enumerate(parts, start=1)]
    lengths = {len(channel) for channel in channels}
    if len(lengths) > 1:
        raise InvalidSample(
            f"the channels of the case have different lengths ({min(lengths)} and {max(lengths)} values)",
            where=where,
            remedy="Mark the values that a channel lacks with ?.",
        )
    series = np.stack(channels)
    _require_header_kept(series, header, where)
    return Case(series, label, name, where)


def _parse_channel(text: str, channel: int, header: _Header, where: Where) -> Float64:
    def place(index: int) -> Where:
        return Where(where.file, where.line, f"{index + 1} of channel {channel}", where.sample)

    if not header.time_stamps:
        return parse_numbers(text.split(","), place)
    pairs = _STAMPED_VALUE.findall(text)
    if not _STAMPED_CHANNEL.fullmatch(text.strip()) or len(pairs) != text.count("("):
        raise InvalidSample(
            f"the header says @timeStamps true, but channel {channel} is not a list of (stamp,value)",
            where=where,
            remedy="Write every value as (stamp,value), or @timeStamps false.",
        )
    require_increasing([stamp for stamp, _ in pairs], place)
    return parse_numbers([value for _, value in pairs], place)


def _require_header_kept(series: Float64, header: _Header, where: Where) -> None:
    length = series.shape[1]
    if header.series_length is not None and header.equal_length is not False and length != header.series_length:
        raise InvalidSample(
            f"the header says @seriesLength {header.series_length}, but this series has {length} values",
            where=where,
            remedy="Write @equalLength false, or correct the case.",
        )
    if header.missing is False and np.isnan(series).any():
        raise InvalidSample(
            "the header says @missing false, but the case has a missing value",
            where=where,
            remedy="Write @missing true.",
        )


def save_ts(
    path: str | Path,
    series: Sequence[Float32],
    labels: Sequence[str] | None = None,
    *,
    name: str | None = None,
    comment: str = "",
) -> Path:
    """Write series, float32 [channels, length_i] with NaN for missing, as a `.ts` file, replaced atomically.

    `load_ts` gives back the same values bit by bit and the same labels. `name`: the data set's name (the file's name
    up to _TRAIN or _TEST). ConfigError for no series, an empty one, series of different channels, a count of labels
    that does not fit, and labels that the format can't hold.
    """
    path = Path(path)
    _require_writable(series, labels)
    yes = {True: "true", False: "false"}
    lengths = {values.shape[1] for values in series}
    channels = len(series[0])
    name = name or re.sub(r"_(TRAIN|TEST)$", "", path.stem, flags=re.IGNORECASE)
    with atomic_file(path, "w") as file:
        file.writelines(f"#{line}\n" for line in comment.splitlines())
        file.write(f"@problemName {''.join(name.split())}\n@timeStamps false\n")
        file.write(f"@missing {yes[any(bool(np.isnan(values).any()) for values in series)]}\n")
        file.write(f"@univariate {yes[channels == 1]}\n")
        if channels > 1:
            file.write(f"@dimensions {channels}\n")
        file.write(f"@equalLength {yes[len(lengths) == 1]}\n")
        if len(lengths) == 1:
            file.write(f"@seriesLength {min(lengths)}\n")
        classes = "" if labels is None else "".join(f" {label}" for label in dict.fromkeys(labels))
        file.write(f"@classLabel {yes[labels is not None]}{classes}\n@data\n")
        for index, values in enumerate(series):
            case = ":".join(",".join(_shortest(value) for value in channel) for channel in values)
            file.write(case if labels is None else f"{case}:{labels[index]}")
            file.write("\n")
    return path


def _require_writable(series: Sequence[Float32], labels: Sequence[str] | None) -> None:
    if not len(series) or any(values.ndim != 2 or values.size == 0 for values in series):
        raise ConfigError("save_ts needs at least one series, each of shape [channels, length] and none empty")
    if len({len(values) for values in series}) > 1:
        raise ConfigError("the series have different numbers of channels")
    if labels is None:
        return
    if len(labels) != len(series):
        raise ConfigError(f"there are {len(labels)} labels for {len(series)} series")
    for label in labels:
        if not label or re.search(r"[\s:()]", label):
            raise ConfigError(
                f"the label {label!r} can't stand in a .ts file", remedy="Take out blanks, colons and parentheses."
            )


def _shortest(value: np.float32) -> str:
    """The shortest text that reads back as the same float32, also by way of float64; "?" for NaN."""
    if np.isnan(value):
        return "?"
    text = str(value)
    return text if np.float32(float(text)) == value else repr(float(value))
