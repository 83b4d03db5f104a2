/* SPDX-License-Identifier: Apache-2.0 */
/* The `mfrgn` command: finds the subcommand.  It uses the library's public header only. */
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "bench.h"
#include "common.h"

static const tool_command *const commands[] = {&command_info,  &command_convert, &command_embed, &command_compare,
                                               &command_index, &command_locate,  &command_track, &command_eval,
                                               &command_train, &command_ablate,  &command_synth, &command_bench,
                                               &command_selftest};
enum { COMMANDS = sizeof commands / sizeof *commands };

static void print_help(FILE *file) {
    fprintf(file, "Usage: mfrgn COMMAND [OPTIONS]\n\n"
                  "Tells where a photograph was taken: makes descriptors of ground and aerial pictures that are close\n"
                  "where both show the same place.\n\n"
                  "Commands:\n");
    for (int i = 0; i < COMMANDS; i++)
        fprintf(file, "  %-10s %s\n", commands[i]->name, commands[i]->summary);
    fprintf(file, "\n'mfrgn COMMAND --help' tells more, with examples; so does 'man mfrgn'.\n\n"
                  "Options:\n"
                  "  -h, --help     this text\n"
                  "  -V, --version  the versions of the command and of the library\n\n"
                  "Exit codes: 0 done, 1 failed, 2 wrong use, 3 done but some inputs were skipped.\n\n"
                  "Environment: MFRGN_BACKEND_PATH is the folder of the backend plug-ins, if not that of the\n"
                  "installation.\n");
}

static const tool_command *find(const char *name) {
    for (int i = 0; i < COMMANDS; i++)
        if (!strcmp(commands[i]->name, name))
            return commands[i];
    return NULL;
}

static int help(int argc, char **argv) {
    if (argc < 3) {
        print_help(stdout);
        return TOOL_OK;
    }
    const tool_command *command = find(argv[2]);
    if (!command)
        return tool_usage("there is no command '%s'", argv[2]);
    tool_print_help(command, stdout);
    return TOOL_OK;
}

static int version(void) {
    printf("mfrgn %d.%d.%d (libmfrgn %s)\n", MFRGN_VERSION_MAJOR, MFRGN_VERSION_MINOR, MFRGN_VERSION_PATCH,
           mfrgn_version_string());
    return TOOL_OK;
}

static int dispatch(int argc, char **argv) {
    if (argc < 2) {
        print_help(stderr);
        return TOOL_USAGE;
    }
    const char *word = argv[1];
    if (!strcmp(word, "--help") || !strcmp(word, "-h") || !strcmp(word, "help"))
        return help(argc, argv);
    if (!strcmp(word, "--version") || !strcmp(word, "-V") || !strcmp(word, "version"))
        return version();
    const tool_command *command = find(word);
    if (!command)
        return tool_usage(word[0] == '-' ? "unknown option '%s'" : "there is no command '%s'", word);
    tool_set_name(command->name);
    return command->run(command, argc - 1, argv + 1);
}

/* A stream that the caller has closed must not become the first file that is opened: output would land in it.  What
 * stands in for it is open the wrong way round, so that its use fails. */
static void guard_streams(void) {
    for (int fd = 0; fd < 3; fd++)
        if (fcntl(fd, F_GETFD) == -1 && open("/dev/null", fd ? O_RDONLY : O_WRONLY) != fd)
            _exit(TOOL_FAILED);
}

int main(int argc, char **argv) {
    bench_note_start();
    guard_streams();
    int code = tool_close_stdout(dispatch(argc, argv));
    tool_die_if_stopped();
    return code;
}
