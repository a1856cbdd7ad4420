// SPDX-License-Identifier: GPL-2.0-or-later
// Commands in a lab's domains, through the control server that runs in each.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <vector>

#include "execd/frame.h"
#include "lab/state.pb.h"
#include "model/result.h"

namespace xenoprof::lab {

// Where a domain's control server is reached from this machine, and its secret.
struct Endpoint {
  std::string domain;  // for error messages
  std::uint16_t port = 0;
  std::string token;
};

Endpoint endpoint_of(const pb::Lab& lab, const pb::Domain& domain);

// File descriptors of this process for the command's; -1 for none. They are not closed.
struct Streams {
  int input = -1;
  int output = -1;
  int error = -1;
};

struct ExecOptions {
  bool terminal = false;         // on a pseudo-terminal of the size of `Streams::input`'s
  bool forward_signals = false;  // SIGINT, SIGTERM, SIGHUP of this process go to the command
  std::vector<std::string> environment;  // KEY=VALUE
  // The command is ended, and an error returned, when it takes longer.
  std::optional<std::chrono::milliseconds> limit;
};

// Runs a command to its end. When the connection is lost, or this process ends, the command is
// ended too.
Result<ExitStatus> exec_in_domain(const Endpoint& endpoint,
                                  const std::vector<std::string>& arguments, Streams streams,
                                  const ExecOptions& options);

struct CapturedRun {
  ExitStatus status;
  std::string output;  // standard output
  std::string error;   // standard error
};
Result<CapturedRun> capture_in_domain(const Endpoint& endpoint,
                                      const std::vector<std::string>& arguments,
                                      std::chrono::milliseconds limit);

}  // namespace xenoprof::lab
