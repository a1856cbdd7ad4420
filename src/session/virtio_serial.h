// SPDX-License-Identifier: GPL-2.0-or-later
// The virtio-serial port kAgentPortName between a KVM host and a guest: a unix socket of the
// monitor there, a device here. A port has two ends and no more, so the peer is the one.
//
// It has no connections either: bytes of a conversation that broke may still be on their way, in
// both directions, when the next begins, and an end may not notice that the other has changed. So
// both meet first: the host says a number that nobody can have said before and repeats it until the
// guest answers with the same; what else comes is of the past. The host's last word says that all
// that follows belongs to this conversation.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "files/file_descriptor.h"
#include "session/channel.h"

namespace xenoprof {

// On the host: dials the agent behind the socket at which `process`, the monitor, listens.
Result<std::unique_ptr<Channel>> dial_serial(const std::filesystem::path& path,
                                             std::int32_t process, Clock::duration limit);

// In a guest: the port's device. `root`: where dev and sys are.
std::optional<std::filesystem::path> find_agent_port(const std::filesystem::path& root = "/");

// The guest's end of the port, open: bytes that nobody has read are lost with it.
class SerialPort {
 public:
  static Result<SerialPort> open(const std::filesystem::path& device);

  // Reads what has come and answers it; true when a host has had its last word. An error: the
  // port is gone. Whether there is something to read is told on edges only (EPOLLET): a port that
  // nobody has dialled is always readable.
  Result<bool> meet();

  // Once they have met.
  std::unique_ptr<Channel> channel() &&;

  int fd() const { return file_.get(); }

 private:
  explicit SerialPort(FileDescriptor file) : file_(std::move(file)) {}

  FileDescriptor file_;
  std::string last_;      // the bytes that came last, as many as a word has
  std::string answered_;  // the number that was answered last
};

}  // namespace xenoprof
