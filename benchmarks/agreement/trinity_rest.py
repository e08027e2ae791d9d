"""Cases against Trinity-RFT: critics, steps of an agent, teachers, pairs and experts, as
`trinity_groups`."""

from __future__ import annotations

from agreement.cases import EVERYTHING, PART
from agreement.trinity_case import advantage_args, both, case, loss_args

HALVES = {"train_batch_size_usual": 8, "train_batch_size_expert": 3}
WITH_EXPERTS = {"groups": 2, "experts": 3}
STEPS = {"calls": (1, 3), "dense": True}
NO_DIVERGENCE = {"kl_loss_fn_args": {"adaptive": False, "kl_coef": 0.0}}
"""Where Trinity does not take `none`."""

CASES = [
    case("ppo", "as it comes"),
    case("ppo", "`gamma` 0.9, `lam` 0.8", **both(advantage_args(gamma=0.9, lam=0.8))),
    case(
        "ppo",
        "observations between calls",
        draws={"calls": (2, 3)},
        question={"merged": True},
        **both(advantage_args(gamma=1.0, lam=0.9)),
        compared=("advantage",),
        differs="`ppo`'s advantages step over observations",
    ),
    case(
        "ppo",
        "a rollout that was cut off",
        draws={"truncated": True},
        compared=("advantage",),
        differs="`ppo`'s advantages step over observations",
    ),
    case(
        "reinforceplusplus",
        "`gamma` 0.9, observations between calls",
        draws={"calls": (2, 3)},
        question={"merged": True},
        **both(advantage_args(gamma=0.9)),
        compared=("advantage",),
        differs="`reinforceplusplus` steps over observations",
    ),
    case("gigpo", "as it comes", draws=STEPS),
    case("gigpo", "discounted, `fnorm: std`", draws=STEPS, **both(advantage_args(fnorm="std"))),
    case("gigpo", "no rewards of single calls", draws={"calls": (1, 3)}),
    case(
        "gigpo",
        "equal states of different tasks",
        draws={**STEPS, "states": "across tasks"},
        differs="`gigpo` compares states within a task",
    ),
    case("jsd", "as it comes", differs="`jsd` has the sign of the divergence's gradient"),
    case("raft", "as it comes", differs="`raft` imitates the best rollout", compared=PART),
    case("sft", "as it comes", compared=PART),
    *(
        case("sft", f"`{name}`", **both({"policy_loss_fn": name}), compared=PART)
        for name in ("sft_is", "sft_phi")
    ),
    *(
        case(
            "dpo",
            what,
            draws={"groups": 1, "rollouts": 2},
            settings=loss_args(**arguments),
            there={**loss_args(**arguments), **NO_DIVERGENCE},
            compared=PART,
        )
        for what, arguments in (
            ("one pair", {"beta": 0.1}),
            ("`label_smoothing`", {"label_smoothing": 0.1}),
        )
    ),
    case(
        "dpo",
        "three pairs",
        draws={"rollouts": 2},
        compared=PART,
        differs="`dpo` is computed over whole pairs",
    ),
    case(
        "mix",
        "as it comes",
        draws=WITH_EXPERTS,
        compared=PART,
        differs="`mix`'s halves each have a divisor",
    ),
    *(
        case(
            name,
            "with the batch's sizes",
            draws=WITH_EXPERTS,
            there=loss_args(clip_range=0.2, **HALVES),
            compared=PART,
        )
        for name in ("mix", "mix_chord")
    ),
    case(
        "mix_chord",
        "at the peak, without `phi`",
        draws=WITH_EXPERTS,
        settings=loss_args(mu_decay_steps=4, mu_peak=0.9, enable_phi_function=False),
        there=loss_args(
            clip_range=0.2, mu_decay_steps=4, mu_peak=0.9, enable_phi_function=False, **HALVES
        ),
        compared=PART,
    ),
    case(
        "mix",
        "with a divergence",
        draws=WITH_EXPERTS,
        settings={"kl_loss_fn": "k2", "kl_loss_fn_args": {"kl_coef": 0.1}},
        there={
            "kl_loss_fn": "k2",
            "kl_loss_fn_args": {"adaptive": False, "kl_coef": 0.1},
            **loss_args(clip_range=0.2, **HALVES),
        },
        compared=PART,
        differs="`mix`'s divergence and entropy are of the rollouts",
    ),
    case(
        "grpo",
        "`advantage_fn: clipb`",
        **both({"advantage_fn": "clipb", **advantage_args(mu=1.0)}),
        compared=("advantage",),
    ),
    case(
        "grpo",
        "`advantage_fn: clipb`, the loss",
        **both({"advantage_fn": "clipb", **advantage_args(mu=1.0)}),
        compared=PART,
        differs="tokens that `clipb` leaves out stay in the loss's divisor",
    ),
    *(
        case(
            "grpo",
            f"`advantage_fn: clipv`, {what}",
            **both({"advantage_fn": "clipv", **advantage_args(mu=0.5, max_frac=share)}),
            compared=("advantage",),
        )
        for what, share in (("all of them", 1.0), ("a tenth", 0.1), ("one", 1e-4))
    ),
    case("grpo", "`advantage_fn: remax`", **both({"advantage_fn": "remax"})),
    case(
        "on_policy_distill",
        "`importance_sampling`",
        **both({"policy_loss_fn": "importance_sampling"}),
        compared=EVERYTHING,
    ),
]
