"""Runs in Blender's Python: imports a mesh file with Blender's own reader and renders its base colors with Cycles.

Called by renderer_agreement.py as `python -I blender_import.py FOLDER`.
"""

import json
import sys
from pathlib import Path

TO_FILE = ((1, 0, 0, 0), (0, 0, 1, 0), (0, -1, 0, 0), (0, 0, 0, 1))  # from Blender's axes to those of a file with +Y up
SAME = ((1, 0, 0, 0), (0, 1, 0, 0), (0, 0, 1, 0), (0, 0, 0, 1))


def job_of(folder, path, source_to_world, cameras, resolution, samples):
    """Write job.json into `folder`; runs outside Blender."""
    job = {
        "resolution": resolution,
        "samples": samples,
        "denoise": False,
        "shading": "albedo",
        "light": "studio",
        "device": "cpu",
        "threads": 1,
        "near": cameras.near,
        "far": cameras.far,
        "poses": cameras.camera_to_world.tolist(),
        "focal": cameras.focal[:, 0].tolist(),
        "file": str(Path(path).resolve()),
        "source_to_world": source_to_world.tolist(),
    }
    (folder / "job.json").write_text(json.dumps(job))


def import_file(bpy, path):
    """Import a file by its suffix; returns the 4×4 map from Blender's axes to those of the file."""
    suffix = Path(path).suffix.lower()
    if suffix in (".glb", ".gltf"):
        bpy.ops.import_scene.gltf(filepath=path)
        return TO_FILE
    if suffix == ".obj":
        bpy.ops.wm.obj_import(filepath=path)
        return TO_FILE
    if suffix == ".ply":
        bpy.ops.wm.ply_import(filepath=path)
    elif suffix == ".stl":
        bpy.ops.wm.stl_import(filepath=path)
    else:
        raise SystemExit(f"Blender has no importer for {suffix}")
    return SAME


def base_color_sockets(tree):
    """The sockets of an imported material's base color and alpha; None for an opaque one."""
    for node in tree.nodes:
        if node.type == "BSDF_PRINCIPLED":
            color, alpha = node.inputs["Base Color"], node.inputs["Alpha"]
            return color, alpha if alpha.is_linked or alpha.default_value < 1 else None
    node = next(node for node in tree.nodes if node.type in ("EMISSION", "BACKGROUND"))
    return node.inputs["Color"], None


def make_albedo(tree, script):
    """Rewire a material to emit its base color."""
    color, alpha = base_color_sockets(tree)
    color_from = color.links[0].from_socket if color.is_linked else script.rgb(tree, color.default_value)
    alpha_from = None
    if alpha is not None:
        alpha_from = alpha.links[0].from_socket if alpha.is_linked else script.value(tree, alpha.default_value)
    for node in [node for node in tree.nodes if node.type == "OUTPUT_MATERIAL"]:
        tree.nodes.remove(node)
    shader = tree.nodes.new("ShaderNodeEmission")
    tree.links.new(color_from, shader.inputs["Color"])
    script.finish_material(tree, shader.outputs[0], alpha_from)


def main(folder):
    """Inside Blender: render the views of `job.json` in a folder, with the mesh as Blender imports it."""
    import blender_script as script
    import bpy
    from mathutils import Matrix

    job = json.loads((folder / "job.json").read_text())
    scene = script.set_up(job)
    to_file = Matrix(import_file(bpy, job["file"]))
    move = Matrix(job["source_to_world"]) @ to_file
    bpy.context.view_layer.update()
    for thing in [thing for thing in scene.objects if thing.parent is None]:
        thing.matrix_world = move @ thing.matrix_world
    for thing in [thing for thing in scene.objects if thing.type == "MESH"]:
        if not thing.data.materials:
            thing.data.materials.append(bpy.data.materials.new("white"))
    for material in bpy.data.materials:
        if not material.use_nodes:
            material.use_nodes = True
            material.node_tree.nodes["Principled BSDF"].inputs["Base Color"].default_value = (1, 1, 1, 1)
        make_albedo(material.node_tree, script)
    seconds = script.render_poses(scene, job, folder)
    (folder / "result.json").write_text(json.dumps({"version": bpy.app.version_string, "seconds": seconds}))


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1] / "dataset_tool" / "render"))
    from blender_script import run

    run(main)
