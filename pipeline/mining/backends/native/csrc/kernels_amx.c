/* Kernels of AMX: tiles of 16 candidates by 16 lanes. */
#include "scan.h"
#ifdef HAVE_NEW
#include <immintrin.h>
#include <stddef.h>

#define AMX __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,amx-tile,amx-int8,amx-bf16")))
#define TILE 1024 /* bytes of a tile: 16 rows of 64 */

/* Eight tiles of 16 rows of 64 bytes. Static, as GCC's `_tile_loadconfig` does not say that it reads more than 8 bytes.
 */
static const struct {
    uint8_t palette, start_row, reserved[14];
    uint16_t bytes[16];
    uint8_t rows[16];
} CONFIG = {.palette = 1, .bytes = {64, 64, 64, 64, 64, 64, 64, 64}, .rows = {16, 16, 16, 16, 16, 16, 16, 16}};

AMX void begin_tiles(void) { _tile_loadconfig(&CONFIG); }

AMX void end_tiles(void) { _tile_release(); }

#define MOST_STEPS 8 /* of which the sums wait to be tested */

typedef uint32_t Tile[16 * UNIT];

/* Some candidates past one block. Tiles that hold a survivor are noted without a branch and looked at when all is
 * multiplied: a branch that is mispredicted would throw away the products under way. Survivors move the block's limits,
 * so those that the sums began with are kept. */
typedef struct {
    Tile sums[MOST_STEPS][4];
    uint32_t start[LANES], reach[LANES], width[LANES], from_lo[LANES]; /* start is -lo */
    int num_hits;
    uint8_t hits[MOST_STEPS * 4 + 1];
} __attribute__((aligned(64))) Sweep;

AMX static inline void begin_sweep(Sweep *sweep, const Scan *s, int64_t block) {
    const uint32_t *hull = s->limits + s->first_slot[block] * 2 * LANES;
    for (int l = 0; l < LANES; l++) {
        sweep->start[l] = -hull[l];
        sweep->reach[l] = s->reach[block * LANES + l];
        sweep->width[l] = hull[LANES + l];
        sweep->from_lo[l] = s->from_lo[block * LANES + l];
    }
    sweep->num_hits = 0;
}

AMX static inline void note(Sweep *sweep, unsigned any, int tile) {
    sweep->hits[sweep->num_hits] = (uint8_t)tile;
    sweep->num_hits += any != 0;
}

AMX static inline void take_tile(Scan *s, int64_t block, int64_t lane, int64_t candidate, const uint32_t *sums,
                                 const Sweep *sweep) {
    uint32_t wanted[16];
    if (has_one_slot(s, block)) {
        const __m512i reach = _mm512_load_si512(sweep->reach + lane);
        for (int r = 0; r < 16; r++) wanted[r] = _mm512_cmple_epu32_mask(_mm512_load_si512(sums + r * UNIT), reach);
        take_survivors(s, block * LANES + lane, candidate, 16, wanted);
    } else {
        s->level->take_sums(s, block, lane, candidate, 16, sums, sweep->start + lane, sweep->width + lane);
    }
}

AMX static inline void store_sums(Tile *sums) {
    _tile_stored(0, sums[0], 64);
    _tile_stored(1, sums[1], 64);
    _tile_stored(2, sums[2], 64);
    _tile_stored(3, sums[3], 64);
}

/* Sums begin at -lo: a tile of sixteen equal rows, which a stride of zero loads. Candidates t by lanes u are in tile 2t
 * + u. */
AMX static inline void multiply(const char *start, const char *a, const char *c, int64_t pieces, Tile *sums) {
    _tile_loadd(0, start, 0);
    _tile_loadd(1, start + 64, 0);
    _tile_loadd(2, start, 0);
    _tile_loadd(3, start + 64, 0);
    for (int64_t piece = 0; piece < pieces; piece++, a += 2 * TILE, c += TILE) {
        _tile_loadd(4, c, 64);
        _tile_loadd(6, a, 128);
        _tile_dpbusd(0, 4, 6);
        _tile_loadd(7, a + 64, 128);
        _tile_dpbusd(1, 4, 7);
        _tile_loadd(5, c + pieces * TILE, 64);
        _tile_dpbusd(2, 5, 6);
        _tile_dpbusd(3, 5, 7);
    }
    store_sums(sums);
}

AMX static inline void compare(Sweep *sweep, int step) {
    for (int tile = 0; tile < 4; tile++) {
        const uint32_t *sums = sweep->sums[step][tile];
        __m512i nearest = _mm512_load_si512(sums), other = _mm512_load_si512(sums + UNIT);
#pragma GCC unroll 7
        for (int r = 2; r < 16; r += 2) {
            nearest = _mm512_min_epu32(nearest, _mm512_load_si512(sums + r * UNIT));
            other = _mm512_min_epu32(other, _mm512_load_si512(sums + (r + 1) * UNIT));
        }
        const __m512i reach = _mm512_load_si512(sweep->reach + tile % 2 * UNIT);
        note(sweep, _mm512_cmple_epu32_mask(_mm512_min_epu32(nearest, other), reach), step * 4 + tile);
    }
}

AMX void sweep_amx_int8(Scan *s, int64_t block, int64_t row, int64_t num_rows) {
    const int64_t pieces = s->words / 16, row_bytes = pieces * 64;
    const char *a = (const char *)s->packed_anchors + block * pieces * 2 * TILE,
               *start = (const char *)(s->start + block * LANES);
    Sweep sweep;
    for (; num_rows > 0; row += 32 * MOST_STEPS, num_rows -= 32 * MOST_STEPS) {
        begin_sweep(&sweep, s, block);
        for (int step = 0; step < MOST_STEPS && step * 32 < num_rows; step++) {
            multiply(start, a, (const char *)s->packed + (row + step * 32) * row_bytes, pieces, sweep.sums[step]);
            if (step) compare(&sweep, step - 1);
            if (step == MOST_STEPS - 1 || (step + 1) * 32 >= num_rows) compare(&sweep, step);
        }
        for (int i = 0; i < sweep.num_hits; i++) {
            int tile = sweep.hits[i], half = tile % 2 * UNIT;
            int64_t candidate = s->chunk_first + row + tile / 4 * 32 + tile % 4 / 2 * 16;
            take_tile(s, block, half, candidate, sweep.sums[tile / 4][tile % 4], &sweep);
        }
    }
}

/* q = 256 * high + low. Tiles 0 and 1 sum high by high, tiles 2 and 3 high by low; low by low is part of the bound. */
AMX static inline void multiply_parts(const char *start, const char *a, const char *low_a, const char *c,
                                      const char *low_c, int64_t pieces, Tile *sums) {
    _tile_zero(0);
    _tile_zero(1);
    _tile_loadd(2, start, 0);
    _tile_loadd(3, start + 64, 0);
    for (int64_t piece = 0; piece < pieces; piece++, a += 2 * TILE, low_a += 2 * TILE, c += TILE, low_c += TILE) {
        _tile_loadd(4, c, 64);
        _tile_loadd(6, a, 128);
        _tile_dpbssd(0, 4, 6);
        _tile_loadd(7, a + 64, 128);
        _tile_dpbssd(1, 4, 7);
        _tile_loadd(5, low_c, 64);
        _tile_dpbssd(2, 5, 6);
        _tile_dpbssd(3, 5, 7);
        _tile_loadd(6, low_a, 128);
        _tile_dpbssd(2, 4, 6);
        _tile_loadd(7, low_a + 64, 128);
        _tile_dpbssd(3, 4, 7);
    }
    store_sums(sums);
}

AMX static inline __m512i sum_of_parts(const Tile *sums, int half, int r) {
    __m512i high = _mm512_load_si512(sums[half] + r * UNIT), mixed = _mm512_load_si512(sums[2 + half] + r * UNIT);
    return _mm512_add_epi32(_mm512_slli_epi32(high, 8), mixed);
}

AMX static inline void compare_parts(Sweep *sweep, int step) {
    const Tile *sums = sweep->sums[step];
    for (int half = 0; half < 2; half++) {
        __m512i nearest = sum_of_parts(sums, half, 0), other = sum_of_parts(sums, half, 1);
#pragma GCC unroll 7
        for (int r = 2; r < 16; r += 2) {
            nearest = _mm512_min_epu32(nearest, sum_of_parts(sums, half, r));
            other = _mm512_min_epu32(other, sum_of_parts(sums, half, r + 1));
        }
        const __m512i reach = _mm512_load_si512(sweep->reach + half * UNIT);
        note(sweep, _mm512_cmple_epu32_mask(_mm512_min_epu32(nearest, other), reach), step * 2 + half);
    }
}

AMX void sweep_amx_int8x2(Scan *s, int64_t block, int64_t row, int64_t num_rows) {
    const int64_t pieces = s->words / 16, row_bytes = pieces * 64;
    const char *a = (const char *)s->packed_anchors + block * pieces * 2 * TILE,
               *start = (const char *)(s->start + block * LANES);
    Sweep sweep;
    for (; num_rows > 0; row += 16 * MOST_STEPS, num_rows -= 16 * MOST_STEPS) {
        begin_sweep(&sweep, s, block);
        for (int step = 0; step < MOST_STEPS && step * 16 < num_rows; step++) {
            const char *c = (const char *)s->packed + (row + step * 16) * row_bytes;
            multiply_parts(start, a, a + s->plane_bytes, c, c + s->packed_plane_bytes, pieces, sweep.sums[step]);
            if (step) compare_parts(&sweep, step - 1);
            if (step == MOST_STEPS - 1 || (step + 1) * 16 >= num_rows) compare_parts(&sweep, step);
        }
        for (int i = 0; i < sweep.num_hits; i++) {
            int half = sweep.hits[i] % 2, step = sweep.hits[i] / 2;
            Tile sums __attribute__((aligned(64)));
            for (int r = 0; r < 16; r++) _mm512_store_si512(sums + r * UNIT, sum_of_parts(sweep.sums[step], half, r));
            take_tile(s, block, half * UNIT, s->chunk_first + row + step * 16, sums, &sweep);
        }
    }
}

/* ---- bfloat16: sums are float32 and begin at minus the middle of the interval ---- */

/* x', or x' + x'' without the product of second parts: one term, or three. Candidates t by lanes u are in tile 2t + u.
 */
AMX static inline void multiply_bfloat16(const Scan *s, const char *start, int64_t block, int64_t row, int64_t pieces,
                                         Tile *sums) {
    const int num_terms = s->kernel->parts == 2 ? 3 : 1;
    _tile_loadd(0, start, 0);
    _tile_loadd(1, start + 64, 0);
    _tile_loadd(2, start, 0);
    _tile_loadd(3, start + 64, 0);
    for (int term = 0; term < num_terms; term++) {
        const char *a = (const char *)s->packed_anchors + block * pieces * 2 * TILE + (term == 2 ? s->plane_bytes : 0);
        const char *c = (const char *)s->packed + row * pieces * 64 + (term == 1 ? s->packed_plane_bytes : 0);
        for (int64_t piece = 0; piece < pieces; piece++, a += 2 * TILE, c += TILE) {
            _tile_loadd(4, c, 64);
            _tile_loadd(6, a, 128);
            _tile_dpbf16ps(0, 4, 6);
            _tile_loadd(7, a + 64, 128);
            _tile_dpbf16ps(1, 4, 7);
            _tile_loadd(5, c + pieces * TILE, 64);
            _tile_dpbf16ps(2, 5, 6);
            _tile_dpbf16ps(3, 5, 7);
        }
    }
    store_sums(sums);
}

AMX static inline __m512 size_of(const uint32_t *sums, int r) { return _mm512_abs_ps(_mm512_load_ps(sums + r * UNIT)); }

AMX static inline void compare_floats(Sweep *sweep, int step) {
    for (int tile = 0; tile < 4; tile++) {
        const uint32_t *sums = sweep->sums[step][tile];
        __m512 nearest = size_of(sums, 0), other = size_of(sums, 1);
#pragma GCC unroll 7
        for (int r = 2; r < 16; r += 2) {
            nearest = _mm512_min_ps(nearest, size_of(sums, r));
            other = _mm512_min_ps(other, size_of(sums, r + 1));
        }
        const __m512 reach = _mm512_load_ps(sweep->reach + tile % 2 * UNIT);
        note(sweep, _mm512_cmp_ps_mask(_mm512_min_ps(nearest, other), reach, _CMP_LE_OQ), step * 4 + tile);
    }
}

AMX static inline void take_floats(Scan *s, int64_t block, int64_t lane, int64_t candidate, const uint32_t *sums,
                                   const Sweep *sweep) {
    if (has_one_slot(s, block)) {
        uint32_t wanted[16];
        const __m512 reach = _mm512_load_ps(sweep->reach + lane);
        for (int r = 0; r < 16; r++) wanted[r] = _mm512_cmp_ps_mask(size_of(sums, r), reach, _CMP_LE_OQ);
        take_survivors(s, block * LANES + lane, candidate, 16, wanted);
    } else {
        Tile integers __attribute__((aligned(64)));
        const __m512 unit = _mm512_load_ps(s->to_integer + block * LANES + lane);
        const __m512i from_lo = _mm512_load_si512(sweep->from_lo + lane);
        for (int r = 0; r < 16; r++) {
            __m512i x = _mm512_cvtps_epi32(_mm512_mul_ps(_mm512_load_ps(sums + r * UNIT), unit));
            _mm512_store_si512(integers + r * UNIT, _mm512_add_epi32(x, from_lo));
        }
        s->level->take_sums(s, block, lane, candidate, 16, integers, sweep->start + lane, sweep->width + lane);
    }
}

AMX void sweep_amx_bfloat16(Scan *s, int64_t block, int64_t row, int64_t num_rows) {
    const int64_t pieces = s->words / 16;
    const char *start = (const char *)(s->start + block * LANES);
    Sweep sweep;
    for (; num_rows > 0; row += 32 * MOST_STEPS, num_rows -= 32 * MOST_STEPS) {
        begin_sweep(&sweep, s, block);
        for (int step = 0; step < MOST_STEPS && step * 32 < num_rows; step++) {
            multiply_bfloat16(s, start, block, row + step * 32, pieces, sweep.sums[step]);
            if (step) compare_floats(&sweep, step - 1);
            if (step == MOST_STEPS - 1 || (step + 1) * 32 >= num_rows) compare_floats(&sweep, step);
        }
        for (int i = 0; i < sweep.num_hits; i++) {
            int tile = sweep.hits[i];
            int64_t candidate = s->chunk_first + row + tile / 4 * 32 + tile % 4 / 2 * 16;
            take_floats(s, block, tile % 2 * UNIT, candidate, sweep.sums[tile / 4][tile % 4], &sweep);
        }
    }
}
#endif
