// SPDX-License-Identifier: GPL-2.0-or-later
#include "symbols/resolve.h"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <map>
#include <utility>

#include "symbols/demangle.h"

namespace xenoprof {
namespace {

constexpr std::string_view kVdsoImage = "[vdso]";
// x86-64: the kernel's half of the address space, which Xen shares.
constexpr std::uint64_t kKernelHalf = std::uint64_t{1} << 63;

bool is_bracketed(std::string_view name) {
  return name.starts_with('[') && name.ends_with(']');
}

std::string contents_of(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// "[xen_netback]" has its notes where sysfs shows the module.
std::string kernel_build_id(std::string_view image) {
  if (image == kXenImage) {
    std::string id = contents_of("/sys/hypervisor/properties/buildid");
    id.erase(std::find_if(id.begin(), id.end(), [](unsigned char c) { return !std::isxdigit(c); }),
             id.end());
    return id;
  }
  if (image == kKernelImage) {
    return build_id_of_notes(contents_of("/sys/kernel/notes"));
  }
  const std::string module(image.substr(1, image.size() - 2));
  if (module.find('/') != std::string::npos) {
    return {};
  }
  return build_id_of_notes(
      contents_of(std::filesystem::path("/sys/module") / module / "notes/.note.gnu.build-id"));
}

class Resolver {
 public:
  Resolver(Profile& profile, const SymbolSources& sources) : profile_(profile), sources_(sources) {
    nameless_.resize(profile.images().size());
    for (LocationId id = 0; id < profile.locations().size(); ++id) {
      const Location& location = profile.locations()[id];
      if (location.symbol == 0) {
        nameless_[location.image].push_back(id);
      }
    }
  }

  std::vector<std::string> run() {
    for (ImageId image = 0; image < nameless_.size(); ++image) {
      const std::string name(profile_.text(profile_.images()[image].name));
      if (name == kVdsoImage) {
        resolve_vdso(image);
      } else if (is_bracketed(name)) {
        resolve_kernel(image, name);
      } else if (name.starts_with('/')) {
        files_[name].push_back(image);
      }
    }
    if (sources_.own_files) {
      for (const auto& [path, images] : files_) {
        resolve_file(path, images);
      }
    }
    say_unreadable();
    return std::move(notes_);
  }

 private:
  void set_symbol(LocationId location, std::string_view name) {
    profile_.set_symbol(location, profile_.intern(name));
  }

  void set_build_id(ImageId image, std::string_view build_id) {
    if (profile_.images()[image].build_id == 0 && !build_id.empty()) {
      profile_.set_build_id(image, profile_.intern(build_id));
    }
  }

  void resolve_kernel(ImageId image, std::string_view name);
  void resolve_vdso(ImageId image);
  void resolve_file(const std::string& path, const std::vector<ImageId>& images);
  void use_elf(ImageId image, const std::string& name, const ElfImage& elf);
  void say_unreadable();

  Profile& profile_;
  const SymbolSources& sources_;
  std::vector<std::vector<LocationId>> nameless_;  // of each image
  std::map<std::string, std::vector<ImageId>> files_;
  std::vector<std::string> unreadable_;
  std::vector<std::string> notes_;
  // Read when first needed; empty when they could not be.
  std::optional<SymbolTable> kernel_;
  std::optional<SymbolTable> xen_;
};

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
  if (sources_.own_files) {
    set_build_id(image, kernel_build_id(name));
  }
  if (path.empty()) {
    return;
  }
  std::optional<SymbolTable>& table = xen ? xen_ : kernel_;
  if (!table) {
    auto read = xen ? read_xensyms(path) : read_kallsyms(path);
    if (!read) {
      notes_.push_back(fmt::format("Functions of the {} have no names: {}",
                                   xen ? "hypervisor" : "kernel", read.error().message));
    }
    table = read ? *std::move(read) : SymbolTable();
  }
  for (const LocationId id : locations) {
    if (const auto symbol = table->find(profile_.locations()[id].address)) {
      set_symbol(id, symbol->name);
    }
  }
}

void Resolver::use_elf(ImageId image, const std::string& name, const ElfImage& elf) {
  const std::string_view ran = profile_.text(profile_.images()[image].build_id);
  if (!ran.empty() && !elf.build_id.empty() && ran != elf.build_id) {
    unreadable_.push_back(fmt::format("{} (it is not the file that ran: replaced since)", name));
    return;
  }
  set_build_id(image, elf.build_id);
  std::map<std::uint64_t, StringId> names;  // by the symbol's start: each is demangled once
  for (const LocationId id : nameless_[image]) {
    if (const auto symbol = elf.symbols.find(profile_.locations()[id].address)) {
      const auto [entry, added] = names.try_emplace(symbol->start, 0);
      if (added) {
        entry->second = profile_.intern(demangle(symbol->name));
      }
      profile_.set_symbol(id, entry->second);
    }
  }
}

void Resolver::resolve_vdso(ImageId image) {
  if (!sources_.own_files) {
    return;
  }
  if (const auto vdso = read_vdso()) {
    use_elf(image, std::string(kVdsoImage), *vdso);
  }
}

void Resolver::resolve_file(const std::string& path, const std::vector<ImageId>& images) {
  const auto elf = read_elf(path);
  if (!elf) {
    unreadable_.push_back(path);
    return;
  }
  for (const ImageId image : images) {
    use_elf(image, path, *elf);
  }
}

void Resolver::say_unreadable() {
  constexpr std::size_t kNamed = 3;
  if (unreadable_.empty()) {
    return;
  }
  std::string list;
  for (std::size_t i = 0; i < std::min(kNamed, unreadable_.size()); ++i) {
    list += (i == 0 ? "" : ", ") + unreadable_[i];
  }
  if (unreadable_.size() > kNamed) {
    list += fmt::format(" and {} more", unreadable_.size() - kNamed);
  }
  notes_.push_back(fmt::format("Functions have no names in files that cannot be read: {}.", list));
}

}  // namespace

std::vector<std::string> resolve(Profile& profile, const SymbolSources& sources) {
  return Resolver(profile, sources).run();
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
