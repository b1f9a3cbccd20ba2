"""Mutated files for every reader: each is read, or refused with one UserError, within bounds of memory and time."""
