"""Hosts for static files, as people have them: a plain nginx, and a bucket of an S3 server."""

from __future__ import annotations

import datetime as dt
import hashlib
import hmac
import json
import os
import signal
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import requests

from tests.support.rigs.processes import Account, find_program, free_port

NGINX = """
daemon off;
{user}
worker_processes 1;
pid {home}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 512; }}
http {{
  access_log off;
  types {{
    text/html html;
    text/css css;
    text/javascript js;
    application/json json;
    application/xml xml dzi;
    image/jpeg jpg;
    image/png png;
  }}
  client_body_temp_path {home}/body;
  proxy_temp_path {home}/proxy;
  fastcgi_temp_path {home}/fastcgi;
  uwsgi_temp_path {home}/uwsgi;
  scgi_temp_path {home}/scgi;
  server {{
    listen 127.0.0.1:{port};
    root {folder};
    {more}
  }}
}}
"""

KEY, SECRET, REGION = "tests", "secret", "us-east-1"


@contextmanager
def nginx(folder: Path, more: str = "") -> Iterator[str]:
    """Serve a folder, and yield the base URL.

    Parameters
    ----------
    more: directives for the server.
    """
    port = free_port()
    account = Account("root")
    user = "user root;" if os.geteuid() == 0 else ""  # otherwise its worker could not read pytest's folders
    with account.folder() as home:
        config = home / "nginx.conf"
        config.write_text(NGINX.format(home=home, folder=folder, port=port, user=user, more=more))
        command = [find_program("nginx", "/usr/sbin"), "-c", str(config), "-p", str(home)]
        with account.server(command, home, lambda: _listens(port)):
            yield f"http://127.0.0.1:{port}"


class Bucket:
    """A bucket that anybody may read."""

    def __init__(self, host: str, name: str) -> None:
        self.url = f"http://{host}/{name}"
        self._host = host
        self._name = name

    def put(self, key: str, content: bytes) -> None:
        """Store an object."""
        answer = self._send("PUT", f"/{self._name}/{key}", content)
        answer.raise_for_status()

    def allow(self, cors: str) -> None:
        """Set the CORS rule, in the form that the S3 command lines read: JSON with CORSRules."""
        rules = "".join(f"<CORSRule>{_elements(rule)}</CORSRule>" for rule in json.loads(cors)["CORSRules"])
        body = f"<CORSConfiguration>{rules}</CORSConfiguration>".encode()
        self._send("PUT", f"/{self._name}", body, "cors=").raise_for_status()

    def make(self) -> bool:
        """Make the bucket, and return whether the server is ready to store objects in it."""
        try:
            return (
                self._send("PUT", f"/{self._name}").status_code in (200, 409)
                and self._send("PUT", f"/{self._name}/ready", b"yes").ok
            )
        except requests.ConnectionError:
            return False

    def _send(self, method: str, path: str, body: bytes = b"", query: str = "") -> requests.Response:
        """Send a request signed by AWS Signature Version 4."""
        moment = dt.datetime.now(dt.UTC).strftime("%Y%m%dT%H%M%SZ")
        digest = hashlib.sha256(body).hexdigest()
        headers = {"host": self._host, "x-amz-content-sha256": digest, "x-amz-date": moment}
        lines = [f"{name}:{value}" for name, value in headers.items()]
        names = ";".join(headers)
        canonical = "\n".join([method, path, query, *lines, "", names, digest])
        scope = f"{moment[:8]}/{REGION}/s3/aws4_request"
        text = f"AWS4-HMAC-SHA256\n{moment}\n{scope}\n{hashlib.sha256(canonical.encode()).hexdigest()}"
        key = f"AWS4{SECRET}".encode()
        for part in scope.split("/"):
            key = hmac.digest(key, part.encode(), "sha256")
        signature = hmac.digest(key, text.encode(), "sha256").hex()
        headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={KEY}/{scope}, SignedHeaders={names}, Signature={signature}"
        )
        url = f"http://{self._host}{path}" + (f"?{query}" if query else "")
        return requests.request(method, url, data=body, headers=headers, timeout=30)


def _elements(rule: dict[str, list[str] | int]) -> str:
    """Return a CORS rule in XML, where a list is an element for each of its values, with the name's singular."""
    text = ""
    for name, value in rule.items():
        one = name.removesuffix("s")
        text += (
            "".join(f"<{one}>{item}</{one}>" for item in value)
            if isinstance(value, list)
            else f"<{name}>{value}</{name}>"
        )
    return text


@contextmanager
def bucket() -> Iterator[Bucket]:
    """Run an S3 server (SeaweedFS), and yield an empty bucket of it."""
    account = Account("root")
    anyone = {"name": "anonymous", "actions": ["Read"]}
    credentials = [{"accessKey": KEY, "secretKey": SECRET}]
    owner = {"name": "owner", "credentials": credentials, "actions": ["Admin", "Read", "Write", "List"]}
    ports = {
        f"{service}.port{kind}": free_port()
        for service in ("master", "volume", "filer", "s3")
        for kind in ("", ".grpc")
    }
    with account.folder() as home:
        (home / "s3.json").write_text(json.dumps({"identities": [owner, anyone]}))
        (home / "data").mkdir()
        command = [
            str(Path(sys.executable).parent / "weed"),
            "server",
            f"-dir={home}/data",
            "-ip=127.0.0.1",
            "-ip.bind=127.0.0.1",
            "-master.telemetry=false",
            "-master.volumeSizeLimitMB=64",
            "-master.volumePreallocate=false",
            "-filer",
            "-s3",
            f"-s3.config={home}/s3.json",
            "-s3.iam=false",
            "-s3.allowedOrigins=",  # only what the bucket's own rule allows
            "-s3.port.iceberg=0",
            "-s3.port.lance=0",
            *(f"-{name}={port}" for name, port in ports.items()),
        ]
        made = Bucket(f"127.0.0.1:{ports['s3.port']}", "pictures")
        # It takes half a minute to end by itself, and nothing that it stores is needed again.
        with account.server(command, home, made.make, stop=signal.SIGKILL):
            yield made


def _listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True
