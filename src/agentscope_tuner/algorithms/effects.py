"""Settings that an algorithm has, and that would do nothing in it."""

from __future__ import annotations

from agentscope_tuner.algorithms.policy_gradient import PolicyGradient
from agentscope_tuner.algorithms.settings import AlgorithmSettings
from agentscope_tuner.errors import InputError


def refuse_without_effect(algorithm: PolicyGradient, given: AlgorithmSettings) -> None:
    """Raise InputError, which names them."""
    if given.algorithm_args:
        raise InputError(
            f"algorithm_args has no effect with {given.algorithm_type}: it is for a subclass of "
            "Algorithm; the parts of this one take advantage_fn_args and policy_loss_fn_args"
        )
    if algorithm.kl_loss is not None and given.kl_loss_fn == "k1":
        raise InputError(
            "kl_loss_fn k1 has no gradient on average, so it regularises nothing: take k2, "
            "low_var_kl, or k1 as kl_penalty_fn, in the reward"
        )
    if algorithm.policy_loss.weighs_tokens and given.loss_agg_mode is not None:
        raise InputError(
            f"loss_agg_mode has no effect with policy_loss_fn {algorithm.policy_loss.name}, which "
            "says itself what each token weighs; leave it out"
        )
    if algorithm.data == "rollouts":
        return
    useless = {
        "importance_correction": given.importance_correction not in (None, "none"),
        "kl_penalty_fn": algorithm.kl_penalty is not None,
        "advantage_fn": given.advantage_fn is not None,
    }
    if names := [name for name, is_set in useless.items() if is_set]:
        raise InputError(
            f"algorithm {algorithm.name} learns from {algorithm.data}, not from rollouts, and has "
            f"no use for {', '.join(names)}; leave it out"
        )
