"""What a run says of itself: the doctor's findings, to the terminal, the log and the alerts."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path

from agentscope_tuner.monitor.alerts import Alerts
from agentscope_tuner.runs.diagnosis.finding import Finding
from agentscope_tuner.runs.diagnosis.rules import Doctor, diagnose
from agentscope_tuner.runs.files import RunFiles

logger = logging.getLogger(__name__)


class Advice:
    """Looks at a run when a look is due, and at its end.

    Args:
        say: shows one line.
    """

    def __init__(self, run_directory: Path, say: Callable[[str], None], alerts: Alerts) -> None:
        self._directory = run_directory
        self._say = say
        self._alerts = alerts
        self._doctor = Doctor(run_directory)

    def is_due(self, step: int) -> bool:
        """Whether to look after this step."""
        return self._doctor.is_due(step)

    def look(self, step: int) -> None:
        """Say what was not said yet; what is grave is an alert, too."""
        for finding in self._found(lambda: self._doctor.look(step)):
            if finding.severity == "high":
                self._alerts.send("finding", "\n".join(finding.lines()))

    def conclude(self) -> None:
        """Say everything that holds at the end."""
        self._found(lambda: diagnose(RunFiles(self._directory)))

    def _found(self, look: Callable[[], Sequence[Finding]]) -> Sequence[Finding]:
        """No look is worth the run: what goes wrong with one is logged."""
        try:
            findings = look()
        except Exception:
            logger.exception("The run's numbers could not be looked at.")
            return []
        for line in (line for finding in findings for line in finding.lines()):
            self._say(line)
        return findings
