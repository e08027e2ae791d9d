"""What `tune()` does with a configuration: `run` trains, `plan` begins to, `check` and `evaluate`
look."""

from agentscope_tuner.commands.looking import check as check
from agentscope_tuner.commands.looking import evaluate as evaluate
from agentscope_tuner.commands.planning import plan as plan
from agentscope_tuner.commands.training import run as run
