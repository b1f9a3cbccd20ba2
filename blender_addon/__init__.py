"""Blender add-on: a panel in the sidebar of the 3D view that places meshes of a running `tetragan view`.

`panel` needs Blender's module bpy, `client` the standard library alone.
"""


def register():
    """Called by Blender when the add-on is enabled."""
    from .panel import register_classes

    register_classes()


def unregister():
    """Called by Blender when the add-on is disabled."""
    from .panel import unregister_classes

    unregister_classes()
