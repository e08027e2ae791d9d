"""The judge. Its reward is all that the model is told of what is good."""

import re

from agentscope.message import Msg
from agentscope.tuner import JudgeOutput


async def judge(task: dict, response: Msg) -> JudgeOutput:
    """1 if the last number of the answer is right, else 0."""
    numbers = re.findall(r"-?\d+", response.get_text_content() or "")
    return JudgeOutput(reward=float(numbers[-1:] == [task["answer"]]))
