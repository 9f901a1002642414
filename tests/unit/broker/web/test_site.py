"""Goal: no page of another site, and no other name of this machine, gets anything done.

Method: the rule, called with what browsers send; and the table of names a page may have.
"""

from __future__ import annotations

import pytest

from broker.web.page_error import PageError
from broker.web.site import HEADERS, Site, hosts_of

HERE = Site(hosts=hosts_of("127.0.0.1", frozenset()), port=8080, is_secure=False)
OWN = "127.0.0.1:8080"


def check(method: str = "GET", path: str = "/jobs/a", host: str = OWN, **headers: str) -> None:
    named = {name.replace("_", "-").title(): value for name, value in headers.items()}
    HERE.check(method, path, [host], named)


@pytest.mark.parametrize("host", [OWN, "localhost:8080", "[::1]:8080", "LOCALHOST:8080"])
def test_its_own_names_are_served(host: str) -> None:
    check(host=host)


@pytest.mark.parametrize(
    "host", ["evil.example:8080", "127.0.0.1", "127.0.0.1:80", "", "127.0.0.1:8080.evil.example"]
)
def test_another_name_is_refused(host: str) -> None:
    with pytest.raises(PageError) as refused:
        check(host=host)
    assert refused.value.status == 421


@pytest.mark.parametrize("hosts", [[], [OWN, OWN], [OWN, "evil.example"]])
def test_no_name_and_two_names_are_refused(hosts: list[str]) -> None:
    with pytest.raises(PageError):
        HERE.check("GET", "/", hosts, {})


@pytest.mark.parametrize("site", ["cross-site", "same-site", "something-new"])
def test_what_another_site_caused_is_refused(site: str) -> None:
    for method, path in (("GET", "/jobs/a"), ("GET", "/static/page.js"), ("POST", "/")):
        with pytest.raises(PageError) as refused:
            check(method, path, sec_fetch_site=site, origin=f"http://{OWN}")
        assert refused.value.status == 403


def test_a_link_to_the_first_page_may_be_followed_but_not_embedded() -> None:
    check("GET", "/", sec_fetch_site="cross-site", sec_fetch_dest="document")
    with pytest.raises(PageError):
        check("GET", "/", sec_fetch_site="cross-site", sec_fetch_dest="iframe")
    with pytest.raises(PageError):
        check("GET", "/", sec_fetch_site="cross-site")


def test_a_change_names_this_very_origin() -> None:
    check("POST", origin=f"http://{OWN}")
    for origin in ("null", "http://localhost:8080", f"https://{OWN}", "http://evil.example", ""):
        with pytest.raises(PageError):
            check("POST", origin=origin)
    for method in ("POST", "PUT", "DELETE", "PATCH", "OPTIONS"):
        with pytest.raises(PageError):
            check(method)


def test_a_secure_page_has_the_names_of_the_nodes_certificate() -> None:
    names = frozenset({"n1.farm", "10.0.0.1"})
    assert hosts_of("10.0.0.1", names) == names
    assert hosts_of("0.0.0.0", names) >= {*names, "127.0.0.1", "localhost"}
    assert hosts_of("::1", frozenset()) == {"127.0.0.1", "localhost", "::1"}
    site = Site(hosts=names, port=443, is_secure=True)
    assert {"n1.farm", "n1.farm:443", "10.0.0.1"} <= site.authorities()
    site.check("POST", "/", ["n1.farm"], {"Origin": "https://n1.farm"})
    with pytest.raises(PageError):
        site.check("POST", "/", ["n1.farm"], {"Origin": "http://n1.farm"})


def test_the_policy_allows_nothing_from_elsewhere_and_nothing_inline() -> None:
    policy = HEADERS["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    for loophole in ("unsafe", "http:", "https:", "data:", "blob:", "*"):
        assert loophole not in policy
