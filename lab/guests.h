// SPDX-License-Identifier: GPL-2.0-or-later
// Guests that a domain of the lab makes inside its own machine. What they are made of travels in
// that host domain's file system, and its program xenoprof-lab-guest makes one by name.
#pragma once

#include <filesystem>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "kind.h"

namespace xenoprof::lab {

// In the host domain: vmlinux, base.cpio and programs.cpio of every guest, and NAME.cpio of each.
inline constexpr std::string_view kGuestFiles = "/var/lib/xenoprof";

struct GuestPlan {
  Role host;
  Role guest;
  // What the host's hypervisor is told of a guest, the first one being number 1; kept as
  // NAME.SUFFIX with the other files.
  std::string (*configuration)(const UpOptions& options, const std::string& name, int number);
  std::string_view configuration_suffix;
  // A guest's console is kept by the host in CONSOLES + NAME + .log.
  std::string_view consoles;
  // What the host's shell does to end a guest; {} stands for the name.
  std::string_view destroy;
};

unsigned guest_vcpus(const UpOptions& options);

// The host's name, and those of the guests after it.
std::vector<std::string> host_and_guests(std::string_view host, const UpOptions& options);

// The domain that the peer reaches: the first guest, or the host if there is none.
bool is_server(const UpOptions& options, int domain);

// The host's file system, with everything that its guests are made of.
Result<void> write_host_initrd(const GuestPlan& plan, const UpOptions& options,
                               const Materials& materials, const pb::Lab& lab,
                               const std::filesystem::path& file);

// Has the host make all guests and waits until each one answers, which is `noted` then.
Result<void> start_guests(const GuestPlan& plan, const pb::Lab& lab, const LabFolder& folder,
                          const std::function<void(const pb::Domain& guest)>& noted,
                          Progress& progress);

}  // namespace xenoprof::lab
