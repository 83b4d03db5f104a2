#include "gallery/cache.h"

#include <errno.h>
#include <sys/stat.h>

static uint64_t hash_text(const char *text, uint64_t seed) {
    return mf_hash(text, strlen(text) + 1, seed);
}

static uint64_t set_key(const mfrgn_session *s, uint64_t h, const mf_sample_set *set) {
    int numbers[] = {(int)set->view, s->precrop && set->view == MFRGN_VIEW_GROUND, (int)s->gelu};
    h = mf_hash(numbers, sizeof(numbers), h);
    h = hash_text(mfrgn_version_string(), h);
    h = hash_text(s->engine.precision, h);
    h = hash_text(s->engine.backend->name, h);
    h = hash_text(s->engine.backend->table->describe(s->engine.backend->device), h);
    for (size_t i = 0; i < set->count; i++) {
        struct stat info;
        int64_t about[3] = {-1, 0, 0};
        if (stat(set->item[i].path, &info) == 0) {
            about[0] = (int64_t)info.st_size;
            about[1] = (int64_t)info.st_mtim.tv_sec;
            about[2] = (int64_t)info.st_mtim.tv_nsec;
        }
        h = mf_hash(about, sizeof(about), hash_text(set->item[i].path, h));
    }
    return h;
}

mfrgn_status mf_cache_path(const mfrgn_session *s, uint64_t model, const char *folder, const char *dataset,
                           const mf_sample_set *set, char **path) {
    if (mkdir(folder, 0777) && errno != EEXIST)
        return mf_fail(s->context, MFRGN_ERROR_IO, "%s: this folder for descriptors cannot be made", folder);
    *path = mf_format(s->context, "%s/%s-%s-%016llx.npy", folder, dataset, set->name,
                      (unsigned long long)set_key(s, model, set));
    return *path ? MFRGN_OK : mf_fail_memory(s->context, strlen(folder) + 64, "a path");
}

int mf_cache_find(mfrgn_context *context, const char *path, size_t count, size_t size, mf_npy *npy) {
    if (mf_entry(path) != MF_ENTRY_FILE)
        return 0;
    if (mf_npy_map(context, path, npy) != MFRGN_OK) {
        mf_log(context, MFRGN_LOG_WARNING, "%s; it is made again", mfrgn_context_last_error(context));
        return 0;
    }
    if (npy->rows == count && npy->columns == size)
        return 1;
    mf_npy_unmap(npy);
    return 0;
}
