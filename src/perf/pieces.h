// SPDX-License-Identifier: GPL-2.0-or-later
// A stream of bytes in pieces that stay where they are until they are released.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <memory>
#include <span>

#include "perf/bytes.h"

namespace xenoprof::perf {

class Pieces {
 public:
  // `first` is the offset of the first byte in whatever the bytes come from.
  explicit Pieces(std::uint64_t first = 0) : end_(first) {}

  // What was put in and not taken yet. It is one span: what moves on to a new piece is copied.
  Bytes unread() const { return unread_; }
  // The offset of its first byte.
  std::uint64_t offset() const { return end_ - unread_.size(); }
  // Takes the first `size` bytes of unread(); they stay where they are until released.
  Bytes take(std::size_t size) {
    const Bytes taken = unread_.first(size);
    unread_ = unread_.subspan(size);
    return taken;
  }

  // Room for `least` bytes or more behind the unread ones, which may move to make it.
  std::span<std::byte> room(std::size_t least);
  // The first `size` bytes of room() are filled.
  void filled(std::size_t size);

  // No taken byte before `offset` is looked at again.
  void release_before(std::uint64_t offset);

 private:
  // What a piece has at least; as much is read at once.
  static constexpr std::size_t kSize = std::size_t{1} << 20;
  struct Piece {
    std::unique_ptr<std::byte[]> bytes;
    std::size_t size = 0;
    std::size_t filled = 0;
    std::uint64_t end = 0;  // offset of the first byte behind those that were taken from it
  };

  std::deque<Piece> pieces_;  // the last one is being filled
  Piece spare_;
  Bytes unread_;       // the end of what is filled of the last piece
  std::uint64_t end_;  // the offset behind the last byte
};

}  // namespace xenoprof::perf
