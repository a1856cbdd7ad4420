// SPDX-License-Identifier: GPL-2.0-or-later
// A profile as a pprof file: gzip around a perftools.profiles.Profile message. It is both the file
// on disk and what an agent sends, so the reader trusts nothing it reads.
#pragma once

#include <cstddef>
#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "model/profile.h"
#include "model/result.h"

namespace xenoprof::pprof {

// What a reader accepts. Memory in use stays below about 16 times `bytes` and 1 KiB times `items`.
struct Limits {
  std::size_t bytes = 0;  // of the message, decompressed
  std::size_t items = 0;  // of samples, locations, functions, mappings and strings, each
  // Of all stacks, what they have in common once: some forty bytes of memory each, where a message
  // needs one.
  std::size_t frames = 0;
};
inline constexpr Limits kWireLimits{
    .bytes = std::size_t{64} << 20, .items = std::size_t{1} << 20, .frames = std::size_t{1} << 22};
inline constexpr Limits kFileLimits{
    .bytes = std::size_t{1} << 30, .items = std::size_t{1} << 24, .frames = std::size_t{1} << 26};

// Equal profiles give equal bytes.
std::string encode(const Profile& profile);
// `progress` is told now and then how much has been decoded.
using Progress = std::function<void(double share)>;
Result<Profile> decode(std::string_view bytes, const Limits& limits = kWireLimits,
                       const Progress& progress = {});

// What another profiler may have made: its files may also have numbers that are not of samples.
struct Stored {
  Profile profile;
  std::vector<std::string> left_out;  // such as "cpu (nanoseconds)"
};
Result<Stored> decode_stored(std::string_view bytes, const Limits& limits,
                             const Progress& progress = {});

Result<Stored> read(const std::filesystem::path& path, const Progress& progress = {});

}  // namespace xenoprof::pprof
