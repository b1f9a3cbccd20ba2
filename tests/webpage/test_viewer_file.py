"""viewer.html: everything inside, nothing from elsewhere."""

import base64
import json
import re

import pytest

from webpage.viewer_file import viewer_html


def test_the_file_holds_all_that_it_needs() -> None:
    page = viewer_html({"seed0003": b"glTF...", 'a"b<': b"x"}, "chair <1>")
    assert "chair &lt;1&gt;" in page and 'data-mesh="a&quot;b&lt;"' in page
    assert base64.b64encode(b"glTF...").decode() in page and "MIT License" in page
    assert not re.search(r"@[A-Z]+@", page) and not re.search(r"""(?:src|href)=["']?(?:https?:|/)""", page)
    imports = json.loads(re.search(r'<script type="importmap">(.*?)</script>', page, re.S)[1])["imports"]
    for url in imports.values():
        source = base64.b64decode(url.split(",", 1)[1]).decode()
        wanted = re.findall(r"""^(?:import\b|\}).*?from\s*['"]([^'"]+)['"]""", source, re.M)
        assert set(wanted) <= set(imports), wanted
    with pytest.raises(ValueError, match="at least one"):
        viewer_html({}, "none")
