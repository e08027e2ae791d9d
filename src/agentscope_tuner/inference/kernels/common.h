/* What all kernels share. `native.py` compiles them once for bf16 and once for fp32 (ELEMENT_F32);
 * `ops.py` has the same steps in plain torch, which the tests compare these with.
 *
 * Everything is computed in fp32 and rounded once, when it is stored. Vectors are GCC's and Clang's
 * portable ones: 16 floats are one register with AVX-512 and several elsewhere.
 *
 * Names: T tokens, H query heads, K key-value heads, D head size, N tokens a page, V vocabulary.
 */
#pragma once
#include <math.h>
#include <stdint.h>
#include <string.h>
#ifdef FAST_BF16_DOT
#include <immintrin.h>
#endif

#define N 16
#define MAX_HEAD 256

/* Rows that a product holds in registers: as many as leave room for two vectors of operands. */
#ifdef __AVX512F__
#define MAX_ROWS 12
#else
#define MAX_ROWS 3
#endif

typedef float floats __attribute__((vector_size(4 * N)));
typedef int32_t ints __attribute__((vector_size(4 * N)));
typedef uint32_t words __attribute__((vector_size(4 * N)));

/* A word is what 4 bytes hold: PACK elements. Keys lie in a page as [D / PACK][N][PACK], values as
 * [N][D]; so a vector of words is PACK vectors of floats, without a shuffle. */
#ifdef ELEMENT_F32
typedef float element;
#define PACK 1
static inline float load(element x) { return x; }
static inline element store(float x) { return x; }
static inline floats part(words x, int i) { return (void)i, (floats)x; }
static inline words join(const floats *parts) { return (words)parts[0]; }
#else
typedef uint16_t element; /* the upper half of an fp32 number */
#define PACK 2
static inline float load(element x) {
    uint32_t bits = (uint32_t)x << 16;
    float y;
    memcpy(&y, &bits, 4);
    return y;
}
static inline element store(float x) { /* round to nearest, ties to even */
    uint32_t bits;
    memcpy(&bits, &x, 4);
    return (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
}
static inline floats part(words x, int i) { return (floats)(i ? x & 0xffff0000u : x << 16); }
static inline words rounded(floats x) {
    words bits = (words)x;
    return bits + 0x7fff + ((bits >> 16) & 1);
}
static inline words join(const floats *parts) {
    return (rounded(parts[0]) >> 16) | (rounded(parts[1]) & 0xffff0000u);
}
#endif

static inline words load_words(const element *x) {
    words y;
    memcpy(&y, x, sizeof y);
    return y;
}

static inline floats load_floats(const float *x) {
    floats y;
    memcpy(&y, x, sizeof y);
    return y;
}

/* e^x, relative error 2e-7, clamped to 2^-126 .. 2^126: 2^n times a polynomial in the fraction. No
 * branch, so that loops over it become vector code. */
static inline float exp_clamped(float x) {
    float t = x * 1.44269504f;
    t = t < -126.0f ? -126.0f : t;
    t = t > 126.0f ? 126.0f : t;
    float n = (t + 12582912.0f) - 12582912.0f; /* rounds to an integer */
    float f = t - n;
    float p = 1.54035304e-4f;
    p = p * f + 1.33335581e-3f;
    p = p * f + 9.61812911e-3f;
    p = p * f + 5.55041087e-2f;
    p = p * f + 2.40226507e-1f;
    p = p * f + 6.93147181e-1f;
    p = p * f + 1.0f;
    int32_t bits;
    memcpy(&bits, &p, 4);
    bits += (int32_t)n * (1 << 23);
    memcpy(&p, &bits, 4);
    return p;
}
