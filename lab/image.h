// SPDX-License-Identifier: GPL-2.0-or-later
// What is in a domain's file system: layers of an initramfs, out of an unpacked package root.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

#include "initramfs.h"
#include "kernel.h"
#include "model/result.h"
#include "packages.h"

namespace xenoprof::lab {

enum class Role { kLinux, kDom0, kXenGuest, kKvmHost, kKvmGuest };
std::string_view role_name(Role role);

// What a domain is told about itself and the others of its lab.
struct DomainIdentity {
  Role role;
  std::string name;
  std::string address;
  std::string token;
  std::string hosts;  // the lab's domains, as in /etc/hosts
  std::string wire;   // address on the wire, or "bridge"; empty: not on it
};

// The control server's port, the same in every domain.
inline constexpr std::uint16_t kControlPort = 1914;

// Debian's part: busybox, perf, what makes guests, servers and their loads, modules. Changes with
// the package roots.
Result<InitramfsLayer> base_layer(Role role, const Roots& roots, const Kernel& kernel);

// The project's part: its programs with libraries the base lacks, kernel modules, the init script.
// `prefix` is the build; programs that it does not have are left out.
Result<InitramfsLayer> program_layer(Role role, const std::filesystem::path& root,
                                     const std::filesystem::path& prefix,
                                     const std::vector<std::filesystem::path>& modules,
                                     const InitramfsLayer& base);

// What differs between two domains of one role. Not cached: it holds the lab's token.
InitramfsLayer identity_layer(const DomainIdentity& identity);

// The layer as an archive file in `cache`, written only when there is none with this content.
Result<std::filesystem::path> cached_archive(const InitramfsLayer& layer, std::string_view name,
                                             const std::filesystem::path& cache);

}  // namespace xenoprof::lab
