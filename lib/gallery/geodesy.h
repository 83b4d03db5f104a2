/* Distances and directions on the WGS84 ellipsoid. */
#ifndef MFRGN_GALLERY_GEODESY_H
#define MFRGN_GALLERY_GEODESY_H

#include "mfrgn/gallery.h"

/* Metres east and north of the origin, in the plane that touches the ellipsoid there: lengths of a degree are those of the
 * radii of curvature at the origin.  Within 10 km and 60 degrees of latitude right to some 10 m, within 1 km to 0.1 m; the two are each
 * other's inverse.  Longitudes differ by the shorter way round and are given back within -180 .. 180. */
void mf_enu_from_degrees(double latitude0, double longitude0, double latitude, double longitude, double *east,
                         double *north);
void mf_degrees_from_enu(double latitude0, double longitude0, double east, double north, double *latitude,
                         double *longitude);

#endif
