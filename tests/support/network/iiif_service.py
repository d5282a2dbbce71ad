"""A service of the IIIF Image API that serves one picture as tiles, at their canonical addresses and at no others."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from tests.support.network.answers import status
from tests.support.network.sources import Behaviour, SourceServer

CONTEXTS = {2: "http://iiif.io/api/image/2/context.json", 3: "http://iiif.io/api/image/3/context.json"}


class IiifService:
    """Scripts a server's paths for one picture.

    Attributes
    ----------
    url: of its info.json.
    tiles: the path of each tile, row by row.

    Parameters
    ----------
    name: distinguishes it from others of the same server.
    size: of the picture, in pixels.
    edge: of a tile.
    version: of the API.
    level: of compliance.
    tile: gives a tile's bytes for its x, y, width and height.
    answer: makes a behaviour of a tile's bytes.
    host: by which the server is addressed.
    cap: limits of one request, such as {"maxWidth": 500}.
    """

    def __init__(
        self,
        server: SourceServer,
        name: str,
        size: tuple[int, int],
        edge: int,
        tile: Callable[[int, int, int, int], bytes],
        *,
        version: int = 3,
        level: int = 2,
        cap: dict[str, int] | None = None,
        host: str = "127.0.0.1",
        answer: Callable[[bytes], Behaviour] = lambda data: status(200, {"Content-Type": "image/jpeg"}, data),
    ) -> None:
        base = f"/iiif/{version}/{name}"
        self.base = server.url(base, host)
        self.tiles: list[str] = []
        self.data: list[bytes] = []
        (width, height), limits = size, cap or {}
        listed = [{"width": edge, "scaleFactors": [1, 2, 4]}, {"width": 16, "scaleFactors": [2]}]
        told: dict[str, Any] = {"@context": CONTEXTS[version], "width": width, "height": height, "tiles": listed}
        if version == 3:
            told |= {"id": self.base, "profile": f"level{level}", "protocol": "http://iiif.io/api/image", **limits}
        else:
            told |= {"@id": self.base, "profile": [f"http://iiif.io/api/image/2/level{level}.json", limits]}
        server.on(f"{base}/info.json", status(200, {"Content-Type": "application/json"}, dumped(told)))
        self.url = f"{self.base}/info.json"
        for y in range(0, height, edge):
            for x in range(0, width, edge):
                wide, high = min(edge, width - x), min(edge, height - y)
                asked = f"{wide},{high}" if version == 3 else f"{wide},"
                path = f"{base}/{x},{y},{wide},{high}/{asked}/0/default.jpg"
                data = tile(x, y, wide, high)
                server.on(path, answer(data))
                self.tiles.append(path)
                self.data.append(data)


def dumped(document: object) -> bytes:
    return json.dumps(document).encode()
