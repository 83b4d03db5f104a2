/* SPDX-License-Identifier: Apache-2.0 */
/* What the subcommands share: their table, options, messages, exit codes, and the way to a model and a session. */
#ifndef MFRGN_TOOLS_COMMON_H
#define MFRGN_TOOLS_COMMON_H

#include <stddef.h>
#include <stdio.h>

#include <mfrgn/mfrgn.h>

enum {
    TOOL_OK = 0,
    TOOL_FAILED = 1, /* the work failed */
    TOOL_USAGE = 2,  /* the command line is wrong */
    TOOL_SKIPPED = 3 /* done, but some inputs were skipped */
};

/* ---------------------------------------------------------------------------------------------- options ------- */

/* Which of the shared options a subcommand takes. */
enum {
    OPT_MODEL = 1 << 0,     /* --model */
    OPT_NETWORK = 1 << 1,   /* --preset, --aerial-size, --ground-size */
    OPT_SET = 1 << 2,       /* --set, --seed */
    OPT_UNTRAINED = 1 << 3, /* --untrained */
    OPT_SESSION = 1 << 4,   /* --backend, --threads, --batch, --precision, --device, .. */
    OPT_PRECROP = 1 << 5,   /* --precrop */
    OPT_JSON = 1 << 6,      /* --json */
    OPT_QUIET = 1 << 7      /* --quiet, --verbose */
};

enum { TOOL_SETS = 32 };

typedef struct tool_options {
    const char *model, *preset, *aerial_size, *ground_size;
    const char *set[TOOL_SETS]; /* KEY=VALUE */
    int sets;
    const char *backend, *threads, *batch, *precision, *device, *memory_limit, *tuning,
        *gelu; /* as given; the library judges */
    unsigned long seed;
    int untrained, precrop, json, quiet, verbose;
} tool_options;

/* An option of a subcommand's own. */
typedef struct tool_option {
    const char *name;     /* without the dashes */
    char letter;          /* or 0 */
    const char *argument; /* its name in the help; NULL: a switch */
    const char *help;
} tool_option;

typedef struct tool_command {
    const char *name;
    const char *summary; /* a line in `mfrgn --help` */
    const char *usage;   /* what follows "mfrgn NAME " */
    const char *help;    /* a paragraph */
    const char *examples;
    unsigned shared;            /* OPT_* */
    const tool_option *options; /* the last has no name; or NULL */
    int (*run)(const struct tool_command *command, int argc, char **argv);
} tool_command;

/* Reads the command line.  Own options go to own(user, name, value), which returns 0, or TOOL_USAGE after a message.
 * Returns -1 to go on, with the other arguments from argv[*first] on; else the exit code. */
int tool_parse(const tool_command *command, int argc, char **argv, tool_options *options,
               int (*own)(void *user, const char *name, const char *value), void *user, int *first);
void tool_print_help(const tool_command *command, FILE *file);

/* A whole number within bounds; a message and 0 if it is not one. */
int tool_number(const char *option, const char *text, long minimum, long maximum, long *value);
/* "ground" or "aerial" ("grd", "sat"); a message and 0 otherwise. */
int tool_view(const char *text, mfrgn_view *view);
const char *tool_view_name(mfrgn_view view);

/* ---------------------------------------------------------------------------------------------- messages ------ */

/* "mfrgn NAME: text" on stderr. */
void tool_error(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* The same, and a pointer to the help.  Returns TOOL_USAGE. */
int tool_usage(const char *format, ...) __attribute__((format(printf, 1, 2)));
/* What the library says of a failed call: "what: its words".  Returns TOOL_FAILED. */
int tool_failed(mfrgn_context *context, mfrgn_status status, const char *what);
/* The subcommand that messages speak for. */
void tool_set_name(const char *name);
/* The help line of a message on how to go on. */
const char *tool_name(void);

/* Ends stdout: TOOL_FAILED if anything could not be written (a full disk, a closed pipe), else `code`. */
int tool_close_stdout(int code);

/* Signals that end the program are noted, so that temporary files are removed; a second one ends it at once. */
void tool_catch_signals(void);
int tool_stopped(void);
/* Ends the process by the signal that was noted, if there was one. */
void tool_die_if_stopped(void);
/* An update for mfrgn_progress that asks to stop after a signal. */
int tool_progress_stop(void *user, size_t done, size_t total);

/* ---------------------------------------------------------------------------------------------- library ------- */

mfrgn_context *tool_context(const tool_options *options);
/* The configuration of --preset (NULL: cvusa), --aerial-size, --ground-size, --set; NULL after a message. */
mfrgn_config *tool_config(mfrgn_context *context, const tool_options *options);
/* The file's model, or a seeded one.  NULL after a message. */
mfrgn_model *tool_model(mfrgn_context *context, const tool_options *options);
/* Only the shape of a network: every weight is 0.  NULL after a message. */
mfrgn_model *tool_empty_model(mfrgn_context *context, const tool_options *options);
mfrgn_session *tool_session(mfrgn_context *context, mfrgn_model *model, const tool_options *options);
/* Loads a safetensors or .pth file. */
mfrgn_status tool_load(mfrgn_context *context, const char *path, const tool_options *options, mfrgn_model **model);
/* Saves `model` in `storage` under a temporary name, loads it from there and removes the name; NULL after a message. */
mfrgn_model *tool_restore(mfrgn_context *context, mfrgn_model *model, mfrgn_dtype storage);
/* A path in a new folder of its own, for tool_remove(); NULL after a message. */
char *tool_temporary(const char *name, char **directory);
/* Removes and frees both; NULL is fine. */
void tool_remove(char *path, char *directory);
/* For embed and compare: a file, or the word that untrained weights are meant.  -1, or TOOL_USAGE after a message. */
int tool_need_model(const tool_options *options);
int tool_dtype(const char *text, mfrgn_dtype *dtype); /* f32, f16, bf16; a message and 0 otherwise */
const char *tool_dtype_name(mfrgn_dtype dtype);
size_t tool_dtype_bytes(mfrgn_dtype dtype);
/* Bytes of all tensors as they are stored. */
size_t tool_weights_bytes(const mfrgn_model *model);

/* ---------------------------------------------------------------------------------------------- odds and ends - */

/* Seconds of a clock that only goes forward. */
double tool_seconds(void);
/* 97884285 -> "97,884,285"; the last 8 results are kept. */
const char *tool_thousands(unsigned long long number);
/* 400000000 -> "400.0 MB"; the last 8 results are kept. */
const char *tool_bytes(double bytes);
/* printf into memory to be freed; NULL without memory. */
char *tool_format(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The subcommands. */
extern const tool_command command_info, command_convert, command_embed, command_compare, command_index, command_locate,
    command_track, command_eval, command_train, command_ablate, command_synth, command_bench, command_selftest;
extern const tool_command command_index_calibrate; /* a part of `index` */

#endif
