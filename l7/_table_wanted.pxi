# Table, part 2 of 5.

cdef class _Wanted(_Rows):
    """Single changes of what is wanted; settings and digests."""

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

    cdef int _content(self, uint32_t number, const uint8_t *content, size_t length) except -1:
        """A backend is wanted, with these settings."""
        cdef Backend *backend = &self.backends[number]
        cdef bytes before
        if backend.flags & B_WANTED:
            before = self.contents[number]
            if <size_t>len(before) == length and (length == 0 or memcmp(PyBytes_AS_STRING(before), content, length) == 0):
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
