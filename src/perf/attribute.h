// SPDX-License-Identifier: GPL-2.0-or-later
// What a perf_event_attr of a perf.data says about the records of its event.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "model/result.h"
#include "perf/bytes.h"

namespace xenoprof::perf {

struct Attribute {
  std::string name;
  std::uint64_t period = 0;  // 0: perf adapts it, to take so many samples a second
  std::uint64_t sample_type = 0;
  std::uint64_t read_format = 0;
  std::uint64_t branch_sample_type = 0;
  std::uint64_t sample_regs_user = 0;
  bool sample_id_all = false;
  bool sideband = false;  // the dummy event: mappings, names and the like, never a sample
  std::vector<std::uint64_t> ids;
};

// `bytes` is a perf_event_attr of any age. Its name is that of what it counts where the file has
// none.
Result<Attribute> attribute_from(Bytes bytes);

}  // namespace xenoprof::perf
