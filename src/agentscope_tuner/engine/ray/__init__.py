"""A run on a Ray cluster. The driver, which is the user's process, decides; actors work.

leases.py     what is to be rolled out: dealt, taken back from the dead, counted once
worker.py     the actor: a sampler and its workflows, on an event loop of its own
member.py     the driver's view of one actor: alive, silent, dead
rollouts.py   the `RolloutSource` over them
arrays.py     rollouts as arrays on their way to the driver
weights.py    weights as one object that all actors of a node share
ranks.py     ranks of the learner
store.py      what is said of a store that is too small
code.py       the user's functions on their way to the actors
placement.py  how many actors of what size fit where
cluster.py    finding a cluster, and joining it
"""
