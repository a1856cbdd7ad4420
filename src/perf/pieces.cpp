// SPDX-License-Identifier: GPL-2.0-or-later
#include "perf/pieces.h"

#include <algorithm>
#include <utility>

namespace xenoprof::perf {

std::span<std::byte> Pieces::room(std::size_t least) {
  const Bytes kept = unread_;
  if (pieces_.empty() || pieces_.back().size - pieces_.back().filled < least) {
    Piece piece;
    const std::size_t size = std::max(kSize, kept.size() + least);
    if (spare_.size >= size) {
      piece = std::move(spare_);
      spare_ = {};
    } else {
      // Not zeroed: what is not filled is never looked at.
      piece.bytes = std::make_unique_for_overwrite<std::byte[]>(size);
      piece.size = size;
    }
    std::copy(kept.begin(), kept.end(), piece.bytes.get());
    piece.filled = kept.size();
    if (!pieces_.empty()) {
      pieces_.back().end = offset();
    }
    unread_ = Bytes(piece.bytes.get(), piece.filled);
    pieces_.push_back(std::move(piece));
  }
  Piece& last = pieces_.back();
  return {last.bytes.get() + last.filled, last.size - last.filled};
}

void Pieces::filled(std::size_t size) {
  pieces_.back().filled += size;
  unread_ = Bytes(unread_.data(), unread_.size() + size);
  end_ += size;
}

void Pieces::release_before(std::uint64_t offset) {
  while (pieces_.size() > 1 && pieces_.front().end <= offset) {
    spare_ = std::move(pieces_.front());
    pieces_.pop_front();
  }
}

}  // namespace xenoprof::perf
