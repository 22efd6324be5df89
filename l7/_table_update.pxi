# Table, part 3 of 5.

cdef class _Updated(_Wanted):
    """A whole update, which is read once: what differs is staged, and applied when all of it was read."""

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
