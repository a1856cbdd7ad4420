// SPDX-License-Identifier: GPL-2.0-or-later
#include "pprof/parts.h"

#include <google/protobuf/io/coded_stream.h>

#include "pprof.pb.h"

namespace xenoprof::pprof {
namespace {

using google::protobuf::io::CodedInputStream;
using Message = perftools::profiles::Profile;

// No call chain or C++ name comes near it.
constexpr std::uint32_t kMaxPart = 64u << 10;
// A CPU has fewer counters; the profile keeps a number per event for each sample.
constexpr std::size_t kMaxEvents = 32;
constexpr std::size_t kMaxComments = 1024;

enum WireType : std::uint32_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

std::vector<std::string_view>* list_of(Parts& parts, int field) {
  switch (field) {
    case Message::kSampleTypeFieldNumber:
      return &parts.sample_types;
    case Message::kSampleFieldNumber:
      return &parts.samples;
    case Message::kMappingFieldNumber:
      return &parts.mappings;
    case Message::kLocationFieldNumber:
      return &parts.locations;
    case Message::kFunctionFieldNumber:
      return &parts.functions;
    case Message::kStringTableFieldNumber:
      return &parts.strings;
    default:
      return nullptr;
  }
}

bool read_comments(std::string_view packed, std::vector<std::int64_t>& comments) {
  CodedInputStream input(reinterpret_cast<const std::uint8_t*>(packed.data()),
                         static_cast<int>(packed.size()));
  std::uint64_t value = 0;
  while (input.CurrentPosition() < static_cast<int>(packed.size())) {
    if (comments.size() == kMaxComments || !input.ReadVarint64(&value)) {
      return false;
    }
    comments.push_back(static_cast<std::int64_t>(value));
  }
  return true;
}

// Reads past one field that is not length-delimited.
bool read_scalar(CodedInputStream& input, int field, std::uint32_t wire_type, Parts& parts) {
  std::uint64_t value = 0;
  switch (wire_type) {
    case kVarint:
      if (!input.ReadVarint64(&value)) {
        return false;
      }
      if (field == Message::kCommentFieldNumber && parts.comments.size() < kMaxComments) {
        parts.comments.push_back(static_cast<std::int64_t>(value));
      }
      return true;
    case kFixed64:
      return input.Skip(8);
    case kFixed32:
      return input.Skip(4);
    default:
      return false;
  }
}

}  // namespace

Result<Parts> split(std::string_view message, const Limits& limits) {
  Parts parts;
  // The caller's limit keeps messages below 2 GiB.
  const int size = static_cast<int>(message.size());
  CodedInputStream input(reinterpret_cast<const std::uint8_t*>(message.data()), size);
  while (input.CurrentPosition() < size) {
    const std::uint32_t tag = input.ReadTag();
    const int field = static_cast<int>(tag >> 3);
    if (field == 0) {
      return fail("it is no pprof message, or damaged");
    }
    if ((tag & 7) != kBytes) {
      if (!read_scalar(input, field, tag & 7, parts)) {
        return fail("it is no pprof message, or damaged");
      }
      continue;
    }
    std::uint32_t length = 0;
    if (!input.ReadVarint32(&length) ||
        length > static_cast<std::uint32_t>(size - input.CurrentPosition())) {
      return fail("it is no pprof message, or cut short");
    }
    const std::string_view content =
        message.substr(static_cast<std::size_t>(input.CurrentPosition()), length);
    input.Skip(static_cast<int>(length));
    if (auto* list = list_of(parts, field)) {
      if (length > kMaxPart) {
        return fail("an entry of it is larger than {} KiB", kMaxPart >> 10);
      }
      if (list->size() == limits.items) {
        return fail("it has more than {} entries of a kind", limits.items);
      }
      list->push_back(content);
    } else if (field == Message::kCommentFieldNumber && !read_comments(content, parts.comments)) {
      return fail("its comments are damaged");
    }
  }
  if (parts.sample_types.size() > kMaxEvents) {
    return fail("it has more than {} events", kMaxEvents);
  }
  return parts;
}

}  // namespace xenoprof::pprof
