"""Modalities: files of every kind, checks, and JSON there and back."""

from __future__ import annotations

import importlib
import io
import json
import math
import os
import pickle
import subprocess
import sys
import wave
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image as PillowImage

import quire.modality
from quire.errors import InvalidSample, MissingExtra, QuireError, Where
from quire.modality import (
    MODALITIES,
    Audio,
    Frames,
    Image,
    Label,
    Modality,
    Series,
    Text,
    Vector,
    Video,
    Waveform,
    path_inside,
)

ALL: list[Modality[Any]] = [
    Image(mode=None),
    Text(),
    Audio(),
    Series(),
    Video(),
    Vector(),
    Label(labels=("cat", "dog")),
]
FINITE = st.floats(width=32, allow_nan=False, allow_infinity=False)


def example(modality: Modality[Any]) -> Any:
    rng = np.random.default_rng(0)
    return {
        "image": PillowImage.fromarray(rng.integers(0, 256, (4, 6, 3), dtype=np.uint8)),
        "text": "a $\\frac text\nof two lines",
        "audio": Waveform(rng.normal(size=(2, 50)).astype(np.float32), 8000),
        "series": rng.normal(size=(2, 9)).astype(np.float32),
        "video": Frames(rng.integers(0, 256, (3, 4, 6, 3), dtype=np.uint8), 25.0),
        "vector": rng.normal(size=5).astype(np.float32),
        "label": "dog",
    }[modality.kind]


def arrays_of(value: Any) -> list[Any]:
    """What has to be equal for two values to be equal."""
    if isinstance(value, Waveform):
        return [value.samples, value.rate]
    if isinstance(value, Frames):
        return [value.frames, value.fps]
    if isinstance(value, PillowImage.Image):
        return [np.asarray(value), value.mode]
    return [value]


def assert_equal(one: Any, other: Any) -> None:
    for a, b in zip(arrays_of(one), arrays_of(other), strict=True):
        np.testing.assert_array_equal(a, b)
        assert getattr(a, "dtype", None) == getattr(b, "dtype", None)


def through_json(modality: Modality[Any], value: Any) -> Any:
    return modality.decode(json.loads(json.dumps(modality.encode(value), allow_nan=False)), field="x")


def refused(call: Any, *parts: str) -> InvalidSample:
    with pytest.raises(InvalidSample) as caught:
        call()
    for part in parts:
        assert part in str(caught.value)
    return caught.value


# --- every modality ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("modality", ALL, ids=str)
class TestEveryModality:
    def test_is_a_value(self, modality: Modality[Any]) -> None:
        twin = pickle.loads(pickle.dumps(modality))
        assert twin == modality
        assert hash(twin) == hash(modality)
        assert MODALITIES[modality.kind] is type(modality)

    def test_json_there_and_back(self, modality: Modality[Any]) -> None:
        assert_equal(through_json(modality, example(modality)), example(modality))

    def test_file_there_and_back(self, modality: Modality[Any], tmp_path: Path) -> None:
        value = example(modality)
        for suffix in modality.writes:
            if suffix in (".jpg", ".jpeg", ".webp"):
                continue
            written = modality.write(value, tmp_path / "new" / f"x{suffix}")
            assert written == tmp_path / "new" / f"x{suffix}"
            assert_equal(modality.read(written), value)
            assert_equal(modality.read(written.read_bytes()), value)
            assert [name for name, _ in modality.read_all(written)] == [written.name]

    def test_write_adds_the_usual_ending(self, modality: Modality[Any], tmp_path: Path) -> None:
        assert modality.write(example(modality), tmp_path / "night.v2").name == "night.v2" + modality.writes[0]

    def test_check_keeps_a_good_value(self, modality: Modality[Any]) -> None:
        value = example(modality)
        assert_equal(modality.check(value, field="x"), value)

    @pytest.mark.parametrize("wrong", [None, 3 + 1j, print, {}, b"bytes", {"data": 3}, [[{}]]], ids=repr)
    def test_wrong_types_name_the_field(self, modality: Modality[Any], wrong: Any) -> None:
        error = refused(lambda: modality.check(wrong, field="left", sample="s7"), "field left", "sample s7")
        assert error.where == Where(sample="s7", field="left")
        assert refused(lambda: modality.decode(wrong, field="left")).where == Where(field="left")

    def test_missing_file_is_named(self, modality: Modality[Any], tmp_path: Path) -> None:
        for suffix in modality.suffixes:
            refused(lambda suffix=suffix: modality.read(tmp_path / f"none{suffix}"), f"none{suffix}: there is no such")
        refused(lambda: modality.read(tmp_path), str(tmp_path), "folder")

    def test_describes_itself(self, modality: Modality[Any]) -> None:
        widget = json.loads(json.dumps(modality.widget()))
        assert widget["kind"] == modality.kind
        assert widget["input"] in {"file", "text", "choice", "numbers"}

    def test_schema_is_that_of_what_is_encoded(self, modality: Modality[Any]) -> None:
        validator = pytest.importorskip("jsonschema").Draft202012Validator
        validator.check_schema(modality.json_schema())
        assert validator(modality.json_schema()).is_valid(modality.encode(example(modality)))
        assert not validator(modality.json_schema()).is_valid({"data": 3})

    def test_fits_its_own_kind_only(self, modality: Modality[Any]) -> None:
        assert [other.kind for other in ALL if modality.fits(other)] == [modality.kind]

    def test_show_draws(self, modality: Modality[Any]) -> None:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        figure = Figure(figsize=(2, 2))
        axes = figure.subplots()
        modality.show(example(modality), axes)
        FigureCanvasAgg(figure).draw()  # type: ignore[no-untyped-call]
        assert axes.has_data() or axes.texts


def test_names_say_what_differs_from_the_default() -> None:
    assert str(Series()) == "Series"
    assert str(Series(channels=3, min_length=2)) == "Series(channels=3, min_length=2)"


def test_import_is_light() -> None:
    code = (
        "import sys, quire.modality; "
        "print({'torch','matplotlib','scipy','soundfile','soxr','av','pandas','pyarrow'} & sys.modules.keys())"
    )
    source = Path(quire.modality.__file__).parents[2]
    environment = {**os.environ, "PYTHONPATH": str(source)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout.strip() == "set()"


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300), st.sampled_from(ALL))
def test_arbitrary_bytes_are_read_or_refused(content: bytes, modality: Modality[Any]) -> None:
    try:
        value = modality.read(content)
    except QuireError:
        return
    assert_equal(modality.check(value, field="x"), value)


@settings(max_examples=150, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["data", "fps"]), inner),
        max_leaves=12,
    ),
    st.sampled_from(ALL),
)
def test_arbitrary_json_is_decoded_or_refused(data: Any, modality: Modality[Any]) -> None:
    try:
        value = modality.decode(data, field="x")
    except InvalidSample:
        return
    assert_equal(through_json(modality, value), value)


@settings(max_examples=80, deadline=None)
@given(st.data(), st.sampled_from(["image", "audio", "video", "series"]))
def test_damaged_files_are_refused_or_read(data: st.DataObject, kind: str) -> None:
    """Cutting or flipping bytes of a good file must end in a value or in InvalidSample, nothing else."""
    modality = MODALITIES[kind]()
    content = bytearray(modality.to_bytes(example(modality), modality.writes[0]))
    if data.draw(st.booleans()):
        del content[data.draw(st.integers(0, len(content) - 1)) :]
    for position in data.draw(st.lists(st.integers(0, max(len(content) - 1, 0)), max_size=4)):
        if content:
            content[position] ^= data.draw(st.integers(1, 255))
    try:
        value = modality.read(bytes(content))
    except InvalidSample:
        return
    assert_equal(modality.check(value, field="x"), value)


# --- image ------------------------------------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    st.one_of(
        hnp.arrays(np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 6))),
        hnp.arrays(np.uint8, st.tuples(st.integers(1, 6), st.integers(1, 6), st.just(3))),
        hnp.arrays(np.uint16, st.tuples(st.integers(1, 6), st.integers(1, 6))),
    )
)
def test_image_json_there_and_back(pixels: Any) -> None:
    modality = Image(mode=None)
    image = modality.check(pixels, field="x")
    assert image.mode == ({1: "L", 2: "I;16"}[pixels.itemsize] if pixels.ndim == 2 else "RGB")
    np.testing.assert_array_equal(np.asarray(through_json(modality, image)), pixels)


def saved(image: PillowImage.Image, form: str, **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, format=form, **options)
    return buffer.getvalue()


def two_halves() -> PillowImage.Image:
    """6 wide, 2 high: the left half red, the right half blue."""
    image = PillowImage.new("RGB", (6, 2), "red")
    image.paste("blue", (3, 0, 6, 2))
    return image


@pytest.mark.parametrize(("orientation", "size"), [(1, (6, 2)), (3, (6, 2)), (6, (2, 6)), (8, (2, 6))])
def test_exif_orientation_is_applied(orientation: int, size: tuple[int, int]) -> None:
    exif = PillowImage.Exif()
    exif[274] = orientation
    image = Image().read(saved(two_halves(), "PNG", exif=exif))
    assert image.size == size
    # Where the stored left half goes: 3 turns by 180 degrees, 6 clockwise (left -> top), 8 counter-clockwise.
    red = {1: (0, 0), 3: (5, 1), 6: (0, 0), 8: (0, 5)}[orientation]
    blue = {1: (5, 0), 3: (0, 0), 6: (0, 5), 8: (0, 0)}[orientation]
    assert image.getpixel(red) == (255, 0, 0)
    assert image.getpixel(blue) == (0, 0, 255)
    assert not image.getexif()


@pytest.mark.parametrize("form", ["GIF", "PNG"])
def test_palette_becomes_rgb(form: str) -> None:
    image = Image().read(saved(two_halves().convert("P", palette=PillowImage.Palette.ADAPTIVE), form))
    assert image.mode == "RGB"
    assert (image.getpixel((0, 0)), image.getpixel((5, 1))) == ((255, 0, 0), (0, 0, 255))


def test_cmyk_becomes_rgb() -> None:
    image = Image().read(saved(PillowImage.new("CMYK", (4, 4), (255, 0, 0, 0)), "TIFF"))
    assert image.getpixel((0, 0)) == (0, 255, 255)


@pytest.mark.parametrize(
    ("mode", "colour", "seen"),
    [
        ("RGBA", (255, 0, 0, 0), (255, 255, 255)),
        ("RGBA", (255, 0, 0, 255), (255, 0, 0)),
        ("LA", (0, 0), 255),
        ("LA", (9, 255), 9),
    ],
)
def test_transparency_is_laid_over_white(mode: str, colour: tuple[int, ...], seen: Any) -> None:
    assert Image(mode=None).read(saved(PillowImage.new(mode, (2, 2), colour), "PNG")).getpixel((0, 0)) == seen


def test_first_frame_of_an_animation_counts() -> None:
    frames = [PillowImage.new("RGB", (3, 3), colour) for colour in ("lime", "red")]
    assert Image().read(saved(frames[0], "GIF", save_all=True, append_images=frames[1:])).getpixel((0, 0)) == (
        0,
        255,
        0,
    )


def test_sixteen_bits_are_kept_or_scaled() -> None:
    pixels = np.array([[0, 257, 65535]], dtype=np.uint16)
    content = saved(PillowImage.fromarray(pixels), "PNG")
    np.testing.assert_array_equal(np.asarray(Image(mode="I;16").read(content)), pixels)
    assert Image(mode=None).read(content).mode == "I;16"
    np.testing.assert_array_equal(np.asarray(Image(mode="L").read(content)), [[0, 1, 255]])
    np.testing.assert_array_equal(np.asarray(Image(mode="RGB").read(content))[0, :, 1], [0, 1, 255])
    big_endian = saved(PillowImage.frombytes("I;16B", (3, 1), pixels.astype(">u2").tobytes()), "TIFF")
    np.testing.assert_array_equal(np.asarray(Image(mode="I;16").read(big_endian)), pixels)
    eight = PillowImage.fromarray(np.array([[0, 1, 255]], dtype=np.uint8))
    np.testing.assert_array_equal(np.asarray(Image(mode="I;16").check(eight, field="x")), pixels)


def test_wide_integers_and_floats_are_explained() -> None:
    wide = PillowImage.fromarray(np.array([[70_000, 1]], dtype=np.int32))
    refused(lambda: Image().check(wide, field="x"), "70000", "16 bits")
    floating = PillowImage.fromarray(np.ones((2, 2), dtype=np.float32))
    refused(lambda: Image().check(floating, field="x"), "floating-point", "Scale")
    refused(lambda: Image().check(np.ones((2, 2)), field="x"), "float64 [2, 2]")


def test_too_many_pixels_are_refused_undecoded(tmp_path: Path) -> None:
    path = tmp_path / "wall.png"
    # The pixel data are cut away: only a look at the header can give this answer.
    path.write_bytes(saved(PillowImage.new("L", (100, 90)), "PNG")[:60])
    refused(lambda: Image(max_pixels=8999).read(path), "wall.png", "100 x 90 pixels", "8999")


@pytest.mark.parametrize("form", ["PNG", "JPEG", "TIFF", "BMP", "GIF"])
def test_truncated_image_names_the_file(form: str, tmp_path: Path) -> None:
    noise = PillowImage.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    path = tmp_path / f"cut.{form.lower()}"
    path.write_bytes(saved(noise, form)[:2000])
    refused(lambda: Image().read(path), path.name, "can't be read", "complete")


def test_text_named_as_image_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "notes.png"
    path.write_text("hello")
    refused(lambda: Image().read(path), "notes.png", "can't be read")


# --- text and label ---------------------------------------------------------------------------------------------------


@given(st.text(st.characters(exclude_categories=["Cs"])).filter(lambda text: not text.endswith("\r")))
def test_text_json_there_and_back(text: str) -> None:
    # A file's last line ending, "\n" or "\r\n", is not part of the text: a "\r" at its end can't be told from one.
    assert through_json(Text(), text) == text
    assert Text().read(Text().to_bytes(text, ".txt")) == text


def test_text_bytes() -> None:
    assert Text().read("\ufeffgrün\r\n".encode()) == "grün"
    error = refused(lambda: Text().read(b"one\ntwo \x93quoted\x94"), "0x93", "offset 8", "Convert")
    assert error.where == Where(line=2)
    refused(lambda: Text().check("\ud800", field="x"), "surrogate")
    refused(lambda: Text(max_length=3).check("four", field="x"), "4 characters", "the 3")


def test_text_table_is_a_text_per_row(tmp_path: Path) -> None:
    path = tmp_path / "sms.csv"
    path.write_text('text\n"free, now"\n\n"two\nlines"\n')
    assert list(Text().read_all(path)) == [("sms.csv:1", "free, now"), ("sms.csv:2", "two\nlines")]
    path.write_text("one\ntwo,three\n")
    refused(lambda: list(Text().read_all(path)), "sms.csv, line 2", "2 columns")


def test_labels() -> None:
    label = Label(labels=("1", "2", "spam"))
    for value in (1, 1.0, "1", np.int64(1), np.float32(1), np.str_("1")):
        checked = label.check(value, field="x")
        assert checked == "1"
        assert type(checked) is str
    refused(lambda: label.check("spma", field="x"), "did you mean 'spam'", "1, 2, spam")
    for wrong in (True, 1.5, "", " ", math.nan, None):
        refused(lambda wrong=wrong: Label().check(wrong, field="x"))
    assert hash(Label(labels=["a"])) == hash(Label(labels=("a",)))  # type: ignore[arg-type]
    assert Label().read(b" dog\n") == "dog"


@pytest.mark.parametrize(
    ("asked", "given_", "fits"),
    [
        (Label(), Label(labels=("a",)), True),
        (Label(labels=("a", "b")), Label(labels=("a",)), True),
        (Label(labels=("a",)), Label(labels=("a", "b")), False),
        (Series(channels=2), Series(), True),
        (Series(), Series(channels=2), True),
        (Series(channels=2), Series(channels=3), False),
        (Vector(dim=2), Vector(dim=3), False),
        (Audio(channels=1), Audio(channels=6), True),
        (Audio(channels=2), Audio(channels=1), True),
        (Audio(channels=2), Audio(channels=6), False),
        (Image(mode="L"), Image(mode="RGB"), True),
        (Text(), Label(), False),
    ],
)
def test_fits(asked: Modality[Any], given_: Modality[Any], fits: bool) -> None:
    assert asked.fits(given_) is fits


# --- audio ------------------------------------------------------------------------------------------------------------


@pytest.fixture(params=["soundfile", "scipy"])
def backend(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """Every WAV is read alike with and without the extra [audio]."""
    if request.param == "scipy":
        monkeypatch.setitem(sys.modules, "soundfile", None)
        monkeypatch.setattr("quire.modality.audio.require", missing)
    else:
        pytest.importorskip("soundfile")
    return str(request.param)


def missing(module: str, *, extra: str, purpose: str) -> object:
    if module in ("soundfile", "av"):
        raise MissingExtra(f"{purpose} needs {module}", remedy=f"pip install 'quire-core[{extra}]'")
    return importlib.import_module(module)


def pcm(samples: np.ndarray[Any, Any], width: int, rate: int = 8000) -> bytes:
    """A WAV by the standard library; samples [frames, channels] as integers of `width` bytes."""
    buffer = io.BytesIO()
    with wave.open(buffer, "wb") as file:
        file.setnchannels(samples.shape[1])
        file.setsampwidth(width)
        file.setframerate(rate)
        little = samples.astype("<i8" if width != 1 else "u1")
        raw = little.tobytes() if width == 1 else little[..., None].view("u1")[..., :width].tobytes()
        file.writeframes(raw)
    return buffer.getvalue()


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_pcm_is_divided_by_half_its_range(width: int, backend: str) -> None:
    half = 2 ** (8 * width - 1)
    shift = half if width == 1 else 0
    signed = np.array([[-half, 0], [0, half // 2], [half // 4, -half // 2]])
    waveform = Audio().read(pcm(signed + shift, width, rate=22050))
    assert waveform.rate == 22050
    np.testing.assert_array_equal(waveform.samples, [[-1, 0, 0.25], [0, 0.5, -0.5]])
    assert waveform.samples.dtype == np.float32


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(hnp.arrays(np.float32, st.tuples(st.integers(1, 3), st.integers(1, 40)), elements=FINITE), st.integers(1, 2**22))
def test_waveform_json_there_and_back(backend: str, samples: Any, rate: int) -> None:
    assert_equal(through_json(Audio(), Waveform(samples, rate)), Waveform(samples, rate))


def test_cut_wav_names_the_file(backend: str, tmp_path: Path) -> None:
    path = tmp_path / "cut.wav"
    path.write_bytes(pcm(np.zeros((1000, 1)), 2)[:700])
    refused(lambda: Audio().read(path), "cut.wav", "cut off", "2044", "700")
    for content in (b"", b"RIFF", pcm(np.zeros((10, 1)), 2)[:20]):
        path.write_bytes(content)
        refused(lambda: Audio().read(path), "cut.wav")


@pytest.mark.filterwarnings("ignore:Reached EOF prematurely")
def test_streamed_wav_without_a_size_is_read(backend: str) -> None:
    content = bytearray(pcm(np.full((10, 1), 16384), 2))
    content[4:8] = b"\xff\xff\xff\xff"
    np.testing.assert_array_equal(Audio().read(bytes(content)).samples, np.full((1, 10), 0.5))


def test_other_formats_without_the_extra_name_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    for kind in ("audio", "video"):
        monkeypatch.setattr(f"quire.modality.{kind}.require", missing)
    with pytest.raises(MissingExtra, match=r"quire-core\[audio\]"):
        Audio().read(b"fLaC" + bytes(40))
    with pytest.raises(MissingExtra, match=r"quire-core\[video\]"):
        Video().read(bytes(4) + b"ftypisom" + bytes(40))


def test_flac_is_read(tmp_path: Path) -> None:
    soundfile = pytest.importorskip("soundfile")
    path = tmp_path / "x.flac"
    soundfile.write(path, np.array([[0.5, -0.25], [0.0, 0.125]]), 16000)
    assert_equal(Audio().read(path), Waveform(np.array([[0.5, 0.0], [-0.25, 0.125]], dtype=np.float32), 16000))


def test_resampling_keeps_a_tone() -> None:
    pytest.importorskip("soxr")
    time = np.arange(8000) / 8000
    tone = Waveform(np.sin(2 * np.pi * 440 * time).astype(np.float32)[None], 8000)
    resampled = Audio(rate=16000).check(tone, field="x")
    assert (resampled.rate, resampled.samples.shape) == (16000, (1, 16000))
    expected = np.sin(2 * np.pi * 440 * np.arange(16000) / 16000)
    np.testing.assert_allclose(resampled.samples[0, 1000:-1000], expected[1000:-1000], atol=2e-3)


def test_channels_are_mixed_or_repeated() -> None:
    stereo = Waveform(np.array([[1.0, 0.0], [0.0, 0.5]]), 10)
    np.testing.assert_array_equal(Audio(channels=1).check(stereo, field="x").samples, [[0.5, 0.25]])
    mono = Waveform(np.array([0.5, 0.25], dtype=np.float32), 10)
    np.testing.assert_array_equal(Audio(channels=2).check(mono, field="x").samples, [[0.5, 0.25]] * 2)
    refused(lambda: Audio(channels=3).check(stereo, field="x"), "2 channels where 3")


def test_bad_waveforms_are_refused() -> None:
    zeros = np.zeros((1, 20), dtype=np.float32)
    refused(lambda: Audio(max_seconds=1).check(Waveform(zeros, 10), field="x"), "2.00 s", "1 s")
    refused(lambda: Audio(max_seconds=1).read(pcm(np.zeros((20, 1)), 2, rate=10)), "2.00 s")
    refused(lambda: Audio().check(Waveform(zeros.astype(np.int16), 10), field="x"), "floats", "32768")
    for rate in (0, 2**22 + 1, 44100.0, True):
        refused(lambda rate=rate: Audio().check(Waveform(zeros, rate), field="x"), "rate")
    refused(lambda: Audio().check(Waveform(zeros.T.repeat(16, axis=0), 10), field="x"), "[320, 1]")
    largest = Waveform(np.zeros((255, 1), dtype=np.float32), 2**22)
    assert_equal(through_json(Audio(), largest), largest)
    refused(lambda: Audio().check(Waveform(zeros[:, :0], 10), field="x"), "[1, 0]")
    refused(lambda: Audio().check(Waveform(zeros * np.nan, 10), field="x"), "NaN")
    refused(lambda: Audio().check(Waveform(zeros + np.inf, 10), field="x"), "[0, 0] is infinite")


# --- video ------------------------------------------------------------------------------------------------------------


@settings(max_examples=30, deadline=None)
@given(
    hnp.arrays(np.uint8, st.tuples(st.integers(1, 5), st.integers(1, 4), st.integers(1, 4), st.just(3))),
    st.floats(0.01, 1000),
)
def test_video_json_there_and_back(frames: Any, fps: float) -> None:
    # Draws of hypothesis are often constant: neighbours that are equal must not be merged.
    assert_equal(through_json(Video(), Frames(frames, fps)), Frames(frames, fps))


@pytest.mark.parametrize("form", ["GIF", "WEBP", "PNG"])
def test_frames_that_stand_longer_are_repeated(form: str) -> None:
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    first, *rest = [PillowImage.new("RGB", (4, 2), colour) for colour in colours]
    options: dict[str, Any] = {"lossless": True} if form == "WEBP" else {}
    content = saved(first, form, save_all=True, append_images=rest, duration=[100, 200, 100], **options)
    video = Video().read(content)
    assert video.fps == pytest.approx(10)
    assert [tuple(frame[0, 0]) for frame in video.frames] == [colours[0], colours[1], colours[1], colours[2]]
    assert video.seconds == pytest.approx(0.4)


def write_mp4(path: Path, frames: list[np.ndarray[Any, Any]]) -> None:
    av = pytest.importorskip("av")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=5)
        stream.height, stream.width = frames[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode())


def test_turn_of_a_telephone_is_applied(tmp_path: Path) -> None:
    path = tmp_path / "portrait.mp4"
    lying = np.zeros((16, 32, 3), dtype=np.uint8)
    lying[:, :16] = 255
    write_mp4(path, [lying, lying])
    content = bytearray(path.read_bytes())
    matrix = content.index(b"tkhd") + 4 + 40
    # ISO 14496-12: (x, y) is shown at (a x + c y, b x + d y); b = 1, c = -1 turns clockwise, the left edge to the top.
    turned = [0, 0x10000, 0, -0x10000, 0, 0, 0, 0, 0x40000000]
    content[matrix : matrix + 36] = b"".join(value.to_bytes(4, "big", signed=True) for value in turned)
    frames = Video().read(bytes(content)).frames
    assert frames.shape == (2, 32, 16, 3)
    assert frames[0, :12].min() > 200
    assert frames[0, -12:].max() < 50


def test_mp4_is_read(tmp_path: Path) -> None:
    path = tmp_path / "x.mp4"
    write_mp4(path, [np.full((16, 32, 3), level, dtype=np.uint8) for level in (0, 120, 250)])
    video = Video().read(path)
    assert (video.frames.shape, video.fps) == ((3, 16, 32, 3), 5.0)
    np.testing.assert_allclose(video.frames.mean(axis=(1, 2, 3)), [0, 120, 250], atol=12)
    assert_equal(Video().read(path.read_bytes()), video)
    refused(lambda: Video(max_seconds=0.3).read(path), "x.mp4", "0.40 s")
    cut = tmp_path / "cut.mp4"
    cut.write_bytes(path.read_bytes()[:-200])
    refused(lambda: Video().read(cut), "cut.mp4", "can't be read")


def test_sound_is_no_video(tmp_path: Path) -> None:
    pytest.importorskip("av")
    path = tmp_path / "x.avi"
    path.write_bytes(pcm(np.zeros((100, 1)), 2))
    refused(lambda: Video().read(path), "x.avi", "no video stream")


def test_video_that_unfolds_too_far_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quire.modality.video.MAX_VIDEO_BYTES", 4 * 2 * 3 * 10)
    frames = [PillowImage.new("RGB", (4, 2), colour) for colour in ("red", "lime")]
    content = saved(frames[0], "GIF", save_all=True, append_images=frames[1:], duration=[10, 60_000])
    refused(lambda: Video().read(content), "in memory")


# --- series and vector ------------------------------------------------------------------------------------------------


@given(
    hnp.arrays(
        np.float32,
        st.tuples(st.integers(1, 3), st.integers(1, 8)),
        elements=st.floats(width=32, allow_infinity=False),
    )
)
def test_series_json_there_and_back(series: Any) -> None:
    assert_equal(through_json(Series(), series), series)


@given(hnp.arrays(np.float32, st.integers(1, 8), elements=FINITE))
def test_vector_json_there_and_back(vector: Any) -> None:
    assert_equal(through_json(Vector(), vector), vector)


@settings(max_examples=80, deadline=None)
@given(
    st.lists(st.lists(FINITE | st.none(), min_size=2, max_size=6), min_size=1, max_size=5),
    st.sampled_from([",", ";", "\t", ", ", " ; "]),
    st.sampled_from(["", "nan", "NaN", "NA", "?", "null"]),
    st.booleans(),
    st.sampled_from(["", "# by hand\n", "t0,t1\n", "\ufeff"]),
)
def test_rows_of_a_table_are_series(
    rows: list[list[float | None]], separator: str, gap: str, crlf: bool, start: str
) -> None:
    """Against a slow reading of the rule: gaps at the end are padding, gaps within are missing."""
    for row in rows:
        row[0] = 1.5  # no row is empty
    start = start.replace(",", separator)
    text = start + "".join(separator.join(gap if v is None else repr(v) for v in row) + "\n" for row in rows)
    expected = []
    for row in rows:
        while row[-1] is None:
            row.pop()
        expected.append(np.array([[np.nan if value is None else value for value in row]], dtype=np.float32))
    entries, many = Series()._entries(text.replace("\n", "\r\n").encode() if crlf else text.encode())
    assert many
    for (_, array), series in zip(entries, expected, strict=True):
        assert_equal(Series().check(array, field="x"), series)


def table(folder: Path, text: str, name: str = "new.csv") -> Path:
    path = folder / name
    path.write_text(text)
    return path


def test_table_of_series_has_an_id_per_row(tmp_path: Path) -> None:
    path = table(tmp_path, "t1,t2,t3\n1,2,3\n\n4,,6\n7,8,\n")
    read = dict(Series().read_all(path))
    assert list(read) == ["new.csv:1", "new.csv:2", "new.csv:3"]
    assert_equal(read["new.csv:2"], np.array([[4, np.nan, 6]], dtype=np.float32))
    assert read["new.csv:3"].shape == (1, 2)
    refused(lambda: Series().read(path), "new.csv", "3 series where one is expected")
    refused(lambda: list(Series(allow_missing=False).read_all(path)), "new.csv, line 4", "position 1 is missing")
    refused(lambda: list(Series(min_length=3).read_all(path)), "new.csv, line 5", "length 2 is shorter than 3")
    refused(lambda: list(Series().read_all(table(tmp_path, "1,2\n,\n"))), "new.csv, line 2", "length 0")


def test_a_single_column_is_one_series(tmp_path: Path) -> None:
    path = table(tmp_path, "volts\n1\n2\nnan\n4\nnan\n")
    assert list(dict(Series().read_all(path))) == ["new.csv"]
    assert_equal(Series().read(path), np.array([[1, 2, np.nan, 4]], dtype=np.float32))


def test_columns_are_channels_where_channels_are_asked_for(tmp_path: Path) -> None:
    path = table(tmp_path, "x y\n1 2\n3 4\n5 6\n", "gait.txt")
    assert_equal(Series(channels=2).read(path), np.array([[1, 3, 5], [2, 4, 6]], dtype=np.float32))
    assert [name for name, _ in Series(channels=2).read_all(path)] == ["gait.txt"]
    refused(lambda: Series(channels=3).read(path), "gait.txt, line 2", "2 columns where 3 channels")


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("1,2\n3,abc\n", ["line 2", "column 2", "'abc' is not a number"]),
        ("1;2\n1,5;2\n", ["line 2", "column 1", "decimal comma"]),
        ("1,5 2,5 3\n", ["line 1", "column 1", "decimal comma"]),
        ('"1,5","2,5"\n', ["line 1", "column 1", "decimal comma"]),
        ("1\t2\n1\t1,5\n", ["line 2", "column 2", "decimal comma"]),
        ("1,inf\n", ["line 1", "column 2", "infinite"]),
        ("1,1e39\n", ["line 1", "column 2", "too large for a 32-bit float"]),
        ("", ["the file is empty"]),
        ("a,b\n", ["no numbers"]),
        ("# nothing\n", ["no numbers"]),
    ],
)
def test_faults_in_tables_name_line_and_column(text: str, parts: list[str], tmp_path: Path) -> None:
    for modality in (Series(), Vector()):
        error = refused(
            lambda modality=modality: list(modality.read_all(table(tmp_path, text))), str(tmp_path / "new.csv"), *parts
        )
        assert error.where is not None
        assert error.where.field is None


def test_npy_holds_one_series_or_many(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.arange(4))
    assert_equal(Series().read(path), np.arange(4, dtype=np.float32)[None])
    cases = np.arange(12.0).reshape(2, 2, 3)
    cases[0, :, 2] = np.nan
    cases[1, 0, 2] = np.nan
    np.save(path, cases)
    read = dict(Series().read_all(path))
    assert list(read) == ["a.npy:1", "a.npy:2"]
    assert read["a.npy:1"].shape == (2, 2)
    assert_equal(read["a.npy:2"], cases[1].astype(np.float32))
    refused(lambda: list(Series(channels=3).read_all(path)), "a.npy", "2 channels where 3")


def test_npy_can_run_nothing(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    np.save(path, np.array([{"a": 1}], dtype=object), allow_pickle=True)
    for source in (path, path.read_bytes()):
        for modality in (Series(), Vector()):
            refused(lambda source=source, modality=modality: modality.read(source), "can't be read")


def test_npy_that_announces_more_than_it_holds_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.npy"
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "<f4", "fortran_order": False, "shape": (2**40, 2**10)})
    path.write_bytes(header.getvalue())
    refused(lambda: Series().read(path), "a.npy")
    refused(lambda: Series().read(path.read_bytes()))


def test_series_check_normalises_the_harmless() -> None:
    for value in ([1, 2, 3], (1.0, 2.0, 3.0), np.array([[1, 2, 3]]), np.array([1, 2, 3], dtype=np.float64)):
        assert_equal(Series().check(value, field="x"), np.array([[1, 2, 3]], dtype=np.float32))
    kept = np.ones((2, 3), dtype=np.float32)
    assert Series().check(kept, field="x") is kept


@pytest.mark.parametrize(
    ("value", "part"),
    [
        ([[1, 2], [3]], "unlike length"),
        (["a", "b"], "expected an array of numbers"),
        ([True, False], "expected an array of numbers, got bool"),
        (np.ones((1, 2, 3)), "[1, 2, 3]"),
        (np.ones((0, 3)), "[0, 3]"),
        ([1.0, 1e300], "[1] is infinite or too large"),
        ([], "length 0 is shorter than 1"),
    ],
)
def test_series_check_refuses(value: Any, part: str) -> None:
    refused(lambda: Series().check(value, field="ecg", sample=3), "sample 3, field ecg", part)


@pytest.mark.parametrize(
    ("data", "part"),
    [
        ([1, float("nan")], "position 1 is not a finite number"),
        ([1, float("inf")], "position 1 is not a finite number"),
        ([10**400], "position 0 is not a finite number"),
        ([1e39], "too large"),
        ([1, "2"], "position 1 is str"),
        ([1, True], "position 1 is bool"),
        ([1, [2]], "position 1 is list"),
        ("1,2", "got str"),
        ({"a": 1}, "got dict"),
    ],
)
def test_json_numbers_are_refused_by_position(data: Any, part: str) -> None:
    for modality in (Series(), Vector()):
        refused(lambda modality=modality: modality.decode(data, field="ecg"), "field ecg", part)


def test_json_channels_must_agree() -> None:
    refused(lambda: Series().decode([[1, 2], [3]], field="x"), "channel 1 has 1 values, channel 0 has 2")
    refused(lambda: Series().decode([[1, 2], 3], field="x"), "channel 1 is int")
    refused(lambda: Vector().decode([1, None], field="x"), "position 1 is missing")


def test_json_that_is_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("quire.modality.numbers.MAX_JSON_VALUES", 10)
    monkeypatch.setattr("quire.modality.media.MAX_MEDIA_BYTES", 10)
    refused(lambda: Series().decode([[1] * 6, [1] * 6], field="x"), "field x", "12 values")
    refused(lambda: Vector().decode([1] * 11, field="x"), "field x", "11 values")
    for modality in (Image(), Audio(), Video()):
        refused(lambda modality=modality: modality.decode({"data": "A" * 40}, field="x"), "field x", "30 bytes")


def test_payload_must_be_base64() -> None:
    for text in ("!!!", "ü", "abc"):
        refused(lambda text=text: Image().decode({"data": text}, field="x"), "field x", "not base64")


def test_vectors(tmp_path: Path) -> None:
    path = table(tmp_path, "1,2\n3,4\n")
    assert {name: value.tolist() for name, value in Vector().read_all(path)} == {
        "new.csv:1": [1, 2],
        "new.csv:2": [3, 4],
    }
    refused(lambda: list(Vector(dim=3).read_all(path)), "new.csv, line 1", "2 values where 3")
    refused(lambda: list(Vector().read_all(table(tmp_path, "1,\n"))), "line 1", "position 1 is missing")
    np.save(tmp_path / "v.npy", np.ones((2, 3)))
    assert [name for name, _ in Vector().read_all(tmp_path / "v.npy")] == ["v.npy:1", "v.npy:2"]
    refused(lambda: Vector().read(tmp_path / "v.npy"), "2 vectors")


# --- cells of tables --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path", ["", " ", "/etc/passwd", "../x.png", "a/../../x.png", "C:\\x.png", "\\\\host\\x.png", "a\\..\\x", "C:x"]
)
def test_paths_of_a_table_stay_inside(path: str, tmp_path: Path) -> None:
    refused(lambda: path_inside(tmp_path, path))


def test_cells(tmp_path: Path) -> None:
    (tmp_path / "img").mkdir()
    two_halves().save(tmp_path / "img" / "a..b.png")
    assert Image().from_cell("img/a..b.png", tmp_path).size == (6, 2)
    assert Image().from_cell((tmp_path / "img" / "a..b.png").read_bytes(), tmp_path).size == (6, 2)
    assert Image().from_cell({"bytes": saved(two_halves(), "PNG"), "path": None}, tmp_path).size == (6, 2)
    error = refused(lambda: Image().from_cell("img/none.png", tmp_path), "img/none.png: there is no such file")
    assert error.where is None
    assert Text().from_cell("/etc/passwd", tmp_path) == "/etc/passwd"
    for cell in ([1, None], "[1, null]"):
        assert_equal(Series().from_cell(cell, tmp_path), np.array([[1, np.nan]], dtype=np.float32))
    refused(lambda: Series().from_cell("[1, null", tmp_path))
    refused(lambda: Series().from_cell("[1, nul]", tmp_path), "not JSON")


# --- real data --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def data_root() -> Path:
    root = os.environ.get("QUIRE_DATA")
    if not root:
        pytest.skip("QUIRE_DATA is not set")
    return Path(root)


def found(root: Path, pattern: str, count: int) -> list[Path]:
    files = sorted(root.rglob(pattern))
    if not files:
        pytest.skip(f"no {pattern} below QUIRE_DATA")
    return files[:: max(1, len(files) // count)]


def test_real_images(data_root: Path) -> None:
    for pattern in ("*.jpg", "*.png", "*.pgm"):
        for path in found(data_root, pattern, 12):
            image = Image(mode=None).read(path)
            with PillowImage.open(path) as opened:
                assert set(image.size) == set(opened.size)


def test_real_wav_is_alike_with_and_without_the_extra(data_root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("soundfile")
    files = found(data_root, "*.wav", 25)
    with_extra = [Audio().read(path) for path in files]
    monkeypatch.setattr("quire.modality.audio.require", missing)
    for path, waveform in zip(files, with_extra, strict=True):
        assert_equal(Audio().read(path), waveform)


def test_real_tables(data_root: Path) -> None:
    path = found(data_root, "GunPoint_TRAIN.tsv", 1)[0]
    series = list(Series().read_all(path))
    independent = np.loadtxt(path, dtype=np.float32)
    assert len(series) == len(independent) == 50
    np.testing.assert_array_equal(np.concatenate([value for _, value in series]), independent)
