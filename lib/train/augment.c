/* A pair's augmentation, step by step.  Each step draws from a stream of its own, so that turning one off leaves what
 * the others do. */
#include "train/augment.h"

#include <math.h>
#include <string.h>

#include "io/resize.h"

typedef enum augment_step {
    STEP_FLIP,
    STEP_JPEG,
    STEP_CROP,
    STEP_SHIFT,
    STEP_COLOUR,
    STEP_GREY,
    STEP_SHARPNESS,
    STEP_DROPOUT,
    STEP_CUTOUT,
    STEP_ROTATE,
    STEP_TURN
} augment_step;

struct mf_augment_work {
    mfrgn_context *context;
    mf_augment_size size[2];
    unsigned char *copy; /* the source, when it must be changed before it is resized */
    size_t copy_bytes;
    void *scratch; /* of the resizing, */
    size_t scratch_bytes;
    float *values; /* and of the steps after it: 3 x width x height of the larger view */
};

typedef struct pair {
    mf_augment_work *work;
    const mf_augment *set;
    uint64_t seed, epoch, item;
} pair;

mfrgn_status mf_augment_work_create(mfrgn_context *context, const mf_augment_size size[2], mf_augment_work **out) {
    mf_augment_work *w = mf_calloc(context, 1, sizeof(*w));
    if (!w)
        return mf_fail_memory(context, sizeof(*w), "augmentation");
    w->context = mf_context_ref(context);
    size_t most = 0;
    for (int i = 0; i < 2; i++) {
        size_t n = (size_t)size[i].width * (size_t)size[i].height * 3;
        w->size[i] = size[i];
        most = n > most ? n : most;
    }
    w->values = mf_alloc(context, most * sizeof(float));
    if (!w->values) {
        mf_augment_work_free(w);
        return mf_fail_memory(context, most * sizeof(float), "augmentation");
    }
    *out = w;
    return MFRGN_OK;
}

void mf_augment_work_free(mf_augment_work *w) {
    if (!w)
        return;
    mfrgn_context *context = w->context;
    mf_free(context, w->copy);
    mf_free(context, w->scratch);
    mf_free(context, w->values);
    mf_free(context, w);
    mfrgn_context_free(context);
}

static mfrgn_status grow(mfrgn_context *context, void **memory, size_t *bytes, size_t need) {
    if (*bytes >= need)
        return MFRGN_OK;
    mf_free(context, *memory);
    *bytes = 0;
    *memory = mf_alloc(context, need);
    if (!*memory)
        return mf_fail_memory(context, need, "augmentation");
    *bytes = need;
    return MFRGN_OK;
}

/* view: MFRGN_VIEW_*, or 2 for what both share */
static mf_draw stream(const pair *p, augment_step step, int view) {
    return mf_draw_begin(p->seed, p->epoch, p->item, (uint64_t)MF_DRAW_AUGMENT + 3 * (uint64_t)step + (uint64_t)view);
}

/* ---- before resizing ---- */

static void store_row(void *arg, int y, const float *restrict row, int width) {
    unsigned char *restrict out = (unsigned char *)arg + (size_t)y * (size_t)width * 3;
    for (int i = 0; i < 3 * width; i++) {
        float v = row[i] > 0.0f ? row[i] : 0.0f;
        out[i] = (unsigned char)((v < 255.0f ? v : 255.0f) + 0.5f);
    }
}

/* The picture as dense RGB8 that may be written to. */
static mfrgn_status own(mf_augment_work *w, mfrgn_image *image) {
    size_t bytes = (size_t)image->width * (size_t)image->height * 3;
    void *copy = w->copy;
    mfrgn_status status = grow(w->context, &copy, &w->copy_bytes, bytes);
    w->copy = copy;
    MF_TRY(status);
    MF_TRY(grow(w->context, &w->scratch, &w->scratch_bytes, mf_resize_scratch(image->width, image->width)));
    mf_resize(image, image->height, image->width, w->scratch, store_row, w->copy);
    *image = (mfrgn_image){sizeof(*image),  w->copy, image->width, image->height, (ptrdiff_t)image->width * 3,
                           MFRGN_PIXEL_RGB8};
    return MFRGN_OK;
}

/* A part of the picture: its area and the aspect that is stretched away are drawn. */
static mfrgn_status crop(const pair *p, int view, mfrgn_image *image) {
    mf_draw d = stream(p, STEP_CROP, view);
    if (!mf_draw_chance(&d, p->set->crop))
        return MFRGN_OK;
    double area = mf_draw_between(&d, p->set->crop_area, 1), most = log(p->set->crop_aspect);
    double aspect = exp(mf_draw_between(&d, -most, most));
    double wide = fmin(1, sqrt(area * aspect)), high = fmin(1, sqrt(area / aspect));
    int width = (int)lrint(wide * image->width), height = (int)lrint(high * image->height);
    width = width < 1 ? 1 : width;
    height = height < 1 ? 1 : height;
    int x = (int)mf_draw_below(&d, (uint64_t)(image->width - width) + 1);
    int y = (int)mf_draw_below(&d, (uint64_t)(image->height - height) + 1);
    return mfrgn_image_crop(p->work->context, image, x, y, width, height, image);
}

static mfrgn_status before(const pair *p, int view, int flip, mfrgn_image *image) {
    mfrgn_context *context = p->work->context;
    if (view == MFRGN_VIEW_GROUND && p->set->precrop && image->height >= 4)
        MF_TRY(mfrgn_image_crop(context, image, 0, image->height / 4, image->width,
                                image->height * 3 / 4 - image->height / 4, image));
    mf_draw d = stream(p, STEP_JPEG, view);
    int jpeg = mf_draw_chance(&d, p->set->jpeg) && mf_have_jpeg_encoder();
    if (flip || jpeg) {
        MF_TRY(own(p->work, image));
        mf_raster r = {p->work->copy, image->width, image->height};
        if (flip)
            mf_raster_flip(r);
        uint64_t span = (uint64_t)(p->set->jpeg_quality[1] - p->set->jpeg_quality[0]) + 1;
        if (jpeg)
            MF_TRY(mf_raster_jpeg(context, r, p->set->jpeg_quality[0] + (int)mf_draw_below(&d, span)));
    }
    return crop(p, view, image);
}

/* ---- after it ---- */

static double factor(mf_draw *d, double change) {
    return mf_draw_between(d, 1 - change, 1 + change);
}

/* The four in an order that is drawn. */
static void colour(const pair *p, int view, mf_raster r) {
    const mf_augment *s = p->set;
    mf_draw d = stream(p, STEP_COLOUR, view);
    uint32_t order[4] = {0, 1, 2, 3};
    if (!mf_draw_chance(&d, s->colour))
        return;
    mf_draw_shuffle(&d, order, 4);
    for (int i = 0; i < 4; i++) {
        if (order[i] == 0 && s->brightness > 0)
            mf_raster_brightness(r, factor(&d, s->brightness));
        else if (order[i] == 1 && s->contrast > 0)
            mf_raster_contrast(r, factor(&d, s->contrast));
        else if (order[i] == 2 && s->saturation > 0)
            mf_raster_saturation(r, factor(&d, s->saturation));
        else if (order[i] == 3 && s->hue > 0)
            mf_raster_hue(r, mf_draw_between(&d, -s->hue, s->hue));
    }
}

static void sharpness(const pair *p, int view, mf_raster r) {
    mf_draw d = stream(p, STEP_SHARPNESS, view);
    if (!mf_draw_chance(&d, p->set->sharpness))
        return;
    if (mf_draw_chance(&d, 0.5)) {
        double sigma = mf_draw_between(&d, 0.2, 1);
        mf_raster_blur(r, sigma, mf_draw_between(&d, 0.2, 1), p->work->values);
    } else {
        double alpha = mf_draw_between(&d, 0.2, 0.5);
        mf_raster_sharpen(r, alpha, mf_draw_between(&d, 0.5, 1), (unsigned char *)p->work->values);
    }
}

/* Ten cells to the width; where the grid begins is drawn. */
static void grid(mf_draw *d, double share, mf_raster r) {
    int cell = r.width / 10 > 2 ? r.width / 10 : 2, hole = (int)(share * cell);
    hole = hole < 1 ? 1 : hole > cell - 1 ? cell - 1 : hole;
    int x0 = (int)mf_draw_below(d, (uint64_t)cell), y0 = (int)mf_draw_below(d, (uint64_t)cell);
    for (int y = y0 - cell; y < r.height; y += cell)
        for (int x = x0 - cell; x < r.width; x += cell)
            mf_raster_black(r, x, y, hole, hole);
}

static int side_between(mf_draw *d, const double share[2], mf_raster r) {
    int shorter = r.width < r.height ? r.width : r.height;
    int side = (int)lrint(mf_draw_between(d, share[0], share[1]) * shorter);
    return side < 1 ? 1 : side;
}

static void black_inside(mf_draw *d, mf_raster r, int width, int height) {
    width = width < r.width ? width : r.width;
    height = height < r.height ? height : r.height;
    int x = (int)mf_draw_below(d, (uint64_t)(r.width - width) + 1);
    int y = (int)mf_draw_below(d, (uint64_t)(r.height - height) + 1);
    mf_raster_black(r, x, y, width, height);
}

static void dropout(const pair *p, int view, mf_raster r) {
    const mf_augment *s = p->set;
    mf_draw d = stream(p, STEP_DROPOUT, view);
    if (mf_draw_chance(&d, s->dropout)) {
        if (mf_draw_chance(&d, 0.5)) {
            grid(&d, s->grid[view], r);
        } else {
            int n = s->holes[0] + (int)mf_draw_below(&d, (uint64_t)(s->holes[1] - s->holes[0]) + 1);
            for (int i = 0; i < n; i++) {
                int width = side_between(&d, s->hole, r);
                black_inside(&d, r, width, side_between(&d, s->hole, r));
            }
        }
    }
    d = stream(p, STEP_CUTOUT, view);
    if (mf_draw_chance(&d, s->cutout)) {
        int side = side_between(&d, s->cutout_side, r);
        black_inside(&d, r, side, side);
    }
}

static void shift(const pair *p, int view, mf_raster r) {
    mf_draw d = stream(p, STEP_SHIFT, view);
    double most = p->set->shift_share;
    if (!mf_draw_chance(&d, p->set->shift))
        return;
    int right = (int)lrint(mf_draw_between(&d, -most, most) * r.width);
    int down = (int)lrint(mf_draw_between(&d, -most, most) * r.height);
    mf_raster_shift(r, right, down, (unsigned char *)p->work->values);
}

static void turn(const pair *p, int view, mf_raster r, int k) {
    mf_draw d = stream(p, STEP_TURN, view);
    unsigned char *scratch = (unsigned char *)p->work->values;
    if (view == MFRGN_VIEW_GROUND && p->set->panorama)
        mf_raster_roll(r, k * r.width / 4); /* np.roll by -k W / 4 */
    else
        mf_raster_turn(r, k, scratch);
    if (mf_draw_chance(&d, p->set->turn[view]))
        mf_raster_turn(r, (int)mf_draw_below(&d, 4), scratch);
}

static mfrgn_status one_view(const pair *p, int view, int flip, int quarter_turns, const mfrgn_image *source,
                             unsigned char *out) {
    mf_augment_work *w = p->work;
    mfrgn_image image = *source;
    mf_raster r = {out, w->size[view].width, w->size[view].height};
    MF_TRY(mf_image_check(w->context, source));
    MF_TRY(before(p, view, flip, &image));
    MF_TRY(grow(w->context, &w->scratch, &w->scratch_bytes, mf_resize_scratch(image.width, r.width)));
    mf_resize(&image, r.height, r.width, w->scratch, store_row, out);
    shift(p, view, r);
    colour(p, view, r);
    mf_draw d = stream(p, STEP_GREY, view);
    if (mf_draw_chance(&d, p->set->grey))
        mf_raster_saturation(r, 0);
    sharpness(p, view, r);
    dropout(p, view, r);
    turn(p, view, r, quarter_turns);
    return MFRGN_OK;
}

mfrgn_status mf_augment_pair(mf_augment_work *work, const mf_augment *settings, const mfrgn_image source[2],
                             uint64_t seed, uint64_t epoch, uint64_t item, unsigned char *out[2]) {
    pair p = {work, settings, seed, epoch, item};
    mf_draw d = stream(&p, STEP_FLIP, 2);
    int flip = mf_draw_chance(&d, settings->flip);
    d = stream(&p, STEP_ROTATE, 2);
    int k = mf_draw_chance(&d, settings->rotate) ? 1 + (int)mf_draw_below(&d, 3) : 0;
    for (int view = 0; view < 2; view++)
        MF_TRY(one_view(&p, view, flip, k, &source[view], out[view]));
    return MFRGN_OK;
}
