// SPDX-License-Identifier: GPL-2.0-or-later
// The kind `xen`: Xen on the emulated machine, dom0, and PV guests made with xl. What dom0 needs
// to make the guests travels in its own file system.
#include <algorithm>

#include "control.h"
#include "kind.h"
#include "wait.h"

namespace xenoprof::lab {
namespace {

namespace fs = std::filesystem;

constexpr unsigned kDefaultGuestMemoryMib = 256;
constexpr unsigned kDefaultDom0MemoryMib = 768;
// The hypervisor's own memory, its tables for each page, and what the emulated firmware keeps.
constexpr unsigned kXenMemoryMib = 160;
constexpr unsigned kMaxMachineCpus = 16;
constexpr auto kCreateLimit = std::chrono::seconds(90);
constexpr auto kGuestLimit = std::chrono::seconds(180);
constexpr auto kAskLimit = std::chrono::seconds(10);
// Counters belong to the hypervisor; no kernel may try them for a watchdog.
constexpr std::string_view kKernelOptions =
    "console=hvc0 loglevel=5 panic=-1 mitigations=off nmi_watchdog=0 "
    "cryptomgr.notests";
constexpr std::string_view kGuestFiles = "/var/lib/xenoprof";  // in dom0

unsigned guest_memory(const UpOptions& options) {
  return options.memory_mib != 0 ? options.memory_mib : kDefaultGuestMemoryMib;
}

unsigned dom0_memory(const UpOptions& options) {
  return options.dom0_memory_mib != 0 ? options.dom0_memory_mib : kDefaultDom0MemoryMib;
}

unsigned guest_vcpus(const UpOptions& options) {
  return options.vcpus != 0 ? options.vcpus : 1;
}

std::vector<std::string> domains(const UpOptions& options) {
  std::vector<std::string> names = {"dom0"};
  for (unsigned i = 1; i <= options.guests; ++i)
    names.push_back(fmt::format("guest{}", i));
  return names;
}

// The domain that the peer reaches.
bool is_server(const UpOptions& options, int domain) {
  return !options.peer.empty() && domain == (options.guests > 0 ? 1 : 0);
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

// Files that dom0 only hands on to its guests, as layers of dom0's own image.
Result<std::vector<fs::path>> guest_material(const Materials& materials) {
  const auto guest = archives_of(Role::kGuest, materials);
  if (!guest)
    return std::unexpected(guest.error());
  InitramfsLayer base;
  base.add_file(fmt::format("{}/vmlinux", kGuestFiles), materials.kernel.vmlinux, 0644);
  base.add_file(fmt::format("{}/base.cpio", kGuestFiles), guest->base, 0644);
  InitramfsLayer programs;
  programs.add_file(fmt::format("{}/programs.cpio", kGuestFiles), guest->programs, 0644);
  const auto base_archive = cached_archive(base, "dom0-guest-base", materials.images);
  if (!base_archive)
    return std::unexpected(base_archive.error());
  const auto program_archive = cached_archive(programs, "dom0-guest-programs", materials.images);
  if (!program_archive)
    return std::unexpected(program_archive.error());
  return std::vector{*base_archive, *program_archive};
}

Result<InitramfsLayer> lab_layer(const UpOptions& options, const pb::Lab& lab) {
  DomainIdentity dom0 = identity_of(lab, lab.domains(0), Role::kDom0);
  if (!options.peer.empty())
    dom0.wire = is_server(options, 0) ? kServerAddress : kBridged;
  InitramfsLayer layer = identity_layer(dom0);
  for (int i = 1; i < lab.domains_size(); ++i) {
    const pb::Domain& guest = lab.domains(i);
    DomainIdentity identity = identity_of(lab, guest, Role::kGuest);
    if (is_server(options, i))
      identity.wire = kServerAddress;
    const auto archive = identity_layer(identity).archive();
    if (!archive)
      return std::unexpected(archive.error());
    layer.add_text(fmt::format("{}/{}.cpio", kGuestFiles, guest.name()), *archive, 0600);
    layer.add_text(fmt::format("{}/{}.cfg", kGuestFiles, guest.name()),
                   xl_configuration(options, guest.name(), i), 0644);
  }
  return layer;
}

Result<MachineSpec> machine(const UpOptions& options, const Materials& materials,
                            const pb::Lab& lab, const LabFolder& folder) {
  const auto xen = find_xen(materials.roots.machine, materials.images);
  if (!xen)
    return std::unexpected(xen.error());
  const auto dom0 = archives_of(Role::kDom0, materials);
  if (!dom0)
    return std::unexpected(dom0.error());
  std::vector<fs::path> archives = {dom0->base, dom0->programs};
  if (options.guests > 0) {
    const auto guests = guest_material(materials);
    if (!guests)
      return std::unexpected(guests.error());
    archives.insert(archives.end(), guests->begin(), guests->end());
  }
  const auto own = lab_layer(options, lab);
  if (!own)
    return std::unexpected(own.error());
  if (auto joined = join_archives(archives, *own, folder.path / "dom0.cpio"); !joined)
    return std::unexpected(joined.error());
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

// The end of a guest's console, which dom0 keeps.
std::string guest_console(const Endpoint& dom0, const std::string& guest) {
  const auto tail = capture_in_domain(
      dom0, {"tail", "-n", "15", fmt::format("/var/log/xen/guest-{}.log", guest)}, kAskLimit);
  return tail ? tail->output : tail.error().message;
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
  const Endpoint dom0 = endpoint_of(lab, lab.domains(0));
  note_refusal(lab, lab.domains(0), progress);
  for (int i = 1; i < lab.domains_size(); ++i) {
    const std::string& guest = lab.domains(i).name();
    progress.step(fmt::format("creating {}", guest));
    const auto created = capture_in_domain(dom0, {"xenoprof-lab-guest", guest}, kCreateLimit);
    if (!created)
      return std::unexpected(created.error());
    if (created->status.shell_status() != 0)
      return fail("xl cannot create {}: {}{}", guest, created->output, created->error);
  }
  for (int i = 1; i < lab.domains_size(); ++i) {
    const pb::Domain& guest = lab.domains(i);
    progress.step(fmt::format("booting {}", guest.name()));
    const auto console = [&] { return guest_console(dom0, guest.name()); };
    if (auto up = wait_for_domain(lab, guest, folder, kGuestLimit, console, progress); !up)
      return up;
    note_refusal(lab, guest, progress);
  }
  return {};
}

}  // namespace

const Kind kXenKind = {"xen", true, domains, machine, start_others};

}  // namespace xenoprof::lab
