"""Textures for one given mesh, which keeps its vertices and texture coordinates."""
