// SPDX-License-Identifier: GPL-2.0-or-later
// Numbers added up by what they have in common.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <vector>

#include "model/id_index.h"

namespace xenoprof {

// Groups by `width` cells, with `sums` numbers each. In flat vectors: a profile has millions.
class Groups {
 public:
  Groups(std::size_t width, std::size_t sums) : width_(width), num_sums_(sums) {}

  // The group of these cells, made where there is none. Groups are numbered as they come.
  std::size_t of(std::span<const std::uint32_t> cells) {
    std::uint64_t hash = 0;
    for (const std::uint32_t cell : cells) {
      hash = mix(hash, cell);
    }
    const auto [group, added] = index_.insert(hash, [&](std::uint32_t known) {
      // Not std::ranges::equal(), which calls memcmp(): cells are few.
      const std::uint32_t* const others = cells_.data() + known * width_;
      std::size_t same = 0;
      while (same < width_ && others[same] == cells[same]) {
        ++same;
      }
      return same == width_;
    });
    if (added) {
      cells_.insert(cells_.end(), cells.begin(), cells.end());
      sums_.resize(sums_.size() + num_sums_);
      ++size_;
    }
    return group;
  }

  std::size_t size() const { return size_; }
  std::span<const std::uint32_t> cells(std::size_t group) const {
    return std::span(cells_).subspan(group * width_, width_);
  }
  std::span<std::uint64_t> sums(std::size_t group) {
    return std::span(sums_).subspan(group * num_sums_, num_sums_);
  }
  std::span<const std::uint64_t> sums(std::size_t group) const {
    return std::span(sums_).subspan(group * num_sums_, num_sums_);
  }

 private:
  std::size_t width_;
  std::size_t num_sums_;
  std::size_t size_ = 0;
  std::vector<std::uint32_t> cells_;
  std::vector<std::uint64_t> sums_;
  IdIndex index_;
};

}  // namespace xenoprof
