/* SPDX-License-Identifier: Apache-2.0 */
/* Made by `mfrgn selftest --print-expected`: 32 values of each descriptor of the built-in cases, from backend ref in
 * f64.  Empty until then: the built-in selftest fails for want of them. */
static const expected_case expected[] = {
    {NULL, {{0}, {0}}},
};
