"""Checkpoints: all that a training needs to go on after its last step as if it had never stopped."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from quire.errors import RunError, Where
from quire.storage import content_hash, load_tree

if TYPE_CHECKING:
    from quire.training.loop import Trainer


def checkpoint_state(trainer: Trainer, *, fresh: bool) -> dict[str, Any]:
    """The tree of a checkpoint; `fresh`: the phase has not begun yet."""
    context = trainer.context
    learning = {
        "optimizers": [o.optimizer.state_dict() for o in context.optimizations],
        "schedules": [o.schedule.state_dict() if o.schedule is not None else None for o in context.optimizations],
        "scaler": context.scaler.state_dict(),
        "step": context.step,
        "epoch": context.epoch,
        "batch": trainer.batch_number,
        "part_size": trainer.part_size,
        "best": trainer.best,
        "best_weights": trainer.best_weights,
        "totals": trainer.totals,
        "samples": trainer.samples,
        "seconds": trainer.seconds,
    }
    return {
        "fingerprint": _fingerprint(trainer),
        "phase": trainer.phase_number,
        "fresh": fresh,
        "modules": {name: module.state_dict() for name, module in trainer.modules.items()},
        "learning": None if fresh else learning,
        "random": trainer.runtime.random_state(),
        "hooks": trainer.hooks.state_dict(),
    }


def read_checkpoint(trainer: Trainer) -> dict[str, Any] | None:
    """The tree of the run's checkpoint, None without one. RunError if it is that of another training."""
    if trainer.run is None or not trainer.run.checkpoint_path.is_file():
        return None
    state: dict[str, Any] = load_tree(trainer.run.checkpoint_path)
    if state["fingerprint"] != _fingerprint(trainer):
        raise RunError(
            "the configuration or the training data (its labels, shape or number of samples) changed since the checkpoint",
            where=Where(file=trainer.run.checkpoint_path),
            remedy="Resume with the same data, or start a new run.",
        )
    return state


def restore_checkpoint(trainer: Trainer, state: dict[str, Any]) -> None:
    """Become the trainer whose checkpoint `state` is, at the same step of the same phase."""
    for name, module in trainer.modules.items():
        module.load_state_dict(state["modules"][name])
    if state["fresh"]:
        return
    learning, context, device = state["learning"], trainer.context, trainer.runtime.torch_device
    for optimization, saved in zip(context.optimizations, learning["optimizers"], strict=True):
        optimization.optimizer.load_state_dict(saved)
    for optimization, saved in zip(context.optimizations, learning["schedules"], strict=True):
        if optimization.schedule is not None:
            optimization.schedule.load_state_dict(saved)
    context.scaler.load_state_dict(learning["scaler"])
    context.step, context.epoch = learning["step"], learning["epoch"]
    trainer.batch_number, trainer.part_size = learning["batch"], learning["part_size"]
    trainer.best, trainer.best_weights = learning["best"], learning["best_weights"]
    trainer.totals = {name: total.to(device) for name, total in learning["totals"].items()}
    trainer.samples, trainer.seconds = learning["samples"], learning["seconds"]
    if trainer.runtime.processes == 1:
        trainer.runtime.restore_random_state(state["random"])
    else:
        trainer.runtime.seed_everything(trainer.phase_number, trainer.runtime.rank, context.step)


def _fingerprint(trainer: Trainer) -> str:
    facts = {"facts": trainer.model.facts, "config": trainer.model.config.model_dump(mode="json")}
    return content_hash({**facts, "samples": len(trainer.train_set), "seed": trainer.runtime.seed})
