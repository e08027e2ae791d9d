"""Samplers: from prompt token ids to sampled token ids and their log-probabilities."""
