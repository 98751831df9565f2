/* Kernels of ARM's NEON with its dot products of bytes. */
#include "scan.h"
#ifdef ARM
#include <arm_neon.h>

#define DOT __attribute__((target("+dotprod")))

/* Both signed: a candidate's bytes are stored as they are. */
DOT static inline uint32x4_t multiply(uint32x4_t sum, uint32x4_t c, uint32x4_t a) {
    return vreinterpretq_u32_s32(
        vdotq_s32(vreinterpretq_s32_u32(sum), vreinterpretq_s8_u32(c), vreinterpretq_s8_u32(a)));
}

DOT static inline uint32_t inside(uint32x4_t x, uint32x4_t reach) {
    const uint32x4_t bits = {1, 2, 4, 8};
    return vaddvq_u32(vandq_u32(vcleq_u32(x, reach), bits));
}

#define NAME sweep_neon_int8
#define ATTRIBUTES DOT
#define VECTOR uint32x4_t
#define VECTORS 2
#define PARTS 4
#define ROWS 12
#define BROADCAST(p) vld1q_dup_u32((const uint32_t *)(const void *)(p))
#define MULTIPLY multiply
#define PLUS vaddq_u32
#define MINUS vsubq_u32
#define MAGNITUDE(x) (x)
#define NEARER vminq_u32
#define INSIDE inside
#include "sweep.h"
#endif
