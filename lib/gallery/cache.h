/* Descriptors of a list of pictures, kept on disk: DIR/NAME-KEY.npy, where the key is made of the model, how it runs,
 * and the pictures' paths, sizes and times. */
#ifndef MFRGN_GALLERY_CACHE_H
#define MFRGN_GALLERY_CACHE_H

#include "data/dataset.h"
#include "io/npy.h"
#include "model/session.h"

/* The path of a set's file, to be freed.  `model` is mf_model_digest()'s.  Makes the folder if it is not there. */
mfrgn_status mf_cache_path(const mfrgn_session *session, uint64_t model, const char *folder, const char *dataset,
                           const mf_sample_set *set, char **path);
/* Maps the file if it is there and holds count x size values.  1: it does */
int mf_cache_find(mfrgn_context *context, const char *path, size_t count, size_t size, mf_npy *npy);

#endif
