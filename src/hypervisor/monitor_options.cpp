// SPDX-License-Identifier: GPL-2.0-or-later
#include "hypervisor/monitor_options.h"

#include <algorithm>
#include <map>
#include <nlohmann/json.hpp>

#include "model/number.h"

namespace xenoprof {
namespace {

// The last of a name counts, as in QEMU.
using Properties = std::map<std::string, std::string, std::less<>>;

// 0 to 2 are the hypervisor, the machine itself and its host, the last means any
// (linux/vm_sockets.h).
constexpr std::uint32_t kFirstGuestCid = 3;
constexpr std::uint32_t kAnyCid = 0xffffffff;

std::string value(const Properties& properties, std::string_view name) {
  const auto found = properties.find(name);
  return found == properties.end() ? "" : found->second;
}

std::optional<std::uint32_t> guest_cid(std::string_view text) {
  const auto cid = number<std::uint32_t>(text);
  return cid && *cid >= kFirstGuestCid && *cid != kAnyCid ? cid : std::nullopt;
}

// libvirt writes devices so (QEMU's qdev since 6.2).
Properties parse_json(std::string_view text) {
  Properties properties;
  const auto object = nlohmann::json::parse(text, nullptr, false);
  if (!object.is_object()) {
    return properties;
  }
  for (const auto& [name, item] : object.items()) {
    if (const auto* string = item.get_ptr<const nlohmann::json::string_t*>()) {
      properties[name] = *string;
    } else if (const auto* count = item.get_ptr<const nlohmann::json::number_unsigned_t*>()) {
      properties[name] = std::to_string(*count);
    }
  }
  return properties;
}

// "VALUE,name=value,flag": the first may leave out its name, `implied`; a comma within a value is
// doubled (QEMU's util/qemu-option.c).
Properties parse_properties(std::string_view text, std::string_view implied) {
  if (text.starts_with('{')) {
    return parse_json(text);
  }
  Properties properties;
  for (bool first = true; !text.empty(); first = false) {
    const std::size_t stop = std::min(text.find_first_of("=,"), text.size());
    const bool named = text.substr(stop).starts_with('=');
    const std::string name(named || !first ? text.substr(0, stop) : implied);
    if (!named && !first) {
      properties[name] = "on";
      text.remove_prefix(std::min(stop + 1, text.size()));
      continue;
    }
    text.remove_prefix(named ? stop + 1 : 0);
    std::string item;
    while (!text.empty() && (text[0] != ',' || text.starts_with(",,"))) {
      item += text[0];
      text.remove_prefix(text[0] == ',' ? 2 : 1);
    }
    text.remove_prefix(std::min<std::size_t>(1, text.size()));
    properties[name] = std::move(item);
  }
  return properties;
}

}  // namespace

MonitorOptions parse_monitor_options(std::span<const std::string_view> arguments) {
  MonitorOptions options;
  std::map<std::string, Properties, std::less<>> channels;  // QEMU's, by identifier
  std::string serial_channel;
  for (std::size_t i = 1; i < arguments.size(); ++i) {
    // QEMU takes one dash or two, the others two and also --name=value.
    std::string_view name = arguments[i];
    const bool two = name.starts_with("--");
    if (!name.starts_with('-')) {
      continue;
    }
    name.remove_prefix(two ? 2 : 1);
    std::string_view text = i + 1 < arguments.size() ? arguments[i + 1] : "";
    if (const std::size_t equals = name.find('='); two && equals != name.npos) {
      text = name.substr(equals + 1);
      name = name.substr(0, equals);
    }
    if (name == "name") {
      options.name = value(parse_properties(text, "guest"), "guest");
    } else if (name == "id") {  // Firecracker
      options.name = text;
    } else if (name == "api-sock") {
      options.api_socket = text;
    } else if (name == "chardev") {
      Properties channel = parse_properties(text, "backend");
      channels[value(channel, "id")] = std::move(channel);
    } else if (name == "device") {
      const Properties device = parse_properties(text, "driver");
      const std::string driver = value(device, "driver");
      if (driver == "virtserialport" && value(device, "name") == kAgentPortName) {
        serial_channel = value(device, "chardev");
      } else if (driver.starts_with("vhost-vsock")) {
        options.vsock = guest_cid(value(device, "guest-cid"));
      }
    } else if (name == "cid") {  // crosvm
      options.vsock = guest_cid(text);
    } else if (name == "vsock") {  // crosvm, and with a socket cloud-hypervisor
      const Properties vsock = parse_properties(text, "cid");
      options.vsock_socket = value(vsock, "socket");
      options.vsock = options.vsock_socket.empty() ? guest_cid(value(vsock, "cid")) : std::nullopt;
    }
  }
  if (const auto found = channels.find(serial_channel); found != channels.end()) {
    const Properties& channel = found->second;
    const std::string server = value(channel, "server");  // else it dials by itself
    if (value(channel, "backend") == "socket" && (server == "on" || server == "yes")) {
      options.serial = value(channel, "path");
      options.serial_fd = number<unsigned>(value(channel, "fd"));
    }
  }
  return options;
}

}  // namespace xenoprof
