// SPDX-License-Identifier: GPL-2.0-or-later
#include "image.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <fstream>
#include <vector>

#include "elf_needs.h"
#include "files/folder.h"
#include "files/new_file.h"

namespace xenoprof::lab {
namespace {

namespace fs = std::filesystem;

// Programs of Debian's packages in every domain, by name in the root's usr/bin and usr/sbin.
const std::vector<std::string> kPrograms = {"perf", "iperf3", "ethtool", "nginx", "wrk"};
const std::vector<std::string> kXenPrograms = {
    "xenstore-read", "xenstore-write",  "xenstore-list",  "xenstore-ls",
    "xenstore-rm",   "xenstore-exists", "xenstore-chmod", "xenstore-watch"};
// Of the hypervisor's own version, in usr/lib/xen-VERSION/bin.
const std::vector<std::string> kToolstack = {
    "xl",        "xenstored", "xenconsoled", "xenconsole", "xen-init-dom0", "libxl-save-helper",
    "xentop",    "xenctx",    "lsevtchn",    "xen-cpuid",  "xenpm",         "xenperf",
    "xen-hptool"};
// Found by dlopen(), so no program names them: thread cancellation needs the first.
const std::vector<std::string> kLibrariesByName = {"usr/lib/x86_64-linux-gnu/libgcc_s.so.1"};

// QEMU for the guests of a KVM host, and what it looks for beside itself.
const std::vector<std::string> kQemuFiles = {
    "usr/share/seabios/bios-microvm.bin", "usr/share/qemu/pvh.bin", "usr/share/qemu/kvmvapic.bin"};

const std::vector<std::string> kXenModules = {"xen-privcmd", "xen-evtchn", "xen-gntdev",
                                              "xen-gntalloc", "xenfs"};
// Of the emulated machine itself.
const std::vector<std::string> kMachineModules = {"virtio-pci", "virtio-net", "e1000e"};

bool is_on_xen(Role role) {
  return role == Role::kDom0 || role == Role::kXenGuest;
}

std::vector<std::string> modules_of(Role role) {
  std::vector<std::string> names;
  const auto add = [&](const std::vector<std::string>& more) {
    names.insert(names.end(), more.begin(), more.end());
  };
  if (is_on_xen(role))
    add(kXenModules);
  switch (role) {
    case Role::kLinux:
      add(kMachineModules);
      break;
    case Role::kDom0:
      add({"bridge", "xen-netback"});
      add(kMachineModules);
      break;
    case Role::kXenGuest:
      add({"xen-netfront"});
      break;
    case Role::kKvmHost:
      add({"bridge", "tun", "kvm-amd", "vhost-net", "vhost-vsock"});
      add(kMachineModules);
      break;
    case Role::kKvmGuest:
      add({"virtio-mmio", "virtio-net", "virtio-console", "vmw-vsock-virtio-transport", "ptp-kvm"});
      break;
  }
  return names;
}

fs::path toolstack_folder(const fs::path& root) {
  std::error_code error;
  std::vector<fs::path> found;
  for (const auto& entry : fs::directory_iterator(root / "usr/lib", error))
    if (fs::exists(entry.path() / "bin/xl", error))
      found.push_back(entry.path() / "bin");
  std::ranges::sort(found);
  return found.empty() ? fs::path{} : found.back();
}

void add_root_path(InitramfsLayer& layer, const fs::path& root, const std::string& path) {
  const fs::path file = root / fs::path(path).relative_path();
  if (fs::is_symlink(file))
    layer.add_link(path, fs::read_symlink(file).string());
  else
    layer.add_file(path, file, 0755);
}

// Makes every program of one folder a program of usr/bin.
Result<void> add_programs(InitramfsLayer& layer, const std::vector<fs::path>& programs,
                          const fs::path& root) {
  for (const fs::path& program : programs)
    layer.add_file("/usr/bin/" + program.filename().string(), program, 0755);
  const auto needed = shared_objects_needed(programs, root);
  if (!needed)
    return std::unexpected(needed.error());
  for (const std::string& path : *needed)
    if (!layer.contains(path))
      add_root_path(layer, root, path);
  return {};
}

// The time of access says when a lab last took an image. The time of change must stay: it is part
// of the key of an image that holds this one.
void mark_as_used(const fs::path& file) {
  const std::array<timespec, 2> times = {timespec{0, UTIME_NOW}, timespec{0, UTIME_OMIT}};
  utimensat(AT_FDCWD, file.c_str(), times.data(), 0);
}

// Such images belong to old builds.
bool unused_for_long(const fs::path& file) {
  constexpr time_t kSeconds = 2 * 24 * 3600;
  struct stat status{};
  return stat(file.c_str(), &status) == 0 && status.st_atim.tv_sec + kSeconds < time(nullptr);
}

}  // namespace

std::string_view role_name(Role role) {
  switch (role) {
    case Role::kLinux:
      return "linux";
    case Role::kDom0:
      return "dom0";
    case Role::kXenGuest:
      return "xen-guest";
    case Role::kKvmHost:
      return "kvm-host";
    case Role::kKvmGuest:
      return "kvm-guest";
  }
  return "";
}

Result<InitramfsLayer> base_layer(Role role, const Roots& roots, const Kernel& kernel) {
  const fs::path& root = roots.machine;
  InitramfsLayer layer;
  for (const char* folder : {"/dev", "/proc", "/sys", "/tmp", "/run", "/root", "/var/log",
                             "/var/lib", "/usr/bin", "/usr/sbin", "/usr/lib", "/usr/lib64"})
    layer.add_folder(folder);
  for (const char* link : {"bin", "sbin", "lib", "lib64"})
    layer.add_link(std::string("/") + link, std::string("usr/") + link);
  layer.add_text("/etc/passwd", "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:::/bin/sh\n",
                 0644);
  layer.add_text("/etc/group", "root:x:0:\nnogroup:x:65534:\n", 0644);

  std::vector<fs::path> programs;
  std::vector<std::string> names = kPrograms;
  if (is_on_xen(role))
    names.insert(names.end(), kXenPrograms.begin(), kXenPrograms.end());
  for (const std::string& name : names) {
    const fs::path in_bin = root / "usr/bin" / name;
    programs.push_back(fs::exists(in_bin) ? in_bin : root / "usr/sbin" / name);
  }
  if (role == Role::kDom0) {
    for (const std::string& name : kToolstack)
      programs.push_back(toolstack_folder(root) / name);
    layer.add_text("/etc/xen/xl.conf", "", 0644);  // xl complains about a missing one
  }
  if (auto added = add_programs(layer, programs, root); !added)
    return std::unexpected(added.error());
  if (role == Role::kKvmHost) {
    const fs::path qemu = roots.tools / "usr/bin/qemu-system-x86_64";
    if (auto added = add_programs(layer, {qemu}, roots.tools); !added)
      return std::unexpected(added.error());
    for (const std::string& file : kQemuFiles)
      layer.add_file("/" + file, roots.tools / file, 0644);
  }
  layer.add_file("/usr/bin/busybox", root / "usr/bin/busybox", 0755);
  for (const std::string& library : kLibrariesByName)
    if (fs::exists(root / library))
      layer.add_file("/" + library, root / library, 0755);

  const auto modules = modules_in_load_order(kernel.modules, modules_of(role));
  if (!modules)
    return std::unexpected(modules.error());
  std::string order;
  for (const fs::path& module : *modules) {
    const std::string path =
        "/usr/lib/modules/" + kernel.release + "/" + module.filename().string();
    layer.add_file(path, module, 0644);
    order += path + "\n";
  }
  layer.add_text("/etc/xenoprof/modules", order, 0644);
  return layer;
}

Result<InitramfsLayer> program_layer(Role role, const fs::path& root, const fs::path& prefix,
                                     const std::vector<fs::path>& modules,
                                     const InitramfsLayer& base) {
  InitramfsLayer layer;
  const fs::path scripts = prefix / "share/xenoprof/lab";
  layer.add_file("/init", scripts / "init.sh", 0755);
  if (role == Role::kDom0) {
    layer.add_file("/etc/xen/scripts/vif-xenoprof", scripts / "vif.sh", 0755);
    layer.add_file("/usr/bin/xenoprof-lab-guest", scripts / "create_xen_guest.sh", 0755);
  }
  if (role == Role::kKvmHost) {
    layer.add_file("/usr/bin/xenoprof-lab-guest", scripts / "create_kvm_guest.sh", 0755);
    layer.add_file("/usr/bin/xenoprof-lab-monitor", scripts / "monitor.sh", 0755);
  }
  layer.add_file("/usr/bin/xenoprof-lab-execd", prefix / "bin/xenoprof-lab-execd", 0755);
  for (const fs::path& needed : {scripts / "init.sh", prefix / "bin/xenoprof-lab-execd"})
    if (!fs::exists(needed))
      return fail("{} is missing; build the project first", needed.string());
  const fs::path xenoprof = prefix / "bin/xenoprof";
  if (fs::exists(xenoprof)) {
    layer.add_file("/usr/bin/xenoprof", xenoprof, 0755);
    const auto needed = shared_objects_needed({xenoprof}, root);
    if (!needed)
      return std::unexpected(needed.error());
    for (const std::string& path : *needed)
      if (!base.contains(path))
        add_root_path(layer, root, path);
  }
  // What the demo, the studies and the tests run; static.
  for (const auto& [program, built] : {std::pair{"compute", "xenoprof-lab-compute"},
                                       {"lagging_receiver", "xenoprof-lab-lagging-receiver"}})
    if (fs::exists(prefix / "bin" / built))
      layer.add_file(fmt::format("/usr/bin/{}", program), prefix / "bin" / built, 0755);
  if (role != Role::kKvmHost && role != Role::kKvmGuest)  // all of them are for Xen, or about it
    for (const fs::path& module : modules)
      layer.add_file("/usr/lib/modules/" + module.filename().string(), module, 0644);
  return layer;
}

InitramfsLayer identity_layer(const DomainIdentity& identity) {
  InitramfsLayer layer;
  layer.add_text(
      "/etc/xenoprof/lab.conf",
      fmt::format("ROLE={}\nNAME={}\nADDRESS={}\nPORT={}\nWIRE={}\n", role_name(identity.role),
                  identity.name, identity.address, kControlPort, identity.wire),
      0644);
  layer.add_text("/etc/xenoprof/token", identity.token + "\n", 0600);
  layer.add_text("/etc/hosts", "127.0.0.1 localhost\n" + identity.hosts, 0644);
  layer.add_text("/etc/hostname", identity.name + "\n", 0644);
  return layer;
}

Result<fs::path> cached_archive(const InitramfsLayer& layer, std::string_view name,
                                const fs::path& cache) {
  fs::path file = cache / fmt::format("{}-{:016x}.cpio", name, layer.key());
  std::error_code error;
  if (fs::exists(file, error)) {
    mark_as_used(file);
    return file;
  }
  const auto archive = layer.archive();
  if (!archive)
    return std::unexpected(archive.error());
  if (const auto ours = Folder::make_unexposed(cache); !ours)
    return std::unexpected(ours.error());
  for (const auto& entry : fs::directory_iterator(cache, error))
    // Also what a killed process left half written.
    if (const std::string each = entry.path().filename();
        (each.ends_with(".cpio") || each.starts_with(kUnfinished)) && unused_for_long(entry.path()))
      fs::remove(entry.path(), error);
  if (auto written = write_file(file, *archive); !written)
    return std::unexpected(written.error());
  return file;
}

}  // namespace xenoprof::lab
