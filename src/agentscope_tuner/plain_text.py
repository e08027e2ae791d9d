"""Text from outside as text that can be encoded, stored and shown, whatever it was."""

from __future__ import annotations


def plain_text(text: str, most: int | None = None) -> str:
    """`text` as a plain `str` that UTF-8 can encode: a lone surrogate is shown as `\\ud800`.

    Of more than `most` characters the middle is left out, which the text says.
    """
    # By the base class: a subclass may have overridden anything.
    if most is not None and str.__len__(text) > most:
        half = most // 2
        head = str.__getitem__(text, slice(half))
        tail = str.__getitem__(text, slice(-half, None))
        text = f"{head}\n... {str.__len__(text) - 2 * half} characters ...\n{tail}"
    return str.encode(text, "utf-8", "backslashreplace").decode()
