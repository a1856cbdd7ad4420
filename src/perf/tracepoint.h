// SPDX-License-Identifier: GPL-2.0-or-later
// The tracepoint by which the driver hands out samples: where its fields lie.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "model/mode.h"
#include "model/result.h"
#include "perf/records.h"

namespace xenoprof::perf {

struct TracepointSample {
  std::uint64_t ip = 0;
  std::uint16_t domain = 0;
  std::uint16_t vcpu = 0;
  Mode mode = Mode::kUser;
  std::uint8_t event = 0;  // index of the hardware counter
  bool exact = false;      // emitted in the very context that was sampled
};

class Tracepoint {
 public:
  // Finds "system:name" in tracefs.
  static Result<Tracepoint> find(const std::string& tracepoint);
  // `format` is the text of tracefs' events/<system>/<name>/format.
  static Result<Tracepoint> parse(std::string_view format, const std::string& tracepoint);

  // For perf_event_attr::config.
  std::uint64_t id() const { return id_; }

  // Takes the raw part of one record apart. False when it is too short or its mode is none.
  bool decode(Bytes raw, TracepointSample& sample) const;

 private:
  struct Field {
    std::size_t offset = 0;
    std::size_t size = 0;
  };
  static bool read(Bytes raw, const Field& field, std::uint64_t& value);

  std::uint64_t id_ = 0;
  // In the order of TracepointSample's members.
  std::array<Field, 6> fields_;
};

}  // namespace xenoprof::perf
