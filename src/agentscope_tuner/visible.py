"""Model output is hostile text: what a terminal would obey, or hide, is shown as a symbol."""

from __future__ import annotations

import unicodedata

_PICTURES = 0x2400
"""The block of Unicode with a picture for each control character: `␛` for ESC."""


def visible(text: str) -> str:
    """`text` with control, direction and invisible characters made visible.

    Line ends and tabs stay. Control characters become their pictures (`␛`), the others their
    number (`⟨U+202E⟩`).
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_shown, text))


def _shown(character: str) -> str:
    if character in "\n\t" or character.isprintable():
        return character
    code = ord(character)
    if code < 0x20:
        return chr(_PICTURES + code)
    if code == 0x7F:
        return "\N{SYMBOL FOR DELETE}"
    # Other spaces (U+00A0, U+3000) are not printable to Python either, but hide nothing.
    return character if unicodedata.category(character) == "Zs" else f"⟨U+{code:04X}⟩"
