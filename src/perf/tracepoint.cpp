// SPDX-License-Identifier: GPL-2.0-or-later
#include "perf/tracepoint.h"

#include <charconv>
#include <cstring>
#include <fstream>
#include <iterator>
#include <optional>

namespace xenoprof::perf {
namespace {

constexpr std::array<std::string_view, 6> kFieldNames = {"ip",   "domain", "vcpu",
                                                         "mode", "event",  "exact"};

// The number after `key`, e.g. after "offset:".
std::optional<std::uint64_t> number_after(std::string_view line, std::string_view key) {
  const std::size_t at = line.find(key);
  if (at == std::string_view::npos) {
    return std::nullopt;
  }
  line.remove_prefix(at + key.size());
  while (line.starts_with(' ')) {
    line.remove_prefix(1);
  }
  std::uint64_t value = 0;
  const auto parsed = std::from_chars(line.data(), line.data() + line.size(), value);
  return parsed.ec == std::errc() ? std::optional(value) : std::nullopt;
}

// "ip" of "\tfield:u64 ip;\toffset:8;\tsize:8;\tsigned:0;".
std::string_view field_name(std::string_view line) {
  const std::string_view declaration = line.substr(0, line.find(';'));
  return declaration.substr(declaration.find_last_of(" :") + 1);
}

}  // namespace

Result<Tracepoint> Tracepoint::find(const std::string& tracepoint) {
  std::string path = tracepoint;
  if (const std::size_t colon = path.find(':'); colon != std::string::npos) {
    path[colon] = '/';
  }
  bool mounted = false;
  for (const std::string root : {"/sys/kernel/tracing", "/sys/kernel/debug/tracing"}) {
    mounted = mounted || std::ifstream(root + "/README").good();
    std::ifstream file(root + "/events/" + path + "/format");
    if (file) {
      const std::string format((std::istreambuf_iterator<char>(file)), {});
      return parse(format, tracepoint);
    }
  }
  if (!mounted) {
    return fail(
        "cannot look for the tracepoint {}: tracefs is not mounted or not readable; run as root, "
        "and mount it with `mount -t tracefs tracefs /sys/kernel/tracing`",
        tracepoint);
  }
  return fail("this kernel has no tracepoint {}: load xenoprof.ko", tracepoint);
}

Result<Tracepoint> Tracepoint::parse(std::string_view format, const std::string& tracepoint) {
  Tracepoint result;
  std::array<bool, kFieldNames.size()> found = {};
  bool has_id = false;
  while (!format.empty()) {
    const std::string_view line = format.substr(0, format.find('\n'));
    format.remove_prefix(std::min(format.size(), line.size() + 1));
    if (line.starts_with("ID:")) {
      const auto id = number_after(line, "ID:");
      has_id = id.has_value();
      result.id_ = id.value_or(0);
    }
    const std::size_t field = line.find("field:");
    if (field == std::string_view::npos) {
      continue;
    }
    const std::string_view name = field_name(line.substr(field));
    const auto offset = number_after(line, "offset:");
    const auto size = number_after(line, "size:");
    for (std::size_t i = 0; i < kFieldNames.size(); ++i) {
      if (name == kFieldNames[i] && offset && size && *size <= sizeof(std::uint64_t)) {
        result.fields_[i] = {*offset, *size};
        found[i] = true;
      }
    }
  }
  if (!has_id) {
    return fail("the format of tracepoint {} bears no ID", tracepoint);
  }
  for (std::size_t i = 0; i < kFieldNames.size(); ++i) {
    if (!found[i]) {
      return fail("tracepoint {} has no field `{}`: driver and program do not match", tracepoint,
                  kFieldNames[i]);
    }
  }
  return result;
}

bool Tracepoint::read(Bytes raw, const Field& field, std::uint64_t& value) {
  if (field.offset > raw.size() || field.size > raw.size() - field.offset) {
    return false;
  }
  value = 0;
  std::memcpy(&value, raw.data() + field.offset, field.size);
  return true;
}

bool Tracepoint::decode(Bytes raw, TracepointSample& sample) const {
  std::array<std::uint64_t, kFieldNames.size()> values = {};
  for (std::size_t i = 0; i < values.size(); ++i) {
    if (!read(raw, fields_[i], values[i])) {
      return false;
    }
  }
  sample = {.ip = values[0],
            .domain = static_cast<std::uint16_t>(values[1]),
            .vcpu = static_cast<std::uint16_t>(values[2]),
            .mode = static_cast<Mode>(values[3]),
            .event = static_cast<std::uint8_t>(values[4]),
            .exact = values[5] != 0};
  return values[3] <= static_cast<std::uint64_t>(Mode::kHypervisor);
}

}  // namespace xenoprof::perf
