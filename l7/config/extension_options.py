"""Options of a service cluster `[Extensions.<name>]` that are no option of its proxies. Pure."""

from __future__ import annotations

from l7.config import kinds
from l7.config.option import Cost, Option
from l7.config.placement import CONSTRAINTS, PREFERENCES

EXTENSION: tuple[Option, ...] = (
    Option(
        "Image",
        kinds.TEXT,
        "image",
        "Image of the extension service.",
        '"registry.example.org/l7:1.2"',
        Cost.EXTENSION,
        otherwise="the image that core runs",
        difference="An image of Interlock's is replaced by core's own, with a warning. One that is not named "
        "`l7` is another extension (docs/extensions.md): its own entrypoint runs.",
    ),
    Option(
        "Args",
        kinds.TEXTS,
        "args",
        "More arguments of the extension service, such as -D to log more.",
        '["-D"]',
        Cost.EXTENSION,
        (),
        difference="With an image of Interlock's, all but -D is left out, with the same warning.",
    ),
    Option(
        "ServiceName",
        kinds.SERVICE,
        "name",
        "Name of the extension service.",
        '"edge-extension"',
        Cost.EXTENSION,
        otherwise="`l7-extension`, and `l7-extension-<cluster>` for other clusters than the default one",
        difference="Docker chose a random name.",
    ),
    Option(
        "Labels",
        kinds.LABELS,
        "labels",
        "Labels of the extension service.",
        '{ "org.example.team" = "edge" }',
        Cost.SERVICE,
        {},
    ),
    Option(
        "ContainerLabels",
        kinds.LABELS,
        "container_labels",
        "Labels of the extension service's containers.",
        '{ "org.example.team" = "edge" }',
        Cost.EXTENSION,
        {},
    ),
    Option(
        "Constraints",
        CONSTRAINTS,
        "constraints",
        "Which nodes may run the extension service, as in `docker service create --constraint`.",
        '["node.role==worker"]',
        Cost.EXTENSION,
        (),
    ),
    Option(
        "PlacementPreferences",
        PREFERENCES,
        "preferences",
        "How the tasks of the extension service spread, as in `docker service create --placement-pref`.",
        '["spread=node.labels.zone"]',
        Cost.SERVICE,
        (),
    ),
)

CLUSTER: tuple[Option, ...] = (
    Option(
        "ServiceCluster",
        kinds.TEXT,
        "name",
        'Name of the cluster, by which services choose it: `com.docker.lb.service_cluster`. "" is the default one, '
        "of services without that label.",
        '"east"',
        Cost.TASKS,
    ),
    Option(
        "Networks",
        kinds.TEXTS,
        "networks",
        "Names of the networks that the proxies are on, these and no others, from their start.",
        '["front", "back"]',
        Cost.TASKS,
        (),
        otherwise="the cluster's shared network, and those of the services that it routes to",
    ),
    Option(
        "Config",
        kinds.TABLE,
        "",
        "The extension's own settings, see below.",
        "[Extensions.default.Config]",
        Cost.LIVE,
        {},
        otherwise="every key of it at its default",
    ),
    Option(
        "HitlessServiceUpdate",
        kinds.FLAG,
        "hitless",
        "Whether changes are made in running proxies (`true`), or each is a new configuration file, and new "
        "proxy tasks (`false`: file mode, with stock proxy images; docs/file-mode.md has what that costs).",
        "false",
        Cost.TASKS,
        True,
        otherwise="`true`; `false` where Image is another extension than l7's own",
        difference="Absent, it was false.",
    ),
    Option(
        "Template",
        kinds.TEXT,
        "",
        "Refused: there is no template. What it was for has an option of its own.",
        '""',
        Cost.LIVE,
        otherwise="none",
        difference="A Docker config with a template of the whole configuration of the proxy.",
    ),
    Option(
        "ConfigImage",
        kinds.TEXT,
        "",
        "Image of Interlock's config service.",
        '""',
        Cost.LIVE,
        idle="there is no config service: the sidecar in each proxy takes changes from core itself",
        otherwise="none",
    ),
    Option(
        "ConfigServiceName",
        kinds.TEXT,
        "",
        "Name of Interlock's config service.",
        '""',
        Cost.LIVE,
        idle="there is no config service: the sidecar in each proxy takes changes from core itself",
        otherwise="none",
    ),
)
