"""The model: from images with identities to embeddings, saved, resumed, extended."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image

from quire import InMemory, Run, Runtime
from quire.errors import ConfigError, DataError, InvalidSample, RunError
from quire.hooks import hookimpl
from quire.task import IMAGE_CLASSIFICATION
from quire.training import read_metrics
from quire_amsoftmax.config import AMSoftmaxConfig
from quire_amsoftmax.model import AMSoftmax
from quire_amsoftmax.optimise import optimizations, rate_factor
from quire_amsoftmax.pixels import augment, to_pixels

if TYPE_CHECKING:
    from pathlib import Path

SIZE = (16, 18)
TINY: dict[str, Any] = {
    "preset": "toy",
    "width": 0.1,
    "input_size": SIZE,
    "resize": "none",
    "embedding_dim": 8,
    "batch_size": 16,
    "epochs": 8,
}
RUNTIME = Runtime(device="cpu", precision="fp32", threads=1)


def picture(person: int, image: int, size: tuple[int, int] = SIZE) -> Image.Image:
    """A pattern that is the person's, with noise that is the image's."""
    rng = np.random.default_rng(person)
    small = rng.integers(0, 256, (4, 4, 3), dtype=np.uint8)
    pattern = np.asarray(Image.fromarray(small).resize((size[1], size[0]), Image.Resampling.BILINEAR), dtype=float)
    noise = np.random.default_rng([person, image]).normal(0, 20, pattern.shape)
    return Image.fromarray(np.clip(pattern + noise, 0, 255).astype(np.uint8))


def people(names: range, images: int = 6, split: str = "train") -> InMemory:
    samples = [
        {"id": f"{person}/{image}", "image": picture(person, image), "target": f"p{person}"}
        for person in names
        for image in range(images)
    ]
    return InMemory(samples, task=IMAGE_CLASSIFICATION, name="people", split=split)


def model(**options: Any) -> AMSoftmax:
    return AMSoftmax(AMSoftmaxConfig.parse({**TINY, **options}, owner="amsoftmax"), runtime=RUNTIME)


@pytest.fixture(scope="module")
def trained() -> AMSoftmax:
    torch.manual_seed(0)
    return model(epochs=50).fit(people(range(8)), people(range(20, 26), split="validation"))


def test_people_who_were_never_seen_are_told_apart(trained: AMSoftmax) -> None:
    strangers = people(range(40, 46))
    vectors = trained.embed(list(strangers))
    assert vectors.dtype == np.float32
    assert vectors.shape == (36, 8)
    np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, rtol=1e-5)
    scores = vectors @ vectors.T
    same = np.equal.outer([s["target"] for s in strangers], [s["target"] for s in strangers])
    upper = np.triu(np.ones_like(same), 1).astype(bool)
    assert scores[same & upper].mean() > scores[~same & upper].mean() + 0.2


def test_training_identities_are_predicted_from_their_centres(trained: AMSoftmax) -> None:
    known = people(range(8))
    given = trained.predict(list(known))
    assert np.mean([name == known.target(index) for index, name in enumerate(given)]) > 0.9


@pytest.mark.parametrize("flip", ["none", "sum", "concat"])
def test_embeddings_with_the_mirror_image(trained: AMSoftmax, flip: str, tmp_path: Path) -> None:
    trained.save(tmp_path / "m")
    other = AMSoftmax.load(tmp_path / "m", runtime=RUNTIME)
    other.config = other.config.model_copy(update={"flip_test": flip})
    sample = people(range(1), 1)[0]
    x = to_pixels([sample["image"]], ["a"], other.config)
    with torch.no_grad():
        one, mirror = trained.network(x), trained.network(x.flip(3))
    due = {"none": one, "sum": one + mirror, "concat": torch.cat([one, mirror], 1)}[flip]
    rows, norms = other.embed_with_norms([sample])
    np.testing.assert_allclose(rows, torch.nn.functional.normalize(due, dim=1), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(norms, due.norm(dim=1), rtol=1e-5)
    assert len(other.predict([sample])) == 1


def test_save_load_and_what_is_stored(trained: AMSoftmax, tmp_path: Path) -> None:
    trained.save(tmp_path / "model")
    again = AMSoftmax.load(tmp_path / "model", runtime=RUNTIME)
    samples = list(people(range(3)))
    assert np.array_equal(again.embed(samples), trained.embed(samples))
    assert again.predict(samples) == trained.predict(samples)
    assert again.fingerprint() == trained.fingerprint()
    assert (again.config.pixel_mean, again.config.pixel_std, again.config.channel_order) == (127.5, 128.0, "rgb")
    assert again.labels == tuple(f"p{number}" for number in range(8))


def test_the_mean_feature_is_subtracted(trained: AMSoftmax, tmp_path: Path) -> None:
    trained.save(tmp_path / "a")
    other = AMSoftmax.load(tmp_path / "a", runtime=RUNTIME)
    samples = list(people(range(4)))
    raw = other.outputs(samples)
    other.center_on(samples)
    expected = torch.nn.functional.normalize(raw - raw.mean(0), dim=1)
    np.testing.assert_allclose(other.embed(samples), expected, rtol=1e-4, atol=1e-6)
    other.save(tmp_path / "b")
    assert np.array_equal(AMSoftmax.load(tmp_path / "b", runtime=RUNTIME).embed(samples), other.embed(samples))
    other.center_on(None)
    assert np.array_equal(other.embed(samples), trained.embed(samples))


def test_a_model_without_its_head_embeds_and_says_why_it_can_do_no_more(tmp_path: Path) -> None:
    small = model(keep_head=False, epochs=1).fit(people(range(3), 3))
    small.save(tmp_path / "model")
    again = AMSoftmax.load(tmp_path / "model", runtime=RUNTIME)
    assert again.embed(list(people(range(1), 1))).shape == (1, 8)
    with pytest.raises(RunError, match="no class centres"):
        again.predict(list(people(range(1), 1)))
    tensors = again.state()["network"]
    assert not any("head" in name for name in tensors)


def test_what_is_watched_and_validated(tmp_path: Path) -> None:
    run = Run.create(tmp_path / "runs", model="amsoftmax", config={}, name="watched")
    with run.writing():
        model(epochs=2).fit(people(range(4)), people(range(20, 23), split="validation"), run=run)
    first, _ = read_metrics(run.metrics_path)
    for name in ("target_cosine", "hardest_cosine", "margin_satisfied", "accuracy", "feature_norm"):
        assert name in first
    for name in ("val_vr@far=1e-3", "val_vr@far=1e-2", "val_eer", "val_rank1"):
        assert 0 <= first[name] <= 1


@pytest.mark.parametrize("head", ["curricularface", "sphereface"])
def test_a_killed_training_ends_with_the_same_bits(head: str, tmp_path: Path) -> None:
    """Running statistics, the step of the annealing and the optimiser's memory are in the checkpoint."""

    class Stop:
        @hookimpl
        def quire_step_finished(self, step: int) -> None:
            if step == 3:
                raise KeyboardInterrupt

    options = {"head": head, "epochs": 3, "scale": None}
    whole = model(**options).fit(people(range(4), 5))
    run = Run.create(tmp_path / "runs", model="amsoftmax", config={}, name="killed")
    run.hooks.add("stop", Stop())
    with run.writing(), pytest.raises(KeyboardInterrupt):
        model(**options).fit(people(range(4), 5), run=run)
    again = Run.open(tmp_path / "runs/killed")
    with again.writing():
        resumed = model(**options).fit(people(range(4), 5), run=again)
    for name, tensor in whole.network.state_dict().items():
        assert torch.equal(tensor, resumed.network.state_dict()[name]), name
    for name, tensor in whole.head.state_dict().items():
        assert torch.equal(tensor, resumed.head.state_dict()[name]), name


def test_accumulation_counts_optimiser_steps() -> None:
    """Schedules and annealing are told of steps, not of the parts of a batch."""
    seen = []

    class Watch:
        @hookimpl
        def quire_step_finished(self, step: int) -> None:
            seen.append((step, accumulated.head.margin.step))

    options = {"head": "sphereface", "scale": None, "epochs": 2, "hflip": 0, "shift": 0}
    accumulated, whole = model(accumulate=4, **options), model(**options)
    data = people(range(4), 4)
    phases = accumulated.phases

    def watched(train: Any) -> Any:
        from dataclasses import replace

        return [replace(phase, observers={"watch": Watch()}) for phase in phases(train)]

    accumulated.phases = watched  # type: ignore[method-assign]
    accumulated.fit(data)
    whole.fit(data)
    assert seen == [(1, 0), (2, 1)]
    for name, tensor in whole.network.state_dict().items():
        torch.testing.assert_close(accumulated.network.state_dict()[name], tensor, rtol=1e-4, atol=1e-5)


def test_every_head_trains_from_the_configuration() -> None:
    for head in ("softmax", "normface", "cosface", "arcface", "combined", "subcenter", "adaface", "magface", "elastic"):
        one = model(head=head, scale=None, epochs=1, lr=0.001).fit(people(range(3), 3))
        assert np.isfinite(one.embed(list(people(range(1), 1)))).all(), head
    options = {"feature_norm": False, "margin_schedule": {"start": 0, "end": 0.4, "steps": 8000}}
    without = model(**options, scale=None, epochs=1).fit(people(range(3), 3))
    assert without.head.margin.m == 0.0
    sampled = model(sample_rate=0.5, grad_clip=None, epochs=2, scale=10.0).fit(people(range(8), 2))
    assert np.isfinite(sampled.embed(list(people(range(1), 1)))).all()


def test_old_centres_stay_when_identities_are_added(trained: AMSoftmax, tmp_path: Path) -> None:
    trained.save(tmp_path / "old")
    data = people(range(6, 11), 4)
    more = model(init_from=str(tmp_path / "old"), fine_tune="extend", epochs=1, lr=1e-6)
    more.fit(data)
    assert more.labels == (*trained.labels, "p10", "p8", "p9")
    torch.testing.assert_close(more.head.weight[:8], trained.head.weight, rtol=1e-3, atol=1e-4)
    features = torch.nn.functional.normalize(trained.outputs(list(people(range(10, 11), 4))), dim=1)
    direction = torch.nn.functional.normalize(features.mean(dim=0), dim=0)
    assert float(torch.nn.functional.normalize(more.head.weight[8], dim=0) @ direction) > 0.9999
    new = people(range(8, 11), 4)
    right = [name == sample["target"] for name, sample in zip(more.predict(list(new)), new, strict=True)]
    assert np.mean(right) > 0.5  # of eleven people


def test_a_backbone_is_fine_tuned_on_other_identities(trained: AMSoftmax, tmp_path: Path) -> None:
    trained.save(tmp_path / "old")
    other = model(init_from=str(tmp_path / "old"), epochs=1, lr=1e-7).fit(people(range(30, 33), 4))
    assert other.labels == ("p30", "p31", "p32")
    samples = list(people(range(4), 2))
    np.testing.assert_allclose(other.embed(samples), trained.embed(samples), atol=1e-3)
    with pytest.raises(ConfigError, match=r"has channel_order=rgb, not bgr"):
        model(init_from=str(tmp_path / "old"), channel_order="bgr").fit(people(range(3)))


def test_channel_orders() -> None:
    image = Image.fromarray(np.dstack([np.full(SIZE, value, dtype=np.uint8) for value in (10, 20, 30)]))
    orders = {
        order: to_pixels(
            [image], ["a"], AMSoftmaxConfig(input_size=SIZE, channel_order=order, pixel_mean=0, pixel_std=1)
        )
        for order in ("rgb", "bgr", "grey")
    }
    assert orders["rgb"][0, :, 0, 0].tolist() == [10, 20, 30]
    assert orders["bgr"][0, :, 0, 0].tolist() == [30, 20, 10]
    assert orders["grey"].shape == (1, 1, *SIZE)
    grey = to_pixels([image.convert("L")], ["a"], AMSoftmaxConfig(input_size=SIZE))
    assert torch.equal(grey[:, 0], grey[:, 2])


def test_augmentation() -> None:
    x = torch.arange(2 * 3 * 4 * 5, dtype=torch.float32).view(2, 3, 4, 5)
    rng = np.random.default_rng(0)
    mirrored = augment(x, AMSoftmaxConfig(hflip=1.0), rng)
    assert torch.equal(mirrored, x.flip(3))
    assert torch.equal(augment(x, AMSoftmaxConfig(hflip=0.0), rng), x)
    wide = torch.arange(20.0).expand(40, 1, 10, 20)
    shifted = augment(wide, AMSoftmaxConfig(hflip=0.0, shift=3), rng)
    moves = {int(row[0, 5, 10]) - 10 for row in shifted}
    assert moves == set(range(-3, 4))
    assert shifted.min() == 0
    assert shifted.max() == 19
    louder = augment(x + 1, AMSoftmaxConfig(hflip=0.0, gain=0.1), rng)
    ratios = (louder / (x + 1)).flatten(1)
    torch.testing.assert_close(ratios, ratios[:, :1].expand_as(ratios))
    assert not torch.allclose(ratios[0], ratios[1])


def test_learning_rates() -> None:
    paper = AMSoftmaxConfig()
    factor = rate_factor(paper, 30_000)
    assert [factor(step) for step in (0, 15_999, 16_000, 24_000, 29_999)] == pytest.approx([1, 1, 0.1, 0.01, 0.001])
    modern = rate_factor(AMSoftmaxConfig(preset="face-2026"), 1000)
    assert [modern(step) for step in (0, 49, 99, 100, 550, 999)] == pytest.approx(
        [0.01, 0.5, 1, 1, 0.5, 1 / 900], rel=1e-2
    )
    cycle = rate_factor(AMSoftmaxConfig(schedule="one_cycle"), 101)
    assert cycle(0) == pytest.approx(0.04)
    assert cycle(30) == pytest.approx(1.0)
    assert cycle(100) == pytest.approx(1e-5)


def test_parameter_groups() -> None:
    one = model(lr=0.1, head_lr_mult=3.0)
    one.facts = {"labels": ["a", "b"]}
    modules = {"network": one.build(), **one.build_training_only()}
    (optimization,) = optimizations(one.config, 10, modules["head"], modules, RUNTIME)
    weights, biases, head = optimization.optimizer.param_groups
    assert [group["initial_lr"] for group in (weights, biases, head)] == pytest.approx([0.1, 0.2, 0.3])
    assert [group["weight_decay"] for group in (weights, biases, head)] == [5e-4, 0.0, 5e-4]
    assert len(biases["params"]) == 5
    assert head["params"][0] is modules["head"].weight


def test_bad_images_and_data(caplog: pytest.LogCaptureFixture) -> None:
    wrong = {"id": "a.jpg", "image": picture(0, 0, (18, 16)), "target": "p0"}
    with pytest.raises(InvalidSample, match=r"sample a\.jpg, field image: .*18 x 16 .*looks transposed.* 16 x 18"):
        model().collate([wrong])
    with pytest.raises(InvalidSample, match=r"is 20 x 20 .*takes 16 x 18\. Align the images"):
        model().collate([{**wrong, "image": picture(0, 0, (20, 20))}])
    assert model(resize="area").collate([wrong])["x"].shape == (1, 3, *SIZE)
    with pytest.raises(DataError, match="has 1 of 1 identities to train on"):
        model().fit(people(range(1)))
    with pytest.raises(DataError, match=r"no identity 'p77'"):
        model(exclude_ids=["p77"]).fit(people(range(3)))
    with pytest.raises(DataError, match="no pairs to verify"):
        model().fit(people(range(3)), people(range(20, 24), 1, "validation"))
    with caplog.at_level(logging.INFO):
        left = model(exclude_ids=["p1"], epochs=1).fit(people(range(4), 1))
    assert left.labels == ("p0", "p2", "p3")
    assert "1 of 4 identities are left out, with 1 images" in caplog.text
    assert "3 of 3 identities have a single image" in caplog.text
    assert "scale 10.0 for 3 classes" in caplog.text


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"head": "arcfac"}, "head"),
        ({"sample_rate": 0.5}, "grad_clip needs whole gradients"),
        ({"sampler": "balanced", "batch_size": 18}, "no multiple of images_per_id"),
        ({"head": "arcface", "margin_gate": "positive"}, "margin_gate is an option of amsoftmax"),
        ({"pixel_std": 0}, "greater than 0"),
    ],
)
def test_options_that_do_not_go_together(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        model(**options)


def test_balanced_batches() -> None:
    one = model(sampler="balanced", images_per_id=2, batch_size=6)
    data = people(range(5), 4)
    for batch in one.phases(data)[0].sampler.batches(0):
        names = [data.target(index) for index in batch]
        assert len(names) == 6
        assert all(names.count(name) == 2 for name in names)


def test_presets() -> None:
    paper, modern = AMSoftmaxConfig(preset="paper"), AMSoftmaxConfig(preset="face-2026", batch_size=512)
    assert paper.model_dump(exclude={"preset"}) == AMSoftmaxConfig().model_dump(exclude={"preset"})
    assert (paper.max_steps, paper.batch_size, paper.input_size) == (30_000, 256, (112, 96))
    assert (modern.backbone, modern.scale, modern.margin, modern.batch_size) == ("iresnet50", 64.0, 0.4, 512)


def test_export_equals_embed(trained: AMSoftmax, tmp_path: Path) -> None:
    samples = list(people(range(3), 2))
    path = trained.export(tmp_path / "net.pt2", format="pt2", example=samples)
    module = torch.export.load(path).module()
    np.testing.assert_allclose(module(trained.collate(samples)["x"]).detach(), trained.embed(samples), atol=1e-5)
