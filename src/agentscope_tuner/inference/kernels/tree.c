/* Attention in which a token sees its ancestors, forward and backward, in fp32 whatever the element.
 *
 * A tile of queries goes through the keys that any of them sees, block by block, with a running
 * maximum (Milakov and Gimelshein 2018); going backward, a block's weights are computed again
 * (Dao et al. 2022). Operands are copied to scratch where the products read them in order, padded
 * with zeros. B queries of a tile and their G heads that share a key head are its rows,
 * r = g B + b; W is D rounded up to whole vectors. */
#include "common.h"

#define KEYS 64 /* keys of a block: with their values in the first cache */
#define HIDDEN -1e30f

typedef struct {
    const int64_t *tiles, *runs; /* [count][4]: first query, queries, first run, runs; [][2] */
    const int64_t *end, *depth;  /* [T]: where a token's subtree ends, its position in the text */
    int64_t count, H, K, D, window;
    int64_t first; /* query: before it are keys and values alone, and rows of queries begin there */
    float scale;
} tree;

/* c[m, n] = (or += ) a[m, k] b[k, n], where a's rows and columns are `row` and `column` apart. */
static inline __attribute__((always_inline)) void corner(const int R, const int V, int add,
                                                         int64_t k, const float *a, int64_t row,
                                                         int64_t column, const float *b,
                                                         int64_t b_row, float *c, int64_t c_row) {
    floats sums[MAX_ROWS][2];
#pragma GCC unroll 16
    for (int r = 0; r < R; r++)
#pragma GCC unroll 2
        for (int v = 0; v < V; v++)
            sums[r][v] = add ? load_floats(c + r * c_row + v * LANES) : (floats){0};
    for (int64_t i = 0; i < k; i++, a += column, b += b_row) {
        floats x[2];
#pragma GCC unroll 2
        for (int v = 0; v < V; v++) x[v] = load_floats(b + v * LANES);
#pragma GCC unroll 16
        for (int r = 0; r < R; r++)
#pragma GCC unroll 2
            for (int v = 0; v < V; v++) sums[r][v] = fused(all(a[r * row]), x[v], sums[r][v]);
    }
#pragma GCC unroll 16
    for (int r = 0; r < R; r++)
#pragma GCC unroll 2
        for (int v = 0; v < V; v++) memcpy(c + r * c_row + v * LANES, &sums[r][v], sizeof *sums[r]);
}

#define CASE(R)                                                                   \
    case R:                                                                       \
        if (wide) corner(R, 2, add, k, a, row, column, b + j, b_row, c + j, c_row); \
        else corner(R, 1, add, k, a, row, column, b + j, b_row, c + j, c_row);      \
        break;

static void multiply(int add, int64_t m, int64_t n, int64_t k, const float *a, int64_t row,
                     int64_t column, const float *b, int64_t b_row, float *c, int64_t c_row) {
    for (int64_t R; m > 0; m -= R, a += R * row, c += R * c_row) {
        R = m < MAX_ROWS ? m : MAX_ROWS;
        for (int64_t j = 0, wide; j < n; j += wide ? 2 * LANES : LANES) {
            wide = n - j >= 2 * LANES;
            switch (R) {
                CASE(1) CASE(2) CASE(3) CASE(4) CASE(5) CASE(6)
#if MAX_ROWS > 6
                CASE(7) CASE(8) CASE(9) CASE(10) CASE(11) CASE(12)
#endif
            }
        }
    }
}

/* A tile's queries and one key head: where they are, and the block of keys that they are at. */
typedef struct {
    int64_t first, B, G, rows, W, head; /* `head`: the first of its query heads */
    int64_t run, runs_end, next;        /* where in the tile's runs the next key is */
    int64_t keys[KEYS], count, width;   /* `width`: `count` in whole vectors */
} place;

static place place_of(const tree *x, int64_t u, int64_t k) {
    const int64_t *tile = x->tiles + 4 * u;
    place p = {.first = tile[0], .B = tile[1], .G = x->H / x->K, .W = (x->D + N - 1) / N * N};
    p.rows = p.B * p.G, p.head = k * p.G;
    p.run = tile[2], p.runs_end = tile[2] + tile[3], p.next = x->runs[2 * p.run];
    return p;
}

/* Go to the next block of keys; 0 if there is none. */
static int next_block(const tree *x, place *p) {
    for (p->count = 0; p->count < KEYS && p->run < p->runs_end;) {
        p->keys[p->count++] = p->next++;
        if (p->next == x->runs[2 * p->run + 1] && ++p->run < p->runs_end)
            p->next = x->runs[2 * p->run];
    }
    p->width = (p->count + N - 1) / N * N;
    return p->count > 0;
}

static int64_t row_of(const tree *x, const place *p, int64_t r) {
    return (p->first - x->first + r % p->B) * x->H + p->head + r / p->B;
}

/* rows[r][W] = scale * the tile's rows of all[T][H][D]. */
static void take_rows(const tree *x, const place *p, const float *all, float scale, float *rows) {
    for (int64_t r = 0; r < p->rows; r++) {
        const float *from = all + row_of(x, p, r) * x->D;
        for (int64_t d = 0; d < p->W; d++) rows[r * p->W + d] = d < x->D ? scale * from[d] : 0;
    }
}

/* block[KEYS][W] = the block's rows of all[T][K][D]. */
static void take_keys(const tree *x, const place *p, int64_t k, const float *all, float *block) {
    for (int64_t j = 0; j < p->count; j++) {
        const float *from = all + (p->keys[j] * x->K + k) * x->D;
        for (int64_t d = 0; d < p->W; d++) block[j * p->W + d] = d < x->D ? from[d] : 0;
    }
}

/* turned[W][KEYS] = the same, transposed; zeros behind the last key. */
static void turn_keys(const place *p, const float *block, float *turned) {
    for (int64_t d = 0; d < p->W; d++)
        for (int64_t j = 0; j < p->width; j++)
            turned[d * KEYS + j] = j < p->count ? block[j * p->W + d] : 0;
}

/* Mark the scores that a row must not see. */
static void hide(const tree *x, const place *p, float *scores) {
    int64_t last = p->first + p->B - 1, deepest = 0, whole = p->count == p->width;
    for (int64_t q = p->first; q <= last; q++)
        deepest = x->depth[q] > deepest ? x->depth[q] : deepest;
    for (int64_t j = 0; j < p->count && whole; j++)
        whole = p->keys[j] <= p->first && last < x->end[p->keys[j]] &&
                (!x->window || deepest - x->depth[p->keys[j]] < x->window);
    if (whole) return;
    for (int64_t r = 0; r < p->rows; r++) {
        int64_t q = p->first + r % p->B;
        for (int64_t j = 0; j < p->width; j++) {
            int64_t key = p->keys[j < p->count ? j : 0];
            int seen = j < p->count && key <= q && q < x->end[key] &&
                       (!x->window || x->depth[q] - x->depth[key] < x->window);
            if (!seen) scores[r * KEYS + j] = HIDDEN;
        }
    }
}

/* e^(x - high), exactly 0 for what is hidden. */
static inline floats weights(floats x, float high) {
    return (floats)(~(x <= HIDDEN) & (ints)exps(x - high));
}

/* Turn a row's scores into weights; returns the factor that earlier ones shrink by. */
static float weigh(float *scores, int64_t width, float *max, float *sum) {
    float highest = largest_of(scores, width, *max);
    floats sums = {0};
    for (int64_t j = 0; j < width; j += LANES) {
        floats w = weights(load_floats(scores + j), highest);
        memcpy(scores + j, &w, sizeof w);
        sums += w;
    }
    float shrink = exp_clamped(*max - highest);
    *max = highest;
    *sum = *sum * shrink + total(sums);
    return shrink;
}

/* Cut `count` floats off scratch. */
static float *cut(float **scratch, int64_t count) {
    float *start = *scratch;
    *scratch += count;
    return start;
}

static void attend_tile(const tree *x, int64_t u, int64_t k, const float *queries,
                        const float *keys, const float *values, float *scratch, float *out,
                        float *norms) {
    place p = place_of(x, u, k);
    float *query = cut(&scratch, p.rows * p.W), *sums = cut(&scratch, p.rows * p.W);
    float *scores = cut(&scratch, p.rows * KEYS), *block = cut(&scratch, KEYS * p.W);
    float *turned = cut(&scratch, KEYS * p.W);
    float *max = cut(&scratch, p.rows), *sum = cut(&scratch, p.rows);
    take_rows(x, &p, queries, x->scale, query);
    memset(sums, 0, p.rows * p.W * sizeof *sums);
    for (int64_t r = 0; r < p.rows; r++) max[r] = HIDDEN, sum[r] = 0;
    while (next_block(x, &p)) {
        take_keys(x, &p, k, keys, block);
        turn_keys(&p, block, turned);
        multiply(0, p.rows, p.width, p.W, query, p.W, 1, turned, KEYS, scores, KEYS);
        hide(x, &p, scores);
        for (int64_t r = 0; r < p.rows; r++) {
            float shrink = weigh(scores + r * KEYS, p.width, max + r, sum + r);
            if (shrink != 1)
                for (int64_t d = 0; d < p.W; d++) sums[r * p.W + d] *= shrink;
        }
        take_keys(x, &p, k, values, block);
        multiply(1, p.rows, p.W, p.count, scores, KEYS, 1, block, p.W, sums, p.W);
    }
    for (int64_t r = 0; r < p.rows; r++) {
        int64_t row = row_of(x, &p, r);
        for (int64_t d = 0; d < x->D; d++) out[row * x->D + d] = sums[r * p.W + d] / sum[r];
        norms[2 * row] = max[r], norms[2 * row + 1] = sum[r];
    }
}

/* Attend: queries [T - first, H, D], keys and values [T, K, D] -> out, as queries, and each row's
 * norms [T - first, H, 2], its maximum and its sum: together in one logarithm they would be less
 * exact. Each of `parts` takes every parts-th tile, with its own scratch for each key head. */
void tree_attend(const float *queries, const float *keys, const float *values,
                 const int64_t *tiles, int64_t count, const int64_t *runs, const int64_t *end,
                 const int64_t *depth, float *out, float *norms, float *scratch,
                 int64_t scratch_size, int64_t parts, int64_t H, int64_t K, int64_t D,
                 int64_t window, int64_t first, float scale) {
    tree x = {tiles, runs, end, depth, count, H, K, D, window, first, scale};
#pragma omp parallel for collapse(2) schedule(dynamic)
    for (int64_t k = 0; k < K; k++)
        for (int64_t part = 0; part < parts; part++)
            for (int64_t u = part; u < count; u += parts)
                attend_tile(&x, u, k, queries, keys, values,
                            scratch + (k * parts + part) * scratch_size, out, norms);
}

/* to[keys of the block] += block. */
static void add_keys(const tree *x, const place *p, int64_t k, const float *block, float *to) {
    for (int64_t j = 0; j < p->count; j++)
        for (int64_t d = 0; d < x->D; d++)
            to[(p->keys[j] * x->K + k) * x->D + d] += block[j * p->W + d];
}

typedef struct {
    const float *queries, *keys, *values, *out, *norms, *grad;
    float *grad_queries;
} operands;

static void back_through_tile(const tree *x, const operands *o, int64_t u, int64_t k,
                              float *scratch, float *grad_keys, float *grad_values) {
    place p = place_of(x, u, k);
    float *query = cut(&scratch, p.rows * p.W), *grad = cut(&scratch, p.rows * p.W);
    float *grad_query = cut(&scratch, p.rows * p.W);
    float *weight = cut(&scratch, p.rows * KEYS), *change = cut(&scratch, p.rows * KEYS);
    float *key = cut(&scratch, KEYS * p.W), *value = cut(&scratch, KEYS * p.W);
    float *turned = cut(&scratch, KEYS * p.W);
    float *max = cut(&scratch, p.rows), *share = cut(&scratch, p.rows);
    float *mean = cut(&scratch, p.rows);
    take_rows(x, &p, o->queries, x->scale, query);
    take_rows(x, &p, o->grad, 1, grad);
    memset(grad_query, 0, p.rows * p.W * sizeof *grad_query);
    for (int64_t r = 0; r < p.rows; r++) {
        int64_t row = row_of(x, &p, r);
        max[r] = o->norms[2 * row], share[r] = 1 / o->norms[2 * row + 1];
        mean[r] = 0; /* of the weights' gradients */
        for (int64_t d = 0; d < x->D; d++) mean[r] += grad[r * p.W + d] * o->out[row * x->D + d];
    }
    while (next_block(x, &p)) {
        take_keys(x, &p, k, o->keys, key);
        turn_keys(&p, key, turned);
        multiply(0, p.rows, p.width, p.W, query, p.W, 1, turned, KEYS, weight, KEYS);
        hide(x, &p, weight);
        take_keys(x, &p, k, o->values, value);
        turn_keys(&p, value, turned);
        multiply(0, p.rows, p.width, p.W, grad, p.W, 1, turned, KEYS, change, KEYS);
        for (int64_t r = 0; r < p.rows; r++)
            for (int64_t j = r * KEYS; j < r * KEYS + p.width; j += LANES) {
                floats w = weights(load_floats(weight + j), max[r]) * share[r];
                floats c = w * (load_floats(change + j) - mean[r]);
                memcpy(weight + j, &w, sizeof w);
                memcpy(change + j, &c, sizeof c);
            }
        multiply(1, p.rows, p.W, p.count, change, KEYS, 1, key, p.W, grad_query, p.W);
        multiply(0, p.count, p.W, p.rows, weight, 1, KEYS, grad, p.W, value, p.W);
        add_keys(x, &p, k, value, grad_values);
        multiply(0, p.count, p.W, p.rows, change, 1, KEYS, query, p.W, key, p.W);
        add_keys(x, &p, k, key, grad_keys);
    }
    for (int64_t r = 0; r < p.rows; r++)
        for (int64_t d = 0; d < x->D; d++)
            o->grad_queries[row_of(x, &p, r) * x->D + d] = x->scale * grad_query[r * p.W + d];
}

/* The gradients of `tree_attend`. Those of keys and values are added to what is there of each part
 * [parts, T, K, D]: which tiles a part has does not depend on the threads that run. */
void tree_attend_backward(const float *queries, const float *keys, const float *values,
                          const float *out, const float *norms, const float *grad,
                          const int64_t *tiles, int64_t count, const int64_t *runs,
                          const int64_t *end, const int64_t *depth, float *grad_queries,
                          float *grad_keys, float *grad_values, float *scratch,
                          int64_t scratch_size, int64_t parts, int64_t T, int64_t H, int64_t K,
                          int64_t D, int64_t window, int64_t first, float scale) {
    tree x = {tiles, runs, end, depth, count, H, K, D, window, first, scale};
    operands o = {queries, keys, values, out, norms, grad, grad_queries};
#pragma omp parallel for collapse(2) schedule(dynamic)
    for (int64_t k = 0; k < K; k++)
        for (int64_t part = 0; part < parts; part++)
            for (int64_t u = part; u < count; u += parts)
                back_through_tile(&x, &o, u, k, scratch + (k * parts + part) * scratch_size,
                                  grad_keys + part * T * K * D, grad_values + part * T * K * D);
}
