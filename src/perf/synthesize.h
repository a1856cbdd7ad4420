// SPDX-License-Identifier: GPL-2.0-or-later
// Records of what exists before recording begins, from /proc.
#pragma once

#include <functional>

#include "perf/records.h"

namespace xenoprof::perf {

// The kernel, its modules and Xen.
void synthesize_kernel(RecordBuilder& builder, const std::function<void(Bytes)>& take);

// Names and executable mappings of every process. One that vanishes meanwhile is left out.
// `unwinding`: with the files' constant data, too, where perf looks for how to unwind stacks.
void synthesize_processes(RecordBuilder& builder, bool unwinding,
                          const std::function<void(Bytes)>& take);

}  // namespace xenoprof::perf
