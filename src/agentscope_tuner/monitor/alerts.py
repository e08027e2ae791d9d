"""Telling somebody that a run has ended, or is ill: by a command, by a webhook. Off by default."""

from __future__ import annotations

import json
import logging
import subprocess
import urllib.request

logger = logging.getLogger(__name__)

PATIENCE_S = 10.0


class Alerts:
    """Sends one JSON object an event: `run`, `event`, `text`.

    What cannot be sent is a warning: no alert is worth a run.

    Args:
        run: the run's `<project>/<name>`.
        command: run by the shell, with the object on its standard input.
        webhook: an address that the object is posted to.
    """

    def __init__(self, run: str, command: str | None = None, webhook: str | None = None) -> None:
        self._run = run
        self._command = command
        self._webhook = webhook

    def send(self, event: str, text: str) -> None:
        """Tell of an event: `finished`, `failed`, `interrupted`, `finding`."""
        message = json.dumps({"run": self._run, "event": event, "text": text}).encode()
        if self._command is not None:
            self._call(self._command, message)
        if self._webhook is not None:
            self._post(self._webhook, message)

    def _call(self, command: str, message: bytes) -> None:
        try:
            subprocess.run(
                command,
                shell=True,  # it is a line of the user's own configuration
                input=message,
                timeout=PATIENCE_S,
                check=True,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
        except (OSError, subprocess.SubprocessError) as error:
            said = (getattr(error, "stderr", None) or b"").decode("utf-8", "replace").strip()
            logger.warning("alerts.command did not work: %s. %s", error, said)

    def _post(self, webhook: str, message: bytes) -> None:
        request = urllib.request.Request(
            webhook, message, {"Content-Type": "application/json"}, method="POST"
        )
        try:
            urllib.request.urlopen(request, timeout=PATIENCE_S).close()
        except (OSError, ValueError) as error:
            logger.warning("alerts.webhook did not work: %s.", error)
