// SPDX-License-Identifier: GPL-2.0-or-later
// The samples of one domain on their way into its perf.data and, if need be, out of it again.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "files/folder.h"
#include "model/profile.h"
#include "model/result.h"
#include "perf/data_file.h"
#include "perf/interpret.h"
#include "perf/record_parser.h"
#include "perf/records.h"

namespace xenoprof {

class DomainData {
 public:
  // Kept in NAME.perf.data in `folder`, which outlives this; null: no file, nothing is kept.
  // `passive`: the domain's samples come without its mappings, from outside.
  static Result<DomainData> create(const Folder* folder, const std::string& name,
                                   const perf::Layout& layout, bool passive);

  // By the numbers of the processes that serve a machine its name: what they did is the machine's,
  // all else `host`'s. Guests' own samples are left out.
  struct Machines {
    std::string host;
    std::unordered_map<std::int32_t, std::string> by_process;
  };

  // Before the first add(): makes the profile as records come, to be looked at meanwhile. Else that
  // is left for the end. `machines`: of a KVM host's records.
  void interpret_at_once(const std::optional<Machines>& machines = {});
  // None unless the above.
  Profile* profile_so_far();

  // Records as they came from a participant: checked, counted and written, no more, because every
  // cycle of this is one of the profiled dom0. The error is the participant's: what it sent is no
  // record that a participant has to send.
  Result<void> add(std::string_view records);
  // One that this system's kernel made: taken at its word.
  void add_own(perf::Bytes record);
  // The file as it is now: an error means that not everything could be written, or read again.
  Result<void> written() const { return written_; }
  // Samples that came, by event, whether or not they could be written.
  const std::vector<std::uint64_t>& arrived() const { return arrived_; }

  // What came, without names; without file nothing, unless it was interpreted at once. After the
  // last add(), and only for a domain that sent no profile of its own: this takes time.
  Profile profile();
  // The same of a KVM host's records.
  Profile host_profile(const Machines& machines);
  // Of a KVM host's records, what each of those processes' guests did, seen from outside.
  std::unordered_map<std::int32_t, Profile> guest_profiles(
      const std::vector<std::int32_t>& processes);
  // Of the last profile that was made: what is missing in it, a sentence each.
  std::vector<std::string> notes() const { return notes_; }
  // The domain does not take part after all: takes the file away.
  void discard();
  // The last call; `more` are records to be added at the end.
  Result<void> finish(const perf::Features& features, perf::Bytes more);

 private:
  DomainData(const Folder* folder, std::string file, std::optional<perf::DataWriter> writer,
             const perf::Layout& layout, bool passive);
  perf::Interpreter new_interpreter() const;
  Profile read_again(perf::Interpreter interpreter);
  void read_again(const std::function<void(const perf::Record&)>& take);

  const Folder* folder_;
  std::string file_;  // its name in there
  perf::Layout layout_;
  bool passive_;
  std::optional<perf::DataWriter> writer_;  // none: no file
  perf::RecordParser parser_;
  std::optional<perf::Interpreter> interpreter_;  // at once
  std::vector<std::uint64_t> arrived_;
  Result<void> written_;
  std::vector<std::string> notes_;
};

}  // namespace xenoprof
