"""Tune the model behind the agent: `astuner run main.py`."""

from pathlib import Path

from agent import run_agent
from agentscope.tuner import tune
from judge import judge

if __name__ == "__main__":
    config = Path(__file__).with_name("config.yaml")
    tune(workflow_func=run_agent, judge_func=judge, config_path=str(config))
