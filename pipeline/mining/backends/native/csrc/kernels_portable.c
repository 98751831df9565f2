/* Kernels in plain C: float32 for any processor, and a twin of every other kernel, bit for bit, on the same operands.
 */
#include "scan.h"
#include <string.h>

typedef float Eight __attribute__((vector_size(32)));
typedef int32_t EightInts __attribute__((vector_size(32)));

INLINE Eight nearer(Eight x, Eight y) {
    EightInts is_less = x < y;
    return (Eight)(((EightInts)x & is_less) | ((EightInts)y & ~is_less));
}

INLINE uint32_t inside(Eight x, Eight reach) {
    EightInts is_inside = x <= reach;
    uint32_t bits = 0;
    for (int l = 0; l < 8; l++) bits |= (uint32_t)(is_inside[l] & 1) << l;
    return bits;
}

#define NAME sweep_portable_float32
#define ATTRIBUTES
#define VECTOR Eight
#define VECTORS 2
#define PARTS 2
#define ROWS 2
#define BROADCAST(p) ((Eight){0} + *(const float *)(p))
#define MULTIPLY(sum, c, a) ((sum) + (c) * (a))
#define PLUS(x, y) ((x) + (y))
#define MINUS(x, y) ((x) - (y))
#define MAGNITUDE(x) ((Eight)((EightInts)(x) & 0x7fffffff))
#define NEARER nearer
#define INSIDE inside
#include "sweep.h"

/* One word of a candidate by one of an anchor: the sum of their elements' products. */
static uint32_t multiply_words(const Kernel *kernel, const char *c, const char *a) {
    uint32_t sum = 0;
    if (kernel->element_bytes == 2 && kernel->parts == 1) {
        int16_t x[2], y[2];
        memcpy(x, c, 4), memcpy(y, a, 4);
        for (int i = 0; i < 2; i++) sum += (uint32_t)(x[i] * y[i]);
    } else {
        for (int i = 0; i < kernel->word_bytes; i++)
            sum += (uint32_t)((kernel->is_unsigned ? (uint8_t)c[i] : (int8_t)c[i]) * (int8_t)a[i]);
    }
    return sum;
}

static uint32_t multiply_rows(const Scan *s, const char *c, const char *a) {
    const Kernel *kernel = s->kernel;
    int words_in_piece = kernel->is_twice ? 1 : kernel->piece_bytes / kernel->word_bytes;
    uint32_t sum = 0;
    for (int64_t w = 0; w < s->words; w++) {
        const char *piece = c + w / words_in_piece * kernel->rows * kernel->piece_bytes;
        sum +=
            multiply_words(kernel, piece + w % words_in_piece * kernel->word_bytes, a + w * LANES * kernel->word_bytes);
    }
    return sum;
}

INLINE uint32_t lane_of(const Scan *s, const uint32_t *lanes, int64_t lane) {
    return s->kernel->sum_bits == 16 ? ((const uint16_t *)lanes)[lane] : lanes[lane];
}

/* What the integer kernel of `s` does, in plain C: so any processor can test the bounds of all of them. */
void sweep_in_software(Scan *s, int64_t block, int64_t row, int64_t num_rows) {
    const Kernel *kernel = s->kernel;
    const int64_t row_bytes = s->words * kernel->word_bytes * (1 + kernel->is_twice);
    const int64_t num_slots = own_slots(s, block);
    const uint32_t mask = kernel->sum_bits == 16 ? 0xffff : 0xffffffff;
    for (int64_t last = row + num_rows; row < last; row += kernel->rows) {
        uint64_t wanted[MOST_ROWS / 2] = {0};
        for (int r = 0; r < kernel->rows; r++)
            for (int l = 0; l < LANES; l++) {
                const char *c = (const char *)s->packed + row * row_bytes + r * kernel->piece_bytes;
                const char *a = (const char *)s->packed_anchors + (block * s->words * LANES + l) * kernel->word_bytes;
                uint32_t sum = multiply_rows(s, c, a);
                if (kernel->parts == 2)
                    sum = (sum << 8) + multiply_rows(s, c + s->packed_plane_bytes, a) +
                          multiply_rows(s, c, a + s->plane_bytes);
                for (int64_t slot = 0; slot < num_slots; slot++) {
                    const uint32_t *start = slot_of(s, block, slot + (num_slots > 1));
                    const uint64_t is_inside = ((sum + lane_of(s, start, l)) & mask) <= lane_of(s, start + LANES, l);
                    wanted[r / 2] |= is_inside << (r % 2 * 32 + l);
                }
            }
        take_survivors(s, block * LANES, s->chunk_first + row, 32, kernel->rows / 2, wanted);
    }
}
