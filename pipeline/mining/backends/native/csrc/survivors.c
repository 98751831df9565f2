/* The few candidates that a product could not decide on, compiled for three levels of instruction sets. */
#include "vectors.h"

#define FEW_SLOTS 16 /* pairs of an anchor that are looked at one by one */

/* Keeps survivors until their vectors have come from memory: bit l of `wanted[r]` is anchor + l, candidate + r. */
void take_survivors(Scan *s, int64_t anchor, int64_t candidate, int64_t num_rows, const uint32_t *wanted) {
    const int64_t bytes = s->d * (s->half ? 2 : 4);
    if (num_rows > s->chunk_end - candidate) num_rows = s->chunk_end - candidate;
    for (int64_t r = 0; r < num_rows; r++)
        for (uint32_t bits = wanted[r]; bits; bits &= bits - 1) {
            int64_t a = anchor + __builtin_ctz(bits);
            if (a >= s->a || s->labels[candidate + r] == s->anchor_labels[a]) continue;
            const char *vector = vector_of(s->candidates, s->half, s->d, candidate + r);
            for (int64_t line = 0; line < bytes && line < 16 * 64; line += 64) __builtin_prefetch(vector + line);
            s->waiting[s->num_waiting].anchor = a;
            s->waiting[s->num_waiting++].candidate = candidate + r;
            if (s->num_waiting == WAITING) s->level->drain(s);
        }
}

/* Which sums of a row are at most `reach`. */
INLINE uint32_t within_row_portable(const uint32_t *sums, const uint32_t *reach) {
    uint32_t bits = 0;
    for (int l = 0; l < UNIT; l++) bits |= (uint32_t)(sums[l] <= reach[l]) << l;
    return bits;
}

/* Adds, to the bits of each row, which of its sums (less `lo`) are inside a pair's own limits; whether any is. */
INLINE int add_wanted_portable(uint32_t *wanted, const uint32_t *sums, int64_t num_rows, const uint32_t *lo,
                               const uint32_t *limits, uint32_t mask) {
    uint32_t any = 0;
    for (int64_t r = 0; r < num_rows; r++) {
        uint32_t bits = 0;
        for (int l = 0; l < UNIT; l++)
            bits |= (uint32_t)(((sums[r * UNIT + l] + lo[l] - limits[l]) & mask) <= limits[LANES + l]) << l;
        wanted[r] |= bits, any |= bits;
    }
    return any != 0;
}

#define LEVEL portable
#define ATTRIBUTES
#include "survivors.h"

#ifdef X86
#include <immintrin.h>

#define AVX2 __attribute__((target("avx2,fma,f16c")))
AVX2 static inline uint32_t at_most_avx2(__m256i x, const uint32_t *reach) {
    __m256i most = _mm256_loadu_si256((const void *)reach);
    return (uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_max_epu32(x, most), most)));
}

AVX2 static inline uint32_t within_row_avx2(const uint32_t *sums, const uint32_t *reach) {
    return at_most_avx2(_mm256_loadu_si256((const void *)sums), reach) |
           at_most_avx2(_mm256_loadu_si256((const void *)(sums + 8)), reach + 8) << 8;
}

AVX2 static inline int add_wanted_avx2(uint32_t *wanted, const uint32_t *sums, int64_t num_rows, const uint32_t *lo,
                                       const uint32_t *limits, uint32_t mask) {
    const __m256i masks = _mm256_set1_epi32((int)mask);
    int any = 0;
    for (int l = 0; l < UNIT; l += 8) {
        const __m256i shift = _mm256_sub_epi32(_mm256_loadu_si256((const void *)(lo + l)),
                                               _mm256_loadu_si256((const void *)(limits + l)));
#define SHIFTED(r) \
    _mm256_and_si256(_mm256_add_epi32(_mm256_loadu_si256((const void *)(sums + (r) * UNIT + l)), shift), masks)
        __m256i least = _mm256_set1_epi32(-1), other = least;
        int64_t r = 0;
        for (; r + 2 <= num_rows; r += 2)
            least = _mm256_min_epu32(least, SHIFTED(r)), other = _mm256_min_epu32(other, SHIFTED(r + 1));
        if (r < num_rows) least = _mm256_min_epu32(least, SHIFTED(r));
        if (!at_most_avx2(_mm256_min_epu32(least, other), limits + LANES + l)) continue;
        any = 1;
        for (r = 0; r < num_rows; r++) wanted[r] |= at_most_avx2(SHIFTED(r), limits + LANES + l) << l;
#undef SHIFTED
    }
    return any;
}
#define LEVEL avx2
#define ATTRIBUTES AVX2
#include "survivors.h"

#ifdef __clang__ /* ignores a whole target attribute for this */
#define WIDE ""
#else
#define WIDE ",prefer-vector-width=512"
#endif
#define AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma,f16c" WIDE)))
AVX512 static inline uint32_t within_row_avx512(const uint32_t *sums, const uint32_t *reach) {
    return _mm512_cmple_epu32_mask(_mm512_loadu_si512(sums), _mm512_loadu_si512(reach));
}

AVX512 static inline int add_wanted_avx512(uint32_t *wanted, const uint32_t *sums, int64_t num_rows, const uint32_t *lo,
                                           const uint32_t *limits, uint32_t mask) {
    const __m512i masks = _mm512_set1_epi32((int)mask), reach = _mm512_loadu_si512(limits + LANES);
    const __m512i shift = _mm512_sub_epi32(_mm512_loadu_si512(lo), _mm512_loadu_si512(limits));
#define SHIFTED(r) _mm512_and_si512(_mm512_add_epi32(_mm512_loadu_si512(sums + (r) * UNIT), shift), masks)
    __m512i least[4] = {_mm512_set1_epi32(-1), _mm512_set1_epi32(-1), _mm512_set1_epi32(-1), _mm512_set1_epi32(-1)};
    int64_t r = 0;
    for (; r + 4 <= num_rows; r += 4)
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) least[i] = _mm512_min_epu32(least[i], SHIFTED(r + i));
    for (; r < num_rows; r++) least[0] = _mm512_min_epu32(least[0], SHIFTED(r));
    least[0] = _mm512_min_epu32(_mm512_min_epu32(least[0], least[1]), _mm512_min_epu32(least[2], least[3]));
    if (!_mm512_cmple_epu32_mask(least[0], reach)) return 0;
    for (r = 0; r < num_rows; r++) wanted[r] |= _mm512_cmple_epu32_mask(SHIFTED(r), reach);
    return 1;
#undef SHIFTED
}
#define LEVEL avx512
#define ATTRIBUTES AVX512
#include "survivors.h"
#endif

const Level LEVELS[] = {
    {take_sums_portable, drain_portable, measure_portable, residual_portable, round_row_portable,
     bfloat16_residual_portable, bfloat16_row_portable},
#ifdef X86
    {take_sums_avx2, drain_avx2, measure_avx2, residual_avx2, round_row_avx2, bfloat16_residual_avx2,
     bfloat16_row_avx2},
    {take_sums_avx512, drain_avx512, measure_avx512, residual_avx512, round_row_avx512, bfloat16_residual_avx512,
     bfloat16_row_avx512},
#endif
};
