"""A doctor that reads a run's numbers: what is wrong, by what it shows, and one thing to do.

Each rule is a function from a `Case` to findings; `rules.RULES` has them all. docs/diagnosis.md
says what each looks for. Nothing here needs torch, and nothing is written.
"""
