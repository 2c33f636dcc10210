"""Parse and sum price lists."""


def parse(text):
    """Read lines of the form "NAME CENTS"."""
    return [(name, int(cents)) for name, cents in (line.split() for line in text.splitlines())]


def total(items):
    return sum(cents for _, cents in items)
