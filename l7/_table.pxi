# Table: a row per server, as C structs in columns, under a number (slot) that stays the same while the row lives.
#
# NOBODY, which is Health's, is the backend of a slot that is free. No object of Python per server, and none at all
# where bytes are scanned: there the GIL is released, so that a dump of 100,000 servers holds nobody up.
# `fastpath_pure/table.py` says what each method means.

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize, PyBytes_GET_SIZE
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc, realloc
from libc.string cimport memchr, memcmp, memcpy, memmove, memset, strlen

from hashlib import blake2b

cdef extern from "_table.h":
    enum: TABLE_NEAR, TABLE_DEPTH, TABLE_BACKEND, TABLE_COLUMNS
    union table_text "":
        char near[32]
        char *far
    ctypedef struct table_key:
        table_text name
        uint32_t backend, next, prev
        uint16_t length, flags
    ctypedef struct table_want:
        uint8_t address[16]
        uint32_t id, stop_in
        uint16_t port, weight, service
        uint8_t state, form
    ctypedef struct table_wish:
        table_want row
        uint32_t seen, after
    ctypedef struct table_have:
        uint8_t address[16]
        uint32_t id
        uint16_t port, weight, admin, check
        uint8_t op, form
    ctypedef struct table_field:
        uint32_t number, type
        const uint8_t *data
        uint64_t value
    ctypedef struct table_span:
        const char *at
        const char *end
    const char *table_name(const table_key *) nogil
    bint table_is(const table_key *, uint32_t, const char *, size_t) nogil
    uint32_t table_hash(uint32_t, const char *, size_t) nogil
    void table_sort(uint32_t *, size_t, const table_key *) nogil
    bint table_before(const table_key *, const table_key *) nogil
    bint table_good_name(const char *, size_t, size_t) nogil
    uint8_t table_address(const char *, size_t, uint8_t *) nogil
    char *table_put_number(char *, uint32_t) nogil
    char *table_put_address(char *, const uint8_t *, uint8_t) nogil
    const uint8_t *table_next(const uint8_t *, const uint8_t *, int, table_field *) nogil
    const uint8_t *table_skip_servers(const uint8_t *, const uint8_t *) nogil
    bint table_utf8(const uint8_t *, size_t) nogil
    const uint8_t *table_unchanged(
        const uint8_t *, const uint8_t *, const uint8_t *, uint32_t, uint32_t, const table_key *, table_wish *,
        uint32_t *, uint32_t *) nogil
    const char *table_server(const uint8_t *, const uint8_t *, table_want *, const char **, size_t *) nogil
    uint8_t table_column(const char *, size_t) nogil
    bint table_row(
        const char *, const char *, const char *, const uint8_t *, size_t, table_have *, table_span *,
        table_span *) nogil

# Of a row. WANTED and THERE: its columns count. COMING, STAGED, TOLD: an update, a dump, or a command that was
# answered during a dump refers to it, so its slot is not given to another.
cdef enum: WANTED = 1, THERE = 2, COMING = 4, STAGED = 8, TOLD = 16, DIRTY = 32, REFUSED = 64, IS_HOLD = 128
cdef enum: ALIVE = WANTED | THERE | COMING | STAGED | TOLD
# Of a backend. OURS: it may be given commands.
cdef enum: B_WANTED = 1, B_OURS = 2, B_CHANGED = 4, B_LISTED = 8, B_STALE = 16
# Commands, as bits in the order in which they are given.
cdef enum: ADD = 1, WEIGHT = 2, ENABLE = 4, HEALTH = 8, DISABLE = 16, DELETE = 32
VERBS = {ADD: "add server", WEIGHT: "set weight", ENABLE: "enable server", HEALTH: "enable health",
         DISABLE: "disable server", DELETE: "del server"}
# Bits of srv_admin_state (OUT is Health's) and srv_check_state.
cdef enum: FORCED = 0x09, FORCED_MAINT = 0x01, FORCED_DRAIN = 0x08, MAINT = 0x23, CHECKED = 0x04
cdef enum: LEAVING = 3, READY = 2, INCREMENTAL = 2
cdef enum: LONGEST = 200, LONGEST_THERE = 65535

cdef struct State:
    table_have row
    uint32_t seen, after, flight

# What there will be of a server once all commands that were sent to it are done.
cdef struct Flight:
    table_have row
    uint32_t count
    bint there, broken, deleting

cdef struct Sent:
    uint32_t slot
    uint16_t weight, verb

cdef struct Coming:
    uint32_t slot
    table_want row

cdef struct Found:
    uint32_t slot
    table_have row

cdef struct Backend:
    uint32_t slot, rows, size, seen, after, differs, flags
    const uint8_t *content  # settings, while an update is read
    uint64_t length
    uint32_t *dirty
    uint32_t dirty_count, dirty_room
    uint8_t digest[16]

cdef const char *MEMORY = b"memory"


cdef void *grown(void *at, size_t width, uint32_t *room, uint32_t least) noexcept nogil:
    """At least `least` items, half as many again each time; NULL, and what was stays, without memory."""
    cdef uint64_t more = room[0] + room[0] // 2 + 16
    if more < least:
        more = least
    if more > NOBODY:
        return NULL
    at = realloc(at, more * width)
    if at != NULL:
        room[0] = <uint32_t>more
    return at


include "_table_rows.pxi"
include "_table_wanted.pxi"
include "_table_update.pxi"
include "_table_observed.pxi"
include "_table_commands.pxi"
