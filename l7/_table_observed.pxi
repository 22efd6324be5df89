# Table, part 4 of 5.

cdef class _Observed(_Updated):
    """Dumps of what the proxy has, which count when they are whole."""

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
                error = self._line(self.tail, self.tail + self.tail_length, self.tail + self.tail_length)
                self.tail_length = 0
            else:
                error = self._line(p, newline, end)
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

    cdef const char *_line(self, const char *p, const char *end, const char *limit) noexcept nogil:
        cdef const char *error = NULL
        if self.line >= 2:
            return self._row(p, end, limit) if p < end else NULL
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

    cdef const char *_row(self, const char *p, const char *end, const char *limit) noexcept nogil:
        cdef table_have row
        cdef table_span backend, server
        cdef uint32_t slot, number
        cdef void *at
        if not table_row(p, end, limit, self.columns, self.width, &row, &backend, &server):
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
        if self.refused and (number or not single):     # of a backend that is not known nothing was refused
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
