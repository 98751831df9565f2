/* The exact scan of one shard, fused: products stay in tiles and L1, one comparison a product, everything else
 * only for the few candidates that could belong to an answer.
 *
 * Sixteen anchors lie in the sixteen lanes of a vector. A product <a, c> is compared with an interval per lane; the
 * interval is the pair's band, cut at its best negative so far, turned from distances into products by
 * |a - c|^2 = |a|^2 + |c|^2 - 2 <a, c>, and widened by a proven bound on the error of the product. Whatever falls inside is
 * scored again by the definition of `mining/distance.py`, in float64, and that decides. So no
 * blocking below can change an answer, only how many candidates are scored again. (Instruction sets that fuse a multiply with
 * an add may differ in the last bit of one float32 distance in about 10^8.)
 *
 * Blocking: 512 candidates are packed at once (L2), swept 64 at a time (L1) past groups of 1,024 packed anchors (L2), in
 * steps of 32 x 32 products. While a step is multiplied, the products of the step before are compared.
 *
 * One thread a call; the caller shares out anchors. Called from `mining/backends/native.py` only.
 */
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030B0000
#include <Python.h>
#include <float.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#ifdef __clang__ /* ignores a whole target attribute for this */
#define WIDE ""
#else
#define WIDE ",prefer-vector-width=512"
#endif
#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__)
#define X86 1
#include <cpuid.h>
#include <immintrin.h>
#include <sys/syscall.h>
#include <unistd.h>
#if !defined(__clang__) && __GNUC__ >= 11 || defined(__clang__) && __clang_major__ >= 12
#define HAVE_AMX 1
#endif
#endif

#define INLINE static inline __attribute__((always_inline))
#define LANES 16     /* anchors in a block: the lanes of a vector, the columns of a tile */
#define STEP 32      /* anchors and candidates multiplied in one step: two blocks by two tiles */
#define SWEEP 64     /* candidates that stay in L1 */
#define CHUNK 512    /* candidates packed at once */
#define SPAN 4096    /* candidates that share one error bound */
#define GROUP 1024   /* anchors that stay in L2 */
#define IN_VAIN 200  /* one look in so many products that only bfloat16's error asked for: multiply better instead */
#define FEW_SLOTS 16 /* pairs of an anchor that are looked at one by one */
#define TILE 512     /* elements of a 16 x 32 tile of bfloat16 */
#define ALIGNMENT 64
#define LARGEST_NORM 1e15 /* beyond it float32 distances overflow */

typedef enum { PORTABLE, AVX2, AVX512, AMX } Isa;
static const char *const ISA_NAMES[] = {"portable", "avx2", "avx512", "amx"};

/* What the error bound needs to know of the candidates of a span. */
typedef struct {
    double low_half_norm, high_half_norm; /* of |c|^2 / 2 */
    double norm;                          /* largest |c| */
    double residual[2];                   /* largest |c - c'|, |c - c' - c''| */
} Span;

typedef struct {
    /* the question */
    const void *candidates, *anchors; /* (n, d), (a, d): float32, or float16 where `half` */
    const int64_t *ids;               /* (n,) */
    const int32_t *labels, *anchor_labels;
    const Span *spans;          /* one for each SPAN candidates */
    const int64_t *first_pair;  /* (a + 1,): an anchor's pairs, by ascending lower bound */
    const float *lower, *upper; /* (p,) open bounds of d_an */
    int64_t n, a, d, m;
    int half, compare;
    int split; /* begins so where an earlier call ended so; AMX: multiply <a',c'> + <a',c''> + <a'',c'> */
    /* the answer so far, best first */
    float *best;      /* (p, m) */
    int64_t *best_id; /* (p, m) */
    /* room to work in */
    int64_t blocks, padded;      /* blocks of LANES anchors; d rounded up to whole tiles */
    int64_t *first_slot;         /* (blocks + 1,): slot 0 of a block is the hull of its others */
    float *limits;               /* (slots, 2, LANES): products of interest: middle of their interval, half its width */
    double *hull;                /* (a, 2): lowest and highest product that matters to any pair of an anchor */
    double *norm;                /* (a,): |x|^2 */
    double *residual;            /* (a, 2): |x - x'|, |x - x' - x''| */
    float *slack;                /* (a,): the part of the limits' width that is for bfloat16 */
    void *packed_anchors, *packed;
    float *products;             /* two steps of (2 blocks, STEP candidates, LANES) */
    const Span *span;
    int64_t num_looked_at, num_rescored;
} Scan;

/* ---- vectors in memory ------------------------------------------------------------------------------------- */

INLINE const void *vector_of(const void *vectors, int half, int64_t d, int64_t i) {
    return (const char *)vectors + i * d * (half ? 2 : 4);
}

/* Below, `half` is a constant where it matters: code is written once, and compiled for both types. */
#define FOR_BOTH_TYPES(half, call, ...) ((half) ? call(__VA_ARGS__, 1) : call(__VA_ARGS__, 0))

typedef float Floats __attribute__((vector_size(LANES * 4)));
typedef double Doubles __attribute__((vector_size(LANES * 8)));
typedef uint16_t Halves __attribute__((vector_size(LANES * 2)));
typedef uint32_t Words __attribute__((vector_size(LANES * 4)));

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

/* The last elements of a row, from k on; zeros beyond d. */
INLINE Floats load_rest(const void *row, int64_t k, int64_t d, const int half) {
    char rest[LANES * 4] = {0};
    memcpy(rest, (const char *)row + k * (half ? 2 : 4), (size_t)(d - k) * (half ? 2 : 4));
    return load(rest, 0, half);
}

INLINE Floats load_any(const void *row, int64_t k, int64_t d, const int half) {
    return k + LANES <= d ? load(row, k, half) : load_rest(row, k, d, half);
}

/* The defined distance; sixteen partial sums, so that the order is the same for every instruction set. */
INLINE double squared_distance(const void *x, const void *y, int64_t d, const int half) {
    Doubles sums = {0};
    for (int64_t k = 0; k < d; k += LANES) {
        Doubles difference = __builtin_convertvector(load_any(x, k, d, half), Doubles) -
                             __builtin_convertvector(load_any(y, k, d, half), Doubles);
        sums += difference * difference;
    }
    double s[LANES];
    memcpy(s, &sums, sizeof s);
    for (int width = LANES / 2; width; width /= 2)
        for (int l = 0; l < width; l++) s[l] += s[l + width];
    return s[0];
}

/* <x, y> in float32, for a closer look than bfloat16 gives. */
INLINE float product(const void *x, const void *y, int64_t d, const int half) {
    Floats sums[4] = {0};
    int64_t k = 0;
    for (; k + 4 * LANES <= d; k += 4 * LANES)
#pragma GCC unroll 4
        for (int i = 0; i < 4; i++) sums[i] += load(x, k + i * LANES, half) * load(y, k + i * LANES, half);
    for (; k < d; k += LANES) sums[0] += load_any(x, k, d, half) * load_any(y, k, d, half);
    float s[LANES];
    sums[0] += sums[1] + (sums[2] + sums[3]);
    memcpy(s, &sums[0], sizeof s);
    for (int width = LANES / 2; width; width /= 2)
        for (int l = 0; l < width; l++) s[l] += s[l + width];
    return s[0];
}

INLINE Words to_bfloat16(Floats x) { /* to nearest, ties to even; in the lower half of each word */
    Words bits = (Words)x;
    return (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
}

INLINE Floats minus_bfloat16(Floats x) { return x - (Floats)(to_bfloat16(x) << 16); } /* exact */

/* |x|^2, |x - x'| and |x - x' - x''|; the norm is NaN or infinite where an element is. */
INLINE void measure_vector(const void *x, double *norm, double residual[2], int64_t d, const int half) {
    Doubles squares = {0}, errors[2] = {{0}};
    *norm = residual[0] = residual[1] = 0;
    for (int64_t k = 0; k < d; k += LANES) {
        Floats values = load_any(x, k, d, half);
        Doubles exact = __builtin_convertvector(values, Doubles);
        squares += exact * exact;
        for (int i = 0; i < 2; i++) {
            values = minus_bfloat16(values);
            exact = __builtin_convertvector(values, Doubles);
            errors[i] += exact * exact;
        }
    }
    for (int l = 0; l < LANES; l++) *norm += squares[l], residual[0] += errors[0][l], residual[1] += errors[1][l];
    residual[0] = sqrt(residual[0]), residual[1] = sqrt(residual[1]);
    if (half) /* `load` makes numbers of infinities */
        for (int64_t k = 0; k < d; k++)
            if ((((const uint16_t *)x)[k] & 0x7c00) == 0x7c00) *norm = INFINITY;
}

/* ---- packing: tiles of bfloat16 for AMX, else float32 with the anchors' lanes innermost -------------------------- */

INLINE void pack_anchor(Scan *s, const void *x, int64_t block, int64_t lane, Isa isa, const int half) {
    for (int64_t k = 0; k < s->d; k += LANES) {
        Floats values = load_any(x, k, s->d, half);
        if (isa != AMX) {
            float *column = (float *)s->packed_anchors + (block * s->padded + k) * LANES;
            for (int l = 0; l < LANES; l++) column[l * LANES + lane] = values[l];
            continue;
        }
        uint16_t *tile = (uint16_t *)s->packed_anchors + (block * 2 * (s->padded / 32) + k / 32) * TILE + k % 32 / 2 * 32;
        for (int part = 0; part < 2; part++, values = minus_bfloat16(values), tile += s->padded / 32 * TILE) {
            Words rounded = to_bfloat16(values);
            for (int l = 0; l < LANES; l++) tile[l / 2 * 32 + lane * 2 + l % 2] = (uint16_t)rounded[l];
        }
    }
}

INLINE void pack_candidates(Scan *s, int64_t first, int64_t count, Isa isa, const int half) {
    for (int64_t i = 0; i < count; i++)
        for (int64_t k = 0; k < s->d; k += LANES) {
            Floats values = load_any(vector_of(s->candidates, half, s->d, first + i), k, s->d, half);
            if (isa != AMX) {
                memcpy((float *)s->packed + i * s->padded + k, &values, sizeof values);
                continue;
            }
            uint16_t *tile = (uint16_t *)s->packed + (i / LANES * 2 * (s->padded / 32) + k / 32) * TILE;
            for (int part = 0; part <= s->split; part++, values = minus_bfloat16(values), tile += s->padded / 32 * TILE) {
                Halves rounded = __builtin_convertvector(to_bfloat16(values), Halves);
                memcpy(tile + i % LANES * 32 + k % 32, &rounded, sizeof rounded);
            }
        }
}

/* ---- intervals ------------------------------------------------------------------------------------------------ */

/* Rounded outwards: what is inside [lowest, highest] is within half a width of the middle in float32 too. */
INLINE void set_interval(float *limits, int64_t lane, double lowest, double highest, double most) {
    limits[lane] = (float)((lowest + highest) / 2);
    limits[LANES + lane] = lowest > highest ? -1 : (float)((highest - lowest) / 2 + 0x1p-22 * most);
}

/* Turns pair `slot` of an anchor into the lowest and highest product that may matter, given its best so far. */
INLINE void set_limits(Scan *s, int64_t anchor, int64_t slot, Isa isa) {
    int64_t block = anchor / LANES, lane = anchor % LANES, first = s->first_pair[anchor];
    int64_t num_slots = s->first_pair[anchor + 1] - first, pair = first + slot;
    const double unit = 0x1p-24, size = sqrt(s->norm[anchor]), *r = s->residual + 2 * anchor, *q = s->span->residual;
    double error = (double)((s->split ? 3 : 1) * s->d + 8) * unit * 1.02 * (size + r[0]) * (s->span->norm + q[0]);
    if (isa == AMX) {
        /* <a,c> - <a',c'>                        = <a - a', c> + <a', c - c'>
           <a,c> - <a',c'> - <a',c''> - <a'',c'> = <a'',c''> + <a - a' - a'', c> + <a' + a'', c - c' - c''> */
        double rounding = s->split ? 1.02 * r[0] * q[0] + r[1] * s->span->norm + (size + r[1]) * q[1]
                                   : r[0] * s->span->norm + (size + r[0]) * q[0];
        s->slack[anchor] = (float)(rounding * (1 - 0x1p-20));
        error += rounding;
    }
    error += 16 * unit * (s->norm[anchor] + s->span->norm * s->span->norm) + 1e-30; /* roundings of what is below */
    float best = s->best[pair * s->m + s->m - 1];
    double far = best < s->upper[pair] ? best : s->upper[pair], near = s->lower[pair];
    double lowest = s->norm[anchor] / 2 + s->span->low_half_norm - far / 2 - error;
    double highest = s->norm[anchor] / 2 + s->span->high_half_norm - near / 2 + error;
    double most = 2 * (size + r[0]) * (s->span->norm + q[0]) + 1e-30; /* no product is larger: keeps limits finite */
    lowest = lowest > -most ? lowest : -most;
    highest = highest < most ? highest : most;
    float *hull = s->limits + s->first_slot[block] * 2 * LANES;
    double *ends = s->hull + 2 * anchor; /* bounds ascend from slot to slot: see native.py */
    if (slot == num_slots - 1) ends[0] = lowest;
    if (slot == 0) ends[1] = highest;
    if (slot == num_slots - 1 || slot == 0) set_interval(hull, lane, ends[0], ends[1], most);
    if (s->first_slot[block + 1] - s->first_slot[block] > 1)
        set_interval(hull + (1 + slot) * 2 * LANES, lane, lowest, highest, most);
}

/* ---- survivors -------------------------------------------------------------------------------------------------- */

#ifdef X86
__attribute__((target("avx512f"))) static inline unsigned inside_avx512(const float *x, const float *limits) {
    __m512 away = _mm512_abs_ps(_mm512_sub_ps(_mm512_loadu_ps(x), _mm512_loadu_ps(limits)));
    return _mm512_cmp_ps_mask(away, _mm512_loadu_ps(limits + LANES), _CMP_LE_OQ);
}

/* Whether any of 16 x 16 products is inside: the one nearest to the middle tells. */
__attribute__((target("avx512f,avx512dq"))) static inline int any_inside_avx512(const float *x, const float *limits) {
    enum { NEARER_TO_ZERO = 0xa }; /* of vrangeps: the smaller absolute value, without its sign */
    __m512 middle = _mm512_loadu_ps(limits), away[4];
#pragma GCC unroll 4
    for (int i = 0; i < 4; i++) away[i] = _mm512_set1_ps(FLT_MAX);
#pragma GCC unroll 16
    for (int r = 0; r < LANES; r++)
        away[r % 4] = _mm512_range_ps(_mm512_sub_ps(_mm512_loadu_ps(x + r * LANES), middle), away[r % 4], NEARER_TO_ZERO);
    __m512 nearest = _mm512_min_ps(_mm512_min_ps(away[0], away[1]), _mm512_min_ps(away[2], away[3]));
    return _mm512_cmp_ps_mask(nearest, _mm512_loadu_ps(limits + LANES), _CMP_LE_OQ) != 0;
}
#endif

/* Which of 16 products lie inside the limits of their lanes, as bits. */
INLINE unsigned inside(const float *x, const float *limits, Isa isa) {
#ifdef X86
    if (isa >= AVX512) return inside_avx512(x, limits);
#endif
    unsigned bits = 0;
    for (int l = 0; l < LANES; l++) bits |= (unsigned)(fabsf(x[l] - limits[l]) <= limits[LANES + l]) << l;
    return bits;
}

INLINE int any_inside(const float *x, const float *limits, Isa isa) {
#ifdef X86
    if (isa >= AVX512) return any_inside_avx512(x, limits);
#endif
    int any = 0;
    for (int i = 0; i < LANES * LANES; i++)
        any |= fabsf(x[i] - limits[i % LANES]) <= limits[LANES + i % LANES];
    return any;
}

/* Whether a product that is exact to float32 is still inside the limits of one of the anchor's pairs. */
INLINE int matters(const Scan *s, int64_t anchor, float product) {
    int64_t block = anchor / LANES, lane = anchor % LANES, first = s->first_slot[block], last = s->first_slot[block + 1];
    float slack = s->slack[anchor];
    for (int64_t slot = last - first > 1 ? first + 1 : first; slot < last; slot++) {
        const float *limits = s->limits + slot * 2 * LANES;
        if (fabsf(product - limits[lane]) <= limits[LANES + lane] - slack) return 1;
    }
    return 0;
}

/* Scores one candidate by the definition and offers it to the pairs of an anchor. */
INLINE void consider(Scan *s, int64_t anchor, int64_t candidate, Isa isa) {
    if (s->labels[candidate] == s->anchor_labels[anchor]) return;
    const void *x = vector_of(s->anchors, s->half, s->d, anchor), *y = vector_of(s->candidates, s->half, s->d, candidate);
    if (isa == AMX) { /* most survivors are here for bfloat16's error alone */
        s->num_looked_at++;
        if (!matters(s, anchor, FOR_BOTH_TYPES(s->half, product, x, y, s->d))) return;
    }
    s->num_rescored++;
    float d = (float)FOR_BOTH_TYPES(s->half, squared_distance, x, y, s->d);
    int64_t id = s->ids[candidate], first = s->first_pair[anchor], low = first, high = s->first_pair[anchor + 1];
    while (low < high) { /* the first pair whose band begins at or beyond d */
        int64_t middle = low + (high - low) / 2;
        if (s->lower[middle] < d) low = middle + 1;
        else high = middle;
    }
    for (int64_t pair = low - 1; pair >= first; pair--) {
        float *best = s->best + pair * s->m;
        int64_t *best_id = s->best_id + pair * s->m, place = s->m - 1;
        if (!(d < s->upper[pair]) || d > best[place] || (d == best[place] && id > best_id[place]))
            return; /* neither do the pairs before it want it: their bands end sooner, their bests are nearer */
        for (; place > 0 && (d < best[place - 1] || (d == best[place - 1] && id < best_id[place - 1])); place--) {
            best[place] = best[place - 1];
            best_id[place] = best_id[place - 1];
        }
        best[place] = d;
        best_id[place] = id;
        set_limits(s, anchor, pair - first, isa);
    }
}

/* Takes 16 candidates by 16 anchors of which some product is inside the hull of its lane. */
INLINE void take_survivors(Scan *s, int64_t block, int64_t candidate, const float *products, Isa isa) {
    const float *hull = s->limits + s->first_slot[block] * 2 * LANES, *own = hull + 2 * LANES;
    int64_t slots = s->first_slot[block + 1] - s->first_slot[block] - 1;
    unsigned wanted[LANES] = {0};
    if (slots == 0)
        for (int r = 0; r < LANES; r++) wanted[r] = inside(products + r * LANES, hull, isa);
    else if (slots <= FEW_SLOTS) { /* look at every pair's own interval */
        for (int64_t slot = 0; slot < slots; slot++)
            if (any_inside(products, own + slot * 2 * LANES, isa))
                for (int r = 0; r < LANES; r++) wanted[r] |= inside(products + r * LANES, own + slot * 2 * LANES, isa);
    } else
        for (int r = 0; r < LANES; r++) {
            const float *x = products + r * LANES;
            unsigned bits = inside(x, hull, isa);
            if (8 * __builtin_popcount(bits) < slots) wanted[r] = bits; /* few: scoring them all is cheaper */
            else
                for (int64_t slot = 0; slot < slots; slot++) wanted[r] |= inside(x, own + slot * 2 * LANES, isa);
        }
    for (int r = 0; r < LANES && candidate + r < s->n; r++)
        for (unsigned bits = wanted[r]; bits; bits &= bits - 1) {
            int lane = __builtin_ctz(bits); /* a row before may have moved the lane's limits */
            if (fabsf(products[r * LANES + lane] - hull[lane]) <= hull[LANES + lane])
                consider(s, block * LANES + lane, candidate + r, isa);
        }
}

INLINE void compare_step(Scan *s, int64_t block, int64_t candidate, const float *products, Isa isa) {
    for (int b = 0; b < 2 && block + b < s->blocks; b++) {
        const float *limits = s->limits + s->first_slot[block + b] * 2 * LANES;
        for (int t = 0; t < 2; t++) {
            const float *x = products + (b * STEP + t * LANES) * LANES;
            if (__builtin_expect(any_inside(x, limits, isa), 0))
                take_survivors(s, block + b, candidate + t * LANES, x, isa);
        }
    }
}

/* ---- products ---------------------------------------------------------------------------------------------------- */

/* `rows` candidates by `vectors` vectors of anchors at a time: as many sums as the registers hold. */
#define DEFINE_MULTIPLY(name, bytes, rows, vectors)                                                                  \
    INLINE void name(const Scan *s, int64_t block, const float *c, float *products) {                                \
        typedef float V __attribute__((vector_size(bytes), aligned(bytes)));                                         \
        const float *packed = (const float *)s->packed_anchors + block * s->padded * LANES;                          \
        for (int first = 0; first < 2 * LANES; first += (vectors) * (bytes) / 4)                                     \
            for (int row = 0; row < STEP; row += rows) {                                                             \
                V sums[(rows) * (vectors)] = {{0}};                                                                  \
                for (int64_t k = 0; k < s->d; k++)                                                                   \
                    _Pragma("GCC unroll 4") for (int v = 0; v < vectors; v++) {                                      \
                        const int lane = first + v * (bytes) / 4;                                                    \
                        const V a = *(const V *)(packed + (lane / LANES * s->padded + k) * LANES + lane % LANES);    \
                        _Pragma("GCC unroll 8") for (int r = 0; r < rows; r++)                                       \
                            sums[r * (vectors) + v] += a * c[(row + r) * s->padded + k];                             \
                    }                                                                                                \
                _Pragma("GCC unroll 4") for (int v = 0; v < vectors; v++)                                            \
                    _Pragma("GCC unroll 8") for (int r = 0; r < rows; r++) {                                         \
                        const int lane = first + v * (bytes) / 4;                                                    \
                        float *out = products + (lane / LANES * STEP + row + r) * LANES + lane % LANES;              \
                        *(V *)out = sums[r * (vectors) + v];                                                         \
                    }                                                                                                \
            }                                                                                                        \
    }
DEFINE_MULTIPLY(multiply_512, 64, 8, 2)
DEFINE_MULTIPLY(multiply_256, 32, 4, 2)
DEFINE_MULTIPLY(multiply_128, 16, 2, 4)

#ifdef HAVE_AMX
#define TARGET_AMX "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,amx-tile,amx-bf16"

__attribute__((target(TARGET_AMX))) static inline void begin_amx(void) {
    struct {
        uint8_t palette, start_row, reserved[14];
        uint16_t bytes[16];
        uint8_t rows[16];
    } __attribute__((aligned(64))) config = {.palette = 1};
    for (int tile = 0; tile < 8; tile++) config.bytes[tile] = 64, config.rows[tile] = 16;
    _tile_loadconfig(&config);
}

__attribute__((target(TARGET_AMX))) static inline void end_amx(void) { _tile_release(); }

__attribute__((target(TARGET_AMX))) static inline void multiply_amx(const Scan *s, int64_t block, int64_t row,
                                                                      float *products) {
    int64_t part = s->padded / 32 * TILE, stride = 2 * part; /* of a block: its first part, then its second */
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    for (int term = 0; term <= 2 * s->split; term++) {
        const uint16_t *a = (const uint16_t *)s->packed_anchors + block * stride + (term == 2 ? part : 0);
        const uint16_t *c = (const uint16_t *)s->packed + row / LANES * stride + (term == 1 ? part : 0);
        for (int64_t t = 0; t < part; t += TILE) {
            _tile_loadd(4, c + t, 64);
            _tile_loadd(6, a + t, 64);
            _tile_dpbf16ps(0, 4, 6);
            _tile_loadd(5, c + stride + t, 64);
            _tile_dpbf16ps(1, 5, 6);
            _tile_loadd(7, a + stride + t, 64);
            _tile_dpbf16ps(2, 4, 7);
            _tile_dpbf16ps(3, 5, 7);
        }
    }
    _tile_stored(0, products, 64);
    _tile_stored(1, products + 256, 64);
    _tile_stored(2, products + 512, 64);
    _tile_stored(3, products + 768, 64);
}
#endif

/* STEP anchors by STEP candidates, to (2 blocks, STEP candidates, LANES). */
INLINE void multiply(const Scan *s, int64_t block, int64_t row, float *products, Isa isa) {
    const float *c = (const float *)s->packed + row * s->padded;
#ifdef HAVE_AMX
    if (isa == AMX) multiply_amx(s, block, row, products);
#endif
    if (isa == AVX512) multiply_512(s, block, c, products);
    if (isa == AVX2) multiply_256(s, block, c, products);
    if (isa == PORTABLE) multiply_128(s, block, c, products);
}

/* All anchors of a group past the packed candidates; a step is compared while the next one is multiplied. */
INLINE void sweep(Scan *s, int64_t first_block, int64_t last_block, int64_t first, int64_t count, Isa isa) {
    float *now = s->products, *before = s->products + 2 * STEP * LANES;
    int64_t block_before = -1, candidate_before = 0;
    for (int64_t start = 0; start < count; start += SWEEP)
        for (int64_t block = first_block; block < last_block; block += 2)
            for (int64_t row = start; row < start + SWEEP && row < count; row += STEP) {
                multiply(s, block, row, now, isa);
                if (block_before >= 0 && s->compare) compare_step(s, block_before, candidate_before, before, isa);
                block_before = block, candidate_before = first + row;
                float *other = now;
                now = before, before = other;
            }
    if (block_before >= 0 && s->compare) compare_step(s, block_before, candidate_before, before, isa);
}

INLINE void set_all_limits(Scan *s, Isa isa) {
    for (int64_t i = 0; i < s->a; i++)
        for (int64_t slot = 0; slot < s->first_pair[i + 1] - s->first_pair[i]; slot++) set_limits(s, i, slot, isa);
}

INLINE void run(Scan *s, const Isa isa) {
    for (int64_t i = 0; i < s->a; i++) {
        const void *x = vector_of(s->anchors, s->half, s->d, i);
        FOR_BOTH_TYPES(s->half, measure_vector, x, &s->norm[i], &s->residual[2 * i], s->d);
        FOR_BOTH_TYPES(s->half, pack_anchor, s, x, i / LANES, i % LANES, isa);
    }
    for (int64_t first = 0; first < s->n; first += CHUNK) {
        int64_t count = s->n - first < CHUNK ? s->n - first : CHUNK, in_vain = s->num_looked_at - s->num_rescored;
        if (first % SPAN == 0) {
            s->span = s->spans + first / SPAN;
            set_all_limits(s, isa);
        }
        FOR_BOTH_TYPES(s->half, pack_candidates, s, first, count, isa);
        for (int64_t block = 0; block < s->blocks; block += GROUP / LANES) {
            int64_t last = block + GROUP / LANES < s->blocks ? block + GROUP / LANES : s->blocks;
            sweep(s, block, last, first, count, isa);
        }
        in_vain = s->num_looked_at - s->num_rescored - in_vain;
        if (isa == AMX && !s->split && in_vain > s->a * count / IN_VAIN) { /* bfloat16 is too coarse for these */
            s->split = 1;
            set_all_limits(s, isa);
        }
    }
}

static void run_portable(Scan *s) { run(s, PORTABLE); }
#ifdef X86
__attribute__((target("avx2,fma,f16c"))) static void run_avx2(Scan *s) { run(s, AVX2); }
__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma,f16c" WIDE)))
static void run_avx512(Scan *s) { run(s, AVX512); }
#endif
#ifdef HAVE_AMX
__attribute__((target(TARGET_AMX ",fma,f16c" WIDE))) static void run_amx(Scan *s) {
    begin_amx();
    run(s, AMX);
    end_amx();
}
#endif

/* A float16 passes through subnormal float32 on its way (see `load`): the thread must not flush those to zero. */
static unsigned keep_subnormals(void) {
#ifdef X86
    unsigned mode = _mm_getcsr();
    _mm_setcsr(mode & ~0x8040u);
    return mode;
#else
    return 0;
#endif
}

static void restore_mode(unsigned mode) {
#ifdef X86
    _mm_setcsr(mode);
#endif
    (void)mode;
}

static int supports(Isa isa) {
#ifdef X86
    __builtin_cpu_init();
    if (isa == AVX2) return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    if (isa >= AVX512 && !(__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")))
        return 0;
    if (isa == AVX512) return 1;
#ifdef HAVE_AMX
    if (isa == AMX) {
        unsigned eax, ebx, ecx, edx;
        if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx)) return 0;
        if (!(edx >> 22 & 1) || !(edx >> 24 & 1)) return 0;       /* AMX-BF16, AMX-TILE */
        return syscall(SYS_arch_prctl, 0x1023, 18) == 0;          /* ask Linux for the tiles' state */
    }
#endif
#endif
    return isa == PORTABLE;
}

/* ---- Python -------------------------------------------------------------------------------------------------------- */

static void free_room(Scan *s) {
    void *rooms[] = {s->first_slot, s->limits, s->hull, s->norm, s->residual, s->slack, s->packed_anchors, s->packed, s->products};
    for (size_t i = 0; i < sizeof rooms / sizeof *rooms; i++) free(rooms[i]);
}

static void *zeros(size_t bytes) {
    void *room = NULL;
    if (posix_memalign(&room, ALIGNMENT, bytes + ALIGNMENT)) return NULL;
    return memset(room, 0, bytes + ALIGNMENT);
}

static int make_room(Scan *s, Isa isa) {
    size_t even_blocks, element_bytes = 4; /* a float32, or two parts in bfloat16 */
    s->blocks = (s->a + LANES - 1) / LANES;
    s->padded = isa == AMX ? (s->d + 31) / 32 * 32 : (s->d + 15) / 16 * 16;
    even_blocks = (size_t)(s->blocks + s->blocks % 2);
    if (!(s->first_slot = zeros((size_t)(s->blocks + 1) * 8))) return 0;
    for (int64_t block = 0; block < s->blocks; block++) {
        int64_t most = 1;
        for (int64_t i = block * LANES; i < (block + 1) * LANES && i < s->a; i++)
            if (s->first_pair[i + 1] - s->first_pair[i] > most) most = s->first_pair[i + 1] - s->first_pair[i];
        s->first_slot[block + 1] = s->first_slot[block] + 1 + (most > 1 ? most : 0);
    }
    size_t slots = (size_t)s->first_slot[s->blocks];
    s->limits = zeros(slots * 2 * LANES * sizeof(float));
    s->hull = zeros((size_t)s->a * 16);
    s->norm = zeros((size_t)s->a * 8);
    s->residual = zeros((size_t)s->a * 16);
    s->slack = zeros((size_t)s->a * 4);
    s->packed_anchors = zeros(even_blocks * LANES * (size_t)s->padded * element_bytes);
    s->packed = zeros(CHUNK * (size_t)s->padded * element_bytes);
    s->products = zeros(2 * 2 * STEP * LANES * sizeof(float));
    if (!s->limits || !s->hull || !s->norm || !s->residual || !s->slack || !s->packed_anchors || !s->packed || !s->products) return 0;
    for (size_t i = 0; i < slots; i++) /* an interval that nothing is inside of, for lanes without a pair */
        for (int l = 0; l < LANES; l++) s->limits[(i * 2 + 1) * LANES + l] = -1;
    return 1;
}

/* The buffers of a call, by the order of their arguments. */
enum { CANDIDATES, IDS, LABELS, SPANS, ANCHORS, ANCHOR_LABELS, FIRST_PAIR, LOWER, UPPER, BEST, BEST_ID, NUM_BUFFERS };

/* Native code must not crash: sizes are checked here once more, whatever Python did. */
static const char *check(Scan *s, const Py_buffer *buffers) {
    int64_t item = s->half ? 2 : 4, p = buffers[LOWER].len / 4;
    const int64_t most = (int64_t)1 << 40; /* and so no product of sizes overflows */
    if (s->n < 0 || s->n > most || s->a < 0 || s->a > most || s->d < 1 || s->d > 1 << 20 || s->m < 1 || s->m > 1 << 20)
        return "a size is out of range";
    const int64_t expected[NUM_BUFFERS] = {
        s->n * s->d * item, s->n * 8, s->n * 4, (s->n + SPAN - 1) / SPAN * (int64_t)sizeof(Span),
        s->a * s->d * item, s->a * 4, (s->a + 1) * 8, p * 4, p * 4, p * s->m * 4, p * s->m * 8};
    for (int i = 0; i < NUM_BUFFERS; i++)
        if (buffers[i].len != expected[i]) return "the arrays' sizes do not go together";
    if (s->first_pair[0] != 0 || s->first_pair[s->a] != p) return "first_pair does not cover the pairs";
    for (int64_t i = 0; i < s->a; i++)
        if (s->first_pair[i] > s->first_pair[i + 1]) return "first_pair does not ascend";
    for (int64_t i = 0; i < s->a; i++)
        for (int64_t j = s->first_pair[i] + 1; j < s->first_pair[i + 1]; j++)
            if (!(s->lower[j - 1] <= s->lower[j] && s->upper[j - 1] <= s->upper[j])) return "bounds do not ascend";
    return NULL;
}

static PyObject *scan(PyObject *module, PyObject *args) {
    Scan s = {0};
    Py_buffer buffers[NUM_BUFFERS];
    int isa;
    PyObject *result = NULL;
    (void)module;
    if (!PyArg_ParseTuple(args, "y*y*y*y*y*y*y*y*y*w*w*LLLLiiii", &buffers[0], &buffers[1], &buffers[2], &buffers[3],
                          &buffers[4], &buffers[5], &buffers[6], &buffers[7], &buffers[8], &buffers[9], &buffers[10],
                          &s.n, &s.a, &s.d, &s.m, &s.half, &isa, &s.split, &s.compare))
        return NULL;
    s.candidates = buffers[CANDIDATES].buf, s.ids = buffers[IDS].buf, s.labels = buffers[LABELS].buf;
    s.spans = buffers[SPANS].buf, s.anchors = buffers[ANCHORS].buf, s.anchor_labels = buffers[ANCHOR_LABELS].buf;
    s.first_pair = buffers[FIRST_PAIR].buf, s.lower = buffers[LOWER].buf, s.upper = buffers[UPPER].buf;
    s.best = buffers[BEST].buf, s.best_id = buffers[BEST_ID].buf;
    const char *wrong = isa < PORTABLE || isa > AMX || !supports(isa) ? "this processor lacks the instruction set"
                                                                      : check(&s, buffers);
    s.split = s.split != 0;
    if (wrong) {
        PyErr_SetString(PyExc_ValueError, wrong);
    } else if (!make_room(&s, isa)) {
        PyErr_NoMemory();
    } else {
        static void (*const runs[])(Scan *) = {
            run_portable,
#ifdef X86
            run_avx2, run_avx512,
#endif
#ifdef HAVE_AMX
            run_amx,
#endif
        };
        Py_BEGIN_ALLOW_THREADS
        unsigned mode = keep_subnormals();
        if (s.n && s.a) runs[isa](&s);
        restore_mode(mode);
        Py_END_ALLOW_THREADS
        result = Py_BuildValue("iLL", s.split, (long long)s.num_looked_at, (long long)s.num_rescored);
    }
    free_room(&s);
    for (int i = 0; i < NUM_BUFFERS; i++) PyBuffer_Release(&buffers[i]);
    return result;
}

/* The Spans of n vectors; ValueError where one is not finite, or too large for float32 distances. */
static PyObject *measure(PyObject *module, PyObject *args) {
    Py_buffer vectors;
    long long n, d;
    int half;
    (void)module;
    if (!PyArg_ParseTuple(args, "y*LLi", &vectors, &n, &d, &half)) return NULL;
    PyObject *result = NULL;
    int64_t num_spans = (n + SPAN - 1) / SPAN, bad = -1;
    Span *spans = n >= 0 && d > 0 && vectors.len == n * d * (half ? 2 : 4) ? zeros((size_t)num_spans * sizeof(Span)) : NULL;
    if (!spans) {
        PyErr_SetString(PyExc_ValueError, "the array's size does not go with n and d, or memory is out");
    } else {
        Py_BEGIN_ALLOW_THREADS
        unsigned mode = keep_subnormals();
        for (int64_t i = 0; i < n; i++) {
            Span *span = spans + i / SPAN;
            double norm, residual[2];
            FOR_BOTH_TYPES(half, measure_vector, vector_of(vectors.buf, half, d, i), &norm, residual, d);
            if (!(norm < LARGEST_NORM * LARGEST_NORM)) {
                bad = i;
                break;
            }
            if (i % SPAN == 0 || norm / 2 < span->low_half_norm) span->low_half_norm = norm / 2;
            if (norm / 2 > span->high_half_norm) span->high_half_norm = norm / 2;
            if (sqrt(norm) > span->norm) span->norm = sqrt(norm);
            for (int r = 0; r < 2; r++)
                if (residual[r] > span->residual[r]) span->residual[r] = residual[r];
        }
        restore_mode(mode);
        Py_END_ALLOW_THREADS
        if (bad >= 0) PyErr_Format(PyExc_ValueError, "vector %lld is not finite, or longer than 1e15", (long long)bad);
        else result = PyBytes_FromStringAndSize((const char *)spans, (Py_ssize_t)((size_t)num_spans * sizeof(Span)));
    }
    free(spans);
    PyBuffer_Release(&vectors);
    return result;
}

/* Names of the instruction sets that this processor has, slowest first, each at the place of its number or None. */
static PyObject *instruction_sets(PyObject *module, PyObject *args) {
    (void)module, (void)args;
    return Py_BuildValue("(zzzz)", ISA_NAMES[PORTABLE], supports(AVX2) ? ISA_NAMES[AVX2] : NULL,
                         supports(AVX512) ? ISA_NAMES[AVX512] : NULL, supports(AMX) ? ISA_NAMES[AMX] : NULL);
}

static PyMethodDef METHODS[] = {
    {"scan", scan, METH_VARARGS, "Scans one shard for the nearest negatives of every pair; see mining/backends/native.py."},
    {"measure", measure, METH_VARARGS, "What the error bound needs to know of a shard's vectors."},
    {"instruction_sets", instruction_sets, METH_NOARGS, "Instruction sets of this processor that the scan can use."},
    {NULL, NULL, 0, NULL},
};

static struct PyModuleDef MODULE = {PyModuleDef_HEAD_INIT, "_native", "The compiled scan.", -1, METHODS, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit__native(void) { return PyModule_Create(&MODULE); }
