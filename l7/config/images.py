"""Images of another product in a file that was written for it: ours runs instead. Pure."""

from __future__ import annotations


def base_name(image: str) -> str:
    """Without registry, path, tag and digest, lower case."""
    return image.partition("@")[0].rpartition("/")[2].partition(":")[0].lower()


OWN = "l7"
"""Name of l7's own image, whatever its registry and path."""


def is_own(image: str) -> bool:
    """Whether an extension's image is l7's own, which starts by core's word; "" is core's own. Another one
    starts by itself (docs/extensions.md)."""
    return not image or base_name(image) == OWN


def foreign_extension(image: str) -> str:
    """Why l7 cannot run an image as its extension service, "" when it can."""
    return "Interlock's extension does not speak l7's API" if "interlock" in base_name(image) else ""


def foreign_file_proxy(image: str) -> str:
    """Why l7 cannot run an image in file mode, "" when it can: stock images are what that is for."""
    return "Interlock's proxy is no stock image" if "interlock" in base_name(image) else ""


def foreign_proxy(image: str) -> str:
    """Why l7 cannot run an image as its proxies, "" when it can."""
    name = base_name(image)
    if "interlock" in name or name.startswith("nginx"):
        return "l7's proxies are HAProxy, each with a sidecar that drives it"
    if name == "haproxy":
        return "it has HAProxy without the sidecar that drives it, which works in attached mode only"
    return ""
