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
#include "session/kvm_guests.h"

namespace xenoprof {

// What is counted, and in which domains.
class SessionOptions {
 public:
  void add_to(CLI::App& command);
  // Checked as far as that can be done here.
  Result<SessionRequest> request() const;

  // The same for the guests of a KVM host.
  Result<GuestsRequest> guests() const;

  // As they were typed.
  const std::vector<std::string>& events() const { return events_; }
  // An option that asks for something of other domains; null: none was given.
  const char* about_domains() const;

 private:
  Result<std::map<std::string, std::filesystem::path>> kernel_symbols() const;

  std::vector<std::string> events_;
  std::vector<std::string> domains_;
  std::vector<std::string> passive_;
  std::vector<std::string> kernel_symbols_;
  bool allow_missing_ = false;
  bool guest_sampling_ = false;
};

// "DIR/" is DIR.
std::filesystem::path output_folder(std::filesystem::path path);

// From now on SIGINT, SIGTERM and SIGHUP end sessions in good order.
void catch_interrupts();
bool interrupted();

// On stderr: notes, then what was recorded and lost. `output` may be empty.
void summarise(const SessionResult& result, const std::filesystem::path& output);

}  // namespace xenoprof
