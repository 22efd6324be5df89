"""Property tests have no deadline per example: how fast a shared machine is says nothing about a property."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("l7", deadline=None)
settings.load_profile("l7")
