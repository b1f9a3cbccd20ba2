"""`tetragan view`: a local page to play with a network."""

from pathlib import Path

import click

from tetragan.options import PATH, device_option, latents_option, network_option


@click.command()
@network_option
@click.option(
    "--host",
    "address",
    default="127.0.0.1",
    show_default=True,
    help="Address to serve; any but this machine's own needs a token.",
)
@click.option("--port", type=click.IntRange(1, 65535), default=8017, show_default=True, help="Port to serve.")
@click.option(
    "--token",
    envvar="TETRAGAN_VIEW_TOKEN",
    show_envvar=True,
    help="What clients must send, at least 16 characters.  [default: a random one, unless --host is this machine]",
)
@click.option("--open/--no-open", "open_browser", default=False, help="Open the page in a browser.")
@click.option(
    "--directions", "directions_file", type=PATH, help="A file of `tetragan directions`: sliders of attributes."
)
@latents_option
@device_option()
def view(
    network: str,
    address: str,
    port: int,
    token: str | None,
    open_browser: bool,
    directions_file: Path | None,
    latents_files: tuple[Path, ...],
    device: str,
) -> None:
    """Serve a page that shows, varies and mixes samples, and gives their meshes; its API is at /api/openapi.json."""
    import importlib.util
    import secrets
    import socket
    import webbrowser

    from torch_utils.errors import UserError

    missing = [name for name in ("starlette", "uvicorn") if importlib.util.find_spec(name) is None]
    if missing:
        install = f"pip install -c constraints.txt {' '.join(missing)}"
        raise UserError(f"tetragan view needs {' and '.join(missing)}; install it: {install}")
    if token is not None and (len(token) < 16 or not token.isascii() or not token.isprintable()):
        raise click.UsageError("--token: expected at least 16 printable ASCII characters")
    from webpage.guard import is_loopback
    from webpage.server import listening_socket, serve

    token = token or (None if is_loopback(address) else secrets.token_urlsafe(24))
    with listening_socket(address, port) as listener:
        from sampling.directions import load_directions
        from sampling.samples import Sample
        from sampling.style_file import load_styles
        from sampling.trained_generator import load
        from webpage.mesh_maker import MeshMaker

        generator = load(network, device)
        directions = None if directions_file is None else load_directions(directions_file, generator)
        latents: dict[str, Sample] = {}
        for path in latents_files:
            names, samples = load_styles(path, generator)
            if twice := sorted(set(names) & set(latents)):
                raise UserError(f"--latents {path}: another file has a sample {twice[0]}, too; give one of the two")
            latents |= dict(zip(names, samples, strict=True))
        maker = MeshMaker(generator, directions, latents)
        reachable = socket.gethostname().lower() if address in ("0.0.0.0", "::") else address
        shown = f"[{reachable}]" if ":" in reachable else reachable
        url = f"http://{shown}:{port}/" + (f"?token={token}" if token else "")
        click.echo(f"{maker.generator.name}: {url}  (Ctrl-C ends)")
        if open_browser:
            webbrowser.open(url)
        serve(maker, listener, address, token)
