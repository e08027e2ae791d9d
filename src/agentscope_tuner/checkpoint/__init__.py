"""What a run needs to survive: durable checkpoints, its state, and one writer at a time.

- `store`: `global_step_<n>/` directories that are either whole and verified or not there;
- `state`: tensors and numbers in one file that can be read back without executing anything;
- `random_state`: the position of every random stream of the process;
- `run_state`: how far a run is, and how it ended;
- `lock`: two processes never write the same run.
"""
