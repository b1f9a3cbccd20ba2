"""The sectors that `benchmarks.coalescing` counts, of accesses that are easy to count by hand."""

import subprocess
import sys

# In a process of its own, as the emulation can be loaded once.
COUNT = """
import torch
from benchmarks.coalescing import Counter
from torch_utils.ops.connected_vertices import connected_vertices
counter = Counter(["connected_vertices"])
found = counter.count(lambda: connected_vertices(torch.zeros(0, 3).int(), 96))
for name in ("start", "label"):
    print(found[name].requests, found[name].sectors, found[name].fewest)
print(counter.count(lambda: connected_vertices(torch.arange(96).view(32, 3).int(), 96))["hook"].ratio)
"""


def test_neighboring_lanes_share_sectors() -> None:
    """Three warps write 32 int32 each, which are four sectors. Later they read them again, and write as many int64."""
    done = subprocess.run([sys.executable, "-c", COUNT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    start, label, ratio = done.stdout.splitlines()
    assert (start, label) == ("3 12 12", "6 36 36")
    assert float(ratio) > 1.2  # of a face, two of three vertices are read
