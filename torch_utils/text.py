"""Small helpers for messages."""


def counted(count: int, noun: str, plural: str = "") -> str:
    """ "1 shape", "2 shapes", "1,200 shapes". plural: where it is not the noun with an s."""
    return f"{count:,} {noun if count == 1 else plural or noun + 's'}"
