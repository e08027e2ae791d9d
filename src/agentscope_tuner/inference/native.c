/* The small steps between matrix products, fused for CPUs. `native.py` compiles this file once for
 * bf16 and once for fp32 (ELEMENT_F32) and states each function's shapes; `ops.py` has the same
 * steps in plain torch, which the tests compare these with.
 *
 * Everything is computed in fp32 and rounded once, when it is stored. Vectors are GCC's and Clang's
 * portable ones: 16 floats are one register with AVX-512 and several elsewhere.
 *
 * Names: T tokens, H query heads, K key-value heads, D head size, N tokens a page, V vocabulary.
 */
#include <math.h>
#include <stdint.h>
#include <string.h>
#ifdef __AVX512BF16__
#include <immintrin.h>
#endif

#define N 16
#define BLOCK_PAGES 8
#define MAX_HEAD 256
#define MAX_GROUP 16

typedef float floats __attribute__((vector_size(4 * N)));
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

/* sum += q * k over the PACK elements of a word of the query and of N tokens' keys. */
static inline floats add_dot(floats sum, const element *q, const element *k) {
    words key = load_words(k);
#if defined(__AVX512BF16__) && PACK == 2
    int32_t pair;
    memcpy(&pair, q, sizeof pair);
    return (floats)_mm512_dpbf16_ps((__m512)sum, (__m512bh)_mm512_set1_epi32(pair), (__m512bh)key);
#else
    for (int i = 0; i < PACK; i++) sum += load(q[i]) * part(key, i);
    return sum;
#endif
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

static inline void norm(const element *x, const element *weight, element *out, int64_t size,
                        float eps) {
    float sum = 0;
#pragma omp simd reduction(+ : sum)
    for (int64_t i = 0; i < size; i++) sum += load(x[i]) * load(x[i]);
    float scale = 1.0f / sqrtf(sum / size + eps);
#pragma omp simd
    for (int64_t i = 0; i < size; i++) out[i] = store(load(x[i]) * scale * load(weight[i]));
}

/* x += y (unless y is NULL); out = x / rms(x) * weight. */
void add_norm(element *x, const element *y, const element *weight, element *out, int64_t rows,
              int64_t size, float eps) {
#pragma omp parallel for
    for (int64_t t = 0; t < rows; t++) {
        element *x_t = x + t * size;
        if (y) {
            const element *y_t = y + t * size;
#pragma omp simd
            for (int64_t i = 0; i < size; i++) x_t[i] = store(load(x_t[i]) + load(y_t[i]));
        }
        norm(x_t, weight, out + t * size, size, eps);
    }
}

/* out = silu(gate) * up, or gelu_tanh(gate) * up; gate and up are the halves of a row. Both are
 * gate * sigmoid(z), as tanh(x) = 2 sigmoid(2x) - 1. */
void gate(const element *gate_up, element *out, int64_t rows, int64_t size, int gelu) {
    float slope = gelu ? 1.59576912f : 1.0f, cubic = gelu ? 0.044715f : 0.0f;
#pragma omp parallel for
    for (int64_t t = 0; t < rows; t++) {
        const element *gate_t = gate_up + 2 * t * size, *up_t = gate_t + size;
        element *out_t = out + t * size;
#pragma omp simd
        for (int64_t i = 0; i < size; i++) {
            float g = load(gate_t[i]);
            float z = slope * (g + cubic * g * g * g);
            out_t[i] = store(g / (1.0f + exp_clamped(-z)) * load(up_t[i]));
        }
    }
}

static void rotate(element *x, const element *weight, float eps, const float *cos,
                   const float *sin, int64_t D) {
    float y[MAX_HEAD];
    float scale = 1.0f;
    if (weight) {
        float sum = 0;
        for (int64_t d = 0; d < D; d++) sum += load(x[d]) * load(x[d]);
        scale = 1.0f / sqrtf(sum / D + eps);
    }
    for (int64_t d = 0; d < D; d++)
        y[d] = weight ? load(store(load(x[d]) * scale * load(weight[d]))) : load(x[d]);
    for (int64_t d = 0, half = D / 2; d < half; d++) {
        x[d] = store(y[d] * cos[d] - y[d + half] * sin[d]);
        x[d + half] = store(y[d + half] * cos[d] + y[d] * sin[d]);
    }
}

/* Normalise (if there are weights) and rotate the queries and keys of each row of qkv in place, and
 * store its keys and values in the page and place of its token. */
void rotate_and_store(element *qkv, const element *q_norm, const element *k_norm, float eps,
                      const float *cos, const float *sin, const int64_t *positions,
                      const int64_t *span, const int32_t *pages, int64_t pages_a_span,
                      element *keys, element *values, int64_t T, int64_t H, int64_t K, int64_t D) {
#pragma omp parallel for
    for (int64_t t = 0; t < T; t++) {
        element *row = qkv + t * (H + 2 * K) * D;
        const float *cos_t = cos + positions[t] * (D / 2), *sin_t = sin + positions[t] * (D / 2);
        int64_t place = positions[t] % N;
        int64_t page = pages[span[t] * pages_a_span + positions[t] / N];
        for (int64_t h = 0; h < H; h++) rotate(row + h * D, q_norm, eps, cos_t, sin_t, D);
        for (int64_t k = 0; k < K; k++) {
            element *key = row + (H + k) * D, *value = key + K * D;
            rotate(key, k_norm, eps, cos_t, sin_t, D);
            element *key_page = keys + (page * K + k) * D * N;
            for (int64_t d = 0; d < D; d++)
                key_page[(d / PACK * N + place) * PACK + d % PACK] = key[d];
            memcpy(values + ((page * K + k) * N + place) * D, value, D * sizeof(element));
        }
    }
}

static inline void prefetch(const element *x, int64_t size) {
    for (int64_t i = 0; i < size; i += 64 / sizeof *x) __builtin_prefetch(x + i);
}

/* Attention of each token over its sequence up to itself, in blocks of pages with a running maximum
 * (Milakov and Gimelshein 2018). window 0: all of the sequence. */
void attend(const element *qkv, const element *keys, const element *values,
            const int64_t *positions, const int64_t *span, const int32_t *pages,
            int64_t pages_a_span, element *out, int64_t T, int64_t H, int64_t K, int64_t D,
            int64_t window, float scale) {
    int64_t group = H / K, words_a_head = D / PACK, chunks = words_a_head / N;
#pragma omp parallel for schedule(dynamic, 4)
    for (int64_t unit = 0; unit < T * K; unit++) {
        int64_t t = unit / K, k = unit % K;
        int64_t end = positions[t] + 1, first = window && window < end ? end - window : 0;
        const int32_t *page = pages + span[t] * pages_a_span;
        float scores[MAX_GROUP][BLOCK_PAGES * N], max[MAX_GROUP], sum[MAX_GROUP];
        floats acc[MAX_GROUP][MAX_HEAD / N];
        for (int64_t g = 0; g < group; g++) {
            memset(acc[g], 0, D * sizeof(float));
            max[g] = -INFINITY;
            sum[g] = 0;
        }
        for (int64_t p0 = first / N; p0 * N < end; p0 += BLOCK_PAGES) {
            int64_t count = (end - 1) / N + 1 - p0;
            count = count < BLOCK_PAGES ? count : BLOCK_PAGES;
            int64_t length = count * N, from = first - p0 * N, to = end - p0 * N;
            for (int64_t p = 0; p < count; p++) {
                const element *key_page = keys + (page[p0 + p] * K + k) * D * N;
                prefetch(values + (page[p0 + p] * K + k) * D * N, D * N);
                if (p + 1 < count) prefetch(keys + (page[p0 + p + 1] * K + k) * D * N, D * N);
                for (int64_t g = 0; g < group; g++) {
                    const element *q = qkv + t * (H + 2 * K) * D + (k * group + g) * D;
                    floats s0 = {0}, s1 = {0}, s2 = {0}, s3 = {0}; /* hide the adder's latency */
                    for (int64_t w = 0; w < words_a_head; w += 4) {
                        s0 = add_dot(s0, q + w * PACK, key_page + w * N * PACK);
                        s1 = add_dot(s1, q + (w + 1) * PACK, key_page + (w + 1) * N * PACK);
                        s2 = add_dot(s2, q + (w + 2) * PACK, key_page + (w + 2) * N * PACK);
                        s3 = add_dot(s3, q + (w + 3) * PACK, key_page + (w + 3) * N * PACK);
                    }
                    floats s = ((s0 + s1) + (s2 + s3)) * scale;
                    memcpy(&scores[g][p * N], &s, sizeof s);
                }
            }
            for (int64_t g = 0; g < group; g++) {
                float *s = scores[g], high = max[g], total = 0;
                for (int64_t j = 0; j < from; j++) s[j] = -INFINITY;
                for (int64_t j = to; j < length; j++) s[j] = -INFINITY;
#pragma omp simd reduction(max : high)
                for (int64_t j = 0; j < length; j++) high = s[j] > high ? s[j] : high;
#pragma omp simd reduction(+ : total)
                for (int64_t j = 0; j < length; j++) {
                    s[j] = exp_clamped(s[j] - high);
                    total += s[j];
                }
                float shrink = exp_clamped(max[g] - high);
                max[g] = high;
                sum[g] = sum[g] * shrink + total;
                for (int64_t c = 0; c < chunks; c++) {
                    floats a[PACK], b[PACK]; /* even and odd tokens */
                    for (int i = 0; i < PACK; i++) {
                        a[i] = acc[g][c * PACK + i] * shrink;
                        b[i] = (floats){0};
                    }
                    for (int64_t p = 0; p < count; p++) {
                        const element *value_page =
                            values + (page[p0 + p] * K + k) * N * D + c * N * PACK;
                        for (int64_t j = 0; j < N; j += 2) {
                            words even = load_words(value_page + j * D);
                            words odd = load_words(value_page + (j + 1) * D);
                            for (int i = 0; i < PACK; i++) {
                                a[i] += s[p * N + j] * part(even, i);
                                b[i] += s[p * N + j + 1] * part(odd, i);
                            }
                        }
                    }
                    for (int i = 0; i < PACK; i++) acc[g][c * PACK + i] = a[i] + b[i];
                }
            }
        }
        for (int64_t g = 0; g < group; g++) {
            element *out_g = out + (t * H + k * group + g) * D;
            for (int64_t c = 0; c < chunks; c++) {
                floats *parts = &acc[g][c * PACK];
                for (int i = 0; i < PACK; i++) parts[i] /= sum[g];
                words joined = join(parts);
                memcpy(out_g + c * N * PACK, &joined, sizeof joined);
            }
        }
    }
}

#define BLOCK 256

/* Draw one token a row from softmax(logits / temperature): where the running sum of probabilities
 * passes uniform times their total. Sums of blocks find the block, then its tokens are walked. */
void draw(const element *logits, const float *temperatures, const double *uniforms,
          int64_t *tokens, float *logprobs, int64_t rows, int64_t V) {
#pragma omp parallel for
    for (int64_t b = 0; b < rows; b++) {
        const element *x = logits + b * V;
        float inverse = 1.0f / temperatures[b], high = -INFINITY;
#pragma omp simd reduction(max : high)
        for (int64_t i = 0; i < V; i++) high = load(x[i]) > high ? load(x[i]) : high;
        float sums[V / BLOCK + 1];
        double total = 0;
        for (int64_t block = 0; block * BLOCK < V; block++) {
            int64_t start = block * BLOCK, stop = start + BLOCK < V ? start + BLOCK : V;
            float sum = 0;
#pragma omp simd reduction(+ : sum)
            for (int64_t i = start; i < stop; i++) sum += exp_clamped((load(x[i]) - high) * inverse);
            sums[block] = sum;
            total += sum;
        }
        double left = uniforms[b] * total;
        int64_t block = 0, last = (V - 1) / BLOCK;
        while (block < last && left >= sums[block]) left -= sums[block++];
        int64_t token = block * BLOCK, stop = token + BLOCK < V ? token + BLOCK : V;
        int64_t likely = token; /* taken if rounding has left something over at the end */
        while (token < stop && (left -= exp_clamped((load(x[token]) - high) * inverse)) >= 0) {
            likely = load(x[token]) > load(x[likely]) ? token : likely;
            token++;
        }
        token = token < stop ? token : likely;
        tokens[b] = token;
        logprobs[b] = (load(x[token]) - high) * inverse - (float)log(total);
    }
}
