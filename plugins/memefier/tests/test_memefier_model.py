"""The model: equivalences (sec. 10 D), what data must have, captions and attributes only in training, saved models."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from quire.dataset import InMemory
from quire.errors import ConfigError, DataError, InvalidSample, RunError, TrainingError
from quire.model import Limits
from quire_memefier.config import MemeFierConfig
from quire_memefier.data.confounders import confounder_memes
from quire_memefier.data.hateful_memes import HatefulMemes
from quire_memefier.data.memotion import Memotion7k
from quire_memefier.model import MemeFierClassifier
from quire_memefier.task import MEME_CLASSIFICATION

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from quire.dataset import Dataset

    Make = Callable[..., MemeFierClassifier]

FACE = {"race": "White", "gender": "Female", "age": "20-29"}


def in_memory(count: int = 16, **extra: Any) -> Dataset:
    samples = [
        {"image": meme.image, "text": meme.text, "target": ("no", "yes")[meme.label], **extra}
        for meme in confounder_memes(count, np.random.default_rng(0))
    ]
    return InMemory(samples, task=MEME_CLASSIFICATION)


def inputs(dataset: Dataset) -> list[dict[str, Any]]:
    return [{key: value for key, value in sample.items() if key in ("id", "image", "text")} for sample in dataset]


# ----------------------------------------------------------------------------------------------------- cached features


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_cached_features_give_the_same_bits(make: Make, memes: Dataset, dtype: str) -> None:
    found = [make(cache=cache, feature_dtype=dtype).fit(memes).state() for cache in ("off", "disk", "ram", "disk")]
    for other in found[1:]:
        assert found[0]["network"].keys() == other["network"].keys()
        assert all(torch.equal(found[0]["network"][name], tensor) for name, tensor in other["network"].items())


def test_predictions_do_not_depend_on_the_cache(make: Make, memes: Dataset, release: Path) -> None:
    test = inputs(HatefulMemes.open(release, split="test"))
    model = make().fit(memes)
    before = model.predict_proba(test)
    model.encode(HatefulMemes.open(release, split="test"))
    assert np.array_equal(before, model.predict_proba(test))


def test_the_backbone_runs_once_for_each_image_and_text(
    make: Make, memes: Dataset, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from quire_memefier.backbone import ClipBackbone

    monkeypatch.setenv("QUIRE_CACHE", str(tmp_path))
    counts = {"images": 0, "texts": 0}
    images, texts = ClipBackbone.encode_images, ClipBackbone.encode_texts

    def count_images(self: ClipBackbone, pixels: torch.Tensor, *rest: Any) -> Any:
        counts["images"] += len(pixels)
        return images(self, pixels, *rest)

    def count_texts(self: ClipBackbone, ids: torch.Tensor, *rest: Any, **more: Any) -> Any:
        counts["texts"] += len(ids)
        return texts(self, ids, *rest, **more)

    monkeypatch.setattr(ClipBackbone, "encode_images", count_images)
    monkeypatch.setattr(ClipBackbone, "encode_texts", count_texts)
    for d_model in (32, 64):
        make(epochs=3, d_model=d_model).fit(memes)
    different = {sample["text"] for sample in memes}
    assert counts == {"images": len(memes), "texts": len(different)}


def test_other_options_of_the_backbone_have_features_of_their_own(make: Make, memes: Dataset) -> None:
    model = make().fit(memes)
    namespaces = [make(**options).fit(memes).extractor().namespace for options in (
        {}, {"token_features": "last_hidden"}, {"pad_mode": "reference"}, {"feature_dtype": "float16"})]  # fmt: skip
    assert namespaces[0] == model.extractor().namespace
    assert len({json.dumps(namespace, sort_keys=True) for namespace in namespaces}) == 4


# ------------------------------------------------------------------------------------------------------- missing parts


def test_either_modality_may_be_missing(trained: MemeFierClassifier, memes: Dataset) -> None:
    whole = inputs(memes)[0]
    alone = [{"image": whole["image"]}, {"text": whole["text"]}, {"image": whole["image"], "text": "  "}, whole]
    found = trained.predict_proba(alone)
    assert np.allclose(found.sum(axis=1), 1)
    assert np.array_equal(found[0], found[2])
    assert not np.allclose(found[0], found[3])
    warnings = [decision.warnings for decision in trained.decide(alone)]
    assert warnings == [("text missing",), ("image missing",), ("text missing",), ()]
    with pytest.raises(InvalidSample, match="none of the fields image, text"):
        trained.predict_proba([{"id": "nothing"}])


def test_training_can_take_modalities_away(make: Make, memes: Dataset) -> None:
    model = make(modality_dropout=0.5)
    model.facts = model.study(memes)
    load = model.loader(memes, training=True)
    batch = load(range(len(memes)), np.random.default_rng(0))
    image, text = batch["has_image"], batch["has_text"]
    assert bool((image | text).all())
    assert not bool(image.all())
    assert not bool(text.all())
    assert bool(model.loader(memes, training=False)(range(4), None)["has_image"].all())
    again = load(range(len(memes)), np.random.default_rng(0))
    assert torch.equal(image, again["has_image"])


def test_warnings_name_truncated_and_foreign_texts(trained: MemeFierClassifier) -> None:
    fits, long, foreign = trained.decide(
        [{"text": "abcdefgh"}, {"text": "a text of very many letters"}, {"text": "я люблю"}]
    )
    assert fits.warnings == ("image missing",)
    assert long.warnings == ("image missing", "text truncated: 24 tokens, of which 20 are read")
    assert "text not in Latin script: CLIP's tokenizer was made for English" in foreign.warnings


# --------------------------------------------------------------------------------------------- captions and attributes


@pytest.fixture(scope="module")
def captioned(release: Path) -> Dataset:
    return HatefulMemes.open(release, split="train", captions=release / "captions.json")


def test_captions_supervise_where_there_are_some(make: Make, captioned: Dataset, memes: Dataset) -> None:
    assert make().fit(captioned).facts["components"] == "C12"
    assert make().fit(memes).facts["components"] == "12"
    with pytest.raises(DataError, match=r"component C needs captions.*captions=FILE"):
        make(components="C12").fit(memes)


def test_the_caption_vocabulary_is_that_of_the_training_captions(make: Make, captioned: Dataset) -> None:
    facts = make().fit(captioned).facts["captions"]
    assert set(facts["words"]) == {"a", "red", "ellipse", "blue", "rectangle", "on", "pale", "ground"}
    assert facts["length"] == 9


def test_captions_and_attributes_are_not_needed_to_predict(make: Make, release: Path) -> None:
    """Section 7, defect 4."""
    train = InMemory(
        [{**sample, "caption": "a meme", "attributes": [FACE]} for sample in in_memory()], task=MEME_CLASSIFICATION
    )
    model = make(components="EC12").fit(train)
    assert model.facts["components"] == "EC12"
    test = inputs(HatefulMemes.open(release, split="test"))
    plain = model.predict_proba(test)
    assert np.array_equal(plain, model.predict_proba([{**sample, "caption": "other words"} for sample in test]))
    faces = model.predict_proba([{**sample, "attributes": [FACE] * 9} for sample in test])
    assert not np.allclose(plain, faces)
    assert np.array_equal(faces, model.predict_proba([{**sample, "attributes": [FACE] * 7} for sample in test]))
    with pytest.raises(InvalidSample, match=r"unknown race 'Martian'"):
        model.predict_proba([{**test[0], "attributes": [{**FACE, "race": "Martian"}]}])


def test_attributes_are_used_only_when_asked_for(make: Make) -> None:
    """Section 7, defect 10."""
    train = InMemory([{**sample, "attributes": [FACE]} for sample in in_memory()], task=MEME_CLASSIFICATION)
    model = make().fit(train)
    assert "E" not in model.facts["components"]
    sample = inputs(train)[0]
    assert np.array_equal(model.predict_proba([sample]), model.predict_proba([{**sample, "attributes": [FACE]}]))
    with pytest.raises(DataError, match=r"component E needs attributes.*attributes=FILE"):
        make(components="E12").fit(in_memory())


def test_the_caption_decoder_is_no_part_of_the_saved_model(make: Make, captioned: Dataset, tmp_path: Path) -> None:
    model = make().fit(captioned)
    assert model.state()["caption_decoder"] is None
    loaded = MemeFierClassifier.load(model.save(tmp_path / "model"), runtime=model.runtime)
    assert np.array_equal(loaded.predict_proba(inputs(captioned)), model.predict_proba(inputs(captioned)))


def test_a_kept_decoder_starts_another_one(make: Make, captioned: Dataset, tmp_path: Path) -> None:
    first = make(keep_caption_decoder=True).fit(captioned)
    folder = first.save(tmp_path / "model")
    second = make(caption_decoder_init=folder, components="C12")
    second.facts = second.study(captioned)
    decoder = second.build_training_only()["caption_decoder"]
    kept = first.state()["caption_decoder"]
    assert all(torch.equal(tensor, kept[name]) for name, tensor in decoder.state_dict().items())
    plain = make().fit(captioned).save(tmp_path / "plain")
    with pytest.raises(ConfigError, match=r"kept no caption decoder.*keep_caption_decoder=true"):
        make(caption_decoder_init=plain).fit(captioned)


@pytest.mark.parametrize("components", ["EC12", "C12", "E12", "12", "EC2", "C2", "E1", "1", "2", "E", ""])
def test_every_combination_of_components_trains(make: Make, components: str) -> None:
    train = InMemory(
        [{**sample, "caption": "a meme of a thing", "attributes": [FACE]} for sample in in_memory()],
        task=MEME_CLASSIFICATION,
    )
    model = make(components=components).fit(train)
    assert np.isfinite(model.predict_proba(inputs(train))).all()


def test_the_degenerate_ablation_must_be_asked_for(make: Make) -> None:
    with pytest.raises(ConfigError, match="component C needs component 2"):
        MemeFierConfig.parse({"components": "EC1"}, owner="memefier")
    train = in_memory(caption="a meme", attributes=[FACE])
    train = InMemory([{**s, "caption": "a meme", "attributes": [FACE]} for s in train], task=MEME_CLASSIFICATION)
    assert make(components="EC1", allow_degenerate=True).fit(train).facts["components"] == "EC1"


def test_numbers_of_yaml_are_texts() -> None:
    config = MemeFierConfig.parse({"components": 12, "heads": [{"labels": [0, 1], "toxic": [1]}]}, owner="memefier")
    assert config.components == "12"
    assert config.heads[0].toxic == ("1",)


@pytest.mark.parametrize("components", ["3", "11", "auto1"])
def test_components_that_do_not_exist(components: str) -> None:
    with pytest.raises(ConfigError, match="components are letters of EC12"):
        MemeFierConfig.parse({"components": components}, owner="memefier")


# ---------------------------------------------------------------------------------------------------------- head layouts


@pytest.mark.parametrize(("subtask", "outputs"), [("a", 3), ("b", 4), ("c", 13)])
def test_memotions_heads(make: Make, tmp_path: Path, subtask: str, outputs: int) -> None:
    release = Memotion7k.sample(tmp_path / "memotion")
    train = Memotion7k.open(release, subtask=subtask)
    model = make().fit(train)
    assert sum(head.logits for head in model.heads) == outputs
    assert model.labels == train.labels
    for n in (5, 1):  # section 7, defect 9: a last batch of one
        found = model.predict_heads([train[index] for index in range(n)])
        assert {name: values.shape for name, values in found.items()} == {
            head.name: (n, len(head.labels)) for head in model.heads
        }
    if subtask != "a":
        assert model.heads[0].name == "offensive"
        assert "not_offensive" not in model.toxic_labels


def test_a_user_may_ask_anything(make: Make) -> None:
    heads = (
        {"name": "target", "labels": ("no", "yes"), "toxic": ("yes",), "class_weight": "balanced"},
        {"name": "grade", "kind": "ordinal", "labels": ("low", "mid", "high"), "weight": 2.0},
        {"name": "topics", "kind": "multilabel", "labels": ("cats", "dogs")},
    )
    grades, topics = ("low", "mid", "high", None), ("cats", "dogs", "cats|dogs", "")
    samples = [
        {**sample, "heads": {"grade": grades[row % 4], "topics": topics[row % 4]}}
        for row, sample in enumerate(in_memory())
    ]
    train = InMemory(samples, task=MEME_CLASSIFICATION)
    model = make(heads=heads).fit(train)
    found = model.predict_heads(inputs(train))
    assert {name: values.shape[1] for name, values in found.items()} == {"target": 2, "grade": 3, "topics": 2}
    decision = model.decide(inputs(train)[:1])[0]
    assert isinstance(decision.labels["topics"], list)
    assert model.toxic_labels == {"yes"}
    assert model.head_thresholds == {"target": {"yes": 0.5}, "topics": {"cats": 0.5, "dogs": 0.5}}


def test_unknown_labels_are_named_before_training(make: Make) -> None:
    samples = [{**sample, "heads": {"grade": "mod"}} for sample in in_memory()]
    heads = ({"name": "target", "labels": ("no", "yes")}, {"name": "grade", "labels": ("low", "mid")})
    with pytest.raises(InvalidSample, match=r"unknown label 'mod' of head 'grade' \(did you mean 'mid'\?\)"):
        make(heads=heads).fit(InMemory(samples, task=MEME_CLASSIFICATION))
    with pytest.raises(ConfigError, match="has the labels a, b, but the targets of memory are no, yes"):
        make(heads=({"name": "target", "labels": ("a", "b")},)).fit(in_memory())


def test_a_class_that_training_lacks_is_an_error(make: Make) -> None:
    heads = ({"name": "target", "labels": ("no", "yes")}, {"name": "grade", "labels": ("low", "mid")})
    samples = [{**sample, "heads": {"grade": "low"}} for sample in in_memory()]
    with pytest.raises(DataError, match="no training meme has the label 'mid' of head 'grade'"):
        make(heads=heads).fit(InMemory(samples, task=MEME_CLASSIFICATION))


# ------------------------------------------------------------------------------------------------------------- training


def test_validation_chooses_calibrates_and_is_remembered(make: Make, memes: Dataset, release: Path) -> None:
    validation = HatefulMemes.open(release, split="dev")
    model = make(epochs=3, early_stop={"patience": None}).fit(memes, validation)
    assert [sorted(epoch) for epoch in model.artefacts["history"]] == [
        ["val_accuracy", "val_auc", "val_f1", "val_hateful_loss", "val_loss"]
    ] * 3
    assert 0.04 < model.artefacts["temperatures"]["hateful"] < 21
    assert set(model.head_thresholds) == {"hateful"}
    assert set(model.thresholds) == {"hateful"}


def test_calibration_keeps_the_order_and_survives_saving(
    make: Make, memes: Dataset, release: Path, tmp_path: Path
) -> None:
    model = make().fit(memes)
    test = inputs(HatefulMemes.open(release, split="test"))
    before = model.predict_proba(test)[:, 0]
    model.tune(HatefulMemes.open(release, split="dev"))
    model.artefacts["temperatures"]["hateful"] = 2.5
    after = model.predict_proba(test)
    assert np.array_equal(np.argsort(before, kind="stable"), np.argsort(after[:, 0], kind="stable"))
    loaded = MemeFierClassifier.load(model.save(tmp_path / "model"), runtime=model.runtime)
    assert np.array_equal(loaded.predict_proba(test), after)
    assert loaded.thresholds == model.thresholds
    assert loaded.fingerprint() == model.fingerprint()


def test_decisions_follow_the_thresholds(trained: MemeFierClassifier, memes: Dataset) -> None:
    samples = inputs(memes)
    try:
        trained.artefacts["thresholds"] = {"hateful": {"hateful": 0.0}}
        assert {decision.labels["hateful"] for decision in trained.decide(samples)} == {"hateful"}
        trained.artefacts["thresholds"] = {"hateful": {"hateful": 1.0}}
        assert {decision.labels["hateful"] for decision in trained.decide(samples)} == {"not-hateful"}
    finally:
        del trained.artefacts["thresholds"]


def test_a_validation_split_of_one_class_is_chosen_on_by_its_loss(
    make: Make, memes: Dataset, caplog: pytest.LogCaptureFixture
) -> None:
    from quire.dataset import Subset

    single = Subset(memes, [row for row in range(len(memes)) if memes.target(row) == "hateful"])
    model = make(calibrate=False).fit(memes, single)
    assert "AUC is undefined on the validation split" in caplog.text
    assert "val_auc" not in model.artefacts["history"][0]


def test_labels_that_only_validation_has_are_refused(make: Make, memes: Dataset) -> None:
    with pytest.raises(DataError, match="the validation split has classes that training does not: no, yes"):
        make().fit(memes, in_memory())


def test_a_loss_that_is_no_number_names_step_and_head(make: Make, memes: Dataset) -> None:
    with pytest.raises(TrainingError, match=r"hateful_loss is (nan|inf) at step \d+"):
        make(lr=1e38, epochs=3, batch_size=8).fit(memes)


# ---------------------------------------------------------------------------------------------------------- saved models


def test_another_backbone_is_refused(make: Make, clip_folder: Path, tmp_path: Path) -> None:
    from quire_memefier.backbone import load_backbone, write_tiny_backbone

    folder = tmp_path / "clip"
    folder.mkdir()
    write_tiny_backbone(folder, seed=3)
    model = make(backbone=str(folder)).fit(in_memory())
    saved = model.save(tmp_path / "model")
    write_tiny_backbone(folder, seed=4)
    load_backbone.cache_clear()
    with pytest.raises(RunError, match="trained with another backbone"):
        MemeFierClassifier.load(saved, runtime=model.runtime).predict(inputs(in_memory()))


def test_a_saved_model_holds_no_backbone(trained: MemeFierClassifier, tmp_path: Path) -> None:
    """Section 7, defect 7."""
    folder = trained.save(tmp_path / "model")
    assert {path.name for path in folder.iterdir()} == {"config.json", "model.safetensors"}
    network = sum(tensor.numel() for tensor in trained.network.state_dict().values())
    assert (folder / "model.safetensors").stat().st_size < 4 * network + 20_000
    assert trained.facts["backbone"]["name"] == "tiny-random"


def test_what_a_tester_asks_for(trained: MemeFierClassifier) -> None:
    assert trained.labels == ("hateful", "not-hateful")
    assert trained.toxic_labels == {"hateful"}
    assert (trained.required_fields, trained.optional_fields) == (frozenset(), {"image", "text"})
    assert trained.limits == Limits(text_tokens=20, image_pixels=178_956_970)
    assert trained.deterministic
    assert trained.label_kind == "multiclass"
    assert trained.thresholds == {"hateful": 0.5}


# ------------------------------------------------------------------------------------------------------------ baselines

BASELINE = {"widths": [8, 16], "image_size": 28, "hidden": 8, "min_count": 1}


@pytest.mark.parametrize("architecture", ["image", "text", "late_fusion"])
def test_baselines_train_save_and_repeat(make: Make, memes: Dataset, tmp_path: Path, architecture: str) -> None:
    model = make(architecture=architecture, baseline=BASELINE).fit(memes)
    found = model.predict_proba(inputs(memes))
    assert np.array_equal(found, model.predict_proba(inputs(memes)))  # section 7, defect 9: the LSTM's first state
    loaded = MemeFierClassifier.load(model.save(tmp_path / "model"), runtime=model.runtime)
    assert np.array_equal(loaded.predict_proba(inputs(memes)), found)
    assert not model.can_explain
    required = {"image": {"image"}, "text": {"text"}, "late_fusion": {"image", "text"}}[architecture]
    assert model.required_fields == required
    other = "text" if required == {"image"} else "image"
    with pytest.raises(InvalidSample, match="needs the field"):
        model.predict_proba([{other: inputs(memes)[0][other]}])


def test_a_baseline_reads_words_up_to_the_last_one(make: Make, memes: Dataset) -> None:
    """Pads after the last word change nothing."""
    model = make(architecture="text", baseline=BASELINE).fit(memes)
    batch = model.collate(inputs(memes)[:3])
    longer = {"words": torch.cat([batch["words"], torch.zeros(3, 4, dtype=torch.int64)], dim=1)}
    with torch.no_grad():
        assert torch.allclose(model.network(batch), model.network(longer), atol=1e-6)


def test_a_resnet_from_a_folder_is_loaded(make: Make, memes: Dataset, tmp_path: Path) -> None:
    from transformers import ResNetConfig, ResNetModel

    torch.manual_seed(5)
    config = ResNetConfig(embedding_size=8, hidden_sizes=[8, 16], depths=[1, 1], layer_type="basic")
    ResNetModel(config).save_pretrained(tmp_path / "resnet")
    model = make(architecture="image", baseline={**BASELINE, "resnet": str(tmp_path / "resnet")})
    model.facts = model.study(memes)
    built = model.build().state_dict()
    given = ResNetModel.from_pretrained(tmp_path / "resnet").state_dict()
    assert all(torch.equal(built[f"resnet.{name}"], tensor) for name, tensor in given.items())
    with pytest.raises(Exception, match="is not on this machine"):
        make(architecture="image", baseline={**BASELINE, "resnet": str(tmp_path / "nowhere")}).fit(memes)
