// SPDX-License-Identifier: GPL-2.0-or-later
// Records of what exists before recording begins, from /proc.
#pragma once

#include <functional>

#include "perf/records.h"

namespace xenoprof::perf {

// The kernel, its modules and Xen.
void synthesize_kernel(RecordBuilder& builder, const std::function<void(Bytes)>& take);

// Names and executable mappings of every process. One that vanishes meanwhile is left out.
void synthesize_processes(RecordBuilder& builder, const std::function<void(Bytes)>& take);

}  // namespace xenoprof::perf
