"""Conversations and tokens: an endpoint of OpenAI's form that records exactly what was sampled."""
