// SPDX-License-Identifier: GPL-2.0-or-later
// Work that may crash, hang or ask for any amount of memory, done where that harms nobody.
#pragma once

#include <chrono>
#include <cstddef>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace xenoprof {

struct ChildLimits {
  std::chrono::milliseconds time{};
  std::size_t output = 0;  // bytes; more ends it
  std::size_t memory = 0;  // bytes more than this process has; 0: any amount
};

enum class ChildEnd { kFinished, kLate, kTooMuchOutput, kFailed };

struct ChildResult {
  std::string output;  // as far as it came
  ChildEnd end = ChildEnd::kFailed;
};

// Runs `work` in a copy of this process, which has no output but what `work` hands to its argument.
// `work` must neither start threads nor touch what a thread of this process may be changing.
using Write = std::function<void(std::string_view)>;
ChildResult run_in_child(const std::function<void(const Write&)>& work, const ChildLimits& limits);

// Such a copy that stays, and does something for each request.
class ServingChild {
 public:
  // Where a copy finds requests and leaves answers. False: there are no more.
  class Exchange {
   public:
    explicit Exchange(int socket) : socket_(socket) {}
    bool read(std::span<std::byte> bytes);
    bool write(std::span<const std::byte> bytes);

   private:
    int socket_;
  };

  // The limits' time is for each read and write of the other end; output has no limit.
  static std::unique_ptr<ServingChild> start(const std::function<void(Exchange&)>& serve,
                                             const ChildLimits& limits);
  ServingChild(const ServingChild&) = delete;
  ServingChild& operator=(const ServingChild&) = delete;
  ~ServingChild();  // ends it

  // False: it ended, or takes too long. There is no use in it then.
  Exchange& exchange() { return exchange_; }

 private:
  ServingChild(int socket, int process) : socket_(socket), process_(process), exchange_(socket) {}

  int socket_;
  int process_;
  Exchange exchange_;
};

// The standard output of a program, which is looked for in PATH; empty unless it succeeded.
std::string output_of(const std::vector<std::string>& command, const ChildLimits& limits);

}  // namespace xenoprof
