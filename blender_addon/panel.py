"""The panel in the sidebar of the 3D view, its settings, and the operator that places a mesh."""

import os
import random
import tempfile
from pathlib import Path
from typing import ClassVar

import bpy

from .client import Page, PageError, mesh_query, object_name

SEED = {"min": 0, "max": 2**31 - 1}
PCA = {"size": 4, "min": -4.0, "max": 4.0, "soft_min": -2.5, "soft_max": 2.5, "precision": 2, "step": 10}


class TetraganPreferences(bpy.types.AddonPreferences):
    """Where the page is. Preferences and not the scene, so that no token is saved in a file that is passed on."""

    bl_idname = __package__

    address: bpy.props.StringProperty(
        name="Address", default="http://127.0.0.1:8017", description="What tetragan view prints"
    )
    token: bpy.props.StringProperty(
        name="Token", subtype="PASSWORD", description="Needed where the page is on another machine"
    )

    def draw(self, _):
        """The two fields."""
        self.layout.prop(self, "address")
        self.layout.prop(self, "token")


class TetraganSettings(bpy.types.PropertyGroup):
    """What to place; saved with the scene."""

    shape_seed: bpy.props.IntProperty(name="Shape", **SEED)
    texture_seed: bpy.props.IntProperty(name="Texture", **SEED)
    own_texture: bpy.props.BoolProperty(name="Texture of another seed")
    truncation: bpy.props.FloatProperty(
        name="Variety ψ", default=0.7, min=0.0, max=2.0, soft_max=1.2, precision=2, step=5,
        description="1 gives the full variety, 0 the average shape",
    )  # fmt: skip
    label: bpy.props.IntProperty(name="Class", min=0, description="Of a conditional network; others have none")
    shape_pca: bpy.props.FloatVectorProperty(name="Shape", description="Moves along the principal axes", **PCA)
    texture_pca: bpy.props.FloatVectorProperty(name="Texture", description="Moves along the principal axes", **PCA)
    move: bpy.props.StringProperty(
        name="Attributes", description="Moves along attributes of the network, e.g. type=armchair:2,legs=star:-1"
    )
    faces: bpy.props.IntProperty(name="Faces", default=8000, min=12, max=1_000_000)
    texture_size: bpy.props.IntProperty(
        name="Texture size", default=1024, min=0, max=4096, description="Side, px; 0 gives the bare geometry"
    )
    message: bpy.props.StringProperty(options={"SKIP_SAVE"})
    failed: bpy.props.BoolProperty(options={"SKIP_SAVE"})


def _query(settings, classes):
    """The parameters of the API for the panel's settings."""
    return mesh_query(
        settings.shape_seed,
        settings.texture_seed if settings.own_texture else None,
        settings.truncation,
        label=settings.label if classes else None,
        shape_pca=settings.shape_pca,
        texture_pca=settings.texture_pca,
        move=settings.move,
        faces=settings.faces,
        texture_size=settings.texture_size,
    )


def _import_glb(context, data, name):
    """The objects of a GLB file, at the 3D cursor, selected and named. PageError where the importer fails."""
    handle, path = tempfile.mkstemp(suffix=".glb", prefix="tetragan_")
    known = set(bpy.data.objects)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
        bpy.ops.import_scene.gltf(filepath=path)
    except AttributeError:
        raise PageError("the importer is missing: enable Blender's glTF 2.0 add-on in the preferences") from None
    except (RuntimeError, OSError) as error:
        raise PageError(" ".join(str(error).split())[:200]) from None
    finally:
        Path(path).unlink()
    placed = [item for item in bpy.data.objects if item not in known]
    meshes = [item for item in placed if item.type == "MESH"]
    if not meshes:
        raise PageError("the file has no mesh")
    for item in placed:
        if item.parent is None:
            item.location = item.location + context.scene.cursor.location
    for item in meshes:
        item.name = item.data.name = name
    context.view_layer.objects.active = meshes[0]
    return meshes


class TETRAGAN_OT_place(bpy.types.Operator):
    """Fetch the mesh of these seeds from the page and place it at the 3D cursor"""

    bl_idname = "tetragan.place"
    bl_label = "Place mesh"
    bl_options: ClassVar = {"REGISTER", "UNDO"}

    def execute(self, context):
        """Fetch, import and name; the panel shows what came of it."""
        settings = context.scene.tetragan
        try:
            name, network = self._place(context, settings)
        except PageError as error:
            settings.message, settings.failed = str(error), True
            self.report({"WARNING"}, str(error))
            return {"CANCELLED"}
        settings.message, settings.failed = f"{name} of {network}", False
        return {"FINISHED"}

    def _place(self, context, settings):
        preferences = context.preferences.addons[__package__].preferences
        page = Page.parse(preferences.address, preferences.token)
        if not (page.on_this_machine or bpy.app.online_access):
            raise PageError(f"{page.address} is another machine: allow online access in Blender's preferences")
        facts = page.info()
        query = _query(settings, facts["classes"])
        meshes = _import_glb(context, page.mesh(query), object_name(query))
        for item in meshes:
            item["tetragan_network"] = facts["network"]["name"]
            item["tetragan_query"] = "&".join(f"{key}={value}" for key, value in query.items())
        return meshes[0].name, facts["network"]["name"]


class TETRAGAN_OT_random(bpy.types.Operator):
    """Choose other seeds"""

    bl_idname = "tetragan.random"
    bl_label = "Random seeds"
    bl_options: ClassVar = {"REGISTER", "UNDO"}

    def execute(self, context):
        """Draw a seed for shape and texture."""
        settings = context.scene.tetragan
        settings.shape_seed, settings.texture_seed = (random.randrange(10_000) for _ in range(2))
        return {"FINISHED"}


class TETRAGAN_PT_panel(bpy.types.Panel):
    """The panel in the sidebar (N) of the 3D view."""

    bl_label = "TetraGAN"
    bl_space_type = "VIEW_3D"
    bl_region_type = "UI"
    bl_category = "TetraGAN"

    def draw(self, context):
        """Page, seeds, sliders, the button, and one line of result."""
        layout, settings = self.layout, context.scene.tetragan
        layout.use_property_split = True
        preferences = context.preferences.addons[__package__].preferences
        column = layout.column(align=True)
        column.prop(preferences, "address")
        column.prop(preferences, "token")
        column = layout.column(align=True)
        column.prop(settings, "shape_seed")
        column.prop(settings, "own_texture")
        row = column.row()
        row.enabled = settings.own_texture
        row.prop(settings, "texture_seed")
        column.operator("tetragan.random", icon="FILE_REFRESH")
        layout.prop(settings, "truncation", slider=True)
        layout.prop(settings, "label")
        layout.column(align=True).prop(settings, "shape_pca", slider=True)
        layout.column(align=True).prop(settings, "texture_pca", slider=True)
        layout.prop(settings, "move")
        column = layout.column(align=True)
        column.prop(settings, "faces")
        column.prop(settings, "texture_size")
        layout.operator("tetragan.place", icon="MESH_DATA")
        if settings.message:
            layout.label(text=settings.message, icon="ERROR" if settings.failed else "CHECKMARK")


CLASSES = (TetraganPreferences, TetraganSettings, TETRAGAN_OT_place, TETRAGAN_OT_random, TETRAGAN_PT_panel)


def register_classes():
    """Make the panel known to Blender."""
    for item in CLASSES:
        bpy.utils.register_class(item)
    bpy.types.Scene.tetragan = bpy.props.PointerProperty(type=TetraganSettings)


def unregister_classes():
    """Undo `register_classes`."""
    del bpy.types.Scene.tetragan
    for item in reversed(CLASSES):
        bpy.utils.unregister_class(item)
