/* Operands as the kernels want them: see Kernel in scan.h. */
#include "vectors.h"

/* q = 256 * high + low: the high bytes of `count` elements, or the low ones. */
INLINE void put_parts(char *to, const int16_t *q, int64_t count, int64_t plane) {
    Shorts values = {0};
    memcpy(&values, q, (size_t)count * 2);
    Shorts high = (values + 128) >> 8;
    Bytes part = __builtin_convertvector(plane ? values - 256 * high : high, Bytes);
    memcpy(to, &part, (size_t)count);
}

/* A row's q: as it was made before, or rounded now. */
static const void *q_of(Scan *s, const void *q, const void *vectors, int64_t row, double scale) {
    const int bytes = s->kernel->element_bytes;
    if (q) return (const char *)q + row * s->k * bytes;
    s->level->round_row(s->q_room, vector_of(vectors, s->half, s->d, row), s->d, (float)scale, bytes, s->half);
    return s->q_room;
}

/* A row of a plane as bytes, zeros from its last element to its last word. */
static const char *bytes_of(Scan *s, const void *q, const void *vectors, int64_t row, double scale, int64_t plane) {
    const Kernel *kernel = s->kernel;
    int64_t padded = s->words * kernel->word_bytes, filled = s->k * packed_bytes(kernel);
    memset(s->room + filled, 0, (size_t)(padded - filled));
    if (kernel->element_bytes == 4) {
        const void *x = vector_of(vectors, s->half, s->d, row);
        if (!s->half && filled == padded) return x;
        for (int64_t k = 0; k < s->d; k += WIDTH) {
            Floats values = FOR_BOTH_TYPES(s->half, load_any, x, k, s->d);
            memcpy(s->room + k * 4, &values, (size_t)(s->d - k < WIDTH ? s->d - k : WIDTH) * 4);
        }
        return s->room;
    }
    if (kernel->is_float) {
        s->level->bfloat16_row(s->room, vector_of(vectors, s->half, s->d, row), s->d, (int)plane, s->half);
        return s->room;
    }
    const void *rounded = q_of(s, q, vectors, row, scale);
    if (kernel->parts == 2) {
        const int16_t *wide = rounded;
        int64_t i = 0;
        for (; i + WIDTH <= s->k; i += WIDTH) put_parts(s->room + i, wide + i, WIDTH, plane);
        if (i < s->k) put_parts(s->room + i, wide + i, s->k - i, plane);
    } else {
        if (filled == padded) return rounded;
        memcpy(s->room, rounded, (size_t)filled);
    }
    return s->room;
}

/* Words of a row, flipped, to places that lie `stride` bytes apart: 2 bytes, twice where `is_twice`, or 4, or 64 in
 * one. */
INLINE void scatter_halves(char *to, int64_t stride, const char *row, int64_t num_words, uint16_t flip,
                           const int is_twice) {
    for (int64_t i = 0; i < num_words; i++) {
        uint16_t word;
        memcpy(&word, row + i * 2, 2);
        uint32_t twice = (uint16_t)(word ^ flip) * 0x10001u;
        memcpy(to + i * stride, &twice, is_twice ? 4 : 2);
    }
}

INLINE void scatter_words(char *to, int64_t stride, const char *row, int64_t num_words, uint32_t flip) {
    for (int64_t i = 0; i < num_words; i++) {
        uint32_t word;
        memcpy(&word, row + i * 4, 4);
        word ^= flip;
        memcpy(to + i * stride, &word, 4);
    }
}

INLINE void scatter_lines(char *to, int64_t stride, const char *row, int64_t num_lines, uint32_t flip) {
    const Words flips = (Words){0} + flip;
    for (int64_t i = 0; i < num_lines; i++) {
        Words line;
        memcpy(&line, row + i * 64, 64);
        line ^= flips;
        memcpy(to + i * stride, &line, 64);
    }
}

void pack_anchors(Scan *s) {
    const int bytes = s->kernel->word_bytes;
    for (int64_t i = 0; i < s->a; i++) {
        char *to = (char *)s->packed_anchors + i / LANES * s->words * LANES * bytes + i % LANES * bytes;
        const char *row = NULL;
        for (int64_t plane = 0; plane < s->kernel->parts; plane++, to += s->plane_bytes) {
            row = bytes_of(s, s->filter_anchors, s->anchors, i, s->anchor_roundings[i].scale, plane);
            if (bytes == 2) scatter_halves(to, LANES * 2, row, s->words, 0, 0);
            else scatter_words(to, LANES * 4, row, s->words, 0);
        }
        if (s->kernel->is_unsigned) {
            int64_t sum = 0;
            for (int64_t k = 0; k < s->k; k++) sum += ((const int8_t *)row)[k];
            s->offset[i] = (uint32_t)(128 * sum);
        }
    }
}

void pack_candidates(Scan *s, int64_t first, int64_t count) {
    const Kernel *kernel = s->kernel;
    const uint32_t flip = kernel->is_unsigned ? 0x80808080 : 0; /* adds 128 to every byte */
    const int64_t row_bytes = s->words * kernel->word_bytes, stride = (int64_t)kernel->rows * kernel->piece_bytes;
    for (int64_t i = 0; i < count; i++) {
        int64_t lane = i % kernel->rows;
        char *to = (char *)s->packed + (i - lane) * row_bytes * (1 + kernel->is_twice) + lane * kernel->piece_bytes;
        for (int64_t plane = 0; plane < kernel->parts; plane++, to += s->packed_plane_bytes) {
            const char *row = bytes_of(s, s->filter_candidates, s->candidates, first + i, s->span->scale, plane);
            if (kernel->is_twice) scatter_halves(to, stride, row, s->words, (uint16_t)flip, 1);
            else if (kernel->piece_bytes == 64) scatter_lines(to, stride, row, row_bytes / 64, flip);
            else scatter_words(to, stride, row, s->words, flip);
        }
    }
}
