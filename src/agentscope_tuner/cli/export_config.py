"""`astuner export-config`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from agentscope_tuner.cli.invoke import invoke
from agentscope_tuner.cli.options import Program, Settings

if TYPE_CHECKING:  # heavy
    from agentscope_tuner.config.schema import Config


def export_config(
    context: typer.Context,
    program: Program,
    trinity: Annotated[
        bool,
        typer.Option(
            "--trinity",
            help="In Trinity-RFT's own form; what has no place there is said in comments.",
        ),
    ] = False,
    settings: Settings = None,
) -> None:
    """Print the resolved configuration as YAML, without running anything.

    It is what a run would write as its `config.yaml`: the defaults, the YAML, the arguments of
    `tune()` and `--set` in one tree.

    **Example:** `astuner export-config main.py --trinity > trinity.yaml`
    """
    from agentscope_tuner.cli.machine import machine_output

    def report(config: Config) -> None:
        from agentscope_tuner.config.trinity_export import trinity_yaml
        from agentscope_tuner.config.yaml_file import config_text

        print(trinity_yaml(config) if trinity else config_text(config), end="", file=out)

    with machine_output(True) as out:
        invoke("export-config", program, context.args, settings, report=report)
