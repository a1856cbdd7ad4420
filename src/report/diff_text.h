// SPDX-License-Identifier: GPL-2.0-or-later
// diff() for people.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "report/comparison.h"
#include "report/diff.h"

namespace xenoprof {

// `domains` is by domain and mode; both have the same events.
std::string to_text(std::span<const DiffInput> inputs, const DiffOptions& options,
                    const std::vector<Comparison>& domains,
                    const std::vector<Comparison>& functions);

}  // namespace xenoprof
