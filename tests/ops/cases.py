"""Every op once. A group of ops has its own file; add it to `CASES`."""

from tests.ops.cases_geometry import GEOMETRY_CASES
from tests.ops.cases_metrics import METRIC_CASES
from tests.ops.cases_networks import NETWORK_CASES
from tests.ops.cases_raster import RASTER_CASES
from tests.ops.cases_shading import SHADING_CASES
from tests.ops.cases_surfaces import SURFACE_CASES

CASES = [*GEOMETRY_CASES, *METRIC_CASES, *NETWORK_CASES, *RASTER_CASES, *SHADING_CASES, *SURFACE_CASES]
