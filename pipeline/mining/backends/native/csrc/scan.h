/* The exact scan of one shard: a cheap product proposes within a proven bound, the definition decides.
 *
 * The bound. Let X = x - mu for any vector mu; A and C are an anchor and a candidate, h = |C|^2 / 2. Distances stay as
 * they are, and <A,C> - h = (|A|^2 - d^2) / 2. Let M have orthonormal rows, and let t be the part of a vector that M
 * leaves out: t^2 = |X|^2 - |MX|^2. Filter vectors are
 *
 *     fa = (MA, t_a, kappa)        fc = (MC, t_c, -(h - hbar) / kappa)        for any kappa and hbar
 *
 * and by Cauchy and Schwarz on what is left out, 0 <= <fa,fc> - (<A,C> - h + hbar) <= 2 t_a t_c. So a negative with
 * near < d^2 < far has
 *
 *     (|A|^2 - far) / 2 + hbar  <=  <fa,fc>  <=  (|A|^2 - near) / 2 + hbar + 2 t_a t_c.
 *
 * (M may be square: no tail. Without the last column, h takes the place of hbar: its smallest on the left, its largest
 * on the right.) What is multiplied are integers: q = round(s f). Their residuals r = |f - q/s| are measured, in
 * float64, and
 *
 *     |<fa,fc> - <qa,qc> / (s_a s_c)|  <=  E  =  r_a |fc| + (|fa| + r_a) r_c,
 *
 * to which the roundings of float64 are added (`epsilon`); those of float32, in which f is computed, are part of r.
 * With the largest size, residual and tail of 16,384 candidates, this makes an interval [lo, hi] of integers for each
 * anchor. Integer products have no rounding; they may wrap: where P is in [lo, hi], P - lo modulo 2^16 or 2^32 is at
 * most hi - lo. So wrapping can add survivors and never loses one.
 *
 * A survivor is looked at in float32, and, if that cannot tell either, scored by the definition in float64. Hence
 * nothing below can change an answer, only how many candidates are looked at. docs/exactness.md says this at length.
 *
 * One thread a call; the caller shares out anchors. Called from `mining/backends/native` only.
 */
#ifndef MOTHERLODE_SCAN_H
#define MOTHERLODE_SCAN_H
#include <stddef.h>
#include <stdint.h>

#if defined(__x86_64__) && defined(__linux__) && defined(__GNUC__)
#define X86 1
#if !defined(__clang__) && __GNUC__ >= 11 || defined(__clang__) && __clang_major__ >= 12
#define HAVE_NEW 1 /* a compiler that knows AVX-VNNI and AMX */
#endif
#endif

#if defined(__aarch64__) && defined(__linux__) && defined(__GNUC__)
#define ARM 1
#endif

#define INLINE static inline __attribute__((always_inline))
#define LANES 32       /* anchors in a block: products with one candidate lie in the lanes of one or more vectors */
#define SPAN 16384     /* candidates that share a scale and a bound */
#define WAITING 32     /* survivors that wait for their vectors, at most */
#define MOST_ROWS 32   /* candidates that a kernel compares at once, at most */
#define MOST_SLOTS 128 /* intervals that a sum is compared with, at most */

/* How filter vectors were rounded: of one anchor, or of the candidates of a span (largest values, but `low_half_norm`).
 */
typedef struct {
    double scale;                         /* s */
    double size;                          /* |f| */
    double residual;                      /* |f - q/s| */
    double dropped;                       /* |low part of q| / s, where the product of low parts is left out; else 0 */
    double tail;                          /* t */
    double low_half_norm, high_half_norm; /* |X|^2 / 2; of a span, what no column holds of it */
    double norm;                          /* |x| + |mu|: what float64's roundings are in proportion to */
} Rounding;

/* What an anchor's products are compared with, in one span: see bounds.c. */
typedef struct {
    double low, high, most, unit;
} Base;

struct Scan;

/* A matrix product of one instruction set, with its epilogue, and how its operands lie.
 *
 * Anchors: (block, word of the dimensions, LANES, word_bytes); candidates: (rows / `rows`, pieces of the dimensions,
 * `rows`, `piece_bytes`). A word is what one instruction multiplies and sums in one lane. */
typedef struct {
    const char *instruction_set, *element;
    int rows, piece_bytes, word_bytes, element_bytes;
    int sum_bits;    /* sums are modulo 2^sum_bits */
    int is_unsigned; /* candidates are stored + 128, as unsigned bytes */
    int is_twice;    /* a candidate's two bytes are stored twice, to fill four */
    int parts;       /* 2: high and low parts apart */
    int is_float;    /* sums are float32, else integers */
    int limit;       /* largest |q| of an anchor */
    int candidate_limit;
    void (*sweep)(struct Scan *s, int64_t block, int64_t row, int64_t num_rows);
} Kernel;

/* Bytes of an element as it is packed. */
INLINE int packed_bytes(const Kernel *kernel) {
    return kernel->parts == 2 && !kernel->is_float ? 1 : kernel->element_bytes;
}

typedef struct Scan {
    /* the question */
    const void *candidates, *anchors; /* (n, d), (a, d): float32, or float16 where `half` */
    const int64_t *ids;               /* (n,) */
    const int32_t *labels, *anchor_labels;
    const int64_t *first_pair;  /* (a + 1,): an anchor's pairs, by ascending bounds */
    const float *lower, *upper; /* (p,) open bounds of d_an */
    int64_t n, a, d, m;
    int half, compare;
    /* the filter */
    const Kernel *kernel;
    const void *filter_candidates,
        *filter_anchors; /* (n, k), (a, k): q; NULL: it is made of the vectors as they are packed */
    const Rounding *spans, *anchor_roundings; /* one for each SPAN candidates; (a,) */
    int64_t k;
    double epsilon; /* errs by so much of (norm_a + norm_c)^2, in float64 */
    double most_in_vain;
    /* the answer so far, best first */
    float *best;      /* (p, m) */
    int64_t *best_id; /* (p, m) */
    /* room to work in */
    int64_t blocks, words; /* blocks of LANES anchors; words of a row */
    int64_t chunk_rows, sweep_rows;
    int64_t chunk_first, chunk_end;
    int64_t *first_slot; /* (blocks + 1,): a block's slots; the first is the hull of the others, if there are others */
    uint32_t *limits;    /* (slots, 2, LANES): what a slot's sums begin with, and are compared with; see bounds.c */
    Base *bases;         /* (a,) */
    uint32_t *offset;    /* (a,): 128 times the sum of q, where candidates are stored + 128 */
    void *packed_anchors, *packed;
    int64_t plane_bytes, packed_plane_bytes; /* of one of two parts, of anchors and candidates */
    char *room, *q_room;                     /* a row, and its q */
    const Rounding *span;
    int64_t position, num_looked_at, num_rescored;
    int num_asked, num_through; /* tiles of this chunk, and those that hulls of several slots let through */
    int num_waiting;
    struct {
        int64_t anchor, candidate;
    } waiting[WAITING];
    const struct Level *level;
} Scan;

/* bounds.c */
void set_limits(Scan *s, int64_t anchor, int64_t number);
void set_all_limits(Scan *s);
/* packing.c */
void pack_anchors(Scan *s);
void pack_candidates(Scan *s, int64_t first, int64_t count);
typedef struct {
    double square, largest;
} Extent;
typedef struct {
    double square, low_square;
} Residual;

/* level.h: what is done to single vectors */
typedef struct Level {
    void (*drain)(Scan *s); /* looks at those that wait */
    /* see vectors.h */
    Extent (*measure)(const void *x, int64_t d, int half);
    Residual (*residual)(const void *q, const void *x, int64_t k, double scale, int bytes, int half);
    void (*round_row)(void *q, const void *x, int64_t k, float scale, int bytes, int half);
    Residual (*bfloat16_residual)(const void *x, int64_t k, int parts, int half);
    void (*bfloat16_row)(void *to, const void *x, int64_t k, int part, int half);
} Level;
extern const Level portable_level, avx2_level, avx512_level;
/* survivors.c: what a kernel's test lets through */
void take_survivors(Scan *s, int64_t anchor, int64_t candidate, int lanes, int num_words, const uint64_t *wanted);
/* The slots that hold a block's pairs: slot 0, or slots 1 to so many. */
INLINE int64_t own_slots(const Scan *s, int64_t block) {
    int64_t slots = s->first_slot[block + 1] - s->first_slot[block];
    return slots == 1 ? 1 : slots - 1;
}
/* What sums begin with; LANES words on, what they are compared with. */
INLINE uint32_t *slot_of(const Scan *s, int64_t block, int64_t slot) {
    return s->limits + (s->first_slot[block] + slot) * 2 * LANES;
}
/* run.c */
int make_room(Scan *s); /* whether there is enough */
void free_room(Scan *s);
void run(Scan *s, int use_tiles);
unsigned keep_subnormals(void);
void restore_mode(unsigned mode);
/* rounding.c: rounds n vectors of k elements, `group` of them with one scale, to q (unless it is NULL), and measures
 * that */
void quantise_all(const void *vectors, int64_t n, int64_t k, int half, int64_t group, double limit, double longest,
                  int bytes, int parts, int is_float, void *q, Rounding *roundings, char *room);
/* kernels.c */
extern const Kernel KERNELS[];
int supports(const char *instruction_set);
const Level *level_of(const char *instruction_set);
const Level *best_level(void);
void sweep_in_software(Scan *s, int64_t block, int64_t row, int64_t num_rows);
void begin_tiles(void);
void end_tiles(void);
/* kernels of the instruction sets */
#define SWEEP(name) void name(Scan *s, int64_t block, int64_t row, int64_t num_rows)
SWEEP(sweep_portable_float32);
SWEEP(sweep_neon_int8);
SWEEP(sweep_avx2_float32);
SWEEP(sweep_avx2_int8);
SWEEP(sweep_avx2_int16);
SWEEP(sweep_avxvnni_int8);
SWEEP(sweep_avxvnni_int16);
SWEEP(sweep_avx512_float32);
SWEEP(sweep_avx512_int8);
SWEEP(sweep_avx512_int16);
SWEEP(sweep_avx512vnni_int8);
SWEEP(sweep_avx512vnni_int16);
SWEEP(sweep_amx_int8);
SWEEP(sweep_amx_bfloat16);
SWEEP(sweep_amx_int8x2);
#endif
