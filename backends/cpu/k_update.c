/* The optimiser: AdamW of one piece of a tensor.
 *
 *   g = clamp(scale gradient);  m = b1 m + (1 - b1) g;  v = b2 v + (1 - b2) g^2
 *   p = p (1 - rate decay) - rate / correction1 m / (sqrt(v) / sqrt(correction2) + eps)
 *
 * One pass over four arrays (five with an average): bound by memory.  Pieces go to the threads (op_update.c); each
 * value is computed in the same way whatever its piece. */
#include "backends/cpu/vec.h"

typedef struct factors {
    float b1, c1, b2, c2, eps, root, step, shrink, scale, clip, keep, take;
} factors;

static factors factors_of(const mf_update *u, const mf_update_item *item) {
    return (factors){(float)u->beta1,
                     (float)(1 - u->beta1),
                     (float)u->beta2,
                     (float)(1 - u->beta2),
                     (float)u->eps,
                     (float)(1 / sqrt(u->correction2)),
                     (float)(item->rate / u->correction1),
                     (float)(1 - item->rate * item->decay),
                     (float)u->gradient_scale,
                     u->clip_value > 0 ? (float)u->clip_value : INFINITY,
                     (float)u->average_decay,
                     (float)(1 - u->average_decay)};
}

MF_INLINE void step(const factors *f, float *p, float *m, float *v, const float *g, float *average, const int n) {
    vf x = n == VL ? v_load(g) : v_load_n(g, n), pp = n == VL ? v_load(p) : v_load_n(p, n);
    vf mm = n == VL ? v_load(m) : v_load_n(m, n), vv = n == VL ? v_load(v) : v_load_n(v, n);
    x = v_min(v_set(f->clip), v_max(v_set(-f->clip), x * f->scale)); /* in this order NaN stays */
    mm = mm * f->b1 + x * f->c1;
    vv = vv * f->b2 + x * x * f->c2;
    pp = pp * f->shrink - f->step * mm / (v_sqrt(vv) * f->root + f->eps);
    if (n == VL) {
        v_store(m, mm);
        v_store(v, vv);
        v_store(p, pp);
    } else {
        v_store_n(m, mm, n);
        v_store_n(v, vv, n);
        v_store_n(p, pp, n);
    }
    if (average) {
        vf a = (n == VL ? v_load(average) : v_load_n(average, n)) * f->keep + pp * f->take;
        v_store_n(average, a, n);
    }
}

void MF_FN(update)(const mf_update *u, const mf_update_item *item, int64_t begin, int64_t count) {
    const factors f = factors_of(u, item);
    float *p = (float *)item->value + begin, *m = (float *)item->m + begin, *v = (float *)item->v + begin;
    const float *g = (const float *)item->gradient + begin;
    float *average = item->average ? (float *)item->average + begin : NULL;
    int64_t i = 0;
    if (average)
        for (; i + VL <= count; i += VL)
            step(&f, p + i, m + i, v + i, g + i, average + i, VL);
    else
        for (; i + VL <= count; i += VL)
            step(&f, p + i, m + i, v + i, g + i, NULL, VL);
    if (i < count)
        step(&f, p + i, m + i, v + i, g + i, average ? average + i : NULL, (int)(count - i));
}
