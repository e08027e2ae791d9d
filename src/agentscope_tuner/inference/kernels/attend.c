/* Attention over a paged cache. */
#include "dots.h"

#define BLOCK_PAGES 8
#define BLOCK (BLOCK_PAGES * N) /* tokens */
#define TILE_ROWS 48
#define MAX_BANDS (TILE_ROWS / MAX_ROWS)
#define FEW 4 /* rows, with which a page takes longer to read than to compute */

/* A few rows (each a token's one query head) on their way through the keys, with a running maximum
 * (Milakov and Gimelshein 2018). What happens to a row depends on its own context only, block by
 * block from the beginning: never on which rows are beside it, nor on where the way is interrupted. */
typedef struct {
    int64_t R, from, to; /* rows, and the pages that some of them see */
    operand query[MAX_HEAD * MAX_ROWS];
    float acc[MAX_ROWS * MAX_HEAD]; /* [R][D] */
    float max[MAX_ROWS], sum[MAX_ROWS];
    int64_t at[MAX_ROWS]; /* of all rows [T, H] */
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
    float highest = largest_of((const float *)s, tokens, *max);
    floats sums = {0};
    for (int64_t v = 0; v < count; v++) s[v] = exps(s[v] - highest);
    if (partly) hide(s, tokens, from, to, 0); /* the exponential is clamped */
    for (int64_t v = 0; v < count; v++) sums += s[v];
    float shrink = exp_clamped(*max - highest);
    *max = highest;
    *sum = *sum * shrink + total(sums);
    return shrink;
}

/* acc[R][D] = shrink[R] acc + weights[R][tokens of `count` pages] values, from column *d on as far as
 * V vectors of columns at once go. */
static inline __attribute__((always_inline)) void add_values(
    const int R, const int V, int64_t *d, float *acc, const float *shrink,
    floats scores[][BLOCK / LANES], const element *values, const int32_t *pages, int64_t count,
    int64_t stride, int64_t D) {
    if (V < PACK || !FIT(R, V)) return;
    for (; *d + V * LANES <= D; *d += V * LANES) {
        floats sums[MAX_ROWS][MAX_VECTORS];
#pragma GCC unroll 16
        for (int r = 0; r < R; r++)
#pragma GCC unroll 16
            for (int v = 0; v < V; v++)
                sums[r][v] = load_floats(acc + r * D + *d + v * LANES) * shrink[r];
        for (int64_t p = 0; p < count; p++) {
            const element *value = values + pages[p] * stride + *d;
            if (R <= FEW && *d == 0 && p + 1 < count) /* processors follow no table of pages */
                for (int64_t i = 0; i < N * D; i += 64 / (int64_t)sizeof *value)
                    __builtin_prefetch(values + pages[p + 1] * stride + i);
            for (int64_t j = 0; j < N; j++, value += D) {
                floats x[MAX_VECTORS];
#pragma GCC unroll 16
                for (int v = 0; v < V; v++)
                    x[v] = part(load_words(value + v / PACK * PACK * LANES), v % PACK);
#pragma GCC unroll 16
                for (int r = 0; r < R; r++) {
                    floats weight = all(((const float *)scores[r])[p * N + j]);
#pragma GCC unroll 16
                    for (int v = 0; v < V; v++)
                        sums[r][v] = fused(weight, x[v], sums[r][v]);
                }
            }
        }
#pragma GCC unroll 16
        for (int r = 0; r < R; r++)
#pragma GCC unroll 16
            for (int v = 0; v < V; v++)
                memcpy(acc + r * D + *d + v * LANES, &sums[r][v], sizeof *sums[r]);
    }
}

/* scores[R][tokens of `count` pages] = scale * R rows times keys, V vectors of tokens at once. */
static inline __attribute__((always_inline)) void times_keys(
    const int R, const int V, const operand *query, floats scores[][BLOCK / LANES],
    const element *keys, const int32_t *pages, int64_t count, int64_t stride, int64_t D,
    float scale) {
    int64_t last = count * PARTS - 1;
    for (int64_t p = 0; p <= last; p += V) {
        floats sums[MAX_ROWS][MAX_VECTORS];
        const element *vectors[MAX_VECTORS];
#pragma GCC unroll 16
        for (int v = 0; v < V; v++) {
            int64_t at = p + v < last ? p + v : last; /* beyond it: computed, and not used */
            vectors[v] = keys + pages[at / PARTS] * stride + at % PARTS * LANES * PACK;
#pragma GCC unroll 16
            for (int r = 0; r < R; r++) sums[r][v] = (floats){0};
        }
        dots(R, V, query, vectors, D / PACK, sums);
#pragma GCC unroll 16
        for (int v = 0; v < V; v++)
#pragma GCC unroll 16
            for (int r = 0; r < R; r++) scores[r][p + v] = sums[r][v] * scale;
    }
}

#define KEYS(R)                                                                                \
    case R:                                                                                    \
        times_keys(R, FIT(R, 4) ? 4 : 2, x->query, scores, keys, pages, count, stride, D, scale); \
        break;
#define VALUES(R)                                                                              \
    case R:                                                                                    \
        add_values(R, 8, &d, x->acc, shrink, scores, values, pages, count, stride, D);         \
        add_values(R, 4, &d, x->acc, shrink, scores, values, pages, count, stride, D);         \
        add_values(R, 2, &d, x->acc, shrink, scores, values, pages, count, stride, D);         \
        add_values(R, 1, &d, x->acc, shrink, scores, values, pages, count, stride, D);         \
        break;
#if MAX_ROWS > 6
#define CASES(X) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11) X(12)
#else
#define CASES(X) X(1) X(2) X(3) X(4) X(5) X(6)
#endif

/* Two functions, as there are not registers enough for what both would hold. */
static __attribute__((noinline)) void score(const rows *x, floats scores[][BLOCK / LANES],
                                            const element *keys, const int32_t *pages,
                                            int64_t count, int64_t stride, int64_t D, float scale) {
    switch (x->R) { CASES(KEYS) }
}

static __attribute__((noinline)) void add(rows *x, floats scores[][BLOCK / LANES],
                                          const float *shrink, const element *values,
                                          const int32_t *pages, int64_t count, int64_t stride,
                                          int64_t D) {
    int64_t d = 0;
    switch (x->R) { CASES(VALUES) }
}

/* Take rows through `count` pages of one key-value head, from page `at` of a sequence on. */
static void pass(rows *x, const element *keys, const element *values, const int32_t *pages,
                 int64_t stride, int64_t at, int64_t count, int64_t D, float scale) {
    floats scores[MAX_ROWS][BLOCK / LANES];
    float shrink[MAX_ROWS];
    score(x, scores, keys, pages, count, stride, D, scale);
    for (int64_t r = 0; r < x->R; r++)
        shrink[r] = weigh(scores[r], count * N, x->first[r] - at * N, x->end[r] - at * N,
                          x->max + r, x->sum + r);
    add(x, scores, shrink, values, pages, count, stride, D);
}

/* Begin with the rows from `start` on of a tile's tokens and key-value head k, or go on with what an
 * earlier part has left of them in `state`. */
static void begin(rows *x, const int32_t *tokens, int64_t start, int64_t k, const element *qkv,
                  const int64_t *positions, const float *state, int resumed, int64_t H, int64_t K,
                  int64_t D, int64_t window) {
    int64_t group = H / K;
    x->from = INT64_MAX, x->to = 0;
    for (int64_t r = 0; r < x->R; r++) {
        int64_t t = tokens[(start + r) / group], h = k * group + (start + r) % group;
        x->at[r] = t * H + h;
        x->end[r] = positions[t] + 1;
        x->first[r] = window && window < x->end[r] ? x->end[r] - window : 0;
        x->from = x->first[r] < x->from ? x->first[r] : x->from;
        x->to = x->end[r] > x->to ? x->end[r] : x->to;
        lay_out(x->query, x->R, r, qkv + t * (H + 2 * K) * D + h * D, D);
        const float *left = state + x->at[r] * (D + 2);
        if (resumed) memcpy(x->acc + r * D, left, D * sizeof *left);
        else memset(x->acc + r * D, 0, D * sizeof *left);
        x->max[r] = resumed ? left[D] : -INFINITY, x->sum[r] = resumed ? left[D + 1] : 0;
    }
    x->from = x->from / BLOCK * BLOCK_PAGES, x->to = (x->to + N - 1) / N;
}

/* Write the result, or leave what there is in `state`. */
static void finish(const rows *x, float *state, int last, element *out, int64_t D) {
    for (int64_t r = 0; r < x->R; r++) {
        float *left = state + x->at[r] * (D + 2);
        const float *acc = x->acc + r * D;
        if (last) {
            for (int64_t d = 0; d < D; d += LANES * PACK) {
                floats y[PACK];
                for (int i = 0; i < PACK; i++) y[i] = load_floats(acc + d + i * LANES) / x->sum[r];
                words joined = join(y);
                memcpy(out + x->at[r] * D + d, &joined, sizeof joined);
            }
        } else {
            memcpy(left, acc, D * sizeof *left);
            left[D] = x->max[r], left[D + 1] = x->sum[r];
        }
    }
}

/* Each tile is (first, count, from, to, last): the tokens order[first .. first + count), at most
 * TILE_ROWS rows of a key-value head, attend to pages [from, to) of the first one's span, `to` cut
 * where the context of all of them ends. A block of pages is read once for all rows. A part begins at
 * a block; what a part that is not a token's last leaves behind is in `state` [T, H, D + 2]. Tokens
 * see `window` positions back; 0: all. */
void attend(const element *qkv, const element *keys, const element *values,
            const int64_t *positions, const int64_t *span, const int32_t *pages,
            int64_t pages_a_span, const int32_t *tiles, int64_t count, const int32_t *order,
            float *state, element *out, int64_t H, int64_t K, int64_t D, int64_t window,
            float scale) {
    int64_t stride = K * D * N;
#pragma omp parallel for collapse(2) schedule(dynamic)
    for (int64_t k = 0; k < K; k++)
        for (int64_t u = 0; u < count; u++) {
            const int32_t *tile = tiles + u * 5, *tokens = order + tile[0];
            const int32_t *table = pages + span[tokens[0]] * pages_a_span;
            int64_t heads = tile[1] * (H / K), bands = (heads + MAX_ROWS - 1) / MAX_ROWS;
            int64_t size = (heads + bands - 1) / bands, from = INT64_MAX, to = 0;
            rows x[MAX_BANDS];
            for (int64_t b = 0; b < bands; b++) {
                x[b].R = heads - b * size < size ? heads - b * size : size;
                begin(x + b, tokens, b * size, k, qkv, positions, state, tile[2] > 0, H, K, D,
                      window);
                from = x[b].from < from ? x[b].from : from;
                to = x[b].to > to ? x[b].to : to;
            }
            from = from > tile[2] ? from : tile[2], to = to < tile[3] ? to : tile[3];
            for (int64_t at = from; at < to; at += BLOCK_PAGES)
                for (int64_t b = 0; b < bands; b++) {
                    int64_t end = x[b].to < to ? x[b].to : to;
                    int64_t length = end - at < BLOCK_PAGES ? end - at : BLOCK_PAGES;
                    if (length > 0 && at >= x[b].from)
                        pass(x + b, keys + k * D * N, values + k * D * N, table + at, stride, at,
                             length, D, scale);
                }
            for (int64_t b = 0; b < bands; b++) finish(x + b, state, tile[4], out, D);
        }
}
