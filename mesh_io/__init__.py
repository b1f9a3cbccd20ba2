"""Reading and writing mesh files: `read.read_mesh`, and one function of `write` for each format."""
