"""Rollouts: workflows run with deadlines and retries, and their failures kept as data.

Nothing is imported here: estimates are wanted where agentscope and torch are not.
"""
