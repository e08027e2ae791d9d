"""The arithmetic example as `astuner run` runs it, one step a request."""

from __future__ import annotations

import runpy

from paced_monitor import CHANNEL

from agentscope_tuner.compat import install
from agentscope_tuner.tuning import Invocation, invoked_as


def main() -> None:
    """Run the example."""
    settings = CHANNEL.settings
    install()
    overrides = [
        "monitor.monitor_type=[tensorboard,paced_monitor:Pace]",
        f"buffer.total_steps={settings['steps']}",
        f"explorer.eval_interval={settings['eval_interval']}",
        f"trainer.save_interval={settings['steps']}",
        f"checkpoint_root_dir={settings['output']}",
    ]
    with invoked_as(Invocation(settings=overrides)):
        runpy.run_path(settings["example"], run_name="__main__")


if __name__ == "__main__":
    main()
