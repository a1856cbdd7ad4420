// SPDX-License-Identifier: GPL-2.0-or-later
#pragma once

#include <cstddef>
#include <future>
#include <memory>
#include <string>
#include <string_view>

#include "model/result.h"

struct z_stream_s;

namespace xenoprof::pprof {

// Without name and time: equal data gives equal bytes.
std::string gzip(std::string_view data);

// The same for data that comes in pieces.
class Gzip {
 public:
  Gzip();
  ~Gzip();
  Gzip(const Gzip&) = delete;
  Gzip& operator=(const Gzip&) = delete;

  void add(std::string_view data);
  // By a thread of its own, once the data before are done with; leaves `data` empty.
  void add_aside(std::string& data);
  std::string finish();

 private:
  void run(std::string_view data, int flush);
  void wait();

  std::unique_ptr<z_stream_s> stream_;
  std::string out_;
  std::string aside_;
  std::future<void> running_;  // where it is valid: uses all the others
};

// Fails when more than `limit` bytes would come out, before it has them all in memory.
Result<std::string> gunzip(std::string_view compressed, std::size_t limit);

}  // namespace xenoprof::pprof
