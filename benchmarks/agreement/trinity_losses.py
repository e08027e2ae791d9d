"""Cases against Trinity-RFT: what is made of the ratio of two policies, as `trinity_groups`."""

from __future__ import annotations

from agreement.cases import PART
from agreement.trinity_case import advantage_args, both, case, loss_args

TOKEN_MEAN = "`gspo` and `sapo` are means over samples"

CASES = [
    case("gspo", "as it comes", differs=TOKEN_MEAN, compared=PART),
    case("gspo", "`token-mean`", settings={"loss_agg_mode": "token-mean"}),
    case(
        "gspo",
        "`token-mean`, samples e^12 times as likely",
        settings={"loss_agg_mode": "token-mean"},
        draws={"spread": 12.0},
        given=True,
        compared=PART,
        differs="log-ratios are bounded",
    ),
    case("sapo", "as it comes", differs=TOKEN_MEAN, compared=PART),
    case(
        "sapo",
        "`token-mean`, gradient",
        settings={"loss_agg_mode": "token-mean"},
        compared=("gradient",),
        differs="`sapo` differentiates its gate",
    ),
    case("topr", "as it comes", differs="`topr` tapers by the ratio of the sample", compared=PART),
    case("topr", "`ratio_level: token`", settings=loss_args(ratio_level="token")),
    case(
        "opmd",
        "`logavgexp`",
        **both(advantage_args(opmd_baseline="logavgexp", tau=0.5)),
    ),
    case("cispo", "`enable_mask_clip`", **both(loss_args(enable_mask_clip=True))),
    *(
        case("rec", f"`{mode}`, `{weight}`", **both(loss_args(clip_mode=mode, weight=weight)))
        for mode, weight in (
            ("one-side", "importance_sampling"),
            ("two-side", "advantage"),
            ("none", "none"),
        )
    ),
    case(
        "rec",
        "`gspo-one-side`",
        settings={
            **loss_args(clip_mode="gspo-one-side", weight="gspo_importance_sampling"),
            "loss_agg_mode": "seq-mean-token-mean",
        },
        there=loss_args(clip_mode="gspo-one-side", weight="gspo_importance_sampling"),
    ),
    *(
        case("rec", f"`{name}`", **both(loss_args(regularizer=name, regularizer_coef=0.1)))
        for name in ("k2", "forward-kl")
    ),
    case("rec", "`std_normalize`", **both(advantage_args(std_normalize=True))),
    case(
        "rec",
        "`drop: balance`",
        **both(advantage_args(drop="balance")),
        draws={"rewards": "one good", "tokens": (1, 1)},
        compared=("advantage",),
        in_order=False,
    ),
    case(
        "rec",
        "`clip_mode: ring` and nothing else",
        **both(loss_args(clip_mode="ring")),
        compared=PART,
        differs="arguments are merged with the defaults",
    ),
    case(
        "rec",
        "`ring`, all arguments",
        **both(loss_args(clip_mode="ring", epsilon_low_prime=0.6, epsilon_high_prime=2.0)),
    ),
]
