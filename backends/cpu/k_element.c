/* Element by element: ACT, ADD, MUL. */
#include "backends/cpu/vec.h"

#define LOOP(value, rest)                                                                                              \
    do {                                                                                                               \
        int64_t i = 0;                                                                                                 \
        for (; i + VL <= count; i += VL)                                                                               \
            v_store(y + i, value);                                                                                     \
        if (i < count) {                                                                                               \
            int n = (int)(count - i);                                                                                  \
            v_store_n(y + i, rest, n);                                                                                 \
        }                                                                                                              \
    } while (0)

/* One loop for each activation, so that none is chosen inside. */
#define BY_ACT(value, rest)                                                                                            \
    do {                                                                                                               \
        if (act == MF_ACT_GELU)                                                                                        \
            LOOP(v_gelu(value), v_gelu(rest));                                                                         \
        else if (act == MF_ACT_RELU)                                                                                   \
            LOOP(v_relu(value), v_relu(rest));                                                                         \
        else if (act == MF_ACT_SIGMOID)                                                                                \
            LOOP(v_sigmoid(value), v_sigmoid(rest));                                                                   \
        else if (act == MF_ACT_GELU_TANH)                                                                              \
            LOOP(v_gelu_tanh(value), v_gelu_tanh(rest));                                                               \
        else                                                                                                           \
            LOOP(value, rest);                                                                                         \
    } while (0)

void MF_FN(act)(const float *x, float *y, int64_t count, mf_act act) {
    BY_ACT(v_load(x + i), v_load_n(x + i, n));
}

void MF_FN(add)(const float *a, const float *b, float *y, int64_t count, mf_act act) {
    BY_ACT(v_load(a + i) + v_load(b + i), v_load_n(a + i, n) + v_load_n(b + i, n));
}

void MF_FN(mul)(const float *a, const float *b, float *y, int64_t count, mf_act act) {
    BY_ACT(v_load(a + i) * v_load(b + i), v_load_n(a + i, n) * v_load_n(b + i, n));
}

void MF_FN(add_scalar)(const float *a, float b, float *y, int64_t count, mf_act act) {
    BY_ACT(v_load(a + i) + b, v_load_n(a + i, n) + b);
}

void MF_FN(mul_scalar)(const float *a, float b, float *y, int64_t count, mf_act act) {
    BY_ACT(v_load(a + i) * b, v_load_n(a + i, n) * b);
}
