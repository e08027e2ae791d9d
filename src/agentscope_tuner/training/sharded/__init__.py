"""A learner whose weights, gradients and optimizer are spread over several processes.

shards.py    the model in shards, and whole again
deal.py      which rank computes which packs
learner.py   the verbs of a learner, called by all ranks at once
"""
