// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/list.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <string>
#include <vector>

#include "cli/exit_status.h"
#include "cli/terminal.h"
#include "hypervisor/event_codes.h"
#include "hypervisor/kvm_machines.h"
#include "hypervisor/monitor_options.h"
#include "hypervisor/xen_domains.h"
#include "hypervisor/xenoprof_device.h"
#include "model/text.h"
#include "perf/counting.h"

namespace xenoprof {
namespace {

// `here`: whether the domain we run in, domain 0, has its driver.
std::string ability(const Domain& domain, bool here) {
  if (domain.id == 0) {
    return here ? "initiator, active" : "nothing without its driver";
  }
  if (domain.type != "pv" && !domain.type.empty()) {
    return "passive only: Xenoprof serves PV domains";
  }
  if (domain.has_agent) {
    return "active";
  }
  return "passive; active once `xenoprof agent` runs in it";
}

std::string ways_to_agent(const KvmMachine& machine) {
  std::vector<std::string> ways;
  if (machine.vsock) {
    ways.push_back(fmt::format("vsock {}", *machine.vsock));
  }
  if (!machine.vsock_socket.empty()) {
    ways.push_back(fmt::format("vsock at {}", printable(machine.vsock_socket.string())));
  }
  if (!machine.serial.empty()) {
    ways.push_back(fmt::format("virtio-serial at {}", printable(machine.serial.string())));
  }
  return ways.empty()
             ? fmt::format("nothing: it takes a vsock device or the port {}", kAgentPortName)
             : fmt::format("{}", fmt::join(ways, ", "));
}

// Nothing where there are none: most systems are no hosts.
std::string list_machines() {
  const auto machines = list_kvm_machines();
  if (!machines) {
    return fmt::format("\n{}\n", machines.error().message);
  }
  if (machines->empty()) {
    return {};
  }
  std::string text =
      fmt::format("\n{:>7}  {:<16} {:>5}  {}\n", "PID", "DOMAIN", "VCPUS", "AGENT OVER");
  for (const KvmMachine& machine : *machines) {
    text += fmt::format("{:>7}  {:<16} {:>5}  {}\n", machine.process, printable(machine.name),
                        machine.vcpus.size(), ways_to_agent(machine));
  }
  return text;
}

Result<std::string> list_names(bool all_events) {
  const auto events = list_events();
  if (!events) {
    return std::unexpected(events.error());
  }
  if (events->empty()) {
    return fail("libpfm4 knows no events of this CPU: nothing can be counted by its names");
  }
  std::string text = fmt::format("\n{:<44} {}\n", "EVENT", "COUNTS");
  std::size_t hidden = 0;
  for (const EventDescription& event : *events) {
    if (!event.alias_of.empty()) {
      text += fmt::format("{:<44} {} ({})\n", event.name, event.meaning, event.alias_of);
    } else if (all_events) {
      text += fmt::format("{:<44} {}\n", event.name, event.meaning);
    } else {
      ++hidden;
    }
  }
  if (hidden != 0) {
    text += fmt::format(
        "and {} of this CPU's own events by libpfm4's names: `xenoprof list --events`\n", hidden);
  }
  return text;
}

Result<int> list_here(bool all_events) {
  const bool counters = perf::has_hardware_counters();
  std::string text = fmt::format(
      "This system does not run on Xen: `xenoprof record` records it with its own perf events{}.\n",
      counters ? "" : ", and the CPU's counters are out of perf's reach");
  const auto names = list_names(all_events);
  text += fmt::format("{} perf's names: cpu-clock, page-faults, {}...\n",
                      names ? "Beside the events below it takes" : "It takes",
                      counters ? "dTLB-load-misses, r1c0 " : "context-switches ");
  text += list_machines();
  if (names) {
    text += *names;
  }
  if (auto printed = print(text); !printed) {
    return std::unexpected(printed.error());
  }
  // Without counters there is nothing to be named.
  return names || !counters ? Result<int>(kExitWhole) : std::unexpected(names.error());
}

// Domains and events are told independently: either can be had without the other.
Result<int> list_domains(bool all_events) {
  // Busy with a session or not.
  const bool here = XenoprofDevice::present();
  std::string text;
  int status = kExitWhole;
  const auto complain = [&](const Error& error) {
    say("xenoprof: " + printable(error.message));
    status = kExitError;
  };
  if (const auto domains = list_xen_domains()) {
    text +=
        fmt::format("{:>4}  {:<16} {:<5} {:>5}  {}\n", "ID", "DOMAIN", "TYPE", "VCPUS", "CAN BE");
    for (const Domain& domain : *domains) {
      text += fmt::format("{:>4}  {:<16} {:<5} {:>5}  {}\n", domain.id, domain.name, domain.type,
                          domain.vcpus, ability(domain, here));
    }
  } else {
    complain(domains.error());
  }
  if (const auto device = XenoprofDevice::open()) {
    if (const auto info = device->info()) {
      text += fmt::format(
          "\nThe hypervisor's Xenoprof: {}, {} counters; this domain {} run a session.\n",
          info->cpu_type, info->num_counters, info->initiator ? "can" : "cannot");
    } else {
      complain(info.error());
    }
  } else {
    complain(device.error());
  }
  if (const auto names = list_names(all_events)) {
    text += *names;
  } else {
    complain(names.error());
  }
  if (auto printed = print(text); !printed) {
    return std::unexpected(printed.error());
  }
  return status;
}

}  // namespace

void add_list(CLI::App& app) {
  auto* command = app.add_subcommand("list", "The domains, what each can do, and the events");
  static bool all_events = false;
  command->add_flag("--events", all_events, "Show every event of this CPU, not only the aliases");
  command->footer("Example: xenoprof list --events | grep -i tlb");
  command->final_callback([] { throw_status((on_xen() ? list_domains : list_here)(all_events)); });
}

}  // namespace xenoprof
