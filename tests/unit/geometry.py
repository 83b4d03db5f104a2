#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Prints the figures that test_tiles.c compares with, found by integrating the WGS84 ellipsoid numerically."""
import math

A, F = 6378137.0, 1 / 298.257223563
E2 = F * (2 - F)


def across(p):
    """Radius of curvature in the prime vertical."""
    return A / math.sqrt(1 - E2 * math.sin(p) ** 2)


def along(p):
    """Radius of curvature in the meridian."""
    return A * (1 - E2) / (1 - E2 * math.sin(p) ** 2) ** 1.5


def arc(p0, p1, n=4000):
    """Metres of a meridian between two latitudes, by Simpson's rule."""
    h = (p1 - p0) / n
    return sum(along(p0 + i * h) + 4 * along(p0 + (i + 0.5) * h) + along(p0 + (i + 1) * h) for i in range(n)) * h / 6


def latitude(y):
    return 2 * math.atan(math.exp(math.pi * (1 - 2 * y))) - math.pi / 2


def tile(zoom, lon, lat):
    n = 2 ** zoom
    x = int((lon + 180) / 360 * n)
    y = int((1 - math.asinh(math.tan(math.radians(lat))) / math.pi) / 2 * n)
    p = latitude((y + 0.5) / n)
    width = across(p) * math.cos(p) * 2 * math.pi / n
    height = arc(latitude((y + 1) / n), latitude(y / n))
    print(f"{zoom}/{x}/{y} (row {n - 1 - y} from the south): {math.degrees(p):.9f} {(x + 0.5) / n * 360 - 180:.9f}, "
          f"{width:.4f} x {height:.4f} m")


def utm(lat, lon, middle):
    """Snyder's series (USGS Professional Paper 1395, 8-9 .. 8-10), southern half."""
    k, e2, p = 0.9996, E2 / (1 - E2), math.radians(lat)
    a, t, c = math.radians(lon - middle) * math.cos(p), math.tan(p) ** 2, e2 * math.cos(p) ** 2
    east = a + (1 - t + c) * a ** 3 / 6 + (5 - 18 * t + t * t + 72 * c - 58 * e2) * a ** 5 / 120
    north = (a * a / 2 + (5 - t + 9 * c + 4 * c * c) * a ** 4 / 24 +
             (61 - 58 * t + t * t + 600 * c - 330 * e2) * a ** 6 / 720)
    print(f"UTM {k * across(p) * east + 5e5:.4f} {k * (arc(0, p) + across(p) * math.tan(p) * north) + 1e7:.4f}")


def move(lat, east, north):
    q = lat
    for _ in range(20):
        q = lat + math.degrees(north / along(math.radians((lat + q) / 2)))
    p = math.radians(q)
    print(f"moved: {q:.10f} {math.degrees(east / (across(p) * math.cos(p))):.10f}")


tile(17, -0.0872971, 51.5092003)
tile(14, 149.13, -35.28)
print(f"meridian: {arc(0, math.pi / 4):.5f} {arc(0, math.pi / 2):.5f}")
utm(-35.28, 149.13, 147)
move(51.5, 100, 200)
