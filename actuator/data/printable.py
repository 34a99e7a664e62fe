"""What a peer has said, for people to read (pure)."""


def printable(text: str) -> str:
    """The text on one line, and without what a terminal would obey."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )
