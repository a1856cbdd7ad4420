// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <optional>
#include <span>

namespace xenoprof::lab {

double mean_of(std::span<const double> values);

// Half the width of the mean's 95 % confidence interval (Student's t), in parts of the mean. None
// with fewer than two values.
std::optional<double> relative_error(std::span<const double> values);

}  // namespace xenoprof::lab
