"""The Lua program that HAProxy loads, `l7.lua` beside this file; read once, as code is."""

from __future__ import annotations

from importlib.resources import files

SOURCE = files("haproxy").joinpath("l7.lua").read_text()
