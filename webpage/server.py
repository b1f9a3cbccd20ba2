"""Serving the page: the port is taken before the network is loaded, and who holds it is named."""

import errno
import http.client
import json
import socket

from torch_utils.errors import UserError
from webpage.application import application
from webpage.mesh_maker import MeshMaker


def listening_socket(address: str, port: int) -> socket.socket:
    """A socket that listens there. UserError where it cannot, with who holds the port if it is a page of ours."""
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(address, port, type=socket.SOCK_STREAM)[0]
    except socket.gaierror as error:
        raise UserError(f"--host {address}: {error.strerror}") from None
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(place)
        listener.listen(64)
    except OSError as error:
        listener.close()
        if error.errno != errno.EADDRINUSE:
            raise UserError(f"--host {address} --port {port}: {error.strerror}") from None
        raise UserError(f"port {port} is in use by {_holder(address, port)}; try --port {port + 1}") from None
    return listener


def serve(maker: MeshMaker, listener: socket.socket, address: str, token: str | None) -> None:
    """Serve until the process is interrupted."""
    import uvicorn

    config = uvicorn.Config(
        application(maker, address, token), log_level="error", access_log=False, server_header=False, ws="none",
        timeout_keep_alive=30, timeout_graceful_shutdown=2,
    )  # fmt: skip
    uvicorn.Server(config).run(sockets=[listener])


def _holder(address: str, port: int) -> str:
    """Who answers there."""
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(address, address)
    connection = http.client.HTTPConnection(host, port, timeout=1)
    try:
        connection.request("GET", "/api/info")
        response = connection.getresponse()
        if response.getheader("server") != "tetragan":
            return "another program"
        if response.status != 200:
            return "a TetraGAN page that needs a token"
        facts = json.loads(response.read(1 << 16))
        return f"a TetraGAN page of {facts['network']['name']} (process {facts['pid']}), http://{host}:{port}"
    except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
        return "another program"
    finally:
        connection.close()
