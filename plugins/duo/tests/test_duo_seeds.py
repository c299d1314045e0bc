"""Seeds: the tester's own files with every fault told, the public sets, and any data set as seeds."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from quire import registry
from quire.dataset import InMemory
from quire.errors import DataError, InvalidSample, QuireError
from quire.modality import Waveform
from quire.storage import content_hash
from quire.task import AUDIO_CLASSIFICATION, IMAGE_TEXT_CLASSIFICATION, SERIES_CLASSIFICATION
from quire_duo.composition import read_pairs
from quire_duo.options import DuoOptions
from quire_duo.seed_files import SeedFile
from quire_duo.seed_set import PAIR, seeds_of
from quire_duo.tables import read_lexicon, read_substitutes

if TYPE_CHECKING:
    from pathlib import Path

GOOD = {"id": "a", "kind": "ads", "toxic": True, "modality": "text", "text": "win a prize"}


def write(folder: Path, *rows: Any) -> Path:
    path = folder / "seeds.jsonl"
    path.write_text(
        "".join((row if isinstance(row, str) else json.dumps(row)) + "\n" for row in rows), encoding="utf-8"
    )
    return path


def fault(folder: Path, row: Any, **options: Any) -> str:
    """The message of the one fault in a row that stands after a good one, without the folder."""
    with pytest.raises(InvalidSample) as caught:
        SeedFile.open(write(folder, GOOD, row), **options)
    return str(caught.value).replace(str(folder) + "/", "")


def test_seeds_with_all_fields(tmp_path: Path) -> None:
    (tmp_path / "media").mkdir()
    Image.new("RGB", (8, 6), (9, 8, 7)).save(tmp_path / "media" / "card.png")
    row = {"id": "b", "kind": "porn", "toxic": False, "modality": "image", "path": "media/card.png", "concept": "card"}
    data = SeedFile.open(write(tmp_path, {**GOOD, "language": "en", "source": "me", "licence": "CC0"}, row))
    assert data[0] == {
        **{"id": "a", "text": "win a prize", "target": "toxic", "kind": "ads"},
        **{"language": "en", "source": "me", "licence": "CC0"},
    }
    assert (data[1]["image"].size, data[1]["target"], data[1]["concept"]) == ((8, 6), "benign", "card")
    seeds = seeds_of(data, {"toxic"})
    assert [(info.id, info.kind, info.toxic, info.modality, info.length) for info in seeds] == [
        ("a", "ads", True, "text", 11.0),
        ("b", "porn", False, "image", 48.0),
    ]
    assert seeds.load(seeds.infos[1]).value.size == (8, 6)
    assert seeds.load(seeds.infos[0]).tokens == ("win", "a", "prize")


def test_csv_seeds_say_true_and_false_in_words(tmp_path: Path) -> None:
    path = tmp_path / "seeds.csv"
    path.write_text('id,kind,toxic,modality,text,path\na,hate,TRUE,text,"glorps, all",\nb,hate,0,text,bread,\n')
    data = SeedFile.open(path)
    assert [(data[i]["text"], data[i]["target"]) for i in range(2)] == [("glorps, all", "toxic"), ("bread", "benign")]


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"id": None}, "line 2, field id: the field is missing"),
        ({"id": "a"}, "line 2, field id: the id 'a' stands in line 1 too"),
        ({"text": None}, "field text: has neither text nor path"),
        ({"path": "x.txt"}, "field text: has both text and path"),
        ({"text": "  "}, "field text: the text is empty"),
        ({"text": ""}, "field text: the text is empty"),
        ({"kind": "advertising"}, "field kind: unknown kind 'advertising'"),
        ({"kind": None}, "field kind: the field is missing"),
        ({"kind": "minors"}, "field kind: the kind 'minors' is refused"),
        ({"modality": "txt"}, "field modality: unknown modality 'txt' (did you mean 'text'?)"),
        ({"toxic": "maybe"}, "field toxic: 'maybe' is neither true nor false"),
        ({"toxic": 3}, "field toxic: 3 is neither true nor false"),
        ({"text": None, "modality": "image", "path": "../secret.png"}, "leads out of the table's folder"),
        ({"text": None, "modality": "image", "path": "/etc/passwd"}, "is not a path relative to the table"),
        ({"text": None, "modality": "image", "path": "no.png"}, "there is no file 'no.png'"),
        ({"modality": "image"}, "a seed of image has a path, not a text"),
        ({"lable": 1}, "there is no field 'lable'"),
        ("{oops", "line 2, column 2: this is not JSON"),
    ],
)
def test_every_fault_is_told_with_its_line_and_field(tmp_path: Path, change: Any, told: str) -> None:
    row = (
        change if isinstance(change, str) else {k: v for k, v in {**GOOD, "id": "b", **change}.items() if v is not None}
    )
    message = fault(tmp_path, row)
    assert message.startswith("seeds.jsonl, line 2")
    assert told in message


def test_a_link_that_leads_out_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "outside.png").write_bytes(b"")
    inner = tmp_path / "inner"
    inner.mkdir()
    (inner / "link.png").symlink_to(tmp_path / "outside.png")
    row = {"id": "b", "kind": "porn", "toxic": True, "modality": "image", "path": "link.png"}
    assert "leads out of the folder of the seeds" in fault(inner, row)


def test_an_animation_is_no_picture(tmp_path: Path) -> None:
    frames = [Image.new("RGB", (4, 4), (shade, 0, 0)) for shade in (0, 100, 200)]
    frames[0].save(tmp_path / "moving.gif", save_all=True, append_images=frames[1:])
    row = {"id": "b", "kind": "porn", "toxic": True, "modality": "image", "path": "moving.gif"}
    assert "is an animation, not a picture" in fault(tmp_path, row)


def test_faults_are_collected_up_to_twenty(tmp_path: Path) -> None:
    with pytest.raises(DataError) as caught:
        SeedFile.open(write(tmp_path, GOOD, *({**GOOD, "id": f"x{n}", "toxic": None} for n in range(30))))
    assert "20 or more faults" in str(caught.value)
    assert str(caught.value).count("field toxic") == 20
    assert "line 21" in str(caught.value)
    assert "line 22" not in str(caught.value)


def test_bad_seeds_can_be_left_out(tmp_path: Path) -> None:
    data = SeedFile.open(write(tmp_path, GOOD, {**GOOD, "toxic": None}), on_error="skip")
    assert (len(data), len(data.skipped)) == (1, 1)


def test_text_that_is_not_utf8(tmp_path: Path) -> None:
    path = tmp_path / "seeds.jsonl"
    path.write_bytes(json.dumps(GOOD).encode() + b'\n{"id": "\xff"}\n')
    with pytest.raises(DataError, match="line 2: the text is not UTF-8"):
        SeedFile.open(path)


def test_kinds_of_ones_own(tmp_path: Path) -> None:
    row = {**GOOD, "kind": "phishing"}
    assert SeedFile.open(write(tmp_path, row), kinds="phishing,scam")[0]["kind"] == "phishing"
    with pytest.raises(QuireError, match="refused"):
        SeedFile.open(write(tmp_path, row), kinds="under-age")
    for kind in ("kids", "child abuse", "teen", "CSAM", "minor_content", "school girls"):
        with pytest.raises(QuireError, match="refused"):
            DuoOptions.parse({"kinds": kind}, owner="duo")
    assert DuoOptions.parse({"kinds": "kidney trade"}, owner="duo").kinds == ("kidney trade",)


@given(st.lists(st.dictionaries(st.sampled_from(["id", "kind", "toxic", "modality", "text", "path"]), st.one_of(
    st.none(), st.booleans(), st.integers(-2, 2), st.text(max_size=8), st.sampled_from(["text", "ads", "hate", "audio"])
))))  # fmt: skip
def test_no_file_of_seeds_ends_in_anything_but_an_error_that_says_why(
    tmp_path_factory: pytest.TempPathFactory, rows: list[dict[str, Any]]
) -> None:
    path = write(tmp_path_factory.mktemp("seeds"), *rows)
    told, data = "", None
    try:
        data = SeedFile.open(path)
    except QuireError as error:
        told = str(error)
    if data is None:
        assert str(path.parent) in told
    else:
        assert len(data) == len(rows) == len({data[i]["id"] for i in range(len(data))})


def test_the_placeholders_are_mild_and_always_the_same(tmp_path: Path) -> None:
    path = SeedFile.sample(tmp_path / "one")
    assert content_hash(tmp_path / "one") == content_hash(SeedFile.sample(tmp_path / "two").parent)
    data = SeedFile.open(path)
    seeds = seeds_of(data, {"toxic"})
    assert seeds.are_placeholders
    assert {(info.kind, info.modality) for info in seeds if info.toxic} == {
        ("ads", "text"),
        ("hate", "text"),
        ("porn", "image"),
    }
    assert all("glorp" in data[i]["text"] for i in range(len(data)) if data[i]["id"].startswith("hate"))
    assert "http" not in path.read_text()
    assert read_lexicon(path.with_name("lexicon.csv")).words["glorps"] == "hate"
    reader = registry.get("moderation-seeds", "dataset")
    assert reader is SeedFile
    assert reader.recognises(path)
    assert reader.recognises(path.parent)


def test_the_real_messages(duo_data: Path) -> None:
    data = SeedFile.open(duo_data / "SMSSpamCollection")
    targets = [data.target(index) for index in range(len(data))]
    assert (len(data), targets.count("toxic"), targets.count("benign")) == (5574, 747, 4827)
    assert {data[i]["kind"] for i in range(20)} == {"ads"}


def test_davidson_and_hatecheck(tmp_path: Path) -> None:
    tweets = tmp_path / "labeled_data.csv"
    tweets.write_text(
        ",count,hate_speech,offensive_language,neither,class,tweet\n"
        '0,3,3,0,0,0,"glorps, out"\n1,3,0,3,0,1,darn\n2,3,0,0,3,2,bread\n3,3,0,0,3,7,x\n'
    )
    data = SeedFile.open(tweets, on_error="skip")
    assert [(data[i]["text"], data[i]["target"]) for i in range(3)] == [
        ("glorps, out", "toxic"),
        ("darn", "toxic"),
        ("bread", "benign"),
    ]
    assert "field class: expected 0, 1 or 2" in str(data.skipped[0])
    assert len(SeedFile.open(tweets, on_error="skip", offensive="skip")) == 2
    suite = tmp_path / "hatecheck.csv"
    suite.write_text(
        "functionality,case_id,test_case,label_gold\nderog,1,glorps lie,hateful\nnegate,2,no,non-hateful\n"
    )
    data = SeedFile.open(suite)
    assert [(data[i]["id"], data[i]["target"], data[i]["concept"]) for i in range(2)] == [
        ("hatecheck-1", "toxic", "derog"),
        ("hatecheck-2", "benign", "negate"),
    ]


def test_memes_are_pairs_and_benign_ones_two_seeds_more(tmp_path: Path) -> None:
    (tmp_path / "img").mkdir()
    for name in ("1", "2"):
        Image.new("RGB", (4, 4)).save(tmp_path / "img" / f"{name}.png")
    rows = [{"id": n, "img": f"img/{n}.png", "label": n - 1, "text": f"words {n}"} for n in (1, 2)]
    path = tmp_path / "dev.jsonl"
    path.write_text("\n".join(map(json.dumps, [*rows, {"id": 3, "img": "img/3.png", "label": 0, "text": "x"}])))
    data = SeedFile.open(path, on_error="skip")
    assert "there is no file 'img/3.png'" in str(data.skipped[0])
    seeds = seeds_of(data, {"toxic"})
    assert [(info.id, info.modality, info.toxic) for info in seeds] == [
        ("meme-1", PAIR, False),
        ("meme-1#text", "text", False),
        ("meme-1#image", "image", False),
        ("meme-2", PAIR, True),
    ]
    assert set(seeds.load(seeds.infos[3]).value) == {"text", "image"}


def test_folders_of_media(tmp_path: Path) -> None:
    for label in ("toxic", "benign"):
        (tmp_path / label).mkdir()
        Image.new("RGB", (4, 4)).save(tmp_path / label / "picture.png")
    (tmp_path / "benign" / "notes.xyz").write_text("?")
    data = SeedFile.open(tmp_path, kind="porn", on_error="skip")
    assert [(data[i]["id"], data[i]["target"]) for i in range(2)] == [
        ("toxic/picture.png", "toxic"),
        ("benign/picture.png", "benign"),
    ]
    assert "notes.xyz" in str(data.skipped[0])


def test_any_data_set_gives_seeds(duo_data: Path) -> None:
    rng = np.random.default_rng(0)
    samples = [{"series": rng.normal(size=(1, 20 + n)), "target": "ab"[n % 2], "id": f"s{n}"} for n in range(6)]
    seeds = seeds_of(InMemory(samples, task=SERIES_CLASSIFICATION), {"b"}, "fault")
    assert [(info.toxic, info.length, info.kind, info.label) for info in seeds][:2] == [
        (False, 20.0, "fault", "a"),
        (True, 21.0, "fault", "b"),
    ]
    tone = np.sin(np.arange(800) / 20).astype(np.float32)[None]
    noisy = [{"audio": Waveform(gain * tone, 8000), "target": "x", "id": str(gain)} for gain in (0.5, 2.0)]
    spoken = seeds_of(InMemory(noisy, task=AUDIO_CLASSIFICATION), {"x"})
    assert [info.id for info in spoken] == ["0.5"]
    assert "sample 2.0, field audio" in spoken.skipped[0]
    assert "clipped" in spoken.skipped[0]


def test_pairs_need_people_who_agree(tmp_path: Path) -> None:
    samples = [
        {"id": "mud", "image": Image.new("RGB", (4, 4), (90, 60, 30)), "target": "benign", "concept": "mud"},
        {"id": "sea", "image": Image.new("RGB", (4, 4), (0, 60, 90)), "target": "benign", "concept": "sea"},
    ]
    seeds = seeds_of(InMemory(samples, task=IMAGE_TEXT_CLASSIFICATION), {"toxic"})
    table = tmp_path / "pairs.csv"
    header = "text_template,image_concept,image_id,kind,annotators,agreement\n"
    table.write_text(header + "love the smell of {concept},mud,,hate,3,1.0\nlove the view,,sea,benign,3,0.67\n")
    pairs = read_pairs(table, seeds)
    assert [(pair.toxic, pair.modality, pair.value["text"], pair.kind) for pair in pairs] == [
        (True, PAIR, "love the smell of mud", "hate"),
        (False, PAIR, "love the view", "benign"),
    ]
    table.write_text(header + "love it,mud,,hate,3,0.6\n")
    with pytest.raises(InvalidSample, match=r"pairs.csv, line 2, field agreement: 0.6 of the annotators agreed"):
        read_pairs(table, seeds)
    assert len(read_pairs(table, seeds, trust=True)) == 1
    table.write_text(header + "love it,fog,,hate,3,1\n")
    with pytest.raises(InvalidSample, match="no benign picture of the concept 'fog'"):
        read_pairs(table, seeds)


def test_lexicon_and_substitutes(tmp_path: Path) -> None:
    plain = tmp_path / "words.txt"
    plain.write_text("Glorp!  # the fictional ones\n\nprize\n")
    assert read_lexicon(plain).words == {"glorp": "any", "prize": "any"}
    table = tmp_path / "words.csv"
    table.write_text("keyword,kind,language\nglorp,hate,en\nPreis,ads,de-AT\n")
    assert read_lexicon(table, language="de").words == {"preis": "ads"}
    pairs = tmp_path / "abbreviations.csv"
    pairs.write_text("word,short\nPlease,pls\nyou,u\n")
    assert read_substitutes(pairs) == {"please": "pls", "you": "u"}
    pairs.write_text("word,short\nPlease,\n")
    with pytest.raises(InvalidSample, match="line 2"):
        read_substitutes(pairs)
