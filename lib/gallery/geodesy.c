/* Vincenty's inverse formula (T. Vincenty, "Direct and inverse solutions of geodesics on the ellipsoid", Survey Review 23,
 * 1975), and local metres.  Near antipodes Vincenty's iteration does not converge; a sphere is within 0.6 % there. */
#include "gallery/geodesy.h"

#include <math.h>

#define A 6378137.0
#define F (1 / 298.257223563)
#define B (A * (1 - F))
#define E2 (F * (2 - F))
#define RADIANS 0.017453292519943295769

static double sphere(double u1, double u2, double l) {
    const double radius = (2 * A + B) / 3;
    double s = sin((u2 - u1) / 2), t = sin(l / 2), h = s * s + cos(u1) * cos(u2) * t * t;
    return 2 * radius * asin(sqrt(h < 1 ? h : 1));
}

typedef struct arc {
    double sin_sigma, cos_sigma, sigma, cos2_alpha, cos_2m;
} arc;

/* The arc on the auxiliary sphere for a difference of longitude there. */
static arc arc_of(double u1, double u2, double lambda) {
    arc r;
    double x = cos(u2) * sin(lambda), y = cos(u1) * sin(u2) - sin(u1) * cos(u2) * cos(lambda);
    r.sin_sigma = sqrt(x * x + y * y);
    r.cos_sigma = sin(u1) * sin(u2) + cos(u1) * cos(u2) * cos(lambda);
    r.sigma = atan2(r.sin_sigma, r.cos_sigma);
    double sin_alpha = r.sin_sigma > 0 ? cos(u1) * cos(u2) * sin(lambda) / r.sin_sigma : 0;
    r.cos2_alpha = 1 - sin_alpha * sin_alpha;
    r.cos_2m = r.cos2_alpha > 1e-12 ? r.cos_sigma - 2 * sin(u1) * sin(u2) / r.cos2_alpha : 0; /* along the equator */
    return r;
}

static double length_of(const arc *r) {
    double u2 = r->cos2_alpha * (A * A - B * B) / (B * B), m = r->cos_2m;
    double a = 1 + u2 / 16384 * (4096 + u2 * (-768 + u2 * (320 - 175 * u2)));
    double b = u2 / 1024 * (256 + u2 * (-128 + u2 * (74 - 47 * u2)));
    double delta = b * r->sin_sigma *
                   (m + b / 4 *
                            (r->cos_sigma * (2 * m * m - 1) -
                             b / 6 * m * (4 * r->sin_sigma * r->sin_sigma - 3) * (4 * m * m - 3)));
    return B * a * (r->sigma - delta);
}

double mfrgn_distance_m(double latitude1, double longitude1, double latitude2, double longitude2) {
    if (!isfinite(latitude1) || !isfinite(longitude1) || !isfinite(latitude2) || !isfinite(longitude2))
        return NAN;
    double l = remainder(longitude2 - longitude1, 360) * RADIANS;
    double u1 = atan((1 - F) * tan(latitude1 * RADIANS)), u2 = atan((1 - F) * tan(latitude2 * RADIANS));
    double lambda = l;
    for (int i = 0; i < 100; i++) {
        arc r = arc_of(u1, u2, lambda);
        if (r.sin_sigma == 0 && r.cos_sigma > 0)
            return 0;
        double sin_alpha = r.sin_sigma > 0 ? cos(u1) * cos(u2) * sin(lambda) / r.sin_sigma : 0;
        double c = F / 16 * r.cos2_alpha * (4 + F * (4 - 3 * r.cos2_alpha));
        double next = l + (1 - c) * F * sin_alpha *
                              (r.sigma + c * r.sin_sigma *
                                             (r.cos_2m + c * r.cos_sigma * (2 * r.cos_2m * r.cos_2m - 1)));
        double step = fabs(next - lambda);
        lambda = next;
        if (!(fabs(lambda) <= 3.1415926535897932385 + 1e-9))
            break; /* beyond the antipode: no convergence; or NaN */
        if (step < 1e-13) {
            r = arc_of(u1, u2, lambda);
            return length_of(&r);
        }
    }
    return sphere(u1, u2, l);
}

/* Metres of a radian: along the parallel, along the meridian. */
static void radian_lengths(double latitude, double *east, double *north) {
    double s = sin(latitude * RADIANS), w = 1 - E2 * s * s;
    *east = A / sqrt(w) * cos(latitude * RADIANS);
    *north = A * (1 - E2) / (w * sqrt(w));
}

void mf_enu_from_degrees(double latitude0, double longitude0, double latitude, double longitude, double *east,
                         double *north) {
    double e, n;
    radian_lengths(latitude0, &e, &n);
    *east = remainder(longitude - longitude0, 360) * RADIANS * e;
    *north = (latitude - latitude0) * RADIANS * n;
}

void mf_degrees_from_enu(double latitude0, double longitude0, double east, double north, double *latitude,
                         double *longitude) {
    double e, n, lat, lon = longitude0;
    radian_lengths(latitude0, &e, &n);
    lat = latitude0 + north / n / RADIANS;
    if (e > 1e-3) /* at a pole every direction is along the meridian */
        lon = remainder(longitude0 + east / e / RADIANS, 360);
    *latitude = lat < -90 ? -90 : lat > 90 ? 90 : lat;
    *longitude = lon;
}
