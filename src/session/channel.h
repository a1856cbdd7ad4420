// SPDX-License-Identifier: GPL-2.0-or-later
// A stream of bytes between two domains, and messages on top of it. The transport vouches for who
// the peer is; nothing that the peer says is trusted.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>

#include "model/result.h"

namespace google::protobuf {
class MessageLite;
}

namespace xenoprof {

using Clock = std::chrono::steady_clock;

class Channel {
 public:
  virtual ~Channel() = default;

  // Moves what can be moved at once and says how much; 0: nothing now. An error means the peer is
  // gone.
  virtual Result<std::size_t> read_some(std::span<char> to) = 0;
  virtual Result<std::size_t> write_some(std::span<const char> from) = 0;

  // Readable when the state of the channel may have changed; acknowledge() before looking.
  virtual int fd() const = 0;
  virtual void acknowledge() {}
};

// Both ends of a channel inside this process.
Result<std::pair<std::unique_ptr<Channel>, std::unique_ptr<Channel>>> local_channel();

// Messages over a channel. Neither end ever holds more than one largest message of the other's.
class Connection {
 public:
  Connection(std::unique_ptr<Channel> channel, std::size_t largest_message);

  // Fails when the peer does not take the whole message, and all that was posted before, within
  // `limit`.
  Result<void> send(const google::protobuf::MessageLite& message, Clock::duration limit);

  // Without waiting: what the peer does not take at once is kept for the next flush(). The caller
  // bounds how much that may be.
  Result<void> post(const google::protobuf::MessageLite& message);
  Result<void> flush();
  std::size_t unsent() const { return unsent_.size(); }

  // The next whole message if it is here. An error means that the peer is gone or talks nonsense.
  Result<std::optional<std::string>> receive();

  // Waits for something to happen on the channel, at most `limit`.
  void wait(Clock::duration limit);

  int fd() const { return channel_->fd(); }

 private:
  std::unique_ptr<Channel> channel_;
  std::size_t largest_message_;
  std::string unsent_;
  std::string received_;  // not yet taken as messages
};

}  // namespace xenoprof
