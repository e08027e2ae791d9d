"""Which weights the rollouts of a step come from: arithmetic, wherever they run.

Version v are the weights after v steps. Under the style `fixed` the rollouts of step s come from

    v(s) = interval * floor(max(0, s - 1 - offset) / interval)

as Trinity-RFT's explorer and trainer agree on it: new weights are handed over every `interval`
steps, and the sampler is `offset` steps ahead of the learner. So the lag of a token, the updates
that the weights have had since those that drew it, is at most offset + interval - 1, and every run
of one schedule draws the same rollouts: in turns, while the learner learns, or on many machines.

The other styles draw from the newest weights that there are at the moment, so that clocks decide;
`bound`, the largest lag, is then all that holds them:

* `trainer_driven`: the learner hands over every `interval` steps, between two batches of rollouts;
* `explorer_driven`: the sampler is given the newest after every `interval` batches of rollouts;
* `fully_async`: like `trainer_driven`, but in the middle of a batch: a rollout's later calls are
  answered by newer weights, and every token is stamped with its own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Style = Literal["fixed", "trainer_driven", "explorer_driven", "fully_async"]


@dataclass(frozen=True, slots=True)
class Schedule:
    """When weights are handed over, and how far ahead of the learner rollouts may be drawn.

    Steps are counted from 1.
    """

    interval: int = 1
    """Steps from one hand-over to the next."""
    offset: int = 0
    """Steps that the sampler is ahead."""
    style: Style = "fixed"
    bound: int | None = None
    """The largest lag that is allowed; None: that of `fixed`."""
    overlapped: bool = True
    """Whether rollouts are drawn while the learner learns; no: in turns."""

    @property
    def fixed_lag(self) -> int:
        """The largest lag under the style `fixed`."""
        return self.offset + self.interval - 1

    @property
    def max_lag(self) -> int:
        """The largest lag that any token may have."""
        return self.fixed_lag if self.bound is None else self.bound

    @property
    def by_the_clock(self) -> bool:
        """Whether it depends on speeds which weights draw a rollout."""
        return self.style != "fixed" and self.max_lag > 0

    def version(self, step: int) -> int:
        """The weights that the rollouts of a step come from; the oldest, where clocks decide."""
        if self.by_the_clock:
            return max(0, step - 1 - self.max_lag)
        return self.interval * (max(0, step - 1 - self.offset) // self.interval)

    def last_step(self, version: int) -> int:
        """The last step whose rollouts may come from these weights or older ones."""
        if self.by_the_clock:
            return version + 1 + self.max_lag
        return self.interval * (version // self.interval + 1) + self.offset

    def last_step_before(self, version: int) -> int:
        """The last step whose rollouts must come from weights older than these: they are drawn
        before the sampler adopts these. 0: clocks decide, and none must."""
        if self.by_the_clock:
            return 0
        return self.interval * -(-version // self.interval) + self.offset

    def rests(self, step: int) -> bool:
        """Whether the weights that drew the rollouts of this step draw no others, and the sampler
        is given those after it: it can do without any while the learner learns."""
        last = not self.by_the_clock and self.last_step_before(step) == step
        return last and self.hands_over(step)

    def hands_over(self, step: int) -> bool:
        """Whether the sampler is given the weights after this step, by the count of steps."""
        asked_for = self.by_the_clock and self.style == "explorer_driven"
        return not asked_for and step % self.interval == 0
