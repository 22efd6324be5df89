"""Published configurations as bytes."""

from __future__ import annotations

import gzip
import io
import tarfile
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l7.kit.bundle import MANIFEST, Bundle, pack, unpack
from l7.kit.errors import ProtocolError

NAMES = st.from_regex(r"[a-z]{1,9}(/[a-zé]{1,120})?\.map", fullmatch=True)
BUNDLES = st.builds(
    Bundle, st.sampled_from(["", "east"]), st.text("0123456789abcdef", min_size=1), st.text("abc"),
    st.dictionaries(NAMES, st.binary(max_size=2000), max_size=6),
)  # fmt: skip
BUNDLE = Bundle("east", "ab12", "cd34", {"haproxy.cfg": b"global\n" * 500, "state.pb": bytes(range(256))})


@given(BUNDLES)
def test_what_is_packed_comes_out_again(bundle: Bundle) -> None:
    assert unpack(pack(bundle)) == bundle


def test_same_in_same_out() -> None:
    backwards = Bundle("east", "ab12", "cd34", dict(reversed(BUNDLE.files.items())))
    assert pack(BUNDLE) == pack(backwards)


def test_it_is_an_archive_for_people_too() -> None:
    with tarfile.open(fileobj=io.BytesIO(pack(BUNDLE)), mode="r:gz") as archive:
        assert archive.getnames() == [MANIFEST, "haproxy.cfg", "state.pb"]


@given(st.data())
def test_what_is_cut_or_changed_is_refused(data: st.DataObject) -> None:
    """But where the change means nothing: an archive has bits that fill it up."""
    whole = pack(BUNDLE)
    cut = data.draw(st.integers(0, len(whole) - 1))
    with pytest.raises(ProtocolError):
        unpack(whole[:cut])
    at = data.draw(st.integers(10, len(whole) - 1))  # the first ten bytes are gzip's head
    changed = bytearray(whole)
    changed[at] ^= data.draw(st.integers(1, 255))
    with suppress(ProtocolError):
        assert unpack(bytes(changed)) == BUNDLE


def test_other_archives_are_refused() -> None:
    empty = gzip.compress(b"")
    foreign = io.BytesIO()
    with tarfile.open(fileobj=foreign, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo("etc/passwd"))
    for data in (b"", b"text", empty, foreign.getvalue()):
        with pytest.raises(ProtocolError):
            unpack(data)
