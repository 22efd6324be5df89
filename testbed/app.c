/* The application of the test installation: a small HTTP/1.1 server that says who it is and behaves well.
 *
 *   /                       instance=<id> version=<v>            (also every path not named here)
 *   /echo                   JSON: instance, version, request line and headers as they arrived
 *   /log                    JSON: requests so far, time of the last one and of SIGTERM (unix ns)
 *   /healthz                ok, or 503 while this instance is sick
 *   /sick, /well            make this instance sick, and well again
 *   /fail?n=N&status=S      the next N requests get S (500), except those to /log and the paths below it up to here
 *   /slow?ms=N              answers after N ms
 *   /download?bytes=N&ms=M  N bytes, spread over M ms
 *   /text?bytes=N           N bytes of text/plain that compress well
 *   /sse?n=N&ms=M           N server-sent events ("data: 1 <id>"), M ms apart
 *   /session?name=C         sets the cookie C (session) to a value of this instance's, unless the request has it
 *   /redirect?to=URL        302 to what is after "to=", as it is written
 *   /status/NNN             that status
 *   Upgrade: websocket      echoes text, binary and ping frames; its answer has the request's Origin as X-Origin
 *
 * Only the last part of the path counts (/status/NNN: the last two), so /any/root/echo works as well.
 * Environment: PORT (8080), INSTANCE (host name), VERSION (1), START_DELAY_MS (listens that much later),
 * STOP_GRACE_MS (9000), EXIT_AT_ONCE=1, SICK=1 (is sick from the start), LOG_REQUESTS=1 (prints
 * "<unix ns> <path>" per request).
 * On SIGTERM it prints "SIGTERM <unix ns>", stops listening, closes idle connections, answers what is under way
 * with "Connection: close" and exits once nothing is left. With EXIT_AT_ONCE=1 it just exits.
 *
 * `/app check` is for HEALTHCHECK. One thread per connection: what counts here is being predictable.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BUFFER = 65536, FIRST_REQUEST_MS = 1000 };

struct connection {
    int fd;
    int fresh;                /* nothing at all has arrived yet */
    int idle;                 /* nothing of a request has arrived since the last answer */
    size_t have;              /* bytes in `in` */
    char in[BUFFER + 1];
    struct connection *next, **previous;
};

struct request {
    char method[16], target[2048], version[16];
    const char *headers;      /* first header line */
    size_t length;            /* Content-Length */
    int chunked, keep_alive, expect_continue, upgrade;
    char websocket_key[64], origin[256];
    const char *cookie;       /* value of the Cookie header, up to the end of its line */
};

static const char *instance, *app_version;
static char host_name[256];
static int log_requests, listener = -1;
static atomic_int stopping, sick, failures_left, failure_status;
static atomic_ullong sessions, requests, last_request_ns, sigterm_ns;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static struct connection *connections;

static unsigned long long now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (unsigned long long)t.tv_sec * 1000000000ull + (unsigned long long)t.tv_nsec;
}

static void sleep_ms(long ms) {
    struct timespec t = {ms / 1000, ms % 1000 * 1000000};
    while (nanosleep(&t, &t) && errno == EINTR) {}
}

static long environment(const char *name, long otherwise) {
    const char *text = getenv(name);
    return text && *text ? atol(text) : otherwise;
}

static void say(const char *format, ...) {      /* one write: lines of several threads do not mix */
    char line[2300];
    va_list arguments;
    va_start(arguments, format);
    int n = vsnprintf(line, sizeof line, format, arguments);
    va_end(arguments);
    if (write(1, line, (size_t)n < sizeof line ? (size_t)n : sizeof line - 1) < 0) {}
}

/* -- sending ---------------------------------------------------------------------------------------------- */

static int send_all(int fd, const void *data, size_t n) {
    for (const char *p = data; n;) {
        ssize_t sent = send(fd, p, n, MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR) continue;
        if (sent <= 0) return -1;
        p += sent, n -= (size_t)sent;
    }
    return 0;
}

/* Whether the connection lives on after this answer. Asked once per answer, just before its head is written. */
static int keeps(const struct request *r) { return r->keep_alive && !stopping; }

/* `more`: further header lines, each with its end. */
static int send_head_with(int fd, int status, const char *more, int keep) {
    char head[3072];
    int n = snprintf(head, sizeof head,
                     "HTTP/1.1 %d %s\r\n%sX-Instance: %s\r\nX-Version: %s\r\nConnection: %s\r\n\r\n", status,
                     status < 400 ? "OK" : "Failed", more, instance, app_version, keep ? "keep-alive" : "close");
    return send_all(fd, head, (size_t)n);
}

static int send_head(int fd, int status, const char *type, size_t length, int keep) {
    char body[80] = "";
    if (status != 204)                              /* RFC 9110, section 8.6: no length with 204 */
        snprintf(body, sizeof body, "Content-Type: %s\r\nContent-Length: %zu\r\n", type, length);
    return send_head_with(fd, status, body, keep);
}

/* Sends an answer; whether the connection lives on. */
static int answer(struct connection *c, const struct request *r, int status, const char *type, const char *body) {
    size_t length = strlen(body);
    int keep = keeps(r), bodiless = !strcmp(r->method, "HEAD") || status == 204 || status == 304;
    if (send_head(c->fd, status, type, length, keep)) return 0;
    if (!bodiless && send_all(c->fd, body, length)) return 0;
    return keep;
}

/* -- receiving -------------------------------------------------------------------------------------------- */

static int receive(struct connection *c) {
    if (c->have >= BUFFER) return -1;
    ssize_t n;
    do n = recv(c->fd, c->in + c->have, BUFFER - c->have, 0);
    while (n < 0 && errno == EINTR);
    if (n <= 0) return -1;
    c->have += (size_t)n;
    c->in[c->have] = 0;
    return 0;
}

static void consume(struct connection *c, size_t n) {
    memmove(c->in, c->in + n, c->have - n + 1);
    c->have -= n;
}

static int skip_bytes(struct connection *c, size_t n) {
    while (n) {
        if (!c->have && receive(c)) return -1;
        size_t part = c->have < n ? c->have : n;
        consume(c, part);
        n -= part;
    }
    return 0;
}

static int skip_chunks(struct connection *c) {
    for (;;) {
        char *end;
        while (!(end = strstr(c->in, "\r\n")))
            if (receive(c)) return -1;
        size_t size = strtoul(c->in, NULL, 16);
        consume(c, (size_t)(end - c->in) + 2);
        if (skip_bytes(c, size + 2)) return -1;      /* no trailers: HAProxy forwards them only on request */
        if (!size) return 0;
    }
}

static void read_header(struct request *r, const char *line, const char *end) {
    const char *colon = memchr(line, ':', (size_t)(end - line));
    if (!colon) return;
    const char *value = colon + 1;
    while (value < end && (*value == ' ' || *value == '\t')) value++;
    size_t n = (size_t)(colon - line), length = (size_t)(end - value);
    if (n == 14 && !strncasecmp(line, "content-length", n)) r->length = strtoul(value, NULL, 10);
    if (n == 17 && !strncasecmp(line, "transfer-encoding", n)) r->chunked = 1;
    if (n == 6 && !strncasecmp(line, "expect", n)) r->expect_continue = 1;
    if (n == 7 && !strncasecmp(line, "upgrade", n)) r->upgrade = !strncasecmp(value, "websocket", 9);
    if (n == 10 && !strncasecmp(line, "connection", n)) {
        if (length >= 5 && !strncasecmp(value, "close", 5)) r->keep_alive = 0;
        if (length >= 10 && !strncasecmp(value, "keep-alive", 10)) r->keep_alive = 1;
    }
    if (n == 6 && !strncasecmp(line, "cookie", n)) r->cookie = value;
    if (n == 6 && !strncasecmp(line, "origin", n) && length < sizeof r->origin)
        memcpy(r->origin, value, length), r->origin[length] = 0;
    if (n == 17 && !strncasecmp(line, "sec-websocket-key", n) && length < sizeof r->websocket_key)
        memcpy(r->websocket_key, value, length), r->websocket_key[length] = 0;
}

/* Parses the head in c->in, of which `end` is the final empty line. */
static int parse(struct connection *c, struct request *r, const char *end) {
    memset(r, 0, sizeof *r);
    if (sscanf(c->in, "%15s %2047s %15s", r->method, r->target, r->version) != 3) return -1;
    r->keep_alive = !strcmp(r->version, "HTTP/1.1");
    const char *line = strstr(c->in, "\r\n") + 2;
    r->headers = line;
    while (line < end) {
        const char *stop = strstr(line, "\r\n");
        read_header(r, line, stop);
        line = stop + 2;
    }
    return 0;
}

static void note_request(const struct request *r) {
    unsigned long long t = now_ns();
    requests++;
    last_request_ns = t;
    if (log_requests) say("%llu %s\n", t, r->target);
}

/* -- what is answered ------------------------------------------------------------------------------------- */

static size_t add_json(char *out, size_t at, size_t room, const char *text, size_t n) {
    at += (size_t)snprintf(out + at, room - at, "\"");
    for (size_t i = 0; i < n && at + 8 < room; i++) {
        unsigned char byte = (unsigned char)text[i];
        if (byte == '"' || byte == '\\') at += (size_t)sprintf(out + at, "\\%c", byte);
        else if (byte < 32 || byte > 126) at += (size_t)sprintf(out + at, "\\u%04x", byte);
        else out[at++] = (char)byte;
    }
    at += (size_t)snprintf(out + at, room - at, "\"");
    return at;
}

static int answer_echo(struct connection *c, const struct request *r) {
    size_t room = 6 * BUFFER + 1024, at;
    char *out = malloc(room), line[2100];
    if (!out) return 0;
    at = (size_t)snprintf(out, room, "{\"instance\":\"%s\",\"version\":\"%s\",\"request\":", instance, app_version);
    int n = snprintf(line, sizeof line, "%s %s %s", r->method, r->target, r->version);
    at = add_json(out, at, room, line, (size_t)n);
    at += (size_t)sprintf(out + at, ",\"headers\":[");
    for (const char *h = r->headers, *end; h && *h && *h != '\r'; h = end + 2) {
        const char *colon = strchr(h, ':');
        end = strstr(h, "\r\n");
        if (!colon || colon > end) continue;
        const char *value = colon + 1;
        while (*value == ' ') value++;
        at += (size_t)sprintf(out + at, "%s[", h == r->headers ? "" : ",");
        at = add_json(out, at, room, h, (size_t)(colon - h));
        out[at++] = ',';
        at = add_json(out, at, room, value, (size_t)(end - value));
        out[at++] = ']';
    }
    sprintf(out + at, "]}\n");
    int keep = answer(c, r, 200, "application/json", out);
    free(out);
    return keep;
}

static long argument(const struct request *r, const char *name, long otherwise) {
    const char *query = strchr(r->target, '?');
    size_t n = strlen(name);
    while (query) {
        query++;
        if (!strncmp(query, name, n) && query[n] == '=') return atol(query + n + 1);
        query = strchr(query, '&');
    }
    return otherwise;
}

static int answer_download(struct connection *c, const struct request *r) {
    long bytes = argument(r, "bytes", 1000000), ms = argument(r, "ms", 0);
    long slices = ms / 50 > 0 ? ms / 50 : 1, sent = 0;
    char block[4096];
    int keep = keeps(r);
    memset(block, 'x', sizeof block);
    if (send_head(c->fd, 200, "application/octet-stream", (size_t)bytes, keep)) return 0;
    for (long slice = 1; slice <= slices; slice++) {
        for (long until = bytes / slices * slice + (slice == slices ? bytes % slices : 0); sent < until;) {
            long part = until - sent < (long)sizeof block ? until - sent : (long)sizeof block;
            if (send_all(c->fd, block, (size_t)part)) return 0;
            sent += part;
        }
        if (ms) sleep_ms(ms / slices);
    }
    return keep;
}

static int answer_text(struct connection *c, const struct request *r) {
    static const char words[] = "the same words again and again, ";
    long bytes = argument(r, "bytes", 10000);
    char *out = malloc((size_t)bytes + 1);
    if (!out) return 0;
    for (long i = 0; i < bytes; i++) out[i] = words[(size_t)i % (sizeof words - 1)];
    out[bytes] = 0;
    int keep = answer(c, r, 200, "text/plain", out);
    free(out);
    return keep;
}

static int send_chunk(int fd, const char *text) {
    char chunk[400];
    int n = snprintf(chunk, sizeof chunk, "%zx\r\n%s\r\n", strlen(text), text);
    return send_all(fd, chunk, (size_t)n);
}

static int answer_events(struct connection *c, const struct request *r) {
    const char *head = "Content-Type: text/event-stream\r\nCache-Control: no-cache\r\nTransfer-Encoding: chunked\r\n";
    long count = argument(r, "n", 10), ms = argument(r, "ms", 100);
    int keep = keeps(r);
    char event[300];
    if (send_head_with(c->fd, 200, head, keep)) return 0;
    for (long i = 1; i <= count; i++) {
        snprintf(event, sizeof event, "data: %ld %s\n\n", i, instance);
        if (send_chunk(c->fd, event)) return 0;
        if (i < count) sleep_ms(ms);
    }
    return !send_chunk(c->fd, "") && keep;
}

/* The text after `name`= in the query, to its end or (`one`) to the next &; empty if it is not there. */
static void text_argument(const struct request *r, const char *name, int one, char *out, size_t room) {
    const char *query = strchr(r->target, '?');
    size_t n = strlen(name);
    *out = 0;
    while (query) {
        query++;
        if (!strncmp(query, name, n) && query[n] == '=') {
            snprintf(out, room, "%s", query + n + 1);
            if (one) out[strcspn(out, "&")] = 0;
            return;
        }
        query = strchr(query, '&');
    }
}

static int has_cookie(const struct request *r, const char *name) {
    size_t n = strlen(name);
    for (const char *p = r->cookie; p && *p != '\r'; p++) {
        while (*p == ' ') p++;
        if (!strncmp(p, name, n) && p[n] == '=') return 1;
        p += strcspn(p, ";\r");
        if (*p != ';') break;
    }
    return 0;
}

static int answer_session(struct connection *c, const struct request *r) {
    char name[64], more[900] = "", body[600];
    text_argument(r, "name", 1, name, sizeof name);
    if (!*name) strcpy(name, "session");
    int length = snprintf(body, sizeof body, "instance=%s version=%s\n", instance, app_version), n = 0;
    if (!has_cookie(r, name))
        n = snprintf(more, sizeof more, "Set-Cookie: %s=%s.%llu; Path=/\r\n", name, instance,
                     (unsigned long long)++sessions);
    snprintf(more + n, sizeof more - (size_t)n, "Content-Type: text/plain\r\nContent-Length: %d\r\n", length);
    int keep = keeps(r);
    return !send_head_with(c->fd, 200, more, keep) && !send_all(c->fd, body, (size_t)length) && keep;
}

static int answer_redirect(struct connection *c, const struct request *r) {
    char to[2048], more[2200];
    text_argument(r, "to", 0, to, sizeof to);
    snprintf(more, sizeof more, "Location: %s\r\nContent-Length: 0\r\n", to);
    int keep = keeps(r);
    return !send_head_with(c->fd, 302, more, keep) && keep;
}

/* Health and failing, by the last part of the path; -1: another path. */
static int answer_control(struct connection *c, const struct request *r, const char *last) {
    if (!strcmp(last, "healthz"))
        return sick ? answer(c, r, 503, "text/plain", "sick\n") : answer(c, r, 200, "text/plain", "ok\n");
    if (!strcmp(last, "sick")) sick = 1;
    else if (!strcmp(last, "well")) sick = 0;
    else if (!strcmp(last, "fail")) {
        failure_status = (int)argument(r, "status", 500);
        failures_left = (int)argument(r, "n", 1);
    } else return -1;
    return answer(c, r, 200, "text/plain", "done\n");
}

static int is_to_fail(void) {
    int left = failures_left;
    while (left > 0 && !atomic_compare_exchange_weak(&failures_left, &left, left - 1)) {}
    return left > 0;
}

static int answer_log(struct connection *c, const struct request *r) {
    char body[200];
    snprintf(body, sizeof body, "{\"instance\":\"%s\",\"requests\":%llu,\"last_ns\":%llu,\"sigterm_ns\":%llu}\n",
             instance, (unsigned long long)requests, (unsigned long long)last_request_ns,
             (unsigned long long)sigterm_ns);
    return answer(c, r, 200, "application/json", body);
}

/* Dispatches on the last part of the path; whether the connection lives on. */
static int dispatch(struct connection *c, const struct request *r) {
    char path[2048], body[600], *slash;
    snprintf(path, sizeof path, "%s", r->target);
    path[strcspn(path, "?")] = 0;
    slash = strrchr(path, '/');
    const char *last = slash ? slash + 1 : path;
    int controlled = answer_control(c, r, last);
    if (controlled >= 0) return controlled;
    if (!strcmp(last, "log")) return answer_log(c, r);
    snprintf(body, sizeof body, "instance=%s version=%s\n", instance, app_version);
    if (is_to_fail()) return answer(c, r, failure_status, "text/plain", body);
    if (!strcmp(last, "echo")) return answer_echo(c, r);
    if (!strcmp(last, "download")) return answer_download(c, r);
    if (!strcmp(last, "text")) return answer_text(c, r);
    if (!strcmp(last, "sse")) return answer_events(c, r);
    if (!strcmp(last, "session")) return answer_session(c, r);
    if (!strcmp(last, "redirect")) return answer_redirect(c, r);
    if (!strcmp(last, "slow")) sleep_ms(argument(r, "ms", 1000));
    int status = atoi(last);
    if (slash) *slash = 0;
    const char *before = strrchr(path, '/');
    int wanted = before && !strcmp(before, "/status") && status >= 200 && status < 600;
    return answer(c, r, wanted ? status : 200, "text/plain", body);
}

/* -- WebSocket (RFC 6455) --------------------------------------------------------------------------------- */

static uint32_t rotate(uint32_t x, int n) { return x << n | x >> (32 - n); }

static void sha1_block(uint32_t state[5], const unsigned char *p) {
    uint32_t w[80], a = state[0], b = state[1], c = state[2], d = state[3], e = state[4];
    for (int i = 0; i < 16; i++)
        w[i] = (uint32_t)p[4 * i] << 24 | (uint32_t)p[4 * i + 1] << 16 | (uint32_t)p[4 * i + 2] << 8 | p[4 * i + 3];
    for (int i = 16; i < 80; i++) w[i] = rotate(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
    for (int i = 0; i < 80; i++) {
        uint32_t f = i < 20 ? (b & c) | (~b & d) : i < 40 || i >= 60 ? b ^ c ^ d : (b & c) | (b & d) | (c & d);
        uint32_t k = i < 20 ? 0x5a827999 : i < 40 ? 0x6ed9eba1 : i < 60 ? 0x8f1bbcdc : 0xca62c1d6;
        uint32_t t = rotate(a, 5) + f + e + k + w[i];
        e = d, d = c, c = rotate(b, 30), b = a, a = t;
    }
    state[0] += a, state[1] += b, state[2] += c, state[3] += d, state[4] += e;
}

/* Sec-WebSocket-Accept: base64(sha1(key + the RFC's constant)). */
static void websocket_accept(const char *key, char out[32]) {
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    uint32_t state[5] = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
    unsigned char text[192] = {0}, digest[21] = {0};
    size_t n = (size_t)snprintf((char *)text, 120, "%s258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key);
    size_t size = n + 9 <= 64 ? 64 : 128;
    text[n] = 0x80;
    text[size - 1] = (unsigned char)(n * 8), text[size - 2] = (unsigned char)(n * 8 >> 8);
    for (size_t at = 0; at < size; at += 64) sha1_block(state, text + at);
    for (int i = 0; i < 20; i++) digest[i] = (unsigned char)(state[i / 4] >> (24 - 8 * (i % 4)));
    for (int i = 0; i < 7; i++) {
        uint32_t three = (uint32_t)digest[3 * i] << 16 | (uint32_t)digest[3 * i + 1] << 8 | digest[3 * i + 2];
        for (int j = 0; j < 4; j++) out[4 * i + j] = digits[three >> (18 - 6 * j) & 63];
    }
    out[27] = '=', out[28] = 0;
}

static int send_frame(int fd, int opcode, const char *data, size_t n) {
    unsigned char head[4] = {(unsigned char)(0x80 | opcode), (unsigned char)n};
    size_t length = 2;
    if (n > 125) head[1] = 126, head[2] = (unsigned char)(n >> 8), head[3] = (unsigned char)n, length = 4;
    return send_all(fd, head, length) || send_all(fd, data, n);
}

/* Waits for a whole frame shorter than 64 KiB; its payload in place, unmasked. Opcode, or -1 at the end. */
static int receive_frame(struct connection *c, char **data, size_t *n, size_t *whole) {
    for (;;) {
        unsigned char *p = (unsigned char *)c->in;
        size_t head = c->have < 2 ? 0 : 2u + ((p[1] & 127) == 126 ? 2 : 0) + (p[1] & 128 ? 4 : 0);
        if (head && (p[1] & 127) == 127) return -1;
        if (head && c->have >= head) {
            *n = (p[1] & 127) == 126 ? (size_t)p[2] << 8 | p[3] : (size_t)(p[1] & 127);
            *whole = head + *n;
            if (c->have >= *whole) {
                for (size_t i = 0; p[1] & 128 && i < *n; i++) p[head + i] ^= p[head - 4 + i % 4];
                *data = c->in + head;
                return p[0] & 15;
            }
        }
        if (receive(c)) return -1;
    }
}

static void websocket(struct connection *c, const struct request *r) {
    char accept_key[32], head[700], *data;
    size_t n, whole;
    int opcode;
    websocket_accept(r->websocket_key, accept_key);
    int length = snprintf(head, sizeof head,
                          "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                          "Sec-WebSocket-Accept: %s\r\nX-Instance: %s\r\nX-Origin: %s\r\n\r\n", accept_key, instance,
                          r->origin);
    if (send_all(c->fd, head, (size_t)length)) return;
    while ((opcode = receive_frame(c, &data, &n, &whole)) >= 0) {
        if (opcode == 8) break;
        if (send_frame(c->fd, opcode == 9 ? 10 : opcode, data, n)) return;
        consume(c, whole);
    }
    send_frame(c->fd, 8, "\x03\xe9", 2);            /* 1001: going away */
}

/* -- connections ------------------------------------------------------------------------------------------ */

/* Waits for a whole head; its end, or NULL when there is no further request. */
static const char *await_head(struct connection *c) {
    const char *end;
    while (!(end = strstr(c->in, "\r\n\r\n"))) {
        if (receive(c)) return NULL;
        pthread_mutex_lock(&lock);
        c->idle = c->fresh = 0;
        pthread_mutex_unlock(&lock);
    }
    return end + 2;
}

static int serve_one(struct connection *c) {
    struct request r;
    const char *end = await_head(c);
    if (!end || parse(c, &r, end)) return 0;
    note_request(&r);
    if (r.upgrade && r.websocket_key[0]) {
        consume(c, (size_t)(end - c->in) + 2);
        websocket(c, &r);
        return 0;
    }
    if (r.expect_continue && send_all(c->fd, "HTTP/1.1 100 Continue\r\n\r\n", 25)) return 0;
    int keep = dispatch(c, &r);                     /* before the head is overwritten: /echo reads it */
    consume(c, (size_t)(end - c->in) + 2);
    return !(r.chunked ? skip_chunks(c) : skip_bytes(c, r.length)) && keep;
}

/* Whether to wait for another request; idle connections are closed by a stop. */
static int become_idle(struct connection *c) {
    pthread_mutex_lock(&lock);
    c->idle = !c->have;
    int go_on = !stopping || c->have;
    pthread_mutex_unlock(&lock);
    return go_on;
}

/* Sends all there is, then waits a moment for the peer's end: closing over unread bytes would reset the
 * connection and could cost the peer our answer. */
static void finish_sending(struct connection *c) {
    struct timeval limit = {1, 0};
    shutdown(c->fd, SHUT_WR);
    setsockopt(c->fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
    while (recv(c->fd, c->in, BUFFER, 0) > 0) {}
}

static void *serve(void *argument_) {
    struct connection *c = argument_;
    while (serve_one(c) && become_idle(c)) {}
    finish_sending(c);
    pthread_mutex_lock(&lock);
    *c->previous = c->next;
    if (c->next) c->next->previous = c->previous;
    close(c->fd);
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&lock);
    free(c);
    return NULL;
}

static void start_connection(int fd) {
    pthread_t thread;
    pthread_attr_t attributes;
    struct connection *c = calloc(1, sizeof *c);
    int on = 1;
    if (!c) { close(fd); return; }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    c->fd = fd, c->fresh = 1;
    pthread_mutex_lock(&lock);
    c->next = connections, c->previous = &connections;
    if (connections) connections->previous = &c->next;
    connections = c;
    pthread_mutex_unlock(&lock);
    pthread_attr_init(&attributes);
    pthread_attr_setstacksize(&attributes, 128 * 1024);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    if (pthread_create(&thread, &attributes, serve, c)) abort();
    pthread_attr_destroy(&attributes);
}

static void listen_now(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)environment("PORT", 8080))};
    int on = 1;
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (bind(listener, (struct sockaddr *)&address, sizeof address) || listen(listener, 1024)) {
        perror("cannot listen");
        exit(1);
    }
    say("listening %llu\n", now_ns());
}

static void accept_all(void) {
    int fd;
    while ((fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC)) >= 0) start_connection(fd);
}

/* Waits until no connection is left, at most `ms`; the lock is held. */
static void await_end(long ms) {
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += ms / 1000;
    until.tv_nsec += ms % 1000 * 1000000;
    if (until.tv_nsec >= 1000000000) until.tv_sec++, until.tv_nsec -= 1000000000;
    while (connections && !pthread_cond_timedwait(&changed, &lock, &until)) {}
}

/* Finishes what is under way: connections in the queue are still taken, idle ones end. A connection that has sent
 * nothing yet is given a moment: its client has just opened it in order to ask something. */
static void stop_listening(void) {
    struct connection *c;
    accept_all();
    close(listener);
    stopping = 1;
    pthread_mutex_lock(&lock);
    for (c = connections; c; c = c->next)
        if (c->idle) shutdown(c->fd, SHUT_RD);      /* its thread still gets what has arrived already */
    await_end(FIRST_REQUEST_MS);
    for (c = connections; c; c = c->next)
        if (c->fresh) shutdown(c->fd, SHUT_RD);
    await_end(environment("STOP_GRACE_MS", 9000) - FIRST_REQUEST_MS);
    pthread_mutex_unlock(&lock);
}

static void *await_stop(void *ends) {
    sigset_t wanted;
    int number;
    sigemptyset(&wanted);
    sigaddset(&wanted, SIGTERM);
    sigaddset(&wanted, SIGINT);
    sigwait(&wanted, &number);
    sigterm_ns = now_ns();
    say("SIGTERM %llu\n", (unsigned long long)sigterm_ns);
    if (environment("EXIT_AT_ONCE", 0) || listener < 0) _exit(0);
    if (write(((int *)ends)[1], "x", 1) < 0) _exit(1);
    return NULL;
}

/* `app check`: for HEALTHCHECK; 0 if /healthz answers 200. */
static int check(void) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)environment("PORT", 8080))};
    const char *request = "GET /healthz HTTP/1.0\r\n\r\n";
    char reply[16] = {0};
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return connect(fd, (struct sockaddr *)&address, sizeof address) || send_all(fd, request, strlen(request)) ||
           recv(fd, reply, 12, MSG_WAITALL) != 12 || memcmp(reply + 9, "200", 3);
}

int main(int count, char **arguments) {
    pthread_t thread;
    sigset_t blocked;
    int ends[2];
    if (count > 1 && !strcmp(arguments[1], "check")) return check();
    gethostname(host_name, sizeof host_name - 1);
    instance = getenv("INSTANCE") ? getenv("INSTANCE") : host_name;
    app_version = getenv("VERSION") ? getenv("VERSION") : "1";
    log_requests = environment("LOG_REQUESTS", 0) != 0;
    sick = environment("SICK", 0) != 0;
    sigemptyset(&blocked);
    sigaddset(&blocked, SIGTERM);
    sigaddset(&blocked, SIGINT);
    pthread_sigmask(SIG_BLOCK, &blocked, NULL);
    if (pipe(ends) || pthread_create(&thread, NULL, await_stop, ends)) return 1;
    sleep_ms(environment("START_DELAY_MS", 0));
    listen_now();
    struct pollfd watched[2] = {{.fd = listener, .events = POLLIN}, {.fd = ends[0], .events = POLLIN}};
    while (!(watched[1].revents & POLLIN)) {
        if (poll(watched, 2, -1) < 0 && errno != EINTR) return 1;
        if (watched[0].revents & POLLIN) accept_all();
    }
    stop_listening();
    return 0;
}
