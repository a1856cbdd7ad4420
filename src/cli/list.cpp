// SPDX-License-Identifier: GPL-2.0-or-later
#include "cli/list.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <cstdio>
#include <string>
#include <vector>

#include "cli/exit_status.h"
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
void list_machines() {
  const auto machines = list_kvm_machines();
  if (!machines) {
    fmt::print("\n{}\n", machines.error().message);
  } else if (!machines->empty()) {
    fmt::print("\n{:>7}  {:<16} {:>5}  {}\n", "PID", "DOMAIN", "VCPUS", "AGENT OVER");
    for (const KvmMachine& machine : *machines) {
      fmt::print("{:>7}  {:<16} {:>5}  {}\n", machine.process, machine.name, machine.vcpus.size(),
                 ways_to_agent(machine));
    }
  }
}

int list_names(bool all_events) {
  const auto events = list_events();
  if (!events) {
    fmt::print(stderr, "xenoprof: {}\n", events.error().message);
    return kExitError;
  }
  if (events->empty()) {
    fmt::print(stderr,
               "xenoprof: libpfm4 knows no events of this CPU: nothing can be counted by its "
               "names\n");
    return kExitError;
  }
  fmt::print("\n{:<44} {}\n", "EVENT", "COUNTS");
  std::size_t hidden = 0;
  for (const EventDescription& event : *events) {
    if (!event.alias_of.empty()) {
      fmt::print("{:<44} {} ({})\n", event.name, event.meaning, event.alias_of);
    } else if (all_events) {
      fmt::print("{:<44} {}\n", event.name, event.meaning);
    } else {
      ++hidden;
    }
  }
  if (hidden != 0) {
    fmt::print("and {} of this CPU's own events by libpfm4's names: `xenoprof list --events`\n",
               hidden);
  }
  return kExitWhole;
}

// Domains and events are told independently: either can be had without the other.
int list(bool all_events) {
  int status = kExitWhole;
  const auto complain = [&](const Error& error) {
    fmt::print(stderr, "xenoprof: {}\n", error.message);
    status = kExitError;
  };
  if (!on_xen()) {
    fmt::print(
        "This system does not run on Xen: `xenoprof record` records it with its own perf "
        "events{}.\n",
        perf::has_hardware_counters() ? "" : ", and the CPU's counters are out of perf's reach");
    fmt::print(
        "Beside the events below it takes perf's names: cpu-clock, page-faults, "
        "dTLB-load-misses, r1c0 ...\n");
    list_machines();
    return list_names(all_events);
  }
  // Busy with a session or not.
  const bool here = XenoprofDevice::present();
  if (const auto domains = list_xen_domains()) {
    fmt::print("{:>4}  {:<16} {:<5} {:>5}  {}\n", "ID", "DOMAIN", "TYPE", "VCPUS", "CAN BE");
    for (const Domain& domain : *domains) {
      fmt::print("{:>4}  {:<16} {:<5} {:>5}  {}\n", domain.id, domain.name, domain.type,
                 domain.vcpus, ability(domain, here));
    }
  } else {
    complain(domains.error());
  }
  if (const auto device = XenoprofDevice::open()) {
    if (const auto info = device->info()) {
      fmt::print("\nThe hypervisor's Xenoprof: {}, {} counters; this domain {} run a session.\n",
                 info->cpu_type, info->num_counters, info->initiator ? "can" : "cannot");
    } else {
      complain(info.error());
    }
  } else {
    complain(device.error());
  }
  const int names = list_names(all_events);
  return status == kExitWhole ? names : status;
}

}  // namespace

void add_list(CLI::App& app) {
  auto* command = app.add_subcommand("list", "The domains, what each can do, and the events");
  static bool all_events = false;
  command->add_flag("--events", all_events, "Show every event of this CPU, not only the aliases");
  command->footer("Example: xenoprof list --events | grep -i tlb");
  command->final_callback([] { throw_status(list(all_events)); });
}

}  // namespace xenoprof
