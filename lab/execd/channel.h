// SPDX-License-Identifier: GPL-2.0-or-later
// Frames over a connected socket, without ever blocking on it: both ends move data both ways at
// once, and a blocking write on each side would be a deadlock.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>

#include "execd/frame.h"
#include "model/result.h"

namespace xenoprof::lab {

class Channel {
 public:
  // Takes ownership of a connected stream socket.
  explicit Channel(int socket);
  ~Channel();
  Channel(Channel&& other) noexcept;
  Channel(const Channel&) = delete;
  Channel& operator=(const Channel&) = delete;
  Channel& operator=(Channel&&) = delete;

  int socket() const { return socket_; }
  void send(FrameType type, std::string_view payload);
  // False while the peer is slow: read no more input for it then.
  bool wants_more_output() const { return unsent_.size() < kMaxFramePayload; }
  bool has_unsent() const { return !unsent_.empty(); }

  // Move what can be moved now; an error means that the connection is gone.
  Result<void> flush();
  Result<void> receive();
  // Blocks until everything is out or `timeout_ms` passed.
  Result<void> drain(int timeout_ms);
  Result<std::optional<Frame>> next() { return reader_.next(); }

 private:
  int socket_;
  std::string unsent_;
  FrameReader reader_;
};

}  // namespace xenoprof::lab
