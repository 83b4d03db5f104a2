/* SPDX-License-Identifier: Apache-2.0 */
/* mfrgn synth: pictures, rendered by threads that take one after the other. */
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "deflate.h"
#include "png.h"
#include "progress.h"
#include "synth.h"

typedef struct crew {
    synth_plan *plan;
    pthread_mutex_t lock;
    size_t next, done;
    int failed;
    progress_bar bar;
} crew;

static int there(const char *path) {
    struct stat about;
    return stat(path, &about) == 0 && S_ISREG(about.st_mode) && about.st_size > 0;
}

/* 0 or the reason.  No fsync: a picture that a power cut takes is made again. */
static int write_file(const char *path, const unsigned char *data, size_t size) {
    char *temporary = tool_format("%s.%ld.tmp", path, (long)getpid());
    if (!temporary)
        return ENOMEM;
    errno = 0;
    FILE *file = fopen(temporary, "wb");
    int bad = !file || fwrite(data, 1, size, file) != size;
    bad |= file && fclose(file) != 0;
    bad = bad || rename(temporary, path) != 0;
    int reason = bad ? errno ? errno : EIO : 0;
    if (bad && file)
        unlink(temporary);
    free(temporary);
    return reason;
}

static void fail(crew *c, mfrgn_status status, const char *path, int reason) {
    pthread_mutex_lock(&c->lock);
    if (!c->failed) {
        progress_clear(&c->bar);
        if (status != MFRGN_OK)
            tool_failed(c->plan->context, status, path);
        else
            tool_error("%s: cannot be written: %s", path, strerror(reason));
    }
    c->failed = 1;
    pthread_mutex_unlock(&c->lock);
}

static int make_one(crew *c, const synth_picture *p, mfrgn_bitmap *bitmap) {
    mfrgn_image image = {.struct_size = sizeof image};
    size_t size = 0;
    if (c->plan->options->resume && there(p->path))
        return 1;
    mfrgn_status status = mfrgn_world_render(p->world, p->view, &p->shot, bitmap);
    if (status == MFRGN_OK)
        status = mfrgn_bitmap_image(bitmap, &image);
    if (status != MFRGN_OK) {
        fail(c, status, p->path, 0);
        return 0;
    }
    unsigned char *png = png_encode_fast(mfrgn_bitmap_pixels(bitmap), image.width, image.height, &size);
    int reason = png ? write_file(p->path, png, size) : ENOMEM;
    free(png);
    if (reason)
        fail(c, MFRGN_OK, p->path, reason);
    return !reason;
}

static void *work(void *argument) {
    crew *c = argument;
    const synth_options *o = c->plan->options;
    mfrgn_bitmap *bitmap[2] = {NULL, NULL};
    mfrgn_status status = mfrgn_bitmap_create(c->plan->context, o->ground_width, o->ground_height, &bitmap[0]);
    if (status == MFRGN_OK)
        status = mfrgn_bitmap_create(c->plan->context, o->aerial_width, o->aerial_height, &bitmap[1]);
    if (status != MFRGN_OK)
        fail(c, status, "", 0);
    for (;;) {
        pthread_mutex_lock(&c->lock);
        size_t at = c->failed || tool_stopped() ? c->plan->count : c->next++;
        pthread_mutex_unlock(&c->lock);
        if (at >= c->plan->count)
            break;
        const synth_picture *p = &c->plan->picture[at];
        if (!make_one(c, p, bitmap[p->view == MFRGN_VIEW_AERIAL]))
            break;
        pthread_mutex_lock(&c->lock);
        progress_update(&c->bar, ++c->done);
        pthread_mutex_unlock(&c->lock);
    }
    mfrgn_bitmap_free(bitmap[0]);
    mfrgn_bitmap_free(bitmap[1]);
    return NULL;
}

int synth_make(synth_plan *plan, int quiet) {
    crew c = {.plan = plan};
    long cores = sysconf(_SC_NPROCESSORS_ONLN), wanted = plan->options->threads;
    enum { MOST = 256 };
    pthread_t thread[MOST];
    int count = 0, threads = (int)(wanted ? wanted : cores > 0 ? cores : 1);
    threads = threads > MOST ? MOST : threads;
    pthread_mutex_init(&c.lock, NULL);
    progress_begin(&c.bar, "pictures", plan->count, !quiet);
    while (count < threads - 1 && pthread_create(&thread[count], NULL, work, &c) == 0)
        count++;
    work(&c);
    for (int i = 0; i < count; i++)
        pthread_join(thread[i], NULL);
    progress_end(&c.bar);
    pthread_mutex_destroy(&c.lock);
    return !c.failed && !tool_stopped();
}

void synth_free(synth_plan *plan) {
    for (size_t i = 0; i < plan->count; i++)
        free(plan->picture[i].path);
    free(plan->picture);
    for (int i = 0; i < SYNTH_CITIES; i++)
        mfrgn_world_free(plan->world[i]);
    mfrgn_context_free(plan->context);
}
