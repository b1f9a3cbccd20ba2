"""Groups of commands that suggest the nearest one for a mistyped verb."""

import difflib

import click


class SuggestingGroup(click.Group):
    """A click group whose message about an unknown command names the nearest one, also of its groups."""

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that the first argument names; a usage error with a suggestion where there is none."""
        if args and not args[0].startswith("-") and self.get_command(ctx, args[0]) is None:
            nearest = self._nearest(ctx, args[0])
            advice = f"did you mean {nearest!r}?" if nearest else f"see: {ctx.command_path} --help"
            raise click.UsageError(f"no such command {args[0]!r}; {advice}", ctx)
        return super().resolve_command(ctx, args)

    def _nearest(self, ctx: click.Context, name: str) -> str:
        """The words of the nearest command; "" if none is near. The end of a nested command counts, too: "render"."""
        words = {verb: verb for verb in self.list_commands(ctx)}
        for verb in list(words):
            command = self.get_command(ctx, verb)
            if isinstance(command, click.Group):
                for inner in command.list_commands(ctx):
                    words.setdefault(inner, f"{verb} {inner}")
        found = difflib.get_close_matches(name.lower(), words, n=1, cutoff=0.6)
        return words[found[0]] if found else ""
