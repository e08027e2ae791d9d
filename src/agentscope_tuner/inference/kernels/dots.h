/* The inner product of all matrix products here: a few rows times vectors of bf16 (or fp32) words.
 *
 * Each sum runs over its terms one after the other, whatever the number of rows and vectors beside
 * it: so a row's result does not depend, to the last bit, on how many are computed with it. */
#pragma once
#include "common.h"

/* How a row's operands lie: [terms][rows] in fp32, or [terms / 2][rows] in pairs of bf16 where the
 * processor multiplies those at its full rate (FAST_BF16_DOT: AMD's do; Intel's need four times as
 * long for a bf16 product of vectors as for an fp32 one, which has half as many terms). */
#if defined(FAST_BF16_DOT) && PACK == 2
typedef int32_t operand;
#define OPERANDS_A_WORD 1
#else
typedef float operand;
#define OPERANDS_A_WORD PACK
#endif

#define MAX_VECTORS 8
#define FIT(R, V) ((R) * (V) <= 2 * MAX_ROWS) /* R rows and V vectors in registers */

/* Lay a row out: element i of x becomes term i of row r of R. */
static inline void lay_out(operand *rows, int64_t R, int64_t r, const element *x, int64_t size) {
#if defined(FAST_BF16_DOT) && PACK == 2
    for (int64_t i = 0; i < size; i += 2) memcpy(rows + i / 2 * R + r, x + i, 4);
#else
    for (int64_t i = 0; i < size; i++) rows[i * R + r] = load(x[i]);
#endif
}

/* sums[r][v] += row r times vector v, over `count` words; the words of a vector are N words apart.
 * R and V are constants where this is inlined, so that the sums become registers. */
static inline __attribute__((always_inline)) void dots(const int R, const int V,
                                                       const operand *rows,
                                                       const element *const *vectors,
                                                       int64_t count,
                                                       floats sums[MAX_ROWS][MAX_VECTORS]) {
    for (int64_t w = 0; w < count; w++, rows += OPERANDS_A_WORD * R) {
        words x[MAX_VECTORS];
#pragma GCC unroll 16
        for (int v = 0; v < V; v++) x[v] = load_words(vectors[v] + w * N * PACK);
#if defined(FAST_BF16_DOT) && PACK == 2
#pragma GCC unroll 16
        for (int r = 0; r < R; r++)
#pragma GCC unroll 16
            for (int v = 0; v < V; v++)
                sums[r][v] = (floats)_mm512_dpbf16_ps((__m512)sums[r][v],
                                                      (__m512bh)_mm512_set1_epi32(rows[r]),
                                                      (__m512bh)x[v]);
#else
#pragma GCC unroll 2
        for (int i = 0; i < PACK; i++)
#pragma GCC unroll 16
            for (int r = 0; r < R; r++)
#pragma GCC unroll 16
                for (int v = 0; v < V; v++)
                    sums[r][v] = fused(all(rows[i * R + r]), part(x[v], i), sums[r][v]);
#endif
    }
}
