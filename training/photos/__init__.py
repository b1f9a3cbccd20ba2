"""Photos of one object: read, learned by a diffusion prior, and turned into gradients that guide towards it."""
