/* SPDX-License-Identifier: Apache-2.0 */
/* mfrgn synth: which pictures a data set has, and its lists, in three layouts. */
#include <errno.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "out.h"
#include "synth.h"

/* A pair: a place on a street, the tile and the heading that go with it. */
typedef struct pair {
    mfrgn_place place;
    double tile_east, tile_north, tile_latitude, tile_longitude, heading;
    unsigned long day;
    int test;
    long number; /* from 1, of its part */
} pair;

static uint64_t mix(uint64_t x) {
    x += 0x9e3779b97f4a7c15u;
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9u;
    x = (x ^ x >> 27) * 0x94d049bb133111ebu;
    return x ^ x >> 31;
}

static double unit(uint64_t hash, unsigned k) {
    return (double)(mix(hash + k) >> 11) / 9007199254740992.0;
}

static int make_folder(const char *path) {
    struct stat about;
    if (mkdir(path, 0777) == 0 || (errno == EEXIST && stat(path, &about) == 0 && S_ISDIR(about.st_mode)))
        return 1;
    tool_error("%s: cannot be made: %s", path, strerror(errno));
    return 0;
}

/* "a/b/c" below the output folder, each made. */
static int make_folders(const synth_options *o, const char *below) {
    char *path = tool_format("%s/%s", o->out, below);
    int good = path != NULL;
    for (char *slash = path ? path + strlen(o->out) : NULL; good && slash; slash = strchr(slash + 1, '/')) {
        *slash = 0;
        good = make_folder(path);
        *slash = '/';
    }
    good = good && make_folder(path);
    free(path);
    return good;
}

static int add(synth_plan *plan, int city, mfrgn_view view, const mfrgn_shot *shot, char *path) {
    if (path && plan->count == plan->room) {
        size_t room = plan->room ? 2 * plan->room : 1024;
        synth_picture *grown = realloc(plan->picture, room * sizeof *grown);
        if (!grown) {
            free(path);
            path = NULL;
        } else {
            plan->picture = grown;
            plan->room = room;
        }
    }
    if (!path) {
        tool_error("not enough memory for the list of pictures");
        return 0;
    }
    plan->picture[plan->count++] = (synth_picture){plan->world[city], view, *shot, path};
    return 1;
}

/* The pairs of a city, those of the training part first; NULL after a message. */
static pair *list_pairs(synth_plan *plan, int city, size_t *count) {
    const synth_options *o = plan->options;
    size_t parts[2] = {(size_t)o->pairs, (size_t)o->tests}, at = 0;
    pair *all = calloc(parts[0] + parts[1], sizeof *all);
    mfrgn_place *places = calloc(parts[0] > parts[1] ? parts[0] : parts[1], sizeof *places);
    int good = all && places;
    if (!good)
        tool_error("not enough memory for the list of pairs");
    for (int test = 0; good && test < 2; test++) {
        if (!parts[test])
            continue;
        places->struct_size = sizeof *places;
        mfrgn_status status = mfrgn_world_places(plan->world[city], test ? MFRGN_WORLD_TEST : MFRGN_WORLD_TRAIN,
                                                 o->spacing, parts[test], places);
        if (status != MFRGN_OK) {
            tool_failed(plan->context, status, o->city[city]);
            good = 0;
        }
        for (size_t i = 0; good && i < parts[test]; i++) {
            pair *p = &all[at++];
            uint64_t h = mix(mix((uint64_t)o->seed) ^ (uint64_t)(2 * i + (size_t)test) * 0x9e3779b97f4a7c15u);
            p->place = places[i];
            p->test = test;
            p->number = (long)i + 1;
            p->day = (unsigned long)((uint64_t)o->day * 2000003u + 2 * i + (size_t)test) & 0xfffffffful;
            p->heading = o->random_heading ? floor(unit(h ^ (uint64_t)o->day, 3) * 3600) / 10 : 0;
            p->tile_east = p->place.east + (2 * unit(h, 1) - 1) * o->offset;
            p->tile_north = p->place.north + (2 * unit(h, 2) - 1) * o->offset;
            mfrgn_world_point(plan->world[city], p->tile_east, p->tile_north, &p->tile_latitude, &p->tile_longitude);
        }
    }
    free(places);
    if (!good) {
        free(all);
        return NULL;
    }
    *count = at;
    return all;
}

static int add_ground(synth_plan *plan, int city, const pair *p, char *path) {
    mfrgn_shot s = {.struct_size = sizeof s,
                    .east = p->place.east,
                    .north = p->place.north,
                    .day = p->day,
                    .heading = p->heading,
                    .fov = plan->options->fov};
    return add(plan, city, MFRGN_VIEW_GROUND, &s, path);
}

static int add_aerial(synth_plan *plan, int city, double east, double north, unsigned long day, char *path) {
    mfrgn_shot s = {.struct_size = sizeof s, .east = east, .north = north, .day = day, .size_m = plan->options->size};
    return add(plan, city, MFRGN_VIEW_AERIAL, &s, path);
}

/* A list below the output folder. */
static int begin(const synth_options *o, out_file *out, const char *name) {
    char *path = tool_format("%s/%s", o->out, name);
    int good = path && out_open(out, path);
    free(path);
    return good;
}

/* ---- a plain list of pairs ---- */

static void pairs_line(FILE *file, const char *city, const pair *p) {
    const char *part = p->test ? "test" : "train";
    fprintf(file, "%s/ground/%s-%06ld.png,%s/aerial/%s-%06ld.png,%.7f,%.7f,%.7f,%.7f,%.1f,%s,%s\n", city, part,
            p->number, city, part, p->number, p->place.latitude, p->place.longitude, p->tile_latitude,
            p->tile_longitude, p->heading, part, city);
}

static int pairs_city(synth_plan *plan, int city, const pair *all, size_t count, FILE *file) {
    const synth_options *o = plan->options;
    const char *name = o->city[city];
    for (int ground = 0; ground < 2; ground++) {
        char *folder = tool_format("%s/%s", name, ground ? "ground" : "aerial");
        int good = folder && make_folders(o, folder);
        free(folder);
        if (!good)
            return 0;
    }
    for (size_t i = 0; i < count; i++) {
        const pair *p = &all[i];
        const char *part = p->test ? "test" : "train";
        if (file)
            pairs_line(file, name, p);
        else if (!add_ground(plan, city, p, tool_format("%s/%s/ground/%s-%06ld.png", o->out, name, part, p->number)) ||
                 !add_aerial(plan, city, p->tile_east, p->tile_north, p->day,
                             tool_format("%s/%s/aerial/%s-%06ld.png", o->out, name, part, p->number)))
            return 0;
    }
    return 1;
}

static int lay_pairs(synth_plan *plan, int write) {
    const synth_options *o = plan->options;
    out_file out = {0};
    int good = 1;
    if (write && !begin(o, &out, "pairs.csv"))
        return 0;
    if (write)
        fprintf(out.file, "ground,aerial,latitude,longitude,aerial_latitude,aerial_longitude,heading,split,city\n");
    for (int city = 0; good && city < o->city_count; city++) {
        size_t count = 0;
        pair *all = list_pairs(plan, city, &count);
        good = all && pairs_city(plan, city, all, count, out.file);
        free(all);
    }
    if (!write)
        return good;
    if (good)
        return out_commit(&out);
    out_discard(&out);
    return 0;
}

/* ---- CVUSA: numbered pictures; the id is the row of split_locations/all.csv ---- */

static int lay_cvusa(synth_plan *plan, int write) {
    static const char *const names[] = {"splits/train-19zl.csv", "splits/val-19zl.csv", "split_locations/all.csv"};
    const synth_options *o = plan->options;
    out_file out[3] = {{0}};
    long id = 0;
    int good = make_folders(o, "splits") && make_folders(o, "split_locations") && make_folders(o, "bingmap/19") &&
               make_folders(o, "streetview/panos");
    for (int k = 0; good && write && k < 3; k++)
        good = begin(o, &out[k], names[k]);
    for (int city = 0; good && city < o->city_count; city++) {
        size_t count = 0;
        pair *all = list_pairs(plan, city, &count);
        good = all != NULL;
        for (size_t i = 0; good && i < count; i++) {
            const pair *p = &all[i];
            id++;
            if (write) {
                fprintf(out[p->test].file,
                        "bingmap/19/%07ld.png,streetview/panos/%07ld.png,streetview/annotations/%07ld.png\n", id, id,
                        id);
                fprintf(out[2].file, "%.7f,%.7f\n", p->place.latitude, p->place.longitude);
            } else {
                good = add_ground(plan, city, p, tool_format("%s/streetview/panos/%07ld.png", o->out, id)) &&
                       add_aerial(plan, city, p->tile_east, p->tile_north, p->day,
                                  tool_format("%s/bingmap/19/%07ld.png", o->out, id));
            }
        }
        free(all);
    }
    for (int k = 0; write && k < 3; k++) {
        if (good)
            good = out_commit(&out[k]);
        else
            out_discard(&out[k]);
    }
    return good;
}

/* ---- VIGOR: tiles on a grid of half their size; a panorama lies in the middle quarter of its tile ---- */

typedef struct tile {
    long i, j; /* of the grid */
} tile;

static const char *const vigor_names[] = {"NewYork", "Seattle", "SanFrancisco", "Chicago"};

/* The four tiles around a panorama, the positive one first. */
static void tiles_of(const synth_options *o, const pair *p, tile around[4]) {
    double step = o->size / 2;
    tile t = {lround(p->place.east / step), lround(p->place.north / step)};
    long di = p->place.east < (double)t.i * step ? -1 : 1, dj = p->place.north < (double)t.j * step ? -1 : 1;
    for (int k = 0; k < 4; k++)
        around[k] = (tile){t.i + (k & 1 ? di : 0), t.j + (k & 2 ? dj : 0)};
}

static int compare_tiles(const void *a, const void *b) {
    const tile *x = a, *y = b;
    if (x->i != y->i)
        return x->i < y->i ? -1 : 1;
    return x->j < y->j ? -1 : x->j > y->j;
}

/* Every tile once, sorted; NULL after a message. */
static tile *all_tiles(const synth_options *o, const pair *all, size_t pairs, size_t *count) {
    tile *tiles = calloc(4 * pairs + 1, sizeof *tiles);
    if (!tiles) {
        tool_error("not enough memory for the list of tiles");
        return NULL;
    }
    for (size_t i = 0; i < pairs; i++)
        tiles_of(o, &all[i], tiles + 4 * i);
    qsort(tiles, 4 * pairs, sizeof *tiles, compare_tiles);
    *count = 0;
    for (size_t i = 0; i < 4 * pairs; i++)
        if (!*count || compare_tiles(&tiles[i], &tiles[*count - 1]))
            tiles[(*count)++] = tiles[i];
    return tiles;
}

static char *tile_name(const synth_plan *plan, int city, tile t) {
    double step = plan->options->size / 2, latitude = 0, longitude = 0;
    mfrgn_world_point(plan->world[city], (double)t.i * step, (double)t.j * step, &latitude, &longitude);
    return tool_format("satellite_%.7f_%.7f.png", latitude, longitude);
}

static char *panorama_name(const pair *p) {
    return tool_format("%s%06ld,%.7f,%.7f,.png", p->test ? "v" : "t", p->number, p->place.latitude, p->place.longitude);
}

/* The panorama, then each tile with the panorama's rows below and columns to the right of its centre. */
static int label(const synth_plan *plan, int city, const pair *p, FILE *file) {
    const synth_options *o = plan->options;
    tile around[4];
    char *name = panorama_name(p);
    int good = name != NULL;
    tiles_of(o, p, around);
    fprintf(file, "%s", good ? name : "");
    free(name);
    for (int k = 0; good && k < 4; k++) {
        double step = o->size / 2, pixels = o->aerial_width / o->size;
        name = tile_name(plan, city, around[k]);
        good = name != NULL;
        fprintf(file, " %s %.2f %.2f", good ? name : "", ((double)around[k].j * step - p->place.north) * pixels,
                (p->place.east - (double)around[k].i * step) * pixels);
        free(name);
    }
    fputc('\n', file);
    return good;
}

static int vigor_lists(synth_plan *plan, int city, const pair *all, size_t count, const tile *tiles,
                       size_t tile_count) {
    static const char *const names[] = {"same_area_balanced_train.txt", "same_area_balanced_test.txt",
                                        "pano_label_balanced.txt", "satellite_list.txt"};
    out_file out[4] = {{0}};
    int good = 1;
    for (int k = 0; good && k < 4; k++) {
        char *name = tool_format("splits/%s/%s", vigor_names[city], names[k]);
        good = name && begin(plan->options, &out[k], name);
        free(name);
    }
    for (size_t i = 0; good && i < count; i++)
        good = label(plan, city, &all[i], out[all[i].test].file) && label(plan, city, &all[i], out[2].file);
    for (size_t i = 0; good && i < tile_count; i++) {
        char *name = tile_name(plan, city, tiles[i]);
        good = name != NULL;
        fprintf(out[3].file, "%s\n", good ? name : "");
        free(name);
    }
    for (int k = 0; k < 4; k++) {
        if (good)
            good = out_commit(&out[k]);
        else
            out_discard(&out[k]);
    }
    return good;
}

/* A picture's path from the name, which is freed. */
static char *vigor_path(const synth_options *o, int city, const char *kind, char *name) {
    char *path = name ? tool_format("%s/%s/%s/%s", o->out, vigor_names[city], kind, name) : NULL;
    free(name);
    return path;
}

static int vigor_city(synth_plan *plan, int city, int write) {
    const synth_options *o = plan->options;
    static const char *const folders[] = {"%s/panorama", "%s/satellite", "splits/%s"};
    size_t count = 0, tile_count = 0;
    int good = 1;
    for (size_t k = 0; good && k < 3; k++) {
        char folder[64];
        const char *percent = strchr(folders[k], '%');
        snprintf(folder, sizeof folder, "%.*s%s%s", (int)(percent - folders[k]), folders[k], vigor_names[city],
                 percent + 2);
        good = make_folders(o, folder);
    }
    pair *all = good ? list_pairs(plan, city, &count) : NULL;
    tile *tiles = all ? all_tiles(o, all, count, &tile_count) : NULL;
    good = tiles != NULL;
    if (good && write)
        good = vigor_lists(plan, city, all, count, tiles, tile_count);
    for (size_t i = 0; good && !write && i < count; i++)
        good = add_ground(plan, city, &all[i], vigor_path(o, city, "panorama", panorama_name(&all[i])));
    for (size_t i = 0; good && !write && i < tile_count; i++) {
        unsigned long day =
            (unsigned long)(mix((uint64_t)tiles[i].i * 1000003u ^ (uint64_t)tiles[i].j ^ (uint64_t)o->day << 40) &
                            0xffffffffu);
        good = add_aerial(plan, city, (double)tiles[i].i * o->size / 2, (double)tiles[i].j * o->size / 2, day,
                          vigor_path(o, city, "satellite", tile_name(plan, city, tiles[i])));
    }
    free(tiles);
    free(all);
    return good;
}

int synth_lay_out(synth_plan *plan, int write) {
    int good = make_folder(plan->options->out);
    if (good && plan->options->layout == SYNTH_PAIRS)
        return lay_pairs(plan, write);
    if (good && plan->options->layout == SYNTH_CVUSA)
        return lay_cvusa(plan, write);
    for (int city = 0; good && city < plan->options->city_count; city++)
        good = vigor_city(plan, city, write);
    return good;
}
