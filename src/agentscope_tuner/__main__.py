"""`python -m agentscope_tuner main.py` is `astuner run main.py`; other commands as they are."""

import sys

from agentscope_tuner.cli import main
from agentscope_tuner.cli.app import COMMANDS

if __name__ == "__main__":
    if len(sys.argv) > 1 and sys.argv[1] not in COMMANDS and not sys.argv[1].startswith("-"):
        sys.argv.insert(1, "run")
    main()
