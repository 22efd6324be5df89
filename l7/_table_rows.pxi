# Table, part 1 of 5.

cdef class _Rows:
    """Slots of rows, numbers of backends, and the rows that commands may be due for."""

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

    cdef void _unrefuse(self, uint32_t slot) noexcept nogil:
        if self.keys[slot].flags & REFUSED:
            self.keys[slot].flags &= ~REFUSED
            self.refused -= 1

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
