// SPDX-License-Identifier: GPL-2.0-or-later
// A profiled domain as the initiator sees it. Whatever it says is checked: it may be a hostile
// guest's.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "hypervisor/xen_domains.h"
#include "hypervisor/xenoprof_device.h"
#include "model/profile.h"
#include "model/result.h"
#include "perf/data_file.h"
#include "perf/interpret.h"
#include "session/channel.h"
#include "session/wire.pb.h"

namespace xenoprof {

// A finished profile is the largest; unpacked, pprof's own limits hold.
inline constexpr std::size_t kLargestFromParticipant = std::size_t{16} << 20;

// The samples of one domain on their way into its perf.data.
class DomainData {
 public:
  // `passive`: the domain's samples come without its mappings, from outside.
  static Result<DomainData> create(const std::filesystem::path& path, const perf::Layout& layout,
                                   bool passive);

  // Records as they came from a participant. They are interpreted too, so that there is a profile,
  // if one without names, whatever becomes of the participant. The error is the participant's: what
  // it sent is no record.
  Result<void> add(std::string_view records);
  // The file as it is now: an error means that not everything could be written.
  Result<void> written() const { return written_; }
  // The last call but for interpreter() and path(); `more` are records to be added at the end.
  Result<void> finish(const perf::Features& features, perf::Bytes more);

  perf::Interpreter& interpreter() { return interpreter_; }
  const std::filesystem::path& path() const { return path_; }

 private:
  DomainData(std::filesystem::path path, perf::DataWriter writer, const perf::Layout& layout,
             bool passive);

  std::filesystem::path path_;
  perf::DataWriter writer_;
  perf::RecordParser parser_;
  perf::Interpreter interpreter_;
  Result<void> written_;
};

struct Peer {
  XenDomain domain;
  std::unique_ptr<Connection> connection;  // none: gone, or passive
  std::string problem;                     // why it is gone
  wire::FromParticipant::Introduction introduction;
  std::vector<Event> wishes;
  bool introduced = false;
  bool prepared = false;
  bool armed = false;
  bool finished = false;
  std::uint64_t record_bytes = 0;
  std::vector<VcpuTotals> totals;  // the last that were told
  std::optional<Profile> profile;  // with names; only once finished
  std::vector<std::string> notes;
  std::optional<DomainData> data;

  void drop(std::string why) {
    connection.reset();
    problem = std::move(why);
  }
};

}  // namespace xenoprof
