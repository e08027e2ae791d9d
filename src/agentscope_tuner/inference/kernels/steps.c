/* Norms, activation and rotation. */
#include "common.h"

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
