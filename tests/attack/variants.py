"""The shapes of run that are attacked: every kind of learning, of task order and of retention."""

from __future__ import annotations

from dataclasses import dataclass

_SELECTOR = "buffer.explorer_input.taskset.data_selector"


@dataclass(frozen=True, slots=True)
class Variant:
    """One shape of run."""

    name: str
    settings: tuple[str, ...] = ()
    """For `--set`, over what `program.py` says."""

    @property
    def never(self) -> set[str]:
        """Kinds of write that no run of this shape does."""
        return set() if any("keep_last" in s for s in self.settings) else {"checkpoint retired"}

    @property
    def options(self) -> list[str]:
        """Of `astuner run`: deterministic, so that runs can be compared bit by bit."""
        settings = ("deterministic=true", "name=run", *self.settings)
        return [part for setting in settings for part in ("--set", setting)]


_REPLAY = "buffer.trainer_input.experience_buffer.replay_buffer"
_OPERATORS = "data_processor.experience_pipeline.operators"
_LORA = "model.lora.rank=4"
_SFT = "algorithm.algorithm_type=sft"
_BEST = "trainer.keep_best=eval/test/reward/mean"

VARIANTS = (
    Variant("full tuning"),
    Variant("LoRA", (_LORA,)),
    Variant("sft", (_SFT,)),
    Variant("sft of adapters, the last kept", (_SFT, _LORA, "trainer.keep_last=1")),
    Variant(
        "weights every second step, a batch ahead, replay, groups replaced",
        (
            *("synchronizer.sync_interval=2", "synchronizer.sync_offset=1"),
            *("buffer.train_batch_size=24", f"{_REPLAY}.enable=true"),
            f"{_REPLAY}.reuse_cooldown_time=0",
            f"{_OPERATORS}=[{{name: dapo_dynamic_sampling, args: {{correct_threshold: 1}}}}]",
        ),
    ),
    Variant(
        "a batch ahead, in turns, a nucleus",
        ("synchronizer.sync_offset=1", "synchronizer.overlap=false", "model.top_p=0.9"),
    ),
    Variant("several updates a step", ("buffer.train_batch_size=4",)),
    Variant(
        "several updates a step, a reference, a cosine learning rate",
        (
            *("buffer.train_batch_size=4", "algorithm.optimizer.lr_scheduler_type=cosine"),
            *("algorithm.kl_loss_fn=low_var_kl", "algorithm.kl_loss_fn_args.kl_coef=0.1"),
        ),
    ),
    Variant("LoRA, the last and the best kept", (_LORA, "trainer.keep_last=1", _BEST)),
    Variant("the last two kept", ("trainer.keep_last=2",)),
    Variant(
        "the last and the best kept, evaluated after every step",
        ("trainer.keep_last=1", _BEST, "explorer.eval_interval=1"),
    ),
    Variant("saved after every second step", ("trainer.save_interval=2",)),
    Variant("tasks in their order", (f"{_SELECTOR}.selector_type=sequential",)),
    Variant("random tasks", (f"{_SELECTOR}.selector_type=random",)),
    Variant(
        "easy tasks first",
        (f"{_SELECTOR}.selector_type=offline_easy2hard", f"{_SELECTOR}.feature_keys=[weak]"),
    ),
    Variant(
        "tasks by their difficulty",
        (
            f"{_SELECTOR}.selector_type=difficulty_based",
            f"{_SELECTOR}.feature_keys=[weak, strong]",
            f"{_SELECTOR}.kwargs.do_sample=true",
        ),
    ),
)
