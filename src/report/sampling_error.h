// SPDX-License-Identifier: GPL-2.0-or-later
// How far a number of samples may be from what it stands for.
#pragma once

#include <cstddef>
#include <cstdint>

namespace xenoprof {

struct Interval {
  double low = 0;
  double high = 0;

  bool holds(double value) const { return low <= value && value <= high; }
};

// The half width, in standard deviations, of intervals that hold all at once with 95 % confidence:
// 1.96 for one, more for many (Bonferroni).
double confidence_width(std::size_t intervals);

// Of the expected number where `samples` were counted (Poisson): not empty at 0.
Interval expected_samples(std::uint64_t samples, double width);

// Samples that stand for `weight` each.
struct Weighted {
  std::uint64_t samples = 0;
  double weight = 1;

  double value() const { return static_cast<double>(samples) * weight; }
};

// Of the difference other - base (Zou and Donner's MOVER over the two intervals).
Interval difference(const Weighted& base, const Weighted& other, double width);

}  // namespace xenoprof
