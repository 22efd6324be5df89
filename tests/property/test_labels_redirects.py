"""Redirects that never end are found exactly: against following every request there could be, hop by hop."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product

from hypothesis import example, given
from hypothesis import strategies as st

from l7.labels.grammar import Bad
from l7.labels.redirects import endless, parse_redirects
from l7.labels.spec import RedirectSpec
from l7.model import RouteKey

HOSTS = ("a.x", "b.x", "c.y")
SEGMENTS = ("p", "q")
PATHS = ("/", *(f"/{one}" for one in SEGMENTS), *(f"/{one}/{two}" for one, two in product(SEGMENTS, SEGMENTS)))
ENOUGH = 200
"""More hops than there are places: two schemes, three hosts, and what the first two segments can be."""

hosts = st.sampled_from((*HOSTS, "*.x"))
locations = st.builds(
    "{}://{}{}{}".format,
    st.sampled_from(("http", "https")),
    st.sampled_from(HOSTS),
    st.sampled_from(("", "", "", ":8080")),
    st.sampled_from(("", "", *PATHS[1:])),
)
redirects = st.builds(
    RedirectSpec, st.sampled_from(("", "http", "https")), hosts, st.sampled_from(PATHS), locations
)
tables = st.lists(redirects, max_size=5, unique_by=lambda each: (each.host, each.path))
keys = st.lists(st.tuples(hosts, st.sampled_from(PATHS)), max_size=4)


def _next(table: Sequence[RedirectSpec], forwarded: Sequence[RouteKey], url: str) -> str | None:
    """Where a client is sent that asks for `url`, None when it arrived."""
    scheme, _, rest = url.partition("://")
    authority, _, path = rest.partition("/")
    host, path = authority.partition(":")[0], "/" + path
    known = {key[0] for key in forwarded} | {each.host for each in table}
    own = host if host in known else "*." + host.split(".", 1)[1]
    routes = [*forwarded, *((each.host, each.path) for each in table)]
    matching = [
        prefix for name, prefix in routes if name == own and f"{path}/".startswith(f"{prefix.rstrip('/')}/")
    ]
    if not matching:
        return None
    key = own, max(matching, key=len)
    found = [each for each in table if (each.host, each.path) == key and each.scheme in ("", scheme)]
    return found[0].location + path.rstrip("/") if found else None


def _arrives(table: Sequence[RedirectSpec], forwarded: Sequence[RouteKey]) -> bool:
    """Whether every client does. A segment that no route has stands for all of them."""
    words = (*SEGMENTS, "other")
    paths = ("", *(f"/{one}" for one in words), *(f"/{one}/{two}" for one, two in product(words, words)))
    for scheme, host, path in product(("http", "https"), (*HOSTS, "d.x"), paths):
        url: str | None = f"{scheme}://{host}{path}"
        for _ in range(ENOUGH):
            url = _next(table, forwarded, url)
            if url is None:
                break
            # No route is deeper than two segments, so the rest of a path says nothing.
            url = "/".join(url.split("/")[:5])
        if url is not None:
            return False
    return True


@given(tables, keys)
@example([RedirectSpec("", "a.x", "/p", "http://b.x"), RedirectSpec("", "b.x", "/p/q", "http://a.x")], [])
@example([RedirectSpec("", "a.x", "/", "http://a.x/p")], [("a.x", "/p")])
@example([RedirectSpec("", "a.x", "/", "http://a.x/p")], [])
@example([RedirectSpec("", "*.x", "/", "https://a.x")], [("a.x", "/")])
def test_exactly_what_closes_a_circle_is_left_out(table: list[RedirectSpec], forwarded: list[RouteKey]) -> None:
    kept: list[RedirectSpec] = []
    refused: list[RedirectSpec] = []
    for each in table:
        (kept if _arrives([*kept, each], forwarded) else refused).append(each)
    assert endless(table, forwarded) == tuple(refused)


@given(tables)
def test_redirects_read_back_as_they_are(table: list[RedirectSpec]) -> None:
    if not table:
        return
    pairs = ";".join(
        f"{each.scheme + '://' if each.scheme else ''}{each.host}{each.path},{each.location}" for each in table
    )
    parsed = parse_redirects(pairs + ";")
    assert not isinstance(parsed, Bad)
    assert set(parsed) == set(table)
