"""A page served by this process, on a free port, for the tests of `webpage`."""

import http.client
import threading
from collections.abc import Iterator
from dataclasses import dataclass

import uvicorn

from webpage.application import application
from webpage.mesh_maker import MeshMaker
from webpage.server import listening_socket


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


@dataclass(frozen=True)
class Server:
    port: int
    maker: MeshMaker

    def get(self, path: str, method: str = "GET", **headers: str) -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        try:
            connection.request(method, path, headers={name.replace("_", "-"): text for name, text in headers.items()})
            response = connection.getresponse()
            return Answer(response.status, {k.lower(): v for k, v in response.getheaders()}, response.read())
        finally:
            connection.close()


def started(maker: MeshMaker, token: str | None = None) -> Iterator[Server]:
    with listening_socket("127.0.0.1", 0) as listener:
        config = uvicorn.Config(
            application(maker, token=token), log_level="error", server_header=False, ws="none", lifespan="off"
        )
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        yield Server(listener.getsockname()[1], maker)
        server.should_exit = True
        thread.join(30)
