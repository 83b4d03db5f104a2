/* Where a step of training goes: convnext_tiny, views of 128x128 and 64x256, batch 8, on one backend.
 *
 *   bench_step [backend [threads [repetitions [backbone [batch [turns]]]]]]
 *
 * turns: steps whose views share the backbone's graph (docs/decisions/0020) in turns with steps that compute them one
 * after the other, by medians; 0 repetitions: plans alone.  Without it: each operation's best time of all repetitions,
 * summed by kind and then by kind and shape, with GFLOP/s where something is multiplied.  threads "p": one thread, in
 * processor time, for a machine that is busy with other things.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "train/trainer.h"

static int processor;

static double now(void) {
    struct timespec t;
    clock_gettime(processor ? CLOCK_THREAD_CPUTIME_ID : CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static int fill(void *user, const char *name, const size_t *shape, int dims, float *values) {
    uint32_t *seed = user;
    size_t n = 1;
    for (int i = 0; i < dims; i++)
        n *= shape[i];
    int positive = dims < 2 && !strstr(name, "bias") && !strstr(name, "mean");
    for (size_t i = 0; i < n; i++) {
        *seed = *seed * 1664525u + 1013904223u;
        float x = (float)(*seed >> 8) / (1 << 24) - 0.5f;
        values[i] = positive ? 1 + 0.2f * x : 0.05f * x;
    }
    return 0;
}

typedef struct line {
    char name[120];
    double seconds, flops;
    int count;
} line;

static line lines[1024];
static int line_count;

static line *line_of(const char *name) {
    for (int i = 0; i < line_count; i++)
        if (!strcmp(lines[i].name, name))
            return &lines[i];
    if (line_count + 1 == (int)MF_COUNT(lines))
        return &lines[0];
    snprintf(lines[line_count].name, sizeof(lines->name), "%s", name);
    return &lines[line_count++];
}

static int by_time(const void *a, const void *b) {
    double x = ((const line *)a)->seconds, y = ((const line *)b)->seconds;
    return (x < y) - (x > y);
}

static void print_lines(const char *title, double all) {
    qsort(lines, (size_t)line_count, sizeof(*lines), by_time);
    printf("%s\n", title);
    for (int i = 0; i < line_count; i++) {
        printf("%8.2f ms %5.1f %% %4d x %s", lines[i].seconds * 1e3, 100 * lines[i].seconds / all, lines[i].count,
               lines[i].name);
        if (lines[i].flops > 0)
            printf(", %.1f GFLOP/s", lines[i].flops / lines[i].seconds * 1e-9);
        printf("\n");
    }
    line_count = 0;
    memset(lines, 0, sizeof(lines));
}

static void describe(const mf_op *op, char *text, size_t room) {
    int n = snprintf(text, room, "%s%s%s%s", mf_op_name(op->kind), op->attrs.ta ? " ta" : "", op->attrs.tb ? " tb" : "",
                     op->attrs.act ? " act" : "");
    for (int i = -1; i < op->input_count; i++) {
        const mf_operand *o = i < 0 ? &op->output : &op->input[i];
        if (i == 3 || n >= (int)room - 30)
            break;
        if (o->ndim < 0)
            continue;
        n += snprintf(text + n, room - (size_t)n, i < 0 ? " " : i == 0 ? " <- " : ", ");
        for (int k = 0; k < o->ndim; k++)
            n += snprintf(text + n, room - (size_t)n, "%s%ld", k ? "x" : "", (long)o->dim[k]);
    }
    if (op->input_count > MF_IN_RESIDUAL && op->kind == MF_OP_MATMUL && mf_operand_present(&op->input[MF_IN_RESIDUAL]))
        snprintf(text + n, room - (size_t)n, " + residual");
}

static void add_line(const char *name, double seconds, double flops) {
    line *l = line_of(name);
    l->seconds += seconds;
    l->flops += flops;
    l->count++;
}

static void report(const mf_program *p, const double *best) {
    double all = 0;
    for (size_t i = 0; i < p->step_count; i++)
        all += best[i] < 1e9 ? best[i] : 0;
    for (int shapes = 0; shapes < 2; shapes++) {
        for (size_t i = 0; i < p->step_count; i++) {
            char text[120];
            mf_op op;
            if (!p->step[i].kernel)
                continue;
            mf_graph_op(p->graph, &p->graph->node[i], &op);
            describe(&op, text, sizeof(text));
            add_line(shapes ? text : mf_op_name(op.kind), best[i], mf_op_flops(&op));
        }
        print_lines(shapes ? "by shape" : "by kind", all);
    }
    printf("sum of the best %.2f ms\n", all * 1e3);
}

static void *at(mf_address a, char *arena, void *const *slots) {
    return a.offset == SIZE_MAX ? NULL : (a.slot < 0 ? arena : (char *)slots[a.slot]) + a.offset;
}

static void run(mfrgn_trainer *t, const mf_program *p, double *best) {
    t->engine.backend->table->stream_begin(t->engine.stream);
    for (size_t i = 0; i < p->step_count; i++) {
        const mf_step *s = &p->step[i];
        const void *input[MF_MAX_INPUTS];
        if (!s->kernel)
            continue;
        for (int k = 0; k < MF_MAX_INPUTS; k++)
            input[k] = s->constant[k] ? s->constant[k] : at(s->input[k], t->arena, t->slot);
        double start = now();
        t->engine.backend->table->run(s->kernel, input, at(s->output, t->arena, t->slot),
                                      (char *)t->arena + s->scratch);
        best[i] = fmin(best[i], now() - start);
    }
    t->engine.backend->table->stream_end(t->engine.stream);
}

static int check(mfrgn_context *context, mfrgn_status status) {
    if (status != MFRGN_OK)
        fprintf(stderr, "%s\n", mfrgn_context_last_error(context));
    return status == MFRGN_OK;
}

static mfrgn_trainer *make_trainer(mfrgn_context *context, const char *backend, const char *threads,
                                   const char *backbone) {
    mfrgn_config *config = NULL;
    mfrgn_model *model = NULL;
    mfrgn_train_options *options = NULL;
    mfrgn_trainer *t = NULL;
    uint32_t seed = 1;
    if (check(context, mfrgn_config_create(context, "cvusa", &config)) &&
        check(context, mfrgn_config_set(config, MFRGN_CONFIG_BACKBONE, backbone)) &&
        check(context, mfrgn_config_set(config, MFRGN_CONFIG_AERIAL_SIZE, "128x128")) &&
        check(context, mfrgn_config_set(config, MFRGN_CONFIG_GROUND_SIZE, "64x256")) &&
        check(context, mfrgn_model_create_filled(context, config, fill, &seed, &model)) &&
        check(context, mfrgn_train_options_create(context, &options)) &&
        check(context, mfrgn_train_options_set(options, MFRGN_TRAIN_BACKEND, backend)) &&
        check(context, mfrgn_train_options_set(options, MFRGN_TRAIN_THREADS, threads)))
        check(context, mfrgn_trainer_create(model, options, &t));
    mfrgn_train_options_free(options);
    mfrgn_model_free(model);
    mfrgn_config_free(config);
    return t;
}

static double train_step(mfrgn_trainer *t, size_t n) {
    enum { MOST = 64 };
    static unsigned char pixels[256 * 128 * 3];
    mfrgn_image image[2][MOST];
    for (size_t i = 0; i < sizeof(pixels); i++)
        pixels[i] = (unsigned char)(i * 2654435761u >> 24);
    for (int view = 0; view < 2; view++) {
        int width, height;
        mfrgn_model_input_size(t->model, (mfrgn_view)view, &width, &height);
        for (size_t i = 0; i < n && i < MOST; i++)
            image[view][i] = (mfrgn_image){sizeof(mfrgn_image), pixels + i * 64, width, height, 0, MFRGN_PIXEL_RGB8};
    }
    float loss = 0;
    double start = now();
    if (!check(t->context, mfrgn_train_step(t, image[0], image[1], n, &loss)))
        exit(1);
    return now() - start;
}

/* ---- both views together, or one after the other ---- */

static double median(double *times, int count) {
    for (int i = 0; i < count; i++)
        for (int k = i + 1; k < count; k++)
            if (times[k] < times[i]) {
                double swap = times[i];
                times[i] = times[k];
                times[k] = swap;
            }
    return count ? (times[(count - 1) / 2] + times[count / 2]) / 2 : NAN;
}

static int count_steps(const mf_program *p) {
    int count = 0;
    for (size_t i = 0; i < p->step_count; i++)
        count += p->step[i].kernel != NULL;
    return count;
}

/* t: view by view, then joint. */
static int take_turns(mfrgn_trainer *const t[2], int repeat, size_t batch) {
    enum { MOST = 1000 };
    static double times[2][MOST];
    mf_train_plan *plan;
    repeat = repeat < MOST ? repeat : MOST;
    for (int k = 0; k < 2; k++) {
        t[k]->joint = k;
        if (!check(t[k]->context, mf_train_plan_get(t[k], batch, &plan)))
            return 1;
        if (repeat)
            train_step(t[k], batch);
    }
    for (int i = 0; i < repeat; i++)
        for (int k = 0; k < 2; k++)
            times[k][i] = train_step(t[k], batch);
    for (int k = 0; k < 2; k++)
        printf("%-12s %8.1f ms, arena %8.1f MB, %d operations that run\n", k ? "together" : "one by one",
               median(times[k], repeat) * 1e3, (double)t[k]->plans->arena_bytes * 1e-6,
               count_steps(&t[k]->plans->whole));
    return 0;
}

int main(int argc, char **argv) {
    mfrgn_context *context = NULL;
    const char *backend = argc > 1 ? argv[1] : "openblas", *threads = argc > 2 ? argv[2] : "2";
    const char *backbone = argc > 4 ? argv[4] : "convnext_tiny";
    int repeat = argc > 3 ? atoi(argv[3]) : 10;
    size_t batch = argc > 5 ? (size_t)atoi(argv[5]) : 8;
    processor = !strcmp(threads, "p");
    if (mfrgn_context_create(NULL, &context))
        return 1;
    mfrgn_trainer *t = make_trainer(context, backend, processor ? "1" : threads, backbone);
    if (!t)
        return 1;
    if (argc > 6) {
        mfrgn_trainer *other = make_trainer(context, backend, processor ? "1" : threads, backbone);
        int failed = !other || take_turns((mfrgn_trainer *[]){t, other}, repeat, batch);
        mfrgn_trainer_free(t);
        mfrgn_trainer_free(other);
        mfrgn_context_free(context);
        return failed;
    }
    double first = train_step(t, batch), whole = INFINITY;
    for (int i = 0; i < repeat; i++)
        whole = fmin(whole, train_step(t, batch));
    const mf_program *p = &t->plans->whole;
    double *best = malloc((p->step_count + 1) * sizeof(*best));
    if (!best)
        return 1;
    for (size_t i = 0; i < p->step_count; i++)
        best[i] = 1e9;
    for (int i = 0; i < repeat; i++)
        run(t, p, best);
    report(p, best);
    printf("a step: first %.1f ms, best %.1f ms, %.1f GFLOP, %.1f GFLOP/s; arena %.1f MB\n", first * 1e3, whole * 1e3,
           t->last_flops * 1e-9, t->last_flops / whole * 1e-9, (double)t->arena_bytes * 1e-6);
    free(best);
    mfrgn_trainer_free(t);
    mfrgn_context_free(context);
    return 0;
}
