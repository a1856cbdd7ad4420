// SPDX-License-Identifier: GPL-2.0-or-later
#include "up_options.h"

namespace xenoprof::lab {

void add_up_options(CLI::App& command, UpOptions& options) {
  command
      .add_option("KIND", options.kind,
                  "xen (dom0 and guests), kvm (host and guests), linux, or peer")
      ->required();
  command.add_option("--guests", options.guests, "number of guests")
      ->check(CLI::Range(0, 8))
      ->capture_default_str();
  command.add_option("--vcpus", options.vcpus, "of each guest [1], or of linux [2]")
      ->check(CLI::Range(1, 16));
  command.add_option("--dom0-vcpus", options.dom0_vcpus, "of dom0")
      ->check(CLI::Range(1, 16))
      ->capture_default_str();
  command.add_option("--memory", options.memory_mib, "of each guest, or of linux, MiB")
      ->check(CLI::Range(128, 65536));
  command.add_option("--dom0-memory", options.dom0_memory_mib, "of dom0, MiB")
      ->check(CLI::Range(384, 65536));
  command
      .add_option("--cpus", options.cpus, "of the machine; linux leaves those beyond --vcpus alone")
      ->check(CLI::Range(1, 16));
  command
      .add_option("--guest-cpu", options.guest_cpu,
                  "CPU that the guests stay on; dom0 then keeps to the first ones")
      ->check(CLI::Range(0, 15));
  command.add_option("--peer", options.peer,
                     "a second network card, wired to that lab of kind peer");
  command
      .add_option("--cpu", options.cpu,
                  "model of those CPUs, any that QEMU has, to see what xenoprof says on it; only "
                  "those of AMD family 10h have the emulated counters")
      ->capture_default_str();
  command.add_option("--pmu", options.pmu,
                     "arguments of the emulated PMU, such as preset=paper,stats=on");
  command
      .add_option("--plugin", options.plugin,
                  "another plugin of QEMU instead of the emulated PMU, as QEMU's -plugin "
                  "has it; or none")
      ->excludes("--pmu");
  command
      .add_flag_callback(
          "--no-pmu", [&options] { options.pmu = "counters=off"; }, "a machine without counters")
      ->excludes("--pmu")
      ->excludes("--plugin");
  command.add_flag_callback(
      "--refresh", [&options] { options.refresh = Refresh::kAlways; },
      "ask the package archives for newer packages first");
}

}  // namespace xenoprof::lab
