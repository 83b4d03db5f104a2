/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MFRGN_VERSION_H
#define MFRGN_VERSION_H

/* The version of these headers.  mfrgn_version() tells that of the library that is running. */
#define MFRGN_VERSION_MAJOR 0
#define MFRGN_VERSION_MINOR 1
#define MFRGN_VERSION_PATCH 0

#define MFRGN_VERSION_NUMBER(major, minor, patch) ((major) * 10000 + (minor) * 100 + (patch))
#define MFRGN_VERSION MFRGN_VERSION_NUMBER(MFRGN_VERSION_MAJOR, MFRGN_VERSION_MINOR, MFRGN_VERSION_PATCH)

/* The number in the soname: programs built against another value must be rebuilt. */
#define MFRGN_ABI_VERSION 0

#endif
