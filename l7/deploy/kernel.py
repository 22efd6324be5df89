"""Whether the kernel of this machine has IP_VS, which Swarm's routing mesh and virtual addresses are made of."""

from __future__ import annotations

import gzip
import os
import re
import subprocess
from pathlib import Path


def has_ip_vs(root: Path = Path("/")) -> bool | None:
    """None when it can't be told: in a container the modules of the machine are not to be seen."""
    if (root / "proc/net/ip_vs").exists():
        return True
    if _built_without(root / "proc/config.gz"):
        return False
    modules = root / "lib/modules" / os.uname().release
    named = (modules / "modules.builtin", modules / "modules.dep")
    if any("/ip_vs.ko" in _text(file) for file in named):
        return True
    if not modules.exists() and (root / ".dockerenv").exists():
        return None
    return _modprobe_knows()


def _built_without(config: Path) -> bool:
    """Many kernels tell what they were built with."""
    try:
        text = gzip.decompress(config.read_bytes()).decode(errors="replace")
    except (OSError, EOFError):
        return False
    return bool(text) and re.search(r"^CONFIG_IP_VS=[ym]$", text, re.MULTILINE) is None


def _text(file: Path) -> str:
    try:
        return file.read_text(errors="replace")
    except OSError:
        return ""


def _modprobe_knows() -> bool:
    """It has search paths of its own, and aliases."""
    try:
        done = subprocess.run(["modprobe", "-n", "-q", "ip_vs"], capture_output=True, check=False, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0
