/* Rows of `show servers state` that come as they did the last time, and what is kept of each server for Health. As in
   _scan.h, L7_MARGIN bytes can be read behind what is scanned. */

#ifndef L7_STATE_H
#define L7_STATE_H

#include "_scan.h"

#define L7_INLINE_NAME 32 /* bytes of a name that need no memory of their own: a task's id and a generation */
#define L7_NOBODY 0xFFFFFFFFu

enum { L7_UP = 1, L7_DOWN, L7_MAINTENANCE };

/* srv_admin_state: maintenance or drain, however it came about. */
#define L7_OUT 0x3B

/* What a state dump changes is apart from counters, so that little memory passes by. */
typedef struct {
    uint32_t look;
    uint8_t views[4]; /* processes by verdict; in place of 0, L7_BEFORE and L7_COUNTED */
} l7_seen;

#define L7_BEFORE 7  /* the verdict when the last look ended */
#define L7_COUNTED 8 /* there are counters, of `look` */

typedef struct {
    uint32_t sessions, queued;
    uint64_t sums[6]; /* total, bytes_in, bytes_out, errors, retries, redispatches */
} l7_totals;

typedef struct {
    char text[L7_INLINE_NAME]; /* or a pointer, where `size` is more */
    uint8_t size;              /* 0: the slot is free */
    uint32_t parent;           /* slot of its backend, L7_NOBODY of a backend */
    uint32_t hash;             /* of a free slot: the next one, + 1 */
    uint32_t children;
} l7_label;

/* Of a process on a slot. */
typedef struct {
    uint32_t next;
    uint32_t stamp; /* look, has it counters, has it a verdict */
} l7_view;

L7_INLINE const char *l7_text(const l7_label *label) {
    const char *text;
    if (label->size <= L7_INLINE_NAME) return label->text;
    memcpy(&text, label->text, sizeof text);
    return text;
}

L7_INLINE int l7_verdict(char operational, uint64_t admin) {
    return admin & L7_OUT ? L7_MAINTENANCE : operational == '1' || operational == '2' ? L7_UP : L7_DOWN;
}

/* The process's view of a server; `verdict` 0: it has none, as of a backend. Returns its stamp. */
L7_INLINE uint32_t l7_see(l7_seen *seen, l7_view *view, uint32_t look, int verdict) {
    uint32_t stamp = view->stamp;
    if (seen->look != look) {
        seen->views[0] &= L7_BEFORE;
        seen->views[1] = seen->views[2] = seen->views[3] = 0;
        seen->look = look;
    }
    if ((stamp ^ look << 2) >= 4) stamp = look << 2;
    if (verdict && !(stamp & 1)) {
        stamp |= 1;
        seen->views[verdict]++;
    }
    view->stamp = stamp;
    return stamp;
}

/* Past the first blank of 16 bytes; NULL where there is none. */
L7_INLINE const char *l7_past_blank(const char *p) {
#if defined(__SSE2__)
    uint32_t bits = (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(L7_LOAD_SSE2(p, 0), _mm_set1_epi8(' ')));
    return L7_LIKELY(bits) ? p + (uint32_t)__builtin_ctz(bits) + 1 : NULL;
#else
    const char *blank = (const char *)memchr(p, ' ', 16);
    return blank ? blank + 1 : NULL;
#endif
}

/* Reads rows whose backend, server, operational and admin state are columns 1, 3, 5 and 6, where every HAProxy so far
   has them, for as long as each is of the server that came next the last time: all of a large dump is like this, mostly.
   Returns the first row that has to be read with more care; `slot`: of the row before it. */
typedef const char *l7_expected_function(const char *at, const char *limit, const l7_label *labels, l7_seen *seen,
                                         l7_view *views, uint32_t look, uint32_t *slot);

#define L7_DEFINE_EXPECTED(NAME, TARGET, EQUAL, SAME)                                                              \
    /* Past this name and the blank behind it; NULL: something else is there, or they do not end before `end`. */  \
    TARGET L7_INLINE const char *NAME##_name(const l7_label *label, const char *p, const char *end) {              \
        uint32_t size = label->size;                                                                               \
        if (!p || end - p <= (ptrdiff_t)size || p[size] != ' ') return NULL;                                       \
        int same = L7_LIKELY(size <= L7_INLINE_NAME) ? SAME(label->text, p, size)                                  \
                                                     : !memcmp(l7_text(label), p, size);                           \
        return same ? p + size + 1 : NULL;                                                                         \
    }                                                                                                              \
                                                                                                                   \
    TARGET static const char *NAME(const char *at, const char *limit, const l7_label *labels, l7_seen *seen,       \
                                   l7_view *views, uint32_t look, uint32_t *slot) {                                \
        uint32_t last = *slot, parent = L7_NOBODY - 1, prefix = 0;                                                 \
        const char *before = at; /* a row of the same backend: they mostly begin alike */                          \
        for (;;) {                                                                                                 \
            uint32_t next = views[last].next;                                                                      \
            const l7_label *label = &labels[next];                                                                 \
            const char *end = at, *p;                                                                              \
            uint64_t stop = 0;                                                                                     \
            for (; limit - end >= L7_BLOCK; end += L7_BLOCK)                                                       \
                if ((stop = EQUAL(end, '\n'))) break;                                                              \
            if (!stop) break;                                                                                      \
            end += (uint32_t)__builtin_ctzll(stop);                                                                \
            if (label->parent == parent && SAME(before, at, prefix)) {                                             \
                p = at + prefix;                                                                                   \
            } else {                                                                                               \
                if (*at == '#' || !label->size || label->parent == L7_NOBODY) break;                               \
                if (!(p = NAME##_name(&labels[label->parent], l7_past_blank(at), end))) break;                     \
                parent = p - at <= 32 ? label->parent : L7_NOBODY - 1;                                             \
                prefix = (uint32_t)(p - at);                                                                       \
                before = at;                                                                                       \
            }                                                                                                      \
            if (!(p = NAME##_name(label, l7_past_blank(p), end))) break;                                           \
            if (!(p = l7_past_blank(p)) || end - p < 4 || p[1] != ' ' || p[3] != ' ') break;                       \
            if (p[0] < '0' || p[0] > '3' || p[2] < '0' || p[2] > '9') break;                                       \
            l7_see(&seen[next], &views[next], look, l7_verdict(p[0], (uint64_t)(p[2] - '0')));                     \
            last = next;                                                                                           \
            at = end + 1;                                                                                          \
        }                                                                                                          \
        *slot = last;                                                                                              \
        return at;                                                                                                 \
    }

L7_DEFINE_EXPECTED(l7_expected_plain, , l7_equal_plain, l7_same)
#if defined(__SSE2__)
L7_DEFINE_EXPECTED(l7_expected_sse2, , l7_equal_sse2, l7_same)

L7_TARGET_AVX2 L7_INLINE int l7_same_avx2(const char *a, const char *b, uint32_t size) {
    __m256i same = _mm256_cmpeq_epi8(_mm256_loadu_si256((const __m256i *)a), _mm256_loadu_si256((const __m256i *)b));
    return (~(uint64_t)(uint32_t)_mm256_movemask_epi8(same) & (((uint64_t)1 << size) - 1)) == 0;
}

L7_DEFINE_EXPECTED(l7_expected_avx2, L7_TARGET_AVX2, l7_equal_avx2, l7_same_avx2)
#endif

static l7_expected_function *l7_expected = l7_expected_plain;

/* As l7_choose, for these too. */
static int l7_choose_all(int most) {
    int level = l7_choose(most);
    l7_expected = l7_expected_plain;
#if defined(__SSE2__)
    if (level >= 1) l7_expected = level == 2 ? l7_expected_avx2 : l7_expected_sse2;
#endif
    return level;
}

#endif
