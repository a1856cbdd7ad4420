/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The table that the loader fills in on the user's machine: section .xenoprof.layout of the object,
 * zero in the file. Nothing of the payload runs before preapply has looked at magic and version.
 */
#ifndef XENOPROF_HYPERVISOR_LAYOUT_H
#define XENOPROF_HYPERVISOR_LAYOUT_H

#include <stdint.h>

#define XPH_LAYOUT_MAGIC 0x4c485058u /* "XPHL" */
#define XPH_LAYOUT_VERSION 1u

struct layout {
	uint32_t magic;
	uint32_t version;
#define LAYOUT_SIZE(name, structure) uint32_t name;
#define LAYOUT_OFFSET(name, structure, member, bytes) uint32_t name;
#include "layout.def"
#undef LAYOUT_SIZE
#undef LAYOUT_OFFSET
};

/* Volatile for the compiler alone, which else takes the file's zeros for the values. */
extern volatile struct layout layout;

#endif
