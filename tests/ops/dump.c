/* Writes the cases for torch_check.py: FOLDER/cases.jsonl, a line an operation, and NNNNN.<what>.npy: its inputs
 * (in0 ..), what `ref` makes of them in f64 (f64) and in f32 (f32). */
#include "graph/graph.h"
#include "ops.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef struct dump {
    const ops_backend *ref;
    const char *folder;
    FILE *index;
    int count, failures;
} dump;

static void write_npy(dump *d, const char *what, const mf_operand *o, const double *values) {
    char path[1024], shape[96] = "", header[256];
    for (int i = 0; i < o->ndim; i++) {
        size_t used = strlen(shape);
        snprintf(shape + used, sizeof(shape) - used, "%lld,", (long long)o->dim[i]);
    }
    snprintf(path, sizeof(path), "%s/%05d.%s.npy", d->folder, d->count, what);
    /* magic, version 1.0, length 118 = 0x76 of the header that follows, so that the values begin at 128 */
    snprintf(header, sizeof(header), "{'descr': '<f8', 'fortran_order': False, 'shape': (%s), }", shape);
    FILE *f = fopen(path, "wb");
    const size_t count = (size_t)mf_operand_count(o);
    if (!f || fprintf(f, "\x93NUMPY\x01") < 0 || fwrite("\0\x76\0", 1, 3, f) != 3 ||
        fprintf(f, "%-117s\n", header) < 0 || fwrite(values, sizeof(double), count, f) != count)
        d->failures++;
    if (f && fclose(f))
        d->failures++;
}

static void write_pair(FILE *f, const char *name, const int pair[2]) {
    fprintf(f, ", \"%s\": [%d, %d]", name, pair[0], pair[1]);
}

static void write_line(dump *d, const ops_case *c) {
    const mf_attrs *a = &c->op.attrs;
    FILE *f = d->index;
    fprintf(f, "{\"id\": \"%05d\", \"kind\": \"%s\", \"name\": \"%s\", \"inputs\": [", d->count, mf_op_name(c->op.kind),
            c->name);
    for (int i = 0; i < c->op.input_count; i++)
        fprintf(f, "%s%d", i ? ", " : "", mf_operand_present(&c->op.input[i]));
    fprintf(f, "], \"act\": %d, \"ta\": %d, \"tb\": %d, \"norm\": %d, \"eps\": %.17g, \"groups\": %d, \"heads\": %d",
            (int)a->act, a->ta, a->tb, a->norm, a->eps, a->groups, a->heads);
    fprintf(f, ", \"attention\": %d, \"axis\": %d, \"begin\": %d, \"end\": %d", (int)a->attention, a->axis,
            (int)a->begin, (int)a->end);
    fprintf(f, ", \"own\": %d, \"rate\": %.17g, \"drop_id\": %d, \"size\": [%d, %d]", a->own, a->rate, a->id,
            (int)a->size[0], (int)a->size[1]);
    write_pair(f, "kernel", a->kernel);
    write_pair(f, "stride", a->stride);
    write_pair(f, "pad", a->pad);
    fprintf(f, ", \"levels\": [");
    for (int i = 0; i < a->level_count; i++)
        fprintf(f, "%s[%d, %d]", i ? ", " : "", a->levels[i][0], a->levels[i][1]);
    fprintf(f, "]}\n");
}

static void dump_case(void *arg, const ops_case *c) {
    dump *d = arg;
    double *inputs[MF_MAX_INPUTS];
    const double *in[MF_MAX_INPUTS];
    if (c->weight != MF_F32 || c->op.kind == MF_OP_CAST) /* `ref` has one type only */
        return;
    ops_make_inputs(c, inputs);
    memcpy(in, inputs, sizeof(in));
    for (int i = 0; i < c->op.input_count; i++) {
        char what[16];
        snprintf(what, sizeof(what), "in%d", i);
        if (inputs[i])
            write_npy(d, what, &c->op.input[i], inputs[i]);
    }
    double *out = malloc((size_t)mf_operand_count(&c->op.output) * sizeof(double));
    for (int type = MF_F32; out && type <= MF_F64; type++) {
        ops_job job = {.op = c->op, .compute = (mf_dtype)type, .threads = 1, .inputs = in, .output = out};
        if (ops_run(d->ref, &job) == OPS_DONE)
            write_npy(d, type == MF_F64 ? "f64" : "f32", &c->op.output, out);
        else
            d->failures++;
    }
    free(out);
    ops_free_inputs(inputs);
    write_line(d, c);
    d->count++;
}

int ops_dump(const ops_backend *ref, const char *folder) {
    char path[1024];
    snprintf(path, sizeof(path), "%s/cases.jsonl", folder);
    dump d = {ref, folder, fopen(path, "w"), 0, 0};
    if (!d.index) {
        fprintf(stderr, "%s: %s\n", path, strerror(errno));
        return 1;
    }
    ops_each_case(dump_case, &d);
    if (fclose(d.index))
        d.failures++;
    printf("%d cases in %s, %d failures\n", d.count, folder, d.failures);
    return d.failures != 0;
}
