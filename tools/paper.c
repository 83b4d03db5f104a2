/* SPDX-License-Identifier: Apache-2.0 */
#include "paper.h"

#define GA "ground->aerial"
#define NO -1
#define PAIRS(dataset, method, a, b, c, d)                                                                             \
    { dataset, 0, GA, method, {a, b, c, d}, NO, NO }

/* "Multi-scale Feature Representation Generalization Network for Ground-to-Aerial Geo-localization", ACM MM 2024, and
 * for University-1652 the figures that its authors published later. */
const paper_row paper_rows[] = {
    PAIRS("cvusa", "MFRGN", 98.24, 99.56, 99.72, 99.88),
    PAIRS("cvusa", "MFRGN, with sampling", 98.69, 99.58, 99.67, 99.82),
    PAIRS("cvusa", "MFRGN+", 98.67, 99.57, 99.71, 99.85),
    PAIRS("cvusa", "MFRGN, trained on CVACT", 49.18, 70.09, 77.42, 95.04),
    PAIRS("cvusa", "MFRGN, trained on CVACT, pre-crop", 55.32, 76.64, 83.14, 96.15),
    PAIRS("cvusa", "MFRGN, with sampling, trained on CVACT", 63.34, 80.54, 86.22, 96.81),
    PAIRS("cvusa", "MFRGN+, trained on CVACT", 69.28, 84.91, 89.60, 97.69),
    PAIRS("cvusa", "Sample4Geo, without sampling", 97.84, 99.58, 99.75, 99.88),
    PAIRS("cvusa", "Sample4Geo, same, trained on CVACT", 15.78, 31.13, 39.40, 70.04),
    PAIRS("cvact", "MFRGN", 88.78, 96.61, 97.51, 98.99),
    PAIRS("cvact", "MFRGN, pre-crop", 89.51, 96.96, 97.75, 99.01),
    PAIRS("cvact", "MFRGN, with sampling", 90.54, 96.12, 96.84, 98.37),
    PAIRS("cvact", "MFRGN+", 91.09, 96.34, 97.14, 98.44),
    PAIRS("cvact", "MFRGN, trained on CVUSA", 51.61, 73.91, 80.55, 94.24),
    PAIRS("cvact", "MFRGN, trained on CVUSA, pre-crop", 71.56, 88.98, 92.06, 97.12),
    PAIRS("cvact", "MFRGN, with sampling, trained on CVUSA", 66.06, 82.79, 86.58, 94.47),
    PAIRS("cvact", "MFRGN+, trained on CVUSA", 79.12, 91.09, 93.17, 96.79),
    PAIRS("cvact", "Sample4Geo, without sampling", 87.73, 96.58, 97.59, 98.99),
    PAIRS("cvact", "Sample4Geo, same, trained on CVUSA", 34.88, 59.68, 69.28, 90.02),
    {"vigor", "same", GA, "MFRGN", {71.41, 92.02, 95.07, 99.82}, 80.59, NO},
    {"vigor", "cross", GA, "MFRGN", {43.18, 67.52, 75.34, 97.47}, 47.54, NO},
    {"u1652", 0, "drone->satellite", "MFRGN", {94.33, NO, NO, NO}, NO, 95.24},
    {"u1652", 0, "satellite->drone", "MFRGN", {96.15, NO, NO, NO}, NO, 93.94},
};
const int paper_row_count = sizeof paper_rows / sizeof *paper_rows;

const paper_ablation paper_ablations[] = {
    {"baseline", "baseline", 1, {83.52, 95.27, 96.75, 98.96}, {10.78, 23.37, 30.68, 62.89}, 0, NO, NO},
    {"mbaseline", "mbaseline", 1, {80.76, 95.36, 96.84, 99.01}, {16.81, 33.21, 43.31, 72.37}, 0, NO, NO},
    {"mbaseline+l-ini", "+l-ini", 1, {81.59, 95.03, 96.36, 98.90}, {18.07, 35.21, 44.68, 78.13}, 0, NO, NO},
    {"mbaseline+g", "+g", 1, {86.58, 96.15, 97.20, 99.00}, {36.61, 57.97, 66.51, 91.31}, 0, NO, NO},
    {"mbaseline+g+l-ini", "+g+l-ini", 1, {88.21, 96.37, 97.40, 99.03}, {45.54, 68.35, 76.15, 94.90}, 0, NO, NO},
    {"mbaseline+g+l-p-full", "full attention", 0, {87.47, NO, NO, NO}, {42.14, NO, NO, NO}, "neither", 22.31, 1166},
    {"mbaseline+g+l-p", "+g+l-p", 1, {88.42, 96.49, 97.49, 99.04}, {47.13, 69.07, 77.51, 95.48}, "LA", 22.31, 1065},
    {"cvact", "MFRGN", 0, {88.78, 96.61, 97.51, 98.99}, {49.18, 70.09, 77.42, 95.04}, "LA and PPS", 21.80, 1050},
};
const int paper_ablation_count = sizeof paper_ablations / sizeof *paper_ablations;
