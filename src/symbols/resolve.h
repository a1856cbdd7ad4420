// SPDX-License-Identifier: GPL-2.0-or-later
// Names for a profile's locations, taken where the files are: inside the domain that ran them.
#pragma once

#include <chrono>
#include <cstdint>
#include <filesystem>
#include <future>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "model/profile.h"
#include "symbols/debug_file.h"
#include "symbols/kernel_symbols.h"
#include "symbols/symbol_table.h"

namespace xenoprof {

// An empty path: this kind of symbol is not looked up.
struct SymbolSources {
  // Of the kernel that ran: kallsyms or System.map. A passive domain's is a copy.
  std::filesystem::path kallsyms = "/proc/kallsyms";
  std::filesystem::path xensyms = "/proc/xen/xensyms";
  // What is to be added to that list's addresses. Unless it is known, another domain's kernel is
  // looked for where its samples say that it lies.
  std::optional<std::int64_t> kernel_offset = {};
  // Which modules that kernel has: kallsyms is read again by NamesInPassing when they change.
  std::filesystem::path modules = "/proc/modules";
  // The samples are of the domain we run in: its files and its kernel's build-ids are at hand.
  bool own_files = true;
  bool lines = true;  // source lines are looked up, too
  // Where the kernel's _text and its modules were when recorded, by the image's name; what is not
  // among them is where it is now.
  std::map<std::string, std::uint64_t> loaded_at = {};
  // For the source lines of all images together: names come first, lines as far as that lasts.
  std::chrono::milliseconds lines_time = std::chrono::seconds(5);
  DebugSearch debug = {};
};

// Of the kernel when it had these modules: another may have come to lie where nothing was.
struct KernelSymbols {
  std::string modules;
  KernelText text;
  Result<SymbolTable> table;
};

// By a thread of its own: it takes a while, in which a recording can be read.
std::future<KernelSymbols> read_kernel_ahead(const SymbolSources& sources);

// Sets the symbol of every location that has none, the lines of those that have none where they are
// wanted and debug information is at hand, and the build-id of every image that has none. Returns a
// sentence for each source that was needed and could not be used; the profile is good either way,
// with fewer names. `kernel` is from read_kernel_ahead() with the same sources, or empty.
std::vector<std::string> resolve(Profile& profile, const SymbolSources& sources = {},
                                 std::future<KernelSymbols> kernel = {});

// Names only, now and then, for a profile that grows meanwhile: keeps what it has read. Lines are
// left to resolve() in the end.
class NamesInPassing {
 public:
  explicit NamesInPassing(SymbolSources sources);
  NamesInPassing(NamesInPassing&&) noexcept;
  NamesInPassing& operator=(NamesInPassing&&) noexcept;
  ~NamesInPassing();

  // Reads the kernel's and Xen's symbols at once, so that the first name() does not take long.
  void read_ahead();
  void name(Profile& profile);
  // Of a kernel that is not ours, once its samples have told.
  std::optional<std::int64_t> kernel_offset() const;

 private:
  struct Read;
  SymbolSources sources_;
  std::unique_ptr<Read> read_;
};

// The symbols of `table` that the locations of `image` fall into, each once, by address.
std::vector<Symbol> sampled_symbols(const Profile& profile, std::string_view image,
                                    const SymbolTable& table);

}  // namespace xenoprof
