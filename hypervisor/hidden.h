/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Included before every file of the live patch, by the compiler's command line. Else the compiler
 * looks for the addresses of other files' variables in a table that a live patch does not have.
 */
#pragma GCC visibility push(hidden)
