"""Cases against Trinity-RFT: rollouts that are compared with those of their group.

Each type with the defaults of both, and what is left when a named difference is taken away.
"""

from __future__ import annotations

from agreement.cases import PART
from agreement.trinity_case import advantage_args, both, case, loss_args

CLIP = {"clip_range_low": 0.2, "clip_range_high": 0.28, "clip_ratio_c": 10.0}

CASES = [
    *(
        case(name, "as it comes")
        for name in (
            *("grpo", "grpo_verl", "rloo", "reinforceplusplus", "opmd", "asymre", "sppo", "rec"),
            *("cispo", "on_policy_distill"),
        )
    ),
    case("grpo", "`k2` of 0.001", settings={"kl_loss_fn": "k2"}, there={"kl_loss_fn": "k2"}),
    case(
        "grpo",
        "a type's own divergence",
        there={"kl_loss_fn": None},
        differs="no divergence unless asked for",
        compared=PART,
    ),
    *(
        case("grpo", f"`{name}`", **both({"kl_loss_fn": name}), given=True, compared=PART)
        for name in ("k3", "low_var_kl", "abs", "corrected_k3")
    ),
    case("grpo", "batch level", **both(advantage_args(std_cal_level="batch", epsilon=1e-6))),
    case("grpo", "groups of one", draws={"lone": True}, differs="groups of one are not trained on"),
    case(
        "grpo",
        "`rank_penalty`",
        **both(advantage_args(rank_penalty=0.5, epsilon=1e-6)),
        differs="`rank_penalty` scores the penalised rewards",
    ),
    case(
        "grpo",
        "equal rewards",
        draws={"rewards": "equal", "rollouts": 7},
        differs="equal rewards give advantages of exactly 0",
    ),
    case(
        "grpo",
        "in three micro-batches",
        question={"micro_batches": 3},
        compared=PART,
        differs="a loss is one of the whole optimizer batch",
    ),
    case(
        "grpo",
        "sequences masked",
        **both(loss_args(clip_range=0.2, enable_sequence_masking=True)),
    ),
    case(
        "grpo",
        "plain gradient",
        **both(loss_args(clip_range=0.2, fallback_to_policy_gradient=True)),
    ),
    *(
        case("grpo", f"`{mode}`", **both({"loss_agg_mode": mode}))
        for mode in ("seq-mean-token-mean", "seq-mean-token-sum")
    ),
    case("multi_step_grpo", "as it comes", draws={"calls": (1, 3)}),
    case(
        "multi_step_grpo",
        "`enable_step_norm`",
        draws={"calls": (1, 3)},
        **both(advantage_args(enable_step_norm=True, epsilon=1e-6)),
    ),
    case(
        "dr_grpo",
        "`opmd`'s advantage, `seq-mean-token-sum-norm`",
        theirs="grpo",
        there={"advantage_fn": "opmd", "loss_agg_mode": "seq-mean-token-sum-norm"},
        settings={"aggregation_length": 8},
        differs="`dr_grpo` is divided by samples times a constant length",
        compared=PART,
    ),
    case("dapo", "as it comes", differs="`dapo` clips at 0.2 and 0.28", compared=PART),
    case("dapo", "with the paper's ranges", there=loss_args(**CLIP)),
]
