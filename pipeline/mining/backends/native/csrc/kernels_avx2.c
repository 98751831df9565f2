/* Kernels of 256 bits: AVX2, and AVX-VNNI where the processor has it. */
#include "scan.h"
#ifdef X86
#include <immintrin.h>

#define AVX2 __attribute__((target("avx2,fma,f16c")))
#define EVERY_LANE(p) (__m256i) _mm256_broadcast_ss((const float *)(p))
#define AS_IT_IS(x) (x)
#define INSIDE_32(x, reach) \
    (uint32_t)_mm256_movemask_ps(_mm256_castsi256_ps(_mm256_cmpeq_epi32(_mm256_max_epu32(x, reach), reach)))

AVX2 static inline uint32_t inside_16(__m256i x, __m256i reach) {
    __m256i is_inside = _mm256_cmpeq_epi16(_mm256_max_epu16(x, reach), reach);
    __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(is_inside), _mm256_extracti128_si256(is_inside, 1));
    return (uint32_t)_mm_movemask_epi8(bytes);
}

/* Products of pairs of bytes: at most 2 * 255 * 64, so that they do not saturate; summed modulo 2^16. */
#define NAME sweep_avx2_int8
#define ATTRIBUTES AVX2
#define VECTOR __m256i
#define VECTORS 2
#define PARTS 1
#define ROWS 6
#define BROADCAST EVERY_LANE
#define MULTIPLY(sum, c, a) _mm256_add_epi16(sum, _mm256_maddubs_epi16(c, a))
#define PLUS _mm256_add_epi16
#define MINUS _mm256_sub_epi16
#define MAGNITUDE AS_IT_IS
#define NEARER _mm256_min_epu16
#define INSIDE inside_16
#include "sweep.h"

#define NAME sweep_avx2_int16
#define ATTRIBUTES AVX2
#define VECTOR __m256i
#define VECTORS 2
#define PARTS 2
#define ROWS 6
#define BROADCAST EVERY_LANE
#define MULTIPLY(sum, c, a) _mm256_add_epi32(sum, _mm256_madd_epi16(c, a))
#define PLUS _mm256_add_epi32
#define MINUS _mm256_sub_epi32
#define MAGNITUDE AS_IT_IS
#define NEARER _mm256_min_epu32
#define INSIDE INSIDE_32
#include "sweep.h"

#define NAME sweep_avx2_float32
#define ATTRIBUTES AVX2
#define VECTOR __m256
#define VECTORS 2
#define PARTS 2
#define ROWS 6
#define BROADCAST(p) _mm256_broadcast_ss((const float *)(p))
#define MULTIPLY(sum, c, a) _mm256_fmadd_ps(c, a, sum)
#define PLUS _mm256_add_ps
#define MINUS _mm256_sub_ps
#define MAGNITUDE(x) _mm256_andnot_ps(_mm256_set1_ps(-0.0f), x)
#define NEARER _mm256_min_ps
#define INSIDE(x, reach) (uint32_t)_mm256_movemask_ps(_mm256_cmp_ps(x, reach, _CMP_LE_OQ))
#include "sweep.h"

#ifdef HAVE_NEW
#define AVXVNNI __attribute__((target("avx2,fma,f16c,avxvnni")))
/* In assembler, as GCC 12 keeps the sums of its own intrinsics in memory. */
#define DEFINE_DOT(name)                                                      \
    AVXVNNI static inline __m256i name(__m256i sum, __m256i c, __m256i a) {   \
        __asm__("%{vex%} " #name " %2, %1, %0" : "+x"(sum) : "x"(c), "x"(a)); \
        return sum;                                                           \
    }
DEFINE_DOT(vpdpbusd)
DEFINE_DOT(vpdpwssd)

#define NAME sweep_avxvnni_int8
#define ATTRIBUTES AVXVNNI
#define VECTOR __m256i
#define VECTORS 2
#define PARTS 2
#define ROWS 6
#define BROADCAST EVERY_LANE
#define MULTIPLY vpdpbusd
#define PLUS _mm256_add_epi32
#define MINUS _mm256_sub_epi32
#define MAGNITUDE AS_IT_IS
#define NEARER _mm256_min_epu32
#define INSIDE INSIDE_32
#include "sweep.h"

#define NAME sweep_avxvnni_int16
#define ATTRIBUTES AVXVNNI
#define VECTOR __m256i
#define VECTORS 2
#define PARTS 2
#define ROWS 6
#define BROADCAST EVERY_LANE
#define MULTIPLY vpdpwssd
#define PLUS _mm256_add_epi32
#define MINUS _mm256_sub_epi32
#define MAGNITUDE AS_IT_IS
#define NEARER _mm256_min_epu32
#define INSIDE INSIDE_32
#include "sweep.h"
#endif
#endif
