// SPDX-License-Identifier: GPL-2.0-or-later
// The kind `xen`: Xen on the emulated machine, dom0, and PV guests made with xl. What dom0 needs
// to make the guests travels in its own file system.
#include <algorithm>

#include "control.h"
#include "guests.h"
#include "kind.h"

namespace xenoprof::lab {
namespace {

namespace fs = std::filesystem;

constexpr unsigned kDefaultGuestMemoryMib = 256;
constexpr unsigned kDefaultDom0MemoryMib = 768;
// The hypervisor's own memory, its tables for each page, and what the emulated firmware keeps.
constexpr unsigned kXenMemoryMib = 160;
constexpr unsigned kMaxMachineCpus = 16;
constexpr auto kAskLimit = std::chrono::seconds(10);
// Counters belong to the hypervisor; no kernel may try them for a watchdog.
constexpr std::string_view kKernelOptions =
    "console=hvc0 loglevel=5 panic=-1 mitigations=off nmi_watchdog=0 "
    "cryptomgr.notests";

unsigned guest_memory(const UpOptions& options) {
  return options.memory_mib != 0 ? options.memory_mib : kDefaultGuestMemoryMib;
}

unsigned dom0_memory(const UpOptions& options) {
  return options.dom0_memory_mib != 0 ? options.dom0_memory_mib : kDefaultDom0MemoryMib;
}

std::vector<std::string> domains(const UpOptions& options) {
  return host_and_guests("dom0", options);
}

std::string xl_configuration(const UpOptions& options, const std::string& name, int number) {
  return fmt::format(
      "name = \"{0}\"\n"
      "type = \"pv\"\n"
      "kernel = \"{1}/vmlinux\"\n"
      "ramdisk = \"/tmp/{0}.cpio\"\n"
      "extra = \"{2}\"\n"
      "memory = {3}\n"
      "vcpus = {4}\n"
      "vif = [ \"mac=00:16:3e:00:00:{5:02x},bridge=xenbr0,script=vif-xenoprof\"{6} ]\n"
      "{7}"
      "on_crash = \"preserve\"\n",
      name, kGuestFiles, kKernelOptions, guest_memory(options), guest_vcpus(options), number,
      is_server(options, number) ? ", \"mac=00:16:3e:00:03:02,bridge=xenbr1,script=vif-xenoprof\""
                                 : "",
      options.guest_cpu ? fmt::format("cpus = \"{}\"\n", *options.guest_cpu) : "");
}

constexpr GuestPlan kPlan = {Role::kDom0, Role::kXenGuest,       xl_configuration,
                             "cfg",       "/var/log/xen/guest-", "xl destroy {}"};

Result<MachineSpec> machine(const UpOptions& options, const Materials& materials,
                            const pb::Lab& lab, const LabFolder& folder) {
  const auto xen = find_xen(materials.roots.machine, materials.images);
  if (!xen)
    return std::unexpected(xen.error());
  if (auto written = write_host_initrd(kPlan, options, materials, lab, folder.path / "dom0.cpio");
      !written)
    return std::unexpected(written.error());
  // Names in the lab's folder, where the machine runs: in a list of boot modules, a path with a
  // space or comma would be cut there.
  std::error_code error;
  fs::remove(folder.path / "vmlinux", error);
  fs::create_symlink(materials.kernel.vmlinux, folder.path / "vmlinux", error);
  if (error)
    return fail("cannot write into {}: {}", folder.path.string(), error.message());

  MachineSpec spec;
  spec.kernel = *xen;
  spec.initrd = fmt::format("vmlinux {},dom0.cpio", kKernelOptions);
  spec.command_line = fmt::format(
      "console=com1 loglvl=warning guest_loglvl=warning spec-ctrl=no xpti=no "
      "dom0_mem={0}M,max:{0}M dom0_max_vcpus={1}",
      dom0_memory(options), options.dom0_vcpus);
  if (options.guest_cpu)
    spec.command_line += " dom0_vcpus_pin";
  spec.cpus = options.cpus != 0 ? options.cpus
                                : std::clamp(std::max(options.dom0_vcpus, guest_vcpus(options)), 2U,
                                             kMaxMachineCpus);
  spec.memory_mib =
      kXenMemoryMib + dom0_memory(options) + options.guests * (guest_memory(options) + 16);
  return spec;
}

// A machine on which the driver refuses is worth a lab too: that is said, and no more.
void note_refusal(const pb::Lab& lab, const pb::Domain& domain, Progress& progress) {
  const auto refusal =
      capture_in_domain(endpoint_of(lab, domain),
                        {"sh", "-c",
                         "[ -e /dev/xenoprof ] || "
                         "dmesg | sed -n 's/.*xenoprof: \\(not loaded: .*\\)/\\1/p' | tail -n 1"},
                        kAskLimit);
  if (refusal && !refusal->output.empty())
    progress.note(fmt::format("{}: xenoprof.ko {}", domain.name(),
                              refusal->output.substr(0, refusal->output.find('\n'))));
}

Result<void> start_others(const UpOptions&, const pb::Lab& lab, const LabFolder& folder,
                          Progress& progress) {
  const auto note = [&](const pb::Domain& domain) { note_refusal(lab, domain, progress); };
  note(lab.domains(0));
  return start_guests(kPlan, lab, folder, note, progress);
}

}  // namespace

const Kind kXenKind = {"xen", true, domains, machine, start_others};

}  // namespace xenoprof::lab
