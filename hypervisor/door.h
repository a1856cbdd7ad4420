/* SPDX-License-Identifier: GPL-2.0-or-later */
#ifndef XENOPROF_HYPERVISOR_DOOR_H
#define XENOPROF_HYPERVISOR_DOOR_H

/* Takes the place of do_xenpmu_op(), which has the same type in Xen 4.17 to 4.22. */
long xenoprof_op(unsigned int op, void *pointer);

#endif
