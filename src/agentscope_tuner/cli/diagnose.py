"""`astuner diagnose`: what is wrong with a run."""

from __future__ import annotations

from rich.console import Console

from agentscope_tuner.cli.options import AsJson, RunDirectory
from agentscope_tuner.visible import visible


def diagnose(directory: RunDirectory, as_json: AsJson = False) -> None:
    """Read a run's numbers and rollouts, and say what is wrong, by what it shows, and what to do.

    Also while the run goes on. What is found is no failure: the exit code is 0.

    **Example:** `astuner diagnose checkpoints/AgentScope/first`
    """
    from agentscope_tuner.cli.machine import print_json
    from agentscope_tuner.runs.diagnosis import rules
    from agentscope_tuner.runs.files import RunFiles
    from agentscope_tuner.runs.listing import find_run

    run = find_run(directory)
    findings = rules.diagnose(RunFiles(run.directory), over=run.status != "running")
    if as_json:
        plain = [finding.plain() for finding in findings]
        print_json({"run": run.name, "status": run.status, "findings": plain})
        return
    console = Console()
    for finding in findings:
        for line in finding.lines():
            console.print(visible(line), markup=False, highlight=False, soft_wrap=True)
    if not findings:
        rule_count = len(rules.RULES)
        console.print(f"Nothing is wrong that one of {rule_count} rules knows.", highlight=False)
