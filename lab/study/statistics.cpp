// SPDX-License-Identifier: GPL-2.0-or-later
#include "study/statistics.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>

namespace xenoprof::lab {
namespace {

// Student's t, 97.5 %, for 1 to 30 degrees of freedom; beyond, the normal distribution's is within
// 4 %.
constexpr std::array kStudent = {12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306,
                                 2.262,  2.228, 2.201, 2.179, 2.160, 2.145, 2.131, 2.120,
                                 2.110,  2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064,
                                 2.060,  2.056, 2.052, 2.048, 2.045, 2.042};
constexpr double kNormal = 1.96;

}  // namespace

double mean_of(std::span<const double> values) {
  return values.empty() ? 0
                        : std::accumulate(values.begin(), values.end(), 0.0) /
                              static_cast<double>(values.size());
}

std::optional<double> relative_error(std::span<const double> values) {
  if (values.size() < 2)
    return std::nullopt;
  const double mean = mean_of(values);
  double squares = 0;
  for (const double value : values)
    squares += (value - mean) * (value - mean);
  if (squares == 0)
    return 0;
  if (mean == 0)
    return std::nullopt;
  const std::size_t freedom = values.size() - 1;
  const double t = freedom <= kStudent.size() ? kStudent[freedom - 1] : kNormal;
  const auto n = static_cast<double>(values.size());
  return t * std::sqrt(squares / static_cast<double>(freedom) / n) / std::abs(mean);
}

}  // namespace xenoprof::lab
