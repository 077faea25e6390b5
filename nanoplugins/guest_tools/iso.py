"""Files as an ISO 9660 image with the label that cloud-init's NoCloud data source looks for."""

from __future__ import annotations

from collections.abc import Mapping
from io import BytesIO

import pycdlib

LABEL = "cidata"


def build(files: Mapping[str, str]) -> bytes:
    """Return the image: the same files give the same names, whatever the reader understands of ISO 9660."""
    image = pycdlib.PyCdlib()
    image.new(interchange_level=4, joliet=3, rock_ridge="1.09", vol_ident=LABEL)
    for name, text in files.items():
        content = text.encode()
        plain = name.replace("-", "_").upper()
        image.add_fp(BytesIO(content), len(content), f"/{plain}.;1", rr_name=name, joliet_path=f"/{name}")
    out = BytesIO()
    image.write_fp(out)
    image.close()
    return out.getvalue()
