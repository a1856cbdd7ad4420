// SPDX-License-Identifier: GPL-2.0-or-later
#include "guests.h"

#include "control.h"
#include "interrupt.h"
#include "wait.h"

namespace xenoprof::lab {
namespace {

namespace fs = std::filesystem;

constexpr auto kCreateLimit = std::chrono::seconds(90);
constexpr auto kGuestLimit = std::chrono::seconds(180);
// Longer than a whole lab takes to boot: a guest's first line comes long before.
constexpr auto kSilentLimit = std::chrono::seconds(60);
constexpr auto kAskLimit = std::chrono::seconds(10);

// Files that the host only hands on to its guests, as layers of its own image.
Result<std::vector<fs::path>> guest_material(const GuestPlan& plan, const Materials& materials) {
  const auto guest = archives_of(plan.guest, materials);
  if (!guest)
    return std::unexpected(guest.error());
  InitramfsLayer base;
  base.add_file(fmt::format("{}/vmlinux", kGuestFiles), materials.kernel.vmlinux, 0644);
  base.add_file(fmt::format("{}/base.cpio", kGuestFiles), guest->base, 0644);
  InitramfsLayer programs;
  programs.add_file(fmt::format("{}/programs.cpio", kGuestFiles), guest->programs, 0644);
  const std::string name = fmt::format("{}-guest", role_name(plan.host));
  const auto base_archive = cached_archive(base, name + "-base", materials.images);
  if (!base_archive)
    return std::unexpected(base_archive.error());
  const auto program_archive = cached_archive(programs, name + "-programs", materials.images);
  if (!program_archive)
    return std::unexpected(program_archive.error());
  return std::vector{*base_archive, *program_archive};
}

Result<void> create(const GuestPlan& plan, const Endpoint& host, const std::string& guest,
                    bool again) {
  std::string command = fmt::format("xenoprof-lab-guest {}", guest);
  if (again)
    command = fmt::format(fmt::runtime(plan.destroy), guest) + "; " + command;
  const auto created = capture_in_domain(host, {"sh", "-c", command}, kCreateLimit);
  if (!created)
    return std::unexpected(created.error());
  if (created->status.shell_status() != 0)
    return fail("{} cannot create {}: {}{}", host.domain, guest, created->output, created->error);
  return {};
}

Result<InitramfsLayer> lab_layer(const GuestPlan& plan, const UpOptions& options,
                                 const pb::Lab& lab) {
  DomainIdentity host = identity_of(lab, lab.domains(0), plan.host);
  if (!options.peer.empty())
    host.wire = is_server(options, 0) ? kServerAddress : kBridged;
  InitramfsLayer layer = identity_layer(host);
  for (int i = 1; i < lab.domains_size(); ++i) {
    const std::string& name = lab.domains(i).name();
    DomainIdentity identity = identity_of(lab, lab.domains(i), plan.guest);
    if (is_server(options, i))
      identity.wire = kServerAddress;
    const auto archive = identity_layer(identity).archive();
    if (!archive)
      return std::unexpected(archive.error());
    layer.add_text(fmt::format("{}/{}.cpio", kGuestFiles, name), *archive, 0600);
    layer.add_text(fmt::format("{}/{}.{}", kGuestFiles, name, plan.configuration_suffix),
                   plan.configuration(options, name, i), 0644);
  }
  return layer;
}

}  // namespace

unsigned guest_vcpus(const UpOptions& options) {
  return options.vcpus != 0 ? options.vcpus : 1;
}

std::vector<std::string> host_and_guests(std::string_view host, const UpOptions& options) {
  std::vector<std::string> names = {std::string(host)};
  for (unsigned i = 1; i <= options.guests; ++i)
    names.push_back(fmt::format("guest{}", i));
  return names;
}

bool is_server(const UpOptions& options, int domain) {
  return !options.peer.empty() && domain == (options.guests > 0 ? 1 : 0);
}

Result<void> write_host_initrd(const GuestPlan& plan, const UpOptions& options,
                               const Materials& materials, const pb::Lab& lab,
                               const fs::path& file) {
  const auto host = archives_of(plan.host, materials);
  if (!host)
    return std::unexpected(host.error());
  std::vector<fs::path> archives = {host->base, host->programs};
  if (options.guests > 0) {
    const auto guests = guest_material(plan, materials);
    if (!guests)
      return std::unexpected(guests.error());
    archives.insert(archives.end(), guests->begin(), guests->end());
  }
  const auto own = lab_layer(plan, options, lab);
  if (!own)
    return std::unexpected(own.error());
  return join_archives(archives, *own, file);
}

Result<void> start_guests(const GuestPlan& plan, const pb::Lab& lab, const LabFolder& folder,
                          const std::function<void(const pb::Domain& guest)>& noted,
                          Progress& progress) {
  const Endpoint host = endpoint_of(lab, lab.domains(0));
  for (int i = 1; i < lab.domains_size(); ++i) {
    const std::string& guest = lab.domains(i).name();
    progress.step(fmt::format("creating {}", guest));
    if (auto created = create(plan, host, guest, false); !created)
      return created;
  }
  for (int i = 1; i < lab.domains_size(); ++i) {
    const pb::Domain& guest = lab.domains(i);
    progress.step(fmt::format("booting {}", guest.name()));
    const auto console = [&] {
      const auto tail = capture_in_domain(host,
                                          {"tail", "-n", std::to_string(kConsoleLines),
                                           fmt::format("{}{}.log", plan.consoles, guest.name())},
                                          kAskLimit);
      return tail ? tail->output : tail.error().message;
    };
    auto up = wait_for_domain(lab, guest, folder, kSilentLimit, console, progress);
    // QEMU without our plugin loses guests of KVM (docs/emulated-pmu.md, "What it needs of QEMU").
    if (!up && !interrupted() && machine_pid(folder) && console().empty()) {
      progress.step(fmt::format("{} has said nothing for {} s: making it again", guest.name(),
                                kSilentLimit.count()));
      if (auto created = create(plan, host, guest.name(), true); !created)
        return created;
    }
    if (!up)
      up = wait_for_domain(lab, guest, folder, kGuestLimit, console, progress);
    if (!up)
      return up;
    noted(guest);
  }
  return {};
}

}  // namespace xenoprof::lab
