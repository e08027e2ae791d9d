"""All cases."""

from __future__ import annotations

from agreement import others, trinity_groups, trinity_losses, trinity_rest

CASES = [*trinity_groups.CASES, *trinity_losses.CASES, *trinity_rest.CASES, *others.CASES]
