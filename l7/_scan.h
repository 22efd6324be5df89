/* Scanning of HAProxy's dumps for l7/_fastpath.pyx: rows, columns and numbers, without a byte looked at twice.

   Who calls keeps L7_MARGIN readable bytes behind what is scanned: names and numbers are loaded whole. SSE2 where
   there is one (every x86-64), AVX2 where the CPU that runs this has it, plain C elsewhere. */

#ifndef L7_SCAN_H
#define L7_SCAN_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define L7_BLOCK 64
#define L7_MARGIN 32
#define L7_LONGEST ((size_t)1 << 20)
#define L7_COLUMNS 256
#define L7_INLINE static inline __attribute__((always_inline))
#define L7_LIKELY(condition) __builtin_expect(!!(condition), 1)

/* Room for the columns of a row: places are written four at a time. */
#define L7_ROOM (L7_COLUMNS + 8)

/* ---------------------------------------------------------------- blocks: a bit per byte, the lowest the first */

#if defined(__SSE2__)
#include <immintrin.h>
#define L7_TARGET_AVX2 __attribute__((target("avx2,bmi,popcnt")))

L7_INLINE uint64_t l7_bits_sse2(__m128i a, __m128i b, __m128i c, __m128i d) {
    uint64_t low = (uint32_t)_mm_movemask_epi8(a) | (uint32_t)_mm_movemask_epi8(b) << 16;
    uint64_t high = (uint32_t)_mm_movemask_epi8(c) | (uint32_t)_mm_movemask_epi8(d) << 16;
    return low | high << 32;
}

#define L7_LOAD_SSE2(p, i) _mm_loadu_si128((const __m128i *)(p) + (i))

L7_INLINE uint64_t l7_equal_sse2(const char *p, char c) {
    __m128i v = _mm_set1_epi8(c);
    return l7_bits_sse2(_mm_cmpeq_epi8(L7_LOAD_SSE2(p, 0), v), _mm_cmpeq_epi8(L7_LOAD_SSE2(p, 1), v),
                        _mm_cmpeq_epi8(L7_LOAD_SSE2(p, 2), v), _mm_cmpeq_epi8(L7_LOAD_SSE2(p, 3), v));
}

L7_INLINE __m128i l7_either16(const char *p, int i, __m128i v, __m128i w) {
    __m128i x = L7_LOAD_SSE2(p, i);
    return _mm_or_si128(_mm_cmpeq_epi8(x, v), _mm_cmpeq_epi8(x, w));
}

L7_INLINE uint64_t l7_either_sse2(const char *p, char c, char d) {
    __m128i v = _mm_set1_epi8(c), w = _mm_set1_epi8(d);
    return l7_bits_sse2(l7_either16(p, 0, v, w), l7_either16(p, 1, v, w), l7_either16(p, 2, v, w),
                        l7_either16(p, 3, v, w));
}

L7_TARGET_AVX2 L7_INLINE uint64_t l7_equal_avx2(const char *p, char c) {
    __m256i v = _mm256_set1_epi8(c);
    __m256i a = _mm256_cmpeq_epi8(_mm256_loadu_si256((const __m256i *)p), v);
    __m256i b = _mm256_cmpeq_epi8(_mm256_loadu_si256((const __m256i *)p + 1), v);
    return (uint32_t)_mm256_movemask_epi8(a) | (uint64_t)(uint32_t)_mm256_movemask_epi8(b) << 32;
}

L7_TARGET_AVX2 L7_INLINE uint64_t l7_either_avx2(const char *p, char c, char d) {
    __m256i v = _mm256_set1_epi8(c), w = _mm256_set1_epi8(d);
    __m256i x = _mm256_loadu_si256((const __m256i *)p), y = _mm256_loadu_si256((const __m256i *)p + 1);
    __m256i a = _mm256_or_si256(_mm256_cmpeq_epi8(x, v), _mm256_cmpeq_epi8(x, w));
    __m256i b = _mm256_or_si256(_mm256_cmpeq_epi8(y, v), _mm256_cmpeq_epi8(y, w));
    return (uint32_t)_mm256_movemask_epi8(a) | (uint64_t)(uint32_t)_mm256_movemask_epi8(b) << 32;
}
#endif

L7_INLINE uint64_t l7_either_plain(const char *p, char c, char d) {
    uint64_t bits = 0;
    for (int i = 0; i < L7_BLOCK; i++) bits |= (uint64_t)(p[i] == c || p[i] == d) << i;
    return bits;
}

L7_INLINE uint64_t l7_equal_plain(const char *p, char c) { return l7_either_plain(p, c, c); }

/* ---------------------------------------------------------------- rows and columns */

/* Length of the row at `p`, up to its newline. `at[k]`: where column k begins; `at[k + 1] - 1`: where it ends; `found`:
   the last column that there is, or any from `wanted` on. -1: the row does not end before `limit`, is longer than any,
   or has a quote where `quote` is one ('\n' where quotes are nothing special): then it has to be read byte by byte. */
typedef ptrdiff_t l7_row_function(const char *p, const char *limit, char separator, char quote, uint32_t wanted,
                                  uint32_t *at, uint32_t *found);

/* The lowest bit; of none any, as long as it is defined: on AVX2's machines there is an instruction for it. */
#define L7_LOWEST(bits) (uint32_t) __builtin_ctzll((bits) | (uint64_t)1 << 63)
#define L7_LOWEST_AVX2(bits) (uint32_t) _tzcnt_u64(bits)

/* Writes where the byte behind each bit is, of up to `wanted` bits and some more: four at a time, no branch to guess
   for each. Returns their number. */
#define L7_DEFINE_PLACES(NAME, TARGET, LOWEST)                                                                     \
    TARGET L7_INLINE uint32_t NAME(uint64_t bits, uint32_t wanted, uint32_t offset, uint32_t *at) {                \
        uint32_t count = (uint32_t)__builtin_popcountll(bits);                                                     \
        if (count > wanted) count = wanted;                                                                        \
        for (uint32_t i = 0; i < count; i += 4) {                                                                  \
            for (uint32_t k = i; k < i + 4; k++) {                                                                 \
                at[k] = offset + 1 + LOWEST(bits);                                                                 \
                bits &= bits - 1;                                                                                  \
            }                                                                                                      \
        }                                                                                                          \
        return count;                                                                                              \
    }

#define L7_DEFINE_ROW(NAME, TARGET, EQUAL, EITHER, PLACES)                                                                 \
    TARGET static ptrdiff_t NAME(const char *p, const char *limit, char separator, char quote, uint32_t wanted,    \
                                 uint32_t *at, uint32_t *found) {                                                  \
        size_t offset = 0;                                                                                         \
        uint64_t stop = 0;                                                                                         \
        uint32_t count = 0;                                                                                        \
        at[0] = 0;                                                                                                 \
        for (; offset <= L7_LONGEST && limit - p >= (ptrdiff_t)(offset + L7_BLOCK); offset += L7_BLOCK) {          \
            stop = quote == '\n' ? EQUAL(p + offset, '\n') : EITHER(p + offset, '\n', quote);                      \
            if (count < wanted) {                                                                                  \
                uint64_t bits = EQUAL(p + offset, separator);                                                      \
                if (stop) bits &= (stop - 1) & ~stop;                                                              \
                count += PLACES(bits, wanted - count, (uint32_t)offset, at + count + 1);                           \
            }                                                                                                      \
            if (stop) break;                                                                                       \
        }                                                                                                          \
        if (!stop) return -1;                                                                                      \
        size_t length = offset + (size_t)__builtin_ctzll(stop);                                                    \
        if (p[length] != '\n' || length > L7_LONGEST) return -1;                                                   \
        at[count + 1] = (uint32_t)length + 1;                                                                      \
        *found = count;                                                                                            \
        return (ptrdiff_t)length;                                                                                  \
    }

L7_DEFINE_PLACES(l7_places, , L7_LOWEST)
L7_DEFINE_ROW(l7_row_plain, , l7_equal_plain, l7_either_plain, l7_places)
#if defined(__SSE2__)
L7_DEFINE_ROW(l7_row_sse2, , l7_equal_sse2, l7_either_sse2, l7_places)
L7_DEFINE_PLACES(l7_places_avx2, L7_TARGET_AVX2, L7_LOWEST_AVX2)
L7_DEFINE_ROW(l7_row_avx2, L7_TARGET_AVX2, l7_equal_avx2, l7_either_avx2, l7_places_avx2)
#endif

static l7_row_function *l7_row = l7_row_plain;

/* 0: plain C, 1: SSE2, 2: AVX2; the best that there is up to `most`. */
static int l7_choose(int most) {
    l7_row = l7_row_plain;
#if defined(__SSE2__)
    if (most >= 2 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi") && __builtin_cpu_supports("popcnt")) {
        l7_row = l7_row_avx2;
        return 2;
    }
    if (most >= 1) {
        l7_row = l7_row_sse2;
        return 1;
    }
#endif
    return 0;
}

/* ---------------------------------------------------------------- rows with quotes, byte by byte */

enum { L7_BEGIN, L7_PLAIN, L7_QUOTED, L7_CLOSING };

L7_INLINE int l7_next(int state, char c) {
    if (state == L7_QUOTED) return c == '"' ? L7_CLOSING : L7_QUOTED;
    if (c == ',') return L7_BEGIN;
    return c == '"' && state != L7_PLAIN ? L7_QUOTED : L7_PLAIN;
}

/* The newline that ends the row, NULL where it is not there yet. `seen`: bytes of the row before `p`, `state`: after
   them. Longer than any row, also a newline within quotes ends it. */
static const char *l7_row_end(const char *p, const char *end, char separator, size_t seen, int *state) {
    if (separator != ',') return (const char *)memchr(p, '\n', (size_t)(end - p));
    for (const char *at = p; at < end; at++) {
        if (*at == '\n' && (*state != L7_QUOTED || seen + (size_t)(at - p) > L7_LONGEST)) return at;
        *state = l7_next(*state, *at);
    }
    return NULL;
}

/* As `l7_row`, of a row with quotes and its newline, which it takes out in place. 0: it ends within quotes. */
static int l7_unquote(char *row, size_t size, uint32_t wanted, uint32_t *at, uint32_t *found) {
    int state = L7_BEGIN;
    uint32_t count = 0;
    size_t to = 0;
    at[0] = 0;
    for (size_t from = 0; from < size; from++) {
        int before = state;
        state = l7_next(state, row[from]);
        if (state == L7_BEGIN) {
            if (count >= wanted) break;
            at[++count] = (uint32_t)to + 1;
        } else if (state == L7_CLOSING || (state == L7_QUOTED && before == L7_BEGIN)) {
            continue;
        }
        row[to++] = row[from];
    }
    at[count + 1] = (uint32_t)to + 1;
    *found = count;
    return state != L7_QUOTED;
}

/* ---------------------------------------------------------------- names and numbers */

/* Whether `size` (at most 32) bytes are the same; 32 of both can be read. */
L7_INLINE int l7_same(const char *a, const char *b, uint32_t size) {
#if defined(__SSE2__)
    uint32_t low = (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(L7_LOAD_SSE2(a, 0), L7_LOAD_SSE2(b, 0)));
    uint32_t high = (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi8(L7_LOAD_SSE2(a, 1), L7_LOAD_SSE2(b, 1)));
    return (~(uint64_t)(low | high << 16) & (((uint64_t)1 << size) - 1)) == 0;
#else
    return memcmp(a, b, size) == 0;
#endif
}

L7_INLINE uint64_t l7_load(const char *p) {
    uint64_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

/* Up to 8 digits at once, without a branch (after D. Lemire); 8 bytes can be read. Returns whether all are digits. */
L7_INLINE int l7_digits(const char *p, uint32_t size, uint64_t *value) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    const uint64_t zeros = 0x3030303030303030, high = 0xF0F0F0F0F0F0F0F0;
    uint32_t filled = 4 * size, spare = 32 - filled; /* half of the bits: a shift by all 64 is undefined */
    uint64_t word = l7_load(p) << spare << spare | zeros >> filled >> filled;
    uint64_t wrong = ((word & high) ^ zeros) | (((word + 0x0606060606060606) & high) ^ zeros);
    word = (word & 0x0F0F0F0F0F0F0F0F) * 2561 >> 8;
    word = (word & 0x00FF00FF00FF00FF) * 6553601 >> 16;
    *value = (word & 0x0000FFFF0000FFFF) * 42949672960001 >> 32;
    return wrong == 0;
#else
    uint64_t number = 0;
    for (uint32_t i = 0; i < size; i++) {
        if (p[i] < '0' || p[i] > '9') return 0;
        number = number * 10 + (uint64_t)(p[i] - '0');
    }
    *value = number;
    return 1;
#endif
}

static int l7_long_number(const char *p, uint32_t size, uint64_t *value) {
    const uint64_t factor = 100000000;
    uint64_t first, last;
    if (size > 20 || !l7_digits(p + size - 8, 8, &last)) return 0;
    if (size <= 16) {
        if (!l7_digits(p, size - 8, &first)) return 0;
        *value = first * factor + last;
        return 1;
    }
    return l7_long_number(p, size - 8, &first) && !__builtin_mul_overflow(first, factor, value) &&
           !__builtin_add_overflow(*value, last, value);
}

/* A number of up to 64 bits in `size` bytes; none are 0. Returns whether it is one. */
L7_INLINE int l7_number(const char *p, uint32_t size, uint64_t *value) {
    return L7_LIKELY(size <= 8) ? l7_digits(p, size, value) : l7_long_number(p, size, value);
}

/* The same of what mostly has one digit. */
L7_INLINE int l7_short_number(const char *p, uint32_t size, uint64_t *value) {
    if (L7_LIKELY(size == 1)) {
        *value = (uint64_t)(unsigned char)*p - '0';
        return *value <= 9;
    }
    return size <= 8 ? l7_digits(p, size, value) : l7_long_number(p, size, value);
}

/* Numbers of some columns; 0 where one is none. 2 where all are nought, as most servers' are: `values` is not set. */
L7_INLINE int l7_numbers(const char *row, const uint32_t *at, const uint32_t *columns, int count, uint64_t *values) {
    uint32_t widths = 0, digits = 0;
    int right = 1;
    for (int i = 0; i < count; i++) {
        uint32_t begin = at[columns[i]], size = at[columns[i] + 1] - 1 - begin;
        widths |= size;
        digits |= (uint32_t)((unsigned char)row[begin] ^ '0') & -(uint32_t)(size != 0);
    }
    if (widths <= 1 && digits == 0) return 2;
    for (int i = 0; i < count; i++) {
        uint32_t begin = at[columns[i]];
        right &= l7_number(row + begin, at[columns[i] + 1] - 1 - begin, &values[i]);
    }
    return right;
}

/* Printable ASCII without blank, comma and quote, at least one and at most 255. */
static int l7_is_name(const char *p, uint32_t size) {
    for (uint32_t i = 0; i < size; i++) {
        if (p[i] <= ' ' || p[i] > '~' || p[i] == ',' || p[i] == '"') return 0;
    }
    return size >= 1 && size <= 255;
}

/* Of a name and of what it belongs to. */
static uint32_t l7_hash(const char *p, uint32_t size, uint32_t parent) {
    const uint64_t factor = 0x9E3779B97F4A7C15;
    uint64_t hash = parent * factor + size;
    for (; size >= 8; p += 8, size -= 8) hash = ((hash ^ l7_load(p)) * factor) ^ (hash >> 29);
    uint64_t rest = 0;
    memcpy(&rest, p, size);
    hash = (hash ^ rest ^ hash >> 31) * factor;
    return (uint32_t)(hash >> 32);
}

#endif
