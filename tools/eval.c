/* SPDX-License-Identifier: Apache-2.0 */
/* mfrgn eval: the published metrics of a data set, or of descriptors on disk, beside the paper's. */
#include <stdlib.h>
#include <string.h>

#include <mfrgn/evaluate.h>

#include "common.h"
#include "json_out.h"
#include "out.h"
#include "paper.h"
#include "progress.h"

enum { MAX_TASKS = 4, SHOWN = 10 };

typedef struct eval_options {
    const char *dataset, *root, *split, *protocol, *json, *cache, *descriptors, *labels;
    int corrected;
} eval_options;

typedef struct eval_work {
    const tool_options *options;
    const eval_options *eval;
    progress_bar bar;
    int bar_is_on;
    size_t skipped;
    mfrgn_metrics metrics[MAX_TASKS];
    int tasks;
    const mfrgn_dataset *dataset; /* or NULL: descriptors */
    mfrgn_dataset_info info;
} eval_work;

static const tool_option own_options[] = {
    {"dataset", 'd', "NAME", "cvusa, cvact, vigor, u1652, pairs"},
    {"root", 'r', "DIR", "its folder (pairs: the folder of pairs.csv, or the CSV)"},
    {"split", 's', "NAME", "val (cvusa, cvact), test; train; pairs: a word of its column split"},
    {"protocol", 0, "NAME", "vigor: same, cross; u1652: published (gallery without foreign ids), plain"},
    {"corrected", 0, NULL, "vigor: the lists in splits__corrected"},
    {"json", 'j', "FILE", "write JSON; - is stdout, in place of the table"},
    {"cache", 0, "DIR", "keep descriptors there, by model and data, and use what is there"},
    {"descriptors", 0, "Q.npy", "no pictures: descriptors of queries here, of references as argument"},
    {"labels", 0, "FILE", "CSV, a line a query: 0-based row of its reference, then semi-positives; u1652: all true"},
    {NULL, 0, NULL, NULL},
};

static int take(void *user, const char *name, const char *value) {
    eval_options *eval = user;
    const struct {
        const char *name, **text;
    } known[] = {{"dataset", &eval->dataset},         {"root", &eval->root},    {"split", &eval->split},
                 {"protocol", &eval->protocol},       {"json", &eval->json},    {"cache", &eval->cache},
                 {"descriptors", &eval->descriptors}, {"labels", &eval->labels}};
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (!strcmp(known[i].name, name))
            *known[i].text = value;
    if (!strcmp(name, "corrected"))
        eval->corrected = 1;
    if (!strcmp(name, "dataset")) {
        int i = 0;
        while (mfrgn_dataset_name(i) && strcmp(mfrgn_dataset_name(i), value))
            i++;
        if (!mfrgn_dataset_name(i))
            return tool_usage("--dataset takes cvusa, cvact, vigor, u1652 or pairs, not '%s'", value);
    }
    return 0;
}

/* ---------------------------------------------------------------------------------------------- progress ------ */

static void stage(void *user, const char *name, size_t total) {
    eval_work *work = user;
    if (work->bar_is_on)
        progress_end(&work->bar);
    progress_begin(&work->bar, name, total, !work->options->quiet);
    work->bar_is_on = 1;
}

static int update(void *user, size_t done, size_t total) {
    eval_work *work = user;
    (void)total;
    if (work->bar_is_on)
        progress_update(&work->bar, done);
    return tool_stopped();
}

static void skipped(void *user, const char *path, const char *why) {
    eval_work *work = user;
    progress_clear(&work->bar);
    work->skipped++;
    if (strstr(why, path))
        tool_error("%s: skipped", why);
    else
        tool_error("%s: %s: skipped", path, why);
}

/* ---------------------------------------------------------------------------------------------- output -------- */

/* The paper's figures are of the pairs that are kept for evaluation: "val" or "test", each reader's default. */
static int row_fits(const paper_row *row, const eval_work *work, const char *task) {
    const char *protocol = work->dataset ? work->info.protocol : work->eval->protocol;
    const char *split = work->dataset ? work->info.split : work->eval->split;
    if (split && strcmp(split, !strncmp(row->dataset, "cv", 2) ? "val" : "test"))
        return 0;
    return work->eval->dataset && !strcmp(row->dataset, work->eval->dataset) && !strcmp(row->task, task) &&
           (!row->protocol || !protocol || !strcmp(row->protocol, protocol));
}

static void print_cell(double value) {
    if (value < 0)
        printf("      -");
    else
        printf(" %6.2f", value);
}

/* The figures of one row; the hit rate where there are semi-positives, AP where truths are several. */
static void print_row(const char *name, const double *recall, double hit_rate, double ap, const mfrgn_metrics *like) {
    printf("  %-38s", name);
    for (int i = 0; i < 4; i++)
        print_cell(recall[i]);
    if (like->has_semi)
        print_cell(hit_rate);
    if (like->multiple || ap >= 0)
        print_cell(ap);
    putchar('\n');
}

static void print_task(const eval_work *work, const mfrgn_metrics *m) {
    const double recall[4] = {m->recall_1, m->recall_5, m->recall_10, m->recall_percent};
    int is_u1652 = work->eval->dataset && !strcmp(work->eval->dataset, "u1652"), ap = m->multiple || is_u1652;
    printf("%s: %s queries, %s references\n", m->task, tool_thousands(m->queries), tool_thousands(m->references));
    printf("  %-38s    R@1    R@5   R@10   R@1%%%s%s\n", "", m->has_semi ? "    hit" : "", ap ? "     AP" : "");
    print_row(work->dataset ? "this model" : "these descriptors", recall, m->hit_rate, ap ? m->ap : -1, m);
    for (int i = 0; i < paper_row_count; i++)
        if (row_fits(&paper_rows[i], work, m->task))
            print_row(paper_rows[i].method, paper_rows[i].recall, paper_rows[i].hit_rate, paper_rows[i].ap, m);
    if (m->located)
        printf("  error of the first answer: median %.1f m; %.2f %% within 25 m, %.2f %% within 50 m, %.2f %% within "
               "100 m\n",
               m->median_m, m->within_25, m->within_50, m->within_100);
    if (m->references < 100)
        printf("  R@1%% counts the best floor(references / 100): 0 of so few\n");
}

static void print_table(const eval_work *work) {
    if (work->dataset)
        printf("%s%s%s%s%s\n", work->info.name, *work->info.split ? ", split " : "", work->info.split,
               *work->info.protocol ? ", protocol " : "", work->info.protocol);
    for (int i = 0; i < work->tasks; i++)
        print_task(work, &work->metrics[i]);
    int rows = 0;
    for (int i = 0; i < paper_row_count; i++)
        for (int k = 0; k < work->tasks; k++)
            rows += row_fits(&paper_rows[i], work, work->metrics[k].task);
    if (rows)
        printf("The rows under \"this model\" are the paper's.\n");
}

static void json_task(json_out *json, const eval_work *work, const mfrgn_metrics *m) {
    static const char *const keys[4] = {"recall@1", "recall@5", "recall@10", "recall@1%"};
    const double recall[4] = {m->recall_1, m->recall_5, m->recall_10, m->recall_percent};
    json_object(json, m->task);
    json_integer(json, "queries", m->queries);
    json_integer(json, "references", m->references);
    for (int i = 0; i < 4; i++)
        json_number(json, keys[i], recall[i], 12);
    json_number(json, "hit_rate", m->hit_rate, 12);
    json_number(json, "ap", m->ap, 12);
    if (m->located) {
        json_object(json, "metres");
        json_integer(json, "located", m->located);
        json_number(json, "median", m->median_m, 9);
        json_number(json, "within_25", m->within_25, 12);
        json_number(json, "within_50", m->within_50, 12);
        json_number(json, "within_100", m->within_100, 12);
        json_close(json);
    }
    json_array(json, "paper");
    for (int i = 0; i < paper_row_count; i++) {
        const paper_row *row = &paper_rows[i];
        if (!row_fits(row, work, m->task))
            continue;
        json_object(json, NULL);
        json_string(json, "method", row->method);
        for (int k = 0; k < 4; k++)
            if (row->recall[k] >= 0)
                json_number(json, keys[k], row->recall[k], 6);
        if (row->hit_rate >= 0)
            json_number(json, "hit_rate", row->hit_rate, 6);
        if (row->ap >= 0)
            json_number(json, "ap", row->ap, 6);
        json_close(json);
    }
    json_close(json);
    json_close(json);
}

static void write_json(json_out *json, const eval_work *work) {
    json_object(json, NULL);
    json_string(json, "dataset", work->eval->dataset);
    if (work->dataset) {
        json_string(json, "split", work->info.split);
        json_string(json, "protocol", work->info.protocol);
        json_string(json, "model", work->options->model);
        json_integer(json, "missing", work->info.missing);
        json_integer(json, "skipped", work->skipped);
    }
    for (int i = 0; i < work->tasks; i++)
        json_task(json, work, &work->metrics[i]);
    json_close(json);
    json_end(json);
}

static int print(const eval_work *work) {
    json_out json;
    out_file file;
    if (work->eval->json && !strcmp(work->eval->json, "-")) {
        json_begin(&json, stdout);
        write_json(&json, work);
        return 1;
    }
    print_table(work);
    if (!work->eval->json)
        return 1;
    if (!out_open(&file, work->eval->json))
        return 0;
    json_begin(&json, file.file);
    write_json(&json, work);
    return out_commit(&file);
}

/* ---------------------------------------------------------------------------------------------- work ---------- */

static mfrgn_evaluate_options make_options(eval_work *work, const mfrgn_progress *progress) {
    mfrgn_evaluate_options o = {sizeof o, 0, work->eval->cache, progress, stage, skipped, work, 0};
    if (work->options->threads)
        o.threads = atoi(work->options->threads); /* the parser has checked it */
    o.all_true = work->eval->dataset && !strcmp(work->eval->dataset, "u1652");
    for (int i = 0; i < MAX_TASKS; i++)
        work->metrics[i].struct_size = sizeof work->metrics[i];
    return o;
}

static int evaluate_descriptors(mfrgn_context *context, eval_work *work, const char *references) {
    mfrgn_progress progress = {sizeof progress, work, update};
    mfrgn_evaluate_options o = make_options(work, &progress);
    mfrgn_status status = mfrgn_evaluate_files(context, work->eval->descriptors, references, work->eval->labels, &o,
                                               work->metrics, MAX_TASKS, &work->tasks);
    if (work->bar_is_on)
        progress_end(&work->bar);
    if (status != MFRGN_OK)
        return tool_failed(context, status, "");
    if (o.all_true) {
        work->metrics[0].task = "drone->satellite";
        work->metrics[1].task = "satellite->drone";
    }
    return print(work) ? TOOL_OK : TOOL_FAILED;
}

static void tell_missing(const eval_work *work) {
    for (size_t i = 0; i < work->info.missing && i < SHOWN; i++)
        tool_error("%s: not there; its pair is left out", mfrgn_dataset_missing(work->dataset, i));
    if (work->info.missing > SHOWN)
        tool_error("and %zu more", work->info.missing - SHOWN);
}

static int evaluate_model(mfrgn_context *context, eval_work *work) {
    mfrgn_model *model = tool_model(context, work->options);
    mfrgn_session *session = model ? tool_session(context, model, work->options) : NULL;
    int code = TOOL_FAILED;
    if (session) {
        mfrgn_progress progress = {sizeof progress, work, update};
        mfrgn_evaluate_options o = make_options(work, &progress);
        mfrgn_status status = mfrgn_evaluate(session, work->dataset, &o, work->metrics, MAX_TASKS, &work->tasks);
        if (work->bar_is_on)
            progress_end(&work->bar);
        if (status != MFRGN_OK)
            tool_failed(context, status, "");
        else if (print(work))
            code = work->skipped || work->info.missing ? TOOL_SKIPPED : TOOL_OK;
    }
    mfrgn_session_free(session);
    mfrgn_model_free(model);
    return code;
}

static int evaluate_dataset(mfrgn_context *context, eval_work *work) {
    const eval_options *eval = work->eval;
    mfrgn_dataset_options o = {sizeof o, eval->split, eval->protocol, eval->corrected};
    mfrgn_dataset *dataset = NULL;
    mfrgn_status status = mfrgn_dataset_open(context, eval->dataset, eval->root, &o, &dataset);
    if (status != MFRGN_OK)
        return tool_failed(context, status, "");
    work->dataset = dataset;
    work->info.struct_size = sizeof work->info;
    mfrgn_dataset_get_info(dataset, &work->info);
    tell_missing(work);
    int code = evaluate_model(context, work);
    mfrgn_dataset_free(dataset);
    return code;
}

static int check(const eval_options *eval, const tool_options *options, int arguments) {
    if (eval->descriptors) {
        if (arguments != 1)
            return tool_usage("--descriptors takes two files: of the queries and of the references");
        if (!eval->labels)
            return tool_usage("--descriptors needs --labels");
        if (options->model || options->untrained || eval->root)
            return tool_usage("--descriptors goes without --model, --untrained and --root");
        return -1;
    }
    if (arguments)
        return tool_usage("there are no arguments but with --descriptors");
    if (!eval->dataset || !eval->root)
        return tool_usage("--dataset NAME and --root DIR are needed (or --descriptors and --labels)");
    if (eval->labels)
        return tool_usage("--labels goes with --descriptors");
    return tool_need_model(options);
}

static int run(const tool_command *command, int argc, char **argv) {
    tool_options options;
    eval_options eval;
    eval_work work;
    int first, code;
    memset(&eval, 0, sizeof eval);
    memset(&work, 0, sizeof work);
    code = tool_parse(command, argc, argv, &options, take, &eval, &first);
    if (code >= 0)
        return code;
    code = check(&eval, &options, argc - first);
    if (code >= 0)
        return code;
    work.options = &options;
    work.eval = &eval;
    tool_catch_signals();
    mfrgn_context *context = tool_context(&options);
    if (!context)
        return TOOL_FAILED;
    code = eval.descriptors ? evaluate_descriptors(context, &work, argv[first]) : evaluate_dataset(context, &work);
    mfrgn_context_free(context);
    return code;
}

const tool_command command_eval = {
    "eval",
    "the published metrics of a data set",
    "--dataset NAME --root DIR --model FILE [OPTIONS]\n"
    "       mfrgn eval --descriptors QUERIES.npy REFERENCES.npy --labels FILE [OPTIONS]",
    "R@1, R@5, R@10, R@1%, hit rate, average precision and the error in metres, in both directions, beside what the\n"
    "paper reports.  R@k counts the queries with fewer than k references strictly above the true one.  Pairs of which\n"
    "a picture is missing are told on stderr and left out; the exit code is then 3.",
    "  mfrgn eval --dataset cvusa --root CVUSA --model cvusa.safetensors --batch 8 --json cvusa.json\n"
    "  mfrgn eval --dataset vigor --root VIGOR --protocol cross --model vigor.pth --cache ~/.cache/mfrgn\n"
    "  mfrgn eval --dataset pairs --root mine/pairs.csv --model cvact.safetensors\n"
    "  mfrgn eval --descriptors q.npy r.npy --labels labels.csv\n",
    OPT_MODEL | OPT_NETWORK | OPT_SET | OPT_UNTRAINED | OPT_SESSION | OPT_PRECROP | OPT_QUIET,
    own_options,
    run,
};
