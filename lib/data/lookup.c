#include "data/dataset.h"

static size_t place(const mf_lookup *l, const char *key) {
    size_t i = (size_t)mf_hash(key, strlen(key), 0) & (l->size - 1);
    while (l->slot[i] && strcmp(l->key[i], key) != 0)
        i = (i + 1) & (l->size - 1);
    return i;
}

static mfrgn_status grow(mf_lookup *l) {
    mf_lookup larger = {l->context, NULL, NULL, l->size ? 2 * l->size : 1024, l->count};
    larger.slot = mf_calloc(l->context, larger.size, sizeof(*larger.slot));
    larger.key = mf_calloc(l->context, larger.size, sizeof(*larger.key));
    if (!larger.slot || !larger.key) {
        mf_lookup_free(&larger);
        return mf_fail_memory(l->context, 2 * l->size * 16, "a table of names");
    }
    for (size_t i = 0; i < l->size; i++)
        if (l->slot[i]) {
            size_t to = place(&larger, l->key[i]);
            larger.slot[to] = l->slot[i];
            larger.key[to] = l->key[i];
        }
    mf_lookup_free(l);
    *l = larger;
    return MFRGN_OK;
}

mfrgn_status mf_lookup_add(mf_lookup *l, const char *key, uint32_t row, uint32_t *found, int *added) {
    if (2 * (l->count + 1) > l->size)
        MF_TRY(grow(l));
    size_t i = place(l, key);
    *added = !l->slot[i];
    if (*added) {
        l->slot[i] = (uint64_t)row + 1;
        l->key[i] = key;
        l->count++;
    }
    *found = (uint32_t)(l->slot[i] - 1);
    return MFRGN_OK;
}

int mf_lookup_find(const mf_lookup *l, const char *key, uint32_t *row) {
    size_t i = l->size ? place(l, key) : 0;
    if (!l->size || !l->slot[i])
        return 0;
    *row = (uint32_t)(l->slot[i] - 1);
    return 1;
}

void mf_lookup_free(mf_lookup *l) {
    mf_free(l->context, l->slot);
    mf_free(l->context, l->key);
    l->slot = NULL;
    l->key = NULL;
    l->size = l->count = 0;
}
