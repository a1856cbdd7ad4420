// SPDX-License-Identifier: GPL-2.0-or-later
#include "perf/unwinding_child.h"

#include <chrono>
#include <optional>
#include <span>
#include <string>
#include <unordered_map>

namespace xenoprof::perf {
namespace {

constexpr ChildLimits kLimits = {
    .time = std::chrono::seconds(5), .output = 0, .memory = std::size_t{1} << 30};
// Then no more is unwound: whatever makes it fail, starting it is not for nothing.
constexpr std::uint32_t kMostFailures = 8;
// Then all are told anew: processes come and go.
constexpr std::size_t kMostSpaces = 256;

// A request; the mappings follow where they are told, then registers and stack.
struct Request {
  std::uint32_t space = 0;
  bool forget = false;  // the mappings told before
  bool told = false;    // mappings follow
  bool narrow = false;  // as the rest, UserStack's
  bool more_stack = false;
  std::uint64_t mappings = 0;  // bytes, as the next
  std::uint64_t registers = 0;
  std::uint64_t stack = 0;
  std::uint64_t mask = 0;
};
// The answer; the addresses follow.
struct Answer {
  std::uint32_t end = 0;
  std::uint32_t frames = 0;
};
// A mapping; path and build-id follow.
struct ToldMapping {
  std::uint64_t start;
  std::uint64_t end;
  std::uint64_t page_offset;
  std::uint64_t path;  // bytes, as the next
  std::uint64_t build_id;
};

template <class T>
std::span<const std::byte> bytes_of(const T& value) {
  return std::as_bytes(std::span(&value, 1));
}

std::vector<CodeMapping> mappings_in(Bytes bytes) {
  std::vector<CodeMapping> mappings;
  const auto text = [&](std::uint64_t size) {
    const Bytes taken = bytes.first(size);
    skip(bytes, size);
    return std::string(reinterpret_cast<const char*>(taken.data()), taken.size());
  };
  for (ToldMapping told; take(bytes, told);) {
    CodeMapping& mapping = mappings.emplace_back(told.start, told.end, told.page_offset);
    mapping.path = text(told.path);
    mapping.build_id = text(told.build_id);
  }
  return mappings;
}

void serve(ServingChild::Exchange& parent) {
  Unwinder unwinder;
  std::unordered_map<std::uint32_t, std::vector<CodeMapping>> spaces;
  std::vector<std::byte> bytes;
  for (Request request; parent.read(std::as_writable_bytes(std::span(&request, 1)));) {
    bytes.resize(request.mappings + request.registers + request.stack);
    if (!parent.read(bytes)) {
      return;
    }
    if (request.forget) {
      spaces.clear();
    }
    const Bytes all = bytes;
    if (request.told) {
      spaces[request.space] = mappings_in(all.first(request.mappings));
    }
    const UserStack user{.mask = request.mask,
                         .registers = all.subspan(request.mappings, request.registers),
                         .narrow = request.narrow,
                         .stack = all.subspan(request.mappings + request.registers),
                         .more_stack = request.more_stack};
    const Unwinder::Chain chain = unwinder.unwind(user, spaces[request.space]);
    const Answer answer{.end = static_cast<std::uint32_t>(chain.end),
                        .frames = static_cast<std::uint32_t>(chain.pcs.size())};
    if (!parent.write(bytes_of(answer)) || !parent.write(std::as_bytes(chain.pcs))) {
      return;
    }
  }
}

}  // namespace

bool UnwindingChild::ask(const UserStack& user, std::uint32_t space,
                         const std::function<std::vector<CodeMapping>()>& mappings,
                         Unwinder::Chain& chain) {
  Request request{.space = space,
                  .narrow = user.narrow,
                  .more_stack = user.more_stack,
                  .registers = user.registers.size(),
                  .stack = user.stack.size(),
                  .mask = user.mask};
  if (known_.size() >= kMostSpaces) {
    known_.clear();
    request.forget = true;
  }
  request.told = known_.insert(space).second;
  request_.clear();
  put(request_, request);
  if (request.told) {
    for (const CodeMapping& mapping : mappings()) {
      put(request_, ToldMapping{.start = mapping.start,
                                .end = mapping.end,
                                .page_offset = mapping.page_offset,
                                .path = mapping.path.size(),
                                .build_id = mapping.build_id.size()});
      put_bytes(request_, std::as_bytes(std::span(mapping.path)));
      put_bytes(request_, std::as_bytes(std::span(mapping.build_id)));
    }
    request.mappings = request_.size() - sizeof request;
    std::memcpy(request_.data(), &request, sizeof request);
  }
  put_bytes(request_, user.registers);
  put_bytes(request_, user.stack);
  Answer answer;
  ServingChild::Exchange& child = child_->exchange();
  if (!child.write(request_) || !child.read(std::as_writable_bytes(std::span(&answer, 1))) ||
      answer.frames > pcs_.size() || answer.end >= kChainEnds) {
    return false;
  }
  const std::span<std::uint64_t> pcs = std::span(pcs_).first(answer.frames);
  chain = {.pcs = pcs, .end = static_cast<ChainEnd>(answer.end)};
  return child.read(std::as_writable_bytes(pcs));
}

Unwinder::Chain UnwindingChild::unwind(const UserStack& user, std::uint32_t space,
                                       const std::function<std::vector<CodeMapping>()>& mappings) {
  if (failed_.contains(space)) {
    return {.pcs = {}, .end = ChainEnd::kFailed};
  }
  if (child_ == nullptr && failures_ < kMostFailures) {
    child_ = ServingChild::start(serve, kLimits);
    known_.clear();
  }
  Unwinder::Chain chain;
  if (child_ != nullptr && ask(user, space, mappings, chain)) {
    return chain;
  }
  child_.reset();
  if (failures_ < kMostFailures) {
    failed_.insert(space);
  }
  failures_ += failures_ < kMostFailures ? 1 : 0;
  return {.pcs = {}, .end = ChainEnd::kFailed};
}

}  // namespace xenoprof::perf
