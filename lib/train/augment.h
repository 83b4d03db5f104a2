/* Augmentation of a training pair on 8-bit pictures (TRAINING: "Augmentation, per pair"). */
#ifndef MFRGN_TRAIN_AUGMENT_H
#define MFRGN_TRAIN_AUGMENT_H

#include "io/image.h"
#include "train/draw.h"

/* Probabilities are 0 .. 1; 0 turns a step off.  Pairs of values: the aerial view's is [MFRGN_VIEW_AERIAL]. */
typedef struct mf_augment {
    int precrop;         /* CVACT's: rows H/4 .. 3H/4 of the ground picture, before all else */
    int panorama;        /* 1: a joint rotation rolls the ground picture; 0: it is turned like the aerial one */
    double flip;         /* both, left and right */
    double jpeg;         /* compressed and decoded again */
    int jpeg_quality[2]; /* lowest, highest */
    double crop;         /* of each picture, a part of its area of at least crop_area, stretched to the whole */
    double crop_area, crop_aspect; /* aspect of the part: 1 / crop_aspect .. crop_aspect times the picture's */
    double shift;                  /* moved by up to shift_share of the side, edges reflected */
    double shift_share;
    double colour;
    double brightness, contrast, saturation, hue; /* largest change; hue in turns */
    double grey;                                  /* colours taken away */
    double sharpness;                             /* one of blur and sharpen */
    double dropout;                               /* one of a grid and holes */
    double grid[2];                               /* share of a grid's cell that is dropped, each way */
    int holes[2];                                 /* lowest and highest number */
    double hole[2];                               /* lowest and highest side, share of the shorter side */
    double cutout;                                /* one square hole of side cutout_side[0] .. [1] */
    double cutout_side[2];
    double rotate;  /* both by the same 1, 2 or 3 quarter turns */
    double turn[2]; /* a view alone by 0 to 3 quarter turns; of square pictures only */
} mf_augment;

/* What a pair's pictures are made of. */
typedef struct mf_augment_size {
    int width, height;
} mf_augment_size;

/* Bytes of the working memory that mf_augment_pair() needs beside what JPEG takes, for these inputs of the network. */
typedef struct mf_augment_work mf_augment_work;
mfrgn_status mf_augment_work_create(mfrgn_context *context, const mf_augment_size size[2], mf_augment_work **work);
void mf_augment_work_free(mf_augment_work *work);

/* Makes both views of a pair, RGB8, dense, of their input's size, from pictures of any sizes (index: mfrgn_view).  The
 * result depends on the settings, the pictures, (seed, epoch, item) and nothing else. */
mfrgn_status mf_augment_pair(mf_augment_work *work, const mf_augment *settings, const mfrgn_image source[2],
                             uint64_t seed, uint64_t epoch, uint64_t item, unsigned char *out[2]);

/* 1: this build can compress JPEG. */
int mf_have_jpeg_encoder(void);

/* ---- the steps, in place on RGB8, dense ---- */
typedef struct mf_raster {
    unsigned char *pixels;
    int width, height;
} mf_raster;

void mf_raster_flip(mf_raster r);           /* left and right */
void mf_raster_roll(mf_raster r, int left); /* columns to the left, round the edge */
/* k quarter turns counter-clockwise; `scratch` as large as the picture; one that is not square: only by half turns,
 * 1 and 3 do nothing. */
void mf_raster_turn(mf_raster r, int k, unsigned char *scratch);
void mf_raster_shift(mf_raster r, int right, int down, unsigned char *scratch); /* edges reflected, (cb|abc|ba) */
void mf_raster_brightness(mf_raster r, double factor);
void mf_raster_contrast(mf_raster r, double factor);
void mf_raster_saturation(mf_raster r, double factor);
void mf_raster_hue(mf_raster r, double turns);
/* Gaussian of these standard deviations, kernel of 7 x 7, edges reflected; float scratch: 3 x width x height */
void mf_raster_blur(mf_raster r, double sigma_x, double sigma_y, float *scratch);
/* (1 - alpha) x + alpha K x, K: -1 round a middle of 8 + lightness */
void mf_raster_sharpen(mf_raster r, double alpha, double lightness, unsigned char *scratch);
void mf_raster_black(mf_raster r, int x, int y, int width, int height); /* clipped to the picture */
/* Compresses and decodes: libjpeg, 4:2:0.  UNSUPPORTED where this build has none. */
mfrgn_status mf_raster_jpeg(mfrgn_context *context, mf_raster r, int quality);

#endif
