/* out = x weight^T + bias in bf16, for processors whose fp32 units outrun their bf16 ones. */
#include "dots.h"

#if PACK == 2
#define BANDS 8 /* bands of rows that a unit of work takes its strips through */

typedef uint16_t halves __attribute__((vector_size(2 * N)));

/* A band of R rows times V strips of a weight [strips][in / 2][N][2], each that of N outputs. */
static inline __attribute__((always_inline)) void band_times_strips(
    const int R, const int V, const operand *band, const element *weight, const float *bias,
    element *out, int64_t first, int64_t I, int64_t O) {
    floats sums[MAX_ROWS][MAX_VECTORS];
    const element *vectors[MAX_VECTORS];
#pragma GCC unroll 16
    for (int v = 0; v < V; v++) {
        vectors[v] = weight + (first + v) * N * I;
        floats start = bias ? load_floats(bias + (first + v) * N) : (floats){0};
#pragma GCC unroll 16
        for (int r = 0; r < R; r++) sums[r][v] = start;
    }
    dots(R, V, band, vectors, I / 2, sums);
#pragma GCC unroll 16
    for (int v = 0; v < V; v++) {
        int64_t o = (first + v) * N, count = O - o < N ? O - o : N;
#pragma GCC unroll 16
        for (int r = 0; r < R; r++) {
            halves y = __builtin_convertvector(rounded(sums[r][v]) >> 16, halves);
            if (count == N) memcpy(out + r * O + o, &y, sizeof y);
            else for (int i = 0; i < count; i++) out[r * O + o + i] = y[i];
        }
    }
}

#define CASE(R, V)                                                                 \
    case R * 16 + V:                                                               \
        band_times_strips(R, V, band, weight, bias, out, first, I, O);             \
        break;
#define CASES(R) CASE(R, 2)
#define CASES_OF_FEW(R) CASES(R) CASE(R, 4)
#define CASES_OF_FEWEST(R) CASES_OF_FEW(R) CASE(R, 8)

static void band_product(int64_t R, int64_t V, const operand *band, const element *weight,
                         const float *bias, element *out, int64_t first, int64_t I, int64_t O) {
    switch (R * 16 + V) {
        CASES_OF_FEWEST(1) CASES_OF_FEWEST(2) CASES_OF_FEWEST(3)
#if MAX_ROWS > 3
        CASES_OF_FEW(4) CASES_OF_FEW(5) CASES_OF_FEW(6)
        CASES(7) CASES(8) CASES(9) CASES(10) CASES(11) CASES(12)
#endif
    }
}

/* x [T, I]; weight in strips, their number even, zeros behind the last output; bias of as many
 * outputs in fp32, or NULL; out [T, O]; scratch of T * I operands. */
void product(const element *x, const element *weight, const float *bias, element *out,
             operand *scratch, int64_t T, int64_t I, int64_t O) {
    if (!T) return;
    int64_t bands = (T + MAX_ROWS - 1) / MAX_ROWS, R = (T + bands - 1) / bands;
    bands = (T + R - 1) / R;
    int64_t strips = (O + 2 * N - 1) / (2 * N) * 2, V = R <= 3 ? 8 : R <= 6 ? 4 : 2;
    while (strips % V) V /= 2;
    int64_t parts = (bands + BANDS - 1) / BANDS;
#pragma omp parallel
    {
#pragma omp for
        for (int64_t b = 0; b < bands; b++) {
            int64_t rows = T - b * R < R ? T - b * R : R;
            for (int64_t r = 0; r < rows; r++)
                lay_out(scratch + b * R * I, rows, r, x + (b * R + r) * I, I);
        }
#pragma omp for schedule(dynamic) collapse(2)
        for (int64_t p = 0; p < parts; p++)
            for (int64_t first = 0; first < strips; first += V)
                for (int64_t b = p * BANDS; b < bands && b < (p + 1) * BANDS; b++) {
                    int64_t rows = T - b * R < R ? T - b * R : R;
                    band_product(rows, V, scratch + b * R * I, weight, bias, out + b * R * O,
                                 first, I, O);
                }
    }
}
#endif
