/* Initialisation without a checkpoint, from a seed.  Counter-based: a value depends on the seed, its tensor's name and
 * its place alone, so that it is the same whatever else the network has.  Generator: splitmix64 (Steele et al., 2014). */
#include <math.h>
#include <string.h>

#include "model/model.h"

static uint64_t mix(uint64_t x) {
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
    x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
    return x ^ (x >> 31);
}

/* In (0, 1). */
static double uniform(uint64_t base, uint64_t counter) {
    return ((double)(mix(base + counter) >> 12) + 0.5) * 0x1p-52;
}

/* The normal distribution's quantile, relative error below 1.2e-9 (P. J. Acklam, "An algorithm for computing the
 * inverse normal cumulative distribution function", 2003). */
static double normal_quantile(double p) {
    static const double a[] = {-3.969683028665376e+01, 2.209460984245205e+02,  -2.759285104469687e+02,
                               1.383577518672690e+02,  -3.066479806614716e+01, 2.506628277459239e+00};
    static const double b[] = {-5.447609879822406e+01, 1.615858368580409e+02, -1.556989798598866e+02,
                               6.680131188771972e+01, -1.328068155288572e+01};
    static const double c[] = {-7.784894002430293e-03, -3.223964580411365e-01, -2.400758277161838e+00,
                               -2.549732539343734e+00, 4.374664141464968e+00,  2.938163982698783e+00};
    static const double d[] = {7.784695709041462e-03, 3.224671290700398e-01, 2.445134137142996e+00,
                               3.754408661742416e+00};
    double tail = p < 0.5 ? p : 1 - p;
    if (tail < 0.02425) {
        double q = sqrt(-2 * log(tail));
        double x = (((((c[0] * q + c[1]) * q + c[2]) * q + c[3]) * q + c[4]) * q + c[5]) /
                   ((((d[0] * q + d[1]) * q + d[2]) * q + d[3]) * q + 1);
        return p < 0.5 ? x : -x;
    }
    double q = p - 0.5, r = q * q;
    return (((((a[0] * r + a[1]) * r + a[2]) * r + a[3]) * r + a[4]) * r + a[5]) * q /
           (((((b[0] * r + b[1]) * r + b[2]) * r + b[3]) * r + b[4]) * r + 1);
}

/* Cut at two standard deviations by drawing from that part of the distribution, as PyTorch's trunc_normal_ does. */
static double truncated_normal(double u) {
    const double below = 0.022750131948179212; /* the share left of -2 */
    return normal_quantile(below + u * (1 - 2 * below));
}

typedef struct job {
    const mf_parameter *p;
    uint64_t base;
    float *out;
    size_t count;
    int tasks;
} job;

static void task(void *arg, int index) {
    const job *j = arg;
    size_t begin = j->count * (size_t)index / (size_t)j->tasks, end = j->count * (size_t)(index + 1) / (size_t)j->tasks;
    double scale = j->p->init.value;
    for (size_t i = begin; i < end; i++) {
        double x = 1;
        if (j->p->init.kind == MF_INIT_UNIFORM)
            x = 2 * uniform(j->base, i) - 1;
        else if (j->p->init.kind == MF_INIT_NORMAL)
            x = normal_quantile(uniform(j->base, i));
        else if (j->p->init.kind == MF_INIT_TRUNCATED_NORMAL)
            x = truncated_normal(uniform(j->base, i));
        j->out[i] = (float)(scale * x);
    }
}

void mf_initialise(const mf_parameters *parameters, uint64_t seed, float *values) {
    for (size_t k = 0; k < parameters->count; k++) {
        const mf_parameter *p = &parameters->item[k];
        size_t count = mf_parameter_elements(p);
        int cores = mf_core_count();
        job j = {p, mix(seed) ^ mf_hash(p->name, strlen(p->name), 0), values, count, 1};
        if (count > 65536)
            j.tasks = cores < 16 ? cores : 16;
        mf_parallel(parameters->context, j.tasks, task, &j);
        values += count;
    }
}
