/* The graph: passes change no value, the memory plan overlaps nothing that lives at the same time. */
#include <math.h>
#include <string.h>

#include "session.h"

static const char *const backbones[] = {"convnext_atto", "resnet18", "resnet50"};

/* With folding and fusion or without: the same numbers, in f64. */
START_TEST(passes_change_nothing) {
    int preset = _i % 12;
    if (MF_SHORT && _i % 5)
        return;
    mfrgn_config *config = small_config(mfrgn_preset_name(preset), backbones[_i / 12]);
    if (mf_config_int(config, MFRGN_CONFIG_SAMPLE4GEO) && mf_config_backbone(config)->resnet) {
        mfrgn_config_free(config);
        return;
    }
    mfrgn_model *model = filled_model(config);
    size_t size = mfrgn_model_descriptor_size(model);
    float *a = malloc(size * sizeof(float)), *b = malloc(size * sizeof(float));
    mfrgn_session *plain = session_of(model, "f64", 1), *passed = session_of(model, "f64", 1);
    plain->no_passes = 1;
    for (int view = 0; view < 2; view++) {
        embed(plain, (mfrgn_view)view, 1, a);
        embed(passed, (mfrgn_view)view, 1, b);
        double worst = 0;
        for (size_t i = 0; i < size; i++) {
            double difference = fabs((double)a[i] - b[i]);
            if (difference > worst) /* fmax() here crashes gcc 12 for aarch64 */
                worst = difference;
        }
        ck_assert_msg(worst < 1e-8, "%s view %d: %g", mfrgn_preset_name(preset), view, worst);
        ck_assert_uint_lt(passed->view[view].program.step_count, plain->view[view].program.step_count);
    }
    mfrgn_session_free(plain);
    mfrgn_session_free(passed);
    mfrgn_model_free(model);
    mfrgn_config_free(config);
    free(a);
    free(b);
}
END_TEST

/* ---- the memory plan, checked by writing: every step marks its output, and what it reads must still be marked ---- */

static size_t bytes_of(const mf_graph *g, mf_value v) {
    size_t n = 8;
    for (int i = 0; i < g->tensor[v].ndim; i++)
        n *= (size_t)g->tensor[v].dim[i];
    return n;
}

/* Runs the plan with numbers in place of values: each element holds the value that it is meant to be.  Views hold
 * their source's number. */
static void simulate(const mf_graph *g, const mf_plan *plan, const mf_need *need) {
    int64_t *arena = malloc(plan->arena_bytes);
    memset(arena, 0xff, plan->arena_bytes);
    int64_t *in = (int64_t *)((char *)arena + plan->offset[g->input]);
    for (size_t i = 0; i < bytes_of(g, g->input) / 8; i++)
        in[i] = (int64_t)g->input << 40 | (int64_t)i;
    int64_t *meaning[4096] = {NULL}; /* what each value must hold */
    meaning[g->input] = malloc(bytes_of(g, g->input));
    memcpy(meaning[g->input], in, bytes_of(g, g->input));
    ck_assert_uint_lt(g->tensor_count, MF_COUNT(meaning));
    for (size_t k = 0; k < g->node_count; k++) {
        const mf_node *n = &g->node[k];
        size_t bytes = bytes_of(g, n->output);
        for (int i = 0; i < n->input_count; i++) {
            mf_value v = n->input[i];
            if (v < 0 || g->tensor[v].role == MF_ROLE_CONSTANT)
                continue;
            ck_assert_msg(!memcmp((char *)arena + plan->offset[v], meaning[v], bytes_of(g, v)),
                          "node %zu (%s) reads value %d that was overwritten", k, mf_op_name(n->kind), v);
        }
        int64_t *made = malloc(bytes);
        for (size_t i = 0; i < bytes / 8; i++)
            made[i] = (int64_t)n->output << 40 | (int64_t)i;
        if (n->kind == MF_OP_RESHAPE)
            memcpy(made, meaning[n->input[0]], bytes);
        size_t outer = 1;
        for (int i = 0; i < n->attrs.axis; i++)
            outer *= (size_t)g->tensor[n->output].dim[i];
        for (size_t i = 0, at = 0; n->kind == MF_OP_CONCAT && i < (size_t)n->input_count; i++) {
            size_t part = bytes_of(g, n->input[i]) / outer;
            for (size_t o = 0; o < outer; o++)
                memcpy((char *)made + o * (bytes / outer) + at, (char *)meaning[n->input[i]] + o * part, part);
            at += part;
        }
        if (n->kind == MF_OP_SLICE) {
            size_t from = bytes_of(g, n->input[0]) / outer, to = bytes / outer;
            size_t skip = to / (size_t)(n->attrs.end - n->attrs.begin) * (size_t)n->attrs.begin;
            for (size_t o = 0; o < outer; o++)
                memcpy((char *)made + o * to, (char *)meaning[n->input[0]] + o * from + skip, to);
        }
        memset((char *)arena + plan->scratch_offset[k], 0x5a, need[k].scratch_bytes);
        memcpy((char *)arena + plan->offset[n->output], made, bytes);
        meaning[n->output] = made;
    }
    for (size_t v = 0; v < g->tensor_count; v++)
        free(meaning[v]);
    free(arena);
}

START_TEST(plan_overlaps_nothing) {
    mfrgn_config *config = small_config(mfrgn_preset_name(_i % 12), "convnext_atto");
    mf_parameters table = {.context = context};
    for (int64_t batch = 1; batch <= 3; batch += 2) {
        mf_graph *g;
        OK(mf_network_build(context, config, &table, (mfrgn_view)(_i / 12), batch, &g));
        mf_need need[2048];
        size_t sum = 0;
        OK(mf_graph_set_types(g, MF_F64));
        ck_assert_uint_lt(g->node_count, MF_COUNT(need));
        for (size_t i = 0; i < g->node_count; i++) {
            need[i] = (mf_need){g->node[i].kind == MF_OP_RESHAPE ? 0 : 64, 1};
            sum += bytes_of(g, g->node[i].output);
        }
        mf_plan *plan;
        OK(mf_plan_create(g, need, &plan));
        simulate(g, plan, need);
        ck_assert_uint_lt(plan->arena_bytes, sum / 3); /* it does share memory */
        mf_plan_free(plan);
        mf_graph_free(g);
    }
    mf_free(context, table.item);
    mfrgn_config_free(config);
}
END_TEST

/* In 16 bits every operand has the type that the rule says, and a cast stands only where a type changes. */
START_TEST(types_of_16_bits_fit) {
    mfrgn_config *config = small_config(mfrgn_preset_name(_i), _i % 2 ? "resnet18" : "convnext_atto");
    mf_parameters table = {.context = context};
    mf_graph *g;
    size_t narrow = 0;
    OK(mf_network_build(context, config, &table, MFRGN_VIEW_AERIAL, 2, &g));
    OK(mf_graph_set_types(g, MF_BF16));
    ck_assert_int_eq(g->tensor[g->input].dtype, MF_F32);
    ck_assert_int_eq(g->tensor[g->output].dtype, MF_F32);
    for (size_t i = 0; i < g->node_count; i++) {
        mf_op op;
        mf_graph_op(g, &g->node[i], &op);
        ck_assert_int_eq(g->tensor[g->node[i].output].node, (int)i);
        if (op.kind == MF_OP_CAST) {
            ck_assert_int_ne(op.input[0].dtype, op.output.dtype);
            continue;
        }
        narrow += op.output.dtype == MF_BF16;
        int wide = op.output.dtype == MF_F32; /* of an operation that may be either */
        for (int k = 0; k < op.input_count; k++) {
            ck_assert(!mf_operand_present(&op.input[k]) ||
                      op.input[k].dtype == mf_operand_type(&op, k, MF_BF16, wide));
            ck_assert_int_lt(g->node[i].input[k] < 0 ? -1 : g->tensor[g->node[i].input[k]].node, (int)i);
        }
    }
    ck_assert_uint_gt(narrow, g->node_count / 2);
    mf_graph_free(g);
    mf_free(context, table.item);
    mfrgn_config_free(config);
}
END_TEST

/* An image's place in the batch, and what lies beside it, change no bit. */
START_TEST(place_in_batch_changes_no_bit) {
    mfrgn_config *config = small_config("cvusa", "convnext_atto");
    mfrgn_model *model = filled_model(config);
    size_t size = mfrgn_model_descriptor_size(model);
    float *three = malloc(3 * size * sizeof(float)), *one = malloc(size * sizeof(float));
    mfrgn_session *session = session_of(model, "f32", 2);
    embed(session, MFRGN_VIEW_GROUND, 3, three);
    embed(session, MFRGN_VIEW_GROUND, 1, one);
    ck_assert(!memcmp(three, one, size * sizeof(float)));
    ck_assert(memcmp(three, three + size, size * sizeof(float)));
    mfrgn_session_free(session);
    mfrgn_model_free(model);
    mfrgn_config_free(config);
    free(three);
    free(one);
}
END_TEST

START_TEST(misfits_are_refused) {
    mf_graph *g = mf_graph_create(context);
    mf_value x = mf_graph_input(g, "x", 4, (int64_t[]){1, 8, 8, 3});
    mf_value w = mf_graph_weight(g, "w", 0, MF_F32, 2, (int64_t[]){5, 4});
    ck_assert_int_eq(mf_matmul(g, x, w, -1, 0, 1), -1);
    ck_assert_int_eq(g->status, MFRGN_ERROR_INTERNAL);
    ck_assert_ptr_nonnull(strstr(mfrgn_context_last_error(context), "inner dimensions"));
    ck_assert_int_eq(mf_add(g, x, x), -1); /* after an error nothing is built */
    mf_graph_free(g);
}
END_TEST

int main(void) {
    Suite *suite = suite_create("graph");
    TCase *cases = tcase_create("graph");
    tcase_add_checked_fixture(cases, open_context, close_context);
    tcase_set_timeout(cases, 300);
    tcase_add_loop_test(cases, passes_change_nothing, 0, MF_SHORT ? 24 : 36);
    tcase_add_loop_test(cases, plan_overlaps_nothing, 0, MF_SHORT ? 12 : 24);
    tcase_add_loop_test(cases, types_of_16_bits_fit, 0, 12);
    tcase_add_test(cases, place_in_batch_changes_no_bit);
    tcase_add_test(cases, misfits_are_refused);
    suite_add_tcase(suite, cases);
    return mf_run_suite(suite);
}
