// SPDX-License-Identifier: GPL-2.0-or-later
// The messages between `xenoprof lab exec` and xenoprof-lab-execd: one TCP connection runs one
// command. A frame is a type byte, a little-endian 32-bit length and that many bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/result.h"

namespace xenoprof::lab {

enum class FrameType : std::uint8_t {
  kStart = 1,     // to the domain: StartRequest, must be the first frame
  kStdin = 2,     // to the domain: bytes for the command's standard input
  kStdinEnd = 3,  // to the domain: no more input, empty
  kWindow = 4,    // to the domain: WindowSize of the terminal
  kSignal = 5,    // to the domain: one byte, signal for the command's process group
  kStdout = 16,   // from the domain
  kStderr = 17,   // from the domain
  kExit = 18,     // from the domain: ExitStatus, the last frame
  kRefused = 19,  // from the domain: text, why no command was started
};

struct Frame {
  FrameType type;
  std::string payload;
};

// A longer frame is a protocol error, so a hostile length cannot make the reader allocate.
inline constexpr std::size_t kMaxFramePayload = 256 * 1024;

struct WindowSize {
  std::uint16_t rows = 24;
  std::uint16_t columns = 80;
};

struct StartRequest {
  std::string token;
  std::vector<std::string> arguments;    // program and its arguments, never empty
  std::vector<std::string> environment;  // KEY=VALUE, added to the domain's own
  bool terminal = false;                 // run on a pseudo-terminal of the given size
  WindowSize window;
};

struct ExitStatus {
  bool signaled = false;
  std::uint8_t code = 0;  // exit status, or the signal's number

  // What a shell would report.
  int shell_status() const { return signaled ? 128 + code : code; }
};

std::string encode_frame(FrameType type, std::string_view payload);
std::string encode_start(const StartRequest& request);
std::string encode_window(WindowSize window);
std::string encode_exit(ExitStatus status);

Result<StartRequest> decode_start(std::string_view payload);
Result<WindowSize> decode_window(std::string_view payload);
Result<ExitStatus> decode_exit(std::string_view payload);

// Cuts a byte stream into frames.
class FrameReader {
 public:
  void feed(std::string_view bytes) { buffer_.append(bytes); }
  // The next whole frame, nothing while it is incomplete; an error ends the connection.
  Result<std::optional<Frame>> next();

 private:
  std::string buffer_;
};

}  // namespace xenoprof::lab
