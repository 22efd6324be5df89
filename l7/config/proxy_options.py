"""Options of the proxies of a service cluster `[Extensions.<name>]`. Pure."""

from __future__ import annotations

from l7.config import kinds
from l7.config.option import Cost, Option
from l7.config.placement import CONSTRAINTS, PREFERENCES

_MODES = {"replicated": False, "global": True}

PROXY: tuple[Option, ...] = (
    Option(
        "ProxyImage",
        kinds.TEXT,
        "image",
        "Image of the proxies. It brings the HAProxy that they run; in file mode, any image of a stock proxy.",
        '"registry.example.org/l7:1.2-haproxy-3.0"',
        Cost.TASKS,
        otherwise="the image that core runs",
        difference="An image of Interlock's is replaced by core's own, with a warning; so is one of NGINX or with "
        "HAProxy alone, unless HitlessServiceUpdate is false.",
    ),
    Option(
        "ProxyArgs",
        kinds.TEXTS,
        "args",
        "More arguments of the proxies: options of `l7 haproxy run`; in file mode, the image's own.",
        '["--drain-timeout", "30s"]',
        Cost.TASKS,
        (),
        difference="Together with an image that is replaced they are left out, with the same warning.",
    ),
    Option(
        "ProxyServiceName",
        kinds.SERVICE,
        "name",
        "Name of the proxy service.",
        '"edge"',
        Cost.TASKS,
        otherwise="`l7-proxy`, and `l7-proxy-<cluster>` for other clusters than the default one",
        difference="Docker chose a random name.",
    ),
    Option(
        "ProxyLabels",
        kinds.LABELS,
        "labels",
        "Labels of the proxy service.",
        '{ "org.example.team" = "edge" }',
        Cost.SERVICE,
        {},
    ),
    Option(
        "ProxyContainerLabels",
        kinds.LABELS,
        "container_labels",
        "Labels of the proxies' containers.",
        '{ "org.example.team" = "edge" }',
        Cost.TASKS,
        {},
    ),
    Option(
        "ProxyMode",
        kinds.choice(_MODES),
        "everywhere",
        "`replicated`: as many proxies as ProxyReplicas says; `global`: one on every node that fits.",
        '"global"',
        Cost.TASKS,
        "replicated",
        difference="l7's own.",
    ),
    Option(
        "ProxyReplicas",
        kinds.COUNT,
        "replicas",
        "How many proxies there are. With PublishMode host at most one fits on a node.",
        "3",
        Cost.SERVICE,
        2,
        difference="Core crashed where it was absent.",
    ),
    Option(
        "ProxyStopSignal",
        kinds.SIGNAL,
        "stop_signal",
        "What tells a proxy to finish what it has and to end.",
        '"SIGTERM"',
        Cost.TASKS,
        "SIGQUIT",
    ),
    Option(
        "ProxyStopGracePeriod",
        kinds.DURATION,
        "stop_grace_period",
        "How long a proxy that leaves may take to finish what it has.",
        '"30s"',
        Cost.TASKS,
        "5s",
    ),
    Option(
        "ProxyConstraints",
        CONSTRAINTS,
        "constraints",
        "Which nodes may run proxies, as in `docker service create --constraint`.",
        '["node.labels.nodetype==loadbalancer"]',
        Cost.TASKS,
        (),
        otherwise="workers where there are any, else managers",
        difference="A change takes effect on running proxies, too.",
    ),
    Option(
        "ProxyPlacementPreferences",
        PREFERENCES,
        "preferences",
        "How proxies spread, as in `docker service create --placement-pref`.",
        '["spread=node.labels.zone"]',
        Cost.SERVICE,
        (),
    ),
    Option(
        "ProxyUpdateDelay",
        kinds.DURATION,
        "update_delay",
        "Pause between two proxies while they are replaced; a second at least in file mode, and where one has to be"
        " stopped before the next can start.",
        '"10s"',
        Cost.SERVICE,
        "0s",
    ),
    Option(
        "PublishMode",
        kinds.choice({"ingress": "ingress", "host": "host"}),
        "publish_mode",
        "`ingress`: every node of the Swarm takes connections, and the client's address is lost; `host`: the nodes "
        "with a proxy do, and it is seen.",
        '"host"',
        Cost.TASKS,
        "ingress",
    ),
    Option(
        "PublishedPort",
        kinds.PUBLISHED,
        "http.published",
        "Port for HTTP that users connect to; 0: Swarm chooses one.",
        "8080",
        Cost.TASKS,
        80,
    ),
    Option(
        "TargetPort", kinds.TARGET, "http.target", "Port for HTTP within the proxy's task.", "8080", Cost.TASKS, 80
    ),
    Option(
        "PublishedSSLPort",
        kinds.PUBLISHED,
        "tls.published",
        "Port for TLS that users connect to; 0: Swarm chooses one.",
        "8443",
        Cost.TASKS,
        443,
    ),
    Option(
        "TargetSSLPort",
        kinds.TARGET,
        "tls.target",
        "Port for TLS within the proxy's task.",
        "8443",
        Cost.TASKS,
        443,
    ),
    Option(
        "ProxyConfigPath",
        kinds.ABSOLUTE_PATH,
        "config_path",
        "Where the configuration is mounted in file mode. Otherwise it is made by the sidecar within each proxy, "
        "and never mounted.",
        '"/etc/nginx/nginx.conf"',
        Cost.TASKS,
        otherwise="where the extension has it",
    ),
)
