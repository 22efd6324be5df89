/* Rows of the fast path's Table, and the readers of what they are made from: wire bytes, addresses, dumps.
 * No Python in here. Readers take [p, end) and never look at *end or beyond. */
#ifndef TABLE_TABLE_H
#define TABLE_TABLE_H

#include <arpa/inet.h>
#include <stdint.h>
#include <string.h>

#include "_scan.h"

/* ------------------------------------------------------------------ rows */

#define TABLE_NEAR 32 /* a task id (25) or a server's name (25 + 7) is in the row itself */

typedef struct {
    union { char near[TABLE_NEAR]; char *far; } name;
    uint32_t backend;    /* 0: the name is a backend's, and `next` its number */
    uint32_t next, prev; /* rows of the same backend, or of the free list */
    uint16_t length, flags;
} table_key;

/* As digests have it: the order and width of its fields are part of what a digest is. An IPv4 address is text,
 * `form` bytes of it and 0 behind: it can be written in one way only, and is read and written far more often than
 * changed. `form` 6: an IPv6 address, since no text is as short; 0: none. */
typedef struct {
    uint8_t address[16];
    uint32_t id, stop_in;
    uint16_t port, weight, service;
    uint8_t state, form;
} table_want;

#define TABLE_WANTED 1 /* flag of a row */

/* `seen`: the last update or dump that had the row. `after`: the row that followed this one then, since both come in
 * much the same order each time: it is tried before any hash is made. */
typedef struct {
    table_want row;
    uint32_t seen, after;
} table_wish;

typedef struct {
    uint8_t address[16];
    uint32_t id;
    uint16_t port, weight, admin, check;
    uint8_t op, form;
    uint16_t unused; /* 0, so that rows compare as bytes */
} table_have;

static inline const char *table_name(const table_key *key)
{
    return key->length <= TABLE_NEAR ? key->name.near : key->name.far;
}

static inline int table_is(const table_key *key, uint32_t backend, const char *name, size_t length)
{
    return key->backend == backend && key->length == length && !memcmp(table_name(key), name, length);
}

static inline uint32_t table_hash(uint32_t backend, const char *p, size_t n)
{
    uint64_t h = ((uint64_t)backend + 1) * 0x9E3779B97F4A7C15u ^ n, w;
    for (; n >= 8; p += 8, n -= 8) {
        memcpy(&w, p, 8);
        h = (h ^ w) * 0xD6E8FEB86659FD93u;
        h ^= h >> 32;
    }
    w = 0;
    memcpy(&w, p, n);
    h = (h ^ w) * 0xD6E8FEB86659FD93u;
    h ^= h >> 32;
    h *= 0xD6E8FEB86659FD93u;
    return (uint32_t)(h >> 32);
}

static inline int table_before(const table_key *a, const table_key *b)
{
    size_t n = a->length < b->length ? a->length : b->length;
    int order = memcmp(table_name(a), table_name(b), n);
    return order < 0 || (order == 0 && a->length < b->length);
}

/* By name; in place, since there is nothing to allocate that could fail. */
static void table_sift(uint32_t *rows, size_t at, size_t n, const table_key *keys)
{
    uint32_t row = rows[at];
    for (size_t child; (child = 2 * at + 1) < n; at = child) {
        if (child + 1 < n && table_before(&keys[rows[child]], &keys[rows[child + 1]])) child++;
        if (!table_before(&keys[row], &keys[rows[child]])) break;
        rows[at] = rows[child];
    }
    rows[at] = row;
}

static void table_sort(uint32_t *rows, size_t n, const table_key *keys)
{
    size_t i = 1;
    while (i < n && !table_before(&keys[rows[i]], &keys[rows[i - 1]])) i++;
    if (i >= n) return; /* as it mostly is */
    for (i = n / 2; i-- > 0;) table_sift(rows, i, n, keys);
    for (i = n; i-- > 1;) {
        uint32_t last = rows[i];
        rows[i] = rows[0];
        rows[0] = last;
        table_sift(rows, 0, i, keys);
    }
}

/* ------------------------------------------------------------------ words */

static inline int table_letter(unsigned char c)
{
    return (unsigned)(c | 32) - 'a' < 26 || (unsigned)c - '-' < 2 || (unsigned)c - '0' < 11 || c == '_';
}

static inline int table_good_name(const char *p, size_t n, size_t most)
{
    if (n == 0 || n > most) return 0;
    for (size_t i = 0; i < n; i++)
        if (!table_letter((unsigned char)p[i])) return 0;
    return 1;
}

/* Decimal, of up to ten digits; returns 0 for anything else, or beyond `most`. */
static inline int table_decimal(const char *p, const char *end, uint64_t most, uint64_t *out)
{
    uint64_t value = 0;
    if (p == end || end - p > 10) return 0;
    for (; p < end; p++) {
        unsigned digit = (unsigned char)*p - '0';
        if (digit > 9) return 0;
        value = value * 10 + digit;
    }
    *out = value;
    return value <= most;
}

static inline int table_ipv4(const char *p, const char *end)
{
    for (int part = 0; part < 4; part++) {
        unsigned value, digit;
        if (p == end || (value = (unsigned char)*p++ - '0') > 9) return 0;
        if (value) /* "01" could be octal to others, and is no address */
            for (int more = 0; more < 2 && p < end && (digit = (unsigned char)*p - '0') <= 9; more++, p++)
                value = value * 10 + digit;
        if (value > 255) return 0;
        if (part < 3 && (p == end || *p++ != '.')) return 0;
    }
    return p == end;
}

/* Into 16 bytes that are 0; returns the form, 0 for no address. */
static inline uint8_t table_address(const char *p, size_t n, uint8_t *out)
{
    char text[INET6_ADDRSTRLEN];
    if (n < 16 && table_ipv4(p, p + n)) {
        memcpy(out, p, n);
        return (uint8_t)n;
    }
    if (n >= sizeof text || memchr(p, 0, n)) return 0;
    memcpy(text, p, n);
    text[n] = 0;
    if (inet_pton(AF_INET6, text, out) == 1) return 6;
    memset(out, 0, 16);
    return 0;
}

static inline char *table_put_number(char *p, uint32_t value)
{
    char digits[10];
    int n = 0;
    do digits[n++] = (char)('0' + value % 10); while (value /= 10);
    while (n) *p++ = digits[--n];
    return p;
}

/* In its shortest form (RFC 5952, and never with dots in it); at most 39 bytes. */
static inline char *table_put_address(char *p, const uint8_t *address, uint8_t form)
{
    int best = -1, most = 1, from = -1;
    uint16_t group[8];
    if (form != 6) {
        memcpy(p, address, form);
        return p + form;
    }
    for (int i = 0; i < 8; i++) {
        group[i] = (uint16_t)(address[2 * i] << 8 | address[2 * i + 1]);
        if (group[i]) { from = -1; continue; }
        if (from < 0) from = i;
        if (i - from + 1 > most) { best = from; most = i - from + 1; }
    }
    for (int i = 0; i < 8; i++) {
        if (i == best) {
            *p++ = ':';
            if (i + most == 8) *p++ = ':';
            i += most - 1;
            continue;
        }
        if (i) *p++ = ':';
        for (int shift = 12, begun = 0; shift >= 0; shift -= 4) {
            unsigned nibble = group[i] >> shift & 15;
            if (nibble || begun || !shift) { *p++ = "0123456789abcdef"[nibble]; begun = 1; }
        }
    }
    return p;
}

/* ------------------------------------------------------------------ wire bytes of protobuf */

#define TABLE_DEPTH 100 /* of messages and groups in one another, as protobuf has it */

typedef struct {
    uint32_t number, type;
    const uint8_t *data; /* of type 2 */
    uint64_t value;      /* of type 0, or the length of data */
} table_field;

static inline const uint8_t *table_varint(const uint8_t *p, const uint8_t *end, int most, uint64_t *out)
{
    uint64_t value = 0;
    for (int i = 0; i < most && p < end; i++) {
        uint64_t byte = *p++;
        value |= (byte & 0x7f) << (7 * i);
        if (byte < 0x80) {
            *out = value;
            return p;
        }
    }
    return NULL;
}

static const uint8_t *table_skip_group(const uint8_t *p, const uint8_t *end, uint32_t number, int depth);

/* The next field; NULL: malformed. A group is skipped as a whole, and of type 3. */
static inline const uint8_t *table_next(const uint8_t *p, const uint8_t *end, int depth, table_field *field)
{
    uint64_t tag;
    if (*p < 0x80) tag = *p++;
    else if (!(p = table_varint(p, end, 5, &tag)) || tag > UINT32_MAX) return NULL;
    field->number = (uint32_t)(tag >> 3);
    field->type = (uint32_t)(tag & 7);
    if (!field->number) return NULL;
    if (field->type == 2 && p < end && *p < end - p && *p < 0x80) { /* as it mostly is */
        field->value = *p++;
        field->data = p;
        return p + field->value;
    }
    switch (field->type) {
    case 0:
        if (p < end && *p < 0x80) { field->value = *p; return p + 1; }
        return table_varint(p, end, 10, &field->value);
    case 1: return end - p >= 8 ? p + 8 : NULL;
    case 2:
        if (p < end && *p < 0x80) field->value = *p++;
        else if (!(p = table_varint(p, end, 5, &field->value)) || field->value > INT32_MAX) return NULL;
        if (field->value > (uint64_t)(end - p)) return NULL;
        field->data = p;
        return p + field->value;
    case 3: return table_skip_group(p, end, field->number, depth - 1);
    case 5: return end - p >= 4 ? p + 4 : NULL;
    default: return NULL; /* an end of a group that never began, or no type at all */
    }
}

static const uint8_t *table_skip_group(const uint8_t *p, const uint8_t *end, uint32_t number, int depth)
{
    table_field field;
    if (depth < 0) return NULL;
    while (p < end) {
        uint64_t tag;
        const uint8_t *after = table_varint(p, end, 5, &tag);
        if (after && tag <= UINT32_MAX && (tag & 7) == 4) return tag >> 3 == number ? after : NULL;
        if (!(p = table_next(p, end, depth, &field))) return NULL;
    }
    return NULL;
}

/* Past all short Server messages that begin here; they are looked into later. */
static inline const uint8_t *table_skip_servers(const uint8_t *p, const uint8_t *end)
{
    while (end - p > 2 && p[0] == 0x1a && p[1] < 0x80 && p[1] <= end - p - 2) p += 2 + p[1];
    return p;
}

static int table_utf8(const uint8_t *p, size_t n)
{
    for (const uint8_t *end = p + n; p < end;) {
        unsigned c = *p++, more = c < 0x80 ? 0 : c < 0xC2 ? 9 : c < 0xE0 ? 1 : c < 0xF0 ? 2 : c < 0xF5 ? 3 : 9;
        if (more == 9 || (size_t)(end - p) < more) return 0;
        if (more > 1 && ((c == 0xE0 && *p < 0xA0) || (c == 0xED && *p > 0x9F) || (c == 0xF0 && *p < 0x90) ||
                         (c == 0xF4 && *p > 0x8F))) return 0;
        while (more--) if ((*p++ & 0xC0) != 0x80) return 0;
    }
    return 1;
}

/* A Server message into `want`, which is 0 and stays so where a field is absent; NULL, or why it is refused. */
static const char *table_server(const uint8_t *p, const uint8_t *end, table_want *want, const char **name, size_t *length)
{
    uint64_t id = 0, port = 0, weight = 0, state = 0, stop_in = 0, service = 0;
    const char *address = "";
    size_t address_length = 0;
    table_field f = {0, 0, NULL, 0};
    *name = "";
    *length = 0;
    while (p < end) {
        if (!(p = table_next(p, end, TABLE_DEPTH - 3, &f))) return "not a SyncResponse";
        if (f.type == 0) switch (f.number) {
            case 2: id = (uint32_t)f.value; break;
            case 4: port = (uint32_t)f.value; break;
            case 5: weight = (uint32_t)f.value; break;
            case 6: state = (uint32_t)f.value; break;
            case 7: stop_in = (uint32_t)f.value; break;
            case 8: service = (uint32_t)f.value; break;
        }
        else if (f.type == 2 && f.number == 1) {
            if (*length && !table_utf8((const uint8_t *)*name, *length)) return "not a SyncResponse: no UTF-8";
            *name = (const char *)f.data;
            *length = f.value;
        }
        else if (f.type == 2 && f.number == 3) {
            if (address_length && !table_utf8((const uint8_t *)address, address_length))
                return "not a SyncResponse: no UTF-8";
            address = (const char *)f.data;
            address_length = f.value;
        }
    }
    if (id < 1 || id > INT32_MAX) return "the id is not 1 to 2147483647";
    if (port < 1 || port > 65535) return "the port is not 1 to 65535";
    if (weight > 256) return "the weight is not 0 to 256";
    if (state < 1 || state > 3) return "the state is not known";
    if (service > 65535) return "the service is not 0 to 65535";
    want->form = table_address(address, address_length, want->address);
    if (!want->form) return "the address is no IP address";
    want->id = (uint32_t)id;
    want->port = (uint16_t)port;
    want->weight = (uint16_t)weight;
    want->state = (uint8_t)state;
    want->stop_in = (uint32_t)stop_in;
    want->service = (uint16_t)service;
    return NULL;
}

/* Whether the first n of 16 bytes are the same; reads all 16 of both. */
static inline int table_equal(const void *a, const void *b, unsigned n)
{
#ifdef __SSE2__
    __m128i same = _mm_cmpeq_epi8(_mm_loadu_si128((const __m128i *)a), _mm_loadu_si128((const __m128i *)b));
    return !(~(unsigned)_mm_movemask_epi8(same) & ((1u << n) - 1));
#else
    return !memcmp(a, b, n);
#endif
}

/* Past a field that has to be there, and to be this; one that is 0 has to be absent. NULL: it is not so. */
static inline const uint8_t *table_past(const uint8_t *p, uint8_t tag, uint32_t value)
{
    if (!value) return p;
    if (*p++ != tag) return NULL;
    for (; value > 0x7f; value >>= 7)
        if (*p++ != (uint8_t)(value | 0x80)) return NULL;
    return *p == value ? p + 1 : NULL;
}

/* The longest message that `table_same` may look at, and more than it can be. */
#define TABLE_READABLE (2 + 2 * 16 + 6 + 2 + 16 + 5 * 6)

/* Whether a Server message is that row, byte by byte as protobuf writes it; if not, it may still mean the same. Reads
 * up to TABLE_READABLE bytes. */
static inline int table_same(const uint8_t *p, const uint8_t *end, const table_key *key, const table_want *want)
{
    unsigned n = key->length;
    if (n > TABLE_NEAR || want->form == 6 || p[0] != 0x0a || p[1] != n) return 0;
    if (n > 16 ? !table_equal(p + 2, key->name.near, 16) || !table_equal(p + 18, key->name.near + 16, n - 16)
               : !table_equal(p + 2, key->name.near, n)) return 0;
    if (!(p = table_past(p + 2 + n, 0x10, want->id))) return 0;
    if (p[0] != 0x1a || p[1] != want->form || !table_equal(p + 2, want->address, want->form)) return 0;
    return (p = table_past(p + 2 + want->form, 0x20, want->port)) && (p = table_past(p, 0x28, want->weight)) &&
           (p = table_past(p, 0x30, want->state)) && (p = table_past(p, 0x38, want->stop_in)) &&
           (p = table_past(p, 0x40, want->service)) && p == end;
}

/* Past the Server fields of a Backend that say what they said before, in the same order: what is left differs, or has
 * to be looked up. All of a large update is like this, mostly, so nothing else is as fast as it has to be. */
static const uint8_t *table_unchanged(const uint8_t *p, const uint8_t *end, const uint8_t *limit, uint32_t backend,
                                      uint32_t turn, const table_key *keys, table_wish *wants, uint32_t *last,
                                      uint32_t *seen)
{
    while (end - p > 2 && p[0] == 0x1a && p[1] < 0x80 && p[1] <= end - p - 2 && limit - p > 2 + TABLE_READABLE) {
        uint32_t slot = wants[*last].after;
        const uint8_t *after = p + 2 + p[1];
        if (!slot || keys[slot].backend != backend || !(keys[slot].flags & TABLE_WANTED) || wants[slot].seen == turn ||
            !table_same(p + 2, after, &keys[slot], &wants[slot].row)) break;
        wants[slot].seen = turn;
        *last = slot;
        ++*seen;
        p = after;
    }
    return p;
}

/* ------------------------------------------------------------------ rows of `show servers state` */

enum { TABLE_BACKEND = 1, TABLE_SERVER, TABLE_ADDRESS, TABLE_ID, TABLE_PORT, TABLE_WEIGHT, TABLE_ADMIN, TABLE_CHECK, TABLE_OP, TABLE_COLUMNS };

static const char *const table_columns[TABLE_COLUMNS] = {
    "", "be_name", "srv_name", "srv_addr", "srv_id", "srv_port", "srv_uweight", "srv_admin_state",
    "srv_check_state", "srv_op_state",
};

typedef struct { const char *at, *end; } table_span;

/* What a column of the header line is; 0: nothing that is read. */
static inline uint8_t table_column(const char *p, size_t n)
{
    for (uint8_t i = 1; i < TABLE_COLUMNS; i++)
        if (strlen(table_columns[i]) == n && !memcmp(table_columns[i], p, n)) return i;
    return 0;
}

/* The columns of a row. It ends at `end`; behind that, up to `limit`, there may be more rows, and then columns are found
 * 64 bytes at a time. 0: it has fewer than its header. */
static int table_split(const char *p, const char *end, const char *limit, const uint8_t *columns, size_t width,
                       table_span *at)
{
    uint32_t places[L7_ROOM], found;
    if (width <= L7_COLUMNS && l7_row(p, limit, ' ', '\n', (uint32_t)width, places, &found) >= 0) {
        if (found + 1 < width) return 0;
        for (size_t column = 0; column < width; column++) {
            at[columns[column]].at = p + places[column];
            at[columns[column]].end = p + places[column + 1] - 1;
        }
        return 1;
    }
    for (size_t column = 0; column < width; column++) {
        const char *start = p;
        if (p > end) return 0;
        while (p < end && *p != ' ') p++;
        at[columns[column]].at = start;
        at[columns[column]].end = p++;
    }
    return 1;
}

/* A row by the columns of its header; returns 0 for one that can't be read. Names are not checked. */
static int table_row(const char *p, const char *end, const char *limit, const uint8_t *columns, size_t width,
                     table_have *have, table_span *backend, table_span *server)
{
    table_span at[TABLE_COLUMNS];
    uint64_t id, port, weight, admin, check, op;
    if (!table_split(p, end, limit, columns, width, at)) return 0;
    if (!table_decimal(at[TABLE_ID].at, at[TABLE_ID].end, UINT32_MAX, &id) ||
        !table_decimal(at[TABLE_PORT].at, at[TABLE_PORT].end, 65535, &port) ||
        !table_decimal(at[TABLE_WEIGHT].at, at[TABLE_WEIGHT].end, 65535, &weight) ||
        !table_decimal(at[TABLE_ADMIN].at, at[TABLE_ADMIN].end, 65535, &admin) ||
        !table_decimal(at[TABLE_CHECK].at, at[TABLE_CHECK].end, 65535, &check) ||
        !table_decimal(at[TABLE_OP].at, at[TABLE_OP].end, 255, &op)) return 0;
    memset(have, 0, sizeof *have);
    have->form = table_address(at[TABLE_ADDRESS].at, (size_t)(at[TABLE_ADDRESS].end - at[TABLE_ADDRESS].at), have->address);
    if (!have->form && !(at[TABLE_ADDRESS].end - at[TABLE_ADDRESS].at == 1 && *at[TABLE_ADDRESS].at == '-')) return 0;
    have->id = (uint32_t)id;
    have->port = (uint16_t)port;
    have->weight = (uint16_t)weight;
    have->admin = (uint16_t)admin;
    have->check = (uint16_t)(check & ~(uint64_t)1); /* whether one is under way at this moment is no news */
    have->op = (uint8_t)op;
    *backend = at[TABLE_BACKEND];
    *server = at[TABLE_SERVER];
    return 1;
}

#endif
