"""Names of spares become those of whom they serve, however the answers are cut."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from haproxy.aliases import Aliases, differing

NAMES = {"spare-http-0001": "web", "spare-http-0002": "api.http-leastconn"}
STATE = (
    b"1\n# be_id be_name srv_id srv_name srv_addr\n"
    b"3 spare-http-0001 1 t1.abcdef 10.0.0.1\n3 spare-http-0001 2 hold 127.0.0.1\n"
    b"4 spare-http-0002 1 t2.abcdef spare-http-0001\n5 spare-http-0003 1 hold 127.0.0.1\n6 l7.hop 1 l7.hop -\n\n"
)
STAT = b"# pxname,svname,qcur\nspare-http-0001,BACKEND,1\nspare-http-0003,BACKEND,0\nl7.http,FRONTEND,\n\n"
TRANSLATED = (
    b"1\n# be_id be_name srv_id srv_name srv_addr\n"
    b"3 web 1 t1.abcdef 10.0.0.1\n3 web 2 hold 127.0.0.1\n"
    b"4 api.http-leastconn 1 t2.abcdef spare-http-0001\n5 spare-http-0003 1 hold 127.0.0.1\n6 l7.hop 1 l7.hop -\n\n"
    b"# pxname,svname,qcur\nweb,BACKEND,1\nspare-http-0003,BACKEND,0\nl7.http,FRONTEND,\n\n"
)


@given(st.lists(st.integers(0, len(STATE + STAT)), max_size=8))
def test_only_the_name_of_the_backend_is_another(cuts: list[int]) -> None:
    edges = [0, *sorted(cuts), len(STATE + STAT)]
    aliases = Aliases(NAMES)
    pieces = [(STATE + STAT)[start:end] for start, end in pairwise(edges)]
    assert b"".join(map(aliases.translate, pieces)) + aliases.rest() == TRANSLATED


@given(st.binary(max_size=50))
def test_without_names_everything_is_as_it_came(piece: bytes) -> None:
    aliases = Aliases(differing({"web": "web"}))
    assert aliases.translate(piece) + aliases.rest() == piece


def test_what_is_no_whole_line_is_not_lost() -> None:
    aliases = Aliases(NAMES)
    assert aliases.translate(b"3 spare-http-0001 1") == b""
    assert aliases.rest() == b"3 spare-http-0001 1"
