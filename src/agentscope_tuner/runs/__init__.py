"""The run directory: what a run leaves, written so that it can be read later, and reading it.

- `rollouts`: one file a step and an evaluation, one compressed frame a group;
- `encoding`: a rollout as a JSON line, its columns of numbers packed;
- `index`: one line a rollout, so that nothing has to be opened to find it;
- `writer`: both, behind the run's back;
- `identity`: what made the run (versions, model, data, tokenizer);
- `live`, `log`: what it is doing, and what it said.

docs/run_directory.md describes the files. Torch is not needed to read any of them.
"""
