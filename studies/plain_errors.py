"""A click command whose user's mistakes are one line and exit status 2, as `tetragan`'s are."""

from typing import Any

import click

from torch_utils.errors import UserError


class _Mistake(click.ClickException):
    exit_code = 2


class PlainErrors(click.Command):
    """Turns UserError into a line without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a user's mistake becomes one line and exit status 2."""
        try:
            return super().invoke(ctx)
        except UserError as error:
            raise _Mistake(str(error)) from None
