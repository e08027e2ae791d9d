"""Names on the Hugging Face hub, which may say which revision is meant."""

from __future__ import annotations


def split_revision(name: str) -> tuple[str, str | None]:
    """`owner/name@revision` (a commit, a tag or a branch) in its two parts; None: the newest."""
    repository, _, revision = name.partition("@")
    return repository, revision or None
