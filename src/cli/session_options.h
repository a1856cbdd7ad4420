// SPDX-License-Identifier: GPL-2.0-or-later
// What the commands that run a session share.
#pragma once

#include <CLI/CLI.hpp>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "model/result.h"
#include "session/initiator.h"
#include "session/local.h"

namespace xenoprof {

// What is counted, and in which domains.
class SessionOptions {
 public:
  void add_to(CLI::App& command);
  // Checked as far as that can be done here.
  Result<SessionRequest> request() const;

  // The same where there is no Xen, of the whole system. `frequency`: samples a second and CPU for
  // events without a count; 0: as is usual.
  Result<LocalRequest> local_request(std::uint64_t frequency) const;

  // An option that asks for something of other domains; null: none was given.
  const char* about_domains() const;

 private:
  Result<std::map<std::string, KernelList>> kernel_symbols() const;

  std::vector<std::string> events_;
  std::vector<std::string> domains_;
  std::vector<std::string> passive_;
  std::vector<std::string> kernel_symbols_;
  bool allow_missing_ = false;
  std::string guest_sampling_;  // empty: not asked for
};

// "DIR/" is DIR.
std::filesystem::path output_folder(std::filesystem::path path);

// From now on SIGINT, SIGTERM and SIGHUP end sessions in good order.
void catch_interrupts();
bool interrupted();

// On stderr: notes, then what was recorded and lost. `output` may be empty.
void summarise(const SessionResult& result, const std::filesystem::path& output);

}  // namespace xenoprof
