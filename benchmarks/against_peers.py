"""Our algorithms against TRL's, Trinity-RFT's and verl's own functions, on the same drawn numbers.

    python benchmarks/against_peers.py

Writes benchmarks/agreement.md. Fails if numbers differ that should agree, if they agree where
docs/algorithms.md names a difference, or if that page and the cases name different ones.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

from agreement.cases import Case
from agreement.draws import draw
from agreement.everything import CASES
from agreement.report import Finding, report, unnamed
from machine import processor
from models import MODEL
from peers import TRINITY, TRL
from race import Contestant, Message

from agentscope_tuner.inference.loading import resolve_model

DRAWS = 5
ROOT = Path(__file__).parents[1]


def numbers(answer: Message, name: str, in_order: bool) -> Sequence[float]:
    """What was asked for as a list."""
    values = answer[name] if isinstance(answer[name], list) else [answer[name]]
    return values if in_order else sorted(values)


def find(case: Case, peer: Contestant) -> Finding:
    """Ask both on every draw."""
    worst = dict.fromkeys(case.compared, 0.0)
    for seed in range(DRAWS):
        drawn = draw(seed, **case.draws)
        mine, theirs = case.ours(drawn), peer.ask({**case.theirs, "draw": drawn})
        for name in case.compared:
            pairs = zip(
                numbers(mine, name, case.in_order),
                numbers(theirs, name, case.in_order),
                strict=True,
            )
            largest = max(abs(a - b) / max(1.0, abs(b)) for a, b in pairs)
            worst[name] = max(worst[name], largest)
    return Finding(case, worst)


def main() -> None:
    """Ask everything, write the page, and say what is not as it should be."""
    tokenizer = {"tokenizer": str(resolve_model(MODEL))}
    with ExitStack() as stack:
        peers = {
            "Trinity-RFT": Contestant("trinity", "formulas_trinity.py", {}, TRINITY.python),
            "verl": Contestant("verl", "formulas_verl.py", {}, TRINITY.python),
            "TRL": Contestant("trl-formulas", "formulas_trl.py", tokenizer, TRL.python),
        }
        for peer in peers.values():
            stack.enter_context(peer)
            peer.pause_seconds = 0.0  # nothing is timed
        findings = [find(case, peers[case.peer]) for case in CASES]
    versions = f"{TRL.packages[0]}, {', '.join(TRINITY.alone)}, {TRINITY.packages[0]}"
    page = report(findings, DRAWS, versions, processor())
    (ROOT / "benchmarks" / "agreement.md").write_text(page)
    print(page)
    wrong = [
        f"{f.case.type}, {f.case.what} ({f.case.peer}): "
        f"{'agrees' if f.agrees else 'differs'}, {dict(f.differences)}"
        for f in findings
        if f.surprises
    ]
    wrong += unnamed(CASES, (ROOT / "docs" / "algorithms.md").read_text())
    if wrong:
        sys.exit("\n".join(wrong))


if __name__ == "__main__":
    main()
