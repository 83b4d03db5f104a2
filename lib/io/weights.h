/* Named tensors in files: safetensors and PyTorch's .pth. */
#ifndef MFRGN_IO_WEIGHTS_H
#define MFRGN_IO_WEIGHTS_H

#include "base/base.h"
#include "graph/op.h"
#include "io/file.h"

enum { MF_WEIGHT_DIMS = 8 };

typedef struct mf_weight {
    const char *name;
    mf_dtype dtype;
    int ndim;
    int64_t dim[MF_WEIGHT_DIMS];
    const void *data; /* dense, row-major, little-endian; any alignment */
    size_t bytes;
} mf_weight;

typedef struct mf_metadata {
    const char *key, *value;
} mf_metadata;

/* All that a file holds.  Tensors point into the mapped file wherever they are dense there. */
typedef struct mf_weights {
    mfrgn_context *context;
    size_t count;
    mf_weight *tensor; /* sorted by name */
    size_t metadata_count;
    mf_metadata *metadata; /* safetensors' __metadata__ */
    mf_file file;
    void *memory; /* the reader's own: names, copies of strided tensors */
} mf_weights;

/* Reads a file of either format, told apart by its content.  Of a .pth with nested dictionaries the state dict is
 * taken: "model_state_dict", "state_dict" or "model" if it holds tensors, else the top one if it does (a checkpoint
 * may keep its loss as a tensor beside the state dict), else the only dictionary in it that does.  A prefix "module."
 * that all names of a .pth share is dropped.  A file that another process cuts short while it is mapped ends the
 * reader with SIGBUS: replace weights by renaming, as the writers here do. */
mfrgn_status mf_weights_load(mfrgn_context *context, const char *path, mf_weights **weights);
/* The same from memory, which must outlive the result; `name` stands for the path in messages. */
mfrgn_status mf_weights_load_memory(mfrgn_context *context, const char *name, const void *data, size_t size,
                                    mf_weights **weights);
void mf_weights_free(mf_weights *weights);
const mf_weight *mf_weights_find(const mf_weights *weights, const char *name);
const char *mf_weights_metadata(const mf_weights *weights, const char *key); /* NULL: absent */
/* mf_file_let_go() of a tensor's bytes if they lie in the mapped file: a copy on the heap would be lost by it. */
void mf_weights_let_go(const mf_weights *weights, const mf_weight *tensor);

/* What a writer asks for: the tensor's values in `item->dtype`, `item->bytes` of them, into `data`.  Tensors are asked
 * for once each and in order, so that a model is saved without a second copy of it. */
typedef mfrgn_status (*mf_weight_source)(void *user, size_t index, void *data);

typedef struct mf_weights_out {
    const mf_weight *tensor; /* data is ignored */
    size_t count;
    const mf_metadata *metadata;
    size_t metadata_count;
    mf_weight_source source;
    void *user;
    const mfrgn_progress *progress; /* or NULL */
} mf_weights_out;

mfrgn_status mf_safetensors_save(mfrgn_context *context, const char *path, const mf_weights_out *what);
/* The zip form; torch.load(path, weights_only=True) gives an OrderedDict of tensors.  Metadata is left out. */
mfrgn_status mf_pth_save(mfrgn_context *context, const char *path, const mf_weights_out *what);

const char *mf_dtype_name(mf_dtype dtype); /* "F32", ..: as safetensors has it */

/* lib/io/convert.c: values of any floating type to any other (round to nearest even); integers to floating.  Any
 * alignment; `dst` and `src` do not overlap. */
void mf_convert(mf_dtype to, void *dst, mf_dtype from, const void *src, size_t count);
/* The first value that is NaN or infinite, or `count`. */
size_t mf_find_nonfinite(mf_dtype dtype, const void *data, size_t count);

#endif
