"""`astuner`: the command line.

Exit codes: 0 done, 1 failed, 2 bad input, 130 after Ctrl-C, 143 after SIGTERM. Each command is one
file; they are imported by `app`, late, so that a signal ends the command as documented from its
first moment.
"""

from __future__ import annotations

import signal
import sys

from agentscope_tuner.signals import Terminated, exit_code, terminate


def main() -> None:
    """Run a command; errors that the user can put right are printed as one sentence."""
    # A run stops gracefully on either signal, once it has begun; before that both end the process.
    signal.signal(signal.SIGTERM, terminate)
    try:
        from agentscope_tuner.cli.app import app
        from agentscope_tuner.cli.failures import shown

        with shown():
            app()
    except KeyboardInterrupt:
        sys.exit(exit_code(signal.SIGINT))
    except Terminated:
        sys.exit(exit_code(signal.SIGTERM))
