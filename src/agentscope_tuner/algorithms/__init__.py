"""Advantages and losses: small files, one idea each, and a registry."""
