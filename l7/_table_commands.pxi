# Table, part 5 of 5.

@cython.final
cdef class Table(_Observed):
    """Servers of a set of backends: what is wanted of each and what the proxy has, by (backend, server)."""

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
