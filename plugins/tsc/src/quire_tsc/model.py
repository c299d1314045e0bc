"""tsc: a classifier of time series, by any of the review's networks, InceptionTime or MiniRocket."""

from __future__ import annotations

import json
from functools import partial
from typing import TYPE_CHECKING, Any, Self, cast

import numpy as np
import torch
from torch import Tensor, nn

from quire.dataset import Dataset, Subset, stratified_split
from quire.errors import ConfigError, DataError, Where
from quire.model import Classifier, Demo, Embedder, Explainer, Explanation, Exporter
from quire.runtime import in_batches_that_fit
from quire.task import SERIES_CLASSIFICATION
from quire.training import ByCount, Every, NeuralModel, Phase, Selection
from quire.training.export import export_network
from quire_tsc.answers import Probabilities, sliced_embedding, sliced_probabilities
from quire_tsc.architectures import CLOSED_FORM, POOLED, SLICED
from quire_tsc.augment import Slicing, vote_error
from quire_tsc.cam import class_activation_map, plot_class_activation_maps
from quire_tsc.config import Recipe, TSCConfig, batch_size, recipe_of
from quire_tsc.construction import Construction, Members
from quire_tsc.fold import fold_batchnorm
from quire_tsc.grouped import GroupTraining, can_group, detach_member, fit_seeds, is_worth_grouping
from quire_tsc.minirocket import MiniRocketModel, fit_minirocket_model
from quire_tsc.preprocess import Preprocessing
from quire_tsc.recalibrate import recalibrate_batchnorm
from quire_tsc.training import UpdatePatience, optimization
from quire_tsc.twiesn import TWIESN, fit_twiesn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from quire.modality import Sample
    from quire.run import Run
    from quire.runtime import Runtime
    from quire.training import Part, StepContext
    from quire.training.export import Format
    from quire_tsc.networks import Network, PooledNetwork

Batch = dict[str, Tensor | None]


class TSC(NeuralModel, Classifier, Embedder, Explainer, Exporter):
    """Time-series classification (Ismail Fawaz et al., DMKD 2019; InceptionTime, DMKD 2020).

    Samples: "series" float32 [channels, length], NaN = missing; "target" the class as text. Series of other lengths
    and missing values are dealt with as the configuration says; what that needs is learned from the training series.
    """

    Config = TSCConfig
    config: TSCConfig
    task = SERIES_CLASSIFICATION
    formats = ("onnx", "torchscript", "pt2")
    demo = Demo(
        dataset="time-series",
        settings={"architecture": "fcn", "n_epochs": 40},
        inputs=lambda data: sorted(data.glob("*_TEST.*"))[:1],
        quick={"n_epochs": 5},
    )

    def __init__(self, config: TSCConfig | None = None, *, runtime: Runtime | None = None) -> None:
        super().__init__(config, runtime=runtime)
        self._closed_form: TWIESN | MiniRocketModel | None = None
        self._folded: list[Network] | None = None
        self._together: Sequence[Runtime] = ()  # of the models whose networks this one trains in their place
        self._has_validation = False
        self._group: GroupTraining | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes of the training data; integers in numeric order. RunError before `fit` or `load`."""
        return tuple(self.fact("labels"))

    @property
    def preprocessing(self) -> Preprocessing:
        """What is done to series before the network, fitted on the training series. RunError before `fit` or `load`."""
        return Preprocessing.from_json(self.fact("preprocessing"))

    @property
    def can_explain(self) -> bool:
        """Class activation maps exist for networks that end in global average pooling."""
        return self.config.architecture in POOLED

    def place(self) -> None:
        """Move the network; the folded copy is made anew."""
        self._folded = None
        super().place()

    def study(self, train: Dataset) -> dict[str, Any]:
        """Labels, channels, length, number of cases, and the fitted preprocessing."""
        if not len(train):
            raise DataError(f"{train.name} has no samples to train on")
        if len(train.labels) < 2:
            raise DataError(
                f"all samples of {train.name} are of the class {train.labels[0]!r}",
                remedy="A classifier needs series of at least two classes.",
            )
        config = self.config
        preprocessing = Preprocessing.fit(
            [train[index]["series"] for index in range(len(train))],
            normalize=config.normalize,
            unequal=config.unequal,
            interpolation=config.interpolation,
            missing=config.missing,
        )
        counts = np.bincount([train.labels.index(str(train.target(i))) for i in range(len(train))])
        return {
            "labels": list(train.labels),
            "counts": counts.tolist(),
            "preprocessing": preprocessing.to_json(),
        }

    # -- networks

    @property
    def construction(self) -> Construction:
        """What the networks are built from. RunError before `fit` or `load`."""
        return Construction(
            self.config, self.preprocessing, len(self.labels), sum(self.facts["counts"]), self.facts.get("mcnn")
        )

    def build(self) -> nn.Module:
        """The configured network; several for an ensemble or, before its choice, MCNN's grid."""
        return self.construction.build()

    def _slicing(self) -> Slicing:
        """How series are cut, of an architecture that takes slices."""
        return cast("Slicing", self.construction.slicing)

    def _networks(self) -> list[Network]:
        """The networks whose answers are averaged, folded for inference."""
        if self._folded is None:
            network = self.network
            members = list(network) if isinstance(network, Members) else [cast("Network", network)]
            self._folded = [fold_batchnorm(member) for member in members]
        return self._folded

    # -- training

    def fit(
        self,
        train: Dataset,
        validation: Dataset | None = None,
        *,
        runtime: Runtime | None = None,
        run: Run | None = None,
    ) -> Self:
        """Train as the recipe says; see Model.fit. A part of `train` is held out where selection needs it."""
        self._folded = None
        if self.config.architecture in CLOSED_FORM:
            return self._fit_closed_form(train, runtime or self.runtime)
        recipe = recipe_of(self.config)
        if recipe.select == "val_loss" and validation is None:
            train, validation = self._hold_out(train, recipe, (runtime or self.runtime).seed)
        self._selects_on_validation = recipe.select == "val_loss" and validation is not None
        self._has_validation = validation is not None
        super().fit(train, validation, runtime=runtime, run=run)
        if self._group is not None:
            for member in cast("Members", self.network):
                detach_member(member)
            self._group = None
        if self.config.architecture == "mcnn":
            self._choose(validation if validation is not None else train)
        return self

    @property
    def can_group_seeds(self) -> bool:
        """Whether models of this configuration with several seeds can be trained as one network."""
        return can_group(self.config)

    def should_group_seeds(self, train: Dataset, runtime: Runtime) -> bool:
        """Whether that is the faster way on `train`, or asked for by group_seeds=true."""
        if (
            not self.can_group_seeds or self.config.architecture == "inception_time"
        ):  # an ensemble is a group of its own
            return False
        length = max(np.shape(train[index]["series"])[-1] for index in range(len(train)))
        return is_worth_grouping(self.config, cases=len(train), length=length, runtime=runtime)

    @classmethod
    def fit_seeds(cls, models: Sequence[TSC], train: Dataset, runtimes: Sequence[Runtime]) -> None:
        """Train models[k] as `models[k].fit(train, runtime=runtimes[k])` would, all at once.

        Equal but for rounding. ConfigError for models of different configurations, or of one that can't be grouped.
        """
        fit_seeds(models, train, runtimes)

    def lead(self, members: Sequence[Network], facts: dict[str, Any], runtimes: Sequence[Runtime]) -> None:
        """Be the model that core's loop trains in place of several, of whose networks each has its own seed."""
        self.facts, self._network, self._together = facts, Members(members), runtimes

    def adopt(self, network: Network) -> None:
        """Take over a network that was trained for this model's facts."""
        self._network, self._folded = network.eval(), None

    def _grouped(self, train: Dataset) -> Sequence[Runtime]:
        """The runtime of every network, if they are to be trained as a group."""
        config = self.config
        if self._together or config.architecture != "inception_time" or self._has_validation or not can_group(config):
            return self._together
        length = self.preprocessing.length
        worth = is_worth_grouping(config, cases=len(train), length=length, runtime=self.runtime)
        return [self.runtime] * config.inception.n_ensemble if worth else ()

    def _hold_out(self, train: Dataset, recipe: Recipe, seed: int) -> tuple[Dataset, Dataset | None]:
        """A part for selection, with every class in both; without one where a class has a single case.

        Raises DataError in that case if the user asked for the selection.
        """
        targets = [str(train.target(index)) for index in range(len(train))]
        single = [label for label in train.labels if targets.count(label) == 1]
        if single:
            if self.config.select == "val_loss":
                raise DataError(
                    f"class {single[0]!r} has one case, and selection by validation needs two of every class",
                    where=Where(field="select"),
                    remedy="Use select=train_loss, or give a validation split with --validation.",
                )
            return train, None
        kept, held = stratified_split(targets, recipe.held_out, seed)
        return Subset(train, kept.tolist()), Subset(train, held.tolist(), split="validation")

    def phases(self, train: Dataset) -> list[Phase]:
        """One phase, or one per member."""
        recipe = recipe_of(self.config)
        network = self.network
        if runtimes := self._grouped(train):
            self._group = GroupTraining(
                list(cast("Members", network)),
                recipe,
                samplers=[self._sampler(recipe, len(train), runtime.seed) for runtime in runtimes],
                runtimes=runtimes,
                weight=self._class_weight(self.runtime.torch_device),
            )
            return [self._group.phase()]
        if not isinstance(network, Members):
            return [self._phase("train", "network", cast("Network", network), recipe, train)]
        return [
            self._phase(f"network {number + 1}", f"network.members.{number}", member, recipe, train)
            for number, member in enumerate(network)
        ]

    def _phase(self, name: str, path: str, network: Network, recipe: Recipe, train: Dataset) -> Phase:
        validated = self._selects_on_validation
        selection = Selection("val_loss" if validated else "loss", ties="last" if validated else "first")
        mcnn = self.config.architecture == "mcnn" and validated
        return Phase(
            name=name,
            trains=path,
            optimizers=lambda modules, runtime: [optimization(recipe, network, runtime)],
            sampler=self._sampler(recipe, len(train), self.runtime.seed),
            step=partial(self._losses, network),
            epochs=recipe.epochs,
            select=None if recipe.select == "last" else selection,
            patience=self.config.early_stopping_patience,
            observers={"update-patience": UpdatePatience(name)} if mcnn else {},
            max_seconds=self.config.max_seconds,
            report=Every(epochs=1),
        )

    def _sampler(self, recipe: Recipe, cases: int, seed: int) -> ByCount:
        if self.config.architecture not in SLICED:
            return ByCount(cases, batch_size(recipe, cases), seed)
        slices = cases * self._slices_per_series()
        if self.config.architecture == "tlenet":
            return ByCount(slices, batch_size(recipe, cases), seed)
        chosen = self.config.mcnn.shuffle
        shuffle = chosen if chosen is not None else self.config.recipe == "fast"
        return ByCount(slices, recipe.batch or mcnn_batch(slices), seed, shuffle=shuffle)

    def _slices_per_series(self) -> int:
        fitted = self.preprocessing
        return self._slicing().slices(torch.zeros(1, 1, fitted.length)).per_series

    def loader(
        self, dataset: Dataset, *, training: bool
    ) -> Callable[[Sequence[int], np.random.Generator | None], Batch]:
        """The whole set, preprocessed once and held on the device; in training mcnn and tlenet draw from its slices."""
        whole = self.collate([dataset[index] for index in range(len(dataset))])
        x, y, mask = (self.runtime.move(whole[name]) for name in ("x", "y", "mask"))
        if training and self.config.architecture in SLICED:
            slices = self._slicing().slices(x)

            def load_slices(indices: Sequence[int], rng: np.random.Generator | None) -> Batch:
                chosen = torch.as_tensor(indices, device=x.device)
                return {"x": slices.take(chosen), "y": y[slices.series(chosen)], "mask": None}

            return load_slices

        def load(indices: Sequence[int], rng: np.random.Generator | None) -> Batch:
            chosen = torch.as_tensor(indices, device=x.device)
            return {"x": x[chosen], "y": y[chosen], "mask": mask[chosen] if mask is not None else None}

        return load

    def collate(self, samples: Sequence[Sample], rng: np.random.Generator | None = None) -> Batch:
        """x float32 [n, channels, length], mask bool [n, length] or None, and y int64 [n] where there are targets."""
        ids = [str(sample.get("id", number)) for number, sample in enumerate(samples)]
        x, mask = self.preprocessing.apply(
            [sample["series"] for sample in samples], ids=ids, any_length=self.config.architecture in POOLED
        )
        batch: Batch = {"x": torch.from_numpy(x), "mask": torch.from_numpy(mask) if mask is not None else None}
        if all("target" in sample for sample in samples):
            columns = {label: column for column, label in enumerate(self.labels)}
            batch["y"] = torch.tensor([columns.get(str(sample["target"]), -1) for sample in samples])
        return batch

    def step(self, batch: Batch) -> dict[str, Tensor]:
        """Loss and accuracy of a single network; the phases of several have steps of their own."""
        return self._losses(cast("Network", self.network), batch)

    def _losses(self, network: Network, batch: Batch) -> dict[str, Tensor]:
        target = cast("Tensor", batch["y"])
        logits = network(batch["x"], batch["mask"])
        correct = (logits.detach().argmax(dim=1) == target).float().mean()
        return {"loss": network.loss(logits, target, self._class_weight(target.device)), "accuracy": correct}

    def _class_weight(self, device: torch.device) -> Tensor | None:
        if self.config.class_weight is None:
            return None
        counts = torch.tensor(self.facts["counts"], dtype=torch.float32, device=device)
        return counts.sum() / (len(counts) * counts)

    def validate(self, phase: Phase, batches: Iterator[tuple[Any, int]]) -> dict[str, float]:
        """Loss and accuracy; for sliced series the vote's error (mcnn's measure) and accuracy."""
        if self.config.architecture not in SLICED:
            return super().validate(phase, batches)
        network = cast("Network", self._phase_network(phase))
        errors, correct, samples = 0.0, 0.0, 0
        for batch, count in batches:
            shares = sliced_probabilities(network, self._slicing(), batch["x"], "vote")
            errors += vote_error(shares, batch["y"]) * count
            correct += float((shares.argmax(dim=1) == batch["y"]).sum())
            samples += count
        return {"loss": errors / samples, "accuracy": correct / samples}

    def _phase_network(self, phase: Phase) -> nn.Module:
        return self.network.get_submodule(phase.trains.partition(".")[2])

    def training_step(self, parts: Sequence[Part], context: StepContext) -> dict[str, Tensor]:
        """One step of the phase's network, or of the group's."""
        if self._group is not None:
            return self._group.training_step(parts, context)
        return super().training_step(parts, context)

    def settle(self, phase: Phase, batches: Callable[[], Iterator[Batch]]) -> None:
        """Recompute batch-norm statistics over the training set, if the recipe says so (sec. 3.5)."""
        if self._group is not None:
            self._group.choose()
        recalibrate = self.config.recalibrate_bn
        if recalibrate if recalibrate is not None else self.config.recipe == "fast":
            network = self._group.network if self._group is not None else self._phase_network(phase)
            recalibrate_batchnorm(network, lambda: ((batch["x"], batch["mask"]) for batch in batches()))  # type: ignore[misc]

    def _choose(self, validation: Dataset) -> None:
        """Keep the grid point of the lowest vote error on `validation`, the first of equals."""
        whole = self.runtime.move(self.collate([validation[index] for index in range(len(validation))]))
        slicing = self._slicing()
        errors = [
            vote_error(sliced_probabilities(member.eval(), slicing, whole["x"], "vote"), whole["y"])
            for member in cast("Members", self.network)
        ]
        winner = int(np.argmin(errors))
        self.facts["mcnn"] = self.construction.grid[winner]
        self._network = self.network.get_submodule(f"members.{winner}")

    def _fit_closed_form(self, train: Dataset, runtime: Runtime) -> Self:
        self.runtime = runtime
        self.facts = self.study(train)
        runtime.begin()
        batch = self.collate([train[index] for index in range(len(train))])
        x, y = cast("Tensor", batch["x"]), cast("Tensor", batch["y"]).numpy()
        if self.config.architecture == "twiesn":
            chosen = self.config.twiesn.refit
            refit = chosen if chosen is not None else self.config.recipe == "fast"
            self._closed_form = fit_twiesn(x.numpy(), y, len(self.labels), seed=runtime.seed, refit=refit)
        else:
            options = self.config.minirocket
            self._closed_form = fit_minirocket_model(
                x, y, len(self.labels), head=options.head, features=options.features, seed=runtime.seed
            )
        return self

    # -- prediction

    def forward(self, batch: Batch) -> Tensor:
        """Probabilities [n, classes], the mean over the members of an ensemble."""
        x, mask = cast("Tensor", batch["x"]), batch["mask"]
        if self.config.architecture in SLICED:
            (network,) = self._networks()
            return sliced_probabilities(network, self._slicing(), x, self.config.aggregate)
        return torch.stack([network.probabilities(network(x, mask)) for network in self._networks()]).mean(dim=0)

    def predict_proba(self, samples: Sequence[Sample]) -> NDArray[np.float32]:
        """Probabilities float32 [n, classes], columns in the order of `labels`."""
        if self._closed_form is None:
            return self.outputs(samples).numpy()
        if not samples:
            raise DataError("there are no samples to predict")
        checked = [self.task.check(sample, index=index) for index, sample in enumerate(samples)]
        x = cast("Tensor", self.collate(checked)["x"])
        if isinstance(self._closed_form, TWIESN):
            return self._closed_form.predict_proba(x.numpy())
        return self._closed_form.predict_proba(x)

    def embed(self, samples: Sequence[Sample]) -> NDArray[np.float32]:
        """The vector before the last layer, float32 [n, dim]; of an ensemble, those of its members side by side.

        For mcnn and tlenet it is the mean over a series' slices. ConfigError for twiesn and minirocket.
        """
        if self._closed_form is not None:
            raise ConfigError(f"{self.config.architecture} has no embedding", remedy="Train one of the networks.")

        def work(some: Sequence[Sample]) -> Tensor:
            batch = self.runtime.move(self.collate(some))
            with torch.inference_mode():
                return torch.cat([self._embedded(network, batch) for network in self._networks()], dim=1).float().cpu()

        if not samples:
            raise DataError("there are no samples to embed")
        parts = in_batches_that_fit(samples, self.prediction_batch, work)
        return torch.cat([cast("Tensor", part) for part in parts]).numpy()

    def _embedded(self, network: Network, batch: Batch) -> Tensor:
        x = cast("Tensor", batch["x"])
        if self.config.architecture in SLICED:
            return sliced_embedding(network, self._slicing(), x)
        return network.embed(x, batch["mask"])

    def class_activation_maps(self, samples: Sequence[Sample]) -> list[NDArray[np.float32]]:
        """CAM_c(t) of every class, float32 [classes, length] per sample (sec. 5.1); an ensemble's is its mean.

        ConfigError for a network that does not end in global average pooling.
        """
        if not self.can_explain:
            raise ConfigError(
                f"{self.config.architecture} has no class activation map",
                remedy="Train architecture=fcn, resnet, inception or inception_time.",
            )
        batch = self.runtime.move(self.collate(samples))
        networks = [cast("PooledNetwork", network) for network in self._networks()]
        maps = torch.stack([class_activation_map(network, batch["x"], batch["mask"]) for network in networks]).mean(0)
        mask = batch["mask"]
        lengths = mask.sum(dim=1).tolist() if mask is not None else [maps.shape[2]] * len(maps)
        return [one[:, :length].cpu().numpy() for one, length in zip(maps, lengths, strict=True)]

    def explain(self, samples: Sequence[Sample]) -> Iterator[Explanation]:
        """The series, coloured by the activation map of its predicted class."""
        maps = self.class_activation_maps(samples)
        batch = self.collate(samples)
        for number, (sample, label) in enumerate(zip(samples, self.predict(samples), strict=True)):
            heat = maps[number][self.labels.index(label)]
            series = cast("Tensor", batch["x"])[number, :, : len(heat)].numpy()
            identifier = str(sample.get("id", number))
            figure = plot_class_activation_maps([series], [heat], titles=[f"{identifier}: predicted {label}"])
            yield Explanation(identifier, figure, {"cam": maps[number]})

    def export(self, path: Path, *, format: str, example: Sequence[Sample]) -> Path:
        """Write the prediction as one network: preprocessed series in, probabilities out; see `export_network`.

        Input "series" float32 [n, channels, length]: what `preprocessing.apply` gives, of the training length. With
        unequal=pad the pooled networks also take "mask" bool [n, length]. Output "probabilities" float32 [n, classes].
        The file's metadata hold "labels" and "preprocessing" as JSON. ConfigError for twiesn and minirocket.
        """
        if self._closed_form is not None:
            raise ConfigError(
                f"{self.config.architecture} can't be exported", remedy="Train one of the networks, such as fcn."
            )
        if not example:
            raise DataError("an export needs at least one example")
        fitted = self.preprocessing
        x, mask = fitted.apply([sample["series"] for sample in example])
        inputs = {"series": torch.from_numpy(x)}
        if fitted.unequal == "pad" and self.can_explain:
            inputs["mask"] = torch.ones(len(x), x.shape[2]).bool() if mask is None else torch.from_numpy(mask)
        slicing = self._slicing() if self.config.architecture in SLICED else None
        return export_network(
            Probabilities(self._networks(), slicing, self.config.aggregate),
            tuple(inputs.values()),
            path,
            format=cast("Format", format),
            input_names=tuple(inputs),
            output_names=("probabilities",),
            metadata={"labels": json.dumps(self.labels), "preprocessing": json.dumps(fitted.to_json())},
        )

    # -- state

    def state(self) -> dict[str, Any]:
        """The facts, and the network's tensors or the closed form's arrays."""
        if self._closed_form is None:
            return super().state()
        return {"facts": self.facts, "closed_form": self._closed_form.to_arrays()}

    def restore(self, state: dict[str, Any]) -> None:
        """The inverse of `state`."""
        self._folded = None
        if "closed_form" not in state:
            super().restore(state)
            return
        self.facts = state["facts"]
        kind = TWIESN if self.config.architecture == "twiesn" else MiniRocketModel
        self._closed_form = kind.from_arrays(state["closed_form"])


def mcnn_batch(slices: int) -> int:
    """MCNN's batch: ten a pass, or more where ten would be larger than 256 slices (sec. 3.2)."""
    batches = slices // 256 if slices // 10 > 256 else 10
    return max(1, slices // batches)
