"""USD through usd-core: skipped if it is not installed."""

import zipfile

import numpy as np
import pytest
from PIL import Image

from mesh_io.read import read_mesh
from tests.mesh_io.build import color_square, save_image
from torch_utils.errors import UserError

pytest.importorskip("pxr", reason="usd-core is not installed")

SCENE = """#usda 1.0
(
    upAxis = "Z"
)
def Xform "root" {{
    double3 xformOp:translate = (10, 0, 0)
    uniform token[] xformOpOrder = ["xformOp:translate"]
    def Mesh "square" (prepend apiSchemas = ["MaterialBindingAPI"]) {{
        point3f[] points = [(0, 0, 0), (1, 0, 0), (1, 1, 0), (0, 1, 0)]
        int[] faceVertexCounts = [3, 3]
        int[] faceVertexIndices = [0, 1, 2, 0, 2, 3]
        texCoord2f[] primvars:st = [(0, 0), (1, 0), (1, 1), (0, 0), (1, 1), (0, 1)] (interpolation = "faceVarying")
        rel material:binding = </root/paint>
        def GeomSubset "second" (prepend apiSchemas = ["MaterialBindingAPI"]) {{
            uniform token elementType = "face"
            uniform token familyName = "materialBind"
            int[] indices = [1]
            rel material:binding = </root/plain>
        }}
    }}
    def Mesh "colored" {{
        point3f[] points = [(0, 0, 1), (1, 0, 1), (1, 1, 1)]
        int[] faceVertexCounts = [3]
        int[] faceVertexIndices = [0, 1, 2]
        uniform token orientation = "leftHanded"
        color3f[] primvars:displayColor = [(0.21404114, 1, 0)]
    }}
    def Mesh "hidden" {{
        token visibility = "invisible"
        point3f[] points = [(0, 0, 9), (1, 0, 9), (1, 1, 9)]
        int[] faceVertexCounts = [3]
        int[] faceVertexIndices = [0, 1, 2]
    }}
    def Material "paint" {{
        token outputs:surface.connect = </root/paint/surface.outputs:surface>
        def Shader "surface" {{
            uniform token info:id = "UsdPreviewSurface"
            color3f inputs:diffuseColor.connect = </root/paint/image.outputs:rgb>
            token outputs:surface
        }}
        def Shader "image" {{
            uniform token info:id = "UsdUVTexture"
            asset inputs:file = @{texture}@
            token inputs:wrapS = "mirror"
            float3 outputs:rgb
        }}
    }}
    def Material "plain" {{
        token outputs:surface.connect = </root/plain/surface.outputs:surface>
        def Shader "surface" {{
            uniform token info:id = "UsdPreviewSurface"
            color3f inputs:diffuseColor = (0.21404114, 0, 1)
            float inputs:opacity = 0.5
            token outputs:surface
        }}
    }}
}}
"""


def test_scene(tmp_path):
    save_image(tmp_path / "wood.png")
    (tmp_path / "a.usda").write_text(SCENE.format(texture="./wood.png"))
    mesh = read_mesh(tmp_path / "a.usda")
    assert mesh.up == "+Z" and mesh.warnings == () and len(mesh.parts) == 3
    plain, paint, colored = mesh.parts
    np.testing.assert_array_equal(mesh.bounds(), [[10, 0, 0], [11, 1, 1]])
    np.testing.assert_array_equal(paint.material.image, color_square())
    assert paint.material.wrap == ("mirror", "repeat")
    np.testing.assert_allclose(paint.uvs[paint.faces[0]], [[0, 1], [1, 1], [1, 0]])
    np.testing.assert_allclose(plain.material.base_color, [0.5, 0, 1, 0.5], atol=1e-6)
    assert plain.material.alpha_mode == "BLEND" and len(plain.faces) == 1
    np.testing.assert_allclose(colored.vertex_colors[0], [0.5, 1, 0, 1], atol=1e-6)
    a, b, c = colored.vertices[colored.faces[0]]
    assert np.cross(b - a, c - a)[2] < 0


def test_missing_texture_and_texture_outside(tmp_path):
    (tmp_path / "tree").mkdir()
    (tmp_path / "tree" / "a.usda").write_text(SCENE.format(texture="../wood.png"))
    assert "is missing" in read_mesh(tmp_path / "tree" / "a.usda").warnings[0]
    save_image(tmp_path / "wood.png")
    with pytest.raises(UserError, match="outside the source folder"):
        read_mesh(tmp_path / "tree" / "a.usda")


def test_layers_outside_the_tree_are_not_composed(tmp_path):
    (tmp_path / "tree").mkdir()
    (tmp_path / "b.usda").write_text(SCENE.format(texture="./wood.png"))
    (tmp_path / "tree" / "a.usda").write_text("#usda 1.0\n(\n    subLayers = [@../b.usda@]\n)\n")
    with pytest.raises(UserError, match="outside the source folder"):
        read_mesh(tmp_path / "tree" / "a.usda")
    assert read_mesh(tmp_path / "tree" / "a.usda", root=tmp_path).num_faces == 3


def test_archives(tmp_path):
    for name, compression, message in (
        ("a.usda", zipfile.ZIP_DEFLATED, "is compressed"),
        ("../a.usda", zipfile.ZIP_STORED, "leaves the archive"),
    ):
        with zipfile.ZipFile(tmp_path / "a.usdz", "w", compression) as archive:
            archive.writestr(name, SCENE.format(texture="./wood.png"))
        with pytest.raises(UserError, match=message):
            read_mesh(tmp_path / "a.usdz")
    (tmp_path / "a.usdz").write_bytes((tmp_path / "a.usdz").read_bytes()[:300])
    with pytest.raises(UserError, match="damaged USDZ archive"):
        read_mesh(tmp_path / "a.usdz")


@pytest.mark.parametrize("text", ["#usda 1.0\ndef Mesh {", "#usda 1.0\n", "PXR-USDC" + "x" * 100])
def test_damaged_layers(tmp_path, text):
    (tmp_path / "a.usd").write_text(text)
    with pytest.raises(UserError, match=r"a\.usd: "):
        read_mesh(tmp_path / "a.usd")


TRIANGLE = """
    point3f[] points = [(0, 0, 0), (1, 0, 0), (0, 1, 0)]
    int[] faceVertexCounts = [3]
    int[] faceVertexIndices = [0, 1, 2]
"""


def test_point_instancers_place_their_prototypes(tmp_path):
    text = f"""#usda 1.0
    def PointInstancer "many" {{
        int[] protoIndices = [0, 1, 0]
        point3f[] positions = [(0, 0, 0), (0, 0, 5), (9, 0, 0)]
        float3[] scales = [(1, 1, 1), (2, 2, 2), (1, 1, 1)]
        rel prototypes = [</many/a>, </many/b>]
        double3 xformOp:translate = (100, 0, 0)
        uniform token[] xformOpOrder = ["xformOp:translate"]
        def Mesh "a" {{ {TRIANGLE} }}
        def Xform "b" {{
            double3 xformOp:translate = (0, 0, 1)
            uniform token[] xformOpOrder = ["xformOp:translate"]
            def Mesh "inner" {{ {TRIANGLE} }}
        }}
    }}
    """
    (tmp_path / "a.usda").write_text(text)
    mesh = read_mesh(tmp_path / "a.usda")
    vertices, faces, _ = mesh.merged()
    lows = sorted(tuple(vertices[face].min(0).tolist()) for face in faces)
    assert lows == [(100, 0, 0), (100, 0, 7), (109, 0, 0)] and mesh.bounds()[1].tolist() == [110, 2, 7]


@pytest.mark.parametrize("surface", ["Sphere", "Cube", "NurbsPatch"])
def test_surfaces_that_are_not_read_are_refused_by_name(tmp_path, surface):
    mesh = f'#usda 1.0\ndef Mesh "m" {{ {TRIANGLE} }}\n'
    (tmp_path / "a.usda").write_text(mesh + f'def {surface} "s" {{ }}\n')
    with pytest.raises(UserError, match=f"/s is a {surface}, which is not read; convert it to a mesh"):
        read_mesh(tmp_path / "a.usda")
    (tmp_path / "a.usda").write_text(mesh + f'def {surface} "s" {{\n token visibility = "invisible"\n}}\n')
    assert read_mesh(tmp_path / "a.usda").num_faces == 1


def test_a_missing_layer_is_named(tmp_path):
    text = f'#usda 1.0\ndef Mesh "m" {{ {TRIANGLE} }}\ndef "x" (references = @gone.usda@) {{ }}\n'
    (tmp_path / "a.usda").write_text(text)
    with pytest.raises(UserError, match=r"gone\.usda', which is missing"):
        read_mesh(tmp_path / "a.usda")


def textured(prim: str, file: str, uvs: str = "st", nodes: str = "", source: str = "reader") -> str:
    """The text of a triangle and its material, below /root. nodes: further shaders. source: what gives coordinates."""
    return f"""
    def Mesh "{prim}" (prepend apiSchemas = ["MaterialBindingAPI"]) {{ {TRIANGLE}
        texCoord2f[] primvars:{uvs} = [(0, 0), (1, 0), (0, 1)] (interpolation = "vertex")
        rel material:binding = </root/{prim}_paint>
        double3 xformOp:translate = ({ord(prim)}, 0, 0)
        uniform token[] xformOpOrder = ["xformOp:translate"]
    }}
    def Material "{prim}_paint" {{
        token outputs:surface.connect = </root/{prim}_paint/surface.outputs:surface>
        def Shader "surface" {{
            uniform token info:id = "UsdPreviewSurface"
            color3f inputs:diffuseColor.connect = </root/{prim}_paint/image.outputs:rgb>
            token outputs:surface
        }}
        def Shader "image" {{
            uniform token info:id = "UsdUVTexture"
            asset inputs:file = @{file}@
            float2 inputs:st.connect = </root/{prim}_paint/{source}.outputs:result>
            float3 outputs:rgb
        }}
        def Shader "reader" {{
            uniform token info:id = "UsdPrimvarReader_float2"
            string inputs:varname = "{uvs}"
            float2 outputs:result
        }}
        {nodes}
    }}
"""


def stage(*prims: str) -> str:
    return '#usda 1.0\n(\n    defaultPrim = "root"\n)\ndef Xform "root" {\n' + "".join(prims) + "}\n"


def colors_of(path) -> list[list[int]]:
    mesh = read_mesh(path)
    assert mesh.warnings == ()
    return [part.material.image[0, 0].tolist() for part in mesh.parts]


def test_textures_of_one_name_in_several_folders(tmp_path):
    from pxr import UsdUtils

    for folder, color in (("a", (255, 0, 0)), ("b", (0, 0, 255)), ("layers/a", (0, 255, 0))):
        (tmp_path / folder).mkdir(parents=True)
        Image.new("RGB", (4, 4), color).save(tmp_path / folder / "color.png")
    (tmp_path / "two.usda").write_text(stage(textured("x", "a/color.png"), textured("y", "b/color.png")))
    assert UsdUtils.CreateNewUsdzPackage(str(tmp_path / "two.usda"), str(tmp_path / "two.usdz"))
    assert colors_of(tmp_path / "two.usda") == colors_of(tmp_path / "two.usdz") == [[255, 0, 0], [0, 0, 255]]
    # A layer's textures are named from its own folder.
    (tmp_path / "layers" / "own.usda").write_text(stage(textured("x", "a/color.png")))
    (tmp_path / "all.usda").write_text('#usda 1.0\ndef "root" (references = @layers/own.usda@) {\n}\n')
    assert colors_of(tmp_path / "all.usda") == [[0, 255, 0]]


def test_texture_coordinates_are_transformed(tmp_path):
    save_image(tmp_path / "wood.png")
    move = """def Shader "move" {
            uniform token info:id = "UsdTransform2d"
            float2 inputs:in.connect = </root/x_paint/reader.outputs:result>
            float2 inputs:scale = (2, 3)
            float inputs:rotation = 90
            float2 inputs:translation = (0.25, 0.5)
            float2 outputs:result
        }"""
    (tmp_path / "a.usda").write_text(stage(textured("x", "wood.png", "map1", move, "move")))
    mesh = read_mesh(tmp_path / "a.usda")
    assert mesh.warnings == ()
    # Scaled, then turned counter-clockwise, then moved; v is upward in the file.
    expected = [[0.25, 1 - 0.5], [0.25, 1 - 2.5], [0.25 - 3, 1 - 0.5]]
    np.testing.assert_allclose(mesh.parts[0].uvs[mesh.parts[0].faces[0]], expected, atol=1e-6)


def test_colors_that_a_material_reads_or_a_parent_gives(tmp_path):
    paint = """
    def Material "paint" {
        token outputs:surface.connect = </root/paint/surface.outputs:surface>
        def Shader "surface" {
            uniform token info:id = "UsdPreviewSurface"
            color3f inputs:diffuseColor.connect = </root/paint/reader.outputs:result>
            token outputs:surface
        }
        def Shader "reader" {
            uniform token info:id = "UsdPrimvarReader_float3"
            string inputs:varname = "own"
            float3 outputs:result
        }
    }
    def Mesh "x" (prepend apiSchemas = ["MaterialBindingAPI"]) { rel material:binding = </root/paint>
        color3f[] primvars:own = [(0, 0.21404114, 1)]
    """
    shared = '    color3f[] primvars:displayColor = [(1, 0, 0)] (interpolation = "constant")\n'
    other = TRIANGLE.replace("(0, 0, 0)", "(0, 0, 1)")
    (tmp_path / "a.usda").write_text(stage(shared, paint, TRIANGLE, "}\n", f'def Mesh "y" {{ {other} }}\n'))
    mesh = read_mesh(tmp_path / "a.usda")
    assert mesh.warnings == ()
    np.testing.assert_allclose(mesh.parts[0].vertex_colors[0], [0, 0.5, 1, 1], atol=1e-6)
    np.testing.assert_allclose(mesh.parts[1].vertex_colors[0], [1, 0, 0, 1], atol=1e-6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('def Mesh "m" { int a = 3 }', "2:16: Expected }"),
        ("def Mesh {", "2:1: parse error matching eof"),
        (f'def Mesh "m" {{ {TRIANGLE} string material:binding = "x"\n }}', "is not a relationship"),
    ],
)
def test_the_fault_of_a_text_is_named(tmp_path, text, message):
    (tmp_path / "a.usda").write_text(f"#usda 1.0\n{text}\n")
    with pytest.raises(UserError, match=rf"a\.usda: USD cannot read it \(.*{message}"):
        read_mesh(tmp_path / "a.usda")


@pytest.mark.parametrize("name", ["normal3f[] normals", "normal3f[] primvars:normals"])
def test_normals(tmp_path, name):
    normals = f'{name} = [(0, 0, 2), (0, 3, 4), (1, 0, 0)] (interpolation = "faceVarying")\n'
    turned = 'double xformOp:rotateZ = 90\nuniform token[] xformOpOrder = ["xformOp:rotateZ"]\n'
    (tmp_path / "a.usda").write_text(stage(f'def Mesh "m" {{ {TRIANGLE} {normals} {turned} }}\n'))
    part = read_mesh(tmp_path / "a.usda").parts[0]
    expected = [[0, 0, 1], [-0.6, 0, 0.8], [0, 1, 0]]
    np.testing.assert_allclose(part.normals[part.faces[0]], expected, atol=1e-6)


def test_values_of_another_width_or_type(tmp_path):
    uvs = 'texCoord3f[] primvars:st = [(0, 0, 5), (1, 0, 5), (0, 1, 5), (1, 1, 5)] (interpolation = "vertex")\n'
    square = "point3f[] points = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (1, 1, 0)]\nint[] faceVertexCounts = [4]\n"
    square += "int[] faceVertexIndices = [0, 1, 3, 2]\nfloat[] primvars:normals = [1, 2]\n"
    (tmp_path / "a.usda").write_text(stage(f'def Mesh "m" {{ {square} {uvs} }}\n'))
    part = read_mesh(tmp_path / "a.usda").parts[0]
    np.testing.assert_allclose(part.uvs, part.vertices[:, :2] * [1, -1] + [0, 1])
    assert part.normals is None
    save_image(tmp_path / "wood.png")
    move = 'def Shader "move" { uniform token info:id = "UsdTransform2d"\nstring inputs:rotation = "left"\n'
    move += "float2 outputs:result\n}\n"
    (tmp_path / "b.usda").write_text(stage(textured("x", "wood.png", "st", move, "move")))
    mesh = read_mesh(tmp_path / "b.usda")
    assert mesh.parts[0].material.image is None and "malformed and counts as white" in mesh.warnings[0]
