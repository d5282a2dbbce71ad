"""How a request to a stranger's server is made: nothing of the worker's environment goes into it."""

from __future__ import annotations

from functools import cache
from http.cookiejar import DefaultCookiePolicy
from importlib.metadata import version

import requests
from requests.structures import CaseInsensitiveDict

from ingest.http.guard import GuardedAdapter
from ingest.settings import IngestSettings


class Session(requests.Session):
    """A requests.Session that follows no redirect by itself."""

    def get_redirect_target(self, resp: requests.Response) -> None:  # noqa: ARG002  the signature is requests'
        # Whoever finds one here reads the answer's whole body into memory, also when told not to follow.
        return None

    def location(self, response: requests.Response) -> str | None:
        """Where an answer redirects to; None where it does not."""
        return super().get_redirect_target(response)


def session(settings: IngestSettings, adapter: GuardedAdapter) -> Session:
    """A session whose connections the adapter makes."""
    made = Session()
    # Else proxies, .netrc's passwords and authorities come from the worker's environment.
    made.trust_env = False
    made.verify = str(settings.source_ca_bundle) if settings.source_ca_bundle else True
    # What a server sets would come back to it with each request, and grow with each of its answers.
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
    """Who asks, and whom to ask back."""
    return f"Tilewright/{_version()}" + (f" (+{contact})" if contact else "")


@cache
def _version() -> str:
    return version("tilewright")
