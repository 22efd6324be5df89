# Class Health: part of _fastpath.pyx. What it has to do is said in l7/fastpath_pure/health.py and health_rows.py.
#
# A server is a slot: what is seen of it (`Seen`), its sums (`Totals`) and its name (`Label`). A backend is a slot as well, the parent of
# its servers; its sums are those of its own row. Sums of an earlier look are nulled when the first row of this one
# comes. A process gives its rows in much the same order each time: what followed a slot the last time is compared with
# the row first, and only what differs is searched for.

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_GET_SIZE
from cpython.unicode cimport PyUnicode_DecodeASCII
from libc.stddef cimport ptrdiff_t
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free, malloc, realloc
from libc.string cimport memchr, memcmp, memcpy, memset, strlen


cdef extern from "_scan.h" nogil:
    enum:
        L7_BEGIN
        L7_BLOCK
        L7_MARGIN
        L7_ROOM
        L7_COLUMNS
        L7_LONGEST
    ptrdiff_t l7_row(const char *, const char *, char, char, uint32_t, uint32_t *, uint32_t *)
    const char *l7_row_end(const char *, const char *, char, size_t, int *)
    bint l7_unquote(char *, size_t, uint32_t, uint32_t *, uint32_t *)
    bint l7_same(const char *, const char *, uint32_t)
    bint l7_short_number(const char *, uint32_t, uint64_t *)
    int l7_numbers(const char *, const uint32_t *, const uint32_t *, int, uint64_t *)
    bint l7_is_name(const char *, uint32_t)
    uint32_t l7_hash(const char *, uint32_t, uint32_t)

cdef extern from "_state.h" nogil:
    enum:
        UP "L7_UP"
        DOWN "L7_DOWN"
        MAINTENANCE "L7_MAINTENANCE"
        OUT "L7_OUT"
        BEFORE "L7_BEFORE"
        COUNTED "L7_COUNTED"
        INLINE "L7_INLINE_NAME"
    const uint32_t NOBODY "L7_NOBODY"
    ctypedef struct Seen "l7_seen":
        uint32_t look
        uint8_t views[4]
    ctypedef struct Totals "l7_totals":
        uint32_t sessions
        uint32_t queued
        uint64_t sums[6]
    ctypedef struct Label "l7_label":
        char text[32]
        uint8_t size
        uint32_t parent
        uint32_t hash
        uint32_t children
    ctypedef struct View "l7_view":
        uint32_t next
        uint32_t stamp
    const char *text_of "l7_text"(const Label *)
    int verdict_in "l7_verdict"(char, uint64_t)
    uint32_t l7_see(Seen *, View *, uint32_t, int)
    const char *l7_expected(const char *, const char *, const Label *, Seen *, View *, uint32_t, uint32_t *)
    int l7_choose_all(int)

cdef extern from "<stdlib.h>" nogil:
    int posix_memalign(void **, size_t, size_t)

cdef enum:
    GONE = 4
    NO_SERVER = 7       # in place of a verdict: a backend, or a slot that is free
    PROCESSES = 64
    UNREADABLE = -2
    GAUGE = 0xFFFFFFFF

cdef enum:              # columns of both dumps
    BACKEND
    SERVER
    ADMIN
    OPERATIONAL
    TYPE = 2
    STATUS
    FIRST
    COUNTERS = 9

cdef const char **STATE_COLUMNS = ["be_name", "srv_name", "srv_admin_state", "srv_op_state"]
cdef const char **STAT_COLUMNS = [
    "pxname", "svname", "type", "status", "scur", "qcur", "stot", "bin", "bout", "econ", "eresp", "wretr", "wredis"
]

cdef struct Stream:     # the dumps of a process
    char separator
    char quote
    uint32_t last
    uint32_t[FIRST + COUNTERS] columns
    uint32_t slot       # of the row before
    View *views
    uint32_t room
    char *held          # a row that came in part
    size_t size
    size_t space
    int state

cdef struct Sums:
    uint64_t counters[8]
    uint64_t views[3]
    bint there


def scan_level(int most=2):
    """How rows are scanned from now on: 0 plain C, 1 SSE2, 2 AVX2; the best this machine has, up to `most`."""
    return l7_choose_all(most)


scan_level()


@cython.final
cdef class Health:
    """Health and totals of servers over several HAProxy processes, aggregated while their dumps arrive."""

    cdef Seen *seen
    cdef Totals *totals
    cdef Label *labels
    cdef uint32_t *index        # slot + 1 by hash, 0 for none; twice as many as slots
    cdef uint32_t room, slots, spare
    cdef Stream *streams
    cdef int processes
    cdef uint32_t look
    cdef uint64_t unreadable
    cdef Py_ssize_t[4] verdicts
    cdef bint busy, looking

    def __cinit__(self, Py_ssize_t processes=1):
        if not 1 <= processes <= PROCESSES:
            raise ValueError(f"processes: {processes} is not 1 to {PROCESSES}")
        self.streams = <Stream *>calloc(processes, sizeof(Stream))
        if self.streams == NULL:
            raise MemoryError
        self.processes = processes
        self._grow()

    def __dealloc__(self):
        cdef uint32_t slot
        for slot in range(self.slots):
            if self.labels[slot].size > INLINE:
                free(<void *>text_of(&self.labels[slot]))
        if self.streams != NULL:
            for process in range(self.processes):
                free(self.streams[process].views)
                free(self.streams[process].held)
        free(self.streams)
        free(self.seen)
        free(self.totals)
        free(self.labels)
        free(self.index)

    cdef int _enter(self) except -1:
        if self.busy:
            raise RuntimeError("Health is in use by another thread")
        self.busy = True
        return 0

    def begin(self):
        self._enter()
        for process in range(self.processes):
            restart(&self.streams[process])
        self.look += 1
        self.unreadable = 0
        self.looking = True
        self.busy = False

    def feed(self, Py_ssize_t process, bytes chunk not None):
        cdef const char *at = PyBytes_AS_STRING(chunk)
        cdef const char *end = at + PyBytes_GET_SIZE(chunk)
        self._enter()
        try:
            if not self.looking:
                raise ValueError("not within a look: begin() first")
            if not 0 <= process < self.processes:
                raise IndexError(f"process: {process} is not 0 to {self.processes - 1}")
            with nogil:
                self._feed(&self.streams[process], at, end)
        finally:
            self.busy = False

    def end(self, Py_ssize_t quorum=1):
        self._enter()
        try:
            if quorum < 1:
                raise ValueError(f"quorum: {quorum} is below 1")
            if not self.looking:
                raise ValueError("not within a look: begin() first")
            self.looking = False
            for process in range(self.processes):
                self.unreadable += self.streams[process].size > 0
            changes = self._changes(quorum)
            changes.sort()
            return changes
        finally:
            self.busy = False

    def counts(self):
        self._enter()
        self.busy = False
        return self.verdicts[UP], self.verdicts[DOWN], self.verdicts[MAINTENANCE]

    def unknown(self):
        self._enter()
        self.busy = False
        return self.unreadable

    def server(self, str backend not None, str server not None):
        self._enter()
        try:
            slot = self._known(self._known(NOBODY, backend), server) if backend and server else NOBODY
            if slot == NOBODY or self.seen[slot].look != self.look:
                raise KeyError((backend, server))
            found = counters_of(self._totals(slot))
            found.update(zip(VIEWS, [self.seen[slot].views[verdict] for verdict in range(UP, GONE)]))
            return found
        finally:
            self.busy = False

    def backends(self):
        self._enter()
        cdef Sums *sums = <Sums *>calloc(self.slots + 1, sizeof(Sums))
        cdef dict found = {}
        cdef uint32_t slot
        try:
            if sums == NULL:
                raise MemoryError
            self._sum(sums)
            for slot in range(self.slots):
                own = self.labels[slot].parent == NOBODY and self.seen[slot].look == self.look
                if not own and not sums[slot].there:
                    continue
                total = dict(zip(COUNTERS_OF, sums[slot].counters))
                total.update(zip(VIEWS, sums[slot].views))
                if own:
                    total.update((f"own_{name}", n) for name, n in counters_of(self._totals(slot)).items())
                found[name_of(&self.labels[slot])] = total
            return found
        finally:
            free(sums)
            self.busy = False

    # -------------------------------------------------------------------------------------- reading

    cdef int _feed(self, Stream *stream, const char *at, const char *end) except -1 nogil:
        cdef const char *stop
        self._widen(stream)
        while at < end:
            if stream.size == 0:
                at = self._rows(stream, at, end)
            stop = l7_row_end(at, end, stream.separator, stream.size, &stream.state)
            hold(stream, at, (end if stop == NULL else stop) - at)
            if stop == NULL:
                break
            self._held_row(stream)
            at = stop + 1
        return 0

    cdef const char *_rows(self, Stream *stream, const char *at, const char *end) except NULL nogil:
        """Rows that lie in the chunk as a whole and well before its end; returns where the next one begins."""
        cdef uint32_t[L7_ROOM] columns
        cdef uint32_t found
        cdef ptrdiff_t length
        while end - at > L7_MARGIN:
            if has_usual_columns(stream):
                at = l7_expected(at, end - L7_MARGIN, self.labels, self.seen, stream.views, self.look, &stream.slot)
            length = l7_row(at, end - L7_MARGIN, stream.separator, stream.quote, stream.last + 1, columns, &found)
            if length < 0:
                break
            self._row(stream, at, length, columns, found)
            at += length + 1
        return at

    cdef int _held_row(self, Stream *stream) except -1 nogil:
        """The row that is held, which is whole now; the margin behind it is there."""
        cdef uint32_t[L7_ROOM] columns
        cdef uint32_t found = 0
        cdef size_t size = stream.size
        cdef char *row = stream.held
        stream.size = 0
        stream.state = L7_BEGIN
        memset(row + size, 0, L7_BLOCK + L7_MARGIN)
        row[size] = b"\n"
        if size > L7_LONGEST:
            self.unreadable += 1
        elif size == 1 or (row[0] == b"#" and row[1] == b" "):
            self._row(stream, row, size, columns, found)
        elif stream.separator == b"," and memchr(row, b'"', size) != NULL:
            l7_unquote(row, size, stream.last + 1, columns, &found)
            self._row(stream, row, size, columns, found)
        else:
            l7_row(row, row + size + L7_BLOCK, stream.separator, b"\n", stream.last + 1, columns, &found)
            self._row(stream, row, size, columns, found)
        return 0

    cdef inline int _row(self, Stream *stream, const char *row, size_t size, uint32_t *at, uint32_t found) except -1 nogil:
        cdef bint readable = False
        if size == 0:
            return 0
        if (row[0] == b"#" and row[1] == b" ") or (size == 1 and row[0] == b"1"):
            readable = header(stream, row, size)
        elif found >= stream.last:
            if stream.separator == b",":
                readable = self._stat(stream, row, at)
            elif stream.separator == b" ":
                readable = self._state(stream, row, at)
        self.unreadable += not readable
        return 0

    cdef inline bint _state(self, Stream *stream, const char *row, uint32_t *at) except -1 nogil:
        cdef uint32_t *columns = stream.columns
        cdef const char *operational = row + at[columns[OPERATIONAL]]
        cdef uint64_t admin
        cdef int64_t slot
        if width(at, columns[OPERATIONAL]) != 1 or not b"0" <= operational[0] <= b"3":
            return False
        if width(at, columns[ADMIN]) == 0 or not l7_short_number(
            row + at[columns[ADMIN]], width(at, columns[ADMIN]), &admin
        ):
            return False
        slot = self._server(stream, row, at)
        if slot < 0:
            return False
        self._see(stream, slot, verdict_in(operational[0], admin))
        return True

    cdef inline bint _stat(self, Stream *stream, const char *row, uint32_t *at) except -1 nogil:
        cdef uint32_t *columns = stream.columns
        cdef char type = row[at[columns[TYPE]]]
        cdef uint64_t[COUNTERS] values
        cdef int64_t slot
        cdef int numbers, verdict = 0
        if width(at, columns[TYPE]) != 1 or type < b"0" or type > b"3":
            return False
        if type == b"0" or type == b"3":    # of a frontend or a listener
            return True
        numbers = l7_numbers(row, at, &columns[FIRST], COUNTERS, values)
        if numbers == 0:
            return False
        if type == b"1":
            slot = self._backend(stream, row, at)
        else:
            verdict = verdict_of(row + at[columns[STATUS]], width(at, columns[STATUS]))
            if verdict == 0:
                return False
            slot = self._server(stream, row, at)
        if slot < 0:
            return False
        if self._see(stream, slot, verdict) & 2 == 0:
            stream.views[slot].stamp |= 2
            if numbers == 1:
                count(self._totals(slot), values)
        return True

    cdef inline Totals *_totals(self, uint32_t slot) noexcept nogil:
        """Of a slot in this look; nought before the first counters come."""
        if not self.seen[slot].views[0] & COUNTED:
            self.seen[slot].views[0] |= COUNTED
            memset(&self.totals[slot], 0, sizeof(Totals))
        return &self.totals[slot]

    cdef inline uint32_t _see(self, Stream *stream, uint32_t slot, int verdict) noexcept nogil:
        return l7_see(&self.seen[slot], &stream.views[slot], self.look, verdict)

    # -------------------------------------------------------------------------------------- slots

    cdef inline int64_t _server(self, Stream *stream, const char *row, uint32_t *at) except -1 nogil:
        """The slot of a row's server, UNREADABLE where a name is none."""
        cdef uint32_t backend = stream.columns[BACKEND]
        cdef uint32_t server = stream.columns[SERVER]
        cdef uint32_t slot = stream.views[stream.slot].next
        cdef Label *label = &self.labels[slot]
        if (
            label.parent != NOBODY
            and is_named(label, row + at[server], width(at, server))
            and is_named(&self.labels[label.parent], row + at[backend], width(at, backend))
        ):
            stream.slot = slot
            return slot
        return self._search(stream, row + at[backend], width(at, backend), row + at[server], width(at, server))

    cdef int64_t _search(
        self, Stream *stream, const char *backend, uint32_t size, const char *server, uint32_t length
    ) except -1 nogil:
        cdef int64_t slot
        if not l7_is_name(backend, size) or not l7_is_name(server, length):
            return UNREADABLE
        slot = self._slot(stream, self._slot(stream, NOBODY, backend, size), server, length)
        return self._follow(stream, slot)

    cdef int64_t _backend(self, Stream *stream, const char *row, uint32_t *at) except -1 nogil:
        """The slot of a row's backend, UNREADABLE where its name is none."""
        cdef uint32_t column = stream.columns[BACKEND]
        if not l7_is_name(row + at[column], width(at, column)):
            return UNREADABLE
        return self._follow(stream, self._slot(stream, NOBODY, row + at[column], width(at, column)))

    cdef inline int64_t _follow(self, Stream *stream, int64_t slot) noexcept nogil:
        stream.views[stream.slot].next = slot
        stream.slot = slot
        return slot

    cdef int64_t _slot(self, Stream *stream, uint32_t parent, const char *name, uint32_t size) except -1 nogil:
        """Of this name, which is in a margin; a new one where there is none."""
        cdef uint32_t hash = l7_hash(name, size, parent)
        cdef uint32_t slot = self._find(parent, name, size, hash)
        cdef Label *label
        if slot != NOBODY:
            return slot
        if self.spare == 0 and self.slots == self.room:
            self._grow()
            self._widen(stream)
        slot = self.spare - 1 if self.spare else self.slots
        label = &self.labels[slot]
        keep_name(label, name, size)
        if self.spare:
            self.spare = label.hash
        else:
            self.slots += 1
        label.parent = parent
        label.hash = hash
        label.children = 0
        if parent != NOBODY:
            self.labels[parent].children += 1
        memset(&self.seen[slot], 0, sizeof(Seen))
        self.seen[slot].views[0] = NO_SERVER if parent == NOBODY else 0
        self._enlist(slot)
        return slot

    cdef uint32_t _find(self, uint32_t parent, const char *name, uint32_t size, uint32_t hash) noexcept nogil:
        cdef uint32_t mask = 2 * self.room - 1
        cdef uint32_t place = hash & mask
        cdef Label *label
        while self.index[place]:
            label = &self.labels[self.index[place] - 1]
            if label.hash == hash and label.parent == parent and is_named(label, name, size):
                return self.index[place] - 1
            place = (place + 1) & mask
        return NOBODY

    cdef void _enlist(self, uint32_t slot) noexcept nogil:
        cdef uint32_t mask = 2 * self.room - 1
        cdef uint32_t place = self.labels[slot].hash & mask
        while self.index[place]:
            place = (place + 1) & mask
        self.index[place] = slot + 1

    cdef void _forget(self, uint32_t slot) noexcept nogil:
        """Frees a slot; what was displaced by it in the index moves up."""
        cdef Label *label = &self.labels[slot]
        cdef uint32_t mask = 2 * self.room - 1
        cdef uint32_t place = label.hash & mask
        cdef uint32_t next, home
        while self.index[place] != slot + 1:
            place = (place + 1) & mask
        next = place
        while True:
            next = (next + 1) & mask
            if self.index[next] == 0:
                break
            home = self.labels[self.index[next] - 1].hash & mask
            if ((next - home) & mask) >= ((next - place) & mask):
                self.index[place] = self.index[next]
                place = next
        self.index[place] = 0
        if label.parent != NOBODY:
            self.labels[label.parent].children -= 1
        if label.size > INLINE:
            free(<void *>text_of(label))
        self.seen[slot].views[0] = NO_SERVER
        label.size = 0
        label.parent = NOBODY
        label.hash = self.spare
        self.spare = slot + 1

    cdef int _grow(self) except -1 nogil:
        """Room for twice as many slots."""
        cdef uint32_t room = 2 * self.room if self.room else 64
        cdef void *seen = NULL
        cdef void *totals = realloc(self.totals, room * sizeof(Totals))
        cdef void *labels = realloc(self.labels, room * sizeof(Label))
        cdef void *index = NULL
        cdef uint32_t slot
        if totals != NULL:
            self.totals = <Totals *>totals
        if labels != NULL:
            self.labels = <Label *>labels
            index = calloc(2 * <size_t>room, sizeof(uint32_t))
        if index == NULL or totals == NULL or room > NOBODY // 4 or posix_memalign(&seen, 64, room * sizeof(Seen)) != 0:
            free(index)
            with gil:
                raise MemoryError
        if self.room:
            memcpy(seen, self.seen, self.slots * sizeof(Seen))
        else:
            memset(labels, 0, room * sizeof(Label))     # of slots that are not there the first one is looked at
        free(self.seen)
        free(self.index)
        self.seen, self.index, self.room = <Seen *>seen, <uint32_t *>index, room
        for slot in range(self.slots):
            self._enlist(slot)
        return 0

    cdef int _widen(self, Stream *stream) except -1 nogil:
        """As many views as there is room for slots."""
        cdef void *views
        if stream.room < self.room:
            views = realloc(stream.views, self.room * sizeof(View))
            if views == NULL:
                with gil:
                    raise MemoryError
            stream.views = <View *>views
            memset(&stream.views[stream.room], 0, (self.room - stream.room) * sizeof(View))
            stream.room = self.room
        return 0

    # -------------------------------------------------------------------------------------- answers

    cdef uint32_t _known(self, uint32_t parent, str name):
        """The slot of a name, NOBODY where there is none."""
        cdef bytes text = name.encode("ascii", "replace") + bytes(L7_MARGIN)
        cdef uint32_t size = min(len(name), 256)
        cdef const char *at = PyBytes_AS_STRING(text)
        return self._find(parent, at, size, l7_hash(at, size, parent)) if l7_is_name(at, size) else NOBODY

    cdef list _changes(self, Py_ssize_t quorum):
        """Of verdicts, which are then those of now; forgets what is gone."""
        cdef list changes = []
        cdef uint32_t slot
        cdef Seen *seen
        cdef int before, now
        memset(self.verdicts, 0, sizeof(self.verdicts))
        for slot in range(self.slots):
            seen = &self.seen[slot]
            before, now = seen.views[0] & BEFORE, GONE
            if before == NO_SERVER:
                label = &self.labels[slot]
                if label.size and not label.children and seen.look != self.look:
                    self._forget(slot)
                continue
            if seen.look == self.look:
                now = verdict_by(seen, quorum)
                seen.views[0] = now | (seen.views[0] & COUNTED)
                self.verdicts[now] += 1
            if before != now and (before or now != GONE):
                label = &self.labels[slot]
                changes.append((name_of(&self.labels[label.parent]), name_of(label), before, now))
            if now == GONE:
                self._forget(slot)
        return changes

    cdef void _sum(self, Sums *sums) noexcept nogil:
        """Servers of this look, into the places of their backends."""
        cdef uint32_t slot
        cdef Seen *seen
        cdef Totals *totals
        cdef Sums *sum
        cdef int i
        for slot in range(self.slots):
            seen = &self.seen[slot]
            if self.labels[slot].parent == NOBODY or seen.look != self.look:
                continue
            sum = &sums[self.labels[slot].parent]
            sum.there = True
            totals = self._totals(slot)
            sum.counters[0] = gauge(sum.counters[0], totals.sessions)
            sum.counters[1] = gauge(sum.counters[1], totals.queued)
            for i in range(6):
                sum.counters[2 + i] += totals.sums[i]
            for i in range(3):
                sum.views[i] += seen.views[UP + i]


COUNTERS_OF = ("sessions", "queued", "total", "bytes_in", "bytes_out", "errors", "retries", "redispatches")
VIEWS = ("up", "down", "maintenance")


cdef dict counters_of(Totals *totals):
    return dict(zip(COUNTERS_OF, [totals.sessions, totals.queued] + list(totals.sums)))


cdef inline uint32_t width(uint32_t *at, uint32_t column) noexcept nogil:
    return at[column + 1] - 1 - at[column]


cdef inline int verdict_of(const char *status, uint32_t size) noexcept nogil:
    """By the first two letters: UP, no check, DOWN, NOLB, MAINT, DRAIN; 0 for any other."""
    if size < 2:
        return 0
    if begins(status, b"U", b"P") or begins(status, b"n", b"o"):
        return UP
    if begins(status, b"D", b"O") or begins(status, b"N", b"O"):
        return DOWN
    return MAINTENANCE if begins(status, b"M", b"A") or begins(status, b"D", b"R") else 0


cdef inline bint begins(const char *text, char first, char second) noexcept nogil:
    return text[0] == first and text[1] == second


cdef int verdict_by(Seen *seen, Py_ssize_t quorum) noexcept nogil:
    if seen.views[UP] >= quorum:
        return UP
    return MAINTENANCE if seen.views[MAINTENANCE] > seen.views[DOWN] else DOWN


cdef inline uint64_t gauge(uint64_t sum, uint64_t value) noexcept nogil:
    return GAUGE if value > GAUGE - sum else sum + value


cdef inline void count(Totals *totals, uint64_t *values) noexcept nogil:
    totals.sessions = gauge(totals.sessions, values[0])
    totals.queued = gauge(totals.queued, values[1])
    totals.sums[0] += values[2]
    totals.sums[1] += values[3]
    totals.sums[2] += values[4]
    totals.sums[3] += values[5] + values[6]
    totals.sums[4] += values[7]
    totals.sums[5] += values[8]


cdef inline bint is_named(const Label *label, const char *name, uint32_t size) noexcept nogil:
    if label.size != size or size == 0:
        return False
    return l7_same(label.text, name, size) if size <= INLINE else memcmp(text_of(label), name, size) == 0


cdef str name_of(Label *label):
    return PyUnicode_DecodeASCII(text_of(label), label.size, NULL)


cdef int keep_name(Label *label, const char *name, uint32_t size) except -1 nogil:
    cdef char *text = label.text
    if size > INLINE:
        text = <char *>malloc(size)
        if text == NULL:
            with gil:
                raise MemoryError
        memcpy(label.text, &text, sizeof(text))
    memcpy(text, name, size)
    label.size = size
    return 0


cdef void restart(Stream *stream) noexcept nogil:
    stream.separator = 0
    stream.quote = b"\n"
    stream.last = 0
    stream.slot = 0
    stream.size = 0
    stream.state = L7_BEGIN


cdef int hold(Stream *stream, const char *at, size_t size) except -1 nogil:
    """More of a row; of one longer than any, as much as shows that."""
    cdef size_t space = stream.space if stream.space else 1024
    cdef char *held = stream.held
    size = min(size, <size_t>L7_LONGEST + 1 - stream.size)
    while space < stream.size + size + L7_BLOCK + L7_MARGIN:
        space *= 2
    if space != stream.space:
        held = <char *>realloc(stream.held, space)
        if held == NULL:
            with gil:
                raise MemoryError
        stream.held, stream.space = held, space
    memcpy(held + stream.size, at, size)
    stream.size += size
    return 0


cdef bint header(Stream *stream, const char *row, size_t size) noexcept nogil:
    """Where the columns are, from the header of a dump; the format's version comes before that of the servers' state."""
    cdef bint csv = memchr(row, b",", size) != NULL
    cdef const char **names = STAT_COLUMNS if csv else STATE_COLUMNS
    cdef int wanted = FIRST + COUNTERS if csv else OPERATIONAL + 1
    cdef const char *at = row + 2
    cdef const char *end = row + size
    cdef const char *stop
    cdef uint32_t column
    cdef int i
    restart_columns(stream)
    if size == 1:
        return True
    for i in range(wanted):
        stream.columns[i] = L7_COLUMNS
    for column in range(L7_COLUMNS):
        stop = <const char *>memchr(at, b"," if csv else b" ", end - at)
        if stop == NULL:
            stop = end
        for i in range(wanted):
            if stream.columns[i] == L7_COLUMNS and strlen(names[i]) == <size_t>(stop - at) and memcmp(names[i], at, stop - at) == 0:
                stream.columns[i] = column
        if stop == end:
            break
        at = stop + 1
    for i in range(wanted):
        stream.last = max(stream.last, stream.columns[i])
    if stream.last == L7_COLUMNS:
        restart_columns(stream)
        return False
    stream.separator = b"," if csv else b" "
    stream.quote = b'"' if csv else b"\n"
    return True


cdef inline bint has_usual_columns(const Stream *stream) noexcept nogil:
    """Those of `show servers state` where every HAProxy so far has them."""
    cdef const uint32_t *columns = stream.columns
    return (
        stream.separator == b" " and columns[BACKEND] == 1 and columns[SERVER] == 3
        and columns[OPERATIONAL] == 5 and columns[ADMIN] == 6
    )


cdef void restart_columns(Stream *stream) noexcept nogil:
    stream.separator = 0
    stream.quote = b"\n"
    stream.last = 0
