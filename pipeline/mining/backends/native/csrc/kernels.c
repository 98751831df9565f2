/* The table of kernels, and what this processor has. A new instruction set is a line a kernel here. */
#include "scan.h"
#include <stddef.h>
#include <string.h>
#ifdef X86
#include <cpuid.h>
#include <sys/syscall.h>
#include <unistd.h>
#endif
#ifdef ARM
#include <sys/auxv.h>
#endif

/* Layouts: `num_rows` candidates at a time. */
#define WORDS .piece_bytes = 4, .word_bytes = 4, .sum_bits = 32, .parts = 1
#define TILES .rows = 16, .piece_bytes = 64, .word_bytes = 4, .sum_bits = 32
#define FLOAT32(num_rows) .element = "float32", .rows = num_rows, WORDS, .element_bytes = 4, .is_float = 1
#define INT16(num_rows) \
    .element = "int16", .rows = num_rows, WORDS, .element_bytes = 2, .limit = 32767, .candidate_limit = 32767
#define BYTES .element = "int8", .element_bytes = 1, .is_unsigned = 1, .limit = 127, .candidate_limit = 127
#define INT8(num_rows) BYTES, .rows = num_rows, WORDS
#define SIGNED_INT8(num_rows) \
    .element = "int8", .element_bytes = 1, .limit = 127, .candidate_limit = 127, .rows = num_rows, WORDS
#define INT8_TILES BYTES, TILES, .parts = 1
/* sums of two products in 16 bits: 2 * 255 * 64 is less than 2^15 */
#define INT8_PAIRS(num_rows)                                                                                    \
    .element = "int8", .rows = num_rows, .piece_bytes = 4, .word_bytes = 2, .element_bytes = 1, .sum_bits = 16, \
    .is_unsigned = 1, .is_twice = 1, .parts = 1, .limit = 64, .candidate_limit = 127
#define INT8X2_TILES                                                                      \
    .element = "int8x2", TILES, .element_bytes = 2, .parts = 2, .limit = 127 * 256 + 127, \
    .candidate_limit = 127 * 256 + 127
#define BFLOAT16_TILES(name, num_parts) .element = name, TILES, .element_bytes = 2, .parts = num_parts, .is_float = 1
#define KERNEL(set, layout, function) {.instruction_set = set, layout, .sweep = function},
#ifdef X86
#define ON_X86(function) function
#else
#define ON_X86(function) NULL
#endif
#ifdef ARM
#define ON_ARM(function) function
#else
#define ON_ARM(function) NULL
#endif
#ifdef HAVE_NEW
#define IF_NEW(function) function
#else
#define IF_NEW(function) NULL
#endif

const Kernel KERNELS[] = {
    KERNEL("portable", FLOAT32(2), sweep_portable_float32)
    KERNEL("neon", SIGNED_INT8(12), ON_ARM(sweep_neon_int8))
    KERNEL("neon", FLOAT32(2), sweep_portable_float32)
    KERNEL("avx2", INT8_PAIRS(6), ON_X86(sweep_avx2_int8))
    KERNEL("avx2", INT16(6), ON_X86(sweep_avx2_int16))
    KERNEL("avx2", FLOAT32(6), ON_X86(sweep_avx2_float32))
    KERNEL("avxvnni", INT8(6), IF_NEW(sweep_avxvnni_int8))
    KERNEL("avxvnni", INT16(6), IF_NEW(sweep_avxvnni_int16))
    KERNEL("avxvnni", FLOAT32(6), ON_X86(sweep_avx2_float32))
    KERNEL("avx512", INT8_PAIRS(12), ON_X86(sweep_avx512_int8))
    KERNEL("avx512", INT16(12), ON_X86(sweep_avx512_int16))
    KERNEL("avx512", FLOAT32(12), ON_X86(sweep_avx512_float32))
    KERNEL("avx512vnni", INT8(12), ON_X86(sweep_avx512vnni_int8))
    KERNEL("avx512vnni", INT16(12), ON_X86(sweep_avx512vnni_int16))
    KERNEL("avx512vnni", FLOAT32(12), ON_X86(sweep_avx512_float32))
    KERNEL("amx", INT8_TILES, IF_NEW(sweep_amx_int8))
    KERNEL("amx", INT8X2_TILES, IF_NEW(sweep_amx_int8x2))
    KERNEL("amx", BFLOAT16_TILES("bfloat16", 1), IF_NEW(sweep_amx_bfloat16))
    KERNEL("amx", BFLOAT16_TILES("bfloat16x2", 2), IF_NEW(sweep_amx_bfloat16))
    KERNEL("amx", FLOAT32(12), ON_X86(sweep_avx512_float32))
    {.instruction_set = NULL},
};

int supports(const char *instruction_set) {
#ifdef X86
    unsigned eax = 0, ebx = 0, ecx = 0, edx = 0;
    __builtin_cpu_init();
    int avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
    int avx512 = avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                 __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    if (!strcmp(instruction_set, "avx2")) return avx2;
    if (!strcmp(instruction_set, "avx512")) return avx512;
    if (!strcmp(instruction_set, "avx512vnni")) return avx512 && __builtin_cpu_supports("avx512vnni");
#ifdef HAVE_NEW
    if (!strcmp(instruction_set, "avxvnni"))
        return avx2 && __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) && (eax >> 4 & 1);
    if (!strcmp(instruction_set, "amx"))
        return avx512 && __get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx) && (edx >> 22 & 1) && (edx >> 24 & 1) &&
               (edx >> 25 & 1) && syscall(SYS_arch_prctl, 0x1023, 18) == 0; /* BF16, TILE, INT8; Linux's leave */
#endif
#endif
#ifdef ARM
    if (!strcmp(instruction_set, "neon")) return getauxval(AT_HWCAP) >> 20 & 1; /* dot products of bytes */
#endif
    return !strcmp(instruction_set, "portable");
}

const Level *level_of(const char *instruction_set) {
#ifdef X86
    if (!strncmp(instruction_set, "avx512", 6) || !strcmp(instruction_set, "amx")) return &avx512_level;
    if (!strncmp(instruction_set, "avx", 3)) return &avx2_level;
#endif
    (void)instruction_set;
    return &portable_level;
}

const Level *best_level(void) {
    return level_of(supports("avx512") ? "avx512" : supports("avx2") ? "avx2" : "portable");
}

#ifndef HAVE_NEW
void begin_tiles(void) {}
void end_tiles(void) {}
#endif
