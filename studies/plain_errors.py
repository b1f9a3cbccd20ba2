"""A click command that reports a UserError as one line with exit status 2, as `tetragan` does."""

from typing import Any

import click

from torch_utils.errors import UserError


class _OneLine(click.ClickException):
    exit_code = 2


class PlainErrors(click.Command):
    """Shows a UserError as one line without a traceback."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except UserError as error:
            raise _OneLine(str(error)) from None
