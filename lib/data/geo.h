/* Geometry of the WGS84 ellipsoid as far as tiles and data sets need it; distances are
 * mfrgn_distance_m().  Angles in degrees, lengths in metres. */
#ifndef MFRGN_DATA_GEO_H
#define MFRGN_DATA_GEO_H

typedef struct mf_point {
    double latitude, longitude;
} mf_point;

/* Metres of a degree of longitude at a latitude. */
double mf_geo_east(double latitude);
/* Metres from the equator along a meridian (Krueger's series; to a micrometre). */
double mf_geo_meridian(double latitude);
/* The point `east` and `north` metres away, for distances of some km: the latitude moves along the meridian, then the
 * longitude along the new parallel. */
mf_point mf_geo_move(mf_point from, double east, double north);

/* Web Mercator (EPSG:3857) on the unit square: x to the east from the 180th meridian, y to the south. */
mf_point mf_mercator_point(double x, double y);
/* What a part of the unit square measures on the ground: through its centre, from edge to edge. */
void mf_mercator_footprint(double x, double y, double size_x, double size_y, double *width, double *height);

/* UTM, the southern or the northern half of a zone, to latitude and longitude (Krueger's series; below a mm). */
mf_point mf_geo_utm(int zone, int south, double easting, double northing);

#endif
