#include "data/geo.h"

#include <math.h>

static const double equator = 6378137.0, flattening = 1 / 298.257223563, pi = 3.14159265358979323846;

static double radians(double degrees) {
    return degrees * (pi / 180);
}

static double degrees(double angle) {
    return angle * (180 / pi);
}

double mf_geo_east(double latitude) {
    double e2 = flattening * (2 - flattening), s = sin(radians(latitude));
    return radians(1) * equator * cos(radians(latitude)) / sqrt(1 - e2 * s * s);
}

/* The third flattening's series (Krueger 1912, Helmert): the arc of a meridian from the equator. */
double mf_geo_meridian(double latitude) {
    double n = flattening / (2 - flattening), n2 = n * n, f = radians(latitude);
    double a = equator / (1 + n);
    return a * ((1 + n2 / 4 + n2 * n2 / 64) * f - 3 * (n / 2 - n * n2 / 16) * sin(2 * f) +
                (15.0 / 16) * (n2 - n2 * n2 / 4) * sin(4 * f) - (35.0 / 48) * n * n2 * sin(6 * f) +
                (315.0 / 512) * n2 * n2 * sin(8 * f));
}

mf_point mf_geo_move(mf_point from, double east, double north) {
    double target = mf_geo_meridian(from.latitude) + north, latitude = from.latitude;
    for (int i = 0; i < 4; i++) { /* Newton; a degree of the meridian is 110.6 .. 111.7 km everywhere */
        double slope = (mf_geo_meridian(latitude + 1e-3) - mf_geo_meridian(latitude - 1e-3)) / 2e-3;
        latitude += (target - mf_geo_meridian(latitude)) / slope;
    }
    latitude = fmin(90, fmax(-90, latitude));
    double degree = mf_geo_east(latitude), longitude = from.longitude + (degree > 1e-3 ? east / degree : 0);
    if (longitude > 180 || longitude < -180)
        longitude -= 360 * floor((longitude + 180) / 360);
    return (mf_point){latitude, longitude};
}

mf_point mf_mercator_point(double x, double y) {
    return (mf_point){degrees(atan(sinh(pi * (1 - 2 * y)))), x * 360 - 180};
}

void mf_mercator_footprint(double x, double y, double size_x, double size_y, double *width, double *height) {
    *width = size_x * 360 * mf_geo_east(mf_mercator_point(x, y).latitude);
    *height = mf_geo_meridian(mf_mercator_point(x, y - size_y / 2).latitude) -
              mf_geo_meridian(mf_mercator_point(x, y + size_y / 2).latitude);
}

mf_point mf_geo_utm(int zone, int south, double easting, double northing) {
    double n = flattening / (2 - flattening), n2 = n * n, n3 = n2 * n, n4 = n2 * n2;
    double a = equator / (1 + n) * (1 + n2 / 4 + n4 / 64), k = 0.9996;
    double xi = (northing - (south ? 1e7 : 0)) / (k * a), eta = (easting - 5e5) / (k * a);
    const double beta[4] = {n / 2 - 2 * n2 / 3 + 37 * n3 / 96 - n4 / 360, n2 / 48 + n3 / 15 - 437 * n4 / 1440,
                            17 * n3 / 480 - 37 * n4 / 840, 4397 * n4 / 161280};
    const double delta[4] = {2 * n - 2 * n2 / 3 - 2 * n3 + 116 * n4 / 45, 7 * n2 / 3 - 8 * n3 / 5 - 227 * n4 / 45,
                             56 * n3 / 15 - 136 * n4 / 35, 4279 * n4 / 630};
    double x = xi, y = eta;
    for (int j = 1; j <= 4; j++) {
        x -= beta[j - 1] * sin(2 * j * xi) * cosh(2 * j * eta);
        y -= beta[j - 1] * cos(2 * j * xi) * sinh(2 * j * eta);
    }
    double chi = asin(sin(x) / cosh(y)), latitude = chi;
    for (int j = 1; j <= 4; j++)
        latitude += delta[j - 1] * sin(2 * j * chi);
    return (mf_point){degrees(latitude), zone * 6 - 183 + degrees(atan2(sinh(y), cos(x)))};
}
