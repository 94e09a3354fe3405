"""Texts of servers and plugins made fit for a terminal. Owns that a message cannot move the cursor or hide a line."""


def printable(sentence: str) -> str:
    """Without control characters."""
    return "".join(character if character.isprintable() else " " for character in sentence)
