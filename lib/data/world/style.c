/* The cities and what tells one from another.  Colours are linear reflectances. */
#include "data/world/world.h"

static const mf_palette stone = {
    7, 5,
    {{.58f, .50f, .38f}, {.66f, .60f, .50f}, {.40f, .30f, .22f}, {.50f, .46f, .42f}, {.62f, .44f, .28f}, {.36f, .15f, .10f}, {.72f, .68f, .60f}},
    {{.16f, .16f, .17f}, {.36f, .35f, .34f}, {.22f, .24f, .26f}, {.45f, .43f, .40f}, {.28f, .20f, .16f}}};
static const mf_palette plaster = {
    8, 5,
    {{.70f, .58f, .34f}, {.72f, .66f, .54f}, {.62f, .34f, .24f}, {.46f, .54f, .46f}, {.68f, .50f, .40f}, {.74f, .72f, .66f}, {.42f, .48f, .58f}, {.60f, .52f, .22f}},
    {{.42f, .15f, .08f}, {.34f, .13f, .08f}, {.48f, .22f, .12f}, {.26f, .12f, .09f}, {.20f, .19f, .20f}}};
static const mf_palette clapboard = {
    8, 6,
    {{.72f, .72f, .70f}, {.60f, .62f, .58f}, {.42f, .50f, .58f}, {.62f, .56f, .42f}, {.34f, .22f, .16f}, {.50f, .54f, .40f}, {.64f, .46f, .40f}, {.36f, .12f, .08f}},
    {{.14f, .13f, .13f}, {.26f, .25f, .25f}, {.30f, .18f, .12f}, {.20f, .24f, .22f}, {.36f, .30f, .25f}, {.12f, .16f, .22f}}};
static const mf_palette adobe = {
    6, 5,
    {{.60f, .40f, .24f}, {.68f, .52f, .36f}, {.72f, .62f, .48f}, {.54f, .30f, .18f}, {.74f, .70f, .62f}, {.50f, .44f, .36f}},
    {{.66f, .58f, .46f}, {.74f, .70f, .64f}, {.52f, .40f, .28f}, {.46f, .22f, .13f}, {.58f, .54f, .50f}}};
static const mf_palette painted = {
    8, 5,
    {{.40f, .06f, .04f}, {.66f, .50f, .14f}, {.70f, .70f, .68f}, {.18f, .26f, .36f}, {.20f, .30f, .20f}, {.50f, .30f, .16f}, {.38f, .08f, .06f}, {.62f, .56f, .36f}},
    {{.08f, .08f, .09f}, {.13f, .13f, .14f}, {.30f, .10f, .07f}, {.18f, .19f, .20f}, {.10f, .14f, .12f}}};
static const mf_palette brick = {
    7, 5,
    {{.34f, .13f, .08f}, {.28f, .10f, .07f}, {.42f, .20f, .12f}, {.24f, .12f, .10f}, {.46f, .34f, .24f}, {.20f, .14f, .13f}, {.52f, .48f, .44f}},
    {{.12f, .12f, .14f}, {.20f, .19f, .20f}, {.24f, .13f, .09f}, {.30f, .29f, .28f}, {.36f, .36f, .38f}}};
static const mf_palette tropical = {
    8, 5,
    {{.74f, .74f, .70f}, {.70f, .46f, .42f}, {.40f, .62f, .60f}, {.74f, .64f, .34f}, {.48f, .60f, .40f}, {.66f, .56f, .60f}, {.72f, .68f, .58f}, {.36f, .48f, .64f}},
    {{.62f, .61f, .58f}, {.46f, .20f, .11f}, {.72f, .71f, .70f}, {.38f, .40f, .42f}, {.54f, .32f, .20f}}};

#define GREY(x) {x, x, x * 1.03f}

/*                 rows houses towers park plaza parking field water industry sport scrub */
const mf_style mf_styles[] = {
    {.name = "aldergate", .summary = "a grid of avenues, towers of stone and glass",
     .latitude = 41.62, .longitude = -87.91, .pitch_x = 92, .pitch_y = 68, .turn = 0.0f, .line_jitter = 0.22f, .free_jitter = 0,
     .minor = 4.6f, .major = 8.6f, .walk = 3.4f, .major_every = 3,
     .centre = {22, 0, 46, 6, 10, 12, 0, 0, 0, 2, 0}, .outside = {44, 8, 8, 8, 3, 12, 0, 0, 10, 6, 0},
     .lot = 13, .depth = 15, .setback = 0.4f, .gap = 0, .floors_min = 3, .floors_max = 8, .tower_floors = 30,
     .roof = {10, 0, 0}, .palette = &stone, .street_trees = 0.45f, .garden_trees = 0.4f, .species = {10, 1, 0},
     .asphalt = GREY(.085f), .paving = {.40f, .39f, .37f}, .grass = {.10f, .17f, .05f}, .soil = {.28f, .22f, .16f},
     .leaf = {.055f, .11f, .03f}, .water = {.05f, .10f, .10f}, .yellow = 1, .haze = 0.55f, .autumn = 0.3f, .snow = 0.08f,
     .sun_low = 0.07f, .sun_high = 0.19f},
    {.name = "rosenfeld", .summary = "an old town of crooked streets, plaster and red tiles",
     .latitude = 48.93, .longitude = 9.37, .pitch_x = 66, .pitch_y = 62, .turn = 0.09f, .line_jitter = 0.1f, .free_jitter = 0.62f,
     .minor = 3.1f, .major = 5.2f, .walk = 1.7f, .major_every = 4,
     .centre = {62, 2, 0, 7, 12, 5, 0, 2, 0, 1, 0}, .outside = {22, 42, 0, 8, 2, 5, 10, 2, 4, 5, 0},
     .lot = 9.5f, .depth = 11, .setback = 0.2f, .gap = 0, .floors_min = 2, .floors_max = 4, .tower_floors = 6,
     .roof = {1, 9, 2}, .palette = &plaster, .street_trees = 0.25f, .garden_trees = 0.9f, .species = {10, 1, 0},
     .asphalt = {.16f, .15f, .145f}, .paving = {.36f, .33f, .29f}, .grass = {.11f, .20f, .05f}, .soil = {.30f, .23f, .15f},
     .leaf = {.05f, .12f, .025f}, .water = {.06f, .11f, .08f}, .yellow = 0, .haze = 0.35f, .autumn = 0.3f, .snow = 0.06f,
     .sun_low = 0.06f, .sun_high = 0.17f},
    {.name = "maplewood", .summary = "a suburb of wooden houses in gardens",
     .latitude = 42.87, .longitude = -71.58, .pitch_x = 104, .pitch_y = 72, .turn = 0.035f, .stagger = 1, .line_jitter = 0.1f,
     .free_jitter = 0.3f,
     .minor = 3.8f, .major = 6.4f, .walk = 1.7f, .major_every = 5, .verge = 1.8f,
     .centre = {6, 66, 3, 8, 3, 10, 0, 0, 0, 6, 0}, .outside = {0, 74, 0, 8, 0, 3, 6, 3, 1, 5, 3},
     .lot = 20, .depth = 10, .setback = 7, .gap = 7, .floors_min = 1, .floors_max = 2, .tower_floors = 5,
     .roof = {0, 7, 5}, .palette = &clapboard, .street_trees = 0.7f, .garden_trees = 1.5f, .species = {8, 3, 0},
     .asphalt = GREY(.12f), .paving = {.46f, .45f, .43f}, .grass = {.10f, .19f, .045f}, .soil = {.27f, .2f, .13f},
     .leaf = {.045f, .10f, .022f}, .water = {.05f, .09f, .09f}, .yellow = 1, .haze = 0.3f, .autumn = 0.4f, .snow = 0.1f,
     .sun_low = 0.07f, .sun_high = 0.18f},
    {.name = "sandoval", .summary = "a desert town of adobe and gravel",
     .latitude = 33.71, .longitude = -112.62, .pitch_x = 96, .pitch_y = 82, .turn = -0.02f, .stagger = 0, .line_jitter = 0.2f,
     .free_jitter = 0.16f,
     .minor = 4.4f, .major = 8.4f, .walk = 1.8f, .major_every = 3,
     .centre = {10, 44, 6, 4, 5, 18, 0, 0, 5, 4, 6}, .outside = {0, 54, 0, 2, 0, 6, 4, 0, 8, 3, 26},
     .lot = 18, .depth = 12, .setback = 5, .gap = 5, .floors_min = 1, .floors_max = 2, .tower_floors = 8,
     .roof = {6, 1, 3}, .palette = &adobe, .street_trees = 0.35f, .garden_trees = 0.6f, .species = {4, 1, 6},
     .asphalt = {.17f, .165f, .16f}, .paving = {.52f, .47f, .40f}, .grass = {.42f, .33f, .22f}, .soil = {.46f, .34f, .22f},
     .leaf = {.09f, .12f, .05f}, .water = {.07f, .14f, .15f}, .yellow = 1, .haze = 0.2f, .autumn = 0, .snow = 0,
     .sun_low = 0.09f, .sun_high = 0.22f},
    {.name = "norrvik", .summary = "a northern town of painted wood among firs",
     .latitude = 63.81, .longitude = 20.44, .pitch_x = 84, .pitch_y = 74, .turn = -0.07f, .stagger = 1, .line_jitter = 0.12f,
     .free_jitter = 0.42f,
     .minor = 3.5f, .major = 5.6f, .walk = 1.6f, .major_every = 5, .verge = 1.0f,
     .centre = {26, 40, 0, 7, 5, 9, 0, 2, 5, 5, 0}, .outside = {0, 58, 0, 10, 0, 3, 8, 6, 4, 3, 8},
     .lot = 17, .depth = 9, .setback = 4, .gap = 6, .floors_min = 1, .floors_max = 3, .tower_floors = 4,
     .roof = {0, 10, 1}, .palette = &painted, .street_trees = 0.25f, .garden_trees = 1.3f, .species = {4, 9, 0},
     .asphalt = GREY(.11f), .paving = {.34f, .34f, .34f}, .grass = {.10f, .16f, .06f}, .soil = {.2f, .17f, .13f},
     .leaf = {.035f, .075f, .03f}, .water = {.035f, .06f, .08f}, .yellow = 0, .haze = 0.4f, .autumn = 0.25f, .snow = 0.3f,
     .sun_low = 0.04f, .sun_high = 0.12f},
    {.name = "portmere", .summary = "a harbour of canals, quays and brick warehouses",
     .latitude = 52.41, .longitude = 4.72, .pitch_x = 78, .pitch_y = 62, .turn = 0.055f, .stagger = 1, .line_jitter = 0.08f,
     .free_jitter = 0.14f,
     .minor = 3.7f, .major = 6.2f, .walk = 2.3f, .major_every = 4,
     .centre = {48, 0, 3, 4, 7, 5, 0, 18, 10, 1, 0}, .outside = {26, 10, 0, 7, 1, 6, 6, 18, 18, 4, 0},
     .lot = 8, .depth = 12, .setback = 0.2f, .gap = 0, .floors_min = 3, .floors_max = 5, .tower_floors = 9,
     .roof = {3, 8, 1}, .palette = &brick, .street_trees = 0.65f, .garden_trees = 0.5f, .species = {10, 0, 0},
     .asphalt = {.15f, .12f, .11f}, .paving = {.30f, .24f, .21f}, .grass = {.10f, .19f, .06f}, .soil = {.26f, .22f, .18f},
     .leaf = {.05f, .115f, .03f}, .water = {.05f, .075f, .065f}, .yellow = 0, .haze = 0.65f, .autumn = 0.25f, .snow = 0.05f,
     .sun_low = 0.05f, .sun_high = 0.16f},
    {.name = "brickton", .summary = "long terraces of brick between works and yards",
     .latitude = 53.52, .longitude = -2.31, .pitch_x = 118, .pitch_y = 48, .turn = 0.12f, .stagger = 1, .line_jitter = 0.16f,
     .free_jitter = 0.06f,
     .minor = 3.3f, .major = 5.6f, .walk = 1.9f, .major_every = 5,
     .centre = {58, 4, 2, 5, 4, 9, 0, 0, 12, 3, 0}, .outside = {40, 16, 0, 6, 0, 6, 4, 2, 18, 5, 3},
     .lot = 6.5f, .depth = 8.5f, .setback = 1.6f, .gap = 0, .floors_min = 2, .floors_max = 3, .tower_floors = 10,
     .roof = {1, 10, 0}, .palette = &brick, .street_trees = 0.2f, .garden_trees = 0.5f, .species = {10, 1, 0},
     .asphalt = GREY(.10f), .paving = {.33f, .32f, .31f}, .grass = {.09f, .18f, .05f}, .soil = {.22f, .19f, .15f},
     .leaf = {.05f, .11f, .03f}, .water = {.045f, .07f, .06f}, .yellow = 0, .haze = 0.75f, .autumn = 0.3f, .snow = 0.05f,
     .sun_low = 0.05f, .sun_high = 0.16f},
    {.name = "palmeira", .summary = "a tropical coast of white walls, bright paint and palms",
     .latitude = -8.31, .longitude = -34.95, .pitch_x = 76, .pitch_y = 86, .turn = -0.11f, .stagger = 0, .line_jitter = 0.18f,
     .free_jitter = 0.3f,
     .minor = 4.0f, .major = 7.6f, .walk = 2.6f, .major_every = 3,
     .centre = {24, 22, 20, 7, 6, 8, 0, 4, 2, 4, 0}, .outside = {12, 44, 4, 8, 2, 4, 6, 8, 4, 5, 3},
     .lot = 14, .depth = 12, .setback = 3, .gap = 3, .floors_min = 1, .floors_max = 3, .tower_floors = 16,
     .roof = {6, 1, 5}, .palette = &tropical, .street_trees = 0.6f, .garden_trees = 1.0f, .species = {5, 0, 9},
     .asphalt = {.13f, .125f, .12f}, .paving = {.50f, .46f, .40f}, .grass = {.12f, .23f, .05f}, .soil = {.42f, .24f, .14f},
     .leaf = {.045f, .13f, .025f}, .water = {.06f, .20f, .21f}, .yellow = 1, .haze = 0.4f, .autumn = 0, .snow = 0,
     .sun_low = 0.1f, .sun_high = 0.23f},
};
const int mf_style_count = MF_COUNT(mf_styles);
