/* SPDX-License-Identifier: Apache-2.0 */
/* A picture to draw into: RGB8, dense rows. */
#ifndef MFRGN_TOOLS_CANVAS_H
#define MFRGN_TOOLS_CANVAS_H

#include <mfrgn/mfrgn.h>

typedef struct canvas {
    int width, height;
    unsigned char *pixels;
} canvas;

enum { CANVAS_LETTER = 6, CANVAS_LINE = 9 }; /* pixels a letter, a line of text at scale 1 */

int canvas_open(canvas *c, int width, int height, unsigned colour); /* 0 after a message */
void canvas_free(canvas *c);
void canvas_box(canvas *c, int x, int y, int width, int height, unsigned colour);
void canvas_frame(canvas *c, int x, int y, int width, int height, int thick, unsigned colour); /* around the box */
/* ASCII; others are drawn as boxes. Cut at `room` pixels. */
void canvas_text(canvas *c, int x, int y, int scale, unsigned colour, int room, const char *text);
/* The image, resized to fill the box. */
void canvas_image(canvas *c, mfrgn_context *context, const mfrgn_image *image, int x, int y, int width, int height);

#endif
