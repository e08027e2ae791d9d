"""A learner whose weights, gradients and optimizer are spread over several processes.

shards.py    the model in shards, and whole again
deal.py      which rank computes which packs
model.py     a model in shards that knows columns; a frozen one does nothing else
learner.py   the verbs of a learner, called by all ranks at once
critic.py    those of a critic
state.py     an optimizer in a checkpoint, in as many parts as there are ranks
calls.py     what a run and its ranks tell each other
parts.py     what a rank is made of
rank.py      a rank: does what it is told, until the run is gone
talk.py      the run's end of a rank
process.py   that of one which is a process of this machine
group.py     all of them together, to the run a learner like any other
"""
