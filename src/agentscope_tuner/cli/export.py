"""`astuner export`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from agentscope_tuner.errors import InputError


class Dtype(StrEnum):
    """Precisions that a model can be exported in."""

    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"
    FLOAT32 = "float32"


class Format(StrEnum):
    """What a model is exported as."""

    HF = "hf"
    ADAPTER = "adapter"
    GGUF = "gguf"


class Quantization(StrEnum):
    """How the matrices of a GGUF file are kept."""

    F32 = "f32"
    F16 = "f16"
    BF16 = "bf16"
    Q8_0 = "q8_0"


def export(
    source: Annotated[
        str,
        typer.Argument(
            metavar="RUN|CHECKPOINT",
            help="A run directory (its last checkpoint) or a `global_step_<n>` directory.",
            show_default=False,
        ),
    ],
    output: Annotated[
        Path, typer.Argument(help="The directory to write, new or empty.", show_default=False)
    ],
    form: Annotated[
        Format,
        typer.Option(
            "--format",
            help="hf: a Hugging Face directory; adapter: the adapter alone, as peft has it; gguf: "
            "a file for llama.cpp and Ollama.",
        ),
    ] = Format.HF,
    dtype: Annotated[
        Dtype | None,
        typer.Option(
            help="Precision of the weights (hf). Default: as they are.", show_default=False
        ),
    ] = None,
    quantize: Annotated[
        Quantization | None,
        typer.Option(
            help="How matrices are kept (gguf). Default: as they are.", show_default=False
        ),
    ] = None,
    ollama: Annotated[
        bool, typer.Option("--ollama", help="Write a Modelfile beside the file (gguf).")
    ] = False,
    repository: Annotated[
        str | None,
        typer.Option(
            "--push",
            metavar="OWNER/NAME",
            help="Upload the directory to this repository of the Hugging Face hub, too.",
            show_default=False,
        ),
    ] = None,
    public: Annotated[
        bool, typer.Option("--public", help="Let everybody read a repository that --push makes.")
    ] = False,
) -> None:
    """Write a tuned model by itself: as Hugging Face has it, adapters merged, or as a GGUF file.

    A model card is beside it. A GGUF file is loaded again, and its greedy tokens are compared,
    before it is there.

    **Example:** `astuner export checkpoints/AgentScope/first my-model --format gguf --quantize
    q8_0`
    """
    from agentscope_tuner.engine import export as exports
    from agentscope_tuner.engine.push import make_repository, push

    if public and repository is None:
        raise InputError("--public is for --push.")
    only: dict[str, tuple[Any, Format]] = {
        "--dtype": (dtype, Format.HF),
        "--quantize": (quantize, Format.GGUF),
    }
    only["--ollama"] = (ollama or None, Format.GGUF)
    for option, (given, its_format) in only.items():
        if given is not None and form is not its_format:
            raise InputError(f"{option} is for --format {its_format}, not for {form}.")
    if repository is not None:
        make_repository(repository, public=public)
    match form:
        case Format.HF:
            origin = exports.export_model(source, output, dtype)
        case Format.ADAPTER:
            origin = exports.export_adapter(source, output)
        case Format.GGUF:
            done = exports.export_gguf(source, output, quantize, ollama=ollama)
            print(f"{done.origin} is exported to {done.path}")
            print(f"loaded again, {done.agreement:.0%} of its greedy tokens are the original's")
    if form is not Format.GGUF:
        print(f"{origin} is exported to {output}")
    if repository is not None:
        print(f"uploaded: {push(output, repository)}")
