"""What a call of `tune()` returns that a command passes over: enough for the script to go on."""

from __future__ import annotations

import logging
import math
from collections import defaultdict
from pathlib import Path

from agentscope_tuner.checkpoint.store import CheckpointStore
from agentscope_tuner.config.schema import Config
from agentscope_tuner.engine.result import TuneResult
from agentscope_tuner.engine.run_directory import unused_name

logger = logging.getLogger(__name__)


def stand_in(config: Config) -> TuneResult:
    """As if the run had ended with its newest whole checkpoint, or, where it has none, with the
    model that it begins with. Its metrics are not known: each is NaN."""
    project = Path(config.checkpoint_root_dir).absolute() / config.project
    directory = project / (config.name or unused_name(project))
    newest = CheckpointStore(directory).latest()
    # As it is written: what a script makes of it, by `str`, names a model for the next call.
    model = newest or Path(config.trained_model().model_path)
    logger.warning(
        "A call of tune() without a workflow_func is passed over: the script goes on with %s as "
        "its checkpoint.",
        model,
    )
    return TuneResult(directory, defaultdict(lambda: math.nan), model, finished=True)
