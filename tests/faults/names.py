"""A name service that does not answer, for a worker's Python."""

from __future__ import annotations

from pathlib import Path

SLOW = """
import socket, threading
real = socket.getaddrinfo
def getaddrinfo(host, *args, **kwargs):
    if host.startswith("slow"):
        open({folder!r} + "/" + host, "w").close()
        threading.Event().wait()
    return real(host, *args, **kwargs)
socket.getaddrinfo = getaddrinfo
"""


def deaf_name_service(folder: Path) -> dict[str, str]:
    """Makes it in a folder; gives the variables of a process that is to have it.

    A look-up of a host that begins with "slow" makes a file of its name in the folder, and hangs.
    """
    (folder / "sitecustomize.py").write_text(SLOW.format(folder=str(folder)))
    return {"PYTHONPATH": str(folder)}
