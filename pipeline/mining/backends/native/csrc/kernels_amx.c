/* Kernels of AMX: tiles of 16 candidates by 16 lanes. */
#include "scan.h"
#ifdef HAVE_NEW
#include <immintrin.h>
#include <stddef.h>

#define AMX __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,amx-tile,amx-int8,amx-bf16")))
#define SIDE 16   /* rows of a tile, and lanes */
#define TILE 1024 /* its bytes: 16 rows of 64 */

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
#define MANY 256     /* tiles by which it is judged whether to ask hulls first */

typedef uint32_t Tile[SIDE * SIDE];

/* Some candidates past one block. Tiles that hold a survivor are noted without a branch and looked at when all is
 * multiplied: a branch that is mispredicted would throw away the products under way. Survivors move the block's limits,
 * so what the sums began with is kept. */
typedef struct {
    Tile sums[MOST_STEPS][4];
    uint32_t begin[LANES];
    int num_hits;
    struct {
        uint8_t tile, slot;
    } hits[MOST_STEPS * 4 * MOST_SLOTS + 1];
} __attribute__((aligned(64))) Sweep;

AMX static inline void begin_sweep(Sweep *sweep, const Scan *s, int64_t block) {
    const uint32_t *start = slot_of(s, block, 0);
    _mm512_store_si512(sweep->begin, _mm512_load_si512(start));
    _mm512_store_si512(sweep->begin + SIDE, _mm512_load_si512(start + SIDE));
    sweep->num_hits = 0;
}

AMX static inline void note(Sweep *sweep, unsigned any, int tile, int64_t slot) {
    sweep->hits[sweep->num_hits].tile = (uint8_t)tile;
    sweep->hits[sweep->num_hits].slot = (uint8_t)slot;
    sweep->num_hits += any != 0;
}

AMX static inline const char *anchors_of(const Scan *s, int64_t block) {
    return (const char *)s->packed_anchors + block * s->words * LANES * 4;
}

AMX static inline const char *candidates_from(const Scan *s, int64_t row) {
    return (const char *)s->packed + row * s->words * 4;
}

AMX static inline void store_sums(Tile *sums) {
    _tile_stored(0, sums[0], 64);
    _tile_stored(1, sums[1], 64);
    _tile_stored(2, sums[2], 64);
    _tile_stored(3, sums[3], 64);
}

/* Sums begin at -lo: a tile of sixteen equal rows, which a stride of zero loads. Candidates t by lanes u are in tile 2t
 * + u. */
AMX static inline void begin_sums(const char *start) {
    _tile_loadd(0, start, 0);
    _tile_loadd(1, start + 64, 0);
    _tile_loadd(2, start, 0);
    _tile_loadd(3, start + 64, 0);
}

AMX static inline void multiply_int8(const Scan *s, int64_t block, int64_t row, Tile *sums) {
    const char *start = (const char *)slot_of(s, block, 0), *a = anchors_of(s, block), *c = candidates_from(s, row);
    const int64_t pieces = s->words / 16;
    begin_sums(start);
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

/* q = 256 * high + low. Tiles 0 and 1 sum high by high, tiles 2 and 3 high by low; low by low is part of the bound. */
AMX static inline void multiply_int8x2(const Scan *s, int64_t block, int64_t row, Tile *sums) {
    const char *start = (const char *)slot_of(s, block, 0), *a = anchors_of(s, block), *c = candidates_from(s, row);
    const char *low_a = a + s->plane_bytes, *low_c = c + s->packed_plane_bytes;
    _tile_zero(0);
    _tile_zero(1);
    _tile_loadd(2, start, 0);
    _tile_loadd(3, start + 64, 0);
    for (int64_t piece = 0; piece < s->words / 16;
         piece++, a += 2 * TILE, low_a += 2 * TILE, c += TILE, low_c += TILE) {
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

/* x', or x' + x'' without the product of second parts: one term, or three. */
AMX static inline void multiply_bfloat16(const Scan *s, int64_t block, int64_t row, Tile *sums) {
    const int num_terms = s->kernel->parts == 2 ? 3 : 1;
    const int64_t pieces = s->words / 16;
    begin_sums((const char *)slot_of(s, block, 0));
    for (int term = 0; term < num_terms; term++) {
        const char *a = anchors_of(s, block) + (term == 2 ? s->plane_bytes : 0);
        const char *c = candidates_from(s, row) + (term == 1 ? s->packed_plane_bytes : 0);
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

AMX static inline __m512i sum_of(const Tile *sums, int tile, int r) { return _mm512_load_si512(sums[tile] + r * SIDE); }

AMX static inline __m512i sum_of_parts(const Tile *sums, int half, int r) {
    return _mm512_add_epi32(_mm512_slli_epi32(sum_of(sums, half, r), 8), sum_of(sums, 2 + half, r));
}

AMX static inline __m512 float_sum_of(const Tile *sums, int tile, int r) {
    return _mm512_load_ps(sums[tile] + r * SIDE);
}

#define AS_IT_IS(x) (x)
#define INSIDE_32(x, reach) _mm512_cmple_epu32_mask(x, reach)

#define NAME int8
#define TILES 4
#define MULTIPLY multiply_int8
#define VALUE sum_of
#define VECTOR __m512i
#define LOAD _mm512_load_si512
#define PLUS _mm512_add_epi32
#define MINUS _mm512_sub_epi32
#define MAGNITUDE AS_IT_IS
#define NEARER _mm512_min_epu32
#define INSIDE INSIDE_32
#include "tiles.h"

#define NAME int8x2
#define TILES 2
#define MULTIPLY multiply_int8x2
#define VALUE sum_of_parts
#define VECTOR __m512i
#define LOAD _mm512_load_si512
#define PLUS _mm512_add_epi32
#define MINUS _mm512_sub_epi32
#define MAGNITUDE AS_IT_IS
#define NEARER _mm512_min_epu32
#define INSIDE INSIDE_32
#include "tiles.h"

#define NAME bfloat16
#define TILES 4
#define MULTIPLY multiply_bfloat16
#define VALUE float_sum_of
#define VECTOR __m512
#define LOAD _mm512_load_ps
#define PLUS _mm512_add_ps
#define MINUS _mm512_sub_ps
#define MAGNITUDE _mm512_abs_ps
#define NEARER _mm512_min_ps
#define INSIDE(x, reach) _mm512_cmp_ps_mask(x, reach, _CMP_LE_OQ)
#include "tiles.h"
#endif
