"""Reading and writing mesh files: `reader.read_mesh`, `writer.write_glb`, `writer.write_obj`, `writer.write_usdz`."""
