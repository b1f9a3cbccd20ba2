"""Runs in Blender's Python: installs the add-on's zip, places meshes of a page, and prints what happened as JSON."""

import json
import sys

import bpy

ZIP, ADDRESS = sys.argv[1:3]
PACKAGE = "bl_ext.user_default.tetragan"


def objects():
    """What every mesh object is, textures as [width, whether packed]."""
    found = []
    for item in bpy.data.objects:
        if item.type != "MESH":
            continue
        heights = [(item.matrix_world @ vertex.co).z for vertex in item.data.vertices]
        nodes = [node for slot in item.material_slots for node in slot.material.node_tree.nodes]
        images = [node.image for node in nodes if node.type == "TEX_IMAGE" and node.image]
        found.append(
            {
                "name": item.name,
                "data": item.data.name,
                "faces": len(item.data.polygons),
                "textures": [[image.size[0], image.packed_file is not None] for image in images],
                "height": max(heights) - min(heights),
                "lowest": min(heights),
                "query": item.get("tetragan_query", ""),
                "selected": item.select_get(),
            }
        )
    return found


def names():
    """The names of all objects."""
    return sorted(item.name for item in bpy.data.objects)


def place(**settings):
    """Press the button with these settings: the status and the panel's line."""
    scene = bpy.context.scene.tetragan
    for name, value in settings.items():
        setattr(scene, name, value)
    status = bpy.ops.tetragan.place("EXEC_DEFAULT", True)  # True: with an undo step, as from the panel
    return {"status": next(iter(status)), "message": scene.message, "failed": scene.failed}


bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.ops.extensions.package_install_files(filepath=ZIP, repo="user_default", enable_on_install=True)
preferences = bpy.context.preferences.addons[PACKAGE].preferences
facts = {"default": preferences.address}
preferences.address = ADDRESS
bpy.context.scene.cursor.location = (1, 2, 3)
bpy.ops.ed.undo_push(message="nothing placed")
facts["placed"] = place(shape_seed=3, texture_seed=7, own_texture=True, truncation=0.5, faces=200, texture_size=64)
bpy.context.view_layer.update()
facts["objects"] = objects()
facts["again"] = place(own_texture=False, shape_pca=(1, 0, 0, 0))
facts["names"] = names()
bpy.ops.ed.undo()
facts["undone"] = names()
bpy.ops.ed.redo()
facts["redone"] = names()
facts["unknown attribute"] = place(move="type=throne:1")
bpy.context.scene.tetragan.move = ""
for case, address in (("nobody", "127.0.0.1:9"), ("offline", "192.0.2.1:8017"), ("no address", "ftp://x")):
    preferences.address = address
    facts[case] = place()
facts["names after errors"] = names()
bpy.ops.preferences.addon_disable(module=PACKAGE)
facts["gone"] = not hasattr(bpy.types.Scene, "tetragan")
print("FACTS " + json.dumps(facts))
