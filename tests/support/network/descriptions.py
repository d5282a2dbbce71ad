"""Small answers that name a file: IIIF, the Internet Archive's metadata, Google Drive's warning."""

from __future__ import annotations

import json
from typing import Any

V3: dict[str, Any] = {
    "@context": "http://iiif.io/api/image/3/context.json",
    "id": "https://iiif.example/i/a%2fb",
    "protocol": "http://iiif.io/api/image",
    "width": 8000,
    "height": 6000,
}
V2: dict[str, Any] = {
    "@context": "http://iiif.io/api/image/2/context.json",
    "@id": "https://iiif.example/i/1",
    "width": 8000,
    "height": 6000,
    "profile": ["http://iiif.io/api/image/2/level2.json"],
}
V1: dict[str, Any] = {
    "@context": "http://library.stanford.edu/iiif/image-api/1.1/context.json",
    "@id": "https://iiif.example/i/1/",
    "width": 8000,
    "height": 6000,
}


def presentation_2(*services: object) -> dict[str, Any]:
    """A manifest with one canvas for each of these."""
    names = [f"https://i.example/{number}.jpg" for number in range(len(services))]
    images = [{"resource": {"@id": name, "service": service}} for name, service in zip(names, services, strict=True)]
    return {
        "@context": "http://iiif.io/api/presentation/2/context.json",
        "@type": "sc:Manifest",
        "sequences": [{"canvases": [{"images": [image]} for image in images]}],
    }


def presentation_3(*bodies: object) -> dict[str, Any]:
    """A manifest with one canvas for each of these."""
    canvases = [{"type": "Canvas", "items": [{"items": [{"type": "Annotation", "body": body}]}]} for body in bodies]
    return {"@context": ["http://iiif.io/api/presentation/3/context.json"], "type": "Manifest", "items": canvases}


def archive(*files: dict[str, str]) -> bytes:
    """The metadata of an item with these files."""
    return json.dumps({"files": [{"source": "original", **file} for file in files]}).encode()


WARNING = b"""<!DOCTYPE html><html><head><title>Google Drive - Virus scan warning</title></head><body>
<p>scan.tif (3.1G) is too large for Google to scan for viruses.</p>
<form id="download-form" action="https://drive.usercontent.google.com/download" method="get">
<input type="submit" value="Download anyway"/>
<input type="hidden" name="id" value="1aB"><input type="hidden" name="export" value="download">
<input type="hidden" name="confirm" value="t&amp;x"><input type='hidden' name=uuid value=12-ab></form></body></html>"""
