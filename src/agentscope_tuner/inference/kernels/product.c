/* out = x weight^T + bias. */
#include "dots.h"

#define BANDS 8 /* bands of rows that a unit of work takes its strips through */

#if PACK == 2
typedef uint16_t elements __attribute__((vector_size(2 * LANES)));
static inline elements stored(floats x) { return __builtin_convertvector(rounded(x) >> 16, elements); }
#else
typedef floats elements;
static inline elements stored(floats x) { return x; }
#endif

/* A band of R rows times V vectors of a weight [strips][in / PACK][N][PACK]. */
static inline __attribute__((always_inline)) void band_times_vectors(
    const int R, const int V, const operand *band, const element *weight, const float *bias,
    element *out, int64_t first, int64_t I, int64_t O) {
    floats sums[MAX_ROWS][MAX_VECTORS];
    const element *vectors[MAX_VECTORS];
#pragma GCC unroll 16
    for (int v = 0; v < V; v++) {
        vectors[v] = weight + (first + v) / PARTS * N * I + (first + v) % PARTS * LANES * PACK;
        floats start = bias ? load_floats(bias + (first + v) * LANES) : (floats){0};
#pragma GCC unroll 16
        for (int r = 0; r < R; r++) sums[r][v] = start;
    }
    dots(R, V, band, vectors, I / PACK, sums);
#pragma GCC unroll 16
    for (int v = 0; v < V; v++) {
        int64_t o = (first + v) * LANES, count = O - o < LANES ? O - o : LANES;
#pragma GCC unroll 16
        for (int r = 0; r < R; r++) {
            elements y = stored(sums[r][v]);
            if (count == LANES) memcpy(out + r * O + o, &y, sizeof y);
            else for (int i = 0; i < count; i++) out[r * O + o + i] = y[i];
        }
    }
}

#define CASE(R, V)                                                                          \
    case R * 16 + V:                                                                        \
        if (FIT(R, V)) band_times_vectors(R, V, band, weight, bias, out, first, I, O);      \
        break;
#define CASES(R) CASE(R, 2) CASE(R, 4) CASE(R, 8)

static void band_product(int64_t R, int64_t V, const operand *band, const element *weight,
                         const float *bias, element *out, int64_t first, int64_t I, int64_t O) {
    switch (R * 16 + V) {
        CASES(1) CASES(2) CASES(3) CASES(4) CASES(5) CASES(6)
#if MAX_ROWS > 6
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
    int64_t vectors = (O + 2 * N - 1) / (2 * N) * 2 * PARTS, V = MAX_VECTORS;
    while (vectors % V || !FIT(R, V)) V /= 2;
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
            for (int64_t first = 0; first < vectors; first += V)
                for (int64_t b = p * BANDS; b < bands && b < (p + 1) * BANDS; b++) {
                    int64_t rows = T - b * R < R ? T - b * R : R;
                    band_product(rows, V, scratch + b * R * I, weight, bias, out + b * R * O,
                                 first, I, O);
                }
    }
}
