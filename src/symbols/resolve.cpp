// SPDX-License-Identifier: GPL-2.0-or-later
#include "symbols/resolve.h"

#include <algorithm>
#include <fstream>
#include <map>
#include <set>
#include <utility>

#include "symbols/demangle.h"
#include "symbols/elf_image.h"
#include "symbols/jit_symbols.h"
#include "symbols/kernel_offset.h"
#include "symbols/source_lines.h"

namespace xenoprof {
namespace {

constexpr std::string_view kVdsoImage = "[vdso]";
// x86-64: the kernel's half of the address space, which Xen shares.
constexpr std::uint64_t kKernelHalf = std::uint64_t{1} << 63;

// Addresses there may look like our kernel's, but are another machine's or mean nothing.
bool is_nowhere(std::string_view image) {
  return image == kGuestKernelImage || image == kGuestUserImage || image == kUnknownImage ||
         image == kPassiveUserImage;
}

bool is_bracketed(std::string_view name) {
  return name.starts_with('[') && name.ends_with(']');
}

// What symbols were read from; empty where that failed.
struct SymbolFiles {
  SymbolFiles(const DebugSearch& search, bool all_elf) : keeps_elf(all_elf), debug(search) {}

  std::optional<KernelSymbols> kernel;
  std::optional<std::int64_t> kernel_offset;  // once found
  std::future<KernelSymbols> kernel_ahead;    // where it is being read
  std::optional<SymbolTable> xen;
  // By path; only the last unless all are to be kept.
  std::map<std::string, Result<ElfImage>> elf;
  bool keeps_elf;
  DebugSearch debug;
};

// Their names.
std::string loaded_modules(const std::filesystem::path& path) {
  std::ifstream file(path);
  std::string names;
  for (std::string line; std::getline(file, line);) {
    names += line.substr(0, line.find(' ')) + '\n';
  }
  return names;
}

KernelSymbols read_kernel(const SymbolSources& sources) {
  KernelSymbols kernel;
  kernel.modules = sources.own_files ? loaded_modules(sources.modules) : "";
  kernel.table = read_kallsyms(sources.kallsyms, &kernel.text);
  return kernel;
}

class Resolver {
 public:
  Resolver(Profile& profile, const SymbolSources& sources, SymbolFiles& read, bool lines)
      : profile_(profile),
        sources_(sources),
        read_(read),
        wants_lines_(lines),
        passing_(!lines),
        time_(sources.lines_time) {
    nameless_.resize(profile.images().size());
    lineless_.resize(profile.images().size());
    for (LocationId id = 0; id < profile.locations().size(); ++id) {
      const Location& location = profile.locations()[id];
      if (location.symbol == 0) {
        nameless_[location.image].push_back(id);
      } else if (lines && location.lines == 0) {
        lineless_[location.image].push_back(id);
      }
    }
  }

  std::vector<std::string> run() {
    for (ImageId image = 0; image < nameless_.size(); ++image) {
      const std::string name(profile_.text(profile_.images()[image].name));
      if (name == kVdsoImage) {
        resolve_vdso(image);
      } else if (is_bracketed(name) && !is_nowhere(name)) {
        resolve_kernel(image, name);
      } else if (jit_process(name)) {
        resolve_jit(image, name);
      } else if (name.starts_with('/')) {
        add_file(image, name);
      }
    }
    if (sources_.own_files) {
      for (const auto& [id, file] : files_) {
        resolve_file(file);
      }
    }
    say("Functions have no names in files that cannot be read", unreadable_);
    say("Functions have no names in code that a program made while running and wrote no map of",
        mapless_);
    say("Source lines are missing, because reading them takes long, for", late_);
    say("Source lines are missing, because the debug information is damaged, for", damaged_);
    return std::move(notes_);
  }

 private:
  // Mapped under one or more names, which may have been links to it or in containers.
  struct File {
    std::set<std::string> paths;
    std::vector<ImageId> images;
  };

  void set_symbol(LocationId location, std::string_view name) {
    profile_.set_symbol(location, profile_.intern(name));
  }

  void set_build_id(ImageId image, std::string_view build_id) {
    if (profile_.images()[image].build_id == 0 && !build_id.empty()) {
      profile_.set_build_id(image, profile_.intern(build_id));
    }
  }

  const SymbolTable& kernel_symbols();
  const SymbolTable& xen_symbols();
  void resolve_kernel(ImageId image, std::string_view name);
  // Of a kernel that is not ours: how far from its list's addresses it lies. None: not known yet.
  std::optional<std::int64_t> kernel_offset(const std::vector<LocationId>& locations);
  void resolve_vdso(ImageId image);
  void resolve_jit(ImageId image, const std::string& name);
  void add_file(ImageId image, const std::string& path);
  void resolve_file(const File& file);
  void use_elf(ImageId image, const ElfImage& elf);
  void set_lines(const std::vector<LocationId>& locations, const std::string& name,
                 const ElfImage& elf);
  void say(std::string_view what, const std::vector<std::string>& files);

  Profile& profile_;
  const SymbolSources& sources_;
  SymbolFiles& read_;
  bool wants_lines_;
  bool passing_;  // the profile still grows
  // Of each image.
  std::vector<std::vector<LocationId>> nameless_;
  std::vector<std::vector<LocationId>> lineless_;  // those that have a name already
  std::map<std::string, File> files_;   // by build-id, or by path where that is not known
  std::optional<std::string> modules_;  // once asked for
  std::chrono::milliseconds time_;      // that is left for lines
  std::vector<std::string> unreadable_;
  std::vector<std::string> mapless_;  // perf-PID.map that a process with such code did not write
  std::vector<std::string> late_;
  std::vector<std::string> damaged_;
  std::vector<std::string> notes_;
};

const SymbolTable& Resolver::kernel_symbols() {
  if (!modules_) {
    modules_ = sources_.own_files ? loaded_modules(sources_.modules) : "";
  }
  std::optional<KernelSymbols>& kernel = read_.kernel;
  if (!kernel && read_.kernel_ahead.valid()) {
    kernel = read_.kernel_ahead.get();
  }
  if (!kernel || kernel->modules != *modules_) {
    kernel = read_kernel(sources_);
  }
  if (!kernel->table) {
    notes_.push_back(
        fmt::format("Functions of the kernel have no names: {}", kernel->table.error().message));
    kernel->table = SymbolTable();
  }
  return *kernel->table;
}

const SymbolTable& Resolver::xen_symbols() {
  if (!read_.xen) {
    auto read = read_xensyms(sources_.xensyms);
    if (!read) {
      notes_.push_back(
          fmt::format("Functions of the hypervisor have no names: {}", read.error().message));
    }
    read_.xen = read ? *std::move(read) : SymbolTable();
  }
  return *read_.xen;
}

std::optional<std::int64_t> Resolver::kernel_offset(const std::vector<LocationId>& locations) {
  if (sources_.kernel_offset) {
    return sources_.kernel_offset;
  }
  if (read_.kernel_offset) {
    return read_.kernel_offset;
  }
  std::vector<std::uint64_t> sampled;
  for (const LocationId id : locations) {
    sampled.push_back(profile_.locations()[id].address);
  }
  const auto offset = find_kernel_offset(*read_.kernel->table, read_.kernel->text, sampled);
  if (!offset) {
    if (passing_) {
      return std::nullopt;  // names that were given stay
    }
    notes_.push_back(fmt::format(
        "Its samples are too few to tell whether its kernel lies where {} has it, as is "
        "assumed.",
        sources_.kallsyms.string()));
    return 0;
  }
  read_.kernel_offset = offset->bytes;
  if (offset->bytes == 0) {
    return 0;
  }
  notes_.push_back(fmt::format(
      "Its kernel lies {}{:#x} from where {} has it, as its samples show: {} are of functions' "
      "first instructions then, {} with any other offset.",
      offset->bytes < 0 ? "-" : "+", offset->bytes < 0 ? -offset->bytes : offset->bytes,
      sources_.kallsyms.string(), offset->fit, offset->next_fit));
  return offset->bytes;
}

void Resolver::resolve_kernel(ImageId image, std::string_view name) {
  const bool xen = name == kXenImage;
  const auto& path = xen ? sources_.xensyms : sources_.kallsyms;
  std::vector<LocationId>& locations = nameless_[image];
  // The other half's are anonymous memory and the like.
  std::erase_if(locations, [&](LocationId id) {
    return (profile_.locations()[id].address & kKernelHalf) == 0;
  });
  if (locations.empty()) {
    return;
  }
  bool same = false;
  std::string runs;
  if (sources_.own_files) {
    runs = running_build_id(name);
    const std::string_view ran = profile_.text(profile_.images()[image].build_id);
    same = !runs.empty() && runs == ran;
    if (!runs.empty() && !ran.empty() && runs != ran) {
      notes_.push_back(fmt::format(
          "Functions of {} have no names: what runs now is not what was recorded.", name));
      return;
    }
  }
  if (path.empty()) {
    set_build_id(image, runs);
    return;
  }
  const SymbolTable& table = xen ? xen_symbols() : kernel_symbols();
  // Another boot of the same kernel may have put it elsewhere; a module is linked anew each time.
  std::uint64_t moved = 0;
  if (const auto then = sources_.loaded_at.find(std::string(name));
      sources_.own_files && table.size() != 0 && then != sources_.loaded_at.end()) {
    const bool core = name == kKernelImage;
    const std::uint64_t now = core ? read_.kernel->text.start : running_address(name);
    moved = now - then->second;
    if (moved != 0 && (!core || !same || now == 0)) {
      notes_.push_back(fmt::format(
          "Functions of {} have no names: it is not where it was when recorded.", name));
      return;
    }
  }
  if (!sources_.own_files && name == kKernelImage && table.size() != 0) {
    const auto offset = kernel_offset(locations);
    if (!offset) {
      return;
    }
    moved -= static_cast<std::uint64_t>(*offset);
  }
  set_build_id(image, runs);
  for (const LocationId id : locations) {
    const std::uint64_t address = profile_.locations()[id].address + moved;
    if (moved != 0 && (address < read_.kernel->text.start || address >= read_.kernel->text.end)) {
      continue;
    }
    if (const auto symbol = table.find(address)) {
      set_symbol(id, symbol->name);
    }
  }
}

void Resolver::use_elf(ImageId image, const ElfImage& elf) {
  const std::string name(profile_.text(profile_.images()[image].name));
  set_build_id(image, elf.file.build_id());
  std::vector<LocationId> named;
  std::map<std::uint64_t, StringId> names;  // by the symbol's start: each is demangled once
  for (const LocationId id : nameless_[image]) {
    if (const auto symbol = elf.symbols.find(profile_.locations()[id].address)) {
      const auto [entry, added] = names.try_emplace(symbol->start, 0);
      if (added) {
        entry->second = profile_.intern(demangle(symbol->name));
      }
      profile_.set_symbol(id, entry->second);
      named.push_back(id);
    }
  }
  if (wants_lines_ && sources_.lines) {
    named.insert(named.end(), lineless_[image].begin(), lineless_[image].end());
    set_lines(named, name, elf);
  }
}

void Resolver::set_lines(const std::vector<LocationId>& locations, const std::string& name,
                         const ElfImage& elf) {
  std::map<std::uint64_t, std::vector<LocationId>> places;
  for (const LocationId id : locations) {
    places[profile_.locations()[id].address].push_back(id);
  }
  std::vector<std::uint64_t> offsets;
  for (const auto& [offset, ids] : places) {
    offsets.push_back(offset);
  }
  const auto begin = std::chrono::steady_clock::now();
  const SourceLines found = read_source_lines(elf, offsets, time_);
  time_ -= std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now() -
                                                                 begin);
  if (found.late) {
    late_.push_back(name);
  } else if (found.failed) {
    damaged_.push_back(name);
  }
  std::vector<Line> lines;
  for (std::size_t i = 0; i < offsets.size(); ++i) {
    if (found.of[i].empty()) {
      continue;
    }
    lines.clear();
    for (const SourceLine& line : found.of[i]) {
      lines.push_back({profile_.intern(line.function), profile_.intern(line.file), line.line});
    }
    for (const LocationId id : places[offsets[i]]) {
      // The linker's name tells the compiler's variants of a function apart.
      lines.back().function = profile_.locations()[id].symbol;
      profile_.set_lines(id, profile_.intern(lines));
    }
  }
}

void Resolver::resolve_vdso(ImageId image) {
  if (!sources_.own_files) {
    return;
  }
  const auto vdso = read_vdso();
  const std::string_view ran = profile_.text(profile_.images()[image].build_id);
  if (vdso && (ran.empty() || ran == vdso->file.build_id())) {
    use_elf(image, *vdso);
  } else if (!nameless_[image].empty()) {
    unreadable_.push_back("[vdso] (another kernel's)");
  }
}

void Resolver::resolve_jit(ImageId image, const std::string& name) {
  if (!sources_.own_files) {
    return;
  }
  const auto table = read_jit_symbols(name);
  if (!table) {
    const bool there = ::access(name.c_str(), F_OK) == 0;
    (there ? unreadable_ : mapless_).push_back(name);
    return;
  }
  for (const LocationId id : nameless_[image]) {
    if (const auto symbol = table->find(profile_.locations()[id].address)) {
      set_symbol(id, symbol->name);
    }
  }
}

void Resolver::add_file(ImageId image, const std::string& path) {
  const std::string_view build_id = profile_.text(profile_.images()[image].build_id);
  File& file = files_[build_id.empty() ? path : std::string(build_id)];
  file.paths.insert(path);
  file.images.push_back(image);
}

void Resolver::resolve_file(const File& file) {
  const std::string_view ran = profile_.text(profile_.images()[file.images.front()].build_id);
  const auto complete = [this](ImageId image) {
    return nameless_[image].empty() && lineless_[image].empty();
  };
  if (std::ranges::all_of(file.images, complete)) {
    return;
  }
  std::string why;
  for (const std::string& path : file.paths) {
    auto known = read_.elf.find(path);
    if (known == read_.elf.end()) {
      if (!read_.keeps_elf) {
        read_.elf.clear();
      }
      known = read_.elf.emplace(path, read_elf(path, read_.debug)).first;
    }
    const Result<ElfImage>& elf = known->second;
    if (!elf) {
      why = why.empty() ? path : why;
    } else if (!ran.empty() && ran != elf->file.build_id()) {
      why = path + " (it is not the file that ran: replaced since, or of another mount namespace)";
    } else {
      for (const ImageId image : file.images) {
        use_elf(image, *elf);
      }
      return;
    }
  }
  const auto has_names = [this](ImageId image) { return nameless_[image].empty(); };
  if (!std::ranges::all_of(file.images, has_names)) {
    unreadable_.push_back(why);
  }
}

void Resolver::say(std::string_view what, const std::vector<std::string>& files) {
  constexpr std::size_t kNamed = 3;
  if (files.empty()) {
    return;
  }
  std::string list;
  for (std::size_t i = 0; i < std::min(kNamed, files.size()); ++i) {
    list += (i == 0 ? "" : ", ") + files[i];
  }
  if (files.size() > kNamed) {
    list += fmt::format(" and {} more", files.size() - kNamed);
  }
  notes_.push_back(fmt::format("{}: {}.", what, list));
}

}  // namespace

std::future<KernelSymbols> read_kernel_ahead(const SymbolSources& sources) {
  return std::async(std::launch::async, read_kernel, sources);
}

std::vector<std::string> resolve(Profile& profile, const SymbolSources& sources,
                                 std::future<KernelSymbols> kernel) {
  SymbolFiles read(sources.debug, false);
  read.kernel_ahead = std::move(kernel);
  return Resolver(profile, sources, read, true).run();
}

struct NamesInPassing::Read {
  SymbolFiles files;
};

NamesInPassing::NamesInPassing(SymbolSources sources)
    : sources_(std::move(sources)), read_(new Read{SymbolFiles(sources_.debug, true)}) {}
NamesInPassing::NamesInPassing(NamesInPassing&&) noexcept = default;
NamesInPassing& NamesInPassing::operator=(NamesInPassing&&) noexcept = default;
NamesInPassing::~NamesInPassing() = default;

void NamesInPassing::read_ahead() {
  SymbolFiles& read = read_->files;
  if (!sources_.kallsyms.empty()) {
    read.kernel = read_kernel(sources_);
  }
  if (!sources_.xensyms.empty()) {
    read.xen = read_xensyms(sources_.xensyms).value_or(SymbolTable());
  }
}

void NamesInPassing::name(Profile& profile) {
  Resolver(profile, sources_, read_->files, false).run();
}

std::optional<std::int64_t> NamesInPassing::kernel_offset() const {
  return read_->files.kernel_offset;
}

std::vector<Symbol> sampled_symbols(const Profile& profile, std::string_view image,
                                    const SymbolTable& table) {
  std::map<std::uint64_t, Symbol> found;
  for (const Location& location : profile.locations()) {
    if (profile.text(profile.images()[location.image].name) == image) {
      if (const auto symbol = table.find(location.address)) {
        found.emplace(symbol->start, *symbol);
      }
    }
  }
  std::vector<Symbol> symbols;
  for (const auto& [start, symbol] : found) {
    symbols.push_back(symbol);
  }
  return symbols;
}

}  // namespace xenoprof
