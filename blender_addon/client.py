"""A client of the API of `tetragan view`: what to ask for, and what it answers. Needs the standard library alone."""

import http.client
import ipaddress
import json
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

# Seconds that a mesh may take; the first one of a large network on a slow machine takes longest.
TIMEOUT = 120.0
MAX_BYTES = 512 << 20
GLB_MAGIC = b"glTF"


class PageError(Exception):
    """Why the page gave no mesh, in one line for the user."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The API redirects nobody, and a token must not travel to another address."""

    def redirect_request(self, *_: Any) -> None:
        """None: the redirect counts as an error."""


# Proxies of the environment are for the internet, not for a page on this machine or in its network.
_OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect)


@dataclass(frozen=True)
class Page:
    """A running page. address: without a path, e.g. http://127.0.0.1:8017. token: "" where none is needed."""

    address: str
    token: str = ""

    @staticmethod
    def parse(address: str, token: str = "") -> "Page":
        """The page at an address as the user typed or copied it; a token in it counts where none is given apart.

        PageError if it is no http or https address.
        """
        text = address.strip()
        try:
            parts = urlsplit(text if "://" in text else f"http://{text}")
            host, port = parts.hostname, parts.port
        except ValueError:
            host, port = None, None
        if not host or parts.scheme not in ("http", "https") or parts.username is not None:
            raise PageError(f"{text or 'no address'}: expected an address such as http://127.0.0.1:8017")
        shown = f"[{host}]" if ":" in host else host
        base = f"{parts.scheme}://{shown}" + (f":{port}" if port is not None else "")
        given = token.strip() or "".join(parse_qs(parts.query).get("token", [])[:1])
        if not given.isascii() or not (given.isprintable() or not given):
            raise PageError("the token has characters that no token has; copy it again")
        return Page(base, given)

    @property
    def on_this_machine(self) -> bool:
        """Whether the address is of this machine, so that nothing leaves it."""
        host = urlsplit(self.address).hostname or ""
        try:
            return host == "localhost" or ipaddress.ip_address(host).is_loopback
        except ValueError:
            return False

    def info(self) -> dict[str, Any]:
        """The network, and what it can vary: /api/info. PageError if there is no page of TetraGAN."""
        try:
            facts = json.loads(self._get("/api/info", 10.0))
            str(facts["network"]["name"]), int(facts["classes"]), int(facts["pca_axes"])
        except (ValueError, KeyError, TypeError):
            raise PageError(f"{self.address} is not a page of tetragan view") from None
        return facts

    def mesh(self, query: dict[str, str]) -> bytes:
        """The GLB file of a query: /api/mesh.glb. PageError with the reason if there is none."""
        data = self._get(f"/api/mesh.glb?{urlencode(query)}", TIMEOUT)
        if not data.startswith(GLB_MAGIC):
            raise PageError(f"{self.address} sent no GLB file; is it a page of tetragan view?")
        return data

    def _get(self, path: str, timeout: float) -> bytes:
        request = urllib.request.Request(self.address + path)
        if self.token:
            request.add_header("Authorization", f"Bearer {self.token}")
        try:
            with _OPENER.open(request, timeout=timeout) as response:
                data = response.read(MAX_BYTES + 1)
        except urllib.error.HTTPError as error:
            raise PageError(_refusal(error, self.token)) from None
        except TimeoutError:
            raise PageError(f"{self.address} did not answer within {timeout:.0f} seconds") from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            if isinstance(reason, TimeoutError):
                raise PageError(f"{self.address} did not answer within {timeout:.0f} seconds") from None
            raise PageError(f"no page at {self.address} ({_one_line(reason)}); start one: tetragan view") from None
        if len(data) > MAX_BYTES:
            raise PageError(f"{self.address} sent more than {MAX_BYTES >> 20} MB")
        return data


def _refusal(error: urllib.error.HTTPError, token: str) -> str:
    """The page's own reason for a status that is no success."""
    if error.code == 401:
        return "the token is wrong" if token else "this page needs its token, which tetragan view prints"
    try:
        return _one_line(json.loads(error.read(1 << 16))["error"])
    except (ValueError, KeyError, TypeError, OSError, http.client.HTTPException):
        return f"the page answered {error.code} {error.reason}"


def _one_line(reason: object) -> str:
    """A reason without line breaks, at most as long as a panel shows."""
    text = getattr(reason, "strerror", None) or str(reason) or type(reason).__name__
    return " ".join(str(text).split())[:200]


def mesh_query(
    shape_seed: int,
    texture_seed: int | None,
    truncation: float,
    *,
    label: int | None = None,
    shape_pca: Sequence[float] = (),
    texture_pca: Sequence[float] = (),
    move: str = "",
    faces: int = 8000,
    texture_size: int = 1024,
) -> dict[str, str]:
    """The parameters of /api/mesh.glb. texture_seed: None for that of the shape. label: a class, or None.

    shape_pca, texture_pca: moves along the first principal axes, standard deviations; zeros at the end are left out.
    move: along attributes of /api/info, e.g. "type=armchair:2".
    """
    query = {"shape_seed": str(shape_seed), "truncation": f"{truncation:.3g}"}
    if texture_seed is not None and texture_seed != shape_seed:
        query["texture_seed"] = str(texture_seed)
    if label is not None:
        query["class"] = str(label)
    for name, moves in (("shape_pca", shape_pca), ("texture_pca", texture_pca)):
        texts = [f"{move:.3g}" for move in moves]
        while texts and float(texts[-1]) == 0:
            texts.pop()
        if texts:
            query[name] = ",".join(texts)
    if move.strip():
        query["move"] = move.strip()
    return query | {"faces": str(faces), "texture_size": str(texture_size)}


def object_name(query: dict[str, str]) -> str:
    """What a mesh is called, as `tetragan generate` calls its files: seed0003, or shape0003_texture0007."""
    shape = int(query["shape_seed"])
    texture = int(query.get("texture_seed", shape))
    return f"seed{shape:04d}" if texture == shape else f"shape{shape:04d}_texture{texture:04d}"
