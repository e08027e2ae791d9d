"""The composition root: the only place that names concrete classes.

Each part is handed its own section of the configuration, never the whole of it.
"""
