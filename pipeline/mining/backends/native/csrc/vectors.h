/* Vectors in memory, float32 or float16, sixteen elements at a time, in C that compiles for any instruction set. */
#ifndef MOTHERLODE_VECTORS_H
#define MOTHERLODE_VECTORS_H
#include "scan.h"
#include <math.h>
#include <string.h>
#ifdef __AVX__
#include <immintrin.h>
#endif

#define WIDTH 16 /* elements at a time */

typedef float Floats __attribute__((vector_size(WIDTH * 4)));
typedef double Doubles __attribute__((vector_size(WIDTH * 8)));
typedef uint16_t Halves __attribute__((vector_size(WIDTH * 2)));
typedef uint32_t Words __attribute__((vector_size(WIDTH * 4)));

INLINE const void *vector_of(const void *vectors, int half, int64_t d, int64_t i) {
    return (const char *)vectors + i * d * (half ? 2 : 4);
}

/* Below, `half` is a constant where it matters: code is written once, and compiled for both types. */
#define FOR_BOTH_TYPES(half, call, ...) ((half) ? call(__VA_ARGS__, 1) : call(__VA_ARGS__, 0))

/* Elements k to k + 15 as float32. */
INLINE Floats load(const void *row, int64_t k, const int half) {
    Floats x;
    if (!half) {
        memcpy(&x, (const float *)row + k, sizeof x);
        return x;
    }
    Halves halves;
    memcpy(&halves, (const uint16_t *)row + k, sizeof halves);
    Words bits = __builtin_convertvector(halves, Words), sign = (bits & 0x8000) << 16;
    bits = (bits & 0x7fff) << 13;
    x = (Floats)bits * 0x1p112f; /* moves the exponent's bias, of subnormal numbers too; finite values only */
    return (Floats)((Words)x | sign);
}

/* The same, zeros beyond d. */
INLINE Floats load_any(const void *row, int64_t k, int64_t d, const int half) {
    if (k + WIDTH <= d) return load(row, k, half);
    char rest[WIDTH * 4] = {0};
    memcpy(rest, (const char *)row + k * (half ? 2 : 4), (size_t)(d - k) * (half ? 2 : 4));
    return load(rest, 0, half);
}

INLINE double sum_of(Doubles sums) {
    double s[WIDTH];
    memcpy(s, &sums, sizeof s);
    for (int width = WIDTH / 2; width; width /= 2)
        for (int l = 0; l < width; l++) s[l] += s[l + width];
    return s[0];
}

/* Distances take vectors of 16 and 32 bytes: GCC 12 passes longer ones than the registers through memory. */
typedef float Floats4 __attribute__((vector_size(16)));
typedef float Floats8 __attribute__((vector_size(32)));
typedef double Doubles4 __attribute__((vector_size(32)));
typedef uint16_t Halves4 __attribute__((vector_size(8)));
typedef uint16_t Halves8 __attribute__((vector_size(16)));
typedef uint32_t Words4 __attribute__((vector_size(16)));
typedef uint32_t Words8 __attribute__((vector_size(32)));

#define DEFINE_LOAD(n)                                                                           \
    INLINE Floats##n load##n(const void *row, int64_t k, const int half) {                       \
        Floats##n x;                                                                             \
        if (!half) {                                                                             \
            memcpy(&x, (const float *)row + k, sizeof x);                                        \
            return x;                                                                            \
        }                                                                                        \
        Halves##n halves;                                                                        \
        memcpy(&halves, (const uint16_t *)row + k, sizeof halves);                               \
        Words##n bits = __builtin_convertvector(halves, Words##n), sign = (bits & 0x8000) << 16; \
        x = (Floats##n)((bits & 0x7fff) << 13) * 0x1p112f; /* as in `load` */                    \
        return (Floats##n)((Words##n)x | sign);                                                  \
    }
DEFINE_LOAD(4)
DEFINE_LOAD(8)

/* Calls ADD(x, y, k) for elements k to k + 15 of two rows of d, zeros beyond. */
#define FOR_SIXTEENS(ADD, x, y, d, half)                                                      \
    do {                                                                                      \
        int64_t k_ = 0;                                                                       \
        for (; k_ + 16 <= d; k_ += 16) ADD(x, y, k_)                                          \
        if (k_ < d) {                                                                         \
            char rest_x[64] = {0}, rest_y[64] = {0};                                          \
            const int bytes_ = half ? 2 : 4;                                                  \
            memcpy(rest_x, (const char *)x + k_ * bytes_, (size_t)(d - k_) * (size_t)bytes_); \
            memcpy(rest_y, (const char *)y + k_ * bytes_, (size_t)(d - k_) * (size_t)bytes_); \
            ADD(rest_x, rest_y, 0)                                                            \
        }                                                                                     \
    } while (0)

/* In one instruction where there is one: GCC 12 makes three of it. */
INLINE Doubles4 widened(Floats4 x) {
#ifdef __AVX__
    return (Doubles4)_mm256_cvtps_pd((__m128)x);
#else
    return __builtin_convertvector(x, Doubles4);
#endif
}

/* The defined distance: sixteen partial sums, in the same order for every instruction set. Sums are variables, as GCC
 * 12 keeps an array in memory. */
INLINE double squared_distance(const void *x, const void *y, int64_t d, const int half) {
    Doubles4 sums0 = {0}, sums1 = {0}, sums2 = {0}, sums3 = {0};
#define ADD_FOUR(x, y, k, i)                                                                                     \
    {                                                                                                            \
        const Doubles4 difference = widened(load4(x, (k) + 4 * i, half)) - widened(load4(y, (k) + 4 * i, half)); \
        sums##i += difference * difference;                                                                      \
    }
#define ADD_SIXTEEN(x, y, k) {ADD_FOUR(x, y, k, 0) ADD_FOUR(x, y, k, 1) ADD_FOUR(x, y, k, 2) ADD_FOUR(x, y, k, 3)}
    FOR_SIXTEENS(ADD_SIXTEEN, x, y, d, half);
#undef ADD_SIXTEEN
#undef ADD_FOUR
    double s[4];
    sums0 = (sums0 + sums2) + (sums1 + sums3);
    memcpy(s, &sums0, sizeof s);
    return (s[0] + s[2]) + (s[1] + s[3]);
}

/* The same in float32: off by at most (d + 4) units of 2^-24, relatively, but for what underflows. */
INLINE float approximate_distance(const void *x, const void *y, int64_t d, const int half) {
    Floats8 sums0 = {0}, sums1 = {0};
#define ADD_SIXTEEN(x, y, k)                                                     \
    {                                                                            \
        const Floats8 left = load8(x, k, half) - load8(y, k, half),              \
                      right = load8(x, (k) + 8, half) - load8(y, (k) + 8, half); \
        sums0 += left * left, sums1 += right * right;                            \
    }
    FOR_SIXTEENS(ADD_SIXTEEN, x, y, d, half);
#undef ADD_SIXTEEN
    Floats8 sums = sums0 + sums1;
    const Floats4 low = {sums[0], sums[1], sums[2], sums[3]}, high = {sums[4], sums[5], sums[6], sums[7]};
    const Floats4 four = low + high;
    return (four[0] + four[2]) + (four[1] + four[3]);
}

typedef int32_t Ints __attribute__((vector_size(WIDTH * 4)));
typedef int16_t Shorts __attribute__((vector_size(WIDTH * 2)));
typedef int8_t Bytes __attribute__((vector_size(WIDTH)));

/* q = round(scale * x), of k elements of `bytes` bytes: |scale * x| is below 2^22. The same bits for every instruction
 * set. */
INLINE void round_row(void *q, const void *x, int64_t k, float scale, const int bytes, const int half) {
    for (int64_t i = 0; i < k; i += WIDTH) {
        Ints rounded = __builtin_convertvector((load_any(x, i, k, half) * scale + 0x1.8p23f) - 0x1.8p23f, Ints);
        size_t count = (size_t)(k - i < WIDTH ? k - i : WIDTH);
        Shorts shorts = __builtin_convertvector(rounded, Shorts);
        Bytes few = __builtin_convertvector(rounded, Bytes);
        if (bytes == 1) memcpy((int8_t *)q + i, &few, count);
        else memcpy((int16_t *)q + i, &shorts, count * 2);
    }
}

INLINE Words to_bfloat16(Floats x) { /* to nearest, ties to even; in the lower half of each word */
    Words bits = (Words)x;
    return (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
}

INLINE Floats minus_bfloat16(Floats x) { return x - (Floats)(to_bfloat16(x) << 16); } /* exact */

/* x as bfloat16, or, in part 1, what that leaves. */
INLINE void bfloat16_row(void *to, const void *x, int64_t k, int part, const int half) {
    for (int64_t i = 0; i < k; i += WIDTH) {
        Floats values = load_any(x, i, k, half);
        Halves rounded = __builtin_convertvector(to_bfloat16(part ? minus_bfloat16(values) : values), Halves);
        memcpy((uint16_t *)to + i, &rounded, (size_t)(k - i < WIDTH ? k - i : WIDTH) * 2);
    }
}

/* |x - x'|^2 or |x - x' - x''|^2, and |x''|^2 or a little more, of x in one or two parts of bfloat16. */
INLINE Residual bfloat16_residual(const void *x, int64_t k, int parts, const int half) {
    Doubles squares = {0}, low = {0};
    for (int64_t i = 0; i < k; i += WIDTH) {
        Floats left = minus_bfloat16(load_any(x, i, k, half));
        if (parts == 2) {
            Doubles exact = __builtin_convertvector(left, Doubles);
            low += exact * exact;
            left = minus_bfloat16(left);
        }
        Doubles exact = __builtin_convertvector(left, Doubles);
        squares += exact * exact;
    }
    return (Residual){.square = sum_of(squares), .low_square = sum_of(low) * 1.02};
}

/* |x|^2 and the largest |x_k|; the square is NaN or infinite where an element is. */
INLINE Extent measure(const void *x, int64_t d, const int half) {
    Doubles squares = {0};
    Floats largest = {0};
    for (int64_t k = 0; k < d; k += WIDTH) {
        Floats values = load_any(x, k, d, half), sizes = (Floats)((Words)values & 0x7fffffff);
        Doubles exact = __builtin_convertvector(values, Doubles);
        squares += exact * exact;
        Ints is_larger = sizes > largest;
        largest = (Floats)(((Ints)sizes & is_larger) | ((Ints)largest & ~is_larger));
    }
    Extent extent = {.square = sum_of(squares)};
    for (int l = 0; l < WIDTH; l++) extent.largest = largest[l] > extent.largest ? largest[l] : extent.largest;
    if (half) /* `load` makes numbers of infinities */
        for (int64_t k = 0; k < d; k++)
            if ((((const uint16_t *)x)[k] & 0x7c00) == 0x7c00) extent.square = INFINITY;
    return extent;
}

/* |x - q / scale|^2, and the squared norm of the low bytes of q = 256 * high + low. */
INLINE Residual measure_residual(const void *q, const void *x, int64_t k, double scale, const int bytes,
                                 const int half) {
    Doubles squares = {0};
    Ints low_squares = {0};
    const double inverse = 1 / scale;
    for (int64_t i = 0; i < k; i += WIDTH) {
        size_t count = (size_t)(k - i < WIDTH ? k - i : WIDTH);
        Shorts shorts = {0};
        Bytes few = {0};
        if (bytes == 1) memcpy(&few, (const int8_t *)q + i, count);
        else memcpy(&shorts, (const int16_t *)q + i, count * 2);
        Ints rounded = bytes == 1 ? __builtin_convertvector(few, Ints) : __builtin_convertvector(shorts, Ints);
        Ints low = rounded - 256 * ((rounded + 128) >> 8);
        low_squares += low * low;
        Doubles error = __builtin_convertvector(load_any(x, i, k, half), Doubles) -
                        __builtin_convertvector(rounded, Doubles) * inverse;
        squares += error * error;
    }
    Residual residual = {.square = sum_of(squares)};
    for (int l = 0; l < WIDTH; l++) residual.low_square += (uint32_t)low_squares[l];
    return residual;
}
#endif
