"""The requests session for untrusted servers. It uses nothing from the worker's environment."""

from __future__ import annotations

from functools import cache
from http.cookiejar import DefaultCookiePolicy
from importlib.metadata import version

import requests
from requests.structures import CaseInsensitiveDict

from ingest.http.adapter import GuardedAdapter
from ingest.settings import IngestSettings


class Session(requests.Session):
    """A requests.Session that never follows redirects itself."""

    def get_redirect_target(self, resp: requests.Response) -> None:  # noqa: ARG002  the signature is requests'
        # If this returned a target, requests would read the whole body into memory, even with allow_redirects=False.
        return None


def session(settings: IngestSettings, adapter: GuardedAdapter) -> Session:
    """Return a session that connects through the adapter."""
    made = Session()
    # Otherwise requests would use proxies, .netrc passwords and CA bundles from the worker's environment.
    made.trust_env = False
    # Accept no cookies: they would be sent back with each request, and grow with each response. See ChainCookies.
    made.cookies.set_policy(DefaultCookiePolicy(allowed_domains=()))
    made.headers = CaseInsensitiveDict(
        {
            "User-Agent": user_agent(settings.source_contact),
            "Accept": "image/*, */*;q=0.8",
            "Accept-Encoding": "identity",
        }
    )
    made.adapters.clear()
    made.mount("http://", adapter)
    made.mount("https://", adapter)
    return made


def user_agent(contact: str) -> str:
    """Return the User-Agent, with the operator's contact if there is one."""
    return f"Tilewright/{_version()} (+{contact})" if contact else f"Tilewright/{_version()}"


@cache
def _version() -> str:
    return version("tilewright")
