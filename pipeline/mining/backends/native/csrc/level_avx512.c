/* See level.h. */
#include "scan.h"
#ifdef X86
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx512f,avx512bw,avx512dq,avx512vl,fma,f16c"))), apply_to = function)
#else
#pragma GCC target("avx512f,avx512bw,avx512dq,avx512vl,fma,f16c,prefer-vector-width=512")
#endif
#define LEVEL avx512_level
#include "level.h"
#ifdef __clang__
#pragma clang attribute pop
#endif
#endif
