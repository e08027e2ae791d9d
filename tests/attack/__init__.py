"""`make attack`: what docs/reliability.md promises, under attack.

- `kills`: runs of every shape, killed and stopped at every kind of moment, end all alike;
- `damage`: every file of a run directory, damaged in turn, takes nothing whole with it;
- `rollouts`: workflows that fail in every way lose, double and mix nothing;
- `requests`: malformed requests neither fail the endpoint nor slow a neighbour down.
"""
