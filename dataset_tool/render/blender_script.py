"""Render one job with Cycles. This script runs in Blender's Python and imports nothing of this project.

    python -I blender_script.py FOLDER

FOLDER contains job.json, parts.npz and the textures, as written by `blender.py`. The views (000.png …) and result.json
are written into it. The process ends when its standard input closes, so it never outlives its parent.
World axes are those of the project (+Y up). Blender's cameras have the same axes as the project's.
"""

import json
import math
import os
import sys
import threading
import time
from pathlib import Path

import bpy
import numpy as np
from mathutils import Matrix

SENSOR_MM = 32.0
TRANSPARENT_LAYERS = 8  # as many as in the built-in renderer


def set_up(job):
    """Return an empty scene with the job's render settings."""
    bpy.ops.wm.read_factory_settings(use_empty=True)
    scene = bpy.context.scene
    render, cycles = scene.render, scene.cycles
    render.engine = "CYCLES"
    render.resolution_x = render.resolution_y = job["resolution"]
    render.resolution_percentage = 100
    render.film_transparent = True
    render.use_persistent_data = True
    render.dither_intensity = 0
    render.threads_mode, render.threads = "FIXED", job["threads"]
    render.image_settings.file_format = "PNG"
    render.image_settings.color_mode = "RGBA"
    render.image_settings.color_depth = "8"
    render.image_settings.compression = 0
    scene.display_settings.display_device = "sRGB"
    scene.view_settings.view_transform = "Standard"
    scene.view_settings.look = "None"
    cycles.samples = job["samples"]
    cycles.seed = 0
    cycles.use_adaptive_sampling = False
    cycles.use_denoising = job["denoise"]
    cycles.pixel_filter_type = "BOX"
    cycles.transparent_max_bounces = TRANSPARENT_LAYERS
    lit = job["shading"] != "albedo"
    cycles.diffuse_bounces = cycles.glossy_bounces = 1 if lit else 0
    cycles.transmission_bounces = 3 if lit else 0
    cycles.max_bounces = 4 if lit else 0
    cycles.device = "CPU" if job["device"] == "cpu" else choose_gpu()
    if job["shading"] == "pbr":
        add_environment(scene)
    elif lit:
        add_light(scene, job["light"])
    return scene


def choose_gpu():
    """Enable Cycles' CUDA devices."""
    preferences = bpy.context.preferences.addons["cycles"].preferences
    preferences.compute_device_type = "CUDA"
    preferences.refresh_devices()
    cards = [device for device in preferences.devices if device.type == "CUDA"]
    if not cards:
        raise SystemExit("--device cuda: Blender finds no CUDA device; use --device cpu")
    for device in preferences.devices:
        device.use = device.type == "CUDA"
    return "GPU"


def add_environment(scene):
    """Add a world of an equirectangular image, laid out as in the project; `render_poses` names the image.

    Blender's own layout has +Z up. The rotation maps the project's +Y to it, as Blender's glTF importer does.
    """
    world = bpy.data.worlds.new("world")
    world.use_nodes = True
    tree = world.node_tree
    image = tree.nodes.new("ShaderNodeTexEnvironment")
    image.name = "environment"
    place, turn = tree.nodes.new("ShaderNodeTexCoord"), tree.nodes.new("ShaderNodeMapping")
    turn.inputs["Rotation"].default_value = (math.pi / 2, 0, 0)
    tree.links.new(place.outputs["Generated"], turn.inputs["Vector"])
    tree.links.new(turn.outputs["Vector"], image.inputs["Vector"])
    tree.links.new(image.outputs["Color"], tree.nodes["Background"].inputs["Color"])
    scene.world = world


def add_light(scene, light):
    """Add a light.

    "studio" is GET3D's: a square lamp of 100 units and 30 kW, half a unit above the origin, shining down, in a dark
    gray world. "sky" is a white world.
    """
    world = bpy.data.worlds.new("world")
    world.use_nodes = True
    gray = 0.05 if light == "studio" else 1.0
    world.node_tree.nodes["Background"].inputs["Color"].default_value = (gray, gray, gray, 1)
    scene.world = world
    if light != "studio":
        return
    lamp = bpy.data.lights.new("sky", "AREA")
    lamp.shape, lamp.size, lamp.energy = "SQUARE", 100.0, 30000.0
    holder = bpy.data.objects.new("sky", lamp)
    # A lamp shines along its own −Z axis, here along the world's −Y.
    holder.matrix_world = Matrix(((1, 0, 0, 0), (0, 0, 1, 0.5), (0, -1, 0, 0), (0, 0, 0, 1)))
    holder.visible_camera = False
    scene.collection.objects.link(holder)


def build_part(scene, index, part, arrays, folder, images, shading, occlusion):
    """Add one object of triangles with one material."""
    vertices, faces = arrays[f"vertices_{index}"], arrays[f"faces_{index}"]
    mesh = bpy.data.meshes.new(f"part {index}")
    mesh.vertices.add(len(vertices))
    mesh.vertices.foreach_set("co", vertices.ravel())
    mesh.loops.add(faces.size)
    mesh.loops.foreach_set("vertex_index", faces.ravel())
    mesh.polygons.add(len(faces))
    mesh.polygons.foreach_set("loop_start", np.arange(len(faces), dtype=np.int32) * 3)
    if f"uvs_{index}" in arrays:
        uvs = arrays[f"uvs_{index}"][faces.ravel()] * [1, -1] + [0, 1]  # Blender's v runs upward
        mesh.uv_layers.new(name="uv").data.foreach_set("uv", uvs.astype(np.float32).ravel())
    if f"colors_{index}" in arrays:
        layer = mesh.color_attributes.new("color", "FLOAT_COLOR", "POINT")
        layer.data.foreach_set("color", arrays[f"colors_{index}"].ravel())
    mesh.update()
    if f"normals_{index}" in arrays and shading != "albedo":
        mesh.polygons.foreach_set("use_smooth", np.ones(len(faces), bool))
        mesh.normals_split_custom_set_from_vertices(arrays[f"normals_{index}"].tolist())
    mesh.materials.append(build_material(part, f"colors_{index}" in arrays, folder, images, shading))
    holder = bpy.data.objects.new(f"part {index}", mesh)
    # Without occlusion, no ray but the camera's meets the object, as in the built-in renderer.
    holder.visible_diffuse = holder.visible_glossy = holder.visible_shadow = occlusion
    scene.collection.objects.link(holder)


def build_material(part, has_colors, folder, images, shading):
    """A material of color factor · texture · vertex color, emitted (albedo) or as a Principled surface."""
    material = bpy.data.materials.new("material")
    material.use_nodes = True
    tree = material.node_tree
    tree.nodes.clear()
    color, alpha = rgb(tree, part["factor"]), value(tree, part["factor"][3])
    sources = [texture_sockets(tree, part, folder, images)] if part["image"] else []
    if has_colors:
        node = tree.nodes.new("ShaderNodeAttribute")
        node.attribute_name = "color"
        sources.append((node.outputs["Color"], node.outputs["Alpha"]))
    for source_color, source_alpha in sources:
        color = multiply_colors(tree, color, source_color)
        alpha = arithmetic(tree, "MULTIPLY", alpha, source_alpha)
    if part["alpha_mode"] == "MASK":
        alpha = arithmetic(tree, "GREATER_THAN", alpha, value(tree, part["alpha_cutoff"] - 1e-5))
    if shading == "albedo":
        shader = tree.nodes.new("ShaderNodeEmission")
        tree.links.new(color, shader.inputs["Color"])
    else:
        shader = tree.nodes.new("ShaderNodeBsdfPrincipled")
        tree.links.new(color, shader.inputs["Base Color"])
        for name, socket in surface_sockets(tree, part, folder, images).items():
            tree.links.new(socket, shader.inputs[name])
    finish_material(tree, shader.outputs[0], None if part["alpha_mode"] == "OPAQUE" else alpha)
    return material


def finish_material(tree, surface, alpha):
    """Add the output for a surface's socket and, unless None, an alpha."""
    if alpha is not None:
        mix = tree.nodes.new("ShaderNodeMixShader")
        tree.links.new(alpha, mix.inputs[0])
        tree.links.new(tree.nodes.new("ShaderNodeBsdfTransparent").outputs[0], mix.inputs[1])
        tree.links.new(surface, mix.inputs[2])
        surface = mix.outputs[0]
    tree.links.new(surface, tree.nodes.new("ShaderNodeOutputMaterial").inputs["Surface"])


def surface_sockets(tree, part, folder, images):
    """Sockets of metallic and roughness: the factors, times blue and green of the part's surface image, if any."""
    factors = {"Metallic": value(tree, part["metallic"]), "Roughness": value(tree, part["roughness"])}
    if not part["surface_image"]:
        return factors
    split = tree.nodes.new("ShaderNodeSeparateColor")
    tree.links.new(texture_node(tree, part, "surface_image", folder, images).outputs["Color"], split.inputs[0])
    channels = {"Metallic": split.outputs["Blue"], "Roughness": split.outputs["Green"]}
    return {name: arithmetic(tree, "MULTIPLY", factor, channels[name]) for name, factor in factors.items()}


def rgb(tree, color):
    """Socket of a constant color (r, g, b, …)."""
    node = tree.nodes.new("ShaderNodeRGB")
    node.outputs[0].default_value = (*color[:3], 1)
    return node.outputs[0]


def value(tree, number):
    """Socket of a constant number."""
    node = tree.nodes.new("ShaderNodeValue")
    node.outputs[0].default_value = number
    return node.outputs[0]


def arithmetic(tree, operation, first, second):
    """Socket of a Math node's operation on two sockets."""
    node = tree.nodes.new("ShaderNodeMath")
    node.operation = operation
    tree.links.new(first, node.inputs[0])
    tree.links.new(second, node.inputs[1])
    return node.outputs[0]


def multiply_colors(tree, first, second):
    """Socket of the product of two color sockets."""
    node = tree.nodes.new("ShaderNodeMix")
    node.data_type, node.blend_type = "RGBA", "MULTIPLY"
    node.inputs["Factor"].default_value = 1
    for name, source in (("A", first), ("B", second)):
        socket = next(socket for socket in node.inputs if socket.name == name and socket.type == "RGBA")
        tree.links.new(source, socket)
    return next(socket for socket in node.outputs if socket.type == "RGBA")


def texture_sockets(tree, part, folder, images):
    """Color and alpha sockets of a part's image."""
    node = texture_node(tree, part, "image", folder, images)
    return node.outputs["Color"], node.outputs["Alpha"]


def texture_node(tree, part, which, folder, images):
    """Node of a part's "image" (sRGB) or "surface_image" (linear)."""
    key = part[which], which
    if key not in images:
        image = bpy.data.images.load(str(folder / part[which]))
        image.colorspace_settings.name = "sRGB" if which == "image" else "Non-Color"
        image.alpha_mode = "CHANNEL_PACKED"  # colors are not multiplied by alpha
        images[key] = image
    node = tree.nodes.new("ShaderNodeTexImage")
    node.image = images[key]
    node.interpolation = "Closest" if part["nearest"] else "Linear"
    wrap_u, wrap_v = part["wrap"]
    if wrap_u == wrap_v:
        node.extension = {"repeat": "REPEAT", "clamp": "EXTEND", "mirror": "MIRROR"}[wrap_u]
    else:
        node.extension = "REPEAT"
        tree.links.new(wrapped_coordinates(tree, part["wrap"], node.image.size), node.inputs["Vector"])
    return node


def wrapped_coordinates(tree, wraps, size):
    """Equivalent texture coordinates for a repeating image, with a wrap rule per axis."""
    split, join = tree.nodes.new("ShaderNodeSeparateXYZ"), tree.nodes.new("ShaderNodeCombineXYZ")
    tree.links.new(tree.nodes.new("ShaderNodeUVMap").outputs[0], split.inputs[0])
    for axis, wrap in enumerate(wraps):
        coordinate = split.outputs[axis]
        if wrap == "mirror":
            coordinate = arithmetic(tree, "PINGPONG", coordinate, value(tree, 1.0))
        if wrap != "repeat":
            coordinate = arithmetic(tree, "MAXIMUM", coordinate, value(tree, 0.5 / size[axis]))
            coordinate = arithmetic(tree, "MINIMUM", coordinate, value(tree, 1 - 0.5 / size[axis]))
        tree.links.new(coordinate, join.inputs[axis])
    return join.outputs[0]


def render_poses(scene, job, folder):
    """Render every pose to a PNG, and return the seconds of each."""
    camera = bpy.data.cameras.new("camera")
    camera.sensor_fit, camera.sensor_width = "HORIZONTAL", SENSOR_MM
    camera.clip_start, camera.clip_end = job["near"], job["far"]
    holder = bpy.data.objects.new("camera", camera)
    scene.collection.objects.link(holder)
    scene.camera = holder
    seconds = []
    for view, (pose, focal) in enumerate(zip(job["poses"], job["focal"], strict=True)):
        camera.lens = focal * SENSOR_MM / 2
        holder.matrix_world = Matrix(pose)
        if job.get("environments"):
            name = f"environment{view if job['environments'] > 1 else 0}.hdr"
            node = scene.world.node_tree.nodes["environment"]
            node.image = bpy.data.images.load(str(folder / name), check_existing=True)
        scene.render.filepath = str(folder / f"{view:03d}.png")
        start = time.perf_counter()
        bpy.ops.render.render(write_still=True)
        seconds.append(time.perf_counter() - start)
    return seconds


def end_with_parent():
    """End the process when the parent closes the pipe."""
    os.read(0, 1)
    os._exit(1)


def run(work):
    """Do the work and end the process. If it fails, the last printed line has the cause."""
    threading.Thread(target=end_with_parent, daemon=True).start()
    status = 1
    try:
        work(Path(sys.argv[-1]))
        status = 0
    finally:
        # os._exit does not wait for the thread.
        if status:
            cause = sys.exc_info()[1]
            sys.stdout.write(f"{cause if isinstance(cause, SystemExit) else repr(cause)}\n")
        sys.stdout.flush()
        os._exit(status)


def main(folder):
    """Render the job in `folder`."""
    job = json.loads((folder / "job.json").read_text())
    scene = set_up(job)
    images: dict = {}
    with np.load(folder / "parts.npz") as arrays:
        for index, part in enumerate(job["parts"]):
            build_part(scene, index, part, arrays, folder, images, job["shading"], job.get("occlusion", True))
    seconds = render_poses(scene, job, folder)
    result = {"version": bpy.app.version_string, "seconds": seconds}
    (folder / "result.json").write_text(json.dumps(result))


if __name__ == "__main__":
    run(main)
