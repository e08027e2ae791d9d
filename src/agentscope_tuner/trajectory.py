"""Plain data that every room speaks.

A **trajectory** is what one rollout said to and heard from its model, as a tree of token
segments, each stored once. A prompt segment carries no loss; a sampled segment carries ids and the
log-probabilities they were drawn with. A call whose prompt extends an earlier call's tokens hangs
below that call's sampled segment; one that does not begins a new branch.

    segment 0  prompt   system + user            (parent None)
    segment 1  sampled  <tool call>              (parent 0)
    segment 2  prompt   tool result + opener     (parent 1)
    segment 3  sampled  answer                   (parent 2)

A **rollout** is one run of a workflow on one task with its reward; a **group** is all rollouts
of one task in one step. A failed rollout is data: it stays in its group with its error.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from agentscope_tuner.penalties import Penalties

ErrorKind = Literal["workflow", "judge", "timeout", "output", "empty", "model"]
"""Which boundary a failure crossed: the user's workflow or judge raised; the deadline passed; the
workflow or judge returned something unusable (wrong type, NaN, no reward); the workflow never
called the model, so there is nothing to learn from; the model endpoint itself failed."""


@dataclass(slots=True)
class Sampled:
    """What is known of the sampled tokens of one segment; lists have one entry a token."""

    logprobs: list[float]
    """ln p under the distribution drawn from (see `inference.drawing`)."""
    forced: list[bool]
    """True where only one token was possible (by a grammar, a nucleus of one token, or temperature
    0): no loss."""
    model: str
    version: int
    """Version of the weights that sampled the first token: 0 before the first update."""
    temperature: float = 1.0
    supports: dict[int, NDArray[np.int32] | NDArray[np.uint8]] = field(default_factory=dict)
    """Index in the segment -> drawable tokens (see `inference.base.Support`); absent: all."""
    columns: dict[str, list[float]] = field(default_factory=dict)
    """Further numbers, one a token, by name (`algorithms.spans` lists them): what the learner and
    the algorithm know of the tokens. NaN where there is none, as on every forced token."""
    penalties: Penalties | None = None
    """What changed the logits before the temperature; None: nothing did."""
    version_changes: list[tuple[int, int]] = field(default_factory=list)
    """(index, version) of each token from which on other weights sampled, where new ones came in
    the middle; mostly there are none."""

    def token_versions(self) -> list[int]:
        """The version that sampled each token."""
        starts = [(0, self.version), *self.version_changes]
        ends = [*(start for start, _ in self.version_changes), len(self.logprobs)]
        return [
            version
            for (start, version), end in zip(starts, ends, strict=True)
            for _ in range(start, end)
        ]

    def trained(self) -> NDArray[np.int64]:
        """Indices of the tokens that carry a loss: not forced, and drawn rather than taken."""
        if self.temperature == 0:
            return np.empty(0, np.int64)
        return np.flatnonzero(~np.asarray(self.forced, bool))


@dataclass(slots=True)
class Segment:
    """A run of tokens with one parent."""

    parent: int | None
    """Index in `Trajectory.segments`; None for a root."""
    token_ids: list[int]
    sampled: Sampled | None = None
    """None: prompt tokens, given to the model, never trained on."""


@dataclass(slots=True)
class Call:
    """One request to the model and its answer."""

    segment: int
    """Index of the segment that this call sampled."""
    messages: list[dict[str, Any]]
    """The request's messages, in OpenAI's form."""
    tools: list[dict[str, Any]] | None
    response: dict[str, Any]
    """The answer's message, in OpenAI's form."""
    finish_reason: str
    branch: str | None = None
    """Why this call began a new branch (`history_changed`, `tools_changed`, ...); None if it
    extends an earlier call or is the first."""
    seconds: float = 0.0
    began: float = 0.0
    """When it was sent, in Unix seconds."""


@dataclass(slots=True)
class AuxiliaryCall:
    """One request to a model that is not trained, and its answer: for people to read."""

    model: str
    messages: list[dict[str, Any]]
    """The request's messages, in OpenAI's form."""
    tools: list[dict[str, Any]] | None
    response: dict[str, Any]
    """The answer's message, in OpenAI's form."""
    finish_reason: str
    seconds: float
    began: float
    """When it was sent, in Unix seconds."""


@dataclass(slots=True)
class Trajectory:
    """The tree of one rollout's tokens."""

    segments: list[Segment] = field(default_factory=list)
    calls: list[Call] = field(default_factory=list)
    overflows: int = 0
    """Calls refused because their prompt was too long."""

    def path(self, segment: int) -> list[int]:
        """Indices of the segments from the root down to `segment`."""
        path: list[int] = []
        at: int | None = segment
        while at is not None:
            path.append(at)
            at = self.segments[at].parent
        return path[::-1]

    def token_ids(self, segment: int) -> list[int]:
        """All token ids from the root to the end of `segment`."""
        return [token for i in self.path(segment) for token in self.segments[i].token_ids]

    def leaves(self) -> list[int]:
        """Segments without children: each ends one branch."""
        parents = {segment.parent for segment in self.segments}
        return [i for i in range(len(self.segments)) if i not in parents]

    def sampled_segments(self) -> Iterator[Segment]:
        """The segments that were sampled, in the order they were recorded."""
        return (segment for segment in self.segments if segment.sampled is not None)

    @property
    def sampled_tokens(self) -> int:
        """How many tokens the model sampled."""
        return sum(len(segment.token_ids) for segment in self.sampled_segments())

    @property
    def trained_tokens(self) -> int:
        """How many of them carry a loss."""
        return sum(len(s.sampled.trained()) for s in self.sampled_segments() if s.sampled)

    @property
    def truncated(self) -> bool:
        """Whether any call was cut off by a length limit or refused for lack of room."""
        return self.overflows > 0 or any(call.finish_reason == "length" for call in self.calls)


@dataclass(slots=True)
class RolloutError:
    """Why a rollout failed for good."""

    kind: ErrorKind
    message: str
    traceback: str = ""


@dataclass(slots=True)
class LogLine:
    """What a workflow or judge said through its `logger`."""

    time: float
    """Unix seconds."""
    level: str
    """`INFO`, `WARNING`, ..."""
    text: str


@dataclass(slots=True)
class Rollout:
    """One run of the workflow on one task, and what came of it."""

    id: str
    task: dict[str, Any]
    trajectory: Trajectory
    reward: float | None = None
    """None exactly if the rollout failed."""
    shaped_reward: float | None = None
    """What is learnt in place of `reward`, if an operator says so."""
    left_out: str = ""
    """The operator that says that it is not learnt from; empty: none does."""
    metrics: dict[str, float] = field(default_factory=dict)
    """The user's metrics, named `workflow/<name>` and `judge/<name>`."""
    response: str = ""
    """The workflow's response as text, for people to read."""
    answer: dict[str, Any] | None = None
    """The same so that a judge can be given it again: `{"message": ...}` or `{"value": ...}`; None:
    it has no form in JSON."""
    error: RolloutError | None = None
    attempts: int = 1
    seconds: float = 0.0
    advantage: float | None = None
    """Of every sampled token, or their mean where the column `advantage` has one a token; None: the
    rollout is not trained on."""
    call_rewards: list[float] | None = None
    """One a model call, in the order of the calls; None: there is only `reward`."""
    state_keys: list[str] | None = None
    """What the agent saw at each call, so that equal states can be told; one a call."""
    expert: bool = False
    """Whether it was written down by somebody, rather than sampled by the model."""
    explanation: str = ""
    """Why the judge gave this reward, if it says so."""
    began: float = 0.0
    """When its first attempt began, in Unix seconds."""
    judge_seconds: float = 0.0
    """Of `seconds`, the judge's part, which is the last."""
    log: list[LogLine] = field(default_factory=list)
    auxiliary_calls: list[AuxiliaryCall] = field(default_factory=list)
    """Of the last attempt, as the trajectory is."""


@dataclass(slots=True)
class RolloutGroup:
    """All rollouts of one task in one step, failed ones included."""

    id: str
    task: dict[str, Any]
    rollouts: list[Rollout]

    @property
    def rewards(self) -> list[float]:
        """Rewards of the rollouts that have one."""
        return [rollout.reward for rollout in self.rollouts if rollout.reward is not None]

    @property
    def calls(self) -> int:
        """Model calls of all its rollouts."""
        return sum(len(rollout.trajectory.calls) for rollout in self.rollouts)
