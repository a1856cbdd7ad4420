// SPDX-License-Identifier: GPL-2.0-or-later
#include "kind.h"
namespace xenoprof::lab {
const Kind kXenKind = {"xen", kLinuxKind.domains, kLinuxKind.machine, kLinuxKind.start_others};
}
