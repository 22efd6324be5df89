# Table: a row per server, as C structs in columns, under a number (slot) that stays the same while the row lives.
#
# NOBODY, which is Health's, is the backend of a slot that is free. No object of Python per server, and none at all where bytes are scanned: there the GIL is released, so that a dump
# of 100,000 servers holds nobody up. `fastpath_pure/table.py` says what each method means.

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
    bint table_row(const char *, const char *, const uint8_t *, size_t, table_have *, table_span *, table_span *) nogil

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


cdef class Table:
    """Servers of a set of backends: what is wanted of each and what the proxy has, by (backend, server)."""

    cdef table_key *keys
    cdef table_wish *wants  # NULL until something is wanted, as `haves` until something is there: unused, they cost nothing
    cdef State *haves
    cdef uint32_t top, room, spare, live
    cdef uint64_t *index  # hash and slot; 0: nothing there
    cdef uint32_t mask, entries
    cdef Backend *backends
    cdef uint32_t backend_top, backend_room
    cdef list names, contents, words, spare_backends  # by number of the backend
    cdef uint32_t *order  # backends by name
    cdef uint32_t order_count, order_room
    cdef uint32_t *dirty  # backends with rows to look at
    cdef uint32_t dirty_count, dirty_room
    cdef uint32_t wanted, there, refused, want_turn, have_turn
    cdef Coming *coming
    cdef uint32_t coming_count, coming_room, seen_wanted, last_want, last_backend
    cdef Found *found
    cdef uint32_t found_count, found_room, seen_there, last_have, first_backend
    cdef uint32_t *told
    cdef uint32_t told_count, told_room
    cdef bint dumping, mixed, busy, lost
    cdef char *tail
    cdef size_t tail_length, tail_room
    cdef uint32_t line, width, width_room
    cdef uint8_t *columns
    cdef Flight *flights
    cdef uint32_t flight_top, flight_room, flight_spare
    cdef Sent *sent
    cdef uint32_t sent_head, sent_count, sent_room
    cdef char *out
    cdef size_t out_length, out_room
    cdef const char *error
    cdef const char *error_at  # what it is about
    cdef size_t error_length
    cdef const char *dump_error
    cdef const uint8_t *limit  # of the message that is read
    cdef list joined

    def __cinit__(self):
        self.keys = NULL  # slot, backend and flight 0 are nobody's: 0 says that there is none
        self.names, self.contents, self.words, self.spare_backends = [None], [None], [None], []
        self.top = self.backend_top = self.flight_top = 1
        self.keys = <table_key *>grown(NULL, sizeof(table_key), &self.room, 0)
        self.backends = <Backend *>grown(NULL, sizeof(Backend), &self.backend_room, 0)
        self.flights = <Flight *>grown(NULL, sizeof(Flight), &self.flight_room, 0)
        if self.keys == NULL or self.backends == NULL or self.flights == NULL or not self._rehash(64):
            raise MemoryError
        memset(self.keys, 0, sizeof(table_key))
        memset(self.backends, 0, sizeof(Backend))

    def __dealloc__(self):
        cdef uint32_t i
        if self.keys != NULL:
            for i in range(1, self.top):
                if self.keys[i].length > TABLE_NEAR:
                    free(self.keys[i].name.far)
        if self.backends != NULL:
            for i in range(1, self.backend_top):
                free(self.backends[i].dirty)
        for at in (<size_t>self.keys, <size_t>self.wants, <size_t>self.haves, <size_t>self.index,
                   <size_t>self.backends, <size_t>self.order, <size_t>self.dirty, <size_t>self.coming,
                   <size_t>self.found, <size_t>self.told, <size_t>self.tail, <size_t>self.columns,
                   <size_t>self.flights, <size_t>self.sent, <size_t>self.out):
            free(<void *><size_t>at)

    def __len__(self):
        self._free()
        return self.live

    # ---------------------------------------------------------------- one at a time

    cdef int _free(self) except -1:
        """Scanning goes on without the GIL: nobody else may look, or write, meanwhile."""
        if self.busy:
            raise RuntimeError("the table is in use by another thread")
        return 0

    cdef int _raise(self, const char *error) except -1:
        if error == MEMORY:
            raise MemoryError
        text = error.decode()
        if self.error_length:
            text = f"{text}: {self.error_at[:min(self.error_length, 80)]!r}"
        raise ValueError(text)

    # ---------------------------------------------------------------- slots

    cdef bint _rehash(self, uint32_t size) noexcept nogil:
        """`size` is a power of two."""
        cdef uint64_t *fresh = <uint64_t *>malloc(size * sizeof(uint64_t))
        cdef uint64_t entry
        cdef uint32_t i, at
        if fresh == NULL:
            return False
        memset(fresh, 0, size * sizeof(uint64_t))
        if self.index != NULL:
            for i in range(self.mask + 1):
                entry = self.index[i]
                if entry:
                    at = <uint32_t>(entry >> 32) & (size - 1)
                    while fresh[at]:
                        at = (at + 1) & (size - 1)
                    fresh[at] = entry
        free(self.index)
        self.index = fresh
        self.mask = size - 1
        return True

    cdef uint32_t _find(self, uint32_t backend, const char *name, size_t length, uint32_t hash) noexcept nogil:
        """The slot, or 0. Equal hashes are no more than a reason to compare names."""
        cdef uint32_t at = hash & self.mask
        cdef uint64_t entry = self.index[at]
        while entry:
            if <uint32_t>(entry >> 32) == hash and table_is(&self.keys[<uint32_t>entry], backend, name, length):
                return <uint32_t>entry
            at = (at + 1) & self.mask
            entry = self.index[at]
        return 0

    cdef uint32_t _slot(self, uint32_t backend, const char *name, size_t length) noexcept nogil:
        """The row's slot, made where there is none; 0 without memory."""
        cdef uint32_t hash = table_hash(backend, name, length)
        cdef uint32_t slot = self._find(backend, name, length, hash)
        cdef uint32_t at
        cdef char *far = NULL
        if slot:
            return slot
        if self.entries + 1 > self.mask - self.mask // 8 and not self._rehash(2 * (self.mask + 1)):
            return 0
        if not self.spare and self.top == self.room and not self._more_rows():
            return 0
        if length > TABLE_NEAR:
            far = <char *>malloc(length)
            if far == NULL:
                return 0
        slot = self.spare
        if slot:
            self.spare = self.keys[slot].next
        else:
            slot = self.top
            self.top += 1
        memset(&self.keys[slot], 0, sizeof(table_key))
        if self.wants != NULL:
            memset(&self.wants[slot], 0, sizeof(table_wish))
        if self.haves != NULL:
            memset(&self.haves[slot], 0, sizeof(State))
        self.keys[slot].backend = backend
        self.keys[slot].length = <uint16_t>length
        if far != NULL:
            self.keys[slot].name.far = far
        memcpy(<char *>table_name(&self.keys[slot]), name, length)
        at = hash & self.mask
        while self.index[at]:
            at = (at + 1) & self.mask
        self.index[at] = (<uint64_t>hash << 32) | slot
        self.entries += 1
        if backend:
            if length == 4 and memcmp(name, b"hold", 4) == 0:
                self.keys[slot].flags = IS_HOLD
            self._link(slot, backend)
        return slot

    cdef bint _more_rows(self) noexcept nogil:
        """Columns grow one by one, so what has grown already has room that is not counted yet, if the next has not."""
        cdef uint32_t room = self.room
        cdef void *at = grown(self.keys, sizeof(table_key), &room, 0)
        if at == NULL:
            return False
        self.keys = <table_key *>at
        if self.wants != NULL:
            at = realloc(self.wants, <size_t>room * sizeof(table_wish))
            if at == NULL:
                return False
            self.wants = <table_wish *>at
        if self.haves != NULL:
            at = realloc(self.haves, <size_t>room * sizeof(State))
            if at == NULL:
                return False
            self.haves = <State *>at
        self.room = room
        return True

    cdef bint _columns(self, bint wants) noexcept nogil:
        """The column of what is wanted, or there; False without memory."""
        cdef size_t width = sizeof(table_wish) if wants else sizeof(State)
        cdef void *at
        if (self.wants if wants else <table_wish *>self.haves) != NULL:
            return True
        at = malloc(self.room * width)
        if at == NULL:
            return False
        memset(at, 0, self.top * width)
        if wants:
            self.wants = <table_wish *>at
        else:
            self.haves = <State *>at
        return True

    cdef void _link(self, uint32_t slot, uint32_t backend) noexcept nogil:
        cdef uint32_t first = self.backends[backend].rows
        self.keys[slot].next = first
        self.keys[first].prev = slot  # of nobody's slot, where there was none
        self.backends[backend].rows = slot

    cdef void _release(self, uint32_t slot) noexcept nogil:
        """Gives the slot back, and perhaps the backend, unless something is still known of the row."""
        cdef table_key *key = &self.keys[slot]
        cdef uint32_t backend = key.backend
        if key.flags & ALIVE or (self.haves != NULL and self.haves[slot].flight):
            return
        self._unrefuse(slot)
        if key.prev:
            self.keys[key.prev].next = key.next
        else:
            self.backends[backend].rows = key.next
        self.keys[key.next].prev = key.prev
        self._drop(slot)
        self._forget(backend)

    cdef void _drop(self, uint32_t slot) noexcept nogil:
        """Out of the index; those behind it move up, so that each is found from where its hash points to."""
        cdef table_key *key = &self.keys[slot]
        cdef uint32_t hole = table_hash(key.backend, table_name(key), key.length) & self.mask
        cdef uint32_t at, home
        while <uint32_t>self.index[hole] != slot:
            hole = (hole + 1) & self.mask
        at = (hole + 1) & self.mask
        while self.index[at]:
            home = <uint32_t>(self.index[at] >> 32) & self.mask
            if ((at - home) & self.mask) >= ((at - hole) & self.mask):
                self.index[hole] = self.index[at]
                hole = at
            at = (at + 1) & self.mask
        self.index[hole] = 0
        self.entries -= 1
        if key.length > TABLE_NEAR:
            free(key.name.far)
        key.length = key.flags = 0
        key.backend = NOBODY
        key.next = self.spare
        self.spare = slot

    # ---------------------------------------------------------------- backends

    cdef uint32_t _backend(self, const char *name, size_t length) noexcept nogil:
        """Its number, made where there is none; 0 without memory."""
        cdef uint32_t slot = self._find(0, name, length, table_hash(0, name, length))
        if slot:
            return self.keys[slot].next
        with gil:
            return self._new_backend(name, length)

    cdef uint32_t _known(self, str backend) except? 0:
        cdef bytes name = backend.encode()
        cdef uint32_t slot = self._find(0, name, len(name), table_hash(0, name, len(name)))
        return self.keys[slot].next if slot else 0

    cdef uint32_t _new_backend(self, const char *name, size_t length) noexcept:
        cdef uint32_t slot, number, low = 0, high = self.order_count, middle
        cdef void *at
        if self.backend_top == self.backend_room:
            at = grown(self.backends, sizeof(Backend), &self.backend_room, 0)
            if at == NULL:
                return 0
            self.backends = <Backend *>at
        if self.order_count == self.order_room:
            at = grown(self.order, sizeof(uint32_t), &self.order_room, 0)
            if at == NULL:
                return 0
            self.order = <uint32_t *>at
        slot = self._slot(0, name, length)
        if not slot:
            return 0
        if self.spare_backends:
            number = self.spare_backends.pop()
        else:
            number = self.backend_top
            self.backend_top += 1
            memset(&self.backends[number], 0, sizeof(Backend))
            self.names.append(None)
            self.contents.append(None)
            self.words.append(None)
        self.keys[slot].next = number
        self.backends[number].slot = slot
        self.names[number] = name[:length].decode("ascii")
        while low < high:
            middle = (low + high) // 2
            if table_before(&self.keys[self.backends[self.order[middle]].slot], &self.keys[slot]):
                low = middle + 1
            else:
                high = middle
        memmove(&self.order[low + 1], &self.order[low], (self.order_count - low) * sizeof(uint32_t))
        self.order[low] = number
        self.order_count += 1
        return number

    cdef void _forget(self, uint32_t number) noexcept nogil:
        """Gives the number back when nobody wants the backend and no row of it is left."""
        cdef Backend *backend = &self.backends[number]
        if not backend.slot or backend.rows or backend.flags & (B_WANTED | B_CHANGED):
            return
        with gil:
            self._drop_backend(number)

    cdef void _drop_backend(self, uint32_t number) noexcept:
        cdef Backend *backend = &self.backends[number]
        cdef uint32_t at = 0
        while self.order[at] != number:
            at += 1
        self.order_count -= 1
        memmove(&self.order[at], &self.order[at + 1], (self.order_count - at) * sizeof(uint32_t))
        self._drop(backend.slot)
        free(backend.dirty)
        at = backend.flags & B_LISTED  # the list still has the number
        memset(backend, 0, sizeof(Backend))
        backend.flags = at
        self.names[number] = self.contents[number] = self.words[number] = None
        self.spare_backends.append(number)

    cdef void _own(self, uint32_t number) noexcept nogil:
        """It is ours from now on, and all that is known of it may call for commands."""
        cdef uint32_t slot = self.backends[number].rows
        self.backends[number].flags |= B_OURS
        while slot:
            self._mark(slot)
            slot = self.keys[slot].next

    cdef void _mark(self, uint32_t slot) noexcept nogil:
        """Commands may be due for the row. Marks that there is no memory for are made up by `_todo_list`."""
        cdef uint32_t number = self.keys[slot].backend
        cdef Backend *backend = &self.backends[number]
        cdef void *at
        if self.keys[slot].flags & DIRTY or not backend.flags & B_OURS:
            return
        if backend.dirty_count == backend.dirty_room:
            self._compact(number)
            if backend.dirty_count >= backend.dirty_room - backend.dirty_room // 4:
                at = grown(backend.dirty, sizeof(uint32_t), &backend.dirty_room, 0)
                if at == NULL:
                    self.lost = True
                    return
                backend.dirty = <uint32_t *>at
        if not backend.flags & B_LISTED:
            if self.dirty_count == self.dirty_room:
                at = grown(self.dirty, sizeof(uint32_t), &self.dirty_room, 0)
                if at == NULL:
                    self.lost = True
                    return
                self.dirty = <uint32_t *>at
            self.dirty[self.dirty_count] = number
            self.dirty_count += 1
            backend.flags |= B_LISTED
        backend.dirty[backend.dirty_count] = slot
        backend.dirty_count += 1
        self.keys[slot].flags |= DIRTY

    cdef void _compact(self, uint32_t number) noexcept nogil:
        """Rows that went meanwhile, and their slots' new rows, are in the list without being marked, or twice."""
        cdef Backend *backend = &self.backends[number]
        cdef uint32_t i, slot, kept = 0
        for i in range(backend.dirty_count):
            slot = backend.dirty[i]
            if self.keys[slot].backend == number and self.keys[slot].flags & DIRTY:
                self.keys[slot].flags &= ~DIRTY
                backend.dirty[kept] = slot
                kept += 1
        backend.dirty_count = kept
        for i in range(kept):
            self.keys[backend.dirty[i]].flags |= DIRTY

    # ---------------------------------------------------------------- what is wanted

    cdef void _want(self, uint32_t slot, const table_want *row) noexcept nogil:
        cdef table_key *key = &self.keys[slot]
        if not key.flags & WANTED:
            self.wanted += 1
            self.live += not key.flags & THERE
        key.flags |= WANTED
        self.wants[slot].row = row[0]
        self._differs(slot)

    cdef void _unwant(self, uint32_t slot) noexcept nogil:
        cdef table_key *key = &self.keys[slot]
        self.wanted -= 1
        self.live -= not key.flags & THERE
        key.flags &= ~WANTED
        self._differs(slot)

    cdef void _differs(self, uint32_t slot) noexcept nogil:
        self.backends[self.keys[slot].backend].flags |= B_CHANGED | B_STALE
        self._unrefuse(slot)
        self._mark(slot)

    cdef void _unrefuse(self, uint32_t slot) noexcept nogil:
        if self.keys[slot].flags & REFUSED:
            self.keys[slot].flags &= ~REFUSED
            self.refused -= 1

    def ingest(self, chunks):
        cdef list parts = list(chunks)
        cdef const char *error = NULL
        cdef const uint8_t *p
        cdef Py_ssize_t length
        self._free()
        for part in parts:
            if type(part) is not bytes:
                raise TypeError(f"wire bytes are bytes, not {type(part).__name__}")
        if not self._columns(True):
            raise MemoryError
        self.joined = []
        self.want_turn += 2
        if self.want_turn == 0:
            self._reset(True)
        self.coming_count = self.seen_wanted = self.last_want = self.last_backend = 0
        self.error_length = 0
        self.busy = True
        try:
            for part in parts:
                p = <const uint8_t *>PyBytes_AS_STRING(part)
                length = PyBytes_GET_SIZE(part)
                self.limit = p + length
                with nogil:
                    error = self._response(p, p + length)
                if error != NULL:
                    break
            with nogil:
                if error == NULL:
                    self._update()
                else:
                    self._no_update()
            if error != NULL:
                self._raise(error)
            return self._updated()
        finally:
            free(self.coming)
            self.coming = NULL
            self.coming_room = 0
            self.joined = None
            self.busy = False

    cdef void _reset(self, bint wants) noexcept nogil:
        """The count of turns begins anew."""
        cdef uint32_t i
        for i in range(self.top):
            if wants:
                self.wants[i].seen = 0
            else:
                self.haves[i].seen = 0
        for i in range(self.backend_top):
            if wants:
                self.backends[i].seen = 0
        self.want_turn += 2 * wants
        self.have_turn += 2 * (not wants)

    cdef const char *_response(self, const uint8_t *p, const uint8_t *end) noexcept nogil:
        """NULL, or why it is refused. What differs is staged; what is new has a slot from here on."""
        cdef table_field field
        cdef uint32_t kind = 0
        cdef const char *error = NULL
        while p < end:
            p = table_next(p, end, TABLE_DEPTH, &field)
            if p == NULL:
                return b"not a SyncResponse"
            if field.number == 5 and field.type == 2:
                error = self._changes(field.data, field.data + field.value)
                if error != NULL:
                    return error
            elif field.number == 1 and field.type == 0:
                kind = <uint32_t>field.value
        if kind == INCREMENTAL:
            return b"an INCREMENTAL is not the whole state"
        return NULL

    cdef const char *_changes(self, const uint8_t *p, const uint8_t *end) noexcept nogil:
        cdef table_field field
        cdef const char *error
        while p < end:
            p = table_next(p, end, TABLE_DEPTH - 1, &field)
            if p == NULL:
                return b"not a SyncResponse"
            if field.number == 1 and field.type == 2:
                error = self._backend_message(field.data, field.data + field.value)
                if error != NULL:
                    return error
        return NULL

    cdef const char *_backend_message(self, const uint8_t *start, const uint8_t *end) noexcept nogil:
        """Twice: servers may come ahead of the name that they belong to."""
        cdef table_field field, name, settings
        cdef const uint8_t *p = start
        cdef uint32_t number
        cdef const char *error
        memset(&name, 0, sizeof(table_field))
        settings.number = 0
        while p < end:
            p = table_skip_servers(p, end)
            if p == end:
                break
            p = table_next(p, end, TABLE_DEPTH - 2, &field)
            if p == NULL:
                return b"not a SyncResponse"
            if field.type == 2 and field.number == 1:
                if name.value and not table_utf8(name.data, name.value):
                    return b"not a SyncResponse: no UTF-8"
                name = field
            elif field.type == 2 and field.number == 2:
                if settings.number and not self._join(&settings, &field):
                    return MEMORY
                settings = field
        if not table_good_name(<const char *>name.data, name.value, LONGEST):
            self.error_at, self.error_length = <const char *>name.data, name.value
            return b"no name of a backend"
        number = self.backends[self.last_backend].after
        if not number or not table_is(&self.keys[self.backends[number].slot], 0, <const char *>name.data, name.value):
            number = self._backend(<const char *>name.data, name.value)
            if not number:
                return MEMORY
            self.backends[self.last_backend].after = number
        self.last_backend = number
        if self.backends[number].seen != self.want_turn:
            self.backends[number].seen = self.want_turn
            self.backends[number].length = 0
        if settings.number:
            self.backends[number].content, self.backends[number].length = settings.data, settings.value
        p = start
        while p < end:
            p = table_unchanged(p, end, self.limit, number, self.want_turn, self.keys, self.wants, &self.last_want,
                                &self.seen_wanted)
            if p == end:
                break
            p = table_next(p, end, TABLE_DEPTH - 2, &field)
            if field.type == 2 and field.number == 3:
                error = self._server(number, field.data, field.data + field.value)
                if error != NULL:
                    return error
        return NULL

    cdef bint _join(self, const table_field *first, table_field *second) noexcept nogil:
        """Parts of one message in a message, joined, are the message."""
        with gil:
            try:
                whole = first.data[:first.value] + second.data[:second.value]
                self.joined.append(whole)
            except MemoryError:
                return False
            second.data = <const uint8_t *>PyBytes_AS_STRING(whole)
            second.value = <uint64_t>PyBytes_GET_SIZE(whole)
        return True

    cdef const char *_server(self, uint32_t backend, const uint8_t *p, const uint8_t *end) noexcept nogil:
        cdef table_want row
        cdef const char *name
        cdef const char *error
        cdef size_t length
        cdef uint32_t slot
        cdef void *at
        memset(&row, 0, sizeof(table_want))
        error = table_server(p, end, &row, &name, &length)
        if error != NULL:
            self.error_at, self.error_length = name, length
            return error
        slot = self.wants[self.last_want].after
        if not slot or not table_is(&self.keys[slot], backend, name, length):
            if not table_good_name(name, length, LONGEST):
                self.error_at, self.error_length = name, length
                return b"no name of a server"
            slot = self._slot(backend, name, length)
            if not slot:
                return MEMORY
            self.wants[self.last_want].after = slot
        self.last_want = slot
        if self.wants[slot].seen != self.want_turn:
            self.wants[slot].seen = self.want_turn
            if self.keys[slot].flags & WANTED:
                self.seen_wanted += 1
                if memcmp(&row, &self.wants[slot].row, sizeof(table_want)) == 0:
                    return NULL
        if self.coming_count == self.coming_room:
            at = grown(self.coming, sizeof(Coming), &self.coming_room, 0)
            if at == NULL:
                return MEMORY
            self.coming = <Coming *>at
        self.coming[self.coming_count].slot = slot
        self.coming[self.coming_count].row = row
        self.coming_count += 1
        self.keys[slot].flags |= COMING
        return NULL

    cdef void _update(self) noexcept nogil:
        """Nothing can be refused any more. From the end, since of two servers of one name the last counts."""
        cdef uint32_t slot, i
        if self.seen_wanted != self.wanted:
            for slot in range(1, self.top):
                if self.keys[slot].flags & WANTED and self.wants[slot].seen != self.want_turn:
                    self._unwant(slot)
                    self._release(slot)
        for i in range(self.coming_count, 0, -1):
            slot = self.coming[i - 1].slot
            self.keys[slot].flags &= ~COMING
            if self.wants[slot].seen == self.want_turn + 1:
                continue
            self.wants[slot].seen = self.want_turn + 1
            if self.keys[slot].flags & WANTED and memcmp(
                &self.coming[i - 1].row, &self.wants[slot].row, sizeof(table_want)
            ) == 0:
                continue
            self._want(slot, &self.coming[i - 1].row)

    cdef void _no_update(self) noexcept nogil:
        cdef uint32_t i
        for i in range(self.coming_count):
            self.keys[self.coming[i].slot].flags &= ~COMING
        for i in range(self.coming_count):
            if self.keys[self.coming[i].slot].backend != NOBODY:
                self._release(self.coming[i].slot)
        for i in range(1, self.backend_top):
            self._forget(i)

    cdef list _updated(self):
        """Settings, and names of the backends that differ."""
        cdef list names = []
        cdef uint32_t i
        cdef Backend *backend
        for i in range(1, self.backend_top):
            backend = &self.backends[i]
            if backend.seen == self.want_turn and backend.slot:
                self._content(i, backend.content, backend.length)
            elif backend.flags & B_WANTED:
                self._no_content(i)
            if backend.flags & B_CHANGED:
                backend.flags &= ~B_CHANGED
                names.append(self.names[i])
                self._forget(i)
        names.sort()
        return names

    cdef int _content(self, uint32_t number, const uint8_t *content, size_t length) except -1:
        """A backend is wanted, with these settings."""
        cdef Backend *backend = &self.backends[number]
        cdef bytes before
        if backend.flags & B_WANTED:
            before = self.contents[number]
            if <size_t>len(before) == length and memcmp(PyBytes_AS_STRING(before), content, length) == 0:
                return 0
        self.contents[number] = content[:length]
        backend.flags |= B_WANTED | B_CHANGED | B_STALE
        if not backend.flags & B_OURS:
            self._own(number)
        return 0

    cdef void _no_content(self, uint32_t number) noexcept:
        self.backends[number].flags = self.backends[number].flags & ~B_WANTED | B_CHANGED
        self.contents[number] = self.words[number] = None

    cdef bint _settle(self, uint32_t number) noexcept:
        """Whether a single change changed anything."""
        cdef bint changed = self.backends[number].flags & B_CHANGED != 0
        self.backends[number].flags &= ~B_CHANGED
        self._forget(number)
        return changed

    def upsert(self, str backend not None, str server not None, id, str address not None, port, weight, state, stop_in=0, service=0):
        cdef bytes place = backend.encode(), name = server.encode(), ip = address.encode()
        cdef table_want row
        cdef uint32_t number, slot
        self._free()
        memset(&row, 0, sizeof(table_want))
        for text in (place, name):
            if not table_good_name(text, len(text), LONGEST):
                raise ValueError(f"{text[:80]!r} is no name of a backend or server")
        row.form = table_address(ip, len(ip), row.address)
        if not row.form:
            raise ValueError(f"{ip[:80]!r} is no IP address")
        row.id = bounded("id", id, 1, 0x7FFFFFFF)
        row.port = bounded("port", port, 1, 65535)
        row.weight = bounded("weight", weight, 0, 256)
        row.state = bounded("state", state, 1, LEAVING)
        row.stop_in = bounded("stop_in", stop_in, 0, 0xFFFFFFFF)
        row.service = bounded("service", service, 0, 65535)
        number = self._backend(place, len(place)) if self._columns(True) else 0
        slot = self._slot(number, name, len(name)) if number else 0
        if not slot:
            raise MemoryError
        if not self.keys[slot].flags & WANTED or memcmp(&row, &self.wants[slot].row, sizeof(table_want)) != 0:
            self._want(slot, &row)
        if not self.backends[number].flags & B_WANTED:
            self._content(number, b"", 0)
        return self._settle(number)

    def remove(self, str backend not None, str server not None):
        cdef bytes name = server.encode()
        cdef uint32_t number, slot
        self._free()
        number = self._known(backend)
        slot = self._find(number, name, len(name), table_hash(number, name, len(name))) if number else 0
        if not slot or not self.keys[slot].flags & WANTED:
            return False
        self._unwant(slot)
        self._release(slot)
        return self._settle(number)

    def settings(self, str backend not None, bytes content not None):
        cdef bytes name = backend.encode()
        cdef uint32_t number
        self._free()
        if not table_good_name(name, len(name), LONGEST):
            raise ValueError(f"{backend[:80]!r} is no name of a backend")
        number = self._backend(name, len(name))
        if not number:
            raise MemoryError
        self._content(number, content, len(content))
        return self._settle(number)

    def remove_backend(self, str backend not None):
        cdef uint32_t number, slot, after
        self._free()
        number = self._known(backend)
        if not number or not self.backends[number].flags & B_WANTED:
            return False
        slot = self.backends[number].rows
        while slot:
            after = self.keys[slot].next
            if self.keys[slot].flags & WANTED:
                self._unwant(slot)
                self._release(slot)
            slot = after
        self._no_content(number)
        return self._settle(number)

    def keywords(self, str backend not None, service, bytes words not None):
        cdef uint32_t number
        self._free()
        number = self._known(backend)
        if not number or not self.backends[number].flags & B_WANTED or not 0 <= service <= 65535:
            raise ValueError(f"backend {backend!r} is not wanted, or {service} no index of a service")
        if b";" in words or b"<<" in words or not all(0x20 <= byte <= 0x7E for byte in words):
            raise ValueError(f"server keywords {words[:80]!r} would end the command")
        known = self.words[number]
        if known is None:
            known = self.words[number] = {}
        if known.get(service, b"") != words:
            known[service] = words
            self._retry(number)

    def servers(self, str backend not None):
        cdef list found = []
        cdef table_want *row
        self._free()
        for slot in self._rows(self._known(backend), WANTED):
            row = &self.wants[<uint32_t>slot].row
            found.append((self._text(slot), row.id, address_text(row.address, row.form), row.port, row.weight,
                          row.state, row.stop_in, row.service))
        return found

    def settings_of(self, str backend not None):
        self._free()
        return self.contents[self._known(backend)]

    def digests(self):
        cdef uint32_t i, number
        cdef dict found = {}
        self._free()
        for i in range(self.order_count):
            number = self.order[i]
            if self.backends[number].flags & B_WANTED:
                if self.backends[number].flags & B_STALE:
                    self._digest(number)
                found[self.names[number]] = self.backends[number].digest[:16]
        return found

    cdef int _digest(self, uint32_t number) except -1:
        """Of lengths and contents, so that no two contents are the same bytes; as the plain one has it."""
        cdef bytes content = self.contents[number], whole
        cdef table_key *key
        hash = blake2b(len(content).to_bytes(4, "little"), digest_size=16)
        hash.update(content)
        parts = []
        for slot in self._rows(number, WANTED):
            key = &self.keys[<uint32_t>slot]
            parts.append((<char *>&key.length)[:2])
            parts.append(table_name(key)[:key.length])
            parts.append((<char *>&self.wants[<uint32_t>slot].row)[:sizeof(table_want)])
        hash.update(b"".join(parts))
        whole = hash.digest()
        memcpy(self.backends[number].digest, PyBytes_AS_STRING(whole), 16)
        self.backends[number].flags &= ~B_STALE
        return 0

    cdef list _rows(self, uint32_t number, unsigned flags):
        """Slots of a backend's rows, by name."""
        cdef uint32_t slot = self.backends[number].rows, i, count = 0
        cdef uint32_t *slots
        while slot:
            count += 1
            slot = self.keys[slot].next
        slots = <uint32_t *>malloc((count + 1) * sizeof(uint32_t))
        if slots == NULL:
            raise MemoryError
        try:
            count = 0
            slot = self.backends[number].rows if number else 0
            while slot:
                if self.keys[slot].flags & flags:
                    slots[count] = slot
                    count += 1
                slot = self.keys[slot].next
            table_sort(slots, count, self.keys)
            return [slots[i] for i in range(count)]
        finally:
            free(slots)

    cdef str _text(self, uint32_t slot):
        return table_name(&self.keys[slot])[:self.keys[slot].length].decode("ascii")

    # ---------------------------------------------------------------- what the proxy has

    def feed(self, bytes chunk not None):
        cdef const char *p = PyBytes_AS_STRING(chunk)
        cdef size_t length = PyBytes_GET_SIZE(chunk)
        self._free()
        if not self._columns(False):
            raise MemoryError
        if not self.dumping:
            self.dumping = True
            self.have_turn += 2
            if self.have_turn == 0:
                self._reset(False)
            self.found_count = self.seen_there = self.last_have = self.first_backend = self.line = 0
            self.tail_length = 0
            self.mixed = False
            self.dump_error = NULL
        self.busy = True
        with nogil:
            if self.dump_error == NULL:
                self.dump_error = self._chunk(p, p + length)
        self.busy = False
        if self.dump_error == MEMORY:
            raise MemoryError

    cdef const char *_chunk(self, const char *p, const char *end) noexcept nogil:
        cdef const char *newline
        cdef const char *error
        while p < end:
            newline = <const char *>memchr(p, c'\n', end - p)
            if newline == NULL or self.tail_length:
                if not self._keep(p, (end if newline == NULL else newline) - p):
                    return MEMORY
                if newline == NULL:
                    return NULL
                error = self._line(self.tail, self.tail + self.tail_length)
                self.tail_length = 0
            else:
                error = self._line(p, newline)
            if error != NULL:
                return error
            p = newline + 1
        return NULL

    cdef bint _keep(self, const char *p, size_t length) noexcept nogil:
        """Part of a line, however long that is."""
        cdef char *at
        if self.tail_length + length > self.tail_room:
            at = <char *>realloc(self.tail, 2 * (self.tail_length + length))
            if at == NULL:
                return False
            self.tail = at
            self.tail_room = 2 * (self.tail_length + length)
        memcpy(self.tail + self.tail_length, p, length)
        self.tail_length += length
        return True

    cdef const char *_line(self, const char *p, const char *end) noexcept nogil:
        cdef const char *error = NULL
        if self.line >= 2:
            return self._row(p, end) if p < end else NULL
        if self.line == 0:
            if end - p != 1 or p[0] != c'1':
                error = b"the first line is not 1"
        else:
            error = self._header(p, end)
        self.line += 1
        return error

    cdef const char *_header(self, const char *p, const char *end) noexcept nogil:
        cdef const char *space
        cdef uint32_t found = 0
        cdef uint8_t column
        cdef void *at
        if end - p < 2 or memcmp(p, b"# ", 2) != 0:
            return b"no header line"
        p += 2
        self.width = 0
        while True:
            space = <const char *>memchr(p, c' ', end - p)
            if space == NULL:
                space = end
            if self.width == self.width_room:
                at = grown(self.columns, 1, &self.width_room, 0)
                if at == NULL:
                    return MEMORY
                self.columns = <uint8_t *>at
            column = table_column(p, space - p)
            if found & (1u << column):
                column = 0
            found |= (1u << column) & ~1u
            self.columns[self.width] = column
            self.width += 1
            if space == end:
                break
            p = space + 1
        if found != (1u << TABLE_COLUMNS) - 2:
            return b"the header lacks columns"
        return NULL

    cdef const char *_row(self, const char *p, const char *end) noexcept nogil:
        cdef table_have row
        cdef table_span backend, server
        cdef uint32_t slot, number
        cdef void *at
        if not table_row(p, end, self.columns, self.width, &row, &backend, &server):
            return b"a row that can't be read"
        slot = self.haves[self.last_have].after
        number = self.keys[slot].backend
        if not (
            slot and 0 < number < self.backend_top
            and table_is(&self.keys[slot], number, server.at, server.end - server.at)
            and table_is(&self.keys[self.backends[number].slot], 0, backend.at, backend.end - backend.at)
        ):
            if not table_good_name(backend.at, backend.end - backend.at, LONGEST_THERE) or not table_good_name(
                server.at, server.end - server.at, LONGEST_THERE
            ):
                return b"a row that can't be read"
            number = self._backend(backend.at, backend.end - backend.at)
            slot = self._slot(number, server.at, server.end - server.at) if number else 0
            if not slot:
                return MEMORY
            self.haves[self.last_have].after = slot
        self.last_have = slot
        if self.haves[slot].seen == self.have_turn:
            return b"a server is named twice"
        self.haves[slot].seen = self.have_turn
        if self.first_backend and self.first_backend != number:
            self.mixed = True
        self.first_backend = number
        if self.keys[slot].flags & THERE:
            self.seen_there += 1
            if memcmp(&row, &self.haves[slot].row, sizeof(table_have)) == 0:
                return NULL
        if self.found_count == self.found_room:
            at = grown(self.found, sizeof(Found), &self.found_room, 0)
            if at == NULL:
                return MEMORY
            self.found = <Found *>at
        self.found[self.found_count].slot = slot
        self.found[self.found_count].row = row
        self.found_count += 1
        self.keys[slot].flags |= STAGED
        return NULL

    def end(self, backend=None):
        cdef uint32_t number = 0, i
        cdef bint single = backend is not None
        cdef const char *error = NULL
        cdef list names = []
        self._free()
        if single:
            number = self._known(backend)
        if not self.dumping or self.dump_error != NULL or self.line < 2 or self.tail_length:
            error = b"the dump is not whole"
            if self.dumping and self.dump_error != NULL:
                error = self.dump_error
        elif single and (self.mixed or (self.first_backend and self.first_backend != number)):
            error = b"the dump is not of that backend alone"
        self.busy = True
        with nogil:
            if error == NULL:
                self._apply(number, single)
            self._end_dump()
        self.busy = False
        self.error_length = 0
        if error != NULL:
            self._raise(error)
        for i in range(number if single else 1, number + 1 if single else self.backend_top):
            if self.backends[i].flags & B_CHANGED:
                names.append((self.names[i], self.backends[i].differs))
                self.backends[i].flags &= ~B_CHANGED
                self.backends[i].differs = 0
                self._forget(i)
        names.sort()
        return names

    cdef void _apply(self, uint32_t number, bint single) noexcept nogil:
        cdef uint32_t slot, after, i
        if single:
            slot = self.backends[number].rows if number else 0
            while slot:
                after = self.keys[slot].next
                self._gone(slot)
                slot = after
        elif self.seen_there != self.there or self.told_count:
            for slot in range(1, self.top):
                self._gone(slot)
        for i in range(self.found_count):
            slot = self.found[i].slot
            if not self.keys[slot].flags & TOLD:
                self._there(slot, &self.found[i].row)
        if self.refused:
            self._retry(number)

    cdef void _gone(self, uint32_t slot) noexcept nogil:
        """If the dump does not have the row, and no command made it meanwhile."""
        cdef unsigned flags = self.keys[slot].flags
        if flags & THERE and not flags & TOLD and self.haves[slot].seen != self.have_turn:
            self._not_there(slot)
            self._break(slot)
            self.backends[self.keys[slot].backend].flags |= B_CHANGED
            self.backends[self.keys[slot].backend].differs += 1
            self._mark(slot)
            self._release(slot)

    cdef void _break(self, uint32_t slot) noexcept nogil:
        """What was foreseen is not so: nothing more is sent to the server until all that was is answered."""
        if self.haves[slot].flight:
            self.flights[self.haves[slot].flight].broken = True

    cdef void _not_there(self, uint32_t slot) noexcept nogil:
        self.there -= 1
        self.live -= not self.keys[slot].flags & WANTED
        self.keys[slot].flags &= ~THERE

    cdef void _put_there(self, uint32_t slot, const table_have *row) noexcept nogil:
        self.haves[slot].row = row[0]
        if not self.keys[slot].flags & THERE:
            self.there += 1
            self.live += not self.keys[slot].flags & WANTED
            self.keys[slot].flags |= THERE

    cdef void _there(self, uint32_t slot, const table_have *row) noexcept nogil:
        cdef table_have *before = &self.haves[slot].row
        cdef Backend *backend = &self.backends[self.keys[slot].backend]
        if not self.keys[slot].flags & THERE or not (
            before.id == row.id and before.port == row.port and before.weight == row.weight
            and before.admin == row.admin and before.form == row.form
            and memcmp(before.address, row.address, 16) == 0
        ):
            backend.differs += 1
        backend.flags |= B_CHANGED
        self._break(slot)
        self._put_there(slot, row)
        self._mark(slot)

    cdef void _end_dump(self) noexcept nogil:
        cdef uint32_t i, slot
        for i in range(self.found_count):
            self.keys[self.found[i].slot].flags &= ~STAGED
        for i in range(self.told_count):
            self.keys[self.told[i]].flags &= ~TOLD
        for i in range(self.found_count):
            self._release(self.found[i].slot)
        for i in range(self.told_count):
            if self.keys[self.told[i]].backend < self.backend_top:
                self._release(self.told[i])
        free(self.found)
        self.found = NULL
        self.found_count = self.found_room = self.told_count = 0
        self.dumping = False

    def rows(self, str backend not None):
        cdef list found = []
        cdef table_have *row
        self._free()
        for slot in self._rows(self._known(backend), THERE):
            row = &self.haves[<uint32_t>slot].row
            found.append((self._text(slot), row.id, address_text(row.address, row.form), row.port, row.weight,
                          row.admin, row.op, row.check))
        return found

    # ---------------------------------------------------------------- from one to the other

    cdef unsigned _todo(self, uint32_t slot) noexcept nogil:
        """Commands that the row calls for: `verbs` of fastpath_pure/rows.py."""
        cdef unsigned flags = self.keys[slot].flags, todo = 0
        cdef uint32_t flight = self.haves[slot].flight if self.haves != NULL else 0
        cdef table_have *there = NULL
        cdef table_want *want = &self.wants[slot].row if flags & WANTED else NULL
        if flags & REFUSED or (want == NULL and flags & IS_HOLD):
            return 0
        if flight:
            if self.flights[flight].broken or self.flights[flight].deleting:
                return 0
            if self.flights[flight].there:
                there = &self.flights[flight].row
        elif flags & THERE:
            there = &self.haves[slot].row
        if there == NULL:
            if want == NULL or want.state == LEAVING:
                return 0
            return ADD | ENABLE | HEALTH if want.state == READY else ADD
        if (
            want == NULL or want.id != there.id or want.port != there.port or want.form != there.form
            or memcmp(want.address, there.address, 16) != 0
        ):
            return DELETE if there.admin & MAINT else DISABLE | DELETE
        if want.weight != there.weight:
            todo |= WEIGHT
        if want.state == READY:
            if there.admin & FORCED:
                todo |= ENABLE
            if not there.check & CHECKED:
                todo |= HEALTH
        elif want.state == LEAVING and not there.admin & OUT:
            todo |= DISABLE
        return todo

    cdef uint32_t _trim(self, uint32_t number) noexcept nogil:
        """Leaves the rows in a backend's list that call for commands, by name; how many."""
        cdef Backend *backend = &self.backends[number]
        cdef uint32_t i, kept = 0
        self._compact(number)
        for i in range(backend.dirty_count):
            if self._todo(backend.dirty[i]):
                backend.dirty[kept] = backend.dirty[i]
                kept += 1
            else:
                self.keys[backend.dirty[i]].flags &= ~DIRTY
        backend.dirty_count = kept
        table_sort(backend.dirty, kept, self.keys)
        if not kept:
            free(backend.dirty)
            backend.dirty = NULL
            backend.dirty_room = 0
        return kept

    cdef int _list(self) except -1:
        """Backends to look at, by name."""
        cdef uint32_t i, number, kept = 0
        if self.lost:
            self.lost = False
            for i in range(1, self.top):
                if 0 < self.keys[i].backend < self.backend_top:
                    self._mark(i)
            if self.lost:
                raise MemoryError
        if not self.dirty_count:
            return 0
        for i in range(self.dirty_count):
            number = self.dirty[i]
            if self._trim(number):
                self.dirty[kept] = self.backends[number].slot
                kept += 1
            else:
                self.backends[number].flags &= ~B_LISTED
        self.dirty_count = kept
        if kept <= self.order_count // 64:
            table_sort(self.dirty, kept, self.keys)
            for i in range(kept):
                self.dirty[i] = self.keys[self.dirty[i]].next
            return 0
        kept = 0  # many: to go through all backends takes less than to sort them
        for i in range(self.order_count):
            if self.backends[self.order[i]].flags & B_LISTED:
                self.dirty[kept] = self.order[i]
                kept += 1
        return 0

    def commands(self, limit=65536):
        cdef size_t most = max(0, limit)
        cdef uint32_t i
        self._free()
        self.out_length = 0
        self._list()
        for i in range(self.dirty_count):
            if not self._say_all(self.dirty[i], most):
                break
        return PyBytes_FromStringAndSize(self.out, self.out_length) if self.out_length else b""

    cdef bint _say_all(self, uint32_t number, size_t most) except -1:
        """What opens, in all rows, ahead of what closes. False: there is no more room."""
        cdef Backend *backend = &self.backends[number]
        cdef uint32_t i
        cdef unsigned phase, verb, todo
        for phase in (ADD, WEIGHT, ENABLE | HEALTH, DISABLE, DELETE):
            for i in range(backend.dirty_count):
                todo = self._todo(backend.dirty[i]) & phase
                while todo:
                    verb = todo & (0 - todo)
                    todo &= todo - 1
                    if not self._say(backend.dirty[i], verb, most):
                        return False
        return True

    def pending(self):
        cdef list found = []
        cdef uint32_t i, j, slot
        cdef Backend *backend
        cdef unsigned phase, todo
        self._free()
        self._list()
        for i in range(self.dirty_count):
            backend = &self.backends[self.dirty[i]]
            for phase in (ADD, WEIGHT, ENABLE | HEALTH, DISABLE, DELETE):
                for j in range(backend.dirty_count):
                    slot = backend.dirty[j]
                    todo = self._todo(slot) & phase
                    while todo:
                        found.append((VERBS[todo & (0 - todo)], self.names[self.dirty[i]], self._text(slot)))
                        todo &= todo - 1
        return found

    cdef bint _say(self, uint32_t slot, unsigned verb, size_t most) except -1:
        """Writes one line, unless it is one too many, and remembers that it was sent."""
        cdef table_key *key = &self.keys[slot]
        cdef table_key *backend = &self.keys[self.backends[key.backend].slot]
        cdef table_want *want = &self.wants[slot].row if key.flags & WANTED else NULL
        cdef bytes words = b""
        cdef char *p
        cdef size_t room
        if verb == ADD and self.words[key.backend] is not None:
            words = (<dict>self.words[key.backend]).get(want.service, b"")
        room = self.out_length + key.length + backend.length + <size_t>len(words) + 128
        if room > self.out_room:
            p = <char *>realloc(self.out, room + room // 2)
            if p == NULL:
                raise MemoryError
            self.out = p
            self.out_room = room + room // 2
        p = self.out + self.out_length
        p = put(p, _BEGINS[verb])
        p = put_name(p, backend)
        p[0] = c'/'
        p = put_name(p + 1, key)
        p = put(p, _ENDS[verb])
        if verb == ADD:
            if want.form == 6:
                p = put(p, b"[")
            p = put(table_put_address(p, want.address, want.form), b"]:" if want.form == 6 else b":")
            p = table_put_number(put(table_put_number(p, want.port), b" id "), want.id)
            p = table_put_number(put(p, b" weight "), want.weight)
            if words:
                p[0] = c' '
                memcpy(p + 1, PyBytes_AS_STRING(words), len(words))
                p += 1 + len(words)
        elif verb == WEIGHT:
            p = table_put_number(p, want.weight)
        p[0] = c'\n'
        p += 1
        if self.out_length and <size_t>(p - self.out) > most:
            return False
        self._send(slot, verb, want)
        self.out_length = p - self.out
        return True

    cdef int _send(self, uint32_t slot, unsigned verb, table_want *want) except -1:
        cdef uint32_t number
        cdef Flight *flight
        cdef void *at
        if not self._columns(False):
            raise MemoryError
        if self.sent_head + self.sent_count == self.sent_room:
            if self.sent_head > self.sent_room // 2:
                memmove(self.sent, &self.sent[self.sent_head], self.sent_count * sizeof(Sent))
                self.sent_head = 0
            else:
                at = grown(self.sent, sizeof(Sent), &self.sent_room, 0)
                if at == NULL:
                    raise MemoryError
                self.sent = <Sent *>at
        number = self.haves[slot].flight
        if not number:
            number = self._flight(slot)
        flight = &self.flights[number]
        flight.count += 1
        done(&flight.row, verb, want)
        flight.there = verb != DELETE
        flight.deleting = verb == DELETE
        self.sent[self.sent_head + self.sent_count].slot = slot
        self.sent[self.sent_head + self.sent_count].verb = verb
        self.sent[self.sent_head + self.sent_count].weight = want.weight if want != NULL else 0
        self.sent_count += 1
        return 0

    cdef uint32_t _flight(self, uint32_t slot) except 0:
        """From what is there now."""
        cdef uint32_t number = self.flight_spare
        cdef void *at
        if number:
            self.flight_spare = self.flights[number].count
        else:
            if self.flight_top >= self.flight_room:
                at = grown(self.flights, sizeof(Flight), &self.flight_room, 0)
                if at == NULL:
                    raise MemoryError
                self.flights = <Flight *>at
            number = self.flight_top
            self.flight_top += 1
        memset(&self.flights[number], 0, sizeof(Flight))
        self.flights[number].row = self.haves[slot].row
        self.haves[slot].flight = number
        return number

    def ack(self, count=1):
        cdef uint32_t i, slot
        cdef Sent *sent
        cdef table_have row
        self._free()
        if not 0 <= count <= self.sent_count:
            raise ValueError(f"{self.sent_count} commands wait for an answer, not {count}")
        for i in range(count):
            sent = &self.sent[self.sent_head]
            slot = sent.slot
            if sent.verb == ADD:
                row = self.flights[self.haves[slot].flight].row
                row.weight, row.admin, row.op, row.check = sent.weight, FORCED_MAINT, 0, 0
                self._put_there(slot, &row)
            elif self.keys[slot].flags & THERE:
                if sent.verb == DELETE:
                    self._not_there(slot)
                else:
                    changed(&self.haves[slot].row, sent.verb, sent.weight)
            if self.dumping:
                self._tell(slot)
            self._answered(slot)

    def nack(self):
        cdef uint32_t slot
        self._free()
        if not self.sent_count:
            raise ValueError("no command waits for an answer")
        slot = self.sent[self.sent_head].slot
        if not self.keys[slot].flags & REFUSED:
            self.keys[slot].flags |= REFUSED
            self.refused += 1
        self._break(slot)
        self._answered(slot)

    cdef void _tell(self, uint32_t slot) noexcept:
        """A dump that is under way may be older. (Without memory its row counts, until the next one.)"""
        cdef void *at
        if self.keys[slot].flags & TOLD:
            return
        if self.told_count == self.told_room:
            at = grown(self.told, sizeof(uint32_t), &self.told_room, 0)
            if at == NULL:
                return
            self.told = <uint32_t *>at
        self.told[self.told_count] = slot
        self.told_count += 1
        self.keys[slot].flags |= TOLD

    cdef void _answered(self, uint32_t slot) noexcept:
        cdef uint32_t number = self.haves[slot].flight
        cdef Flight *flight = &self.flights[number]
        self.sent_head += 1
        self.sent_count -= 1
        flight.count -= 1
        if flight.count:
            return
        self.haves[slot].flight = 0
        flight.count = self.flight_spare
        self.flight_spare = number
        if not self.sent_count:
            self._all_answered()
        if self._todo(slot):
            self._mark(slot)
        self._release(slot)

    cdef void _all_answered(self) noexcept:
        """What a great change needed is given back."""
        self.sent_head = self.flight_spare = 0
        self.flight_top = 1
        if self.sent_room > 4096:
            free(self.sent)
            self.sent = NULL
            self.sent_room = 0
        if self.flight_room > 4096:
            free(self.flights)
            self.flights = NULL
            self.flight_room = 0

    def retry(self, backend=None):
        cdef uint32_t number = 0
        self._free()
        if backend is not None:
            number = self._known(backend)
            if not number:
                return
        self._retry(number)

    cdef void _retry(self, uint32_t number) noexcept nogil:
        """Of one backend, or of all (0)."""
        cdef uint32_t slot = self.backends[number].rows if number else 0
        if not number:
            for slot in range(1, self.top):
                if self.keys[slot].flags & REFUSED:
                    self._unrefuse(slot)
                    self._mark(slot)
            return
        while slot:
            if self.keys[slot].flags & REFUSED:
                self._unrefuse(slot)
                self._mark(slot)
            slot = self.keys[slot].next


cdef const char *_BEGINS[33]
cdef const char *_ENDS[33]
_BEGINS[ADD], _ENDS[ADD] = b"add server ", b" "
_BEGINS[WEIGHT], _ENDS[WEIGHT] = b"set server ", b" weight "
_BEGINS[ENABLE], _ENDS[ENABLE] = b"set server ", b" state ready"
_BEGINS[HEALTH], _ENDS[HEALTH] = b"enable health ", b""
_BEGINS[DISABLE], _ENDS[DISABLE] = b"set server ", b" state maint"
_BEGINS[DELETE], _ENDS[DELETE] = b"del server ", b""


cdef char *put(char *p, const char *text) noexcept nogil:
    cdef size_t length = strlen(text)
    memcpy(p, text, length)
    return p + length


cdef char *put_name(char *p, const table_key *key) noexcept nogil:
    memcpy(p, table_name(key), key.length)
    return p + key.length


cdef void changed(table_have *row, unsigned verb, uint16_t weight) noexcept nogil:
    """What a command makes of a server."""
    if verb == WEIGHT:
        row.weight = weight
    elif verb == ENABLE:
        row.admin, row.op = row.admin & ~FORCED, 2
    elif verb == HEALTH:
        row.check |= CHECKED
    elif verb == DISABLE:
        row.admin, row.op = row.admin & ~FORCED_DRAIN | FORCED_MAINT, 0


cdef void done(table_have *row, unsigned verb, const table_want *want) noexcept nogil:
    """The same, of one that may not be there yet."""
    if verb != ADD:
        changed(row, verb, want.weight if want != NULL else 0)
        return
    memset(row, 0, sizeof(table_have))
    memcpy(row.address, want.address, 16)
    row.form, row.id, row.port, row.weight = want.form, want.id, want.port, want.weight
    row.admin = FORCED_MAINT


cdef object bounded(str what, value, low, high):
    if not low <= value <= high:
        raise ValueError(f"{what} {value} is not {low} to {high}")
    return value


cdef str address_text(const uint8_t *address, uint8_t form):
    cdef char text[40]
    return text[:table_put_address(text, address, form) - text].decode("ascii") if form else "-"
