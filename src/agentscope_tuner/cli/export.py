"""`astuner export`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer


class Dtype(StrEnum):
    """Precisions that a model can be exported in."""

    BFLOAT16 = "bfloat16"
    FLOAT16 = "float16"
    FLOAT32 = "float32"


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
    dtype: Annotated[
        Dtype | None,
        typer.Option(help="Precision of the weights. Default: as they are.", show_default=False),
    ] = None,
) -> None:
    """Write a tuned model as a plain Hugging Face directory, adapters merged.

    **Example:** `astuner export checkpoints/AgentScope/first my-model --dtype bfloat16`
    """
    from agentscope_tuner.engine.export import export_model

    origin = export_model(source, output, dtype)
    print(f"{origin} is exported to {output}")
