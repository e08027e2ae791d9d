/* The draw of tokens. */
#include "common.h"

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
