// SPDX-License-Identifier: GPL-2.0-or-later
#include "packages.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <fstream>
#include <map>
#include <memory>
#include <sstream>
#include <thread>
#include <vector>

#include "apt_sources.h"
#include "deb.h"
#include "file_lock.h"
#include "files/folder.h"
#include "files/new_file.h"
#include "interrupt.h"
#include "paths.h"
#include "process.h"

namespace xenoprof::lab {
namespace {

namespace fs = std::filesystem;

struct PackageSet {
  std::string name;
  std::vector<std::string> packages;
  bool from_backports = false;
};

const PackageSet kTools = {"tools", {"qemu-system-x86"}, true};

const PackageSet kMachine = {
    "machine",
    {"xen-system-amd64", "linux-image-amd64", "linux-headers-amd64", "linux-perf", "busybox-static",
     "iperf3", "ethtool", "nginx", "wrk", "xenstore-utils", "libstdc++6"},
    false};

// What no machine of the lab uses; unpacking it would only take time and room.
constexpr std::array<std::string_view, 14> kUnwanted = {
    "usr/share/doc/",  "usr/share/man/",     "usr/share/locale/",  "usr/share/info/",
    "usr/share/perl/", "usr/share/lintian/", "usr/lib/python3",    "usr/share/i18n/",
    "usr/lib/gcc/",    "usr/lib/firmware/",  "usr/share/python3/", "usr/share/bug/",
    "usr/lib/udev/",   "usr/lib/systemd/",
};
constexpr std::array<std::string_view, 4> kUnwantedModules = {
    "/kernel/sound/", "/kernel/drivers/gpu/", "/kernel/drivers/media/", "/kernel/drivers/staging/"};

bool wanted(std::string_view path) {
  const auto starts = [&](std::string_view prefix) { return path.starts_with(prefix); };
  if (std::ranges::any_of(kUnwanted, starts))
    return false;
  return !path.starts_with("usr/lib/modules/") ||
         std::ranges::none_of(kUnwantedModules, [&](std::string_view part) {
           return path.find(part) != std::string_view::npos;
         });
}

std::string read_file(const fs::path& file) {
  std::ifstream stream(file);
  return {std::istreambuf_iterator<char>(stream), {}};
}

// The machines are made of Debian 12's Xen, Linux and QEMU. Debian 13's are other versions.
constexpr std::string_view kRelease = "bookworm";
const std::string kBackports = std::string(kRelease) + "-backports";

// Of this machine, whose apt sources say where packages come from.
Result<std::string> machine_codename() {
  std::map<std::string, std::string> fields;
  std::istringstream lines(read_file("/etc/os-release"));
  for (std::string line; std::getline(lines, line);) {
    const std::size_t equals = std::min(line.find('='), line.size());
    std::string value = line.substr(std::min(equals + 1, line.size()));
    std::erase(value, '"');
    fields[line.substr(0, equals)] = value;
  }
  const std::string& version = fields["VERSION_ID"];
  if (fields["ID"] != "debian" || (version != "12" && version != "13"))
    return fail(
        "the lab takes its packages from the apt sources of Debian 12 or 13, and this is {}: run "
        "it in a container of Debian 12 or 13",
        fields["PRETTY_NAME"].empty() ? "another system" : fields["PRETTY_NAME"]);
  return fields["VERSION_CODENAME"];
}

// An apt that has its own lists, its own archives and no installed packages.
class PrivateApt {
 public:
  static Result<PrivateApt> prepare(const fs::path& folder) {
    const auto codename = machine_codename();
    if (!codename)
      return std::unexpected(codename.error());
    const auto sources = distribution_sources(read_apt_sources("/etc/apt"), *codename, kRelease);
    if (!sources)
      return std::unexpected(sources.error());
    std::error_code error;
    for (const char* part : {"sources.list.d", "state/lists/partial", "archives/partial", "log"})
      fs::create_directories(folder / part, error);
    // Proxies and sources may have passwords in them.
    fs::permissions(folder, fs::perms::owner_all, error);
    if (error)
      return fail("cannot create {}: {}", folder.string(), error.message());
    PrivateApt apt(folder);
    const auto configuration = apt.configuration();
    if (!configuration)
      return std::unexpected(configuration.error());
    for (const auto& written :
         {write_file(folder / "sources.list.d/lab.sources", to_deb822(*sources)),
          write_file(folder / "status", ""), write_file(apt.configuration_file(), *configuration)})
      if (!written)
        return std::unexpected(written.error());
    return apt;
  }

  Result<void> update() const {
    const auto result = run({"apt-get", "update"});
    return result ? Result<void>{} : std::unexpected(result.error());
  }
  bool has_lists() const {
    std::error_code error;
    return std::ranges::any_of(fs::directory_iterator(folder_ / "state/lists", error),
                               [](const fs::directory_entry& entry) {
                                 return entry.is_regular_file() &&
                                        entry.path().filename() != "lock";
                               });
  }

  // Downloads the set with everything it depends on and names the archive files.
  Result<std::vector<fs::path>> fetch(const PackageSet& set) const {
    std::vector<std::string> command = {"apt-get", "install", "--yes", "--no-install-recommends"};
    if (set.from_backports)
      command.insert(command.end(), {"-t", kBackports});
    auto simulation = command;
    simulation.emplace_back("--simulate");
    command.emplace_back("--download-only");
    for (auto* arguments : {&simulation, &command})
      arguments->insert(arguments->end(), set.packages.begin(), set.packages.end());
    const auto plan = run(simulation);
    if (!plan)
      return std::unexpected(plan.error());
    auto files = archive_files(*plan);
    if (std::ranges::all_of(files, [](const fs::path& file) { return fs::exists(file); }))
      return files;
    if (const auto fetched = run(command); !fetched)
      return std::unexpected(fetched.error());
    return files;
  }

 private:
  explicit PrivateApt(fs::path folder) : folder_(std::move(folder)) {}

  fs::path configuration_file() const { return folder_ / "apt.conf"; }

  // The machine's way to the archives (proxies, certificates, retries), and nothing of its hooks.
  Result<std::string> configuration() const {
    const auto dump = run_program({{"apt-config", "dump"}, {}, {}});
    if (!dump)
      return std::unexpected(dump.error());
    if (dump->status != 0)
      return fail("apt-config dump failed: {}", dump->output);
    std::string text;
    std::istringstream lines(dump->output);
    for (std::string line; std::getline(lines, line);)
      if (line.starts_with("Acquire::") || line.starts_with("APT::Architecture "))
        text += line + "\n";
    const auto set = [&](std::string_view name, const fs::path& value) {
      text += fmt::format("{} \"{}\";\n", name, value.string());
    };
    set("Dir::Etc::main", "/dev/null");
    set("Dir::Etc::parts", "/dev/null");
    set("Dir::Etc::sourcelist", "/dev/null");
    set("Dir::Etc::sourceparts", folder_ / "sources.list.d");
    set("Dir::Etc::preferences", "/dev/null");
    set("Dir::Etc::preferencesparts", "/dev/null");
    set("Dir::State", folder_ / "state");
    set("Dir::State::status", folder_ / "status");
    set("Dir::Cache", folder_);
    set("Dir::Cache::archives", folder_ / "archives");
    set("Dir::Log", folder_ / "log");
    // Without root rights there is no other user to become.
    set("APT::Sandbox::User", "root");
    // The lab holds a lock of its own.
    set("Debug::NoLocking", "true");
    return text;
  }

  Result<std::string> run(const std::vector<std::string>& command) const {
    const auto result = run_program({command,
                                     {{"APT_CONFIG", configuration_file().string()},
                                      {"LC_ALL", "C"},
                                      {"DEBIAN_FRONTEND", "noninteractive"}},
                                     {}});
    if (!result)
      return std::unexpected(result.error());
    if (result->status != 0)
      return fail("`{}` failed (is the network there?):\n{}", fmt::join(command, " "),
                  last_lines(result->output));
    return result->output;
  }

  static std::string last_lines(std::string_view text) {
    std::size_t begin = text.size();
    for (int lines = 0; lines < 12 && begin != std::string_view::npos && begin > 0; ++lines)
      begin = text.rfind('\n', begin - 1);
    return std::string(begin == std::string_view::npos ? text : text.substr(begin));
  }

  // From lines like "Inst qemu-system-x86 (1:10.0.2+ds-2 Debian:12 [amd64])".
  std::vector<fs::path> archive_files(std::string_view plan) const {
    std::vector<fs::path> files;
    std::istringstream lines{std::string(plan)};
    for (std::string line; std::getline(lines, line);) {
      const auto open = line.find(" (");
      const auto close = line.find(')');
      if (!line.starts_with("Inst ") || open == std::string::npos || close == std::string::npos)
        continue;
      const std::string name = line.substr(5, open - 5);
      std::istringstream words(line.substr(open + 2, close - open - 2));
      std::string version, word, architecture;
      words >> version;
      // The origins in between have no brackets.
      while (words >> word)
        architecture = word;
      if (architecture.size() < 2)
        continue;
      architecture = architecture.substr(1, architecture.size() - 2);
      for (std::size_t colon; (colon = version.find(':')) != std::string::npos;)
        version.replace(colon, 1, "%3a");
      files.push_back(folder_ / "archives" /
                      fmt::format("{}_{}_{}.deb", name, version, architecture));
    }
    return files;
  }

  fs::path folder_;
};

Result<void> unpack_all(const std::vector<fs::path>& files, const fs::path& root,
                        Progress& progress) {
  std::atomic<std::size_t> next = 0;
  std::mutex failure_mutex;
  Result<void> outcome;
  const auto work = [&] {
    for (std::size_t i = next++; i < files.size(); i = next++) {
      progress.detail(fmt::format("{} of {}", i + 1, files.size()));
      auto unpacked =
          interrupted() ? Result<void>(fail("interrupted")) : unpack_deb(files[i], root, wanted);
      if (!unpacked) {
        const std::lock_guard lock(failure_mutex);
        outcome = unpacked;
        next = files.size();
      }
    }
  };
  {
    std::vector<std::jthread> workers;
    for (unsigned i = 0; i < std::clamp(std::thread::hardware_concurrency(), 1U, 4U); ++i)
      workers.emplace_back(work);
  }
  return outcome;
}

// Debian's kernel headers find each other by absolute path; make them find each other in `root`.
Result<void> relocate_kernel_headers(const fs::path& root) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(root / "usr/src", error)) {
    const fs::path makefile = entry.path() / "Makefile";
    if (!entry.path().filename().string().starts_with("linux-headers-") || !fs::exists(makefile))
      continue;
    std::string text = read_file(makefile);
    const std::string original = "include /usr/src/";
    const std::string moved = "include " + (root / "usr/src").string() + "/";
    for (std::size_t at = text.find(original); at != std::string::npos;
         at = text.find(original, at + moved.size()))
      text.replace(at, original.size(), moved);
    if (auto written = write_file(makefile, text); !written)
      return written;
  }
  return {};
}

// What a complete root was made from; a root made from something else is made again. The number
// is that of the way of unpacking.
std::string wish_of(const PackageSet& set) {
  return fmt::format("2\n{}\n", fmt::join(set.packages, "\n"));
}

Result<void> fill_root(const PackageSet& set, const fs::path& root, const fs::path& apt_folder,
                       bool update, Progress& progress) {
  const auto apt = PrivateApt::prepare(apt_folder);
  if (!apt)
    return std::unexpected(apt.error());
  if (update || !apt->has_lists()) {
    progress.step("reading the package lists of this machine's apt sources");
    if (auto updated = apt->update(); !updated)
      return updated;
  }
  progress.step(fmt::format("fetching packages ({})", set.name));
  auto files = apt->fetch(set);
  if (!files && !update && !interrupted()) {
    // Lists from another day may name what the archive no longer has.
    progress.step("reading the package lists again");
    if (auto updated = apt->update(); !updated)
      return updated;
    files = apt->fetch(set);
  }
  if (!files)
    return std::unexpected(files.error());

  progress.step(fmt::format("unpacking packages ({})", set.name));
  const fs::path fresh = root.string() + ".new";
  std::error_code error;
  fs::remove_all(fresh, error);
  if (auto prepared = prepare_root(fresh); !prepared)
    return prepared;
  if (auto unpacked = unpack_all(*files, fresh, progress); !unpacked)
    return unpacked;
  std::string names;
  for (const fs::path& file : *files)
    names += file.stem().string() + "\n";
  if (auto written = write_file(fresh / "packages", names); !written)
    return written;
  fs::remove_all(root, error);
  fs::rename(fresh, root, error);
  if (error)
    return fail("cannot move {} into place: {}", fresh.string(), error.message());
  if (auto relocated = relocate_kernel_headers(root); !relocated)
    return relocated;
  return write_file(root / "complete", wish_of(set));
}

}  // namespace

Result<Roots> ensure_roots(Refresh refresh, Progress& progress) {
  const auto cache = cache_folder();
  if (!cache)
    return std::unexpected(cache.error());
  const fs::path folder = *cache / "packages";
  if (const auto ours = Folder::make_unexposed(folder); !ours)
    return std::unexpected(ours.error());
  Roots roots{folder / "tools", folder / "machine", nullptr};
  const std::array<std::pair<const PackageSet*, fs::path>, 2> sets = {
      {{&kTools, roots.tools}, {&kMachine, roots.machine}}};
  const auto ready = [](const auto& set) {
    return read_file(set.second / "complete") == wish_of(*set.first);
  };
  const auto take = [&](FileLock::Kind kind) -> Result<FileLock> {
    if (auto free = FileLock::take(folder / "lock", FileLock::Wait::kNever, kind))
      return free;
    progress.step("waiting for another xenoprof lab command, which needs the packages");
    return FileLock::take(folder / "lock", FileLock::Wait::kUntilFree, kind);
  };
  bool refreshed = refresh == Refresh::kWhenMissing;
  for (;;) {
    if (refreshed) {
      auto in_use = take(FileLock::Kind::kShared);
      if (!in_use)
        return std::unexpected(in_use.error());
      if (std::ranges::all_of(sets, ready)) {
        roots.in_use = std::make_shared<const FileLock>(std::move(*in_use));
        return roots;
      }
    }
    // Two labs that start at once share one download.
    const auto alone = take(FileLock::Kind::kExclusive);
    if (!alone)
      return std::unexpected(alone.error());
    bool update = !refreshed;
    for (const auto& set : sets) {
      if (refreshed && ready(set))
        continue;
      if (auto filled = fill_root(*set.first, set.second, folder / "apt", update, progress);
          !filled)
        return std::unexpected(filled.error());
      update = false;
    }
    refreshed = true;
  }
}

}  // namespace xenoprof::lab
