"""Output on terminals that cannot show every character, such as one in Latin-1."""

import codecs
import sys

# What the help texts, tables and messages use beyond ASCII, and how it is written without.
PLAIN = {
    "…": "...", "→": "->", "←": "<-", "×": "x", "ψ": "psi", "γ": "gamma", "σ": "sigma", "π": "pi", "−": "-", "–": "-",
    "—": "-", "≤": "<=", "≥": ">=", "≈": "~", "·": "*", "²": "^2", "³": "^3", "°": " deg", "½": "1/2", "±": "+-",
    "‘": "'", "’": "'", "“": '"', "”": '"', "⁻": "^-", "µ": "u", "∞": "inf", "√": "sqrt",
}  # fmt: skip


def use_any_terminal() -> None:
    """Write characters that the terminal's encoding lacks as ASCII instead of failing."""
    codecs.register_error("tetragan-plain", _plain)
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):  # not where a program has put its own object in the place
            stream.reconfigure(errors="tetragan-plain")


def _plain(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    lacking = error.object[error.start : error.end]
    return "".join(PLAIN.get(character, "?") for character in lacking), error.end
