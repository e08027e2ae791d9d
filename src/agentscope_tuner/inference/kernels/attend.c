/* Attention over a paged cache. */
#include "dots.h"

#define BLOCK_PAGES 8
#define BLOCK (BLOCK_PAGES * N) /* tokens */

/* A few rows (each a token's one query head) on their way through the keys, with a running maximum
 * (Milakov and Gimelshein 2018). What happens to a row depends on its own context only, block by
 * block from the beginning: never on which rows are beside it, nor on where the way is interrupted. */
typedef struct {
    operand query[MAX_HEAD * MAX_ROWS];
    floats acc[MAX_ROWS][MAX_HEAD / LANES];
    float max[MAX_ROWS], sum[MAX_ROWS];
    int64_t first[MAX_ROWS], end[MAX_ROWS]; /* the positions that a row sees */
} rows;

/* Set what lies outside [from, to) to a value. */
static void hide(floats *s, int64_t tokens, int64_t from, int64_t to, float value) {
    float *x = (float *)s;
    for (int64_t j = 0; j < from; j++) x[j] = value;
    for (int64_t j = to; j < tokens; j++) x[j] = value;
}

/* Turn a row's scores of a block into weights; returns the factor that earlier weights shrink by. */
static float weigh(floats *s, int64_t tokens, int64_t from, int64_t to, float *max, float *sum) {
    int64_t partly = from > 0 || to < tokens, count = tokens / LANES;
    if (from >= tokens || to <= 0) { /* nothing of the block is for this row */
        memset(s, 0, count * sizeof *s);
        return 1;
    }
    if (partly) hide(s, tokens, from, to, -INFINITY);
    floats high = s[0], sums = {0};
    for (int64_t v = 1; v < count; v++) {
        ints more = s[v] > high;
        high = (floats)((more & (ints)s[v]) | (~more & (ints)high));
    }
    float highest = largest(high);
    highest = highest > *max ? highest : *max;
    for (int64_t v = 0; v < count; v++) s[v] = exps(s[v] - highest);
    if (partly) hide(s, tokens, from, to, 0); /* the exponential is clamped */
    for (int64_t v = 0; v < count; v++) sums += s[v];
    float shrink = exp_clamped(*max - highest);
    *max = highest;
    *sum = *sum * shrink + total(sums);
    return shrink;
}

/* Take R rows through the pages [from, to) of one key-value head; V vectors of tokens at
 * once. */
static inline __attribute__((always_inline)) void pass(const int R, const int V, rows *x,
                                                       const element *keys, const element *values,
                                                       const int32_t *pages, int64_t stride,
                                                       int64_t from, int64_t to, int64_t D,
                                                       float scale) {
    floats scores[MAX_ROWS][BLOCK / LANES];
    for (int64_t block = from; block < to; block += BLOCK_PAGES) {
        int64_t count = to - block < BLOCK_PAGES ? to - block : BLOCK_PAGES;
        int64_t last = count * PARTS - 1;
        for (int64_t p = 0; p <= last; p += V) {
            floats sums[MAX_ROWS][MAX_VECTORS];
            const element *vectors[MAX_VECTORS];
#pragma GCC unroll 16
            for (int v = 0; v < V; v++) {
                int64_t at = p + v < last ? p + v : last; /* beyond it: computed, and not used */
                vectors[v] = keys + pages[block + at / PARTS] * stride + at % PARTS * LANES * PACK;
#pragma GCC unroll 16
                for (int r = 0; r < R; r++) sums[r][v] = (floats){0};
            }
            dots(R, V, x->query, vectors, D / PACK, sums);
#pragma GCC unroll 16
            for (int v = 0; v < V; v++)
#pragma GCC unroll 16
                for (int r = 0; r < R; r++) scores[r][p + v] = sums[r][v] * scale;
        }
        float shrink[MAX_ROWS];
        for (int r = 0; r < R; r++)
            shrink[r] = weigh(scores[r], count * N, x->first[r] - block * N, x->end[r] - block * N,
                              x->max + r, x->sum + r);
        for (int64_t c = 0; c < D / LANES; c += PACK) {
            floats acc[MAX_ROWS][PACK];
#pragma GCC unroll 16
            for (int r = 0; r < R; r++)
#pragma GCC unroll 2
                for (int i = 0; i < PACK; i++) acc[r][i] = x->acc[r][c + i] * shrink[r];
            for (int64_t p = 0; p < count; p++) {
                const element *value = values + pages[block + p] * stride + c * LANES;
                for (int64_t j = 0; j < N; j++) {
                    words word = load_words(value + j * D);
#pragma GCC unroll 16
                    for (int r = 0; r < R; r++)
#pragma GCC unroll 2
                        for (int i = 0; i < PACK; i++)
                            acc[r][i] = fused(all(((const float *)scores[r])[p * N + j]),
                                              part(word, i), acc[r][i]);
                }
            }
#pragma GCC unroll 16
            for (int r = 0; r < R; r++)
#pragma GCC unroll 2
                for (int i = 0; i < PACK; i++) x->acc[r][c + i] = acc[r][i];
        }
    }
}

#define CASE(R)                                                                          \
    case R:                                                                              \
        pass(R, FIT(R, 4) ? 4 : 2, x, keys, values, pages, stride, from, to, D, scale); \
        break;

static void pass_rows(int64_t R, rows *x, const element *keys, const element *values,
                      const int32_t *pages, int64_t stride, int64_t from, int64_t to, int64_t D,
                      float scale) {
    switch (R) {
        CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6)
#if MAX_ROWS > 6
        CASE(7) CASE(8) CASE(9) CASE(10) CASE(11) CASE(12)
#endif
    }
}

/* Each tile is (first, count, from, to, last): the tokens order[first .. first + count) attend to
 * pages [from, to) of the first one's span, `to` cut where the context of all of them ends. A part
 * begins at a block; what a part that is not a token's last leaves behind is in `state`
 * [T, H, D + 2]. Tokens see `window` positions back; 0: all. */
void attend(const element *qkv, const element *keys, const element *values,
            const int64_t *positions, const int64_t *span, const int32_t *pages,
            int64_t pages_a_span, const int32_t *tiles, int64_t count, const int32_t *order,
            float *state, element *out, int64_t H, int64_t K, int64_t D, int64_t window,
            float scale) {
    int64_t group = H / K, stride = K * D * N, row = (H + 2 * K) * D;
#pragma omp parallel for collapse(2) schedule(dynamic)
    for (int64_t k = 0; k < K; k++)
        for (int64_t u = 0; u < count; u++) {
            const int32_t *tile = tiles + u * 5, *tokens = order + tile[0];
            const int32_t *table = pages + span[tokens[0]] * pages_a_span;
            int64_t heads = tile[1] * group, bands = (heads + MAX_ROWS - 1) / MAX_ROWS;
            int64_t size = (heads + bands - 1) / bands;
            for (int64_t start = 0; start < heads; start += size) {
                rows x;
                int64_t R = heads - start < size ? heads - start : size, from = INT64_MAX, to = 0;
                for (int64_t r = 0; r < R; r++) {
                    int64_t t = tokens[(start + r) / group], h = k * group + (start + r) % group;
                    x.end[r] = positions[t] + 1;
                    x.first[r] = window && window < x.end[r] ? x.end[r] - window : 0;
                    from = x.first[r] < from ? x.first[r] : from;
                    to = x.end[r] > to ? x.end[r] : to;
                    lay_out(x.query, R, r, qkv + t * row + h * D, D);
                    const float *left = state + (t * H + h) * (D + 2);
                    if (tile[2]) {
                        memcpy(x.acc[r], left, D * sizeof *left);
                        x.max[r] = left[D], x.sum[r] = left[D + 1];
                    } else {
                        memset(x.acc[r], 0, D * sizeof *left);
                        x.max[r] = -INFINITY, x.sum[r] = 0;
                    }
                }
                from = from / BLOCK * BLOCK_PAGES, to = (to + N - 1) / N;
                from = from > tile[2] ? from : tile[2], to = to < tile[3] ? to : tile[3];
                pass_rows(R, &x, keys + k * D * N, values + k * D * N, table, stride, from, to, D,
                          scale);
                for (int64_t r = 0; r < R; r++) {
                    int64_t t = tokens[(start + r) / group], h = k * group + (start + r) % group;
                    float *left = state + (t * H + h) * (D + 2);
                    if (tile[4]) {
                        for (int64_t c = 0; c < D / LANES; c += PACK) {
                            for (int i = 0; i < PACK; i++) x.acc[r][c + i] /= x.sum[r];
                            words joined = join(&x.acc[r][c]);
                            memcpy(out + (t * H + h) * D + c * LANES, &joined, sizeof joined);
                        }
                    } else {
                        memcpy(left, x.acc[r], D * sizeof *left);
                        left[D] = x.max[r], left[D + 1] = x.sum[r];
                    }
                }
            }
        }
}
