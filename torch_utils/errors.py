"""The one exception for mistakes a user can mend."""


class UserError(ValueError):
    """A mistake in the user's input: one line with the file or option, what was expected, and the mending command.

    The command line prints it without a traceback and exits with status 2. Never raised for a fault of the program.
    """
