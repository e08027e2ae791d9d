/* What all kernels share. `native.py` compiles them once for bf16 and once for fp32 (ELEMENT_F32);
 * `ops.py` has the same steps in plain torch, which the tests compare these with.
 *
 * Everything is computed in fp32 and rounded once, when it is stored. Vectors are GCC's and Clang's
 * portable ones, as wide as a register: of wider ones compilers make code of a tenth of the speed.
 *
 * Names: T tokens, H query heads, K key-value heads, D head size, N tokens a page, V vocabulary.
 */
#pragma once
#include <math.h>
#include <stdint.h>
#include <string.h>
#ifdef __x86_64__
#include <immintrin.h>
#endif

#define N 16
#define MAX_HEAD 256

/* LANES: floats a vector. MAX_ROWS: rows that a product holds in registers beside two vectors. */
#if defined(__AVX512F__)
#define LANES 16
#define MAX_ROWS 12
#elif defined(__AVX__) && defined(__FMA__)
#define LANES 8
#define MAX_ROWS 6
#else
#define LANES 4
#define MAX_ROWS 6
#endif

#define PARTS (N / LANES) /* vectors beside each other where N numbers lie */

typedef float floats __attribute__((vector_size(4 * LANES)));
typedef int32_t ints __attribute__((vector_size(4 * LANES)));
typedef uint32_t words __attribute__((vector_size(4 * LANES)));

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

/* x y + z, rounded once. Left to themselves, compilers fuse in one copy of a loop and not in another
 * one, or in the other order, and a row's bits depend on the rows beside it. */
static inline floats fused(floats x, floats y, floats z) {
#if LANES == 16
    return (floats)_mm512_fmadd_ps((__m512)x, (__m512)y, (__m512)z);
#elif LANES == 8
    return (floats)_mm256_fmadd_ps((__m256)x, (__m256)y, (__m256)z);
#elif defined(__FP_FAST_FMAF)
    for (int i = 0; i < LANES; i++) z[i] = __builtin_fmaf(x[i], y[i], z[i]);
    return z;
#else /* nothing to fuse with */
    return x * y + z;
#endif
}

static inline floats all(float x) { return x - (floats){0}; }

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

static inline floats exps(floats x) {
    float y[LANES];
    memcpy(y, &x, sizeof x);
#pragma omp simd
    for (int i = 0; i < LANES; i++) y[i] = exp_clamped(y[i]);
    return load_floats(y);
}

static inline float largest(floats x) {
    float y[LANES];
    memcpy(y, &x, sizeof x);
    for (int width = LANES / 2; width; width /= 2)
        for (int i = 0; i < width; i++) y[i] = y[i] > y[i + width] ? y[i] : y[i + width];
    return y[0];
}

/* The largest of `count` numbers, whole vectors, and of `least`. */
static inline float largest_of(const float *x, int64_t count, float least) {
    floats high = load_floats(x);
    for (int64_t i = LANES; i < count; i += LANES) {
        floats y = load_floats(x + i);
        ints more = y > high;
        high = (floats)((more & (ints)y) | (~more & (ints)high));
    }
    float most = largest(high);
    return most > least ? most : least;
}

static inline float total(floats x) {
    float y[LANES];
    memcpy(y, &x, sizeof x);
    for (int width = LANES / 2; width; width /= 2)
        for (int i = 0; i < width; i++) y[i] += y[i + width];
    return y[0];
}
