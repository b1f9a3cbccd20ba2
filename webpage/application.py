"""The page and its API as a Starlette application."""

import asyncio
import base64
import hashlib
import os
import re
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from torch_utils.errors import UserError
from torch_utils.files import WriteError
from webpage.guard import Guard, refused
from webpage.mesh_maker import MeshMaker
from webpage.openapi import openapi_document
from webpage.query import PCA_AXES, BadQuery, ImageQuery, MeshQuery, SampleQuery, parse_query

STATIC = Path(__file__).parent / "static"
MEDIA_TYPES = {"glb": "model/gltf-binary", "obj": "application/zip", "usdz": "model/vnd.usdz+zip"}
DISCONNECTED = 499


def application(maker: MeshMaker, address: str = "127.0.0.1", token: str | None = None) -> Starlette:
    """The application for one network. address, token: see `Guard`."""
    turn = asyncio.Semaphore(1)
    classes = maker.generator.classes

    async def answer(request: Request, kind: type[SampleQuery], make, media_type: str, name: str) -> Response:
        try:
            query = parse_query(kind, request.query_params.multi_items(), classes)
        except BadQuery as error:
            return refused(422, str(error))
        async with turn:
            # Whoever moved a slider on does not wait for the mesh between.
            if await request.is_disconnected():
                return Response(status_code=DISCONNECTED)
            try:
                data = await run_in_threadpool(make, query)
            except WriteError as error:
                return refused(507, str(error))
            except UserError as error:
                return refused(422, str(error))
        # The next page at this address may show another network.
        headers = {"cache-control": "no-store", "content-disposition": f'inline; filename="{name}"'}
        return Response(data, media_type=media_type, headers=headers)

    async def mesh(request: Request) -> Response:
        ending = request.path_params["ending"]
        if ending not in MEDIA_TYPES:
            return refused(404, "meshes are glb, obj or usdz")
        name = "mesh.zip" if ending == "obj" else f"mesh.{ending}"
        return await answer(request, MeshQuery, lambda query: maker.mesh(query, ending), MEDIA_TYPES[ending], name)

    async def image(request: Request) -> Response:
        return await answer(request, ImageQuery, maker.image, "image/png", "image.png")

    async def info(_: Request) -> Response:
        return JSONResponse(facts_of(maker))

    async def openapi(_: Request) -> Response:
        return JSONResponse(openapi_document())

    async def page(_: Request) -> Response:
        return FileResponse(STATIC / "index.html", headers={"cache-control": "no-cache"})

    return Starlette(
        routes=[
            Route("/", page),
            Route("/api/mesh.{ending}", mesh),
            Route("/api/image.png", image),
            Route("/api/info", info),
            Route("/api/openapi.json", openapi),
            Mount("/static", StaticFiles(directory=STATIC)),
        ],
        middleware=[Middleware(Guard, address=address, token=token, script_hashes=inline_script_hashes())],
    )


def facts_of(maker: MeshMaker) -> dict[str, Any]:
    """What `/api/info` says: the network, what can be varied, and the process that serves it."""
    return {
        "network": maker.identity,
        "classes": maker.generator.classes,
        "pca_axes": PCA_AXES,
        "attributes": maker.attributes,
        "latents": list(maker.latents),
        "pid": os.getpid(),
    }


def inline_script_hashes() -> tuple[str, ...]:
    """The hashes that let the page's inline scripts through its content security policy."""
    scripts = re.findall(r"<script type=\"importmap\">(.*?)</script>", (STATIC / "index.html").read_text("utf-8"), re.S)
    return tuple("sha256-" + base64.b64encode(hashlib.sha256(text.encode()).digest()).decode() for text in scripts)
