/* SPDX-License-Identifier: Apache-2.0
 *
 * libmfrgn: tells a machine where it is from what it sees.
 *
 * A photograph goes in, a descriptor comes out; the descriptors of a ground photograph and of the aerial tile that
 * shows the same place are close.  The network is MFRGN ("Multi-scale Feature Representation Generalization Network
 * for Ground-to-Aerial Geo-localization", ACM MM 2024).
 *
 * Errors      Functions that can fail return mfrgn_status.  On failure the outputs are untouched, and
 *             mfrgn_context_last_error() says what was wrong, where, and what to do.
 * Ownership   Whoever creates a handle frees it.  Freeing NULL is fine.  Handles keep what they stand on alive:
 *             a context may be freed before its models, a model before its sessions.
 * Threads     A context and a model may be used by several threads at once; anything else by one thread at a time.
 * Silence     The library never prints, aborts, exits, installs signal handlers or changes the locale.  It reads one
 *             environment variable, MFRGN_BACKEND_PATH (where the backend plug-ins lie), once a context.
 */
#ifndef MFRGN_H
#define MFRGN_H

#include <stddef.h>

#include "version.h"

#if defined(_WIN32)
#define MFRGN_API
#elif defined(__GNUC__)
#define MFRGN_API __attribute__((visibility("default")))
#else
#define MFRGN_API
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* ---------------------------------------------------------------------------------------------- handles ------- */

/** Allocator, log, threads, backends.  Shared by threads. */
typedef struct mfrgn_context mfrgn_context;
/** The description of a network: backbone, view sizes, every option of the paper. */
typedef struct mfrgn_config mfrgn_config;
/** A network and its weights.  Immutable; shared by threads and sessions. */
typedef struct mfrgn_model mfrgn_model;
/** Settings of a session: backend, threads, precision, batch. */
typedef struct mfrgn_options mfrgn_options;
/** A model planned on a backend, with its memory.  One thread at a time. */
typedef struct mfrgn_session mfrgn_session;
/** A decoded picture that the library owns. */
typedef struct mfrgn_bitmap mfrgn_bitmap;

/* ---------------------------------------------------------------------------------------------- basics -------- */

typedef enum mfrgn_status {
    MFRGN_OK = 0,
    MFRGN_ERROR_ARGUMENT = 1,    /**< an argument is out of its range, or NULL where it must not be */
    MFRGN_ERROR_MEMORY = 2,      /**< the allocator returned NULL */
    MFRGN_ERROR_IO = 3,          /**< a file cannot be opened, read, written or renamed */
    MFRGN_ERROR_FORMAT = 4,      /**< a file is not what it claims to be: cut short, damaged, hostile */
    MFRGN_ERROR_MISMATCH = 5,    /**< sound in itself, but not for this network: a tensor missing, extra, misshapen */
    MFRGN_ERROR_UNSUPPORTED = 6, /**< a known thing that this build, file or machine does not offer */
    MFRGN_ERROR_BACKEND = 7,     /**< a backend cannot be loaded, or failed */
    MFRGN_ERROR_CANCELLED = 8,   /**< the progress callback asked to stop */
    MFRGN_ERROR_NUMERIC = 9,     /**< a result is not finite: the weights or the input hold NaN or infinity */
    MFRGN_ERROR_INTERNAL = 10    /**< a fault of the library: please report it */
} mfrgn_status;

/**
 * The name of a status, in a few English words.
 * @param status [in] any value
 * @return a constant string, never NULL
 * @since 0.1
 */
MFRGN_API const char *mfrgn_status_string(mfrgn_status status);

/**
 * The version of the library that is running, as MFRGN_VERSION_NUMBER gives it.
 * @since 0.1
 */
MFRGN_API int mfrgn_version(void);

/**
 * The version of the library that is running, as text: "0.1.0".
 * @since 0.1
 */
MFRGN_API const char *mfrgn_version_string(void);

/** Where memory comes from.  Both functions are called from any thread. */
typedef struct mfrgn_allocator {
    size_t struct_size; /**< sizeof(mfrgn_allocator) */
    void *user;
    /** `size` bytes aligned to `alignment` (a power of two, at most 2 MiB), or NULL. */
    void *(*allocate)(void *user, size_t size, size_t alignment);
    void (*release)(void *user, void *memory);
} mfrgn_allocator;

typedef enum mfrgn_log_level {
    MFRGN_LOG_ERROR = 0,
    MFRGN_LOG_WARNING = 1,
    MFRGN_LOG_INFO = 2,
    MFRGN_LOG_DEBUG = 3
} mfrgn_log_level;

/** Where messages go.  Called from any thread, one at a time a context; must not call the library. */
typedef struct mfrgn_log {
    size_t struct_size; /**< sizeof(mfrgn_log) */
    void *user;
    mfrgn_log_level level; /**< messages above this level are not made */
    /** `message` is a finished line without a line end, valid during the call. */
    void (*message)(void *user, mfrgn_log_level level, const char *message);
} mfrgn_log;

/** How far a long piece of work has come; also the way to stop it. */
typedef struct mfrgn_progress {
    size_t struct_size; /**< sizeof(mfrgn_progress) */
    void *user;
    /** Non-zero asks the work to stop: it then fails with MFRGN_ERROR_CANCELLED. */
    int (*update)(void *user, size_t done, size_t total);
} mfrgn_progress;

/** The application's own threads, in place of the library's. */
typedef struct mfrgn_parallel {
    size_t struct_size; /**< sizeof(mfrgn_parallel) */
    void *user;
    /** Must call task(arg, i) once for each i in 0 .. tasks - 1, on any threads, and return when all have returned. */
    void (*run)(void *user, int tasks, void (*task)(void *arg, int index), void *arg);
} mfrgn_parallel;

/**
 * Creates a context.
 * @param allocator [in] copied; NULL: the C library's
 * @param context   [out] to be freed with mfrgn_context_free()
 * @return MFRGN_OK, MFRGN_ERROR_ARGUMENT, MFRGN_ERROR_MEMORY
 * @since 0.1
 */
MFRGN_API mfrgn_status mfrgn_context_create(const mfrgn_allocator *allocator, mfrgn_context **context);

/** Frees a context, when the last handle made from it is gone.  @since 0.1 */
MFRGN_API void mfrgn_context_free(mfrgn_context *context);

/** Sets (NULL: removes) the log.  Before other threads use the context.  @since 0.1 */
MFRGN_API mfrgn_status mfrgn_context_set_log(mfrgn_context *context, const mfrgn_log *log);

/** Sets (NULL: removes) the application's own threads.  Before the first session.  @since 0.1 */
MFRGN_API mfrgn_status mfrgn_context_set_parallel(mfrgn_context *context, const mfrgn_parallel *parallel);

/**
 * Sets the folder of the backend plug-ins, over MFRGN_BACKEND_PATH and the folder of the installation.  Before the
 * first backend is asked for.
 * @param path [in] copied; NULL: back to the default
 * @since 0.1
 */
MFRGN_API mfrgn_status mfrgn_context_set_backend_path(mfrgn_context *context, const char *path);

/**
 * What went wrong in the calling thread's last failed call with this context.
 * @return valid until that thread's next failed call with this context; "" if none failed.  The texts of the 32
 *         threads that failed last are kept.
 * @since 0.1
 */
MFRGN_API const char *mfrgn_context_last_error(mfrgn_context *context);

/* ---------------------------------------------------------------------------------------------- backends ------ */

typedef struct mfrgn_backend_info {
    size_t struct_size; /**< sizeof(mfrgn_backend_info), set by the caller */
    const char *name;   /**< "cuda", "onednn", "openblas", "ref" */
    int available;      /**< 1: it loads on this machine */
    const char *detail; /**< available: library, version, instruction set; else the reason why not */
} mfrgn_backend_info;

/** How many backends this library knows, in the order in which "auto" tries them.  @since 0.1 */
MFRGN_API int mfrgn_backend_count(mfrgn_context *context);

/**
 * Loads backend `index` if need be, and tells of it.
 * @param info [out] strings are valid while the context lives
 * @return MFRGN_OK (also for a backend that is not available), MFRGN_ERROR_ARGUMENT
 * @since 0.1
 */
MFRGN_API mfrgn_status mfrgn_backend_get_info(mfrgn_context *context, int index, mfrgn_backend_info *info);

/* ---------------------------------------------------------------------------------------------- images -------- */

typedef enum mfrgn_pixel {
    MFRGN_PIXEL_RGB8 = 0,
    MFRGN_PIXEL_BGR8 = 1,
    MFRGN_PIXEL_RGBA8 = 2, /**< alpha is ignored */
    MFRGN_PIXEL_GRAY8 = 3,
    MFRGN_PIXEL_RGB_F32 = 4 /**< 0 .. 255 */
} mfrgn_pixel;

/** A view of pixels that somebody else owns.  They need to live only during the call that is given the view. */
typedef struct mfrgn_image {
    size_t struct_size; /**< sizeof(mfrgn_image) */
    const void *pixels; /**< the first pixel of the top row */
    int width;          /**< pixels, 1 .. 65535 */
    int height;         /**< pixels, 1 .. 65535 */
    ptrdiff_t stride;   /**< bytes from a row to the next; negative for bottom-up pictures; 0: rows are dense */
    mfrgn_pixel format;
} mfrgn_image;

/**
 * Decodes a picture file (JPEG, PNG, BMP, TGA, GIF's first frame, PNM), upright by its EXIF orientation, to RGB8.
 * @param path   [in] UTF-8
 * @param bitmap [out] to be freed with mfrgn_bitmap_free()
 * @return MFRGN_OK, MFRGN_ERROR_IO, MFRGN_ERROR_FORMAT, MFRGN_ERROR_UNSUPPORTED (no decoder in this build),
 *         MFRGN_ERROR_MEMORY
 * @since 0.1
 */
MFRGN_API mfrgn_status mfrgn_bitmap_load(mfrgn_context *context, const char *path, mfrgn_bitmap **bitmap);

/** The same from `size` bytes in memory, which are not kept.  @since 0.1 */
MFRGN_API mfrgn_status mfrgn_bitmap_decode(mfrgn_context *context, const void *data, size_t size,
                                           mfrgn_bitmap **bitmap);

/**
 * An empty (black) RGB8 bitmap.
 * @param width, height [in] pixels, 1 .. 65535
 * @since 0.1
 */
MFRGN_API mfrgn_status mfrgn_bitmap_create(mfrgn_context *context, int width, int height, mfrgn_bitmap **bitmap);

/** A view of a bitmap's pixels, valid while the bitmap lives.  @since 0.1 */
MFRGN_API mfrgn_status mfrgn_bitmap_image(const mfrgn_bitmap *bitmap, mfrgn_image *image);

/** The pixels themselves, to be written: RGB8, dense rows.  @since 0.1 */
MFRGN_API unsigned char *mfrgn_bitmap_pixels(mfrgn_bitmap *bitmap);

/** Frees a bitmap.  @since 0.1 */
MFRGN_API void mfrgn_bitmap_free(mfrgn_bitmap *bitmap);

/**
 * The view of a part of an image.  No pixel is copied.
 * @param image  [in]
 * @param x, y, width, height [in] pixels; must lie inside
 * @param part   [out] may be `image` itself
 * @return MFRGN_OK, MFRGN_ERROR_ARGUMENT
 * @since 0.1
 */
MFRGN_API mfrgn_status mfrgn_image_crop(mfrgn_context *context, const mfrgn_image *image, int x, int y, int width,
                                        int height, mfrgn_image *part);

/**
 * Resizes to the bitmap's size as OpenCV's INTER_AREA does, which the published networks were trained with.
 * @param image  [in] any format
 * @param bitmap [in,out] of the size wanted (mfrgn_bitmap_create())
 * @since 0.1
 */
MFRGN_API mfrgn_status mfrgn_image_resize(mfrgn_context *context, const mfrgn_image *image, mfrgn_bitmap *bitmap);

/* ---------------------------------------------------------------------------------------------- network ------- */

/** The two views of a place. */
typedef enum mfrgn_view {
    MFRGN_VIEW_GROUND = 0, /**< the query: a panorama, a street photograph; University-1652: the drone */
    MFRGN_VIEW_AERIAL = 1  /**< the reference: an aerial or satellite tile */
} mfrgn_view;

/**
 * What can be set of a network.  In brackets the name of the key (mfrgn_config_key_name(), file metadata, command
 * line).  Sizes are "HxW", levels "HxW,HxW,..".
 */
typedef enum mfrgn_config_key {
    MFRGN_CONFIG_BACKBONE = 0,      /**< [backbone] convnext_{atto,femto,pico,nano,tiny,small,base,large}, resnet{18,34,50} */
    MFRGN_CONFIG_AERIAL_SIZE = 1,   /**< [sat_size] input of the aerial view */
    MFRGN_CONFIG_GROUND_SIZE = 2,   /**< [grd_size] input of the ground view */
    MFRGN_CONFIG_PPS = 3,           /**< [pps] 0 or 1: pyramid pooling sampling */
    MFRGN_CONFIG_SHARED = 4,        /**< [shared] 0 or 1: one head for both views (University-1652) */
    MFRGN_CONFIG_FFN = 5,           /**< [ffn] width of the attention layers' MLP: published 1024, paper 2048 */
    MFRGN_CONFIG_ATTENTION = 6,     /**< [attention] linear or full */
    MFRGN_CONFIG_A = 7,             /**< [a] attention layers that update F_H (paper: A) */
    MFRGN_CONFIG_B = 8,             /**< [b] attention layers that update F_L (paper: B) */
    MFRGN_CONFIG_HEADS = 9,         /**< [heads] attention heads; divides 128 */
    MFRGN_CONFIG_DIM_G = 10,        /**< [dim_g] global values a channel: 14 gives 1792 */
    MFRGN_CONFIG_DIM_L = 11,        /**< [dim_l] local values: 256 */
    MFRGN_CONFIG_GLOBAL_SOURCE = 12, /**< [global_source] none or scam */
    MFRGN_CONFIG_LOCAL_SOURCE = 13, /**< [local_source] none, last, means, initial or prompt */
    MFRGN_CONFIG_SAMPLE4GEO = 14,   /**< [sample4geo] 1: the Sample4Geo network (a ConvNeXt alone) */
    MFRGN_CONFIG_PPS_AERIAL = 15,   /**< [pps_sat] pooling levels of the aerial view */
    MFRGN_CONFIG_PPS_GROUND = 16,   /**< [pps_grd] pooling levels of the ground view */
    MFRGN_CONFIG_KEY_COUNT = 17
} mfrgn_config_key;

/**
 * Creates the configuration of a preset.
 * @param preset [in] a name of mfrgn_preset_name(); NULL: "cvusa"
 * @param config [out] to be freed with mfrgn_config_free()
 * @since 0.1
 */
MFRGN_API mfrgn_status mfrgn_config_create(mfrgn_context *context, const char *preset, mfrgn_config **config);

/** A copy.  @since 0.1 */
MFRGN_API mfrgn_status mfrgn_config_copy(const mfrgn_config *config, mfrgn_config **copy);

/** Frees a configuration.  @since 0.1 */
MFRGN_API void mfrgn_config_free(mfrgn_config *config);

/** The name of preset `index`, NULL past the last.  @since 0.1 */
MFRGN_API const char *mfrgn_preset_name(int index);

/** The name of a key, NULL for an unknown one.  @since 0.1 */
MFRGN_API const char *mfrgn_config_key_name(mfrgn_config_key key);

/**
 * Sets a key from text, whatever its type.
 * @return MFRGN_OK, MFRGN_ERROR_ARGUMENT (the message names the key and what it takes)
 * @since 0.1
 */
MFRGN_API mfrgn_status mfrgn_config_set(mfrgn_config *config, mfrgn_config_key key, const char *value);

/** Sets a key whose value is a number.  @since 0.1 */
MFRGN_API mfrgn_status mfrgn_config_set_int(mfrgn_config *config, mfrgn_config_key key, long value);

/**
 * A key's value as text.
 * @return valid until the key is set or the configuration freed; NULL for an unknown key
 * @since 0.1
 */
MFRGN_API const char *mfrgn_config_get(const mfrgn_config *config, mfrgn_config_key key);

/**
 * The bounds of a key whose value is a number, both inclusive.
 * @return MFRGN_OK, MFRGN_ERROR_ARGUMENT if the key's value is text
 * @since 0.1
 */
MFRGN_API mfrgn_status mfrgn_config_bounds(mfrgn_config_key key, long *minimum, long *maximum);

/**
 * Checks that the values fit each other.
 * @return MFRGN_OK, MFRGN_ERROR_ARGUMENT (the message says which do not, and why)
 * @since 0.1
 */
MFRGN_API mfrgn_status mfrgn_config_validate(const mfrgn_config *config);

/* ---------------------------------------------------------------------------------------------- model --------- */

typedef enum mfrgn_dtype {
    MFRGN_DTYPE_F32 = 0,
    MFRGN_DTYPE_F64 = 1,
    MFRGN_DTYPE_F16 = 2,
    MFRGN_DTYPE_BF16 = 3
} mfrgn_dtype;

/** What a load may be told beside the file. */
typedef struct mfrgn_load_options {
    size_t struct_size;       /**< sizeof(mfrgn_load_options) */
    const char *preset;       /**< NULL: recognised */
    const char *aerial_size;  /**< "HxW" or NULL */
    const char *ground_size;  /**< "HxW" or NULL */
    const mfrgn_progress *progress; /**< or NULL */
} mfrgn_load_options;

/**
 * Loads a model: safetensors (memory-mapped; f32, f16, bf16) or a PyTorch .pth checkpoint (zip or legacy form; read
 * by a restricted unpickler that runs nothing).  The configuration comes from the file's metadata, or is recognised
 * from the names and shapes of its tensors.
 * @param path    [in] UTF-8
 * @param options [in] or NULL
 * @param model   [out] to be freed with mfrgn_model_free()
 * @return MFRGN_OK, MFRGN_ERROR_IO, MFRGN_ERROR_FORMAT, MFRGN_ERROR_MISMATCH (names the tensor),
 *         MFRGN_ERROR_NUMERIC (a weight is NaN or infinite), MFRGN_ERROR_MEMORY, MFRGN_ERROR_CANCELLED
 * @since 0.1
 */
MFRGN_API mfrgn_status mfrgn_model_load(mfrgn_context *context, const char *path, const mfrgn_load_options *options,
                                        mfrgn_model **model);

/**
 * Creates a model with the initialisation of the published code, from a seed.
 * @since 0.1
 */
MFRGN_API mfrgn_status mfrgn_model_create(mfrgn_context *context, const mfrgn_config *config, unsigned long seed,
                                          mfrgn_model **model);

/**
 * Fills one tensor.
 * @param name   [in] its name in the state dict
 * @param shape  [in] `dims` sizes
 * @param values [out] the product of the shape, row-major
 * @return 0; anything else fails mfrgn_model_create_filled()
 */
typedef int (*mfrgn_fill)(void *user, const char *name, const size_t *shape, int dims, float *values);

/** Creates a model whose tensors the caller fills.  @since 0.1 */
MFRGN_API mfrgn_status mfrgn_model_create_filled(mfrgn_context *context, const mfrgn_config *config, mfrgn_fill fill,
                                                 void *user, mfrgn_model **model);

/**
 * Saves a model, by the ending of the path as safetensors (.safetensors) or for PyTorch (.pth, .pt).  Written under
 * a temporary name and renamed: the old file stays whole if anything fails.
 * @param storage  [in] type of the stored values; the running statistics and one-dimensional tensors stay f32
 *                      where f16 would not hold them
 * @param progress [in] or NULL
 * @since 0.1
 */
MFRGN_API mfrgn_status mfrgn_model_save(const mfrgn_model *model, const char *path, mfrgn_dtype storage,
                                        const mfrgn_progress *progress);

/** Frees a model, when the last session made from it is gone.  @since 0.1 */
MFRGN_API void mfrgn_model_free(mfrgn_model *model);

/** The configuration, valid while the model lives; not to be changed.  @since 0.1 */
MFRGN_API const mfrgn_config *mfrgn_model_config(const mfrgn_model *model);

typedef struct mfrgn_tensor_info {
    size_t struct_size; /**< sizeof(mfrgn_tensor_info), set by the caller */
    const char *name;   /**< valid while the model lives */
    mfrgn_dtype dtype;  /**< as stored */
    int dims;           /**< 0 .. 4 */
    size_t shape[4];
    int learnt; /**< 0: running statistics */
} mfrgn_tensor_info;

/** The number of tensors.  @since 0.1 */
MFRGN_API size_t mfrgn_model_tensor_count(const mfrgn_model *model);

/** Tells of tensor `index`.  @since 0.1 */
MFRGN_API mfrgn_status mfrgn_model_tensor_get_info(const mfrgn_model *model, size_t index, mfrgn_tensor_info *info);

/**
 * Reads tensor `index` as f32.
 * @param count [in] number of values that `values` holds; must be the tensor's
 * @since 0.1
 */
MFRGN_API mfrgn_status mfrgn_model_tensor_read(const mfrgn_model *model, size_t index, float *values, size_t count);

/** The number of learnt parameters.  @since 0.1 */
MFRGN_API size_t mfrgn_model_parameter_count(const mfrgn_model *model);

/** Floating-point operations to embed one image: two for each multiply-add of products and convolutions.  @since 0.1 */
MFRGN_API double mfrgn_model_flops(const mfrgn_model *model, mfrgn_view view);

/** The number of values in a descriptor.  @since 0.1 */
MFRGN_API size_t mfrgn_model_descriptor_size(const mfrgn_model *model);

/** The size of a view's input in pixels.  @since 0.1 */
MFRGN_API void mfrgn_model_input_size(const mfrgn_model *model, mfrgn_view view, int *width, int *height);

typedef enum mfrgn_graph_format { MFRGN_GRAPH_TEXT = 0, MFRGN_GRAPH_DOT = 1 } mfrgn_graph_format;

/**
 * Writes a view's graph as text or for Graphviz.
 * @param session [in] NULL: the graph as the network is defined; else as planned on that session of this model, after
 *                     folding and fusion
 * @param write   [in] called with pieces of text; non-zero stops
 * @since 0.1
 */
MFRGN_API mfrgn_status mfrgn_model_print_graph(const mfrgn_model *model, mfrgn_view view, mfrgn_session *session,
                                               mfrgn_graph_format format,
                                               int (*write)(void *user, const char *text, size_t length), void *user);

/* ---------------------------------------------------------------------------------------------- session ------- */

typedef enum mfrgn_option_key {
    MFRGN_OPTION_BACKEND = 0,   /**< [backend] auto, cuda, onednn, openblas, ref */
    MFRGN_OPTION_THREADS = 1,   /**< [threads] 1 .. 256; 0: one a core that the process may use */
    MFRGN_OPTION_PRECISION = 2, /**< [precision] f32; f64 (backend ref); tf32, bf16, f16, fp8 (backend cuda).  fp8: a
                                     view is calibrated by mfrgn_session_calibrate(), or else by the first 64 images of its
                                     first mfrgn_embed(); mfrgn_embed_device() computes in bf16 until then */
    MFRGN_OPTION_BATCH = 3,     /**< [batch] images computed together, 1 .. 4096 */
    MFRGN_OPTION_PRECROP = 4,   /**< [precrop] 1: CVACT's pre-crop, rows H/4 .. 3H/4 of a ground image */
    MFRGN_OPTION_DEVICE = 5,       /**< [device] which of the backend's devices, from 0 */
    MFRGN_OPTION_MEMORY_LIMIT = 6, /**< [memory_limit] bytes of the device's memory that the session may take; 0: any.
                                        Weights count for the session that needs them first */
    MFRGN_OPTION_TUNING = 7,       /**< [tuning] a file in which the backend keeps what it measured of the device (cuda:
                                        algorithms of products); the same bits are promised for the same file */
    MFRGN_OPTION_GELU = 8,         /**< [gelu] exact; tanh: every GELU of the network by its tanh form, which some GPUs'
                                        products have built in; of training, always exact.  It moves a descriptor by
                                        some 3e-4 of its length, less than weights stored as f16 do
                                        (docs/performance.md): galleries do not record it, and either form is searched
                                        with the other.  A backend without it refuses the
                                        session with MFRGN_ERROR_UNSUPPORTED.  @since 0.1 */
    MFRGN_OPTION_KEY_COUNT = 9
} mfrgn_option_key;

/** Creates the default options: auto, 0 threads, f32, batch 1, exact GELU.  @since 0.1 */
MFRGN_API mfrgn_status mfrgn_options_create(mfrgn_context *context, mfrgn_options **options);
/** Frees options.  @since 0.1 */
MFRGN_API void mfrgn_options_free(mfrgn_options *options);
/** The name of a key, NULL for an unknown one.  @since 0.1 */
MFRGN_API const char *mfrgn_option_key_name(mfrgn_option_key key);
/** Sets a key from text, whatever its type.  @since 0.1 */
MFRGN_API mfrgn_status mfrgn_options_set(mfrgn_options *options, mfrgn_option_key key, const char *value);
/** Sets a key whose value is a number.  @since 0.1 */
MFRGN_API mfrgn_status mfrgn_options_set_int(mfrgn_options *options, mfrgn_option_key key, long value);
/** A key's value as text, valid until it is set or the options freed.  @since 0.1 */
MFRGN_API const char *mfrgn_options_get(const mfrgn_options *options, mfrgn_option_key key);
/**
 * Sets the caller's own stream.
 * @param stream [in] a cudaStream_t of MFRGN_OPTION_DEVICE, not the legacy default one; it must outlive the session.
 *                    NULL: the session makes its own
 * @since 0.1
 */
MFRGN_API mfrgn_status mfrgn_options_set_stream(mfrgn_options *options, void *stream);
/** The bounds of a key whose value is a number, both inclusive.  @since 0.1 */
MFRGN_API mfrgn_status mfrgn_options_bounds(mfrgn_option_key key, long *minimum, long *maximum);

/**
 * Creates a session.  A view is planned when it is first embedded (or by mfrgn_session_prepare()); after that
 * nothing is allocated any more.
 * @param options [in] copied; NULL: the defaults
 * @return MFRGN_OK, MFRGN_ERROR_BACKEND (the message says why each backend was passed over), MFRGN_ERROR_UNSUPPORTED (an
 *         option that the backend does not compute), MFRGN_ERROR_MEMORY
 * @since 0.1
 */
MFRGN_API mfrgn_status mfrgn_session_create(mfrgn_model *model, const mfrgn_options *options, mfrgn_session **session);

/** Frees a session.  @since 0.1 */
MFRGN_API void mfrgn_session_free(mfrgn_session *session);

/** Plans a view now: kernels, packed weights, memory.  @since 0.1 */
MFRGN_API mfrgn_status mfrgn_session_prepare(mfrgn_session *session, mfrgn_view view);

/** Sets (NULL: removes) the callback that mfrgn_embed() calls between operations.  @since 0.1 */
MFRGN_API mfrgn_status mfrgn_session_set_progress(mfrgn_session *session, const mfrgn_progress *progress);

typedef struct mfrgn_session_info {
    size_t struct_size;      /**< sizeof(mfrgn_session_info), set by the caller */
    const char *backend;     /**< valid while the session lives */
    const char *detail;      /**< as mfrgn_backend_info.detail */
    const char *passed_over; /**< with "auto": why the backends before it were not taken; else "" */
    int threads;
    int batch;
    size_t arena_bytes;  /**< this session's own: activations and scratch, of the views planned so far */
    size_t packed_bytes; /**< weights in the backend's form, shared by the model's sessions */
} mfrgn_session_info;

/** Tells of a session.  @since 0.1 */
MFRGN_API mfrgn_status mfrgn_session_get_info(const mfrgn_session *session, mfrgn_session_info *info);

/**
 * Embeds images.  Each is resized to the view's input (INTER_AREA), normalised and run through the network, `batch`
 * at a time; the last batch is padded, so that an image's place in it changes no bit of its descriptor.
 * @param images      [in] n views of pixels, of any sizes and formats
 * @param descriptors [out] n x mfrgn_model_descriptor_size() values, row-major, each row of length 1 (L2)
 * @return MFRGN_OK, MFRGN_ERROR_ARGUMENT (a bad image: the message gives its number), MFRGN_ERROR_MEMORY,
 *         MFRGN_ERROR_BACKEND, MFRGN_ERROR_NUMERIC, MFRGN_ERROR_CANCELLED
 * @since 0.1.  Source: the paper, section 3; descriptors as in Eq. 6.
 */
MFRGN_API mfrgn_status mfrgn_embed(mfrgn_session *session, mfrgn_view view, const mfrgn_image *images, size_t n,
                                   float *descriptors);

/** Images of one size in the memory of a session's backend: a GPU's, or the host's where the backend has no other. */
typedef struct mfrgn_device_images {
    size_t struct_size; /**< sizeof(mfrgn_device_images) */
    const void *pixels; /**< the first pixel of the first image; a device pointer */
    size_t count;
    int width;          /**< pixels, 1 .. 65535 */
    int height;         /**< pixels, 1 .. 65535 */
    size_t row_bytes;   /**< from a row to the next; 0: rows are dense */
    size_t image_bytes; /**< from an image to the next; 0: images are dense */
    mfrgn_pixel format; /**< of 8 bits */
} mfrgn_device_images;

/**
 * Embeds images where they lie, and leaves the descriptors there.  Work is put into the session's stream
 * (mfrgn_options_set_stream()) in order, and may not be done when this returns: mfrgn_session_finish() waits for it.
 * The second call for a view records the run; while it does, cudaDeviceSynchronize() in another thread may fail:
 * synchronise streams instead.
 * @param descriptors [out] count x mfrgn_model_descriptor_size() values in the same memory; not checked for being finite
 * @return as mfrgn_embed(); MFRGN_ERROR_UNSUPPORTED (a pixel format that is not of 8 bits)
 * @since 0.1
 */
MFRGN_API mfrgn_status mfrgn_embed_device(mfrgn_session *session, mfrgn_view view, const mfrgn_device_images *images,
                                          float *descriptors);

/** Waits for what mfrgn_embed_device() asked for.  @return MFRGN_OK, MFRGN_ERROR_BACKEND (what failed)  @since 0.1 */
MFRGN_API mfrgn_status mfrgn_session_finish(mfrgn_session *session);

/**
 * Measures the ranges of a view's activations, for precision fp8: call it once a view with some dozens of typical
 * images.
 * The descriptors of the same images are the same after another calibration with the same images.
 * @return as mfrgn_embed(); MFRGN_ERROR_UNSUPPORTED (the backend computes in no such precision)
 * @since 0.1
 */
MFRGN_API mfrgn_status mfrgn_session_calibrate(mfrgn_session *session, mfrgn_view view, const mfrgn_image *images,
                                               size_t n);

/**
 * Cosine similarities of descriptors of length 1: inner products, -1 .. 1.
 * @param queries    [in] n x size
 * @param references [in] m x size
 * @param scores     [out] n x m, row-major
 * @since 0.1
 */
MFRGN_API mfrgn_status mfrgn_similarity(mfrgn_context *context, const float *queries, size_t n,
                                        const float *references, size_t m, size_t size, float *scores);

#ifdef __cplusplus
}
#endif

#endif
