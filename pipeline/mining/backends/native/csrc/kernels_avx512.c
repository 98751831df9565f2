/* Kernels of 512 bits: AVX-512, and its VNNI where the processor has it. */
#include "scan.h"
#ifdef X86
#include <immintrin.h>

#define AVX512 __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma,f16c")))
#define VNNI __attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,avx512vnni,fma,f16c")))
#define EVERY_LANE(p) _mm512_set1_epi32(*(const int32_t *)(p))
#define AS_IT_IS(x) (x)
#define INSIDE_32(x, reach) (uint32_t)_mm512_cmple_epu32_mask(x, reach)

/* sum + products of words of c and a. In assembler, as GCC 12 keeps the sums of its own intrinsics in memory. */
#define DEFINE_DOT(name)                                                 \
    VNNI static inline __m512i name(__m512i sum, __m512i c, __m512i a) { \
        __asm__(#name " %2, %1, %0" : "+v"(sum) : "v"(c), "v"(a));       \
        return sum;                                                      \
    }
DEFINE_DOT(vpdpbusd)
DEFINE_DOT(vpdpwssd)

/* Products of pairs of bytes: at most 2 * 255 * 64, so that they do not saturate; summed modulo 2^16. */
#define NAME sweep_avx512_int8
#define ATTRIBUTES AVX512
#define VECTOR __m512i
#define VECTORS 1
#define PARTS 1
#define ROWS 12
#define BROADCAST EVERY_LANE
#define MULTIPLY(sum, c, a) _mm512_add_epi16(sum, _mm512_maddubs_epi16(c, a))
#define PLUS _mm512_add_epi16
#define MINUS _mm512_sub_epi16
#define MAGNITUDE AS_IT_IS
#define NEARER _mm512_min_epu16
#define INSIDE(x, reach) (uint32_t)_mm512_cmple_epu16_mask(x, reach)
#include "sweep.h"

#define NAME sweep_avx512_int16
#define ATTRIBUTES AVX512
#define VECTOR __m512i
#define VECTORS 2
#define PARTS 1
#define ROWS 12
#define BROADCAST EVERY_LANE
#define MULTIPLY(sum, c, a) _mm512_add_epi32(sum, _mm512_madd_epi16(c, a))
#define PLUS _mm512_add_epi32
#define MINUS _mm512_sub_epi32
#define MAGNITUDE AS_IT_IS
#define NEARER _mm512_min_epu32
#define INSIDE INSIDE_32
#include "sweep.h"

#define NAME sweep_avx512_float32
#define ATTRIBUTES AVX512
#define VECTOR __m512
#define VECTORS 2
#define PARTS 1
#define ROWS 12
#define BROADCAST(p) _mm512_set1_ps(*(const float *)(p))
#define MULTIPLY(sum, c, a) _mm512_fmadd_ps(c, a, sum)
#define PLUS _mm512_add_ps
#define MINUS _mm512_sub_ps
#define MAGNITUDE _mm512_abs_ps
#define NEARER _mm512_min_ps
#define INSIDE(x, reach) (uint32_t)_mm512_cmp_ps_mask(x, reach, _CMP_LE_OQ)
#include "sweep.h"

#define NAME sweep_avx512vnni_int8
#define ATTRIBUTES VNNI
#define VECTOR __m512i
#define VECTORS 2
#define PARTS 1
#define ROWS 12
#define BROADCAST EVERY_LANE
#define MULTIPLY vpdpbusd
#define PLUS _mm512_add_epi32
#define MINUS _mm512_sub_epi32
#define MAGNITUDE AS_IT_IS
#define NEARER _mm512_min_epu32
#define INSIDE INSIDE_32
#include "sweep.h"

#define NAME sweep_avx512vnni_int16
#define ATTRIBUTES VNNI
#define VECTOR __m512i
#define VECTORS 2
#define PARTS 1
#define ROWS 12
#define BROADCAST EVERY_LANE
#define MULTIPLY vpdpwssd
#define PLUS _mm512_add_epi32
#define MINUS _mm512_sub_epi32
#define MAGNITUDE AS_IT_IS
#define NEARER _mm512_min_epu32
#define INSIDE INSIDE_32
#include "sweep.h"
#endif
