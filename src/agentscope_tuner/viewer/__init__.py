"""`astuner view` and `astuner show`: run directories, looked at.

A small server (`server`) that reads and never writes; pages as plain data (`pages`); the front end
in `static/`, hand-written ES modules without a build step. Everything that a model said is hostile
text until it is on the screen: it is never HTML, never a path, never a command.

Nothing here imports torch: a page is there as fast as its files are read.
"""
