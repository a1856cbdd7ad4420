// SPDX-License-Identifier: GPL-2.0-or-later
#include "execd/frame.h"

namespace xenoprof::lab {
namespace {

constexpr std::size_t kHeaderSize = 5;

void put_u16(std::string& out, std::uint16_t value) {
  out.push_back(static_cast<char>(value & 0xff));
  out.push_back(static_cast<char>(value >> 8));
}

void put_u32(std::string& out, std::uint32_t value) {
  for (int shift = 0; shift < 32; shift += 8)
    out.push_back(static_cast<char>((value >> shift) & 0xff));
}

std::uint32_t get_u32(std::string_view bytes) {
  std::uint32_t value = 0;
  for (int i = 3; i >= 0; --i)
    value = value << 8 | static_cast<unsigned char>(bytes[static_cast<std::size_t>(i)]);
  return value;
}

void put_strings(std::string& out, const std::vector<std::string>& strings) {
  put_u32(out, static_cast<std::uint32_t>(strings.size()));
  for (const std::string& string : strings) {
    put_u32(out, static_cast<std::uint32_t>(string.size()));
    out += string;
  }
}

// Takes values off the front of a payload; after the first short read everything is zero or empty.
class PayloadReader {
 public:
  explicit PayloadReader(std::string_view payload) : rest_(payload) {}

  std::string_view take(std::size_t size) {
    if (size > rest_.size()) {
      whole_ = false;
      rest_ = {};
      return {};
    }
    const std::string_view taken = rest_.substr(0, size);
    rest_.remove_prefix(size);
    return taken;
  }
  std::uint8_t u8() {
    const std::string_view bytes = take(1);
    return bytes.empty() ? std::uint8_t{0} : static_cast<std::uint8_t>(bytes[0]);
  }
  std::uint16_t u16() {
    const std::uint8_t low = u8();
    const std::uint8_t high = u8();
    return static_cast<std::uint16_t>(low | high << 8);
  }
  std::uint32_t u32() {
    const std::string_view bytes = take(4);
    return bytes.empty() ? 0 : get_u32(bytes);
  }
  std::string string() { return std::string(take(u32())); }
  std::vector<std::string> strings() {
    std::vector<std::string> all;
    const std::uint32_t count = u32();
    // No reserve: the count is the peer's word, each string costs it at least four bytes.
    for (std::uint32_t i = 0; i < count && whole_; ++i)
      all.push_back(string());
    return all;
  }
  bool ended_exactly() const { return whole_ && rest_.empty(); }

 private:
  std::string_view rest_;
  bool whole_ = true;
};

}  // namespace

std::string encode_frame(FrameType type, std::string_view payload) {
  std::string out;
  out.reserve(kHeaderSize + payload.size());
  out.push_back(static_cast<char>(type));
  put_u32(out, static_cast<std::uint32_t>(payload.size()));
  out += payload;
  return out;
}

std::string encode_start(const StartRequest& request) {
  std::string out;
  put_u32(out, static_cast<std::uint32_t>(request.token.size()));
  out += request.token;
  put_strings(out, request.arguments);
  put_strings(out, request.environment);
  out.push_back(request.terminal ? 1 : 0);
  out += encode_window(request.window);
  return out;
}

std::string encode_window(WindowSize window) {
  std::string out;
  put_u16(out, window.rows);
  put_u16(out, window.columns);
  return out;
}

std::string encode_exit(ExitStatus status) {
  return {status.signaled ? '\1' : '\0', static_cast<char>(status.code)};
}

Result<StartRequest> decode_start(std::string_view payload) {
  PayloadReader reader(payload);
  StartRequest request;
  request.token = reader.string();
  request.arguments = reader.strings();
  request.environment = reader.strings();
  request.terminal = reader.u8() != 0;
  request.window.rows = reader.u16();
  request.window.columns = reader.u16();
  if (!reader.ended_exactly())
    return fail("the start message is malformed");
  if (request.arguments.empty() || request.arguments.front().empty())
    return fail("the start message names no command");
  return request;
}

Result<WindowSize> decode_window(std::string_view payload) {
  PayloadReader reader(payload);
  WindowSize window;
  window.rows = reader.u16();
  window.columns = reader.u16();
  if (!reader.ended_exactly())
    return fail("the window message is malformed");
  return window;
}

Result<ExitStatus> decode_exit(std::string_view payload) {
  PayloadReader reader(payload);
  ExitStatus status;
  status.signaled = reader.u8() != 0;
  status.code = reader.u8();
  if (!reader.ended_exactly())
    return fail("the exit message is malformed");
  return status;
}

Result<std::optional<Frame>> FrameReader::next() {
  if (buffer_.size() < kHeaderSize)
    return std::nullopt;
  const std::uint32_t size = get_u32(std::string_view(buffer_).substr(1));
  if (size > kMaxFramePayload)
    return fail("a frame of {} bytes exceeds the limit of {}", size, kMaxFramePayload);
  if (buffer_.size() < kHeaderSize + size)
    return std::nullopt;
  Frame frame{static_cast<FrameType>(buffer_[0]), buffer_.substr(kHeaderSize, size)};
  buffer_.erase(0, kHeaderSize + size);
  return frame;
}

}  // namespace xenoprof::lab
