// SPDX-License-Identifier: GPL-2.0-or-later
#include "report/sampling_error.h"

#include <algorithm>
#include <cmath>

namespace xenoprof {

double confidence_width(std::size_t intervals) {
  const double tail = 0.05 / (2 * static_cast<double>(std::max<std::size_t>(intervals, 1)));
  double low = 0;
  double high = 40;  // no double is small enough for the tail beyond
  for (int step = 0; step < 60; ++step) {
    const double middle = (low + high) / 2;
    (std::erfc(middle / std::sqrt(2.0)) / 2 > tail ? low : high) = middle;
  }
  return low;
}

Interval expected_samples(std::uint64_t samples, double width) {
  // Byar's approximation of the exact interval (Breslow and Day, Statistical Methods in Cancer
  // Research, volume 2, 1987). One that follows the normal distribution is too narrow for few
  // samples and many intervals: with four standard deviations one sample would exclude 0.05.
  const auto cube = [width](double n, double sign) {
    const double root = 1 - 1 / (9 * n) + sign * width / (3 * std::sqrt(n));
    return root > 0 ? n * root * root * root : 0;
  };
  const auto n = static_cast<double>(samples);
  return {samples == 0 ? 0 : cube(n, -1), cube(n + 1, 1)};
}

Interval difference(const Weighted& base, const Weighted& other, double width) {
  const Interval of_base = expected_samples(base.samples, width);
  const Interval of_other = expected_samples(other.samples, width);
  const double value = other.value() - base.value();
  const double base_down = base.value() - base.weight * of_base.low;
  const double base_up = base.weight * of_base.high - base.value();
  const double other_down = other.value() - other.weight * of_other.low;
  const double other_up = other.weight * of_other.high - other.value();
  return {value - std::hypot(other_down, base_up), value + std::hypot(other_up, base_down)};
}

}  // namespace xenoprof
