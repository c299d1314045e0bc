"""The four readers: the releases' layouts, and every bad input with its message (sec. 4 and 11)."""

from __future__ import annotations

import csv
import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from quire.discovery import find_reader
from quire.errors import ConfigError, DataError, InvalidSample
from quire_memefier.attributes import AGES, GENDERS, IDS, RACES, encode_faces, groups_of, read_attributes
from quire_memefier.data.hateful_memes import HatefulMemes
from quire_memefier.data.memotion import GRADES, TEST, TRUTH, Memotion7k
from quire_memefier.data.multioff import MultiOFF
from quire_memefier.data.rows import annotation_of
from quire_memefier.data.table import MemeTable
from quire_memefier.task import MEME_CLASSIFICATION
from quire_memefier.text import NO_TEXT, Vocabulary, caption_length, clean, is_mostly_non_latin, prepared

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


def picture(path: Path, **options: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), (200, 30, 30)).save(path, **options)
    return path


@pytest.fixture
def hateful(tmp_path: Path) -> Callable[..., Path]:
    """A release with the given rows of train.jsonl; images 1.png .. 9.png are there."""

    def write(*rows: dict[str, Any] | str) -> Path:
        for number in range(1, 10):
            picture(tmp_path / "img" / f"{number}.png")
        lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
        (tmp_path / "train.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return tmp_path

    return write


def row(number: int, **values: Any) -> dict[str, Any]:
    return {"id": number, "img": f"img/{number}.png", "label": number % 2, "text": f"text {number}", **values}


# ---------------------------------------------------------------------------------------------------------- hateful memes


def test_hateful_memes_phase_2_names(tmp_path: Path) -> None:
    for name in ("train", "dev_seen", "dev_unseen", "test_seen", "test_unseen"):
        picture(tmp_path / "img" / "1.png")
        (tmp_path / f"{name}.jsonl").write_text(json.dumps(row(1, text=name)) + "\n")
    assert HatefulMemes.splits(tmp_path) == (
        "train", "dev_seen", "dev_unseen", "test_seen", "test_unseen", "validation", "test",
    )  # fmt: skip
    assert HatefulMemes.open(tmp_path, split="dev")[0]["text"] == "dev_seen"
    assert HatefulMemes.open(tmp_path, split="test")[0]["text"] == "test_seen"
    assert HatefulMemes.open(tmp_path, split="test_unseen")[0]["text"] == "test_unseen"


def test_test_files_without_labels_are_read(hateful: Callable[..., Path]) -> None:
    unlabelled = row(2)
    del unlabelled["label"]
    path = hateful(row(1), unlabelled)
    data = HatefulMemes.open(path)
    assert "target" not in data[1]
    assert data.target(0) == "hateful"
    assert data.labels == ("hateful", "not-hateful")
    read = HatefulMemes.read_inputs(path / "train.jsonl")
    assert read is not None
    assert [set(sample) for sample in read] == [{"id", "image", "text"}] * 2


def test_missing_images_are_listed_before_anything_is_trained(hateful: Callable[..., Path]) -> None:
    path = hateful(row(1), *[row(number, img=f"img/gone{number}.png") for number in range(2, 20)])
    with pytest.raises(InvalidSample) as raised:
        HatefulMemes.open(path)
    told = str(raised.value)
    assert f"{path / 'train.jsonl'}, line 2, column img: there is no image" in told
    assert "gone2.png; so do 17 more rows: line 3" in told
    assert "gone12.png" in told
    assert "gone13.png" not in told
    skipped = HatefulMemes.open(path, on_error="skip")
    assert (len(skipped), len(skipped.skipped)) == (1, 18)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ('{"id": 3, "img": ', "line 2.*this is not JSON"),
        ("[1, 2]", "line 2.*a row is a JSON object, not list"),
        ({"id": 3, "image": "img/3.png", "label": 0}, r"line 2.*has no 'img' \(did you mean 'image'\?\)"),
        (row(3, img="/etc/passwd"), "line 2, column img.*not a path relative"),
        (row(3, img="../outside.png"), "line 2, column img.*leads out"),
        (row(3, label=2), r"line 2, column label: unknown label 2\. Known are: 0, 1"),
        (row(3, label="hateful"), "line 2, column label: unknown label 'hateful'"),
    ],
)
def test_a_bad_row_is_told_with_its_line(hateful: Callable[..., Path], bad: Any, message: str) -> None:
    path = hateful(row(1), bad, row(2))
    with pytest.raises(InvalidSample, match=message):
        HatefulMemes.open(path)
    kept = HatefulMemes.open(path, on_error="skip")
    assert [sample["id"] for sample in kept] == ["1", "2"]
    assert len(kept.skipped) == 1


def test_blank_and_missing_texts_are_absent_and_counted(hateful: Callable[..., Path]) -> None:
    data = HatefulMemes.open(hateful(row(1), row(2, text=""), row(3, text="  "), row(4, text=None)))
    assert [("text" in sample) for sample in data] == [True, False, False, False]
    assert "3 memes have no text: 2, 3, 4" in data.notes


def test_ids_that_come_twice_are_noted(hateful: Callable[..., Path]) -> None:
    data = HatefulMemes.open(hateful(row(1), row(1), row(2)))
    assert [sample["id"] for sample in data] == ["1", "1#2", "2"]
    assert "1 ids come more than once: 1" in data.notes


def test_an_image_of_two_splits_is_noted_on_demand(hateful: Callable[..., Path]) -> None:
    path = hateful(row(1))
    (path / "dev.jsonl").write_text(json.dumps(row(2)) + "\n")  # all pictures of the fixture are alike
    assert HatefulMemes.open(path).notes == ()
    assert "1 images stand in the split 'validation' too: 1" in HatefulMemes.open(path, verify=True).notes


def test_a_truncated_image_is_refused_unless_allowed(hateful: Callable[..., Path]) -> None:
    """Section 7, defect 9: the reference takes it silently."""
    path = hateful(row(1), row(2))
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8))
    noise.save(path / "img" / "2.png", format="JPEG")
    whole = (path / "img" / "2.png").read_bytes()
    (path / "img" / "2.png").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(InvalidSample, match=r"sample 2, field image: this image can't be read"):
        HatefulMemes.open(path)[1]
    with pytest.raises(InvalidSample, match=r"2\.png"):
        HatefulMemes.open(path, verify=True)
    assert len(HatefulMemes.open(path, verify=True, on_error="skip")) == 1
    assert HatefulMemes.open(path, allow_truncated=True)[1]["image"].size == (64, 64)
    with pytest.raises(InvalidSample):
        HatefulMemes.open(path)[1]


def test_pictures_of_any_kind_become_rgb(hateful: Callable[..., Path]) -> None:
    path = hateful(*[row(number) for number in range(1, 8)])
    images = path / "img"
    Image.new("CMYK", (4, 4)).save(images / "1.png", format="JPEG")
    Image.new("P", (4, 4)).save(images / "2.png", transparency=0)
    Image.fromarray(np.full((4, 4), 40_000, np.uint16)).save(images / "3.png")
    frames = [Image.new("RGB", (4, 4), colour) for colour in ("red", "blue")]
    frames[0].save(images / "4.png", format="GIF", save_all=True, append_images=frames[1:])
    rotated = Image.new("RGB", (4, 2))
    exif = rotated.getexif()
    exif[0x0112] = 6
    rotated.save(images / "5.png", format="JPEG", exif=exif)
    Image.new("RGB", (1, 1)).save(images / "6.png")
    Image.new("LA", (4, 4)).save(images / "7.png")
    data = HatefulMemes.open(path, verify=True)
    assert {sample["image"].mode for sample in data} == {"RGB"}
    assert data[4]["image"].size == (2, 4)
    assert data[3]["image"].getpixel((0, 0))[0] > 200
    assert "of 1 animations the first frame counts: 4.png" in data.notes


def test_a_picture_of_too_many_pixels_is_refused(hateful: Callable[..., Path]) -> None:
    path = hateful(row(1))
    Image.new("1", (20_000, 9_000)).save(path / "img" / "1.png")
    with pytest.raises(InvalidSample, match=r"sample 1, field image: .*20000 x 9000|sample 1, field image: .*pixels"):
        HatefulMemes.open(path)[0]


def test_the_folder_of_something_else_is_told(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"there is no train\.jsonl, dev\.jsonl or test\.jsonl"):
        HatefulMemes.open(tmp_path)


# -------------------------------------------------------------------------------------------------- captions, attributes


def faces_csv(path: Path, *rows: tuple[str, str, str, str]) -> Path:
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["face_name_align", "race", "race4", "gender", "age", "race_scores_fair"])
        writer.writerows([name, race, race, gender, age, "[0.1\n 0.9]"] for name, race, gender, age in rows)
    return path


def test_joins_are_by_exact_name(hateful: Callable[..., Path], tmp_path: Path) -> None:
    """Section 7, defect 3: 1 is a part of 10, and a dot matches anything."""
    path = hateful(row(1), row(2))
    faces = faces_csv(
        tmp_path / "faces.csv",
        ("f/10_face0.png", "Black", "Male", "20-29"),
        ("f/1_face0.png", "White", "Female", "70+"),
        ("f/1_face1.png", "Indian", "Male", "0-2"),
        ("f/21_face0.png", "Black", "Male", "20-29"),
    )
    captions = tmp_path / "captions.json"
    captions.write_text(json.dumps({"1.png": "one", "10.png": "ten", "12.png": "twelve"}))
    data = HatefulMemes.open(path, attributes=faces, captions=captions)
    assert [face["race"] for face in data[0]["attributes"]] == ["White", "Indian"]
    assert data[1]["attributes"] == []
    assert data[0]["caption"] == "one"
    assert "caption" not in data[1]
    captions_note, faces_note = data.notes
    assert "captions of captions.json: 1 images matched, 1 have none, 2 entries are of images" in captions_note
    assert "attributes of faces.csv: 1 images matched, 1 have none, 2 entries" in faces_note
    assert "10, 21" in faces_note


def test_many_faces_are_counted(hateful: Callable[..., Path], tmp_path: Path) -> None:
    rows = [(f"f/1_face{k}.png", "White", "Male", "70+") for k in range(9)]
    data = HatefulMemes.open(hateful(row(1)), attributes=faces_csv(tmp_path / "faces.csv", *rows))
    assert "1 images have more than 7 faces: 1" in data.notes
    assert len(data[0]["attributes"]) == 9


@pytest.mark.parametrize(
    ("face", "message"),
    [
        (("f/1_face0.png", "Elf", "Male", "70+"), r"line 2, column race: unknown race 'Elf'"),
        (("f/1_face0.png", "White", "Mal", "70+"), r"column gender: unknown gender 'Mal' \(did you mean 'Male'\?\)"),
        (("f/1_face0.png", "White", "Male", "71"), r"column age: unknown age '71'"),
        (("f/1.png", "White", "Male", "70+"), r"column face_name_align: '1' is no face's name"),
    ],
)
def test_unknown_attributes_are_named(tmp_path: Path, face: Any, message: str) -> None:
    with pytest.raises(InvalidSample, match=message):
        read_attributes(faces_csv(tmp_path / "faces.csv", face))


def test_attribute_tables_of_another_kind_are_told(tmp_path: Path) -> None:
    (tmp_path / "faces.csv").write_text("name,race\n1,White\n")
    with pytest.raises(DataError, match="there is no column 'face_name_align'"):
        read_attributes(tmp_path / "faces.csv")


def test_attribute_ids_are_the_references() -> None:
    assert [IDS[name] for name in (RACES[0], RACES[-1], *GENDERS, AGES[0], AGES[-1])] == [1, 7, 8, 9, 10, 18]
    faces = [{"race": "Black", "gender": "Female", "age": "3-9"}] * 9
    assert encode_faces(faces, 7) == [6, 9, 11] * 7
    assert encode_faces(faces[:1], 7) == [6, 9, 11] + [0] * 18
    assert groups_of(faces[:1]) == {"race: Black", "gender: Female", "age: 3-9"}
    assert groups_of([]) == {"no face"}


def test_captions_of_a_table_are_read(hateful: Callable[..., Path], tmp_path: Path) -> None:
    (tmp_path / "captions.csv").write_text("image,caption\n1.png,a thing\n")
    assert HatefulMemes.open(hateful(row(1)), captions=tmp_path / "captions.csv")[0]["caption"] == "a thing"
    (tmp_path / "captions.json").write_text("[1]")
    with pytest.raises(DataError, match="captions are an object"):
        HatefulMemes.open(tmp_path, captions=tmp_path / "captions.json")


def test_fingerprints_know_captions(hateful: Callable[..., Path], tmp_path: Path) -> None:
    path = hateful(row(1))
    (tmp_path / "captions.csv").write_text("image,caption\n1.png,a thing\n")
    plain, with_caption = HatefulMemes.open(path), HatefulMemes.open(path, captions=tmp_path / "captions.csv")
    assert plain.fingerprint() != with_caption.fingerprint()


def test_annotations_read_no_image(hateful: Callable[..., Path]) -> None:
    path = hateful(row(1))
    data = HatefulMemes.open(path)
    (path / "img" / "1.png").write_bytes(b"no picture any more")
    assert annotation_of(data, 0) == {
        "id": "1", "text": "text 1", "target": "hateful", "heads": {"hateful": "hateful"},
    }  # fmt: skip


# ---------------------------------------------------------------------------------------------------------------- text


def test_the_references_cleaning() -> None:
    assert clean("It's 100% TRUE,\n that  they...") == "its true that they"
    assert clean(None) == clean(float("nan")) == NO_TEXT
    assert prepared(None, "paper") == prepared("  ", "paper") == NO_TEXT
    assert prepared("It's", "none") == "It's"
    assert prepared(" ", "none") is None


@given(st.text())
def test_cleaning_twice_is_cleaning_once(text: str) -> None:
    assert clean(clean(text)) == clean(text)


def test_vocabularies_count_and_cut() -> None:
    vocabulary = Vocabulary.of(["b a b", "B c!", "a"])
    assert vocabulary.words == ("b", "a", "c")
    assert vocabulary.encode("a b zebra", 6, sentence=True) == [2, 5, 4, 1, 3, 0]
    assert vocabulary.encode("a b a b", 4, sentence=True) == [2, 5, 4, 3]
    assert vocabulary.encode("a b a b", 3) == [5, 4, 5]
    assert vocabulary.encode(None, 3, sentence=True) == [0, 0, 0]
    assert Vocabulary.of(["b a b"], min_count=2).words == ("b",)
    assert caption_length(["a b", "one two three!"]) == 5


def test_scripts() -> None:
    assert is_mostly_non_latin("привет you")
    assert not is_mostly_non_latin("hello привет world")
    assert not is_mostly_non_latin("123 !")


# ------------------------------------------------------------------------------------------------------------- memotion


@pytest.fixture
def memotion(tmp_path: Path) -> Path:
    return Memotion7k.sample(tmp_path / "memotion", seed=1)


def edit(path: Path, change: Callable[[list[list[str]]], None]) -> None:
    with path.open(newline="") as file:
        rows = list(csv.reader(file))
    change(rows)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(rows)


@pytest.mark.parametrize("subtask", ["a", "b", "c"])
def test_memotions_test_labels_are_joined_by_name(memotion: Path, subtask: str) -> None:
    """Section 7, defect 9: the reference joins them by position; the sample's tables are in different orders."""
    before = {sample["id"]: sample["heads"] for sample in Memotion7k.open(memotion, split="test", subtask=subtask)}
    edit(memotion / TRUTH, lambda rows: rows.insert(1, rows.pop()))
    after = {sample["id"]: sample["heads"] for sample in Memotion7k.open(memotion, split="test", subtask=subtask)}
    assert before == after
    assert len(before) == 16


def test_memotions_default_holdout_does_not_depend_on_the_order_of_rows(memotion: Path) -> None:
    def names(split: str, **options: Any) -> set[str]:
        return {sample["id"] for sample in Memotion7k.open(memotion, split=split, **options)}

    before, drawn = names("validation"), names("validation", holdout="reference")
    assert not before & names("train")
    assert len(before | names("train")) == 80
    edit(memotion / "labels.csv", lambda rows: rows.insert(1, rows.pop()))
    assert names("validation") == before
    assert names("validation", holdout="reference") != drawn


def test_memotions_labels_of_each_subtask(memotion: Path) -> None:
    def change(rows: list[list[str]]) -> None:
        for index, words in enumerate([
            ["hilarious", "not_sarcastic", "slight", "motivational", "very_positive"],
            ["not_funny", "twisted_meaning", "not_offensive", "not_motivational", "neutral"],
        ], start=1):  # fmt: skip
            rows[index][4:] = words

    edit(memotion / "labels.csv", change)

    def first_two(subtask: str) -> list[dict[str, str]]:
        both = [
            *Memotion7k.open(memotion, subtask=subtask),
            *Memotion7k.open(memotion, split="validation", subtask=subtask),
        ]
        by_name = {sample["id"]: sample["heads"] for sample in both}
        return [by_name["image_1.png"], by_name["image_2.png"]]

    assert first_two("a") == [{"overall_sentiment": "positive"}, {"overall_sentiment": "neutral"}]
    assert first_two("b")[0] == {
        "humour": "funny", "sarcasm": "not_sarcastic", "offensive": "offensive", "motivational": "motivational",
    }  # fmt: skip
    assert first_two("c")[1] == {
        "humour": "not_funny", "sarcasm": "twisted_meaning", "offensive": "not_offensive",
        "motivational": "not_motivational",
    }  # fmt: skip


def test_memotions_target_is_the_head_that_is_asked_for(memotion: Path) -> None:
    data = Memotion7k.open(memotion, subtask="c", head="humour")
    assert set(data.labels) == set(GRADES["humour"])
    assert [head.name for head in data.heads] == ["humour", "sarcasm", "offensive", "motivational"]
    assert Memotion7k.open(memotion, subtask="b").toxic == ("offensive",)
    with pytest.raises(ConfigError, match=r"sub-task c has no head 'humor' \(did you mean 'humour'\?\)"):
        Memotion7k.open(memotion, subtask="c", head="humor")


@pytest.mark.parametrize(
    ("file", "line", "column", "value", "message"),
    [
        (
            "labels.csv",
            1,
            8,
            "very_positiv",
            r"column overall_sentiment: unknown label 'positiv' \(did you mean 'positive'",
        ),
        (TRUTH, 1, 1, "2_0000", "'2_0000' is no label such as -1_1130"),
        (TEST, 1, 0, "other.png", "has no row for 'other.png'"),
    ],
)
def test_bad_cells_of_memotion(memotion: Path, file: str, line: int, column: int, value: str, message: str) -> None:
    def change(rows: list[list[str]]) -> None:
        rows[line][column] = value

    edit(memotion / file, change)
    with pytest.raises(InvalidSample, match=message):
        [Memotion7k.open(memotion, split=split) for split in ("train", "validation", "test")]


def test_memotions_texts(memotion: Path) -> None:
    def change(rows: list[list[str]]) -> None:
        rows[1][2:4] = ["OCR", ""]
        rows[2][2:4] = ["nan", ""]

    edit(memotion / "labels.csv", change)
    both = [*Memotion7k.open(memotion), *Memotion7k.open(memotion, split="validation")]
    texts = {sample["id"]: sample.get("text") for sample in both}
    assert texts["image_1.png"] == "OCR"
    assert texts["image_2.png"] is None


# ------------------------------------------------------------------------------------------------------------- multioff


def test_multioffs_spelling_is_its_own(tmp_path: Path) -> None:
    release = MultiOFF.sample(tmp_path / "multioff")
    table = release / "Split Dataset" / "Training_meme_dataset.csv"
    assert "Non-offensiv\n" in table.read_text()
    data = MultiOFF.open(release)
    assert data.labels == ("non-offensive", "offensive")
    assert data.toxic == ("offensive",)
    assert len(MultiOFF.open(release / "Split Dataset", split="test")) == 16

    def change(rows: list[list[str]]) -> None:
        rows[3][2] = "Non-offensive"

    edit(table, change)
    with pytest.raises(
        InvalidSample, match=r"line 4, column label: unknown label 'Non-offensive' \(did you mean 'Non-offensiv'\?\)"
    ):
        MultiOFF.open(release)


def test_multioffs_columns_are_needed(tmp_path: Path) -> None:
    release = MultiOFF.sample(tmp_path / "multioff")
    edit(release / "Split Dataset" / "Training_meme_dataset.csv", lambda rows: rows[0].__setitem__(1, "sentences"))
    with pytest.raises(DataError, match=r"there is no column 'sentence' \(did you mean 'sentences'\?\)"):
        MultiOFF.open(release)


# -------------------------------------------------------------------------------------------------------- a user's table


def write_table(folder: Path, header: list[str], *rows: list[Any], name: str = "memes.csv") -> Path:
    for number in range(1, 9):
        picture(folder / "pics" / f"{number}.png")
    with (folder / name).open("w", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return folder / name


def test_columns_are_what_the_user_says(tmp_path: Path) -> None:
    rows = [[f"{number}.png", f"words {number}", "ja" if number % 2 else "nein"] for number in range(1, 9)]
    path = write_table(tmp_path, ["datei", "worte", "hass"], *rows)
    options = {"image": "datei", "text": "worte", "label": "hass", "image_dir": "pics", "toxic": ["ja"]}
    parts = [MemeTable.open(path, split=split, **options) for split in ("train", "validation", "test")]
    assert sum(map(len, parts)) == 8
    assert parts[0].labels == ("ja", "nein")
    assert parts[0].toxic == ("ja",)
    assert parts[0].heads[0].labels == ("nein", "ja")
    assert parts[0][0]["image"].size == (8, 8)
    with pytest.raises(ConfigError, match="no meme has the label 'jaa'"):
        MemeTable.open(path, **{**options, "toxic": ["jaa"]})


def test_several_heads_have_a_column_each(tmp_path: Path) -> None:
    heads = [
        {"name": "hate", "labels": ["no", "yes"]},
        {"name": "topics", "kind": "multilabel", "labels": ["cats", "dogs"]},
    ]
    rows = [["pics/1.png", "a", "no", "cats|dogs"], ["pics/2.png", "b", "yes", ""], ["pics/3.png", "c", "yes", "dogs"]]
    path = write_table(tmp_path, ["image", "text", "hate", "topics"], *rows, name="train.csv")
    data = MemeTable.open(tmp_path, heads=heads)
    assert [sample["heads"] for sample in data] == [
        {"hate": "no", "topics": "cats|dogs"}, {"hate": "yes"}, {"hate": "yes", "topics": "dogs"},
    ]  # fmt: skip
    edit(path, lambda rows: rows[1].__setitem__(3, "cats|dog"))
    with pytest.raises(InvalidSample, match=r"line 2, column topics: unknown label 'dog' of head 'topics'"):
        MemeTable.open(tmp_path, heads=heads)
    with pytest.raises(DataError, match="no column 'topic'"):
        MemeTable.open(tmp_path, heads=[{"name": "topic", "labels": ["a", "b"]}])


def test_either_part_may_be_missing_in_a_table(tmp_path: Path) -> None:
    path = write_table(
        tmp_path, ["image", "text", "label", "split"],
        ["pics/1.png", "", "a", "train"], ["", "words", "b", "train"], ["", "", "b", "train"],
    )  # fmt: skip
    with pytest.raises(InvalidSample, match="line 4: has neither image nor text"):
        MemeTable.open(path)
    data = MemeTable.open(path, on_error="skip")
    assert [sorted(sample.keys() & {"image", "text"}) for sample in data] == [["image"], ["text"]]
    assert MemeTable.splits(path) == ("train",)


def test_a_table_without_the_columns_is_told(tmp_path: Path) -> None:
    path = write_table(tmp_path, ["a", "b"], ["1", "2"])
    with pytest.raises(DataError, match=r"no column 'image' and no column 'text'.*Its columns are: a, b"):
        MemeTable.open(path)
    path = write_table(tmp_path, ["image", "text", "label"], ["pics/1.png", "x", "one"])
    with pytest.raises(DataError, match="holds 1 labels, and a classifier needs two"):
        MemeTable.open(path)


def test_folders_of_labels_with_texts_beside(tmp_path: Path) -> None:
    for label in ("bad", "good"):
        for number in range(6):
            picture(tmp_path / label / f"{number}.png")
            if number:
                (tmp_path / label / f"{number}.txt").write_text(f"words {number}")
    data = MemeTable.open(tmp_path)
    assert data.labels == ("bad", "good")
    assert {sample.get("text") for sample in data} <= {None, *(f"words {number}" for number in range(1, 6))}
    assert MemeTable.recognises(tmp_path)


def test_jsonl_and_parquet_are_tables_too(tmp_path: Path) -> None:
    import pandas

    rows = [{"image": f"pics/{n}.png", "text": f"t{n}", "label": n % 2, "split": "train"} for n in range(1, 5)]
    write_table(tmp_path, ["image"], ["x"])
    (tmp_path / "memes.jsonl").write_text("\n".join(map(json.dumps, rows)))
    pandas.DataFrame(rows).to_parquet(tmp_path / "memes.parquet")
    first, second = (list(MemeTable.open(tmp_path / f"memes.{kind}")) for kind in ("jsonl", "parquet"))
    assert [sample["target"] for sample in first] == ["1", "0", "1", "0"]
    assert [sample["text"] for sample in first] == [sample["text"] for sample in second]


@pytest.mark.parametrize("reader", [HatefulMemes, Memotion7k, MultiOFF, MemeTable])
def test_each_layout_is_recognised_by_its_own_reader_alone(tmp_path: Path, reader: Any) -> None:
    path = reader.sample(tmp_path / "release")
    readers = (HatefulMemes, Memotion7k, MultiOFF, MemeTable)
    assert [each for each in readers if each.recognises(path)] == [reader]


def test_the_right_reader_is_found(tmp_path: Path) -> None:
    from quire import registry

    if "memefier" not in registry.names("model"):
        pytest.skip("quire-memefier is not installed, only on the path")
    path = Memotion7k.sample(tmp_path / "release")
    assert find_reader(path, MEME_CLASSIFICATION, of="quire-memefier")[1] is Memotion7k
