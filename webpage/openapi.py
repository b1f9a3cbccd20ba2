"""The API's OpenAPI 3.1 document, from the models of its queries."""

from typing import Any

from webpage.query import ImageQuery, MeshQuery, SampleQuery

ERRORS = {"401": "A token is needed.", "403": "A foreign host name or web page.", "422": "A value out of range."}


def openapi_document() -> dict[str, Any]:
    """The document, as JSON values."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "TetraGAN",
            "version": "1",
            "description": "Meshes and images of one generator. The same query gives the same bytes.",
        },
        "paths": {
            "/api/mesh.glb": _path("A mesh as GLB.", MeshQuery, "model/gltf-binary"),
            "/api/mesh.obj": _path("A mesh as a zip archive of OBJ, MTL and PNG.", MeshQuery, "application/zip"),
            "/api/mesh.usdz": _path("A mesh as USDZ; needs usd-core.", MeshQuery, "model/vnd.usdz+zip"),
            "/api/image.png": _path("The lit sample.", ImageQuery, "image/png"),
            "/api/info": _path("The network, and what it can vary.", None, "application/json"),
        },
    }


def _path(summary: str, query: type[SampleQuery] | None, media_type: str) -> dict[str, Any]:
    properties = {} if query is None else query.model_json_schema()["properties"]
    parameters = [
        {
            "name": name,
            "in": "query",
            "required": False,
            "description": schema.get("description", ""),
            "schema": {key: value for key, value in schema.items() if key not in ("description", "title")},
        }
        for name, schema in properties.items()
    ]
    wrong = {"application/json": {"schema": {"type": "object", "properties": {"error": {"type": "string"}}}}}
    responses: dict[str, Any] = {"200": {"description": summary, "content": {media_type: {}}}}
    responses |= {status: {"description": text, "content": wrong} for status, text in ERRORS.items()}
    return {"get": {"summary": summary, "parameters": parameters, "responses": responses}}
