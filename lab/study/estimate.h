// SPDX-License-Identifier: GPL-2.0-or-later
// How long what is left of a study takes, from what was seen of it.
#pragma once

#include <optional>
#include <span>
#include <vector>

#include "study/definition.h"

namespace xenoprof::lab {

class Estimate {
 public:
  void cell_took(const Cell& cell, double seconds) { cells_.push_back({cell, seconds}); }
  void boot_took(double seconds) { boots_.push_back(seconds); }

  // Seconds for these cells, and booting that many machines. A cell takes what others of its
  // configuration and workload took; else of its workload, else of its configuration, else of all.
  // Nothing before the first cell.
  std::optional<double> seconds_for(std::span<const Cell> left, std::size_t boots) const;

 private:
  struct Seen {
    Cell cell;
    double seconds;
  };
  double expected(const Cell& cell) const;

  std::vector<Seen> cells_;
  std::vector<double> boots_;
};

}  // namespace xenoprof::lab
