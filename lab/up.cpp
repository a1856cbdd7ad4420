// SPDX-License-Identifier: GPL-2.0-or-later
#include "up.h"

#include <fcntl.h>
#include <sys/random.h>

#include <array>
#include <fstream>

#include "control.h"
#include "file_lock.h"
#include "files/new_file.h"
#include "interrupt.h"
#include "kernel_module.h"
#include "paths.h"
#include "wait.h"

namespace xenoprof::lab {
namespace {

namespace fs = std::filesystem;

constexpr auto kFirstDomainLimit = std::chrono::seconds(180);
constexpr int kFirstAddress = 15;  // QEMU's user network keeps 10.0.2.2-4 to itself

Result<const Kind*> find_kind(const std::string& name) {
  for (const Kind* kind : {&kXenKind, &kKvmKind, &kLinuxKind, &kPeerKind})
    if (kind->name == name)
      return kind;
  return fail("'{}' is no kind of lab; there are xen, kvm, linux and peer", name);
}

Result<std::string> random_token() {
  std::array<unsigned char, 16> bytes{};
  if (getrandom(bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size()))
    return fail("cannot get random bytes");
  std::string token;
  for (const unsigned char byte : bytes)
    token += fmt::format("{:02x}", byte);
  return token;
}

Result<Materials> prepare_materials(const UpOptions& options, Progress& progress) {
  Materials materials;
  const auto cache = cache_folder();
  if (!cache)
    return std::unexpected(cache.error());
  auto prefix = build_prefix();
  if (!prefix)
    return std::unexpected(prefix.error());
  materials.prefix = *prefix;
  materials.images = *cache / "images";
  auto roots = ensure_roots(options.refresh, progress);
  if (!roots)
    return std::unexpected(roots.error());
  materials.roots = *roots;
  auto kernel = find_kernel(materials.roots.machine, materials.images);
  if (!kernel)
    return std::unexpected(kernel.error());
  materials.kernel = *kernel;
  const fs::path share = materials.prefix / "share/xenoprof";
  for (const auto& [sources, name] : {std::pair{share / "driver", "xenoprof"},
                                      std::pair{share / "lab/xenolinux_rx", "xenolinux_rx"}}) {
    if (!fs::exists(sources / "Kbuild")) {
      progress.note(
          fmt::format("{} has no sources; the domains go without {}.ko", sources.string(), name));
      continue;
    }
    auto module = build_kernel_module(sources, name, *kernel, *cache / "modules", progress);
    if (!module)
      return std::unexpected(module.error());
    materials.modules.push_back(*module);
  }
  return materials;
}

Result<pb::Lab> describe_lab(const UpOptions& options, const Kind& kind,
                             const Materials& materials) {
  pb::Lab lab;
  lab.set_name(options.name);
  lab.set_kind(std::string(kind.name));
  lab.set_kernel_release(materials.kernel.release);
  const auto token = random_token();
  if (!token)
    return std::unexpected(token.error());
  lab.set_token(*token);
  const auto names = kind.domains(options);
  const auto ports = free_ports(names.size());
  if (!ports)
    return std::unexpected(ports.error());
  for (std::size_t i = 0; i < names.size(); ++i) {
    pb::Domain* domain = lab.add_domains();
    domain->set_name(names[i]);
    domain->set_address(fmt::format("10.0.2.{}", kFirstAddress + i));
    domain->set_port((*ports)[i]);
  }
  return lab;
}

std::string plugin_for(const UpOptions& options, const Materials& materials, Progress& progress) {
  if (options.plugin == "none")
    return "";
  if (!options.plugin.empty())
    return options.plugin;
  const auto pmu = pmu_plugin(materials.prefix);
  if (!pmu) {
    progress.note(pmu.error().message);
    return "";
  }
  return pmu->string() + (options.pmu.empty() ? "" : "," + options.pmu);
}

Result<void> boot(const UpOptions& options, const Kind& kind, const Materials& materials,
                  const LabFolder& folder, Progress& progress) {
  auto lab = describe_lab(options, kind, materials);
  if (!lab)
    return std::unexpected(lab.error());
  progress.step("making images");
  auto spec = kind.machine(options, materials, *lab, folder);
  if (!spec)
    return std::unexpected(spec.error());
  spec->cpu = options.cpu;
  if (kind.has_counters)
    spec->plugin = plugin_for(options, materials, progress);
  if (!options.peer.empty()) {
    const auto wire = wire_to_peer(options.peer);
    if (!wire)
      return std::unexpected(wire.error());
    spec->wire = *wire;
  }
  for (const pb::Domain& domain : lab->domains())
    spec->forwards.push_back({static_cast<std::uint16_t>(domain.port()), domain.address()});
  lab->set_cpus(spec->cpus);
  lab->set_memory_mib(spec->memory_mib);

  if (interrupted())
    return fail("interrupted");
  progress.step(fmt::format("booting {}", lab->domains(0).name()));
  if (auto started = start_machine(*spec, folder, materials.roots.tools); !started)
    return started;
  lab->set_pid(machine_pid(folder).value_or(0));
  if (auto written = write_state(folder, *lab); !written)
    return written;
  const auto console = [&] { return last_lines(folder.console_log(), kConsoleLines); };
  if (auto up =
          wait_for_domain(*lab, lab->domains(0), folder, kFirstDomainLimit, console, progress);
      !up)
    return up;
  if (auto others = kind.start_others(options, *lab, folder, progress); !others)
    return others;
  lab->set_complete(true);
  return write_state(folder, *lab);
}

}  // namespace

DomainIdentity identity_of(const pb::Lab& lab, const pb::Domain& domain, Role role) {
  DomainIdentity identity{role, domain.name(), domain.address(), lab.token(), "", ""};
  for (const pb::Domain& each : lab.domains())
    identity.hosts += fmt::format("{} {}\n", each.address(), each.name());
  identity.hosts += fmt::format("{} peer\n{} server\n", kPeerAddress, kServerAddress);
  return identity;
}

Result<RoleArchives> archives_of(Role role, const Materials& materials) {
  const auto base = base_layer(role, materials.roots, materials.kernel);
  if (!base)
    return std::unexpected(base.error());
  const auto programs =
      program_layer(role, materials.roots.machine, materials.prefix, materials.modules, *base);
  if (!programs)
    return std::unexpected(programs.error());
  const std::string name(role_name(role));
  const auto base_archive = cached_archive(*base, name + "-base", materials.images);
  if (!base_archive)
    return std::unexpected(base_archive.error());
  const auto program_archive = cached_archive(*programs, name + "-programs", materials.images);
  if (!program_archive)
    return std::unexpected(program_archive.error());
  return RoleArchives{*base_archive, *program_archive};
}

Result<void> join_archives(const std::vector<fs::path>& archives, const InitramfsLayer& last,
                           const fs::path& file) {
  const auto end = last.archive();
  if (!end)
    return std::unexpected(end.error());
  // The token is in it.
  auto out = NewFile::make(file, Readers::kThisUser);
  if (!out)
    return std::unexpected(out.error());
  std::vector<char> block(std::size_t{1} << 20);
  for (const fs::path& archive : archives) {
    std::ifstream in(archive, std::ios::binary);
    if (!in)
      return fail("cannot read {}", archive.string());
    while (in) {
      in.read(block.data(), static_cast<std::streamsize>(block.size()));
      if (auto written = out->write({block.data(), static_cast<std::size_t>(in.gcount())});
          !written)
        return written;
    }
  }
  if (auto written = out->write(*end); !written)
    return written;
  return out->commit();
}

Result<void> bring_up(const UpOptions& options, Progress& progress) {
  const auto kind = find_kind(options.kind);
  if (!kind)
    return std::unexpected(kind.error());
  const auto folder = lab_folder(options.name);
  if (!folder)
    return std::unexpected(folder.error());
  if (auto created = create_lab_folder(*folder); !created)
    return created;
  const auto lock = FileLock::take(folder->lock_file(), FileLock::Wait::kNever);
  if (!lock)
    return std::unexpected(lock.error());
  if (machine_pid(*folder))
    return fail("lab '{0}' is already up; use it, or end it with `xenoprof lab down --name {0}`",
                options.name);
  if (auto tidied = end_machine(*folder); !tidied)
    return std::unexpected(tidied.error());
  catch_interrupts();
  const auto materials = prepare_materials(options, progress);
  if (!materials)
    return std::unexpected(materials.error());
  auto booted = boot(options, **kind, *materials, *folder, progress);
  if (!booted) {
    // Whatever comes of it, the reason for the failure is what the user needs.
    [[maybe_unused]] const auto ended = end_machine(*folder);
    return booted;
  }
  return {};
}

}  // namespace xenoprof::lab
