// SPDX-License-Identifier: GPL-2.0-or-later
// The kind `kvm`: Linux as a KVM host on the emulated machine, whose CPUs have AMD's SVM, and
// guests on microvm machines of the QEMU inside it.
#include <algorithm>

#include "guests.h"
#include "kind.h"

namespace xenoprof::lab {
namespace {

constexpr unsigned kDefaultGuestMemoryMib = 256;
// The host's own: its files, which are in memory twice while it unpacks them, and room for
// sessions.
constexpr unsigned kHostMemoryMib = 704;
// What a guest takes of the host beside its memory: its files until it has read them, and QEMU.
constexpr unsigned kMemoryPerGuestMib = 128;
constexpr unsigned kMaxMachineCpus = 16;
// The counters are for the user, not for a kernel's watchdog.
constexpr std::string_view kKernelOptions =
    "console=ttyS0 loglevel=5 panic=-1 mitigations=off nmi_watchdog=0 "
    "cryptomgr.notests";
// The emulated CPU does not call its TSC invariant, and Linux would take the HPET. KVM ties its
// guests' clocks to the host's, and ptp_kvm works in them, only while the host's is the TSC
// (Linux 6.1, arch/x86/kvm/x86.c: pvclock_update_vm_gtod_copy, kvm_pv_clock_pairing).
constexpr std::string_view kHostClock = "tsc=reliable clocksource=tsc";
// To both the guest's number is added. CIDs up to 2 have meanings of their own (vsock(7)); the port
// is known to guest/monitor.sh too.
constexpr unsigned kCid = 2;
constexpr unsigned kMonitorPort = 4400;

unsigned guest_memory(const UpOptions& options) {
  return options.memory_mib != 0 ? options.memory_mib : kDefaultGuestMemoryMib;
}

std::vector<std::string> domains(const UpOptions& options) {
  return host_and_guests("host", options);
}

void add_card(std::vector<std::string>& command, const std::string& tap, std::string_view mac) {
  command.insert(
      command.end(),
      {"-netdev", fmt::format("tap,id={0},ifname={0},script=no,downscript=no,vhost=on", tap),
       "-device", fmt::format("virtio-net-device,netdev={},mac={}", tap, mac)});
}

// QEMU's command line in the host, each argument with a zero byte after it, as xargs -0 reads it.
std::string qemu_arguments(const UpOptions& options, const std::string& name, int number) {
  const std::string run = fmt::format("/run/xenoprof-guests/{}", name);
  std::vector<std::string> command;
  if (options.guest_cpu)
    command = {"taskset", "-c", std::to_string(*options.guest_cpu)};
  command.insert(command.end(),
                 {"qemu-system-x86_64",
                  "-name",
                  name + ",debug-threads=on",
                  "-no-user-config",
                  "-nodefaults",
                  "-no-reboot",
                  "-display",
                  "none",
                  "-machine",
                  "microvm,accel=kvm,pit=off,pic=off,rtc=on,auto-kernel-cmdline=off",
                  "-global",
                  "virtio-mmio.force-legacy=off",
                  "-cpu",
                  "host",
                  "-smp",
                  std::to_string(guest_vcpus(options)),
                  "-m",
                  std::to_string(guest_memory(options)),
                  "-kernel",
                  fmt::format("{}/vmlinux", kGuestFiles),
                  "-initrd",
                  fmt::format("/tmp/{}.cpio", name),
                  "-append",
                  std::string(kKernelOptions),
                  "-serial",
                  fmt::format("file:/var/log/xenoprof-guests/{}.log", name),
                  "-device",
                  fmt::format("vhost-vsock-device,guest-cid={}", kCid + number),
                  "-chardev",
                  fmt::format("socket,id=agent,path={}.agent,server=on,wait=off", run),
                  "-device",
                  "virtio-serial-device",
                  "-device",
                  "virtserialport,chardev=agent,name=org.xenoprof.agent.0",
                  "-monitor",
                  fmt::format("tcp:127.0.0.1:{},server=on,wait=off", kMonitorPort + number),
                  "-daemonize",
                  "-pidfile",
                  run + ".pid"});
  add_card(command, name, fmt::format("52:54:00:00:02:{:02x}", number));
  if (is_server(options, number))
    add_card(command, name + "-wire", "52:54:00:00:04:02");
  std::string text;
  for (const std::string& argument : command)
    text += argument + '\0';
  return text;
}

constexpr GuestPlan kPlan = {Role::kKvmHost,
                             Role::kKvmGuest,
                             qemu_arguments,
                             "arguments",
                             "/var/log/xenoprof-guests/",
                             "kill -9 $(cat /run/xenoprof-guests/{}.pid)"};

Result<MachineSpec> machine(const UpOptions& options, const Materials& materials,
                            const pb::Lab& lab, const LabFolder& folder) {
  MachineSpec spec;
  spec.kernel = materials.kernel.vmlinux;
  spec.initrd = folder.path / "host.cpio";
  if (auto written = write_host_initrd(kPlan, options, materials, lab, spec.initrd); !written)
    return std::unexpected(written.error());
  spec.command_line = fmt::format("{} {}", kKernelOptions, kHostClock);
  spec.cpu_features = ",+svm,+npt";
  spec.cpus =
      options.cpus != 0 ? options.cpus : std::clamp(guest_vcpus(options), 2U, kMaxMachineCpus);
  spec.memory_mib = kHostMemoryMib + options.guests * (guest_memory(options) + kMemoryPerGuestMib);
  return spec;
}

Result<void> start_others(const UpOptions&, const pb::Lab& lab, const LabFolder& folder,
                          Progress& progress) {
  return start_guests(kPlan, lab, folder, [](const pb::Domain&) {}, progress);
}

}  // namespace

const Kind kKvmKind = {"kvm", true, domains, machine, start_others};

}  // namespace xenoprof::lab
