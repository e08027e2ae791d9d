"""Cases against TRL, and against verl for what the other two have no word for."""

from __future__ import annotations

from functools import partial
from typing import Any

from agreement.cases import PART, Case, ours
from agreement.ours import distilled, value_loss, whole_distributions

UNCLIPPED = 1e9
"""`clip_ratio_c` where there is no dual clip."""
SINGLE = {"policy_loss_fn_args": {"clip_ratio_c": UNCLIPPED}}
TRL_EPSILON = {"advantage_fn_args": {"epsilon": 1e-4}}


def trl(
    algorithm_type: str,
    what: str,
    settings: dict[str, Any] | None = None,
    there: dict[str, Any] | None = None,
    trainer: str = "grpo",
    **more: Any,
) -> Case:
    """One against a trainer of TRL; a loss is that of the draw's own advantages."""
    compared = more.setdefault("compared", PART)
    answer = ours(algorithm_type, given=compared != ("advantage",), **(settings or {}))
    part = "advantage" if compared == ("advantage",) else "loss"
    theirs = {"trainer": trainer, "settings": there or {}, "samples": 4, "part": part}
    return Case(algorithm_type, what, "TRL", answer, theirs, **more)


def sequence(epsilon: float, high: float) -> dict[str, Any]:
    """TRL's settings for the ratio of a whole sample."""
    level = {"importance_sampling_level": "sequence", "loss_type": "grpo"}
    return {**level, "epsilon": epsilon, "epsilon_high": high}


def advantage_cases() -> list[Case]:
    """Advantages from rewards."""
    of = {"compared": ("advantage",)}
    gdpo = {"rewards": {"first": 1.0, "second": 1.0}}
    together = {"multi_objective_aggregation": "normalize_then_sum"}
    return [
        trl("grpo", "advantage, `epsilon: 0.0001`", TRL_EPSILON, **of),
        trl("grpo", "advantage", differs="`epsilon` is 1e-6", **of),
        trl(
            "grpo",
            "advantage, batch level",
            {"advantage_fn_args": {"epsilon": 1e-4, "std_cal_level": "batch"}},
            {"scale_rewards": "batch"},
            **of,
        ),
        trl("dr_grpo", "advantage", {}, {"scale_rewards": "none"}, **of),
        trl("rloo", "advantage", trainer="rloo", **of),
        trl(
            "gdpo",
            "advantage, `epsilon: 0.0001`",
            {"advantage_fn_args": {**gdpo, "epsilon": 1e-4}},
            together,
            differs="`gdpo` whitens over the root of the variance plus 1e-8",
            **of,
        ),
    ]


def loss_cases() -> list[Case]:
    """Losses of given advantages."""
    on_policy = {"on_policy": True, "spread": 0.0}
    cispo = {"epsilon_high": 1.28, "loss_type": "cispo"}
    return [
        trl("grpo", "loss, `token-mean`", SINGLE, {"loss_type": "dapo"}),
        trl(
            "grpo",
            "loss, `seq-mean-token-mean`",
            {**SINGLE, "loss_agg_mode": "seq-mean-token-mean"},
            {"loss_type": "grpo"},
        ),
        trl("grpo", "loss, `token-mean` of the batch", SINGLE, {"loss_type": "bnpo"}),
        trl(
            "grpo",
            "loss",
            {},
            {"loss_type": "dapo"},
            draws={"spread": 1.5},
            differs="the dual clip is on, at 3",
        ),
        trl("grpo", "loss, `delta: 3`", {}, {"loss_type": "dapo", "delta": 3.0}),
        trl(
            "grpo",
            "loss, `k3` of 0.04",
            {**SINGLE, "kl_loss_fn": "k3", "kl_loss_fn_args": {"kl_coef": 0.04}},
            {"loss_type": "dapo", "beta": 0.04, "use_bias_correction_kl": False},
        ),
        trl(
            "grpo",
            "loss, corrected `k3`, no ratio above 2",
            {**SINGLE, "kl_loss_fn": "corrected_k3", "kl_loss_fn_args": {"kl_coef": 0.04}},
            {"loss_type": "dapo", "beta": 0.04},
            draws={"spread": 0.1},
        ),
        trl(
            "grpo",
            "loss, corrected `k3`",
            {**SINGLE, "kl_loss_fn": "corrected_k3", "kl_loss_fn_args": {"kl_coef": 0.04}},
            {"loss_type": "dapo", "beta": 0.04},
            draws={"spread": 1.5},
            differs="the ratio that corrects `k3` is bounded by 2",
        ),
        trl(
            "grpo",
            "loss, sequences masked",
            {"policy_loss_fn_args": {"clip_ratio_c": UNCLIPPED, "enable_sequence_masking": True}},
            {"loss_type": "dapo", "off_policy_mask_threshold": 0.1},
        ),
        trl(
            "dapo",
            "loss",
            {"policy_loss_fn_args": {"clip_ratio_c": UNCLIPPED}},
            {"loss_type": "dapo", "epsilon": 0.2, "epsilon_high": 0.28},
        ),
        trl(
            "dr_grpo",
            "loss",
            {**SINGLE, "aggregation_length": 8},
            {"loss_type": "dr_grpo"},
        ),
        trl("gspo", "loss", {}, sequence(3e-4, 4e-4)),
        trl("sapo", "loss", {}, {"loss_type": "sapo"}),
        trl("vespo", "loss", {}, {"loss_type": "vespo"}),
        trl("cispo", "loss, with its bound as ours", {}, cispo),
        trl(
            "cispo",
            "loss",
            {},
            {"loss_type": "cispo"},
            differs="`cispo`'s ranges are offsets from 1",
        ),
        trl(
            "rloo",
            "loss",
            {"loss_agg_mode": "seq-mean-token-sum"},
            trainer="rloo",
            compared=("gradient",),
            differs="`rloo`'s ratio is each token's",
        ),
        trl(
            "rloo",
            "gradient where sampler and learner agree, `seq-mean-token-sum`",
            {"loss_agg_mode": "seq-mean-token-sum"},
            trainer="rloo",
            draws=on_policy,
            compared=("gradient",),
        ),
    ]


def other_cases() -> list[Case]:
    """Pairs, teachers, and verl's."""
    pairs = ours("dpo")
    theirs: dict[str, Any] = {"trainer": "dpo", "settings": {}}
    vocabulary = {"groups": 1, "rollouts": 1, "tokens": (6, 6)}

    def distil(name: str, beta: float, **settings: Any) -> Case:
        answer = partial(distilled, settings={"algorithm_type": name, **settings})
        what = "expected gradient by the logits"
        question = {"trainer": "gkd", "beta": beta}
        return Case(name, what, "TRL", answer, question, vocabulary, ("gradient",))

    def whole(beta: float) -> Case:
        settings = {"algorithm_type": "topk_distill", "policy_loss_fn_args": {"beta": beta}}
        what = f"gradient by the logits, `beta: {beta:g}`, all tokens"
        answer = partial(whole_distributions, settings=settings)
        question = {"trainer": "gkd", "beta": beta}
        return Case("topk_distill", what, "TRL", answer, question, vocabulary, ("gradient",))

    def verl(name: str, what: str, asked: dict[str, Any], *compared: str, **more: Any) -> Case:
        answer = ours(name, given="loss" in asked, **more.pop("settings", {}))
        return Case(name, what, "verl", answer, asked, compared=compared, **more)

    gdpo = {"advantage_fn_args": {"rewards": {"first": 1.0, "second": 1.0}}}
    gae = {"gamma": 0.9, "lam": 0.8}
    return [
        Case("dpo", "three pairs", "TRL", pairs, theirs, {"rollouts": 2}, PART),
        distil("jsd", 0.5),
        distil("jsd", 0.3, advantage_fn_args={"lambda_coef": 0.3}),
        distil("on_policy_distill", 1.0),
        *(whole(beta) for beta in (0.0, 0.5, 1.0)),
        verl(
            "reinforceplusplus_baseline",
            "advantage",
            {"advantage": "reinforce_plus_plus_baseline"},
            "advantage",
        ),
        verl(
            "ppo",
            "advantage, observations between calls",
            {"advantage": "gae", "arguments": gae, "merged": True},
            "advantage",
            draws={"calls": (2, 3)},
            settings={"advantage_fn_args": gae},
        ),
        Case("ppo", "the critic's loss", "verl", value_loss, {"loss": "value"}, {}, PART),
        verl(
            "gdpo",
            "advantage",
            {"advantage": "gdpo"},
            "advantage",
            settings=gdpo,
            differs="`gdpo` whitens over rollouts",
        ),
        verl("dppo", "gradient", {"loss": "dppo_tv"}, "gradient"),
        verl(
            "dppo",
            "loss",
            {"loss": "dppo_tv"},
            "loss",
            differs="`dppo`'s ratio has the gradient",
        ),
    ]


CASES = [*advantage_cases(), *loss_cases(), *other_cases()]
