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

/* Box and Muller; with `cut` the value is drawn again until it lies within two standard deviations. */
static double normal(uint64_t base, uint64_t index, int cut) {
    const double two_pi = 6.283185307179586;
    for (uint64_t attempt = 0;; attempt++) {
        uint64_t at = index * 64 + (attempt % 32) * 2;
        double x = sqrt(-2 * log(uniform(base, at))) * cos(two_pi * uniform(base, at + 1));
        if (!cut || fabs(x) <= 2 || attempt == 31)
            return cut ? fmax(-2, fmin(2, x)) : x;
    }
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
        else if (j->p->init.kind != MF_INIT_CONSTANT)
            x = normal(j->base, i, j->p->init.kind == MF_INIT_TRUNCATED_NORMAL);
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
