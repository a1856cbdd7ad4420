// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/agent.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "cli/exit_status.h"
#include "cli/session_options.h"
#include "cli/terminal.h"
#include "hypervisor/event_codes.h"
#include "hypervisor/xen_domains.h"
#include "model/text.h"
#include "session/agent_channel.h"
#include "session/participant.h"
#include "session/vchan.h"
#include "session/wishes.h"

namespace xenoprof {
namespace {

void tell(const Result<void>& session) {
  if (!session) {
    say("xenoprof: a session ended early: " + printable(session.error().message));
  }
}

// In a domain of Xen. What it writes into xenstore for dom0 to find would outlive it.
Result<int> serve_dom0(const std::vector<Event>& wishes) {
  // Refuse at once what every session would be refused.
  if (const auto device = XenoprofDevice::open(); !device) {
    return std::unexpected(device.error());
  } else if (const auto info = device->info(); !info) {
    return std::unexpected(info.error());
  } else if (info->initiator) {
    return fail(
        "this is the domain that runs sessions: `xenoprof record` takes part by itself, an "
        "agent is for guests");
  }
  catch_interrupts();
  while (!interrupted()) {
    auto channel = listen_vchan(interrupted);
    if (!channel) {
      return interrupted() ? Result<int>(kExitWhole) : std::unexpected(channel.error());
    }
    Connection initiator(std::move(*channel), kLargestToParticipant);
    auto device = XenoprofDevice::open();
    tell(device ? participate(initiator, &*device, wishes, interrupted)
                : refuse(initiator, device.error()));
  }
  return kExitWhole;
}

// In a guest of KVM, or of another hypervisor that has vsock or virtio-serial.
Result<int> serve_host() {
  auto listener = AgentListener::open();
  if (!listener) {
    return std::unexpected(listener.error());
  }
  for (;;) {
    auto channel = listener->accept();
    if (!channel) {
      return std::unexpected(channel.error());
    }
    Connection initiator(std::move(*channel), kLargestToParticipant);
    tell(participate(initiator, nullptr, {}));
  }
}

// Serves one session after the other.
Result<int> agent(const std::vector<std::string>& wanted) {
  std::vector<Event> wishes;
  for (const std::string& text : wanted) {
    auto event = parse_event(text);
    if (!event) {
      return std::unexpected(event.error());
    }
    if (auto code = encode_event(event->name); !code) {
      return std::unexpected(code.error());
    }
    if (event->count < kLeastWished) {
      return fail("--want {}: a guest may ask for a sample each {} events at the most", text,
                  kLeastWished);
    }
    wishes.push_back(std::move(*event));
  }
  if (on_xen()) {
    return serve_dom0(wishes);
  }
  if (!wanted.empty()) {
    return fail("--want: events are the host's to choose, unless the host is Xen");
  }
  return serve_host();
}

}  // namespace

void add_agent(CLI::App& app) {
  auto* command =
      app.add_subcommand("agent", "Take part in the sessions of the host; runs in a guest");
  static std::vector<std::string> wanted;
  command
      ->add_option("--want", wanted, "Xen: what this domain wants counted, NAME:COUNT; repeatable")
      ->delimiter(',')
      ->allow_extra_args(false);
  command->footer("Example: xenoprof agent --want branches:500000");
  command->final_callback([] { throw_status(agent(wanted)); });
}

}  // namespace xenoprof
