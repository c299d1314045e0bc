"""Rules of text: what they change and what they keep, as transformers of texts and of fragments."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from quire.errors import ConfigError
from quire_duo.confusables import CYRILLIC, DIGITS, GREEK, LOOK_ALIKES, ONE_FOR_TWO, TWO_FOR_ONE
from quire_duo.fonts import default_font, missing
from quire_duo.fragments import Fragment, breaks, characters, cut, halves, halves_inside, joined, plain
from quire_duo.rule import FusionRule, find_rules
from quire_duo.rules.text import TextRule, disguised
from quire_duo.seeds import Lexicon, NotApplicable, Seed
from quire_duo.witness import TextSpan, Witness, tokens_of
from quire_duo.workshop import Workshop

TEXT = "Dear friend,  the glorps (all of them)\nwrite nonsense, corn!"
LEXICON = Lexicon({"glorps": "hate", "nonsense": "hate"})
TABLES = {
    "translations": {"friend": "amigo"},
    "homophones": {"write": "right"},
    "abbreviations": {"all of them": "aot", "dear friend": "df"},
}
WORKSHOP = Workshop(lexicon=LEXICON, tables=TABLES)
RULES = {rule.id: rule for rule in find_rules(("T.*",))}
WORD_RULES = sorted(name for name, rule in RULES.items() if isinstance(rule, TextRule))
BENIGN = [Seed(f"b{index}", "hate", False, "text", f"A lovely day number {index}.") for index in range(10)]
TOKENS = st.lists(
    st.text(st.characters(exclude_categories=("C", "Z")), min_size=1, max_size=12), min_size=1, max_size=12
)


def seed(text: str) -> Seed:
    return Seed("s", "hate", True, "text", text)


def apply(name: str, text: str, workshop: Workshop = WORKSHOP, draw: int = 0, **values: object) -> tuple[str, Witness]:
    rule: FusionRule = RULES[name]
    parts = {slot.name: BENIGN[: slot.most] if slot.role == "benign" else [seed(text)] for slot in rule.slots}
    fused = rule.apply(parts, rule.check(values), np.random.default_rng(draw), workshop)
    assert set(fused.content) == rule.produces == {"text"}
    return str(fused.content["text"]), fused.witness


def assert_true(text: str, witness: Witness, of: str) -> None:
    """The witness holds the seed's tokens, and each unit's surface stands where it says, in order, without overlap."""
    assert witness.tokens == tokens_of(of)
    end = 0
    for unit in witness.units:
        assert isinstance(unit.place, TextSpan)
        assert text[unit.place.start : unit.place.end] == unit.surface != ""
        assert unit.place.start >= end
        end = unit.place.end


def test_all_text_rules_are_found() -> None:
    published = "visual_sub visual_split visual_combine noise mask swap language homophone abbrev word_split"
    assert {f"T.{name}" for name in published.split()} == set(WORD_RULES)
    assert set(RULES) == {*WORD_RULES, "T.benign_context", "T.acrostic"}


@pytest.mark.parametrize("name", sorted(RULES))
def test_every_point_of_the_grid_keeps_the_tokens(name: str) -> None:
    rule = RULES[name]
    for parameter in rule.parameters:
        for value in parameter.grid:
            text, witness = apply(name, TEXT, **{parameter.name: value})
            assert_true(text, witness, TEXT)
            assert text != TEXT


@pytest.mark.parametrize("name", sorted(RULES))
def test_the_same_seed_of_the_generator_gives_the_same_text(name: str) -> None:
    assert apply(name, TEXT, draw=5) == apply(name, TEXT, draw=5)


@settings(max_examples=40, deadline=None)
@given(
    tokens=TOKENS,
    name=st.sampled_from(sorted(RULES)),
    draw=st.integers(0, 99),
    gap=st.sampled_from((" ", "\n\n", "\t")),
)
def test_any_text_keeps_its_tokens_or_is_refused(tokens: list[str], name: str, draw: int, gap: str) -> None:
    text = gap.join(tokens)
    try:
        made, witness = apply(name, text, draw=draw)
    except NotApplicable:
        return
    assert_true(made, witness, text)


@pytest.mark.parametrize("name", sorted(RULES))
def test_an_empty_text_is_refused(name: str) -> None:
    with pytest.raises(NotApplicable, match="empty"):
        apply(name, " \n ")


def test_exact_disguises_of_a_keyword() -> None:
    text = "the glorps are bad"
    lone = Workshop(lexicon=Lexicon({"glorps": "hate"}))
    assert apply("T.noise", text, lone)[0] == "the gl.or.ps are bad"
    assert apply("T.noise", text, lone, separator="\u200b", every=3)[0] == "the glo\u200brps are bad"
    assert apply("T.word_split", text, lone)[0] == "the glo rps are bad"
    assert apply("T.word_split", text, lone, separator="comma")[0] == "the glo, rps are bad"
    assert apply("T.mask", text, lone, rate=1.0)[0] == "the g****s are bad"
    assert apply("T.mask", text, lone)[0].count("*") == 1  # .34 of four inner letters
    assert apply("T.visual_sub", text, lone, rate=1.0, letters="digits")[0] == "the 910rp5 are bad"
    assert apply("T.visual_sub", text, lone, rate=1.0, scope="all", letters="greek")[0] == "the glοrρs αre bαd"
    assert apply("T.visual_sub", text, lone, rate=1.0, letters="digits", only="os")[0] == "the gl0rp5 are bad"
    assert apply("T.visual_combine", "modern corn", Workshop(), scope="all")[0] == "modem com"
    assert apply("T.visual_split", "a mad crowd", Workshop(), scope="all", rate=1.0)[0] == "a rnacl crovvcl"


def test_punctuation_around_a_keyword_stays() -> None:
    made, _ = apply("T.noise", 'they said "glorps!"', Workshop(lexicon=Lexicon({"glorps": "hate"})))
    assert made == 'they said "gl.or.ps!"'


def test_white_space_of_the_text_stays() -> None:
    made, _ = apply("T.noise", TEXT)
    assert made == TEXT.replace("glorps", "gl.or.ps").replace("nonsense", "no.ns.en.se")


def test_without_keywords_the_longest_quarter_of_the_words_is_disguised() -> None:
    made, _ = apply("T.noise", "aaa bbbbbb cc dddd eeeee f gg hhh", Workshop(), separator="_")
    assert made == "aaa bb_bb_bb cc dddd ee_ee_e f gg hhh"


@settings(max_examples=60, deadline=None)
@given(word=st.text("abcdefgh", min_size=4, max_size=12), draw=st.integers(0, 99), count=st.integers(1, 3))
def test_a_swap_permutes_inner_letters(word: str, draw: int, count: int) -> None:
    try:
        made, _ = apply("T.swap", word, Workshop(), draw=draw, count=count)
    except NotApplicable:
        assert len(set(word[1:-1])) == 1
        return
    assert sorted(made) == sorted(word)
    assert (made[0], made[-1]) == (word[0], word[-1])
    moved = [index for index, (old, new) in enumerate(zip(word, made, strict=True)) if old != new]
    assert 2 <= len(moved) <= 2 * count


def test_rate_is_the_share_of_the_letters_changed() -> None:
    word = "oceapyx" * 10
    for rate, expected in ((0.0, 1), (0.3, 21), (1.0, 70)):
        made, _ = apply("T.visual_sub", word, Workshop(), rate=rate)
        assert sum(old != new for old, new in zip(word, made, strict=True)) == expected


def test_look_alikes_are_of_their_alphabets_and_default_font_has_them() -> None:
    assert all(0x370 <= ord(char) < 0x400 for char in GREEK.values())
    assert all(0x400 <= ord(char) < 0x530 for char in CYRILLIC.values())
    assert set(DIGITS.values()) <= set("0123456789")
    for table in LOOK_ALIKES.values():
        assert all(key.isascii() and key.isalpha() for key in table)
        assert missing("".join(table.values()), default_font()) == ()
    assert all(CYRILLIC[letter] != letter for letter in "aceopxy")
    assert all(len(key) == 1 and len(value) > 1 for key, value in TWO_FOR_ONE.items())
    assert all(len(key) == 2 and len(value) == 1 for key, value in ONE_FOR_TWO.items())


@pytest.mark.parametrize("name", ["T.language", "T.homophone", "T.abbrev"])
def test_rules_with_tables_say_what_to_give(name: str) -> None:
    assert RULES[name].unavailable(WORKSHOP) is None
    assert "CSV" in (RULES[name].unavailable(Workshop()) or "")
    with pytest.raises(NotApplicable, match="no word of the text is in the table"):
        apply(name, "nothing here")


def test_phrases_are_replaced_as_one_unit_the_longest_first() -> None:
    made, witness = apply("T.abbrev", "Dear friend, (all of them) came")
    assert made == "Df, (aot) came"
    assert [unit.tokens for unit in witness.units] == [("Dear", "friend,"), ("(all", "of", "them)"), ("came",)]


def test_benign_context_takes_n_texts_on_each_side() -> None:
    for n in (1, 3, 5):
        made, witness = apply("T.benign_context", "the glorps", n=n, then="T.noise")
        before, _, after = made.partition("the gl.or.ps")
        assert before == "".join(f"{one.text} " for one in BENIGN[:n])
        assert after == "".join(f" {one.text}" for one in BENIGN[n : 2 * n])
        assert_true(made, witness, "the glorps")
    rule = RULES["T.benign_context"]
    parts = {"toxic": [seed("the glorps")], "around": BENIGN[:4]}
    with pytest.raises(NotApplicable, match="6 benign texts are needed, there are 4"):
        rule.apply(parts, rule.check({"n": 3}), np.random.default_rng(0), WORKSHOP)


def test_an_acrostic_reads_downwards() -> None:
    made, witness = apply("T.acrostic", "the glorps")
    assert [line.split()[0] for line in made.splitlines()] == ["the", "glorps"]
    made, witness = apply("T.acrostic", "an owl", unit="letter")
    assert [line[:1] for line in made.splitlines()] == ["a", "n", "", "o", "w", "l"]
    assert [(unit.tokens, unit.glued) for unit in witness.units] == [
        (("a",), False), (("n",), True), (("o",), False), (("w",), True), (("l",), True),
    ]  # fmt: skip
    with pytest.raises(NotApplicable, match="single"):
        apply("T.acrostic", "glorps")
    with pytest.raises(NotApplicable, match="more than 60"):
        apply("T.acrostic", "word " * 61)


def test_then_must_name_a_rule_that_disguises_words() -> None:
    rng = np.random.default_rng(0)
    assert disguised(seed("a b"), "", rng, WORKSHOP) == (Fragment(("a",), "a"), Fragment(("b",), "b"))
    for wrong in ("T.benign_context", "TI.screenshot", "T.*", "T.nosie"):
        with pytest.raises(ConfigError):
            disguised(seed("a b"), wrong, rng, WORKSHOP)
    with pytest.raises(NotApplicable, match="table"):
        disguised(seed("a b"), "T.homophone", rng, Workshop())


@settings(max_examples=60, deadline=None)
@given(tokens=TOKENS, first=st.integers(0, 14))
def test_cut_texts_join_to_the_same_tokens(tokens: list[str], first: int) -> None:
    fragments = plain(tokens)
    lexicon = Lexicon({token.casefold(): "hate" for token in tokens[::2]})
    for split in (lambda: halves(fragments, first), lambda: halves_inside(fragments, lexicon)):
        try:
            left, right = split()
        except NotApplicable:
            continue
        assert left
        assert right
        assert Witness(tuple(one.at(TextSpan(0, 0)) for one in (*left, *right))).tokens == tuple(tokens)
        both = Witness((joined(left).at(TextSpan(0, 0)), joined(right).at(TextSpan(0, 0))))
        assert both.tokens == tuple(tokens)


def test_a_cut_inside_a_keyword_is_in_its_middle() -> None:
    left, right = halves_inside(plain(["the", "glorps", "are", "bad"]), Lexicon({"glorps": "hate"}))
    assert (joined(left).surface, joined(right).surface) == ("the glo", "rps are bad")
    assert right[0].glued
    with pytest.raises(NotApplicable, match="no keyword"):
        halves_inside(plain(["a", "b"]), Lexicon({"a": "hate"}))


def test_marks_and_joined_emoji_stay_with_their_base() -> None:
    assert breaks("e\u0301a") == [2]
    assert breaks("👩\u200d🚀x") == [3]
    assert breaks("👍🏽y") == [2]


@settings(max_examples=60, deadline=None)
@given(token=st.text("abcdef", min_size=1, max_size=8), surface=st.text("xyz.*", min_size=1, max_size=20))
def test_a_disguised_word_is_spelt_and_cut_without_loss(token: str, surface: str) -> None:
    fragment = Fragment((token,), surface)
    spelt = characters(fragment)
    assert "".join(one.surface for one in spelt) == surface
    before = Fragment(("before",), "before")
    units = tuple(one.at(TextSpan(0, 0)) for one in (before, *spelt))
    assert Witness(units).tokens == ("before", token)
    if len(token) > 1 and len(surface) > 1:
        left, right = cut(fragment)
        assert left.surface + right.surface == surface
        assert left.tokens[0] + right.tokens[0] == token
        assert all((left.surface, right.surface, left.tokens[0], right.tokens[0]))


@pytest.mark.skipif(not os.environ.get("QUIRE_DATA"), reason="QUIRE_DATA is not set")
def test_real_spam_messages() -> None:
    file = Path(os.environ["QUIRE_DATA"]) / "duo" / "SMSSpamCollection"
    rows = [line.partition("\t") for line in file.read_text(encoding="utf-8").splitlines()]
    messages = [text for label, _, text in rows if label == "spam"][::8]
    assert len(messages) > 50
    lexicon = Workshop(lexicon=Lexicon({"free": "ads", "prize": "ads", "call": "ads"}))
    for name in ("T.visual_sub", "T.noise", "T.mask", "T.word_split", "T.benign_context"):
        for message in messages:
            made, witness = apply(name, message, lexicon)
            assert_true(made, witness, message)


@pytest.mark.slow
@pytest.mark.skipif(not os.environ.get("QUIRE_DATA"), reason="QUIRE_DATA is not set")
def test_seven_look_alikes_deceive_a_spam_filter_as_often_as_measured_before() -> None:
    """TF-IDF and logistic regression on 80 % of SMSSpamCollection: of 131 messages detected, 61 pass (0.466)."""
    text = pytest.importorskip("sklearn.feature_extraction.text")
    linear = pytest.importorskip("sklearn.linear_model")
    selection = pytest.importorskip("sklearn.model_selection")
    file = Path(os.environ["QUIRE_DATA"]) / "duo" / "SMSSpamCollection"
    rows = [line.partition("\t") for line in file.read_text(encoding="utf-8").splitlines()]
    spam = np.array([label == "spam" for label, _, _ in rows])
    train, test, train_spam, test_spam = selection.train_test_split(
        [message for _, _, message in rows], spam, test_size=0.2, random_state=0, stratify=spam
    )
    features = text.TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, min_df=2)
    model = linear.LogisticRegression(C=100, max_iter=1000).fit(features.fit_transform(train), train_spam)
    flagged = model.predict(features.transform(test))
    detected = [message for message, hit, true in zip(test, flagged, test_spam, strict=True) if hit and true]
    assert len(detected) == 131
    made = [apply("T.visual_sub", one, Workshop(), rate=1.0, scope="all", only="aceipox")[0] for one in detected]
    passed = 1 - model.predict(features.transform(made)).mean()
    assert passed == pytest.approx(0.466, abs=0.02)
