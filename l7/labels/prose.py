"""The prose of docs/labels.md, around what the table says. Pure."""

from __future__ import annotations

from l7.labels.label import PREFIX

INTRO = f"""# Labels

What a service says about itself, as labels of the *service* (`deploy.labels` in a stack file, `docker service
create --label`), not of its containers. All begin with `{PREFIX}`. Most services need two of them: `hosts`, the
names that users type, and `port`, on which the application listens inside its container.

Generated from the table that the parser uses (`python -m l7.labels.docs`); do not edit.

## A complete example
"""

EXAMPLE = (
    (
        "shop",
        "example/shop:1",
        "everything below www.example.org",
        (
            ("hosts", "www.example.org, example.org"),
            ("port", "8080"),
            ("health_check_path", "/health"),
            ("sticky_session_cookie", "JSESSIONID"),
        ),
    ),
    (
        "api",
        "example/api:1",
        "but /api goes here, as /",
        (
            ("hosts", "www.example.org"),
            ("port", "9000"),
            ("context_root", "/api"),
            ("context_root_rewrite", "true"),
            ("rate_limit", "100/m"),
            ("timeout_server", "5m"),
            ("header_response_Cache-Control", "no-store"),
        ),
    ),
    (
        "shop-next",
        "example/shop:2",
        "the next version, for testers and 5 %",
        (
            ("hosts", "www.example.org, example.org"),
            ("port", "8080"),
            ("health_check_path", "/health"),
            ("sticky_session_cookie", "JSESSIONID"),
            ("weight", "5"),
            ("canary_cookie", "tester=yes"),
        ),
    ),
)
"""Services of the example: name, image, comment, labels. The tests parse them."""

WRITING = """Deploy it as stack `shop`, and `curl -H 'Host: www.example.org' http://any-node/` answers. Change a
label (`docker service update --label-add com.docker.lb.rate_limit=200/m shop_api`) and it holds at once; the
tasks are not touched. `l7 status` says what is wrong, if something is.

An editor that knows JSON Schema completes and checks the labels in a stack file by
[labels.schema.json](labels.schema.json).

## How labels are written

- **Quote them** in YAML, so that `10m`, `1:30` or `yes` reach Swarm as you wrote them; a `$` is `$$` in a stack
  file.
- **Booleans**: {true} or {false}, in any case.
- **Lists**: separated by commas and/or spaces; order and repetition mean nothing. (`redirects` is a list of
  pairs, separated by `;`.)
- **Durations**: `500ms`, `3s`, `1m30s`, `1h`; a bare number is seconds.
- **Sizes**: bytes, or a number with `k`, `m`, `g` (powers of 1024).
- **Words** such as `leastconn` in any case. Spaces at either end of a value mean nothing.
- **An empty value** of Interlock's own labels but `hosts` is as none at all: `${{X:-}}` in a stack file leaves one.
- **A value outside its grammar** quarantines the service, and only it: where Swarm still has the specification
  before the last update, the service is routed by the labels of that one, else it is not routed. `l7 status`
  names service, label, value and remedy either way. Mind that Swarm keeps one previous specification: any further
  update of a service with bad labels, be it `docker service scale`, leaves none to fall back on, and the service
  is not routed any more until they are mended.
- **Labels that have no effect** beside others are reported and otherwise ignored; so is a label that l7 does
  not know.
- **Published** is a service that has `hosts`, `default_backend`, `redirects` or `tcp_port`, and a `port`.
  Removing the first kind unpublishes it, whatever its other labels say. A service without any of these labels
  is left alone.
"""

CHANGES = """## What a change takes

Every label can be changed on a running service, and the change itself fails no request. What happens in the
proxy is one of:

- **live**: a row of a map, or a command to the running HAProxy. Some server settings can't be changed on a
  server; then each server is replaced by a new generation of itself, and the old one finishes its requests.
- **flip**: a second backend is built beside the first, the routes are moved to it when its servers are ready,
  and the old one is drained. No reload.
- **first use**: something that the running configuration can't express yet. One reload, with its reason in the
  log and in the metrics, the first time such a value appears. Declared in the operator's settings beforehand,
  it is live. With `AllowPolicyReload = false` there is no reload, but a problem.

What was there before serves until what is new is ready, but not for ever. Where that never is (a `port` on which
nobody listens), it takes over after the operator's `--hold-deadline`, a minute, and requests are refused; until
then requests are answered, and `l7 status` tells, a few seconds after the change.

Where a label needs a newer HAProxy than the proxies have, it has no effect and is reported.
"""

TLS = """## How the labels about TLS belong together

Certificates, keys, CAs and passwords are Docker secrets, and labels name them; CAs may be configs. The service
itself needs no access to them. Inside a stack the short name of the compose file will do: `site.cert` is the
secret of that name, or else `<stack>_site.cert`. A secret never changes: to renew what it holds, make one of
another name and change the label. No proxy is restarted, and no connection cut.

- **TLS ends at the proxies** with `ssl_cert` and `ssl_key` (or one secret for both), or with `acme=true`. The
  certificate is chosen by the name that the client asks for (SNI), so each of `hosts` has to be in it. The task
  gets clear text, and `x-forwarded-proto` says `https`. The source of a redirect from `https://` needs a
  certificate like any other host, so name it in `hosts`, too.
- **Nothing in the clear**: `ssl_only=true` redirects plain HTTP; `hsts` makes browsers remember it.
- **TLS again towards the tasks**: `ssl_backend=true`, on its own with any certificate. With `ssl_backend_ca`
  tasks have to prove who they are, by `ssl_backend_name`; with `ssl_backend_cert` the proxies do.
- **TLS ends at the tasks**: `ssl_passthrough=true`. The proxies see nothing but the name, so paths, cookies,
  headers, `basic_auth` and all else about requests is the application's own affair: such labels are reported.
- **Who may come in**: `ssl_client_ca` asks for certificates, `basic_auth` for passwords.

What is missing or wrong never opens a door. A service whose `basic_auth`, `ssl_client_ca` or `ssl_backend_...`
can't be honoured is routed by its previous labels, or not at all; where the secret is there and its content is bad,
requests are refused, by `basic_auth` with 401, by `ssl_client_ca` with 403. A bad `ssl_cert` or `ssl_key` only
turns off TLS of its hosts, unless there is a previous certificate; a client then gets no answer over TLS, or the
operator's default certificate, and never another host's.

```yaml
services:
  shop:
    image: example/shop:1
    networks: [front]
    deploy:
      labels:
        com.docker.lb.hosts: "www.example.org"
        com.docker.lb.port: "8080"
        com.docker.lb.ssl_cert: "site.cert"
        com.docker.lb.ssl_key: "site.key"
        com.docker.lb.ssl_only: "true"
        com.docker.lb.hsts: "max-age=31536000"
secrets:                                   # as shop_site.cert and shop_site.key
  site.cert: {file: www.example.org.crt}
  site.key: {file: www.example.org.key}
```
"""

SHARING = """## Services that share a host and path

Their tasks are pooled: four tasks of one and one of another get 80 % and 20 % of the requests. What is said
about tasks (how often they are checked, `max_connections`, `protocol` ...) is each service's own. What is said
about requests, and `balance`, `retry_on` and `health_check_path`, can be true only once per host and path: there
the service created first decides (by time of creation, then by id), and each other service that wrote something
else is reported, with the label and the service that won. A service with `weight=0` decides only where all have
it. What the first one does not say is not taken from the others: `allow` on the second of two services lets in
everybody, as the problem says. `docker stack deploy` creates the services of a new stack in no certain order: give
those that share a route the same labels about requests, as the example does.
"""

CANARY = """## Blue-green and canary

1. Deploy the new version as a second service with the same `hosts`, `weight=0` and
   `canary_header=X-Version=next`: only requests with that header reach it.
2. `weight=10`, and `weight=90` on the old service, give it a tenth (without the label a service counts as 100).
   The shares hold however the services are scaled.
3. Raise it; set the old service's to `0`; remove the old service. Each step is live, and back is the same way.
   With that `0` the new service's labels about requests come into effect (`allow`, `rate_limit`, headers ...): give
   it those of the old one from the start.

Requests that ask for a canary which has no working task go to the others.
"""

LEFT_OUT = """## Left out on purpose

- **A number of retries per service.** HAProxy has one count for every kind of retry, waiting for a successor
  included, and it is fixed in a backend's configuration. `retry_on` chooses among three ways that are tested.
- **Learned stick-tables.** They differ from proxy to proxy and are empty after a restart. A hash of the
  application's own cookie is the same everywhere, at once.
- **Log formats per service.** One format has the service's name and all that can be measured; select there.
- **Methods and bodies of checks.** A check is a GET; `health_check_path` may have a query. What a service needs
  beyond that, it can tell in the status of its answer.
"""

LEGACY = """## Labels of Interlock 1 and of UCP's HTTP routing mesh

With `LegacyLabels = true` in the settings, these count as what they mean; labels of today on the same service
win. What can't be translated is reported under its old name, and the service is routed without it. They
may be labels of the service or of its containers. Flags are true by being there, as they were.

{one}

| HTTP routing mesh: `com.docker.ucp.mesh.http*` | becomes |
| --- | --- |
| `external_route=http://host` | `hosts` (of several labels: all of them) |
| `external_route=sni://host` | `hosts`, `ssl_passthrough=true`; beside `http://` routes it is reported instead |
| `internal_port=8080` | `port`; a second port on the same service is reported |
| `sticky_sessions=NAME` | `sticky_session_cookie` |
| `redirect=url` | `redirects=http://host,url` |
| `8080=http://host` (UCP 2.0) | `port` and `hosts` |
"""
