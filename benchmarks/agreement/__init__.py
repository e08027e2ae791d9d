"""Our algorithms and the peers' own functions on the same drawn numbers."""
