// SPDX-License-Identifier: GPL-2.0-or-later
#include "study/estimate.h"

#include "study/statistics.h"

namespace xenoprof::lab {

double Estimate::expected(const Cell& cell) const {
  std::vector<double> same, workload, configuration, all;
  for (const Seen& seen : cells_) {
    const bool its_workload = seen.cell.workload == cell.workload;
    const bool its_configuration = seen.cell.configuration == cell.configuration;
    if (its_workload && its_configuration)
      same.push_back(seen.seconds);
    if (its_workload)
      workload.push_back(seen.seconds);
    if (its_configuration)
      configuration.push_back(seen.seconds);
    all.push_back(seen.seconds);
  }
  for (const auto* alike : {&same, &workload, &configuration})
    if (!alike->empty())
      return mean_of(*alike);
  return mean_of(all);
}

std::optional<double> Estimate::seconds_for(std::span<const Cell> left, std::size_t boots) const {
  if (cells_.empty())
    return std::nullopt;
  double seconds = mean_of(boots_) * static_cast<double>(boots);
  for (const Cell& cell : left)
    seconds += expected(cell);
  return seconds;
}

}  // namespace xenoprof::lab
