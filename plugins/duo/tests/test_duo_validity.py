"""V1, V2 and V5: what they drop, what they let pass, and what they measure."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from quire.errors import ConfigError
from quire.modality import Frames
from quire.model import Classifier
from quire.task import IMAGE_TEXT_CLASSIFICATION, TEXT_CLASSIFICATION
from quire_duo.case import Case, Check
from quire_duo.rule import find_rules
from quire_duo.seeds import Lexicon, Seed
from quire_duo.validity import CHECKS, ClassifierJudge, LexiconJudge, run_checks
from quire_duo.witness import AudioInterval, ImageRegion, TextSpan, Unit, VideoInterval, Witness
from quire_duo.workshop import Workshop

LEXICON = Lexicon({"glorps": "hate", "very bad": "hate"})
QUAD = ((10.0, 10.0), (90.0, 10.0), (90.0, 30.0), (10.0, 30.0))
REGION = ImageRegion(QUAD, glyph_height=14.0, colour=(0, 0, 0), contrast=21.0)
RULES = {rule.id: rule for rule in find_rules(("T.*", "TI.*"))}


def seed(text: str = "the glorps") -> Seed:
    return Seed("s", "hate", True, "text", text)


def case(content: dict[str, Any], *units: Unit, of: Seed | None = None, guarantee: Any = "carrier") -> Case:
    return Case("X.test", {}, (of or seed(),), "hate", "toxic", guarantee, content, Witness(units), 0)


def drawn(region: ImageRegion = REGION, surface: str = "the glorps") -> Case:
    return case({"image": Image.new("RGB", (100, 40))}, Unit(region, ("the", "glorps"), surface=surface))


def outcome(one: Case, name: str, **options: Any) -> Check | None:
    checks, _ = run_checks(one, [name], lexicon=LEXICON, **options)
    return checks[0] if checks else None


def made(name: str, text: str, lexicon: Lexicon = LEXICON, **values: object) -> Case:
    rule = RULES[name]
    picture = Seed("p", "hate", False, "image", Image.new("RGB", (640, 480), "navy"))
    fillers = [Seed("f", "hate", False, "text", "a lovely day in the garden of our house")]
    parts = {
        slot.name: [seed(text)] if slot.role == "toxic" else [picture] if slot.modality == "image" else fillers * 2
        for slot in rule.slots
    }
    parameters = rule.check(values)
    fused = rule.apply(parts, parameters, np.random.default_rng(0), Workshop(lexicon=lexicon))
    return Case(rule.id, parameters, (seed(text),), "hate", "toxic", rule.guarantee, fused.content, fused.witness, 0)


# --- V1


def test_complete_texts_pass_and_losses_are_named() -> None:
    spans = (Unit(TextSpan(0, 3), ("the",), surface="the"), Unit(TextSpan(4, 10), ("glorps",), surface="glorps"))
    check = outcome(case({"text": "the glorps"}, *spans), "V1")
    assert check == Check("V1", True, "", {"tokens": 2.0, "units": 2.0})
    for units, fault in (
        (spans[:1], "token 2 of 2 is 'glorps' in the seed, missing"),
        (spans[::-1], "token 1 of 2 is 'the' in the seed, 'glorps' in the case"),
        ((spans[0], replace(spans[1], glued=True)), "token 1"),
        ((*spans, spans[1]), "token 3 of 2 is missing in the seed"),
        ((spans[0], replace(spans[1], place=TextSpan(3, 9))), "characters 3 to 9"),
        ((spans[0], replace(spans[1], place=REGION)), "there is no image"),
        ((), "names no place"),
    ):
        failed = outcome(case({"text": "the glorps"}, *units), "V1")
        assert failed is not None
        assert not failed.passed
        assert fault in failed.detail


def test_glued_units_and_equivalent_code_points_are_complete() -> None:
    halves = (Unit(TextSpan(0, 3), ("glo",), surface="glo"), Unit(REGION, ("rps",), glued=True, surface="rps"))
    content = {"text": "glo", "image": Image.new("RGB", (100, 40))}
    check = outcome(case(content, *halves, of=seed("glorps")), "V1")
    assert check is not None
    assert check.passed
    composed = Unit(TextSpan(0, 4), ("caf\u00e9",), surface="caf\u00e9")
    check = outcome(case({"text": "caf\u00e9"}, composed, of=seed("cafe\u0301")), "V1")
    assert check is not None
    assert check.passed
    hidden = outcome(drawn(surface=""), "V1")
    assert hidden is not None
    assert "nothing is shown of 'the glorps'" in hidden.detail


def test_seeds_that_are_no_text_need_a_unit_and_pairs_their_text() -> None:
    image = Image.new("RGB", (100, 40))
    toxic = Seed("x", "porn", True, "image", image)
    whole = Unit(ImageRegion(((0, 0), (100, 0), (100, 40), (0, 40))))
    assert [outcome(case({"image": image}, *units, of=toxic), "V1").passed for units in ((whole,), ())] == [True, False]  # type: ignore[union-attr]
    pair = Seed("p", "hate", True, "pair", {"text": "look here", "image": image})
    text = Unit(TextSpan(0, 9), ("look", "here"), surface="look here")
    content = {"text": "look here", "image": image}
    assert [outcome(case(content, *units, of=pair), "V1").passed for units in ((text, whole), (whole,))] == [
        True,
        False,
    ]  # type: ignore[union-attr]


# --- V2


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({}, ""),
        ({"glyph_height": 12.0, "contrast": 3.0, "covered": 0.3}, ""),
        ({"glyph_height": 11.9}, "11.9 pixels high"),
        ({"contrast": 2.99}, "2.99:1"),
        ({"covered": 0.31}, "31% is covered"),
        ({"missing": ("U+4E00",)}, "U+4E00"),
        ({"quad": ((10, 10), (101, 10), (101, 30), (10, 30))}, "outside the 100 x 40"),
        ({"quad": ((10, -1), (90, -1), (90, 30), (10, 30))}, "outside the 100 x 40"),
        ({"glyph_height": None, "contrast": None}, ""),
    ],
)
def test_limits_of_legibility(changes: dict[str, Any], fault: str) -> None:
    check = outcome(drawn(replace(REGION, **changes)), "V2")
    assert check is not None
    assert check.passed == (fault == "")
    assert fault in check.detail


def test_the_worst_of_every_measure_is_kept() -> None:
    other = replace(REGION, glyph_height=30.0, contrast=4.0, covered=0.2)
    units = (Unit(REGION, ("the",), surface="the"), Unit(other, ("glorps",), surface="glorps"))
    check = outcome(case({"image": Image.new("RGB", (100, 40))}, *units), "V2")
    assert check is not None
    assert check.measured == {"regions": 2.0, "covered": 0.2, "glyph_height": 14.0, "contrast": 4.0}


def test_regions_of_films_are_measured_by_the_frame() -> None:
    frames = Frames(np.zeros((2, 40, 100, 3), np.uint8), 5.0)
    for region, passed in ((REGION, True), (replace(REGION, contrast=2.0), False)):
        unit = Unit(VideoInterval(0.0, 0.4, region, words=2), ("the", "glorps"), surface="the glorps")
        check = outcome(case({"video": frames}, unit), "V2")
        assert check is not None
        assert check.passed is passed


def test_nothing_to_read_is_nothing_to_check() -> None:
    text = case({"text": "the glorps"}, Unit(TextSpan(0, 10), ("the", "glorps"), surface="the glorps"))
    assert outcome(text, "V2") is None
    assert outcome(text, "V3") is None
    assert outcome(text, "V5") is None


@pytest.mark.parametrize(
    ("values", "passes"),
    [
        ({}, True),
        ({"size": 9}, False),
        ({"ink": "#e1e1e1"}, False),
        ({"ink": "#767676"}, True),
        ({"size": 17}, True),
        ({"size": 16}, False),
    ],
)
def test_screenshots_that_people_can_read_pass(values: dict[str, object], passes: bool) -> None:
    assert run_checks(made("TI.screenshot", "the glorps", **values), CHECKS, lexicon=LEXICON)[0][1].passed is passes


# --- V5


def test_a_keyword_in_one_part_makes_a_partial_carrier() -> None:
    whole = made("TI.split_caption", "we think the glorps are bad")
    checks, partial = run_checks(whole, CHECKS, lexicon=LEXICON)
    assert partial
    assert checks[-1] == Check("V5", True, "toxic by itself: image", {"parts": 2.0, "toxic_parts": 1.0})
    assert all(check.passed for check in checks)
    halved = made("TI.split_caption", "we think the glorps are bad", inside_keyword=True)
    assert not run_checks(halved, CHECKS, lexicon=LEXICON)[1]
    assert run_checks(halved, ["V5"], lexicon=Lexicon({"think": "x"}))[1]


def test_carriers_are_not_judged() -> None:
    checks, partial = run_checks(made("TI.screenshot", "the glorps"), CHECKS, lexicon=LEXICON)
    assert not partial
    assert [check.name for check in checks] == ["V1", "V2"]


def test_letters_down_a_page_are_no_word_to_the_judge() -> None:
    assert not run_checks(made("T.acrostic", "the glorps", unit="letter"), ["V5"], lexicon=LEXICON)[1]
    assert run_checks(made("T.acrostic", "the glorps", unit="word"), ["V5"], lexicon=LEXICON)[1]


def test_the_lexicon_finds_words_and_phrases_whole() -> None:
    judge = LexiconJudge(LEXICON)
    assert judge.toxic({}, 'so "Glorps", they said')
    assert judge.toxic({}, "a VERY bad! day")
    assert not judge.toxic({}, "glorpsy bad very")
    assert not judge.toxic({}, "glo rps")


def test_what_is_said_is_judged_like_what_is_written() -> None:
    heard = Unit(AudioInterval(0.0, 1.0, -20.0, words=1), ("glorps",), surface="glorps")
    seen = Unit(TextSpan(0, 3), ("the",), surface="the")
    sound = case({"text": "the", "audio": None}, seen, heard, guarantee="split")
    check = outcome(sound, "V5")
    assert check is not None
    assert check.detail == "toxic by itself: audio"


class Suspicious(Classifier):
    """Finds every text toxic that holds the letter q."""

    task = TEXT_CLASSIFICATION

    @property
    def labels(self) -> tuple[str, ...]:
        return ("fine", "rude", "vile")

    def fit(self, train: Any, validation: Any = None, *, runtime: Any = None, run: Any = None) -> Any:
        return self

    def predict_proba(self, samples: Any) -> Any:
        return np.array([[0.4, 0.3, 0.3] if "q" in one["text"] else [0.6, 0.2, 0.2] for one in samples], np.float32)

    def state(self) -> dict[str, Any]:
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        return None


def test_a_classifier_judges_the_kinds_that_it_takes() -> None:
    judge = ClassifierJudge(Suspicious(), ("rude", "vile"), otherwise=LexiconJudge(Lexicon({"town": "x"})))
    assert judge.toxic({"text": "a quiet day"}, "a quiet day")  # .3 + .3
    assert not judge.toxic({"text": "a day"}, "town")
    assert not replace(judge, threshold=0.7).toxic({"text": "a quiet day"}, "")
    assert judge.toxic({"image": Image.new("RGB", (9, 9))}, "our town")
    assert IMAGE_TEXT_CLASSIFICATION.inputs.keys() >= {"text"}
    one = made("TI.split_caption", "a quiet question in our village")
    assert run_checks(one, ["V5"], lexicon=LEXICON, judge=judge)[1]


def test_a_check_that_does_not_exist() -> None:
    with pytest.raises(ConfigError, match="V9"):
        run_checks(drawn(), ["V9"], lexicon=LEXICON)
