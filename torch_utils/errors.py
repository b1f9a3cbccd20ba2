"""The one exception for mistakes that the user can fix."""


class UserError(ValueError):
    """A mistake in the user's input: one line with the file or option, what was expected and the command to fix it.

    The command line prints it without a traceback and exits with status 2. Never raised for a bug.
    """
