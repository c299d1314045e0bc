"""Readers of faces: the public layouts, and what is wrong with files."""

from __future__ import annotations

import gzip
import io
import os
import pickle
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from quire.errors import ConfigError, DataError, InvalidSample
from quire_amsoftmax import align as alignment
from quire_amsoftmax.data.faces import write_skipped
from quire_amsoftmax.data.folder import FaceFolder
from quire_amsoftmax.data.idx import IdxDataset, read_idx, write_idx
from quire_amsoftmax.data.listing import FaceList
from quire_amsoftmax.data.overlap import normalised, overlap, read_names
from quire_amsoftmax.data.packed import FaceTar, VerificationBin, read_bin
from quire_amsoftmax.data.recordio import MAGIC, RecordIODataset, write_records

ROOT = Path(os.environ["QUIRE_DATA"]) / "amsoftmax" if "QUIRE_DATA" in os.environ else None
real = pytest.mark.skipif(ROOT is None, reason="QUIRE_DATA is not set")


def picture(seed: int = 0, size: tuple[int, int] = (12, 10), mode: str = "RGB") -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    return Image.fromarray(pixels).convert(mode)


def people(root: Path, **images: int) -> Path:
    for number, (name, count) in enumerate(images.items()):
        (root / name).mkdir(parents=True)
        for index in range(count):
            picture(100 * number + index).save(root / name / f"{index}.png")
    return root


def whole(path: Path, **options: object) -> FaceFolder:
    return FaceFolder.open(path, validation_fraction=0.0, test_fraction=0.0, **options)


# ------------------------------------------------------------------------------------------------------------ folder


@real
def test_orl_is_read_whole_with_its_comment_headers() -> None:
    faces = whole(ROOT / "att_faces", check="pixels")  # type: ignore[operator]
    assert len(faces) == 400
    assert len(faces.labels) == 40
    assert {faces[index]["image"].size for index in (0, 10, 399)} == {(92, 112)}
    assert faces.notes == ["images that are converted to RGB: 400 grey"]
    assert not faces.skipped


def test_people_of_the_splits_are_different(tmp_path: Path) -> None:
    root = FaceFolder.sample(tmp_path / "faces")
    parts = [FaceFolder.open(root, split=split) for split in FaceFolder.splits(root)]
    assert sum(map(len, parts)) == 160
    assert not set(parts[0].identities) & set(parts[2].identities)
    assert parts[0].labels == parts[2].labels


def test_split_folders_are_kept(tmp_path: Path) -> None:
    people(tmp_path / "train", a=2, b=2)
    people(tmp_path / "val", c=1)
    assert FaceFolder.splits(tmp_path) == ("train", "validation")
    assert FaceFolder.open(tmp_path, split="val").identities == ("c",)


def test_an_identity_called_test_is_no_split(tmp_path: Path) -> None:
    assert len(whole(people(tmp_path, test=2, other=2))) == 4


def test_fewer_than_two_identities(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="one identity only, 'a'"):
        whole(people(tmp_path, a=3))


def test_empty_and_single_identities_are_counted(tmp_path: Path) -> None:
    people(tmp_path, a=1, b=2, c=2)
    (tmp_path / "nobody").mkdir()
    notes = whole(tmp_path).notes
    assert "1 identity folders are empty: nobody" in notes
    assert any(note.startswith("1 identities have one image only") for note in notes)
    kept = whole(tmp_path, min_images_per_id=2)
    assert kept.identities == ("b", "c")
    assert "1 identities of fewer than 2 images were left out with 1 images" in kept.notes


def test_excluded_identities_are_counted(tmp_path: Path) -> None:
    people(tmp_path, a=3, b=2, c=2)
    (tmp_path.parent / "overlap.txt").write_text("a\nnot-there\n")
    kept = whole(tmp_path, exclude_lists=[str(tmp_path.parent / "overlap.txt")])
    assert kept.labels == ("b", "c")
    assert "1 identities excluded were left out with 3 images" in kept.notes


def test_bad_files_are_listed_and_an_error_only_when_they_are_many(tmp_path: Path) -> None:
    people(tmp_path, a=3, b=3)
    (tmp_path / "a" / "zero.jpg").touch()
    encoded = io.BytesIO()
    picture(size=(40, 40)).save(encoded, "JPEG")
    (tmp_path / "b" / "cut.jpg").write_bytes(encoded.getvalue()[:-400])
    frames = [picture(seed) for seed in range(3)]
    frames[0].save(tmp_path / "b" / "moves.gif", save_all=True, append_images=frames[1:])
    (tmp_path / "b" / "text.png").write_text("no picture")
    with pytest.raises(DataError, match=r"3 of 10 images can't be used.*zero.jpg.*the file is empty"):
        whole(tmp_path, size=[10, 12])
    faces = whole(tmp_path, max_bad=0.5, check="pixels", size=[10, 12])
    assert len(faces) == 6
    reasons = {error.where.file.name: error.message for error in faces.skipped}  # type: ignore[union-attr]
    assert reasons["zero.jpg"] == "the file is empty"
    assert "can't be read" in reasons["cut.jpg"]
    assert reasons["moves.gif"] == "the image is animated"
    assert reasons["text.png"] == "the content is not that of an image"
    listed = write_skipped(faces.skipped, tmp_path.parent / "skipped.csv").read_text().splitlines()
    assert listed[0] == "file,sample,reason"
    assert len(listed) == 5
    assert len(whole(tmp_path, on_error="skip", size=[10, 12])) == 7  # headers alone do not show what is cut off


def test_kinds_of_images_are_converted_and_counted(tmp_path: Path) -> None:
    people(tmp_path, a=1, b=1)
    picture(1, mode="L").save(tmp_path / "a" / "grey.png")
    picture(2, mode="CMYK").save(tmp_path / "a" / "four.jpg")
    picture(3, mode="P").save(tmp_path / "a" / "palette.png")
    picture(4, mode="RGBA").save(tmp_path / "b" / "alpha.png")
    Image.fromarray(np.arange(120, dtype=np.uint16).reshape(10, 12) * 500).save(tmp_path / "b" / "deep.png")
    exif = Image.Exif()
    exif[0x0112] = 6
    picture(5, size=(10, 12)).save(tmp_path / "b" / "turned.jpg", exif=exif)
    faces = whole(tmp_path)
    assert {sample["image"].mode for sample in faces} == {"RGB"}
    assert {sample["image"].size for sample in faces} == {(12, 10)}
    note = next(note for note in faces.notes if note.startswith("images that are converted"))
    for kind in ("1 grey", "1 CMYK", "1 palette", "1 with transparency", "1 16-bit", "1 rotated by EXIF"):
        assert kind in note


def test_images_are_known_by_content_and_others_ignored(tmp_path: Path) -> None:
    people(tmp_path, a=1, b=1)
    picture(7, mode="L").save(tmp_path / "a" / "subject01.happy", format="GIF")
    (tmp_path / "a" / "notes.txt").write_text("hello")
    (tmp_path / "a" / ".DS_Store").write_bytes(b"x")
    faces = whole(tmp_path)
    assert "a/subject01.happy" in [sample["id"] for sample in faces]
    assert "1 hidden files were ignored" in faces.notes
    assert "1 files that are no images were ignored" in faces.notes


def test_pgm_with_a_comment(tmp_path: Path) -> None:
    people(tmp_path, a=1, b=1)
    (tmp_path / "a" / "c.pgm").write_bytes(b"P5\n# a comment\n12 10\n255\n" + bytes(range(120)))
    assert len(whole(tmp_path)) == 3


def test_sizes_must_agree(tmp_path: Path) -> None:
    people(tmp_path, a=1, b=1)
    picture(size=(30, 30)).save(tmp_path / "b" / "large.png")
    with pytest.raises(DataError, match=r"a/0.png has 12x10 pixels and .*b/large.png 30x30.*quire faces align"):
        whole(tmp_path)
    assert {sample["image"].size for sample in whole(tmp_path, size=[16, 8])} == {(8, 16)}
    with pytest.raises(DataError, match=r"12x10 pixels.*looks transposed"):
        whole(tmp_path, size=[12, 10])


def test_transposed_images_are_named(tmp_path: Path) -> None:
    people(tmp_path, a=1, b=1)
    picture(size=(10, 12)).save(tmp_path / "b" / "turned.png")
    with pytest.raises(DataError, match="one looks transposed"):
        whole(tmp_path)


def test_one_image_under_two_identities(tmp_path: Path) -> None:
    people(tmp_path, a=2, b=2)
    (tmp_path / "b" / "copy.png").write_bytes((tmp_path / "a" / "0.png").read_bytes())
    notes = whole(tmp_path, check="pixels").notes
    assert any("several identities" in note and "a/0.png" in note and "b/copy.png" in note for note in notes)


# -------------------------------------------------------------------------------------------------------------- list


def listed(tmp_path: Path, text: str, **options: object) -> FaceList:
    people(tmp_path / "images", p=3, q=2)
    picture(9).save(tmp_path / "images" / "with blank.png")
    (tmp_path / "faces.list").write_text(text)
    return FaceList.open(
        tmp_path / "faces.list", images=tmp_path / "images", validation_fraction=0.0, test_fraction=0.0, **options
    )


def test_a_list_in_all_its_variants(tmp_path: Path) -> None:
    text = "p/0.png 0  \np\\1.png 0\nq/0.png\t1\nwith blank.png 5\n\nq/1.png 1"
    faces = listed(tmp_path, text)
    assert [sample["id"] for sample in faces] == ["p/0.png", "p/1.png", "q/0.png", "with blank.png", "q/1.png"]
    assert faces.labels == ("0", "1", "5")
    assert "some lines have a tab between path and label, others a blank" in faces.notes
    assert any(note.startswith("3 labels below 5 have no image (the first: 2, 3, 4)") for note in faces.notes)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("p/9.png 1", r"line 3: there is no file 'p/9.png'"),
        ("p/0.png one", r"line 3: the label 'one' is not a whole number"),
        ("p/0.png -1", r"line 3: the label '-1' is not a whole number"),
        ("p/0.png", r"line 3: 'p/0.png' has a path or a label, not both"),
        ("p/0.png 7", r"line 3: the label 7 is not below num_classes=3"),
        ("../../secret.png 1", "line 3: .*leads out of"),
    ],
)
def test_bad_lines_name_their_line(tmp_path: Path, line: str, message: str) -> None:
    text = f"p/1.png 0\nq/0.png 1\n{line}\n"
    with pytest.raises(DataError, match=message):
        listed(tmp_path, text, num_classes=3)
    (tmp_path / "again").mkdir()
    faces = listed(tmp_path / "again", text, num_classes=3, on_error="skip")
    assert len(faces) == 2
    assert faces.skipped[0].where.line == 3  # type: ignore[union-attr]


def test_a_csv_of_identities_and_splits(tmp_path: Path) -> None:
    people(tmp_path, p=2, q=2)
    (tmp_path / "faces.csv").write_text("path,identity,split\np/0.png,Ann,train\nq/0.png,Bob,train\nq/1.png,Cy,test\n")
    assert FaceList.splits(tmp_path / "faces.csv") == ("train", "test")
    assert FaceList.open(tmp_path / "faces.csv").identities == ("Ann", "Bob")
    assert FaceList.open(tmp_path / "faces.csv", split="test").identities == ("Cy",)


# --------------------------------------------------------------------------------------------------------------- idx


@real
def test_fashion_mnist_head() -> None:
    folder = ROOT / "fashion_mnist_head"  # type: ignore[operator]
    train = IdxDataset.open(folder, train_size=3000)
    test = IdxDataset.open(folder, split="test", train_size=3000)
    assert (len(train), len(test)) == (3000, 615)
    assert train.labels == tuple("0123456789")
    assert train[0]["image"].size == (28, 28)
    assert test[0]["id"] == "test-003000"


@real
def test_a_download_that_was_cut_off_is_noticed() -> None:
    folder = ROOT / "fashion_mnist_head" / "truncated_download"  # type: ignore[operator]
    message = r"train-images-idx3-ubyte.gz: the header says 60,000 images, 3,615 are readable.*allow_partial"
    with pytest.raises(DataError, match=message):
        IdxDataset.open(folder)
    faces = IdxDataset.open(folder, allow_partial=True, train_size=3615)
    assert len(faces) == 3615
    assert faces.notes == ["train: 3,615 of 60,000 images with a label are readable"]
    whole_labels = read_idx(ROOT / "fashion_mnist_head" / "train-labels-idx1-ubyte.gz")  # type: ignore[operator]
    assert [faces.target(index) for index in range(20)] == [str(label) for label in whole_labels[:20]]


def test_counts_and_magic_numbers_of_idx(tmp_path: Path) -> None:
    write_idx(tmp_path / "train-images-idx3-ubyte", np.zeros((5, 4, 4), np.uint8))
    write_idx(tmp_path / "train-labels-idx1-ubyte", np.zeros(7, np.uint8))
    with pytest.raises(DataError, match=r"has 5 images and .* 7 labels"):
        IdxDataset.open(tmp_path)
    (tmp_path / "bad").write_bytes(struct.pack(">II", 2052, 1))
    with pytest.raises(DataError, match="magic number is 2052"):
        read_idx(tmp_path / "bad")
    (tmp_path / "bad.gz").write_bytes(b"not gzip at all")
    with pytest.raises(DataError, match="no gzip file"):
        read_idx(tmp_path / "bad.gz")


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 5), st.integers(1, 4), st.integers(1, 4), st.data())
def test_idx_roundtrip_and_any_cut(n: int, height: int, width: int, data: st.DataObject) -> None:
    import tempfile

    array = np.random.default_rng(n).integers(0, 256, (n, height, width), dtype=np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "x.gz"
        write_idx(file, array)
        np.testing.assert_array_equal(read_idx(file), array)
        raw = gzip.decompress(file.read_bytes())
        cut = data.draw(st.integers(0, len(raw) - 1))
        plain = Path(folder) / "x"
        plain.write_bytes(raw[:cut])
        with pytest.raises(DataError):
            read_idx(plain)


# ---------------------------------------------------------------------------------------------------------- recordio


def records(folder: Path, n: int = 6) -> Path:
    folder.mkdir(exist_ok=True)
    encoded = []
    for number in range(n):
        buffer = io.BytesIO()
        picture(number).save(buffer, "PNG")
        encoded.append((number // 2, buffer.getvalue()))
    write_records(folder / "train.rec", encoded)
    return folder


def opened_records(folder: Path, **options: object) -> RecordIODataset:
    return RecordIODataset.open(folder, validation_fraction=0.0, test_fraction=0.0, **options)


def test_records_are_read_back(tmp_path: Path) -> None:
    faces = opened_records(records(tmp_path / "r"))
    assert [faces.target(index) for index in range(6)] == ["0", "0", "1", "1", "2", "2"]
    np.testing.assert_array_equal(np.asarray(faces[3]["image"]), np.asarray(picture(3)))


def test_a_record_written_by_hand_with_several_labels(tmp_path: Path) -> None:
    """The layout of the format itself, not of our writer."""
    buffer = io.BytesIO()
    picture(1).save(buffer, "PNG")
    content, index = b"", ""
    for key, (labels, image) in enumerate(
        [((3.0, 3.0), b""), ((4.0, 9.0), buffer.getvalue()), ((5.0, 9.0), buffer.getvalue())]
    ):
        payload = struct.pack("<IfQQ", len(labels), 0, key, 0) + struct.pack("<2f", *labels) + image
        index += f"{key}\t{len(content)}\n"
        content += struct.pack("<II", MAGIC, len(payload)) + payload + b"\0" * (-len(payload) % 4)
    (tmp_path / "train.rec").write_bytes(content)
    (tmp_path / "train.idx").write_text(index)
    faces = opened_records(tmp_path)
    assert [(sample["id"], sample["target"]) for sample in faces] == [("1", "4"), ("2", "5")]


def test_missing_index_and_corrupt_records(tmp_path: Path) -> None:
    folder = records(tmp_path / "r")
    offset = int((folder / "train.idx").read_text().splitlines()[4].split("\t")[1])
    content = bytearray((folder / "train.rec").read_bytes())
    content[offset] ^= 0xFF
    (folder / "train.rec").write_bytes(content)
    with pytest.raises(DataError, match=rf"1 of 6 images.*record at offset {offset} is corrupt: the magic number"):
        opened_records(folder)
    assert len(opened_records(folder, on_error="skip")) == 5
    (folder / "train.rec").write_bytes(content[:-3])
    assert len(opened_records(folder, on_error="skip").skipped) in (1, 2)
    (folder / "train.idx").unlink()
    with pytest.raises(DataError, match=r"there is no train.idx beside train.rec"):
        opened_records(folder)


def test_an_index_that_lacks_records(tmp_path: Path) -> None:
    folder = records(tmp_path / "r")
    lines = (folder / "train.idx").read_text().splitlines()
    (folder / "train.idx").write_text("\n".join(lines[:-1]))
    with pytest.raises(DataError, match="record 0 says that there are 6 images, the index has 5"):
        opened_records(folder)


# ------------------------------------------------------------------------------------------------------ bin and tar


@real
def test_the_sample_bin() -> None:
    file = ROOT / "insightface_format" / "small_lfw.bin"  # type: ignore[operator]
    images, same = read_bin(file)
    assert (len(images), len(same)) == (20, 10)
    faces = VerificationBin.open(file, split="test")
    assert len(faces) == 20
    assert faces[0]["image"].size == (112, 112)
    assert faces[0]["id"] == "000000a"


class Evil:
    def __reduce__(self) -> tuple[object, ...]:
        return (os.system, ("echo never",))


def test_a_bin_with_other_objects_is_refused(tmp_path: Path) -> None:
    (tmp_path / "evil.bin").write_bytes(pickle.dumps(([b"x", Evil()], [True])))
    with pytest.raises(DataError, match=r"asks for \w+.system, and only plain values"):
        read_bin(tmp_path / "evil.bin")
    (tmp_path / "odd.bin").write_bytes(pickle.dumps(([b"x", b"y", b"z"], [True])))
    with pytest.raises(DataError, match="3 images for 1 pairs"):
        read_bin(tmp_path / "odd.bin")
    (tmp_path / "text.bin").write_bytes(pickle.dumps((["x", 3], [True])))
    with pytest.raises(DataError, match="not encoded bytes"):
        read_bin(tmp_path / "text.bin")


@real
def test_the_sample_tar() -> None:
    faces = FaceTar.open(
        ROOT / "insightface_format" / "small_dataset.tar",  # type: ignore[operator]
        validation_fraction=0.0,
        test_fraction=0.0,
    )
    assert len(faces) == 10
    assert faces.labels == tuple("0123456789")
    assert {sample["image"].size for sample in faces} == {(112, 112)}
    assert "2 files of the archive that are no images were ignored" in faces.notes


# ----------------------------------------------------------------------------------------------------------- overlap


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("William_H._Macy(William Hall Macy Jr)", "William_Macy"),
        ("Norm_MacDonald", "norm-macdonald"),
        ("José.María", "Jose Maria"),
    ],
)
def test_names_in_one_form(one: str, other: str) -> None:
    assert normalised(one) == normalised(other)


@real
def test_overlap_of_webface_with_lfw_finds_the_published_pairs() -> None:
    folder = ROOT / "overlap"  # type: ignore[operator]
    webface = read_names(folder / "webface_id_name_list.txt")
    lfw = read_names(folder / "lfw-names.txt")
    assert (len(webface), len(lfw)) == (10575, 5749)
    found = {match.ours for match in overlap(webface, lfw.values())}
    listed = set((folder / "webface_lfw_overlap.txt").read_text().split())
    detail = {
        line.split(",")[0]
        for line in (folder / "webface_lfw_overlap_detail.txt").read_text().splitlines()[1:]
        if line.strip()
    }
    assert (len(listed), len(detail), len(listed & detail), len(listed | detail)) == (16, 17, 14, 19)
    assert detail <= found


@real
def test_overlap_lists_leave_10517_of_webface() -> None:
    folder = ROOT / "overlap"  # type: ignore[operator]
    webface = set(read_names(folder / "webface_id_name_list.txt"))
    lists = [set((folder / f"webface_{name}_overlap.txt").read_text().split()) for name in ("lfw", "facescrub")]
    assert [len(each) for each in lists] == [16, 42]
    assert len(webface - lists[0] - lists[1]) == 10517


# ------------------------------------------------------------------------------------------------------------- align


@settings(max_examples=40, deadline=None)
@given(st.floats(0.2, 5), st.floats(-3.1, 3.1), st.floats(-200, 200), st.floats(-200, 200))
def test_a_similarity_is_found_again(scale: float, angle: float, x: float, y: float) -> None:
    rotation = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    wanted = np.column_stack([rotation, [x, y]])
    source = alignment.TEMPLATE_112X112
    target = source @ rotation.T + [x, y]
    np.testing.assert_allclose(
        alignment.similarity_transform(source, target), wanted, atol=1e-8 * (1 + abs(x) + abs(y))
    )


def test_no_reflection_and_least_squares() -> None:
    source = alignment.TEMPLATE_112X96
    mirrored = source * [-1, 1]
    found = alignment.similarity_transform(mirrored, source)
    assert np.linalg.det(found[:, :2]) > 0
    residual = np.square(mirrored @ found[:, :2].T + found[:, 2] - source).sum()
    rng = np.random.default_rng(0)
    for _ in range(200):
        a, b, x, y = np.array([found[0, 0], found[1, 0], found[0, 2], found[1, 2]]) + rng.normal(0, 0.05, 4)
        other = mirrored @ np.array([[a, -b], [b, a]]).T + [x, y]
        assert np.square(other - source).sum() >= residual


@pytest.mark.parametrize("first_pixel", [0, 1])
def test_align_with_landmarks_in_place_changes_nothing(first_pixel: int) -> None:
    image = picture(size=(96, 112))
    aligned = alignment.align(image, alignment.TEMPLATE_112X96, (112, 96), first_pixel=first_pixel)  # type: ignore[arg-type]
    np.testing.assert_allclose(np.asarray(aligned, int), np.asarray(image, int), atol=1)  # Pillow cuts off fractions


def test_align_puts_landmarks_at_the_template() -> None:
    landmarks = alignment.TEMPLATE_112X112 * 2 + [30, 40]
    pixels = np.zeros((400, 400, 3), np.uint8)
    for x, y in landmarks:
        pixels[round(y) - 2 : round(y) + 3, round(x) - 2 : round(x) + 3] = 255
    aligned = np.asarray(alignment.align(Image.fromarray(pixels), landmarks))[..., 0]
    for x, y in alignment.TEMPLATE_112X112:
        assert aligned[round(y), round(x)] > 120
    with pytest.raises(ConfigError, match="no template for 100 x 50"):
        alignment.template((100, 50))
    assert alignment.template((224, 224)).max() == pytest.approx(2 * alignment.TEMPLATE_112X112.max())


def test_landmark_files(tmp_path: Path) -> None:
    numbers = " ".join(map(str, range(1, 11)))
    (tmp_path / "a.csv").write_text("path,x1\nx.jpg," + numbers.replace(" ", ",") + "\n")
    (tmp_path / "b.txt").write_text(f"x.jpg {numbers} 0.99\n")
    (tmp_path / "c.json").write_text('{"x.jpg": [[1,2],[3,4],[5,6],[7,8],[9,10]]}')
    for name in ("a.csv", "b.txt", "c.json"):
        read = alignment.read_landmarks(tmp_path / name)
        np.testing.assert_array_equal(read["x.jpg"], np.arange(1, 11).reshape(5, 2))
    (tmp_path / "d.txt").write_text(f"x.jpg {numbers}\ny.jpg 1 2 3\n")
    with pytest.raises(DataError, match="line 2: 4 fields"):
        alignment.read_landmarks(tmp_path / "d.txt")


def test_policies_for_several_faces() -> None:
    image = picture(size=(100, 100))
    faces = [
        alignment.Face(alignment.TEMPLATE_112X96, (0, 0, 50, 50)),
        alignment.Face(alignment.TEMPLATE_112X96, (40, 40, 60, 60)),
    ]
    with pytest.raises(InvalidSample, match="2 faces"):
        alignment.choose_face(faces, image)
    assert alignment.choose_face(faces, image, "largest") is faces[0]
    assert alignment.choose_face(faces, image, "center") is faces[1]
    with pytest.raises(InvalidSample, match="no face"):
        alignment.choose_face([], image)
    with pytest.raises(InvalidSample, match="one place"):
        alignment.similarity_transform(np.ones((5, 2)), alignment.TEMPLATE_112X96)
