/* See level.h. */
#include "scan.h"
#ifdef X86
#ifdef __clang__
#pragma clang attribute push(__attribute__((target("avx2,fma,f16c"))), apply_to = function)
#else
#pragma GCC target("avx2,fma,f16c")
#endif
#define LEVEL avx2_level
#include "level.h"
#ifdef __clang__
#pragma clang attribute pop
#endif
#endif
